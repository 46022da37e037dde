//! Times of day as text (RFC 3339).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Such as `2026-11-23T10:43:09Z`: UTC, whole seconds. A time before 1970 counts as its beginning.
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(seconds / DAY_SECONDS);
    let second = seconds % DAY_SECONDS;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// The same with milliseconds, such as `2026-11-23T10:43:09.120Z`.
pub fn rfc3339_millis(time: SystemTime) -> String {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    format!("{}.{millis:03}Z", rfc3339(time).trim_end_matches('Z'))
}

/// The same with nanoseconds, of a time in nanoseconds since 1970: such as `2026-11-23T10:43:09.000000017Z`.
pub fn rfc3339_ns(ns: u64) -> String {
    let whole = rfc3339(UNIX_EPOCH + Duration::from_nanos(ns));
    format!("{}.{:09}Z", whole.trim_end_matches('Z'), ns % 1_000_000_000)
}

/// The date of a day since 1970-01-01, in the Gregorian calendar. Years begin in March here, so that a leap day is their last.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + DAYS_TO_1970;
    let era_day = day % ERA_DAYS;
    let year = (era_day - era_day / 1_460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * year + year / 4 - year / 100);
    let month = (5 * year_day + 2) / 153; // From March; five months have 153 days.
    let day_of_month = year_day - (153 * month + 2) / 5 + 1;
    let year = year + day / ERA_DAYS * 400 + u64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day_of_month)
}

const DAY_SECONDS: u64 = 86_400;
/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: u64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(rfc3339_millis(UNIX_EPOCH + Duration::from_micros(1_007_999)), "1970-01-01T00:00:01.007Z");
        assert_eq!(rfc3339_ns(951_782_399_000_000_017), "2000-02-28T23:59:59.000000017Z");
    }
}

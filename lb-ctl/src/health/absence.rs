//! Whether this process was there. Pure: the time comes as an argument.
//!
//! A target must not be blamed for what this process slept through: stopped by a signal, starved, or frozen with its machine.
//! So the thread notes until when it means to sleep, and what it oversleeps is lost time, which no check under way is charged
//! with.

use std::time::{Duration, Instant};

/// The thread's hours.
pub(super) struct Absence {
    woke: Instant,
    expected: Option<Instant>,
    lost: Duration,
}

/// What an awakening is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awakening {
    /// In time, or little enough late that lost time makes up for it.
    Ordinary,
    /// So late that a target may have given up on us.
    AfterLongAbsence,
}

impl Absence {
    pub(super) fn new(now: Instant) -> Absence {
        Absence { woke: now, expected: None, lost: Duration::ZERO }
    }

    /// The thread woke.
    pub(super) fn wake(&mut self, now: Instant) -> Awakening {
        let late =
            self.expected.take().map_or(Duration::ZERO, |expected| now.saturating_duration_since(expected));
        self.woke = now;
        if late >= NOTICED {
            self.lost += late;
        }
        if late > LONG { Awakening::AfterLongAbsence } else { Awakening::Ordinary }
    }

    /// The thread sleeps until then, and at most a short while if checks are under way; gives back when it has to wake.
    pub(super) fn sleep(&mut self, until: Option<Instant>, checks_under_way: usize) -> Option<Instant> {
        let pulse = (checks_under_way > 0).then(|| self.woke + PULSE);
        let wake = until.into_iter().chain(pulse).min();
        // What work took since the thread woke is lost, too, if it is much.
        self.expected = wake.map(|wake| wake.max(self.woke));
        wake
    }

    /// This moment in time that lost time is taken off from.
    pub(super) fn attended(&self, now: Instant) -> Instant {
        now - self.lost
    }

    /// The opposite of [`Absence::attended`], if no more time is lost.
    pub(super) fn moment(&self, attended: Instant) -> Instant {
        attended + self.lost
    }

    /// When the thread woke, in time that lost time is taken off from: no check may time out by a later time, because only
    /// the next awakening tells what was lost since.
    pub(super) fn attended_until(&self) -> Instant {
        self.attended(self.woke)
    }
}

/// Waking less late than this is the noise of timers.
const NOTICED: Duration = Duration::from_millis(10);
/// Checks under way are begun again after an absence longer than this.
const LONG: Duration = Duration::from_secs(1);
/// Longest sleep while checks are under way: an absence goes unnoticed for no longer than this.
const PULSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_overslept_is_lost() {
        let start = Instant::now();
        let mut absence = Absence::new(start);
        for (until_ms, woke_ms, lost_ms) in [(20, 20, 0), (40, 45, 0), (60, 90, 30), (100, 1_100, 1_030)] {
            assert_eq!(absence.sleep(Some(start + ms(until_ms)), 1), Some(start + ms(until_ms)));
            assert_eq!(absence.wake(start + ms(woke_ms)), Awakening::Ordinary);
            assert_eq!(absence.attended_until(), start + ms(woke_ms) - ms(lost_ms));
        }
        absence.sleep(Some(start + ms(1_110)), 1);
        assert_eq!(absence.wake(start + ms(2_111)), Awakening::AfterLongAbsence);
    }

    #[test]
    fn sleep_is_short_while_checks_are_under_way() {
        let start = Instant::now();
        let mut absence = Absence::new(start);
        assert_eq!(absence.sleep(None, 0), None);
        assert_eq!(absence.wake(start + ms(90_000)), Awakening::Ordinary, "nobody expected anything");
        assert_eq!(absence.sleep(Some(start + ms(99_000)), 1), Some(start + ms(90_050)));
        assert_eq!(absence.wake(start + ms(90_040)), Awakening::Ordinary, "woken early by an event");
        assert_eq!(absence.attended_until(), start + ms(90_040));
    }

    #[test]
    fn an_absence_in_the_middle_of_work_is_noticed_at_the_next_awakening() {
        let start = Instant::now();
        let mut absence = Absence::new(start);
        assert_eq!(absence.sleep(Some(start - ms(5_000)), 0), Some(start - ms(5_000)), "work is overdue");
        assert_eq!(absence.wake(start + ms(3_000)), Awakening::AfterLongAbsence);
        assert_eq!(absence.attended_until(), start);
    }
}

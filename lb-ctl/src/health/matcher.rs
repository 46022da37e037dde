//! Which HTTP status codes make a check succeed, as NLB writes them: `200`, `200,202`, `200-299`, `200-299,404`.

use std::{fmt, ops::RangeInclusive, str::FromStr};

/// Codes of success: at least one range, each within 200 to 599.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    ranges: Vec<RangeInclusive<u16>>,
}

/// Why a text is no [`Matcher`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatcherError {
    found: String,
}

impl Matcher {
    /// Reads codes and ranges of codes, separated by commas.
    pub fn parse(text: &str) -> Result<Matcher, MatcherError> {
        let ranges: Option<Vec<_>> = text.split(',').map(|part| range(part.trim())).collect();
        ranges.map(|ranges| Matcher { ranges }).ok_or_else(|| MatcherError { found: text.into() })
    }

    /// Whether a check that is answered with this code succeeds.
    pub fn matches(&self, code: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&code))
    }
}

impl Default for Matcher {
    /// `200-399`.
    fn default() -> Matcher {
        Matcher { ranges: vec![200..=399] }
    }
}

impl FromStr for Matcher {
    type Err = MatcherError;

    fn from_str(text: &str) -> Result<Matcher, MatcherError> {
        Matcher::parse(text)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match range.start() == range.end() {
                true => write!(f, "{comma}{}", range.start())?,
                false => write!(f, "{comma}{}-{}", range.start(), range.end())?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for MatcherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = CODES.into_inner();
        write!(
            f,
            "expected codes from {first} to {last}, as in \"200\", \"200,202\" or \"200-299,404\", found \"{}\"",
            self.found
        )
    }
}

impl std::error::Error for MatcherError {}

fn range(part: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (code(first)?, code(last)?);
    (first <= last).then_some(first..=last)
}

fn code(digits: &str) -> Option<u16> {
    let is_number = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let code = is_number.then(|| digits.parse().ok())??;
    CODES.contains(&code).then_some(code)
}

/// Codes that may be asked for (NLB `Matcher.HttpCode`).
const CODES: RangeInclusive<u16> = 200..=599;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_match_what_they_name() {
        for (text, matching, other) in [
            ("200", vec![200], vec![199, 201]),
            ("200,202", vec![200, 202], vec![201]),
            ("200-299", vec![200, 250, 299], vec![300]),
            ("200-299, 404", vec![204, 404], vec![403]),
            ("599", vec![599], vec![600, 0]),
        ] {
            let matcher = Matcher::parse(text).unwrap();
            assert!(matching.iter().all(|code| matcher.matches(*code)), "{text}");
            assert!(!other.iter().any(|code| matcher.matches(*code)), "{text}");
            assert_eq!(matcher.to_string(), text.replace(' ', ""));
        }
        assert_eq!(Matcher::default().to_string(), "200-399");
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        for text in
            ["", "200,", "199", "600", "200-", "-200", "300-200", "2xx", "+200", "200-299-300", "99999999"]
        {
            let error = Matcher::parse(text).unwrap_err().to_string();
            assert!(
                error.contains("from 200 to 599") && error.contains(&format!("found \"{text}\"")),
                "{error}"
            );
        }
    }
}

//! `lbctl events`.

use std::{
    str::FromStr,
    time::{Duration, SystemTime},
};

use super::{
    Failure,
    lbd::Lbd,
    output::{Format, say},
    unusable,
};
use crate::{api::Event, client::Lines, show, timestamp::rfc3339};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct EventsArguments {
    /// Go on with what happens from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// Begin after the event of this number, or this long ago; by default with the first that lbd still knows, or, to follow,
    /// with the next
    #[arg(long, value_name = "N|TIME")]
    since: Option<Since>,
}

impl EventsArguments {
    pub(super) fn is_reading(&self) -> bool {
        !self.follow
    }
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Event(u64),
    Ago(Duration),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Since, String> {
        let unit = |unit: &str| UNITS.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| *seconds);
        let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let (number, rest) = text.split_at(digits);
        let since = match (number.parse::<u64>(), rest) {
            (Ok(number), "") => Some(Since::Event(number)),
            (Ok(number), rest) => unit(rest)
                .and_then(|seconds| number.checked_mul(seconds))
                .map(|seconds| Since::Ago(Duration::from_secs(seconds))),
            _ => None,
        };
        since.ok_or_else(|| "expected the number of an event, or a time such as 90s, 10m, 2h or 1d".into())
    }
}

pub(super) fn run(lbd: &Lbd<'_>, arguments: &EventsArguments) -> Result<(), Failure> {
    let after = match arguments.since {
        Some(Since::Ago(time)) => SystemTime::now().checked_sub(time).map(rfc3339),
        _ => None,
    };
    let since = arguments.since.map(|since| match since {
        Since::Event(number) => number,
        Since::Ago(_) => 0,
    });
    let since = since.map_or(String::new(), |number| format!("&since={number}"));
    let mut lines = lbd.client.lines(&format!("/v1/events?follow={}{since}", arguments.follow))?;
    while let Some(line) = next(&mut lines)? {
        let event: Event = serde_json::from_str(&line).map_err(|error| unusable(&error))?;
        // Times of one length, in UTC: their order is that of their texts.
        if after.as_ref().is_none_or(|after| event.at >= *after) {
            tell(lbd.output, &line, &event)?;
        }
    }
    match arguments.follow {
        true => Err(Failure::Unusable("lbd has stopped, and so has its stream of events".into())),
        false => Ok(()),
    }
}

fn next(lines: &mut Lines) -> Result<Option<String>, Failure> {
    Ok(lines.next().transpose()?)
}

fn tell(output: Format, line: &str, event: &Event) -> Result<(), Failure> {
    match output {
        Format::Json => say(line),
        Format::Yaml => {
            let text = serde_saphyr::to_string(event).map_err(|error| unusable(&error))?;
            say(&format!("---\n{text}"))
        }
        Format::Table | Format::Wide => match show::event(event, output.columns()) {
            text if text.is_empty() => Ok(()),
            text => say(&text),
        },
    }
}

const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_number_or_a_time() {
        assert_eq!("17".parse(), Ok(Since::Event(17)));
        assert_eq!("90s".parse(), Ok(Since::Ago(Duration::from_secs(90))));
        assert_eq!("2h".parse(), Ok(Since::Ago(Duration::from_secs(7_200))));
        for bad in ["", "h", "-1", "2 h", "2w", "1.5h", "99999999999999999999", "18446744073709551615d"] {
            assert!(bad.parse::<Since>().is_err(), "{bad}");
        }
    }
}

//! What a person sees: headings, explanations, bars, and a mark for each thing shown. Colours only on a terminal.

use std::{
    collections::BTreeMap,
    fmt,
    io::{IsTerminal, Write, stdout},
    time::Duration,
};

/// Prints, and remembers what did not hold.
#[derive(Debug)]
pub(super) struct Screen {
    colours: Colours,
    checks: usize,
    broken: usize,
}

impl Screen {
    pub(super) fn new() -> Screen {
        let plain = std::env::var_os("NO_COLOR").is_some() || !stdout().is_terminal();
        Screen { colours: if plain { PLAIN } else { COLOURED }, checks: 0, broken: 0 }
    }

    /// Begins a section.
    pub(super) fn heading(&self, text: &str) {
        let Colours { heading, end, .. } = self.colours;
        self.line(format_args!("\n{heading}{text}{end}"));
    }

    /// An explanation, wrapped.
    pub(super) fn explain(&self, text: &str) {
        for line in wrapped(text, WIDTH - INDENT.len()) {
            self.line(format_args!("{INDENT}{line}"));
        }
    }

    /// Text of others (a program's output, a command), as it is.
    pub(super) fn quote(&self, text: &str) {
        let Colours { quote, end, .. } = self.colours;
        for line in text.lines() {
            self.line(format_args!("{INDENT}{quote}| {line}{end}"));
        }
    }

    /// A line that is laid out already.
    pub(super) fn verbatim(&self, text: &str) {
        self.line(format_args!("{}", format!("{INDENT}{text}").trim_end()));
    }

    /// The same, of less weight.
    pub(super) fn faint(&self, text: &str) {
        let Colours { quote, end, .. } = self.colours;
        self.line(format_args!("{INDENT}{quote}{text}{end}"));
    }

    /// The same, to be looked at.
    pub(super) fn strong(&self, text: &str) {
        let Colours { heading, end, .. } = self.colours;
        self.line(format_args!("{INDENT}{heading}{text}{end}"));
    }

    /// How many fell to each, as a bar and as a ratio.
    pub(super) fn bars(&self, tally: &Tally) {
        let (most, total) = (tally.counts().max().unwrap_or(0), tally.total());
        for (name, count) in &tally.0 {
            let bar = "#".repeat(scaled(*count, most, BAR));
            self.line(format_args!(
                "{INDENT}{name:<9} {bar:<BAR$} {count:>6}  {:>5.1} %",
                percent(*count, total)
            ));
        }
    }

    /// Says whether something holds that the demo promised to show.
    pub(super) fn check(&mut self, holds: bool, what: &str) {
        let Colours { good, bad, end, .. } = self.colours;
        self.checks += 1;
        if holds {
            self.line(format_args!("{INDENT}{good}[holds]{end} {what}"));
        } else {
            self.broken += 1;
            self.line(format_args!("{INDENT}{bad}[DOES NOT HOLD]{end} {what}"));
        }
    }

    /// The last line: whether all held. Returns whether it did.
    pub(super) fn conclude(&self, took: Duration) -> bool {
        let (checks, broken, seconds) = (self.checks, self.broken, took.as_secs_f64());
        let verdict = match broken {
            0 => format!("All {checks} checks held"),
            _ => format!("{broken} of {checks} checks did not hold"),
        };
        self.line(format_args!(
            "\n{verdict}, in {seconds:.1} s. Everything that the demo made has been removed."
        ));
        broken == 0
    }

    /// Prints a line. A reader that went away is no failure of what is shown.
    fn line(&self, text: fmt::Arguments<'_>) {
        drop(writeln!(stdout(), "{text}"));
    }
}

/// How many fell to each name. Names are given at the start, so that one that got nothing shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// Counts `seen` over `names` and any other name that occurs.
    pub(super) fn of<'a>(names: &[&'a str], seen: impl Iterator<Item = &'a str>) -> Tally {
        let mut counts: BTreeMap<_, _> = names.iter().map(|name| ((*name).to_owned(), 0)).collect();
        seen.for_each(|name| *counts.entry(name.to_owned()).or_default() += 1);
        Tally(counts)
    }

    pub(super) fn count(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = u64> {
        self.0.values().copied()
    }

    pub(super) fn total(&self) -> u64 {
        self.counts().sum()
    }

    /// The largest distance of any count from the even share, in percent of the share.
    pub(super) fn imbalance_percent(&self) -> f64 {
        let share = self.total() as f64 / self.0.len().max(1) as f64;
        self.counts().map(|count| (count as f64 - share).abs() / share * 100.0).fold(0.0, f64::max)
    }
}

/// A whole number with its thousands apart.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn scaled(count: u64, most: u64, width: usize) -> usize {
    if most == 0 { 0 } else { (count as f64 / most as f64 * width as f64).round() as usize }
}

fn percent(count: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { count as f64 / total as f64 * 100.0 }
}

/// Breaks text at spaces into lines of at most `width` characters; a longer word stands alone.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Escape sequences, all empty where there is no terminal.
#[derive(Clone, Copy, Debug)]
struct Colours {
    heading: &'static str,
    quote: &'static str,
    good: &'static str,
    bad: &'static str,
    end: &'static str,
}

const PLAIN: Colours = Colours { heading: "", quote: "", good: "", bad: "", end: "" };
const COLOURED: Colours =
    Colours { heading: "\x1b[1m", quote: "\x1b[2m", good: "\x1b[32m", bad: "\x1b[1;31m", end: "\x1b[0m" };
const INDENT: &str = "   ";
/// Columns of explanations.
pub(super) const WIDTH: usize = 100;
/// Width of the longest bar.
const BAR: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_and_judges() {
        let tally = Tally::of(&["a", "b", "c"], ["a", "b", "a", "b"].into_iter());
        assert_eq!((tally.count("a"), tally.count("c"), tally.count("d"), tally.total()), (2, 0, 0, 4));
        assert_eq!(tally.imbalance_percent(), 100.0);
        assert_eq!(Tally::of(&["a", "b"], ["b", "a"].into_iter()).imbalance_percent(), 0.0);
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn text_is_wrapped_at_spaces() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensibilities are long", 7), ["incomprehensibilities", "are", "long"]);
        assert!(wrapped("", 7).is_empty());
    }
}

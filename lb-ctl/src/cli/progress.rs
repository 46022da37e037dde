//! How far something is that takes a while: one line on standard error, on a terminal alone.

use std::io::{self, IsTerminal, Write};

use ratatui::crossterm::terminal;

use super::{Failure, unusable};

/// A line that each next one takes the place of.
pub(super) struct Progress {
    is_watched: bool,
    /// The line as it stands there; `None` before the first.
    shown: Option<String>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { is_watched: io::stderr().is_terminal(), shown: None }
    }

    /// Shows the beginning of a text, as much as fits a line, unless that stands there already.
    pub(super) fn tell(&mut self, text: &str) -> Result<(), Failure> {
        if !self.is_watched {
            return Ok(());
        }
        let room = terminal::size().map_or(WIDTH_DEFAULT, |(columns, _)| usize::from(columns));
        let line = cut(text, room.saturating_sub(1));
        if self.shown.as_ref() == Some(&line) {
            return Ok(());
        }
        let mut terminal = io::stderr().lock();
        let written = write!(terminal, "\r\x1b[K{line}").and_then(|()| terminal.flush());
        self.shown = Some(line);
        written.map_err(|error| unusable(&error))
    }

    /// What follows begins on a line of its own.
    pub(super) fn end(&mut self) {
        if self.shown.take().is_some() {
            eprintln!();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// The text, or its beginning with an ellipsis, in `room` characters at most.
fn cut(text: &str, room: usize) -> String {
    match text.chars().count() > room {
        true => text.chars().take(room.saturating_sub(1)).chain((room > 0).then_some('…')).collect(),
        false => text.into(),
    }
}

/// Columns of a terminal that does not say how many it has.
const WIDTH_DEFAULT: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_no_longer_than_the_terminal_is_wide() {
        assert_eq!(cut("1 of 2 healthy", 14), "1 of 2 healthy");
        assert_eq!(cut("1 of 2 healthy", 7), "1 of 2…");
        assert_eq!([0, 1].map(|room| cut("ab", room)), ["", "…"]);
    }
}

//! How far something is that takes a while: one line on standard error, on a terminal alone.

use std::io::{self, IsTerminal, Write};

use super::{Failure, unusable};

/// A line that each next one takes the place of.
pub(super) struct Progress {
    is_watched: bool,
    is_begun: bool,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { is_watched: io::stderr().is_terminal(), is_begun: false }
    }

    pub(super) fn tell(&mut self, text: &str) -> Result<(), Failure> {
        if !self.is_watched {
            return Ok(());
        }
        self.is_begun = true;
        let mut terminal = io::stderr().lock();
        write!(terminal, "\r\x1b[K{text}").and_then(|()| terminal.flush()).map_err(|error| unusable(&error))
    }

    /// What follows begins on a line of its own.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.is_begun) {
            eprintln!();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

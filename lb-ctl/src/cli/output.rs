//! How answers are printed: formats, colours, and where they go.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anstream::ColorChoice;
use clap::ValueEnum;
use serde::Serialize;

use super::{Failure, unusable};
use crate::show::Columns;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// For people with much room: all columns
    Wide,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
}

/// When colours are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Coloring {
    /// On a terminal
    Auto,
    /// Also into pipes and files
    Always,
    /// Never
    Never,
}

impl Format {
    /// The columns of its tables.
    pub(super) fn columns(self) -> Columns {
        if self == Format::Wide { Columns::All } else { Columns::Usual }
    }
}

impl Coloring {
    /// Has the whole process print so.
    pub(super) fn choose(self) {
        let choice = match self {
            Coloring::Auto => ColorChoice::Auto,
            Coloring::Always => ColorChoice::Always,
            Coloring::Never => ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// Prints an answer in a format.
pub(super) fn print<T: Serialize>(
    output: Format,
    answer: &T,
    show: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let text = match output {
        Format::Table | Format::Wide => show(answer),
        Format::Json => serde_json::to_string_pretty(answer).map_err(|error| unusable(&error))?,
        Format::Yaml => serde_saphyr::to_string(answer).map_err(|error| unusable(&error))?,
    };
    say(&text)
}

/// One line, or several, on standard output.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    let said = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
    said.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Unread,
        _ => unusable(&error),
    })
}

/// Something beside the answer, on standard error.
pub(super) fn note(message: &str) {
    anstream::eprintln!("{message}");
}

/// Why something failed, on standard error.
pub(super) fn complain(message: &str) {
    anstream::eprintln!("\x1b[31mlbctl:\x1b[0m {message}");
}

pub(super) fn fail(code: u8, message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(code)
}

//! `lbctl top`: what goes on, on a terminal, once a second.
//!
//! ```text
//!   poll (thread): Status, Targets, Stats -> Sample -> history: rates and graphs -+
//!   terminal: keys, resizes, signals ------------------> state: view, order -----+-> rows -> screen
//! ```
//!
//! What is shown is a pure function of `state::Top`; only `terminal` and `poll` touch the world.

mod columns;
mod history;
mod poll;
mod rows;
mod screen;
mod state;
mod terminal;
mod text;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use ratatui::{buffer::Buffer, layout::Rect, widgets::Widget};

use crate::client::{Client, ClientError};
use screen::Screen;
use state::Top;

/// Why there is no screen.
#[derive(Debug)]
pub enum TopError {
    /// Standard input or output is no terminal.
    NoTerminal,
    /// The terminal does not work.
    Terminal(io::Error),
    /// The daemon does not answer.
    Client(ClientError),
}

/// Shows the screen until somebody quits, or a signal ends the process.
pub fn run(client: Client, interval: Duration) -> Result<(), TopError> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Err(TopError::NoTerminal);
    }
    terminal::run(poll::start(client, interval)).map_err(TopError::Terminal)
}

/// One frame of 80 columns and 24 lines, with the rates of one interval.
pub fn once(client: &Client, interval: Duration) -> Result<String, TopError> {
    let mut top = Top::default();
    let clock = poll::Clock::start();
    top.take(poll::take(client, &clock).map_err(TopError::Client)?);
    std::thread::sleep(interval);
    top.take(poll::take(client, &clock).map_err(TopError::Client)?);
    let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
    Screen(&top).render(buffer.area, &mut buffer);
    Ok(text::of_buffer(&buffer))
}

impl std::fmt::Display for TopError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TopError::NoTerminal => f.write_str(
                "top needs a terminal to draw on; `lbctl top --once` prints one frame, `lbctl stats` and `lbctl status` (with \
                 --watch, if it shall go on) print plain text",
            ),
            TopError::Terminal(error) => write!(f, "the terminal does not work: {error}"),
            TopError::Client(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TopError {}

#[cfg(test)]
mod tests;

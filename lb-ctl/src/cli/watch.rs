//! `--watch`: the same look again and again.

use std::{
    io::{self, IsTerminal, Write},
    thread,
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, bounded};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{Failure, output, unusable};

/// Looks until Ctrl-C or SIGTERM. A terminal shows the last look alone; elsewhere an empty line stands between two.
pub(super) fn repeat(
    interval: Duration,
    mut look: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| unusable(&error))?;
    let (stop, stopped) = bounded(1);
    thread::spawn(move || signals.forever().next().map(|_| stop.send(())));
    let clears = io::stdout().is_terminal();
    loop {
        if clears {
            let mut out = io::stdout().lock();
            out.write_all(CLEAR).and_then(|()| out.flush()).map_err(|error| unusable(&error))?;
        }
        match look() {
            Ok(()) => {}
            Err(Failure::Unread) => return Err(Failure::Unread),
            // It may come back, or be healthy again.
            Err(
                Failure::Refused(message)
                | Failure::Unusable(message)
                | Failure::Away(message)
                | Failure::Outdated(message),
            ) => {
                output::complain(&message);
            }
        }
        match stopped.recv_timeout(interval) {
            Err(RecvTimeoutError::Timeout) if clears => {}
            Err(RecvTimeoutError::Timeout) => output::say("")?,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// A time between two looks, in seconds.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (SHORTEST_SECONDS..=LONGEST_SECONDS).contains(seconds));
    let expected = format!("expected seconds from {SHORTEST_SECONDS} to {LONGEST_SECONDS}");
    seconds.map(Duration::from_secs_f64).ok_or(expected)
}

/// Cursor to the top left, and nothing below it.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

const SHORTEST_SECONDS: f64 = 0.1;
const LONGEST_SECONDS: f64 = 86_400.0;

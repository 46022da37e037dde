//! Ctrl-C and SIGTERM, for verbs that have something to say in the end.

use std::thread;

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

use super::{Failure, unusable};
use crate::client::Stopper;

/// Has the first of these signals end a stream, and the next this process, as if it knew nothing of signals: it may be waiting for
/// whoever reads what it prints.
pub(super) fn ends(stopper: Stopper) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| unusable(&error))?;
    thread::spawn(move || {
        for signal in signals.forever() {
            if stopper.is_stopped() {
                drop(emulate_default_handler(signal)); // Fails only for signals that do not exist.
            }
            stopper.stop();
        }
    });
    Ok(())
}

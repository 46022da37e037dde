//! Asks the daemon, once an interval, on a thread of its own: a daemon that is slow to answer does not keep keys waiting.

use std::{
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

use crate::{
    api::{Stats, Status, TargetRow},
    client::{Client, ClientError},
};

/// What the daemon said at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// When, in seconds since the beginning.
    pub(super) at_seconds: f64,
    pub(super) status: Status,
    pub(super) targets: Vec<TargetRow>,
    pub(super) stats: Stats,
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum News {
    Sample(Box<Sample>),
    /// The daemon does not answer, and why.
    Away(String),
}

/// Time since the beginning.
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Clock {
        Clock(Instant::now())
    }
}

/// Begins to ask. Dropping the receiver ends it.
pub(super) fn start(client: Client, interval: Duration) -> Receiver<News> {
    let (sender, news) = crossbeam_channel::bounded(1);
    let clock = Clock::start();
    thread::spawn(move || {
        loop {
            let asked = Instant::now();
            let answer = match take(&client, &clock) {
                Ok(sample) => News::Sample(sample.into()),
                Err(error) => News::Away(error.to_string()),
            };
            if sender.send(answer).is_err() {
                return;
            }
            thread::sleep(interval.saturating_sub(asked.elapsed()));
        }
    });
    news
}

/// Asks once.
pub(super) fn take(client: &Client, clock: &Clock) -> Result<Sample, ClientError> {
    let (status, targets, stats) = (client.status()?, client.targets()?, client.stats()?);
    Ok(Sample { at_seconds: clock.0.elapsed().as_secs_f64(), status, targets, stats })
}

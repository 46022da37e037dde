//! Questions to the workers about their flows: asked without waiting, answered between bursts, collected by whoever has the time.

use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use lb_core::{datapath::Why, flow_key::FlowKey};

use super::{Engine, Member};
use crate::{
    clock,
    worker::{Asker, Command, FlowQuery, FlowsFound},
};

/// Answers of workers, on their way. Dropping them is no harm.
#[derive(Debug)]
pub struct Answers<T> {
    waiting: Vec<(u8, Receiver<T>)>,
    silent: Vec<u8>,
    deadline: std::time::Instant,
}

impl<T> Answers<T> {
    /// Waits for them, at most three seconds from the question on. Beside them, the numbers of the workers that did not answer.
    pub fn collect(self) -> (Vec<T>, Vec<u8>) {
        let Answers { waiting, mut silent, deadline } = self;
        let mut answers = Vec::with_capacity(waiting.len());
        for (worker, answer) in waiting {
            match answer.recv_deadline(deadline) {
                Ok(answer) => answers.push(answer),
                Err(_) => silent.push(worker),
            }
        }
        silent.sort_unstable();
        (answers, silent)
    }
}

impl Engine {
    /// Has the workers, or one of them, look through their flows, some records in each turn. Does not wait.
    pub fn find_flows(&self, query: &FlowQuery, worker: Option<u8>) -> Answers<FlowsFound> {
        self.ask(worker, |asker| Command::Flows(query.clone(), asker))
    }

    /// Asks every worker why packets with a key fare as they do. Does not wait.
    pub fn ask_why(&self, key: FlowKey) -> Answers<Why> {
        self.ask(None, |asker| Command::Why(key, asker))
    }

    fn ask<T>(&self, only: Option<u8>, command: impl Fn(Asker<T>) -> Command) -> Answers<T> {
        let until = clock::now().after_seconds(SEARCH_SECONDS);
        let deadline = std::time::Instant::now() + PATIENCE;
        let mut answers = Answers { waiting: Vec::new(), silent: Vec::new(), deadline };
        for (number, member) in (0..).zip(&self.crew) {
            if only.is_some_and(|only| only != number) {
                continue;
            }
            if !member.is_listening() {
                answers.silent.push(number);
                continue;
            }
            let (answer, answered) = bounded(1);
            member.tell(command(Asker { answer, until }));
            answers.waiting.push((number, answered));
        }
        answers
    }
}

impl Member {
    /// Whether it runs, and has not left too many commands untouched.
    pub(super) fn is_listening(&self) -> bool {
        self.is_running() && self.commands.len() < COMMANDS_WAITING
    }
}

/// A search through the flows ends after this long, in seconds, wherever it is.
const SEARCH_SECONDS: u64 = 2;

/// Time that workers have to answer.
const PATIENCE: Duration = Duration::from_secs(SEARCH_SECONDS + 1);

/// A worker that has so many commands before it is asked nothing.
const COMMANDS_WAITING: usize = 256;

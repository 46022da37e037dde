//! Questions to the workers: handed on by the control thread, which does not wait. A thread of each question's own does, so that a
//! worker that is stuck holds up nobody but who asked.

use std::{collections::BTreeSet, io, sync::Arc, thread, time::Instant};

use crossbeam_channel::Sender;
use lb_core::{
    datapath::{FlowView, Why},
    flow::State,
    flow_key::FlowKey,
    tables::Source,
};
use lb_ctl::{
    api::{self, FlowList, FlowRow, FlowsQuery, Refusal, RefusalCode, WhyQuery},
    health::TargetKey,
    server::Reply,
};
use lb_io::engine::{Extent, FlowQuery, FlowsFound};

use crate::{
    control::{Control, Event},
    leaving::{FlowsOfSources, SourcesInUse},
    log::complain,
};

/// How many questions are under way.
#[derive(Debug)]
pub struct Questions {
    events: Sender<Event>,
    /// Held by the thread of each question.
    permits: Arc<()>,
}

/// What the workers have said to a question.
#[derive(Debug)]
pub struct Answered {
    /// From whom to whom.
    pub query: WhyQuery,
    /// By worker.
    pub said: Vec<Why>,
    /// Workers that did not answer.
    pub silent: Vec<u8>,
    /// Where the answer goes.
    pub reply: Reply<api::Why>,
}

impl Questions {
    /// None yet; what is left to say to answers, the control thread says when it gets them by `events`.
    pub fn new(events: Sender<Event>) -> Questions {
        Questions { events, permits: Arc::default() }
    }

    pub(crate) fn are_too_many(&self) -> bool {
        Arc::strong_count(&self.permits) > QUESTIONS
    }

    /// Has a thread wait for answers.
    fn collect(&self, collect: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let permit = self.permits.clone();
        let run = move || {
            collect();
            drop(permit);
        };
        thread::Builder::new().name("question".into()).spawn(run).map(drop)
    }
}

impl Control {
    /// Has the workers look for flows.
    pub(crate) fn find_flows(&self, query: FlowsQuery, reply: Reply<FlowList>) {
        if self.questions.are_too_many() {
            return reply.refuse(Refusal::of(RefusalCode::ServiceUnavailable, TOO_MANY));
        }
        let limit = query.limit();
        let (extent, worker) = (if query.count { Extent::Count } else { Extent::Some(limit) }, query.worker);
        let filter = Arc::new(move |flow: &_| query.matches(flow));
        let answers = self.engine.find_flows(&FlowQuery { extent, filter }, worker);
        let collect = move || {
            let (found, silent_workers) = answers.collect();
            reply.send(FlowList { silent_workers, ..flow_list(found, limit) });
        };
        log_failure(self.questions.collect(collect));
    }

    /// Has the workers look for a client that waits for a target's answer, and hands on its flow: if there is one, that of a client who
    /// is not behind the same next hop.
    pub(crate) fn find_waiting_client(&self, target: TargetKey) {
        let end = (target.address, target.port);
        let is_waiting = move |flow: &FlowView| flow.target == end && WAITING.contains(&flow.state);
        let query = FlowQuery { extent: Extent::Some(WAITING_CLIENTS), filter: Arc::new(is_waiting) };
        let (answers, events) = (self.engine.find_flows(&query, None), self.questions.events.clone());
        let collect = move || {
            let flows = answers.collect().0.into_iter().flat_map(|found| found.flows);
            let telling = flows.min_by_key(|flow| flow.shares_hop);
            // Nobody listens any more only when the daemon is stopping.
            drop(events.send(Event::Bypassed(target, telling)));
        };
        log_failure(self.questions.collect(collect));
    }

    /// Has the workers count the flows of sources. Nothing is heard of it unless all of them have looked at all.
    pub(crate) fn count_flows_of(&self, sources: BTreeSet<Source>, asked: Instant) {
        let flows = FlowsOfSources::new(sources);
        let counted = flows.clone();
        let count = move |flow: &FlowView| {
            counted.count(flow);
            false
        };
        let query = FlowQuery { extent: Extent::Count, filter: Arc::new(count) };
        let (answers, events) = (self.engine.find_flows(&query, None), self.questions.events.clone());
        let collect = move || {
            let (found, silent) = answers.collect();
            if silent.is_empty() && found.iter().all(|found| found.is_complete) {
                // Nobody listens any more only when the daemon is stopping.
                drop(events.send(Event::SourcesInUse(SourcesInUse { asked, flows: flows.counted() })));
            }
        };
        log_failure(self.questions.collect(collect));
    }

    /// Has the workers say why packets with a key fare as they do.
    pub(crate) fn ask_why(&self, query: WhyQuery, key: FlowKey, reply: Reply<api::Why>) {
        if self.questions.are_too_many() {
            return reply.refuse(Refusal::of(RefusalCode::ServiceUnavailable, TOO_MANY));
        }
        let (answers, events) = (self.engine.ask_why(key), self.questions.events.clone());
        let collect = move || {
            let (said, silent) = answers.collect();
            // Nobody listens any more only when the daemon is stopping.
            drop(events.send(Event::Why(Answered { query, said, silent, reply })));
        };
        log_failure(self.questions.collect(collect));
    }
}

/// What workers found, as one list of at most `limit` flows.
fn flow_list(found: Vec<FlowsFound>, limit: usize) -> FlowList {
    let mut list = FlowList { is_complete: true, ..FlowList::default() };
    for FlowsFound { flows, count, is_complete } in found {
        list.count += count;
        list.is_complete &= is_complete;
        list.flows.extend(flows.into_iter().map(FlowRow::from));
    }
    if list.flows.len() > limit {
        list.flows.truncate(limit);
        list.is_complete = false;
    }
    list
}

/// The reply that the thread had is dropped with it, which tells who asked.
fn log_failure(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        complain!("a question about flows is not answered: no thread can be started: {error}");
    }
}

/// States of flows whose client waits for an answer, or has had one that did not come by here.
const WAITING: [&str; 2] = [State::HalfOpen.name(), State::AnsweredElsewhere.name()];

/// Of so many of them, from each worker, the most telling is chosen.
const WAITING_CLIENTS: usize = 64;

/// Most questions under way at once.
const QUESTIONS: usize = 16;

const TOO_MANY: &str = "too many questions about flows are under way: ask again in a few seconds";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_questions_are_under_way_than_may_be() {
        let questions = Questions::new(crossbeam_channel::unbounded().0);
        let (release, released) = crossbeam_channel::bounded::<()>(0);
        for _ in 0..QUESTIONS {
            assert!(!questions.are_too_many());
            let released = released.clone();
            questions.collect(move || assert!(released.recv().is_err())).unwrap();
        }
        assert!(questions.are_too_many());
        drop(release);
        while questions.are_too_many() {
            thread::yield_now();
        }
    }
}

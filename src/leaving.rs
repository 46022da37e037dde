//! Sources that are to go: those that the configuration names no more, and those whose address is not to be on an interface of ours any more.
//! Targets of flows that have them would talk to nobody, so both stay, steered and answered for, until the workers say that no flow
//! has them. Owned by the control thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use lb_core::{
    datapath::FlowView,
    flow::State,
    limits,
    tables::{Source, Tables},
};

use crate::{
    control::Control,
    log::{complain, say},
};

/// What all workers have said.
#[derive(Clone, Debug)]
pub struct SourcesInUse {
    /// When they were asked.
    pub asked: Instant,
    /// How many flows have each of the sources that they were asked about.
    pub flows: BTreeMap<Source, u64>,
}

/// What is known of the sources that are to go.
#[derive(Debug, Default)]
pub struct Leaving {
    /// What the workers were asked about last, and when.
    asked: Option<(BTreeSet<Source>, Instant)>,
    /// Of these the answer is still awaited, and will hold: no flow can have got them since.
    awaited: BTreeSet<Source>,
    /// Those that were told of as kept.
    told: BTreeSet<Source>,
}

impl Leaving {
    /// Whether the workers are to be asked about these: at once when one of them is new, then every few seconds.
    fn is_due(&self, sources: &BTreeSet<Source>, now: Instant) -> bool {
        let is_old = |(asked, at): &(BTreeSet<Source>, Instant)| {
            sources.is_subset(asked) && now.saturating_duration_since(*at) < ASKED_AGAIN
        };
        !sources.is_empty() && !self.asked.as_ref().is_some_and(is_old)
    }

    /// Notes that the workers are asked about these now.
    fn ask(&mut self, sources: BTreeSet<Source>, now: Instant) {
        self.awaited.clone_from(&sources);
        self.asked = Some((sources, now));
    }

    /// Takes in the answer, and returns the sources that no flow has; those that are told of for the first time beside them. Nothing
    /// comes of an answer to an earlier question.
    fn learn(&mut self, answer: &SourcesInUse) -> (BTreeSet<Source>, Vec<Source>) {
        if self.asked.as_ref().is_none_or(|(_, at)| *at != answer.asked) {
            return Default::default();
        }
        let is_used = |source: &Source| answer.flows.get(source).is_some_and(|flows| *flows > 0);
        let (used, unused): (BTreeSet<Source>, _) =
            std::mem::take(&mut self.awaited).into_iter().partition(is_used);
        let news = used.difference(&self.told).copied().collect();
        self.told = used;
        (unused, news)
    }
}

impl Control {
    /// Sources that are to go when no flow has them any more.
    fn leaving_sources(&self) -> BTreeSet<Source> {
        let mut sources = self.compiler.old_sources();
        let of_tables = self.tables.sources().iter();
        sources.extend(of_tables.filter(|source| self.addresses.is_kept(source.address)));
        sources
    }

    /// Has the workers count the flows of sources that are to go.
    pub(crate) fn watch_leaving_sources(&mut self) {
        let (sources, now) = (self.leaving_sources(), Instant::now());
        if self.leaving.is_due(&sources, now) && !self.questions.are_too_many() {
            self.leaving.ask(sources.clone(), now);
            self.count_flows_of(sources, now);
        }
    }

    /// Forgets answers that are awaited about sources that are not to go any more: flows may get them again.
    pub(crate) fn note_sources_that_stay(&mut self) {
        if !self.leaving.awaited.is_empty() {
            let leaving = self.leaving_sources();
            self.leaving.awaited.retain(|source| leaving.contains(source));
        }
    }

    /// Has those sources go that no flow has.
    pub(crate) fn learn_sources_in_use(&mut self, answer: &SourcesInUse) {
        let (unused, news) = self.leaving.learn(answer);
        for source in news {
            let Source { address, first_port, last_port } = source;
            say!(
                "{address} is kept, with its ports {first_port}-{last_port}, until the flows that have it as their source are over: {}",
                answer.flows.get(&source).unwrap_or(&0)
            );
        }
        if !unused.is_empty() {
            self.compiler.forget_sources(&unused);
            self.refresh();
            self.release_addresses_but(&in_tables(&self.tables, &unused));
        }
    }

    /// Tells of sources that there is no room for any more in the tables in force.
    pub(crate) fn warn_of_crowded_out(&mut self) {
        let crowded_out = self.compiler.take_crowded_out();
        for Source { address, first_port, last_port } in crowded_out.iter().take(SOURCES_SHOWN) {
            complain!(
                "WARNING: {address} with its ports {first_port}-{last_port} is not kept any more, though flows may have it as their \
                 source, which targets do not reach then: there are more than {} sources",
                limits::SOURCES
            );
        }
        if crowded_out.len() > SOURCES_SHOWN {
            complain!("WARNING: and {} sources more", crowded_out.len() - SOURCES_SHOWN);
        }
    }

    /// Takes the addresses off that the configuration in force does not want, but for those that flows may have as their source.
    pub(crate) fn release_addresses(&mut self) {
        self.release_addresses_but(&in_tables(&self.tables, &BTreeSet::new()));
    }

    fn release_addresses_but(&mut self, in_use: &BTreeSet<IpAddr>) {
        if let Err(error) = self.addresses.release(&self.store.config, in_use, &self.state) {
            complain!("{error}");
        }
    }
}

/// Addresses that flows may have as their sources, given those that none has.
fn in_tables(tables: &Tables, unused: &BTreeSet<Source>) -> BTreeSet<IpAddr> {
    let sources = tables.sources().iter();
    sources.filter(|source| !unused.contains(source)).map(|source| source.address).collect()
}

/// Flows of sources, counted by several workers at a time.
#[derive(Clone, Debug)]
pub(crate) struct FlowsOfSources(Arc<BTreeMap<Source, AtomicU64>>);

impl FlowsOfSources {
    pub(crate) fn new(sources: BTreeSet<Source>) -> FlowsOfSources {
        FlowsOfSources(Arc::new(sources.into_iter().map(|source| (source, AtomicU64::new(0))).collect()))
    }

    /// Counts a flow, unless it is cut: nothing is sent on for that any more.
    pub(crate) fn count(&self, flow: &FlowView) {
        let (address, port) = flow.source;
        let bound = |port| Source { address, first_port: port, last_port: port };
        if flow.state == State::Cut.name() {
            return;
        }
        for (source, flows) in self.0.range(bound(0)..=bound(u16::MAX)) {
            if (source.first_port..=source.last_port).contains(&port) {
                flows.fetch_add(1, Relaxed);
            }
        }
    }

    pub(crate) fn counted(&self) -> BTreeMap<Source, u64> {
        self.0.iter().map(|(source, flows)| (*source, flows.load(Relaxed))).collect()
    }
}

/// How often the workers are asked about sources that are to go.
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// Sources that one change of the tables warns of.
const SOURCES_SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str, ports: (u16, u16)) -> Source {
        Source { address: address.parse().unwrap(), first_port: ports.0, last_port: ports.1 }
    }

    fn answer(asked: Instant, flows: &[(Source, u64)]) -> SourcesInUse {
        SourcesInUse { asked, flows: flows.iter().copied().collect() }
    }

    #[test]
    fn a_source_goes_when_no_flow_has_it() {
        let (one, other) = (source("198.19.1.10", (1_024, 65_535)), source("198.19.1.11", (1_024, 65_535)));
        let (mut leaving, asked) = (Leaving::default(), Instant::now());
        let both = BTreeSet::from([one, other]);
        assert!(leaving.is_due(&both, asked) && !leaving.is_due(&BTreeSet::new(), asked));
        leaving.ask(both.clone(), asked);
        let due = asked + ASKED_AGAIN;
        assert!(!leaving.is_due(&both, due - Duration::from_nanos(1)), "it was asked a moment ago");
        assert!(leaving.is_due(&both, due));
        let (unused, news) = leaving.learn(&answer(asked, &[(one, 3), (other, 0)]));
        assert_eq!((unused, news), ([other].into(), vec![one]));
        leaving.ask([one].into(), due);
        let (unused, news) = leaving.learn(&answer(due, &[(one, 1)]));
        assert_eq!((unused, news), (BTreeSet::new(), vec![]), "it was told already");
        assert!(leaving.is_due(&both, due), "one of them is new");
    }

    #[test]
    fn an_answer_to_an_earlier_question_is_none() {
        let one = source("198.19.1.10", (1_024, 65_535));
        let mut leaving = Leaving::default();
        let first = Instant::now();
        let second = first + ASKED_AGAIN;
        leaving.ask([one].into(), first);
        leaving.ask([one].into(), second);
        assert_eq!(leaving.learn(&answer(first, &[(one, 0)])), Default::default());
        assert_eq!(leaving.learn(&answer(second, &[(one, 0)])).0, [one].into());
    }

    #[test]
    fn an_answer_does_not_hold_for_a_source_that_was_wanted_again() {
        let one = source("198.19.1.10", (1_024, 65_535));
        let mut leaving = Leaving::default();
        let asked = Instant::now();
        leaving.ask([one].into(), asked);
        leaving.awaited.clear();
        assert_eq!(leaving.learn(&answer(asked, &[(one, 0)])), Default::default());
    }
}

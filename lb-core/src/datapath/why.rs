//! Why packets with a key fare as they do: what the flow table and the tables in force say of them, by the functions that decide
//! about packets. Changes nothing; called between bursts, for people.

use std::sync::Arc;

use super::{
    Datapath, Pipeline, TranslationCause, choice::Preference, end::has_to_rest, miss::Known,
    preamble::header_placement,
};
use crate::{
    flow::{Direction, FlowView, State},
    flow_key::FlowKey,
    listener::ListenerId,
    parse::has_martian_source,
    select::{self, Selection},
    tables::{Endpoint, Protocol, Tables},
    target::{CutCause, TargetId},
    time::Instant,
    verdict::Reason,
};

/// What one worker says of packets with a key.
#[derive(Clone, Debug)]
pub struct Why {
    /// The worker.
    pub worker: u8,
    /// Whether a new flow with the key would be this worker's.
    pub is_home: bool,
    /// The tables that it goes by.
    pub tables: Arc<Tables>,
    /// Why those of no flow are dropped for their source address, whatever else is said of them. A martian one has no flow.
    pub source_refusal: Option<Reason>,
    /// The flow that the packets belong to.
    pub flow: Option<FlowFate>,
    /// What they would meet if there were no flow, or where it is over.
    pub outlook: Outlook,
}

/// A flow in the flow table, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowFate {
    /// The flow.
    pub view: FlowView,
    /// Its state.
    pub state: State,
    /// Which way packets with the key go.
    pub direction: Direction,
    /// Whether the first packet (TCP: a SYN) of a new flow takes its place.
    pub is_over: bool,
    /// Why its next packet has it cut, if it does.
    pub cut: Option<CutCause>,
    /// Whether the way that the packets leave by is known.
    pub has_next_hop: bool,
    /// Whether the target is owed a PROXY header: by a TCP flow one, by a UDP flow one with every datagram.
    pub is_owed_header: bool,
}

/// What packets of no flow meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// They are a client's, for a listener.
    Client {
        /// The listener.
        listener: ListenerId,
        /// Which target the tables alone name; `None` when the listener gives no target group a weight.
        selection: Option<Selection>,
        /// What becomes of them.
        prospect: Prospect,
    },
    /// They are a target's.
    Target {
        /// The target; the first, where the same address and port is in several target groups.
        target: TargetId,
        /// The listener that adopts them, if one does.
        origin: Option<ListenerId>,
        /// What they are counted under.
        reason: Reason,
    },
    /// They are neither.
    Nobody,
}

/// What a client's packets of no flow meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// What the packet that opens the flow is counted under: a datagram, a SYN or, at a listener with SYN cookies, the packet that
    /// confirms one.
    pub reason: Reason,
    /// What any other TCP packet is counted under.
    pub stray: Reason,
    /// The target: another than the selected one where the client's port already leads to that by another listener.
    pub target: Option<TargetId>,
    /// Why the target does not see the client, where it does not.
    pub translated: Option<TranslationCause>,
    /// Whether the target is chosen without regard to its health.
    pub is_failing_open: bool,
}

impl Why {
    /// What the next packet is counted under: one of the flow, or else the first of a new one.
    pub fn reason(&self) -> Reason {
        match (&self.flow, &self.outlook) {
            (Some(flow), _) if !flow.is_replaced() => flow.reason(),
            _ if let Some(reason) = self.source_refusal => reason,
            (_, Outlook::Client { prospect, .. }) => prospect.reason,
            (_, Outlook::Target { reason, .. }) => *reason,
            (_, Outlook::Nobody) => Reason::NoListener,
        }
    }
}

impl FlowFate {
    /// Whether the packets are a client's, and the first of a new flow begins that in this one's place.
    pub fn is_replaced(&self) -> bool {
        self.is_over && self.direction == Direction::Forward
    }

    /// What the flow's next packet is counted under, unless it is a reset, a SYN, the segment that a PROXY header goes with, or
    /// one that the numbers of a flow which is owed a header refuse.
    pub fn reason(&self) -> Reason {
        match (self.state, self.direction) {
            (State::Cut, _) => Reason::ResetTerminated,
            _ if self.cut.is_some() => Reason::ResetTerminated,
            (State::Connecting, Direction::Forward) => Reason::SynToTarget,
            (State::Connecting, Direction::Reverse) => Reason::Connecting,
            (State::Udp, Direction::Forward) if self.has_next_hop && self.is_owed_header => {
                Reason::ProxyHeader
            }
            _ if self.has_next_hop => Reason::FlowHit,
            _ => Reason::NextHopUnresolved,
        }
    }
}

impl Datapath<'_> {
    /// Why packets with a key fare as they do now.
    pub fn why(&self, key: &FlowKey, now: Instant) -> Why {
        let Datapath { tables, pipeline, .. } = self;
        let (outlook, home) = pipeline.outlook(tables, key, now);
        let source_refusal = refuse_source(tables, key);
        Why {
            worker: pipeline.worker,
            is_home: home == pipeline.worker,
            tables: tables.clone(),
            source_refusal,
            flow: pipeline.fate(tables, key, now).filter(|_| source_refusal != Some(Reason::MartianSource)),
            outlook,
        }
    }
}

impl Pipeline<'_> {
    fn fate(&self, tables: &Tables, key: &FlowKey, now: Instant) -> Option<FlowFate> {
        let now_ms = now.wrapping_millis();
        let (record, direction) = self.flows.lookup(self.flows.hash(key), key)?;
        let flow = self.flows.flow(record);
        let standing = self.standing(tables, record);
        let is_revalidated = flow.epoch != tables.epoch();
        let is_gone = is_revalidated && standing.is_gone(flow.state());
        if flow.is_expired(now_ms) || is_gone || flow.state() == State::Resting {
            return None;
        }
        let hop = flow.hop(direction).or_else(|| match direction {
            Direction::Forward => None,
            Direction::Reverse => tables.hop(self.flows.key(record, Direction::Forward).source()),
        });
        Some(FlowFate {
            view: FlowView::new((self.worker, flow, self.flows.addresses(record)), now_ms),
            state: flow.state(),
            direction,
            is_over: flow.state().is_over() && !self.is_renewable(tables, record),
            cut: standing.cause.filter(|_| is_revalidated && standing.is_cut(flow.state())),
            has_next_hop: hop.is_some(),
            is_owed_header: flow.is_owed_header(),
        })
    }

    /// What packets with a key meet, and at which worker, when they are of no flow.
    fn outlook(&self, tables: &Tables, key: &FlowKey, now: Instant) -> (Outlook, u8) {
        let id = key.destination_endpoint().and_then(|endpoint| tables.listener_at(&endpoint));
        if let Some((id, listener)) = id.and_then(|id| Some((id, tables.listener(id)?))) {
            let outlook = Outlook::Client {
                listener: id,
                selection: select::trace(tables, id, &self.selection_secret, key),
                prospect: self.prospect(tables, (id, listener), key, now),
            };
            return (outlook, self.homes_of_request(tables, listener, key).first());
        }
        let rows = key.source_endpoint().map_or(&[][..], |endpoint| tables.listeners_of_target(&endpoint));
        match rows.first() {
            Some(row) => {
                let outlook = self.outlook_of_target(tables, (row.2, rows), key, now);
                (outlook, self.homes_of_reply(tables, rows, key).first())
            }
            None => (Outlook::Nobody, self.worker),
        }
    }

    /// As [`Pipeline::miss`] decides about a client's packet.
    fn prospect(&self, tables: &Tables, known: Known<'_>, key: &FlowKey, now: Instant) -> Prospect {
        let listener = known.1;
        let refused = |reason| Prospect {
            reason,
            stray: reason,
            target: None,
            translated: None,
            is_failing_open: false,
        };
        let closing = listener.forward.is_closing().then_some(Reason::NoListener);
        if let Some(reason) = refuse_source(tables, key).or(closing) {
            return refused(reason);
        }
        let is_tcp = key.protocol() == Protocol::Tcp as u8;
        let is_adopted = self.may_adopt(tables, listener, now) && self.keeps_client(tables, listener, key);
        let preference = match self.prefer(tables, known, key, now) {
            Some(preference) => preference,
            None => {
                let reason = if is_tcp { Reason::ResetNoTarget } else { Reason::NoTarget };
                let stray = if is_adopted { reason } else { Reason::ResetNoFlow };
                return Prospect { stray, ..refused(reason) };
            }
        };
        let refusal = self.refuse_preference(listener, &preference, key, now).or_else(|| {
            self.lacks_source(tables, listener, &preference, key, now).then_some(Reason::NoSourcePort)
        });
        let Preference { target_id, translated, is_failing_open, .. } = preference;
        let has_room = self.has_room(&preference, key, now);
        let is_owed_header = header_placement(tables, target_id).is_some();
        let keeps_state = translated.is_some() || is_owed_header || is_tcp && listener.has_syn_cookies;
        let reason = refusal.unwrap_or(match has_room {
            false if keeps_state => Reason::FlowTableFull,
            false => Reason::Stateless,
            true if is_tcp && listener.has_syn_cookies => Reason::SynToTarget,
            true => Reason::FlowNew,
        });
        let stray = match () {
            () if !is_adopted => Reason::ResetNoFlow,
            () if let Some(refusal) = refusal => refusal,
            () if translated.is_some() => Reason::ResetNoFlow,
            () if !has_room => Reason::Stateless,
            () => Reason::FlowAdopted,
        };
        Prospect { reason, stray, target: Some(target_id), translated, is_failing_open }
    }

    /// Whether the flow table takes in a preferred flow: an earlier one with the same key or the same replies makes room.
    fn has_room(&self, preference: &Preference<'_>, key: &FlowKey, now: Instant) -> bool {
        let makes_room = |record: u32| !has_to_rest(self.flows.flow(record), now.wrapping_millis());
        let earlier = self.flows.lookup(self.flows.hash(key), key).map(|found| found.0);
        let rival = self.rival(preference.target, key).filter(|_| preference.translated.is_none());
        !self.flows.is_full() || earlier.or(rival).is_some_and(makes_room)
    }

    /// As [`Pipeline::miss`] decides about a target's packet that is no reset.
    fn outlook_of_target(
        &self,
        tables: &Tables,
        (target, rows): (TargetId, &[(Endpoint, ListenerId, TargetId)]),
        key: &FlowKey,
        now: Instant,
    ) -> Outlook {
        let is_ours = tables.is_source(key.destination());
        let origins: Vec<_> = self.origins(tables, rows, key, now).take(2).collect();
        let may_be_known = !is_ours && (!origins.is_empty() || self.adopts_strays(now));
        let record = |key: &FlowKey| self.flows.lookup(self.flows.hash(key), key).map(|found| found.0);
        match &origins[..] {
            [((id, _), target, forward)] if !is_ours => {
                // Their own flow, if it is found, is over.
                let reason = match record(forward).filter(|other| Some(*other) != record(key)) {
                    Some(_) => Reason::NoFlow, // The client's flow is with another target.
                    None if tables.hop(key.destination()).is_none() => Reason::NextHopUnresolved,
                    None if self.flows.is_full() => Reason::Stateless,
                    None => Reason::FlowAdopted,
                };
                Outlook::Target { target: *target, origin: Some(*id), reason }
            }
            _ if key.protocol() == Protocol::Tcp as u8 && !may_be_known => {
                Outlook::Target { target, origin: None, reason: Reason::ResetNoFlow }
            }
            _ => Outlook::Target { target, origin: None, reason: Reason::NoFlow },
        }
    }
}

/// Why packets of no flow are dropped for their source, whoever they are for.
fn refuse_source(tables: &Tables, key: &FlowKey) -> Option<Reason> {
    match () {
        () if has_martian_source(key) => Some(Reason::MartianSource),
        () if tables.is_own(key.source()) => Some(Reason::OwnSource),
        () => None,
    }
}

//! Which target a new flow gets, and as whom: first what is preferred as things stand, which changes nothing and so can be asked
//! without a packet, then the choice that takes it.

use std::net::IpAddr;

use super::{Pipeline, end::has_to_rest, miss::Known, source::Wanted};
use crate::{
    flow::Direction,
    flow_key::FlowKey,
    listener::Listener,
    select,
    tables::{NextHop, Tables},
    target::{Target, TargetId},
    time::Instant,
    verdict::Reason,
};

/// Where a new flow goes, and as whom. Ports in network order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) target_id: TargetId,
    pub(super) target: (IpAddr, [u8; 2]),
    pub(super) source: (IpAddr, [u8; 2]),
    pub(super) hop: NextHop,
    /// Whether the client is the target itself, or on its node.
    pub(super) is_hairpin: bool,
    /// Whether targets are chosen without regard to their health.
    pub(super) is_failing_open: bool,
}

/// What a choice would be now, but for the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preference<'t> {
    pub(super) target_id: TargetId,
    pub(super) target: &'t Target,
    /// Why the target does not see the client, where it does not.
    pub(super) translated: Option<TranslationCause>,
    pub(super) is_failing_open: bool,
}

/// Why a target sees a source of ours instead of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationCause {
    /// The client is the target itself.
    Hairpin,
    /// The client is another target behind the same next hop, and would be answered there: a pod of the same node, or the node.
    SameNode,
    /// The target's address is of the other family.
    OtherFamily,
    /// The target group does not preserve clients' addresses (NLB `preserve_client_ip.enabled`).
    NotPreserved,
    /// The client's port already leads to every candidate, by other listeners.
    Collision,
}

impl TranslationCause {
    /// Why a target does not see a client of its own accord, if it does not.
    #[inline]
    pub fn of(tables: &Tables, client: IpAddr, target: &Target) -> Option<TranslationCause> {
        let preserves = || tables.group(target.group).is_some_and(|group| group.preserves_client_ip);
        match () {
            () if target.address == client => Some(TranslationCause::Hairpin),
            () if target.address.is_ipv6() != client.is_ipv6() => Some(TranslationCause::OtherFamily),
            () if !preserves() => Some(TranslationCause::NotPreserved),
            () if tables.shares_hop(client, target) => Some(TranslationCause::SameNode),
            () => None,
        }
    }

    /// Whether the client is the target itself, or on its node.
    pub(super) fn is_hairpin(self) -> bool {
        matches!(self, TranslationCause::Hairpin | TranslationCause::SameNode)
    }

    /// The cause's name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            TranslationCause::Hairpin => "hairpin",
            TranslationCause::SameNode => "same_node",
            TranslationCause::OtherFamily => "other_family",
            TranslationCause::NotPreserved => "not_preserved",
            TranslationCause::Collision => "collision",
        }
    }
}

impl Pipeline<'_> {
    /// The target for a client's new flow, and whether it sees the client; `None` when there is none.
    pub(super) fn prefer<'t>(
        &self,
        tables: &'t Tables,
        (id, listener): Known<'_>,
        key: &FlowKey,
        now: Instant,
    ) -> Option<Preference<'t>> {
        let start = select::start(tables, &listener.forward, &self.selection_secret, key)?;
        let is_failing_open = start.pool.is_failing_open;
        let mut collided = None;
        for target_id in select::candidates(tables, id, start, &self.selection_secret, key) {
            let Some(target) = tables.target(target_id) else { continue };
            let translated = TranslationCause::of(tables, key.source(), target);
            if translated.is_some() || !self.is_reply_taken(target, key, now) {
                return Some(Preference { target_id, target, translated, is_failing_open });
            }
            let translated = Some(TranslationCause::Collision);
            collided.get_or_insert(Preference { target_id, target, translated, is_failing_open });
        }
        collided
    }

    /// Why a preferred target cannot be had, where that is known without taking a source.
    pub(super) fn refuse_preference(
        &self,
        listener: &Listener,
        preference: &Preference<'_>,
        key: &FlowKey,
        now: Instant,
    ) -> Option<Reason> {
        let Some(wanted) = self.wanted(listener, preference, key) else {
            return Some(Reason::NextHopUnresolved);
        };
        let cause = preference.translated?;
        if self.clients.as_ref().is_some_and(|clients| !clients.may_take(key.source())) {
            return Some(Reason::ClientPorts);
        }
        match self.refuse_source(&wanted, now) {
            Some(Reason::NoSource) if cause == TranslationCause::Collision => Some(Reason::TupleCollision),
            refusal => refusal,
        }
    }

    /// Whether the search for the source of a preferred flow that [`Pipeline::refuse_preference`] does not refuse would be in vain. An
    /// earlier flow with its key makes way for it.
    pub(super) fn lacks_source(
        &self,
        tables: &Tables,
        listener: &Listener,
        preference: &Preference<'_>,
        key: &FlowKey,
        now: Instant,
    ) -> bool {
        let earlier = self.flows.lookup(self.flows.hash(key), key).map(|found| found.0);
        let wanted = self.wanted(listener, preference, key).filter(|_| preference.translated.is_some());
        wanted.is_some_and(|wanted| !self.has_source(tables, &wanted, earlier, now))
    }

    /// Chooses a target for a client's flow, and takes the source that it sees: the client, unless its group, the families or a
    /// flow with the same ports forbid that.
    pub(super) fn choose(
        &mut self,
        tables: &Tables,
        known: Known<'_>,
        key: &FlowKey,
        now: Instant,
    ) -> Result<Choice, Reason> {
        let preference = self.prefer(tables, known, key, now).ok_or(Reason::NoTarget)?;
        if let Some(refusal) = self.refuse_preference(known.1, &preference, key, now) {
            return Err(refusal);
        }
        let Preference { target_id, target, translated, is_failing_open } = preference;
        let wanted = self.wanted(known.1, &preference, key).ok_or(Reason::NextHopUnresolved)?;
        let source = match translated {
            None => {
                self.make_way(target, key, now);
                (key.source(), key.source_port())
            }
            Some(_) => self.allocate_source(tables, &wanted, now)?,
        };
        Ok(Choice {
            target_id,
            target: (target.address, target.port.to_be_bytes()),
            source,
            hop: wanted.hop,
            is_hairpin: translated.is_some_and(TranslationCause::is_hairpin),
            is_failing_open,
        })
    }

    /// What a source towards a preferred target is wanted for; `None` without a way there.
    fn wanted<'w>(
        &self,
        listener: &'w Listener,
        preference: &Preference<'_>,
        key: &FlowKey,
    ) -> Option<Wanted<'w>> {
        Some(Wanted {
            listener,
            target_id: preference.target_id,
            target: (preference.target.address, preference.target.port),
            hop: preference.target.next_hop?,
            protocol: key.protocol(),
            seed: self.hash.flow(key).rotate_left(32),
        })
    }

    /// Whether another flow's replies look like those of a target to this client would. One that is over makes way, unless it has to
    /// rest, or was only reset: it may live.
    fn is_reply_taken(&self, target: &Target, key: &FlowKey, now: Instant) -> bool {
        self.rival(target, key).is_some_and(|record| {
            let (rival, now_ms) = (self.flows.flow(record), now.wrapping_millis());
            let (state, is_expired) = (rival.state(), rival.is_expired(now_ms));
            let may_live = || state.is_reset() && self.flows.key(record, Direction::Forward) != *key;
            let is_over = is_expired || state.is_over() && !may_live();
            !is_over || has_to_rest(rival, now_ms)
        })
    }

    /// Ends the flow, over already, whose replies look like those of a target to this client.
    fn make_way(&mut self, target: &Target, key: &FlowKey, now: Instant) {
        if let Some(record) = self.rival(target, key) {
            self.forget(record, now.wrapping_millis());
        }
    }

    /// The flow whose replies look like those of a target to this client.
    pub(super) fn rival(&self, target: &Target, key: &FlowKey) -> Option<u32> {
        let server = (target.address, target.port.to_be_bytes());
        let reply = FlowKey::new(server, (key.source(), key.source_port()), key.protocol())?;
        self.flows.lookup(self.flows.hash(&reply), &reply).map(|found| found.0)
    }
}

//! Source addresses and ports of our own, for flows that do not keep the client's. A worker takes only ports whose replies
//! come back to it, so that no two workers ever take the same one towards a target, without asking each other. A port is in
//! use, or rests, for as long as the flow table has the key of the target's replies to it.

use std::net::IpAddr;

use super::{Pipeline, end::has_to_rest};
use crate::{
    flow_key::FlowKey,
    flow_log::CloseReason,
    limits,
    listener::Listener,
    tables::{Endpoint, InterfaceId, NextHop, Protocol, Tables},
    target::TargetId,
    time::Instant,
    verdict::Reason,
};

/// What a source is wanted for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'t> {
    pub(super) listener: &'t Listener,
    pub(super) target_id: TargetId,
    pub(super) target: (IpAddr, u16),
    /// The way to the target; its replies come in by the same interface.
    pub(super) hop: NextHop,
    pub(super) protocol: u8,
    /// Any number, different for different flows.
    pub(super) seed: u64,
}

/// Who has a source.
#[derive(Clone, Copy, Debug)]
enum Holder {
    Nobody,
    /// The flow in this record, or one that has rested there.
    Flow(u32),
    /// A listener, or another worker.
    Other,
}

impl Pipeline<'_> {
    /// A free source towards a target that [`Pipeline::refuse_source`] does not refuse one; without any, that of a flow which has been half-open for too long: a flood of SYNs must not
    /// take all ports. The port in network order.
    pub(super) fn allocate_source(
        &mut self,
        tables: &Tables,
        wanted: &Wanted<'_>,
        now: Instant,
    ) -> Result<(IpAddr, [u8; 2]), Reason> {
        let now_ms = now.wrapping_millis();
        let mut slow = None;
        for (tried, source) in (0..).zip(candidates(wanted)) {
            match self.holder(tables, wanted, source) {
                Holder::Nobody => return Ok((source.0, source.1.to_be_bytes())),
                Holder::Flow(record) if self.flows.flow(record).is_expired(now_ms) => {
                    let begins_to_rest = has_to_rest(self.flows.flow(record), now_ms);
                    self.expire_flow(record, now_ms);
                    if !begins_to_rest {
                        return Ok((source.0, source.1.to_be_bytes()));
                    }
                }
                Holder::Flow(record) if self.is_slow(record, now_ms) => {
                    slow = slow.or(Some((record, source)))
                }
                Holder::Flow(_) | Holder::Other => {}
            }
            if tried >= limits::SOURCES_TRIED_IN_FLOOD && slow.is_some() {
                break;
            }
        }
        if let Some((record, source)) = slow {
            self.counters.half_open_evicted.add(1);
            self.forget_for(record, CloseReason::Evicted, now_ms);
            return Ok((source.0, source.1.to_be_bytes()));
        }
        self.exhausted_ms[self.exhaustion_of(wanted)] = now_ms.max(1);
        Err(Reason::NoSourcePort)
    }

    /// Whether [`Pipeline::allocate_source`] would find one, when the flow in the record `earlier` has made way.
    pub(super) fn has_source(
        &self,
        tables: &Tables,
        wanted: &Wanted<'_>,
        earlier: Option<u32>,
        now: Instant,
    ) -> bool {
        let now_ms = now.wrapping_millis();
        candidates(wanted).any(|source| match self.holder(tables, wanted, source) {
            Holder::Nobody => true,
            Holder::Flow(record) => {
                let flow = self.flows.flow(record);
                let is_over = flow.is_expired(now_ms) || Some(record) == earlier;
                if is_over { !has_to_rest(flow, now_ms) } else { self.is_slow(record, now_ms) }
            }
            Holder::Other => false,
        })
    }

    /// Why there is no source towards a target, where that is known without a search.
    pub(super) fn refuse_source(&self, wanted: &Wanted<'_>, now: Instant) -> Option<Reason> {
        let exhausted_ms = self.exhausted_ms[self.exhaustion_of(wanted)];
        let since_ms = now.wrapping_millis().wrapping_sub(exhausted_ms);
        match () {
            () if addresses(wanted).next().is_none() => Some(Reason::NoSource),
            () if exhausted_ms != 0 && since_ms < limits::EXHAUSTION_MS => Some(Reason::NoSourcePort),
            () => None,
        }
    }

    /// Where it is noted that no port was free towards a target.
    fn exhaustion_of(&self, wanted: &Wanted<'_>) -> usize {
        let place = wanted.target_id.0 as usize * 2 + usize::from(wanted.protocol == Protocol::Udp as u8);
        place % self.exhausted_ms.len()
    }

    /// Who has a source towards a target.
    fn holder(&self, tables: &Tables, wanted: &Wanted<'_>, source: (IpAddr, u16)) -> Holder {
        let Some(reply) = reply_key(wanted, source) else { return Holder::Other };
        if source.1 == 0 || self.reply_home(tables, Some(wanted.hop.interface), &reply) != self.worker {
            return Holder::Other;
        }
        let is_listener = Protocol::from_number(wanted.protocol).is_some_and(|protocol| {
            tables.listener_at(&Endpoint { address: source.0, port: source.1, protocol }).is_some()
        });
        if is_listener {
            return Holder::Other;
        }
        match self.flows.lookup(self.flows.hash(&reply), &reply) {
            Some((record, _)) => Holder::Flow(record),
            None => Holder::Nobody,
        }
    }

    /// Whether a flow is half-open for longer than a handshake takes.
    fn is_slow(&self, record: u32, now_ms: u32) -> bool {
        let flow = self.flows.flow(record);
        flow.state().is_half_open() && now_ms.wrapping_sub(flow.last_seen_ms) >= limits::HANDSHAKE_MS
    }

    /// The worker that a target's replies to a source of ours come to, or are handed over to: by the receive hash of the
    /// interface that they come in by, or, where that is not known or leaves ports out, by a hash of the source.
    pub(super) fn reply_home(&self, tables: &Tables, interface: Option<InterfaceId>, reply: &FlowKey) -> u8 {
        if self.workers == 1 {
            return self.worker;
        }
        // By addresses alone, one worker would get all replies of a target, and the others find no port for theirs.
        interface
            .filter(|&interface| spreads_by_ports(tables, interface, reply))
            .and_then(|interface| self.receive_home(tables, Some(interface), reply))
            .unwrap_or_else(|| self.hash.home(reply.destination(), reply.destination_port(), self.workers))
    }

    /// The worker whose queue a packet comes in by, where the interface tells.
    pub(super) fn receive_home(
        &self,
        tables: &Tables,
        interface: Option<InterfaceId>,
        key: &FlowKey,
    ) -> Option<u8> {
        let receive_hash = tables.interface(interface?)?.receive_hash.as_ref()?;
        let protocol = Protocol::from_number(key.protocol())?;
        let end = |address, port: [u8; 2]| (address, u16::from_be_bytes(port));
        let queue = receive_hash.queue(
            end(key.source(), key.source_port()),
            end(key.destination(), key.destination_port()),
            protocol,
        );
        // Queues are dealt out to workers by turns.
        Some((queue % u16::from(self.workers)) as u8)
    }
}

/// The listener's source addresses of the target's family.
fn addresses<'w>(wanted: &Wanted<'w>) -> impl Iterator<Item = &'w IpAddr> + Clone + use<'w> {
    let is_ipv4 = wanted.target.0.is_ipv4();
    wanted.listener.sources.addresses.iter().filter(move |one| one.is_ipv4() == is_ipv4)
}

fn spreads_by_ports(tables: &Tables, interface: InterfaceId, key: &FlowKey) -> bool {
    let receive_hash = tables.interface(interface).and_then(|interface| interface.receive_hash.as_ref());
    let protocol = Protocol::from_number(key.protocol());
    receive_hash.zip(protocol).is_some_and(|(hash, protocol)| hash.has_ports(protocol, key.is_ipv6()))
}

fn reply_key(wanted: &Wanted<'_>, source: (IpAddr, u16)) -> Option<FlowKey> {
    let target = (wanted.target.0, wanted.target.1.to_be_bytes());
    FlowKey::new(target, (source.0, source.1.to_be_bytes()), wanted.protocol)
}

/// The sources that are tried for a flow, in this order; ports in host order.
fn candidates<'w>(wanted: &Wanted<'w>) -> impl Iterator<Item = (IpAddr, u16)> + use<'w> {
    let addresses = addresses(wanted);
    let count = addresses.clone().count() as u32;
    let ports = &wanted.listener.sources.ports;
    let (first, range) =
        (*ports.start(), u32::from(*ports.end()).saturating_sub(u32::from(*ports.start())) + 1);
    let places = places(wanted.seed, count * range).take(limits::SOURCES_TRIED as usize);
    places.filter_map(move |place| {
        let address = addresses.clone().nth((place / range) as usize)?;
        Some((*address, first + (place % range) as u16))
    })
}

/// All of `0..count`, each once, from a place on that the seed says, in steps that have no factor in common with `count`.
fn places(seed: u64, count: u32) -> impl Iterator<Item = u32> {
    let count = u64::from(count.max(1));
    let start = ((u128::from(seed) * u128::from(count)) >> 64) as u64;
    let step = STEPS.into_iter().find(|step| count % step != 0).unwrap_or(1);
    (0..count).map(move |turn| ((start + turn * step) % count) as u32)
}

/// Primes: one that does not divide the count leads through all of it.
const STEPS: [u64; 8] = [7_919, 7_907, 7_901, 7_883, 7_879, 7_877, 7_873, 7_867];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_comes_once() {
        for count in [1, 2, 10, 7_919, 64_512, 7_919 * 8] {
            let mut seen: Vec<u32> = places(0x1234_5678_9abc_def0, count).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}

//! The common case of a new flow: plain IPv4, to a listener whose targets see the client, and nothing in the way. What the tables
//! decide about it is decided for the whole burst before its first packet is handled, so that the memory that the flow goes to is
//! on its way. What is not so common goes the long way, which does the same and everything else.

use std::net::IpAddr;

use super::{Burst, Pipeline, Slot, miss::stamp};
use crate::{
    flow::{Deltas, Direction, Hop, NewFlow, State},
    flow_key::{End, FlowKey, Ipv4Key},
    frame::Frame,
    listener::ListenerId,
    parse::{Packet, plain},
    rewrite::nat,
    select,
    tables::Tables,
    target::TargetId,
    verdict::{Reason, Verdict},
};

/// What the tables decide about a new flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    listener: ListenerId,
    target: TargetId,
    /// The end of the flow that its target's packets come in at.
    target_end: End,
    /// Hash of the key of the target's packets.
    reply_hash: u64,
    state: State,
}

impl Pipeline<'_> {
    /// The opening of a packet of no flow; `None` when it is not of the common kind. Asks the cache for the bucket that the key of
    /// its replies goes into.
    pub(super) fn plan_opening(&self, tables: &Tables, packet: &Packet) -> Option<Opening> {
        let FlowKey::V4(key) = &packet.key else { return None };
        let is_common = (usize::from(packet.l4) == plain::SEGMENT) & (packet.ttl > 1);
        let state = match packet.is_udp() {
            true => State::Udp,
            false if packet.is_syn() => State::HalfOpen,
            false => return None,
        };
        let listener_id = tables.listener_at(&packet.key.destination_endpoint()?)?;
        let listener = tables.listener(listener_id)?;
        let start = select::start(tables, &listener.forward, &self.selection_secret, &packet.key)?;
        let has_answer = listener.has_syn_cookies & (state == State::HalfOpen);
        if !is_common
            | has_answer
            | !start.group.preserves_client_ip
            | start.group.proxy_header.is_some()
            | !tables.siblings(listener_id).is_empty()
        {
            return None;
        }
        let client = packet.key.source();
        if start.pool.is_failing_open || tables.is_own(client) || !self.is_home(client, key.end.remote_port) {
            return None;
        }
        let slot = start.pool.maglev.slot(start.hash)?;
        let owner = usize::from(*start.pool.maglev.slots().get(slot as usize)?);
        let target_id = *start.pool.eligible.get(owner)?;
        let target = tables.target(target_id)?;
        let IpAddr::V4(address) = target.address else { return None };
        if target.address == client || tables.shares_hop(client, target) {
            return None;
        }
        let target_end = End {
            remote: address.octets(),
            local: key.end.remote,
            remote_port: target.port.to_be_bytes(),
            local_port: key.end.remote_port,
        };
        let reply_hash = self.flows.hash_ipv4(&Ipv4Key { end: target_end, ..*key });
        self.flows.prefetch_bucket(reply_hash);
        Some(Opening { listener: listener_id, target: target_id, target_end, reply_hash, state })
    }

    /// Opens a flow and forwards its first packet; `None`, with no flow opened, if something is in the way.
    pub(super) fn open_plain(
        &mut self,
        tables: &Tables,
        burst: &Burst,
        frame: &mut Frame<'_>,
        slot: &Slot,
        opening: &Opening,
    ) -> Option<Verdict> {
        let Slot { packet, hash, .. } = slot;
        let FlowKey::V4(key) = &packet.key else { return None };
        let listener = tables.listener(opening.listener)?;
        let hop = tables.target(opening.target)?.next_hop?;
        let egress = *self.egress.get(usize::from(hop.interface.0))?;
        let ingress = frame.ingress;
        let headers = frame.bytes_mut().first_chunk_mut::<{ plain::HEADERS }>()?;
        let reply = Ipv4Key { end: opening.target_end, ..*key };
        if u32::from(packet.total_length) > egress.mtu
            || self.flows.lookup_ipv4(*hash, key).is_some()
            || self.flows.lookup_ipv4(opening.reply_hash, &reply).is_some()
        {
            return None;
        }
        let hops = [Hop::sender(headers, ingress), Hop::new(hop.mac.0, hop.interface)];
        let mut new = NewFlow::plain(key, opening.target_end, hops, opening.state);
        stamp(&mut new, tables, (opening.listener, listener), opening.target, burst.now_ms);
        let record = self.insert(&new, [*hash, opening.reply_hash], burst.now).ok()?;
        let deltas = Deltas::between(&key.end, &opening.target_end);
        let is_udp = opening.state == State::Udp;
        nat::apply_plain(headers, (egress.sender(), hops[1]), &opening.target_end, deltas, is_udp);
        self.counters.count_packet(&new.flow, Direction::Forward, packet.total_length);
        self.tally(record, Direction::Forward, packet.total_length);
        Some(Verdict::to(Reason::FlowNew, hop.interface.0))
    }

    /// Whether this worker owns the flows of a client that targets see.
    fn is_home(&self, client: IpAddr, port: [u8; 2]) -> bool {
        self.workers == 1 || self.hash.home(client, port, self.workers) == self.worker
    }
}

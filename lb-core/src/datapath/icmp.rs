//! ICMP errors about packets of flows: path MTU discovery depends on them. They go to the side that sent the packet, and
//! neither end nor prolong a flow (RFC 5508 REQ-6).

use super::{InFlight, Pipeline};
use crate::{
    flow::Direction,
    parse::{IcmpError, parse_icmp_error},
    rewrite::icmp,
    tables::Tables,
    verdict::{Reason, Verdict},
    wire::{ethernet, ipv4},
};

impl Pipeline<'_> {
    /// An ICMP message: translated when it is an error about a packet of a live flow.
    #[cold]
    pub(super) fn icmp(&mut self, tables: &Tables, it: &mut InFlight<'_, '_>) -> Verdict {
        if !self.is_for_us(it.frame) {
            return Verdict::drop(Reason::OtherMac);
        }
        let error = match parse_icmp_error(it.frame.bytes()) {
            Ok(error) => error,
            Err(reason) => return Verdict::drop(reason),
        };
        if it.frame.bytes()[ethernet::HEADER + ipv4::TTL] == 1 {
            return Verdict::drop(Reason::TtlExpired); // No error about an error.
        }
        let key = error.quoted.opposite();
        let found = self.flows.lookup(self.flows.hash(&key), &key);
        match found.filter(|(record, _)| !self.flows.flow(*record).is_expired(it.now.wrapping_millis())) {
            Some((record, direction)) => self.translate(tables, it, &error, record, direction),
            None => self.hand_over_error(tables, it, &error),
        }
    }

    /// The key of the quoted packet's answers is of `direction`: so is the way of the error.
    fn translate(
        &mut self,
        tables: &Tables,
        it: &mut InFlight<'_, '_>,
        error: &IcmpError,
        record: u32,
        direction: Direction,
    ) -> Verdict {
        let flow = self.flows.flow(record);
        let hop = match direction {
            Direction::Forward => Some(flow.target_hop()),
            Direction::Reverse => flow.client_hop().or_else(|| tables.hop(flow.client.into())),
        };
        let Some(hop) = hop else {
            return Verdict::drop(Reason::NextHopUnresolved);
        };
        let from = self.egress(hop.interface).mac;
        icmp::apply(it.frame.bytes_mut(), error, flow, direction, from, hop.mac);
        Verdict::to(Reason::IcmpError, hop.interface.0)
    }

    /// The flow may be another worker's.
    fn hand_over_error(&self, tables: &Tables, it: &InFlight<'_, '_>, error: &IcmpError) -> Verdict {
        let quoted = &error.quoted;
        let is_from_listener =
            quoted.source_endpoint().is_some_and(|endpoint| tables.listener_at(&endpoint).is_some());
        let (client, port) = match is_from_listener {
            true => (quoted.destination, quoted.destination_port),
            false => (quoted.source, quoted.source_port),
        };
        self.hand_over(client, port, it.arrival).unwrap_or(Verdict::drop(Reason::IcmpNoFlow))
    }
}

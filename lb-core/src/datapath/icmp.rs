//! ICMP errors about packets of flows: path MTU discovery depends on them. They go to the side that sent the packet, and
//! neither end nor prolong a flow (RFC 5508 REQ-6).

use super::{InFlight, Pipeline, preamble::header_of_datagrams};
use crate::{
    flow::{Direction, State},
    parse::{IcmpError, parse_icmp_error},
    rewrite::{icmp, icmp_translate, link, shift::Quoted},
    tables::Tables,
    verdict::{Reason, Verdict},
    wire::ethernet,
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
        if tables.is_own(error.source) {
            return Verdict::drop(Reason::OwnSource);
        }
        if error.ttl == 1 {
            return Verdict::drop(Reason::TtlExpired); // No error about an error.
        }
        let key = error.quoted.opposite();
        let found = self.flows.lookup(self.flows.hash(&key), &key).filter(|(record, _)| {
            let flow = self.flows.flow(*record);
            !flow.is_expired(it.now.wrapping_millis())
                && !matches!(flow.state(), State::Resting | State::Connecting)
        });
        match found {
            Some((record, direction)) => self.translate_error(tables, it, &error, record, direction),
            None => self.hand_over_error(tables, it, &error),
        }
    }

    /// The key of the quoted packet's answers is of `direction`: so is the way of the error.
    fn translate_error(
        &mut self,
        tables: &Tables,
        it: &mut InFlight<'_, '_>,
        error: &IcmpError,
        record: u32,
        direction: Direction,
    ) -> Verdict {
        let (flow, addresses) = (self.flows.flow(record), self.flows.addresses(record));
        let out = flow.outward(addresses, direction);
        let quoted = Quoted::of(flow, &self.flows.annex(record).preamble, direction);
        let Some(hop) = flow.hop(direction).or_else(|| tables.hop(out.destination)) else {
            return Verdict::drop(Reason::NextHopUnresolved);
        };
        let egress = self.egress(hop.interface);
        let header = header_of_datagrams(flow, direction.opposite(), out.destination);
        if error.quoted.is_ipv6() == out.source.is_ipv6() {
            // Errors are to be so short that they fit every link.
            if error.end - ethernet::HEADER > egress.mtu as usize {
                return Verdict::drop(Reason::MtuExceeded);
            }
            icmp::apply(it.frame.bytes_mut(), error, &quoted, &out);
            if !flow.is_wide() {
                icmp::restore_identification(it.frame.bytes_mut(), error, flow, direction.opposite());
            }
        } else if let Err(reason) = icmp_translate::apply(it.frame, error, &quoted, &out) {
            return Verdict::drop(reason);
        }
        if header > 0
            && let Ok(told) = parse_icmp_error(it.frame.bytes())
        {
            icmp::lower_mtu(it.frame.bytes_mut(), &told, header);
        }
        link(it.frame.bytes_mut(), egress.mac, hop.mac);
        Verdict::to(Reason::IcmpError, hop.interface.0)
    }

    /// The flow may be another worker's.
    fn hand_over_error(&self, tables: &Tables, it: &InFlight<'_, '_>, error: &IcmpError) -> Verdict {
        let key = error.quoted.opposite();
        let listener = key.destination_endpoint().and_then(|endpoint| tables.listener_at(&endpoint));
        let homes = match listener.and_then(|id| tables.listener(id)) {
            Some(listener) => self.homes_of_request(tables, listener, &key),
            None => {
                let rows = key.source_endpoint();
                let rows = rows.map_or(&[][..], |endpoint| tables.listeners_of_target(&endpoint));
                self.homes_of_reply(tables, rows, &key)
            }
        };
        self.hand_over(it, homes).unwrap_or(Verdict::drop(Reason::IcmpNoFlow))
    }
}

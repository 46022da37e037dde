//! Which worker owns a flow, as any worker can tell from any packet of it: asked on misses alone, since a flow exists only at
//! its home.

use super::{Arrival, InFlight, Pipeline};
use crate::{
    flow_key::FlowKey,
    listener::{Listener, ListenerId},
    select::{self, Start},
    tables::{Endpoint, Tables},
    target::TargetId,
    verdict::{Reason, Verdict},
};

/// The workers that may own a flow, the likelier first. The second is asked for TCP packets within a connection: their flow may be
/// from before its target group's way of translation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Homes {
    first: u8,
    second: u8,
}

impl Homes {
    /// The likeliest.
    pub(super) fn first(self) -> u8 {
        self.first
    }
}

impl Pipeline<'_> {
    /// To the worker that owns a packet's flow, if that is another.
    pub(super) fn hand_over(&self, it: &InFlight<'_, '_>, homes: Homes) -> Option<Verdict> {
        let Homes { first, second } = homes;
        let may_be_elsewhere = !it.packet.is_udp() && !it.packet.is_syn();
        let next = match it.arrival {
            Arrival::Ring if first != self.worker => first,
            _ if may_be_elsewhere && first == self.worker && second != first => second,
            _ => return None,
        };
        Some(Verdict::to(Reason::HandedOver, next))
    }

    /// The owners of the flow of a client's packet. Where the target sees the client, they follow from the client's address and port,
    /// which both directions tell; where it does not, from the queue that the client's packets come in by, if known.
    pub(super) fn homes_of_request(&self, tables: &Tables, listener: &Listener, key: &FlowKey) -> Homes {
        if self.workers == 1 {
            return Homes { first: self.worker, second: self.worker };
        }
        let by_client = self.hash.home(key.source(), key.source_port(), self.workers);
        let first = match self.keeps_client(tables, listener, key) {
            true => by_client,
            false => self.receive_home(tables, Some(listener.interface), key).unwrap_or(by_client),
        };
        Homes { first, second: by_client }
    }

    /// The owners of the flow of a target's packet.
    pub(super) fn homes_of_reply(
        &self,
        tables: &Tables,
        rows: &[(Endpoint, ListenerId, TargetId)],
        key: &FlowKey,
    ) -> Homes {
        if self.workers == 1 {
            return Homes { first: self.worker, second: self.worker };
        }
        let target = rows.first().and_then(|row| tables.target(row.2));
        let interface = target.and_then(|target| target.next_hop).map(|hop| hop.interface);
        let by_destination = self.hash.home(key.destination(), key.destination_port(), self.workers);
        let first = match tables.is_source(key.destination()) {
            true => self.reply_home(tables, interface, key),
            false => by_destination,
        };
        Homes { first, second: by_destination }
    }

    /// Whether the target of a new flow sees its client's own address.
    pub(super) fn keeps_client(&self, tables: &Tables, listener: &Listener, key: &FlowKey) -> bool {
        let start = select::start(tables, &listener.forward, &self.selection_secret, key);
        start.is_some_and(|Start { group, pool, .. }| {
            let target = pool.eligible.first().and_then(|id| tables.target(*id));
            group.preserves_client_ip && target.is_none_or(|target| target.address.is_ipv6() == key.is_ipv6())
        })
    }
}

//! Whose single packets are, for people who follow some of them: asked right before a frame is processed, or after, and of frames
//! that leave. What becomes of them then, `why` says. Changes nothing.

use std::net::IpAddr;

use super::{Datapath, Pipeline};
use crate::{
    flow::{FlowView, State},
    flow_key::FlowKey,
    listener::ListenerId,
    parse::{Fragment, Piece, parse, parse_fragment, parse_icmp_error},
    select,
    tables::{Protocol, Tables},
    time::Instant,
    verdict::Reason,
};

/// Who has to do with a packet, whichever way it goes. Addresses with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    /// Protocol.
    pub protocol: Protocol,
    /// The listener that it is for, or whose flow it belongs to.
    pub listener: Option<ListenerId>,
    /// The client: of the flow, or else who sends to an address that is no target's, or gets what a target sends.
    pub client: (IpAddr, u16),
    /// The listener's end, or where else somebody sends to. Not known of a target's packets without a flow.
    pub vip: Option<(IpAddr, u16)>,
    /// The target: of the flow, or else the one that selection names.
    pub target: Option<(IpAddr, u16)>,
}

/// The key that a frame is known by: a packet's own; of an ICMP error that of an answer to the packet which it is about. `None` of
/// what has no ports: damaged frames, and later pieces of datagrams.
pub fn key_of(frame: &[u8]) -> Option<FlowKey> {
    match parse(frame) {
        Ok(packet) => Some(packet.key),
        Err(Reason::Fragment) => {
            let packet = parse_fragment(frame).ok()?.packet;
            (packet.piece != Piece::Later).then_some(packet.key)
        }
        Err(_) => parse_icmp_error(frame).ok().map(|error| error.quoted.opposite()),
    }
}

/// A later piece of a datagram: addresses and protocol, without ports.
pub fn later_piece(frame: &[u8]) -> Option<Fragment> {
    parse_fragment(frame).ok().filter(|fragment| fragment.packet.piece == Piece::Later)
}

impl Datapath<'_> {
    /// The key of a later piece, where its datagram's first has come here.
    pub fn key_of_piece(&self, Fragment { packet, id }: &Fragment, now: Instant) -> Option<FlowKey> {
        let Pipeline { fragments, hash, .. } = &self.pipeline;
        let (source, destination) = fragments.ports(hash, id, now)?;
        Some(packet.key.with_ports(source, destination))
    }

    /// Who has to do with a later piece, by its addresses alone: ports are 0, and the listener is not known. Of one that leaves, ask
    /// by the opposite of its key.
    pub fn parties_of_piece(&self, key: &FlowKey) -> Option<Parties> {
        let (from, to) = (key.source_endpoint()?, key.destination_endpoint()?);
        let (source, destination) = ((from.address, 0), (to.address, 0));
        let nobody = Parties {
            protocol: from.protocol,
            listener: None,
            client: source,
            vip: Some(destination),
            target: None,
        };
        let is_of_client = self.tables.is_vip(to.address) && !self.tables.is_vip(from.address);
        Some(match is_of_client {
            true => nobody,
            false => Parties { client: destination, vip: None, target: Some(source), ..nobody },
        })
    }

    /// Who has to do with packets of a key. Of a frame that leaves, ask by the opposite of its key.
    pub fn parties(&self, key: &FlowKey) -> Option<Parties> {
        let Datapath { tables, pipeline, .. } = self;
        pipeline.parties_of_flow(tables, key).or_else(|| pipeline.parties_without_flow(tables, key))
    }
}

impl Pipeline<'_> {
    fn parties_of_flow(&self, tables: &Tables, key: &FlowKey) -> Option<Parties> {
        let (record, _) = self.flows.lookup(self.flows.hash(key), key)?;
        let flow = self.flows.flow(record);
        let is_gone = || flow.epoch != tables.epoch() && self.standing(tables, record).is_gone(flow.state());
        if !flow.is_live() || flow.state() == State::Resting || is_gone() {
            return None;
        }
        let view = FlowView::new((self.worker, flow, self.flows.addresses(record)), flow.last_seen_ms);
        Some(Parties {
            protocol: view.protocol,
            listener: Some(view.listener),
            client: view.client,
            vip: Some(view.vip),
            target: Some(view.target),
        })
    }

    fn parties_without_flow(&self, tables: &Tables, key: &FlowKey) -> Option<Parties> {
        let (from, to) = (key.source_endpoint()?, key.destination_endpoint()?);
        let (source, destination) = ((from.address, from.port), (to.address, to.port));
        let of_client = Parties {
            protocol: from.protocol,
            listener: tables.listener_at(&to),
            client: source,
            vip: Some(destination),
            target: None,
        };
        if let Some(id) = of_client.listener {
            let target = select::select(tables, id, &self.selection_secret, key);
            let target = target.and_then(|id| tables.target(id));
            return Some(Parties { target: target.map(|target| (target.address, target.port)), ..of_client });
        }
        if tables.listeners_of_target(&from).is_empty() {
            return Some(of_client);
        }
        Some(Parties { client: destination, vip: None, target: Some(source), ..of_client })
    }
}

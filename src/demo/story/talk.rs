//! A conversation that was captured: its packets, and what the load balancer says of it.

use std::net::SocketAddr;

use lb_core::wire::l4::tcp::RST;
use lb_ctl::api::Why;

use super::walk::Way;
use crate::testbed::{
    client::Answer,
    tap::{Crossing, Hop, Protocol, crossings, follow},
};

/// A conversation, and everything that went over any link meanwhile.
pub(super) struct Talk {
    /// Who began it.
    pub(super) from: SocketAddr,
    /// With whom, as the beginner meant.
    pub(super) to: SocketAddr,
    /// What came back, if anything did.
    pub(super) answer: Option<Answer>,
    /// All that was seen, ARP included.
    pub(super) hops: Vec<Hop>,
    /// What the load balancer says of it, where it had to do with it.
    pub(super) why: Option<Why>,
    /// What was asked.
    pub(super) question: String,
}

impl Talk {
    /// The links that the first packet of a way crossed.
    pub(super) fn crossings(&self, way: Way) -> Vec<Crossing<'_>> {
        let request = follow(&self.hops, |hop| self.is_request(hop));
        let path = match (way, request.first()) {
            (Way::There, _) | (_, None) => request,
            (Way::Back, Some(request)) => follow(&self.hops, |hop| self.is_reply(hop, request)),
        };
        crossings(&path)
    }

    /// The links that the reset crossed by which the one who began a conversation refuses what came back.
    pub(super) fn reset(&self) -> Vec<Crossing<'_>> {
        crossings(&follow(&self.hops, |hop| hop.has(RST) && hop.source == self.from))
    }

    /// The links that the question crossed as data, with whatever is ahead of it.
    pub(super) fn asking(&self) -> Vec<Crossing<'_>> {
        let has_question = |hop: &&Hop| hop.payload().ends_with(self.question.as_bytes());
        crossings(&self.hops.iter().filter(has_question).collect::<Vec<_>>())
    }

    /// How the load balancer chose, if it did, as `lbctl why` says.
    pub(super) fn choice(&self) -> Option<String> {
        let selection = self.why.as_ref()?.selection.as_ref()?;
        Some(format!("Maglev slot {} of {} (lbctl why)", selection.slot?, selection.slots))
    }

    /// Why the target sees the load balancer's address, if it does.
    pub(super) fn cause(&self) -> Option<&'static str> {
        match self.why.as_ref()?.source.as_ref()?.cause.as_deref()? {
            "hairpin" => Some("client and target are one"),
            "same_node" => Some("client and target are behind one next hop"),
            "not_preserved" => Some("client addresses are not preserved"),
            _ => None,
        }
    }

    /// Whom the one that answered takes for its client.
    pub(super) fn seen_client(&self) -> Option<SocketAddr> {
        self.answer.as_ref().map(|answer| answer.client)
    }

    /// Whether what came back to who began it came from whom he had asked.
    pub(super) fn is_answered_by_whom_it_asked(&self) -> bool {
        self.crossings(Way::Back).last().is_some_and(|crossing| crossing.hop.source == self.to)
    }

    fn is_request(&self, hop: &Hop) -> bool {
        let is_first = hop.is_syn() || hop.protocol == Protocol::Udp;
        is_first && (hop.source, hop.destination) == (self.from, self.to)
    }

    fn is_reply(&self, hop: &Hop, request: &Hop) -> bool {
        match (hop.segment, request.segment) {
            (Some(reply), Some(request)) => {
                hop.is_syn_ack() && reply.acknowledgement == request.sequence.wrapping_add(1)
            }
            _ => hop.payload() != request.payload() && hop.payload().ends_with(self.question.as_bytes()),
        }
    }
}

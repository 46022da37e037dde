//! The way of a packet and of its answer, as lines: who sent it to whom over each link, and from which address and port to which.
//!
//! Of every hop it is checked that its MAC addresses are those of the two ends, that the checksums are right, and that each who
//! passed it on took one from its time to live.

use std::net::SocketAddr;

use lb_core::tables::Mac;
use lbd::testbed::{
    cluster::Cluster,
    tap::{Checksum, Direction, Hop, Protocol, crossings, follow},
};
use libtest_mimic::Failed;

/// What became of a question and its answer.
pub struct Walk {
    /// The hops of the question, or of the connection's first packet.
    pub there: Vec<String>,
    /// The hops of the answer, or of the packet that accepts the connection.
    pub back: Vec<String>,
    /// Every hop of both, there before back.
    pub hops: Vec<Hop>,
}

impl Walk {
    /// A connection of `caller`: its SYN, and the SYN-ACK that acknowledges it.
    pub fn of_handshake(cluster: &Cluster, hops: &[Hop], caller: SocketAddr) -> Result<Walk, Failed> {
        let there = follow(hops, |hop| hop.is_syn() && hop.source == caller && is_out(hop));
        let syn = there.first().ok_or("the SYN was not seen")?;
        let accepted = syn.segment.map(|segment| segment.sequence.wrapping_add(1));
        let accepts = |hop: &Hop| hop.segment.map(|segment| segment.acknowledgement) == accepted;
        let back = follow(hops, |hop| hop.is_syn_ack() && accepts(hop) && is_out(hop));
        Walk::of(cluster, caller, [there, back])
    }

    /// A datagram of the client's, and the one by which `target` answers it.
    pub fn of_datagrams(cluster: &Cluster, hops: &[Hop], target: &str) -> Result<Walk, Failed> {
        let is_udp = |hop: &Hop| hop.protocol == Protocol::Udp && is_out(hop);
        let there = follow(hops, |hop| is_udp(hop) && hop.place == "client/eth0");
        let caller = there.first().ok_or("the datagram was not seen")?.source;
        let back = follow(hops, |hop| is_udp(hop) && hop.payload().starts_with(target.as_bytes()));
        Walk::of(cluster, caller, [there, back])
    }

    fn of(cluster: &Cluster, caller: SocketAddr, ways: [Vec<&Hop>; 2]) -> Result<Walk, Failed> {
        let [there, back] = &ways;
        let there = lines(cluster, caller, (there, Way::There))?;
        let back = lines(cluster, caller, (back, Way::Back))?;
        Ok(Walk { there, back, hops: ways.concat().into_iter().cloned().collect() })
    }

    /// The hops must be these, as `client/eth0 > router/client: 198.18.0.2:c > 198.18.100.1:80`: `c` is the caller's port, `*` one that
    /// who stands in for it has chosen.
    pub fn assert(&self, there: &[&str], back: &[&str]) {
        assert_eq!(self.there, there, "there");
        assert_eq!(self.back, back, "back");
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy)]
enum Way {
    /// From the caller.
    There,
    Back,
}

/// The way of one packet, a line for each link.
fn lines(cluster: &Cluster, caller: SocketAddr, (way, goes): (&[&Hop], Way)) -> Result<Vec<String>, Failed> {
    let mut lines = Vec::new();
    let first_ttl = way.first().map_or(0, |hop| hop.ttl);
    for (passed_on, crossing) in (0..).zip(crossings(way)) {
        let hop = crossing.hop;
        let (Some(from), Some(to)) = (crossing.from, crossing.to) else {
            return Err(format!("a frame was seen at one end of a link only: {crossing:?}").into());
        };
        let mac = |place: &str| cluster.mac(place).ok_or_else(|| format!("{place} has no MAC address"));
        let macs: [Mac; 2] = [mac(from)?, mac(to)?];
        assert_eq!([hop.source_mac, hop.destination_mac], macs, "{from} > {to}");
        assert_ne!(hop.checksum, Checksum::Wrong, "{from} > {to}");
        assert_eq!(hop.ttl, first_ttl - passed_on, "time to live, {from} > {to}");
        let (source, destination) = match goes {
            Way::There => (name_of_client(hop.source, caller), hop.destination.to_string()),
            Way::Back => (hop.source.to_string(), name_of_client(hop.destination, caller)),
        };
        lines.push(format!("{from} > {to}: {source} > {destination}"));
    }
    Ok(lines)
}

/// The caller, or who stands in for it on a link, by a port that somebody has chosen: it may be any, a service's, too.
fn name_of_client(address: SocketAddr, caller: SocketAddr) -> String {
    let port = if address == caller { 'c' } else { '*' };
    format!("{}:{port}", address.ip())
}

fn is_out(hop: &Hop) -> bool {
    hop.direction == Direction::Out
}

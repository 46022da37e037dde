//! Packets that went through, and the ICMP errors that their receivers, or routers on the way, send about them.

use std::net::IpAddr;

use lb_core::{datapath::Datapath, tables::Mac, verdict::Reason};

use super::support::*;

/// A packet that went through, as its sender sent it and as the other side got it, and who could complain about it.
pub struct Complained {
    pub flow: OpenFlow,
    pub sent: Crafted,
    pub got: Vec<u8>,
    pub is_request: bool,
}

/// A packet of each protocol and direction.
pub fn complained(mode: &Mode) -> Vec<(Datapath<'static>, Complained)> {
    let mut cases = Vec::new();
    for (first, is_request) in
        [(mode.syn(), true), (mode.syn(), false), (mode.datagram(), true), (mode.datagram(), false)]
    {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &first, 0);
        let sent = if is_request { flow.request(SYN) } else { flow.reply(SYN | ACK) };
        let sent = sent.payload(&[7; 900]);
        let got = through(&mut path, &sent, 0).1.unwrap();
        cases.push((path, Complained { flow, sent, got, is_request }));
    }
    cases
}

impl Complained {
    /// Who got the packet.
    pub fn receiver(&self) -> IpAddr {
        if self.is_request { self.flow.target.ip() } else { self.flow.client.ip() }
    }

    /// A router on the way to the receiver.
    pub fn router(&self) -> IpAddr {
        if self.receiver().is_ipv4() { ROUTER.into() } else { ROUTER6.into() }
    }

    /// Who the receiver thinks has sent it.
    pub fn apparent_sender(&self) -> IpAddr {
        if self.is_request { self.flow.source.ip() } else { self.flow.vip.ip() }
    }

    /// Who the sender thinks has got it.
    pub fn apparent_receiver(&self) -> IpAddr {
        self.sent.destination.ip()
    }

    pub fn macs(&self) -> (Mac, Mac) {
        match self.is_request {
            true => (target_mac(number_of(self.flow.target)), INSIDE_MAC),
            false => (CLIENT_MAC, OUTSIDE_MAC),
        }
    }

    pub fn ip_header(&self) -> usize {
        read_ip(&self.got).header.len()
    }

    /// An error about the packet, "packet too big" by default.
    pub fn error(&self, source: IpAddr, quoted: usize) -> Vec<u8> {
        self.error_of(if source.is_ipv4() { (3, 4) } else { (2, 0) }, source, quoted)
    }

    pub fn error_of(&self, kind: (u8, u8), source: IpAddr, quoted: usize) -> Vec<u8> {
        icmp_error(kind, (source, self.apparent_sender()), self.macs(), &self.got, quoted)
    }

    /// One error of every kind that both families have, from a router and from the receiver itself.
    pub fn errors_of_all_kinds(&self) -> Vec<Vec<u8>> {
        let kinds = if self.receiver().is_ipv4() { &KINDS[..] } else { &KINDS6[..] };
        let error =
            |source, &(kind, word)| with_word(self.error_of(kind, source, self.ip_header() + 8), word);
        [self.router(), self.receiver()]
            .into_iter()
            .flat_map(|source| kinds.iter().map(move |row| error(source, row)))
            .collect()
    }

    pub fn send(&self, path: &mut Datapath<'_>, error: &[u8]) -> (Reason, Option<Vec<u8>>) {
        self.send_at(path, error, 1)
    }

    pub fn send_at(&self, path: &mut Datapath<'_>, error: &[u8], now_ms: u64) -> (Reason, Option<Vec<u8>>) {
        let ingress = if self.is_request { INSIDE } else { OUTSIDE };
        let (verdict, out) = send(path, ingress, error, now_ms);
        (verdict.reason, out)
    }
}

/// Unreachable in many ways, too long, time exceeded, a parameter problem: type and code, second word.
const KINDS: [((u8, u8), u32); 11] = [
    ((3, 0), 0),
    ((3, 1), 0),
    ((3, 2), 0),
    ((3, 3), 0),
    ((3, 4), 1_400),
    ((3, 9), 0),
    ((3, 13), 0),
    ((11, 0), 0),
    ((11, 1), 0),
    ((12, 0), 0),
    ((12, 0), 8 << 24),
];
/// The same of IPv6.
const KINDS6: [((u8, u8), u32); 9] = [
    ((1, 0), 0),
    ((1, 1), 0),
    ((1, 3), 0),
    ((1, 4), 0),
    ((2, 0), 1_400),
    ((3, 0), 0),
    ((3, 1), 0),
    ((4, 0), 7),
    ((4, 1), 0),
];

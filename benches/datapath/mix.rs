//! A mix as on a busy edge: hits of both directions in sizes of 7 : 4 : 1, new flows, and what is no plain packet of a flow.

use std::time::Duration;

use lb_core::verdict::Reason;

use crate::{
    bench::{Bench, ROUND},
    frames::{Packet, Transport},
    rounds::STILL,
    support::{ACK, CLIENT, CLIENT_MAC, OUTSIDE, OUTSIDE_MAC, ROUTER, SYN, VIP, icmp_error, piece, tcp, udp},
    traffic::Traffic,
};

impl Bench<'_> {
    /// Opens the live flows, and the one that datagrams in pieces belong to.
    pub fn prepare_mix(&mut self) {
        self.open_live();
        let datagram = udp(PIECES_SOURCE, (VIP, 53)).bytes();
        self.fill(1, |_| Packet::from_bytes(&datagram, OUTSIDE, Reason::FlowNew));
        self.process(STILL);
    }

    /// Hits alone, in the sizes and directions of the mix.
    pub fn mixed_hits(&mut self) -> Duration {
        self.fill(ROUND, Traffic::mixed_hit);
        self.process(STILL)
    }

    /// 89 % hits, 10 % new flows, which their targets refuse off the clock, and 1 % odd packets.
    pub fn mix(&mut self) -> Duration {
        self.fill(ROUND, |traffic| match traffic.random() % 100 {
            0..89 => traffic.mixed_hit(),
            89..99 => {
                let flow = traffic.fresh();
                traffic.request(flow, SYN, 64)
            }
            _ => traffic.odd(),
        });
        let taken = self.process(STILL);
        self.refuse_opened();
        taken
    }
}

impl Traffic {
    fn mixed_hit(&mut self) -> Packet {
        let (flow, size) = (self.any_live(), SIZES[self.random() as usize % SIZES.len()]);
        match self.random() % 2 {
            0 => self.request(flow, ACK, size),
            _ => self.reply(flow, ACK, size),
        }
    }

    /// By turns: an ICMP error about a live flow, both pieces of a datagram, and three packets that are dropped.
    fn odd(&mut self) -> Packet {
        self.odd += 1;
        let flow = self.any_live();
        match self.odd % 6 {
            0 => {
                let about = tcp((VIP, 80), self.client(flow), ACK).bytes();
                let error = icmp_error((3, 1), (ROUTER, VIP), (CLIENT_MAC, OUTSIDE_MAC), &about, 28);
                Packet::from_bytes(&error, OUTSIDE, Reason::IcmpError)
            }
            turn @ (1 | 2) => {
                let datagram = udp(PIECES_SOURCE, (VIP, 53)).payload(&[0; 24]).bytes();
                let range = if turn == 1 { 0..16 } else { 16..32 };
                Packet::from_bytes(&piece(&datagram, range, self.odd / 6), OUTSIDE, Reason::FlowHit)
            }
            3 => {
                let mut packet = self.request(flow, ACK, 64);
                packet.head[24] ^= 1;
                packet.slip.expected = Reason::Ipv4Checksum;
                packet
            }
            4 => self.client_packet(flow, (Transport::Tcp(SYN), 81), 64, Reason::NoListener),
            _ => {
                let mut packet = self.request(flow, ACK, 64);
                (packet.slip.length, packet.slip.expected) = (40, Reason::Ipv4TotalLength);
                packet
            }
        }
    }
}

/// Bytes on the wire.
const SIZES: [usize; 12] = [64, 64, 64, 64, 64, 64, 64, 594, 594, 594, 594, 1_518];
const PIECES_SOURCE: (std::net::Ipv4Addr, u16) = (CLIENT, 40_000);

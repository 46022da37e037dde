//! A client and a target that follow a script.

use std::net::SocketAddr;

use lb_core::{datapath::Datapath, verdict::Reason};

use super::support::*;

/// Every mode, with cookies.
pub fn cookie_modes() -> [Mode; 6] {
    modes().map(|mode| Mode { scene: Scene { has_syn_cookies: true, ..mode.scene }, ..mode })
}

/// What hosts offer: segment size, selective acknowledgements, timestamps, window scale.
pub fn options(segment_size: u16, window_scale: u8) -> Vec<u8> {
    let [high, low] = segment_size.to_be_bytes();
    vec![2, 4, high, low, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, window_scale]
}

/// A client and its target, with the numbers that each of them begins with.
pub struct Script {
    pub mode: Mode,
    pub path: Datapath<'static>,
    /// What the client offers in its SYN.
    pub offer: Vec<u8>,
    /// What the target offers in its SYN-ACK.
    pub answer: Vec<u8>,
    /// The number that the client knows the target's by.
    pub cookie: u32,
    pub source: SocketAddr,
    pub target: SocketAddr,
}

pub const CLIENT_INITIAL: u32 = 0xffff_fff0;
pub const TARGET_INITIAL: u32 = 0x7000_0000;

impl Script {
    pub fn new(mode: &Mode) -> Script {
        Script::with(mode, options(1_460, 9), options(1_400, 7))
    }

    pub fn with(mode: &Mode, offer: Vec<u8>, answer: Vec<u8>) -> Script {
        let (source, target) = (mode.client, mode.web());
        Script { path: mode.path(), mode: mode.clone(), offer, answer, cookie: 0, source, target }
    }

    pub fn request(&self, flags: u8, (sequence, acknowledgement): (u32, u32)) -> Crafted {
        Crafted { sequence, acknowledgement, ..tcp(self.mode.client, self.mode.web(), flags) }
    }

    pub fn reply(&self, flags: u8, (sequence, acknowledgement): (u32, u32)) -> Crafted {
        let packet =
            tcp(self.target, self.source, flags).macs(target_mac(number_of(self.target)), INSIDE_MAC);
        Crafted { sequence, acknowledgement, ..packet }
    }

    pub fn syn(&self) -> Crafted {
        Crafted { tcp_options: self.offer.clone(), ..self.request(SYN, (CLIENT_INITIAL, 0)) }
    }

    /// The client's acknowledgement of the cookie.
    pub fn confirmation(&self) -> Crafted {
        self.request(ACK, (CLIENT_INITIAL.wrapping_add(1), self.cookie.wrapping_add(1)))
    }

    pub fn target_answer(&self) -> Crafted {
        let numbers = (TARGET_INITIAL, CLIENT_INITIAL.wrapping_add(1));
        let tcp_options = self.answer.clone();
        Crafted { tcp_options, window: 28_960, ..self.reply(SYN | ACK, numbers) }
    }

    /// Puts a packet through that is to leave for this reason; as its receiver gets it.
    pub fn send(&mut self, packet: &Crafted, reason: Reason, now_ms: u64) -> Seen {
        let (verdict, out) = through(&mut self.path, packet, now_ms);
        assert_eq!(verdict.reason, reason, "{}", self.mode.name);
        read(&out.unwrap())
    }

    /// The client gets its cookie.
    pub fn get_cookie(&mut self, now_ms: u64) -> Seen {
        let seen = self.send(&self.syn(), Reason::SynCookie, now_ms);
        self.cookie = seen.sequence;
        seen
    }

    /// The client confirms its cookie; what the target gets.
    pub fn confirm(&mut self, now_ms: u64) -> Seen {
        let seen = self.send(&self.confirmation(), Reason::SynToTarget, now_ms);
        (self.source, self.target) = (seen.source, seen.destination);
        seen
    }

    /// The target answers: what it gets for that, and what the client gets.
    pub fn answer(&mut self, now_ms: u64) -> (Seen, Seen) {
        let acknowledged = self.send(&self.target_answer(), Reason::AckToTarget, now_ms);
        let extras = take_extras(&mut self.path);
        assert_eq!((extras.len(), extras[0].0.reason), (1, Reason::WindowToClient));
        (acknowledged, read(&extras[0].1))
    }

    pub fn establish(&mut self) {
        self.get_cookie(0);
        self.confirm(0);
        self.answer(0);
    }

    /// The client sends to the target, which acknowledges; the numbers that both see.
    pub fn assert_flows(&mut self, now_ms: u64) {
        let (client_next, target_next) = (CLIENT_INITIAL.wrapping_add(1), TARGET_INITIAL.wrapping_add(1));
        let request = self.request(ACK | PSH, (client_next, self.cookie.wrapping_add(1))).payload(b"hello");
        let seen = self.send(&request, Reason::FlowHit, now_ms);
        assert_eq!((seen.sequence, seen.acknowledgement), (client_next, target_next));
        assert_eq!(
            (seen.source, seen.destination, &seen.payload[..]),
            (self.source, self.target, &b"hello"[..])
        );
        let reply = self.reply(ACK | PSH, (target_next, client_next.wrapping_add(5))).payload(b"world");
        let seen = self.send(&reply, Reason::FlowHit, now_ms);
        assert_eq!(
            (seen.sequence, seen.acknowledgement),
            (self.cookie.wrapping_add(1), client_next.wrapping_add(5))
        );
        assert_eq!((seen.source, seen.destination), (self.mode.web(), self.mode.client));
        assert_eq!(seen.payload, b"world");
    }
}

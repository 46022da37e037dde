//! Whole connections over networks that lose, repeat and reorder: the target reads exactly the header and the client's bytes, the
//! client exactly the target's.

use std::collections::BTreeMap;

use lb_core::{
    datapath::Datapath,
    tables::{
        HeaderPlacement::{self, OnFirstAck, OnFirstAckWithPayload},
        InterfaceId,
    },
    time::Instant,
    verdict::{Action, Reason, Verdict},
};

use super::{endpoint::*, script::*, support::*};

/// A client, a target, the packet path between them, and frames on their way.
struct Net {
    path: Datapath<'static>,
    client: Endpoint,
    server: Endpoint,
    faults: Faults,
    random: u64,
    now_ms: u64,
    /// By the time when they arrive: the interface that they left by, or came in by.
    frames: BTreeMap<(u64, u64), (Place, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Client,
    Server,
    Path(InterfaceId),
}

/// Of frames on each link, in parts of a thousand; and by how many milliseconds they may differ.
#[derive(Clone, Copy, Debug)]
struct Faults {
    lost: u64,
    repeated: u64,
    jitter_ms: u64,
}

impl Net {
    /// In 0..bound.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((u128::from(self.random) * u128::from(bound)) >> 64) as u64
    }

    fn put(&mut self, place: Place, frame: &[u8]) {
        for _ in 0..1 + u64::from(self.below(1_000) < self.faults.repeated) {
            let at_ms = self.now_ms + 1 + self.below(self.faults.jitter_ms);
            if self.below(1_000) >= self.faults.lost {
                let number = self.below(u64::MAX);
                self.frames.insert((at_ms, number), (place, frame.to_vec()));
            }
        }
    }

    /// What leaves the packet path goes where it is sent to.
    fn leave(&mut self, verdict: Verdict, frame: &[u8]) {
        if matches!(verdict.reason.action(), Action::Transmit | Action::Reply) {
            let place = if verdict.port == OUTSIDE.0 { Place::Client } else { Place::Server };
            self.put(place, frame);
        }
    }

    fn leave_extras(&mut self) {
        for (verdict, frame) in take_extras(&mut self.path) {
            self.leave(verdict, &frame);
        }
    }

    /// One millisecond.
    fn step(&mut self) {
        self.now_ms += 1;
        while let Some(entry) = self.frames.first_entry().filter(|entry| entry.key().0 <= self.now_ms) {
            match entry.remove() {
                (Place::Client, frame) => self.client.take_in(&read(&frame), self.now_ms),
                (Place::Server, frame) => self.server.take_in(&read(&frame), self.now_ms),
                (Place::Path(ingress), frame) => {
                    let (verdict, out) = process(&mut self.path, ingress, &frame, self.now_ms);
                    self.leave(verdict, &out.unwrap_or_default());
                    self.leave_extras();
                }
            }
        }
        self.path.expire(Instant::from_millis(self.now_ms));
        self.leave_extras();
        self.client.tick(self.now_ms);
        self.server.tick(self.now_ms);
        for packet in std::mem::take(&mut self.client.out) {
            self.put(Place::Path(OUTSIDE), &packet.bytes());
        }
        for packet in std::mem::take(&mut self.server.out) {
            self.put(Place::Path(INSIDE), &packet.bytes());
        }
    }
}

/// What a transfer is like.
#[derive(Clone, Debug)]
struct Transfer {
    mode: Mode,
    client: Manner,
    server: Manner,
    faults: Faults,
    /// Bytes of the client and of the target.
    sizes: [usize; 2],
    seed: u64,
}

impl Transfer {
    /// Carries out the transfer; reasons that were met.
    fn run(&self) -> Vec<Reason> {
        let stream = |size: usize, salt: u8| {
            (0..size).map(|at| (at as u8) ^ (at >> 8) as u8 ^ salt).collect::<Vec<_>>()
        };
        let streams = [stream(self.sizes[0], 0x55), stream(self.sizes[1], 0xaa)];
        let header = Script::new(&self.mode).header;
        let ends = (self.mode.client, self.mode.web());
        let mut net = Net {
            path: self.mode.path(),
            client: Endpoint::client(self.client, ends, streams[0].clone()),
            server: Endpoint::server(self.server, streams[1].clone()),
            faults: self.faults,
            random: self.seed,
            now_ms: 0,
            frames: BTreeMap::new(),
        };
        while !(net.client.is_done() && net.server.is_done()) {
            net.step();
            assert!(
                net.now_ms < PATIENCE_MS,
                "{} of {} and {} of {}: {self:?}",
                net.server.received.len(),
                streams[0].len() + header.len(),
                net.client.received.len(),
                streams[1].len()
            );
        }
        assert!(net.server.received == [&header[..], &streams[0]].concat(), "{self:?}");
        assert!(net.client.received == streams[1], "{self:?}");
        assert_books_balance(net.path.counters());
        net.path.audit().unwrap();
        // Nothing is shifted any more.
        let probe = Crafted { sequence: self.client.initial, ..tcp(ends.0, ends.1, ACK) };
        let (verdict, out) = through(&mut net.path, &probe, net.now_ms);
        let seen = read(&out.unwrap_or_else(|| panic!("{:?}", verdict.reason)));
        assert_eq!(seen.sequence, self.client.initial, "{self:?}");
        let counters = net.path.counters();
        Reason::ALL.iter().copied().filter(|&reason| counters.reasons[reason as usize].value() > 0).collect()
    }

    fn of(mode: &Mode, seed: u64) -> Transfer {
        let manner = Manner {
            initial: 0,
            segment_size: 1_440,
            buffer: 60_000,
            reads_every_ms: 1,
            has_sack: !seed.is_multiple_of(3),
            has_timestamps: seed.is_multiple_of(2),
            acknowledges_late: !seed.is_multiple_of(5),
            waits_for: 0,
        };
        Transfer {
            mode: mode.clone(),
            client: Manner {
                initial: [0u32.wrapping_sub(30), 1_000, 0u32.wrapping_sub(90), 0x7fff_ffd0]
                    [seed as usize % 4],
                ..manner
            },
            server: Manner { initial: 0x8000_0000, ..manner },
            faults: Faults { lost: 0, repeated: 0, jitter_ms: 1 },
            sizes: [20_000; 2],
            seed,
        }
    }

    /// The target waits for the header before it speaks, and the client for the target.
    fn server_first(self) -> Transfer {
        Transfer {
            client: Manner { waits_for: 1, ..self.client },
            server: Manner { waits_for: 100, ..self.server },
            ..self
        }
    }
}

const WILD: Faults = Faults { lost: 100, repeated: 50, jitter_ms: 20 };

fn placements() -> [HeaderPlacement; 2] {
    [OnFirstAckWithPayload, OnFirstAck]
}

#[test]
fn a_mebibyte_goes_both_ways_over_a_network_with_losses() {
    for placement in placements() {
        let [mode, ..] = proxy_modes(placement);
        let faults = Faults { lost: 10, repeated: 5, jitter_ms: 4 };
        let transfer = Transfer { sizes: [1 << 20; 2], faults, ..Transfer::of(&mode, 1) };
        transfer.run();
    }
}

/// So many beginnings that what can go wrong with a header does.
#[test]
fn connections_survive_wild_networks_in_every_mode() {
    let mut met = Vec::new();
    for placement in placements() {
        for mode in proxy_modes(placement) {
            for seed in 1..40 {
                let transfer = Transfer { faults: WILD, sizes: [3_000, 2_000], ..Transfer::of(&mode, seed) };
                met.extend(transfer.run());
            }
        }
    }
    assert!(met.contains(&Reason::BehindHeader));
}

/// With the first acknowledgement, whoever speaks first.
#[test]
fn a_target_that_waits_for_the_header_may_speak_first() {
    let mut met = Vec::new();
    for mode in proxy_modes(OnFirstAck) {
        for seed in 1..40 {
            let transfer = Transfer { faults: WILD, sizes: [3_000, 2_000], ..Transfer::of(&mode, seed) };
            met.extend(transfer.server_first().run());
        }
    }
    assert!(met.contains(&Reason::HeaderRepeated));
}

/// A target whose window is often small or closed.
#[test]
fn small_and_closed_windows_delay_and_lose_nothing() {
    for placement in placements() {
        for mode in proxy_modes(placement) {
            for seed in 1..8 {
                let transfer = Transfer::of(&mode, seed);
                let server = Manner { buffer: 400, reads_every_ms: 90, ..transfer.server };
                let faults = if seed.is_multiple_of(2) { WILD } else { transfer.faults };
                Transfer { server, faults, ..transfer.clone() }.run();
            }
        }
    }
}

/// Header and first bytes do not fit one segment; or they do, exactly.
#[test]
fn segments_of_any_size_are_respected() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        for size in [536, 600, 1_300, 1_336, 1_440] {
            let transfer = Transfer::of(&mode, size as u64);
            let server = Manner { segment_size: size, ..transfer.server };
            Transfer { server, sizes: [size * 3, 10], ..transfer.clone() }.run();
        }
    }
}

const PATIENCE_MS: u64 = 600_000;

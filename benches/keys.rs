//! Flows by number, and the clock of benches that look them up: keys are made outside it.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use lb_core::{
    flow::{NewFlow, State},
    flow_key::FlowKey,
    hash::FlowHash,
};

/// Keys looked up at a time.
pub const BATCH: usize = 32;

/// Time of `count` operations on things that `make` makes, by batches.
pub fn time<T>(count: u64, mut make: impl FnMut() -> T, mut run: impl FnMut(&[T; BATCH])) -> Duration {
    let rounds = count.div_ceil((BATCHES * BATCH) as u64);
    let mut taken = Duration::ZERO;
    for _ in 0..rounds {
        let batches: [[T; BATCH]; BATCHES] = std::array::from_fn(|_| std::array::from_fn(|_| make()));
        let start = Instant::now();
        batches.iter().for_each(&mut run);
        taken += start.elapsed();
    }
    taken.mul_f64(count as f64 / (rounds as usize * BATCHES * BATCH) as f64)
}

/// Numbers of flows, at random.
pub struct Numbers(u64);

impl Numbers {
    /// The same at every run.
    pub fn new() -> Numbers {
        Numbers(1)
    }

    /// A number below `flows`.
    pub fn live(&mut self, flows: u32) -> u32 {
        self.next() % flows
    }

    /// A number that no table of a bench has.
    pub fn absent(&mut self) -> u32 {
        ABSENT + self.next() % ABSENT
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as u32
    }
}

/// An established TCP flow over IPv4.
pub fn flow_v4(n: u32) -> NewFlow {
    let client = Ipv4Addr::from_bits(0xc612_0000 + n / PORTS);
    flow(n, client.into(), Ipv4Addr::new(198, 18, 100, 1).into(), Ipv4Addr::new(198, 19, 1, 2).into())
}

/// The same over other addresses.
pub fn flow(n: u32, client: IpAddr, vip: IpAddr, target: IpAddr) -> NewFlow {
    let client = (client, (10_000 + (n % PORTS) as u16).to_be_bytes());
    let forward = FlowKey::new(client, (vip, [0, 80]), 6).expect("both are of one family");
    NewFlow::new(&forward, client, (target, [0x1f, 0x90]), State::Established)
}

/// The hash of flow tables, with some key.
pub fn hash() -> FlowHash {
    FlowHash::new(&std::array::from_fn(|i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// Each client uses this many ports, one after the other.
pub const PORTS: u32 = 50_000;
const ABSENT: u32 = 400_000_000;
const BATCHES: usize = 32;

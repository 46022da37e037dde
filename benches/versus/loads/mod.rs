//! Loads: what is sent through a peer, and what is counted of it.

use std::{net::SocketAddr, thread, time::Duration};

use crate::{
    measure::{Load, Measure},
    peer::Peer,
    topology::{Entry, Failure, Topology},
};

mod bulk;
mod connections;
mod idle_cpu;
mod requests;
pub mod server;
mod socket;
mod udp;

/// What a load works with.
#[derive(Clone, Copy)]
pub struct Stage<'t> {
    /// The network.
    pub topology: &'t Topology,
    /// Who is measured.
    pub peer: Peer,
    /// How its clients reach the targets.
    pub entry: &'t Entry,
    /// The targets' server.
    pub server: &'t server::Server,
    /// How long to count.
    pub time: Duration,
}

/// Puts the peer under a load and returns its figures.
pub fn run(load: Load, stage: Stage<'_>) -> Result<Vec<(Measure, f64)>, Failure> {
    let figures = match load {
        Load::Udp(flows) => vec![udp::packets_per_second(stage, flows)? / 1e3],
        Load::PacketCpu => vec![udp::cpu_ns_per_packet(stage)?],
        Load::Idle => vec![idle_cpu::used(stage.time)? * 100.0],
        Load::Latency => requests::latencies_us(stage)?.to_vec(),
        Load::Connections => vec![connections::per_second(stage)?],
        Load::Requests => vec![requests::per_second(stage)?],
        Load::Bulk => vec![bulk::gbit_per_second(stage)?],
    };
    Ok(load.measures().iter().copied().zip(figures).collect())
}

impl Stage<'_> {
    /// Where client number `index` connects to.
    fn destination(&self, index: usize, port: u16) -> SocketAddr {
        let addresses = &self.entry.addresses;
        (addresses[index % addresses.len()], port).into()
    }

    /// Lets a load settle, then calls `count` at the beginning and at the end of the time, and returns the difference per second.
    fn rate(&self, mut count: impl FnMut() -> Result<u64, Failure>) -> Result<f64, Failure> {
        thread::sleep(SETTLING);
        let begun = std::time::Instant::now();
        let before = count()?;
        thread::sleep(self.time);
        let counted = count()? - before;
        Ok(counted as f64 / begun.elapsed().as_secs_f64())
    }
}

/// What a thread found, or its panic.
fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Nothing is counted before a load has run for so long.
const SETTLING: Duration = Duration::from_millis(300);

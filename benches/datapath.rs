//! The whole packet path in memory: nanoseconds per packet, bursts of 32, flows hit in random order.
//!
//! `hit` and `reply` are packets of established TCP flows from the client and from the target; `miss_insert` is the first
//! packet of a new flow, the selection of its target, and the eviction of the oldest half-open flow once their budget is
//! used up. Frames are made outside the clock, 32 bursts at a time, in a buffer laid out as a UMEM is.

#[path = "../lb-core/tests/support/mod.rs"]
mod support;

use std::{hint::black_box, net::Ipv4Addr, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lb_core::{
    datapath::{Arrival, Datapath, Settings},
    flow_table::FlowArena,
    frame::Frame,
    tables::{InterfaceId, Mac},
    time::Instant,
    verdict::{Reason, Verdict},
    wire::checksum::Delta,
};
use support::{ACK, INSIDE, INSIDE_MAC, OUTSIDE, SYN, Scene, VIP};

/// Flows in the table.
const SIZES: [(u32, &str); 3] = [(1_000, "1k"), (1_000_000, "1M"), (10_000_000, "10M")];
const BURST: usize = 32;
const FRAMES: usize = 32 * BURST;
const CHUNK: usize = 2_048;
const HEADROOM: usize = 256;

fn datapath(criterion: &mut Criterion) {
    for (flows, name) in SIZES.into_iter().filter(|(_, name)| is_wanted(name)) {
        let mut arena = FlowArena::new(flows + flows / 4 + 8_192);
        let settings = Settings { adopt_until: Some(Instant::from_millis(1 << 40)), ..support::settings() };
        let mut bench = Bench {
            path: support::datapath(arena.memory(), settings, &Scene::default()),
            umem: vec![0; FRAMES * CHUNK],
            random: 1,
            fresh: 0x0b00_0000,
        };
        let targets = bench.open_flows(flows);
        let mut group = criterion.benchmark_group("datapath");
        group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3)).sample_size(20);
        for size in [64, 1_500] {
            group.bench_function(BenchmarkId::new(format!("hit/{size}B"), name), |bencher| {
                bencher.iter_custom(|packets| {
                    bench.run(packets, OUTSIDE, Reason::FlowHit, |bench| {
                        let flow = bench.random() % flows;
                        request(flow, ACK, size)
                    })
                });
            });
            group.bench_function(BenchmarkId::new(format!("reply/{size}B"), name), |bencher| {
                bencher.iter_custom(|packets| {
                    bench.run(packets, INSIDE, Reason::FlowHit, |bench| {
                        let flow = bench.random() % flows;
                        reply(flow, targets[flow as usize], size)
                    })
                });
            });
        }
        group.bench_function(BenchmarkId::new("miss_insert/64B", name), |bencher| {
            bencher.iter_custom(|packets| {
                bench.run(packets, OUTSIDE, Reason::FlowNew, |bench| {
                    bench.fresh += 1;
                    request_from(Ipv4Addr::from(bench.fresh), 40_000, SYN, 64)
                })
            });
        });
        group.finish();
    }
}

/// Whether benches of a table size can be among those asked for on the command line: filling a table takes a while.
fn is_wanted(name: &str) -> bool {
    let named = |size: &str| std::env::args().any(|argument| argument.ends_with(&format!("/{size}")));
    named(name) || !SIZES.iter().any(|(_, size)| named(size))
}

struct Bench<'m> {
    path: Datapath<'m>,
    umem: Vec<u8>,
    random: u64,
    fresh: u32,
}

impl Bench<'_> {
    /// Opens flows 0..`flows`; the number of each one's target.
    fn open_flows(&mut self, flows: u32) -> Vec<u8> {
        let mut targets = vec![0; flows as usize];
        let mut next = 0;
        while next < flows {
            let first = next;
            self.fill(|_| {
                next += 1;
                request((next - 1).min(flows - 1), ACK, 64)
            });
            self.process(OUTSIDE, |at, verdict, frame| {
                assert!(matches!(verdict.reason, Reason::FlowAdopted | Reason::FlowHit));
                if let Some(target) = targets.get_mut(first as usize + at) {
                    *target = frame[32];
                }
            });
        }
        targets
    }

    /// Time that `packets` packets take, `make` not included.
    fn run(
        &mut self,
        packets: u64,
        ingress: InterfaceId,
        expected: Reason,
        mut make: impl FnMut(&mut Self) -> Packet,
    ) -> Duration {
        let mut total = Duration::ZERO;
        let mut left = packets as f64;
        while left > 0.0 {
            self.fill(&mut make);
            let taken = self.process(ingress, |_, verdict, _| assert_eq!(verdict.reason, expected));
            total += taken.mul_f64((left / FRAMES as f64).min(1.0));
            left -= FRAMES as f64;
        }
        total
    }

    fn fill(&mut self, mut make: impl FnMut(&mut Self) -> Packet) {
        for at in 0..FRAMES {
            let packet = make(self);
            let frame = &mut self.umem[at * CHUNK + HEADROOM..][..packet.size];
            frame[..packet.head.len()].copy_from_slice(&packet.head);
        }
    }

    /// Processes all frames; `check` sees each verdict, off the clock.
    fn process(&mut self, ingress: InterfaceId, mut check: impl FnMut(usize, Verdict, &[u8])) -> Duration {
        let mut verdicts = [Verdict::drop(Reason::NoFlow); FRAMES];
        let mut frames: Vec<Frame<'_>> = self
            .umem
            .chunks_exact_mut(CHUNK)
            .map(|chunk| {
                let length = usize::from(u16::from_be_bytes([chunk[HEADROOM + 16], chunk[HEADROOM + 17]]));
                Frame::new(chunk, HEADROOM, HEADROOM + 14 + length, ingress)
            })
            .collect();
        let start = std::time::Instant::now();
        for (frames, verdicts) in frames.chunks_mut(BURST).zip(verdicts.chunks_mut(BURST)) {
            self.path.process_burst(frames, Arrival::Ring, Instant::from_millis(1_000), verdicts);
            black_box(&verdicts);
        }
        let taken = start.elapsed();
        for (at, (frame, verdict)) in frames.iter().zip(&verdicts).enumerate() {
            check(at, *verdict, frame.bytes());
        }
        taken
    }

    fn random(&mut self) -> u32 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.random >> 33) as u32
    }
}

/// Headers of a frame to be; the payload does not matter to anyone.
struct Packet {
    head: [u8; 54],
    size: usize,
}

fn request(flow: u32, flags: u8, size: usize) -> Packet {
    request_from(client(flow), port(flow), flags, size)
}

fn request_from(client: Ipv4Addr, port: u16, flags: u8, size: usize) -> Packet {
    packet((client, port), (VIP, 80), (support::CLIENT_MAC, support::OUTSIDE_MAC), flags, size)
}

fn reply(flow: u32, target: u8, size: usize) -> Packet {
    let source = (support::target(target), 8080);
    packet(source, (client(flow), port(flow)), (support::target_mac(target), INSIDE_MAC), ACK, size)
}

fn client(flow: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + flow / 50_000)
}

fn port(flow: u32) -> u16 {
    10_000 + (flow % 50_000) as u16
}

/// A frame of `size` bytes with its checksum on the wire included, as everybody counts: 4 bytes more than in memory.
fn packet(
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    macs: (Mac, Mac),
    flags: u8,
    size: usize,
) -> Packet {
    let length = (size - 18) as u16;
    let mut head = [0; 54];
    head[..6].copy_from_slice(&macs.1.0);
    head[6..12].copy_from_slice(&macs.0.0);
    head[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6]);
    head[16..18].copy_from_slice(&length.to_be_bytes());
    head[26..30].copy_from_slice(&source.0.octets());
    head[30..34].copy_from_slice(&destination.0.octets());
    head[34..36].copy_from_slice(&source.1.to_be_bytes());
    head[36..38].copy_from_slice(&destination.1.to_be_bytes());
    head[46..48].copy_from_slice(&[0x50, flags]);
    let sum = Delta::replacing(&[0; 20], &head[14..34]).update(0xffff);
    head[24..26].copy_from_slice(&sum.to_be_bytes());
    Packet { head, size: size - 4 }
}

criterion_group!(benches, datapath);
criterion_main!(benches);

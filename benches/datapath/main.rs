//! The whole packet path in memory: nanoseconds per packet, or per flow, in bursts of 32; flows are hit in random order.
//!
//! Frames are made outside the clock, 32 bursts at a time, in a buffer laid out as a UMEM is, and every verdict is checked.
//! Tables are filled when a row first needs them, so that `cargo bench --bench datapath -- 1M` takes seconds.
//!
//! | row | what is timed, beside N live flows |
//! | --- | --- |
//! | `hit`, `reply` | a packet of an established TCP flow from its client, from its target; targets see clients |
//! | `full_nat_hit`, `full_nat_reply` | the same; targets see an address and port of ours |
//! | `ipv6_hit`, `ipv6_reply`, `v6_to_v4_hit` | the same over IPv6, and from IPv6 clients to IPv4 targets |
//! | `mix/hits`, `mix/imix` | see `mix.rs` |
//! | `new` | the SYN of a new flow: miss, selection, insertion of both directions, rewriting |
//! | `flood` | the same when each pushes out the oldest half-open flow |
//! | `open_close_udp` | a datagram that opens a flow, and the flow's expiry after 120 s; N such flows |
//! | `open_close_tcp` | the 6 segments of a connection opened and closed, and its expiry 60 s later; N that wait for theirs |

mod bench;
mod frames;
#[path = "../memory.rs"]
mod memory;
mod mix;
mod rounds;
#[path = "../../lb-core/tests/support/mod.rs"]
mod support;
mod traffic;

use std::time::Duration;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use lb_core::flow_table::FlowMemory;

use bench::Bench;
use memory::HugePages;
use traffic::Mode;

/// Rows that share a table, and the most flows that they are run with.
struct Scenario {
    mode: Mode,
    most_flows: u32,
    rows: &'static [Row],
}

struct Row {
    name: &'static str,
    /// What must be in the table first.
    prepare: fn(&mut Bench<'_>),
    /// What is timed.
    round: fn(&mut Bench<'_>) -> Duration,
}

/// A row about the live flows.
const fn live(name: &'static str, round: fn(&mut Bench<'_>) -> Duration) -> Row {
    Row { name, prepare: |bench| bench.open_live(), round }
}

const SCENARIOS: [Scenario; 6] = [
    Scenario {
        mode: Mode::Preserving,
        most_flows: 10_000_000,
        rows: &[
            live("hit/64B", |bench| bench.hits(64)),
            live("reply/64B", |bench| bench.replies(64)),
            live("hit/1500B", |bench| bench.hits(1_500)),
            live("reply/1500B", |bench| bench.replies(1_500)),
            live("mix/hits", |bench| bench.mixed_hits()),
            Row { name: "mix/imix", prepare: |bench| bench.prepare_mix(), round: |bench| bench.mix() },
            live("new/64B", |bench| bench.new_flows()),
            Row { name: "flood/64B", prepare: |bench| bench.prepare_flood(), round: |bench| bench.flood() },
        ],
    },
    Scenario {
        mode: Mode::FullNat,
        most_flows: 10_000_000,
        rows: &[
            live("full_nat_hit/64B", |bench| bench.hits(64)),
            live("full_nat_reply/64B", |bench| bench.replies(64)),
        ],
    },
    Scenario {
        mode: Mode::Ipv6,
        most_flows: 1_000_000,
        rows: &[
            live("ipv6_hit/86B", |bench| bench.hits(86)),
            live("ipv6_reply/86B", |bench| bench.replies(86)),
        ],
    },
    Scenario {
        mode: Mode::Ipv6ToIpv4,
        most_flows: 1_000_000,
        rows: &[live("v6_to_v4_hit/86B", |bench| bench.hits(86))],
    },
    Scenario {
        mode: Mode::Preserving,
        most_flows: 10_000_000,
        rows: &[Row {
            name: "open_close_udp",
            prepare: |bench| bench.prepare_datagrams(),
            round: |bench| bench.datagrams(),
        }],
    },
    Scenario {
        mode: Mode::Preserving,
        most_flows: 1_000_000,
        rows: &[Row {
            name: "open_close_tcp",
            prepare: |bench| bench.prepare_connections(),
            round: |bench| bench.connections(),
        }],
    },
];

fn datapath(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("datapath");
    group
        .throughput(Throughput::Elements(1))
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .nresamples(10_000);
    for (flows, size) in SIZES {
        println!(
            "{size} flows: {:.1} bytes each with the index, {:.1} with an IPv6 end",
            FlowMemory::bytes_for_ipv4(flows) as f64 / f64::from(flows),
            FlowMemory::bytes_for(flows) as f64 / f64::from(flows),
        );
        for scenario in SCENARIOS.iter().filter(|scenario| flows <= scenario.most_flows) {
            run(&mut group, scenario, flows, size);
        }
    }
    group.finish();
}

fn run(group: &mut BenchmarkGroup<'_, WallTime>, scenario: &Scenario, flows: u32, size: &str) {
    let mut memory = HugePages::new(Bench::memory_bytes(flows));
    let mut bench = Bench::new(&mut memory, scenario.mode, flows);
    for row in scenario.rows {
        let mut is_prepared = false;
        group.bench_function(BenchmarkId::new(row.name, size), |bencher| {
            if !is_prepared {
                (row.prepare)(&mut bench);
                is_prepared = true;
            }
            bencher.iter_custom(|count| bench.time(count, row.round));
        });
    }
}

/// Flows in the table.
const SIZES: [(u32, &str); 3] = [(1_000, "1k"), (1_000_000, "1M"), (10_000_000, "10M")];

criterion_group!(benches, datapath);
criterion_main!(benches);

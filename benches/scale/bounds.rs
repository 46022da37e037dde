//! What bounds more workers than there are cores, by calculation from what was measured.
//!
//! Bytes between memory and the caches for a packet of an established flow, when the flow table is larger than the caches:
//!
//! | line | bytes |
//! | --- | --- |
//! | bucket of the flow's key, read | 64 |
//! | the flow's record, changed | 128 |
//! | of a packet that is handed over: a bucket at the worker that it came to, too | 64 |
//!
//! Everything else is used again before it leaves the caches: the line of the frame's headers (one per UMEM frame), descriptors
//! (an eighth to a quarter of a line per ring), counters of listeners and targets, tables.

use lb_core::flow_table::FlowMemory;

use crate::{
    Measured,
    crew::{FRAMES_PER_WORKER, Work},
    machine::{LINE_BYTES, Share},
    report::median,
    traffic::Spread,
};

/// What a packet costs in a crew, without playing the kernel.
#[derive(Clone, Copy)]
struct Cost {
    ns: f64,
    handed_over_share: f64,
}

/// Prints the calculation, for clients whose address is kept.
pub fn state(results: &[Measured], cores: u8, [one, all]: [Share; 2]) {
    let sizes = results.iter().map(|result| result.kind.flows_per_worker);
    let (Some(fewest), Some(most)) = (sizes.clone().min(), sizes.max()) else { return };
    let cost = |flows, workers, spread| cost(results, flows, workers, spread);
    let (Some(cached), Some(fetched)) = (cost(fewest, 1, Spread::Hashed), cost(most, 1, Spread::Hashed))
    else {
        return;
    };
    println!(
        "\n{most} flows cost {:.1} ns per packet more than {fewest}; a line read and one changed take {:.1} ns by themselves",
        fetched.ns - cached.ns,
        one.read_ns + one.change_ns,
    );
    println!(
        "{WORKERS} workers with {most} flows each: flow tables {:.0} MB, frames {:.0} MB, of which {:.0} MB headers",
        WORKERS * FlowMemory::bytes_for_ipv4(most) as f64 / 1e6,
        WORKERS * f64::from(FRAMES_PER_WORKER) * CHUNK_BYTES / 1e6,
        WORKERS * f64::from(FRAMES_PER_WORKER) * LINE_BYTES / 1e6,
    );
    if let (Some(home), Some(spread)) =
        (cost(most, cores, Spread::Steered), cost(most, cores, Spread::Hashed))
        && cores > 1
    {
        let handover_ns = (spread.ns - home.ns) / spread.handed_over_share;
        println!("a packet at home {:.1} ns, a hand-over {handover_ns:.1} ns more, of both workers", home.ns);
        for (way, share) in [("home", 0.0), ("by RSS", (WORKERS - 1.0) / WORKERS)] {
            state_bandwidth(way, home.ns + handover_ns * share, LINE_BYTES * (3.0 + share));
        }
    }
    println!(
        "a core fetches {:.1} GB/s of lines at random, {:.1} while all others do: it waits for lines, memory does not run out",
        LINE_BYTES / one.read_ns,
        LINE_BYTES / all.read_ns,
    );
}

/// Prints what many workers ask of memory, by the time of one for a packet and the packet's bytes.
fn state_bandwidth(way: &str, ns: f64, bytes: f64) {
    let mpps = WORKERS * 1_000.0 / ns;
    let gigabytes = mpps * bytes / 1_000.0;
    println!(
        "{WORKERS} workers, packets come {way}: {mpps:.0} Mpps x {bytes:.0} bytes = {gigabytes:.0} GB/s: {:.0} % of 8 channels \
         of DDR4-3200, {:.0} % of 12 of DDR5-4800",
        100.0 * gigabytes / DDR4_GB_PER_S,
        100.0 * gigabytes / DDR5_GB_PER_S,
    );
}

fn cost(results: &[Measured], flows: u32, workers: u8, spread: Spread) -> Option<Cost> {
    let is_it = |result: &&Measured| {
        let kind = result.kind;
        kind.preserves_client_ip
            && (kind.flows_per_worker, kind.workers, kind.spread) == (flows, workers, spread)
    };
    let rounds = &results.iter().find(is_it)?.rounds;
    Some(Cost {
        ns: median(rounds, Work::net_ns),
        handed_over_share: median(rounds, Work::handed_over_share),
    })
}

const WORKERS: f64 = 16.0;
/// A frame's chunk of the UMEM.
const CHUNK_BYTES: f64 = 2_048.0;
/// Channels x transfers per second x 8 bytes.
const DDR4_GB_PER_S: f64 = 8.0 * 3.2 * 8.0;
const DDR5_GB_PER_S: f64 = 12.0 * 4.8 * 8.0;

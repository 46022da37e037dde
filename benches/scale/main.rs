//! How the packet path scales: 1 to N workers of the engine's own, each pinned to a core, on rings in ordinary memory.
//!
//! ```text
//!   cargo bench --bench scale             all figures, under a minute
//!   cargo bench --bench scale -- --test   every step once, in a few seconds; the figures say nothing
//! ```
//!
//! Each worker has its own UMEM, rings, flow table and hand-over rings, as with sockets; its thread also plays the kernel, which
//! receives frames of open UDP flows by RSS and sends what the worker forwards. As many replies as requests come. The time for
//! playing the kernel is measured and stated. Rounds of all kinds alternate; of more rounds than are wanted those are kept in which
//! workers had their cores to themselves.

#[path = "../../lb-core/tests/support/mod.rs"]
mod support;

mod bounds;
mod crew;
mod machine;
mod random;
mod report;
mod traffic;

use std::{thread, time::Duration};

use crew::{Crew, Kind, Work};
use traffic::Spread;

fn main() {
    let plan = if std::env::args().any(|argument| argument == "--test") { QUICK } else { FULL };
    let cores = thread::available_parallelism().map_or(1, usize::from).min(usize::from(u8::MAX)) as u8;
    report::headline(cores);
    let mut results = Vec::new();
    for &flows_per_worker in plan.sizes {
        for preserves_client_ip in [true, false] {
            let series = Series { flows_per_worker, preserves_client_ip };
            let (measured, disturbed) = measure(&series.kinds(cores), plan);
            report::table(&series.name(), &measured, disturbed);
            results.extend(measured);
        }
    }
    let shares = [1, usize::from(cores)].map(|cores| machine::measure(cores, plan.table_lines));
    report::machine(cores, shares);
    bounds::state(&results, cores, shares);
}

/// What is measured, and for how long.
#[derive(Clone, Copy)]
struct Plan {
    /// Flows per worker.
    sizes: &'static [u32],
    rounds: usize,
    round: Duration,
    /// Lines of the table that shows what memory gives.
    table_lines: u32,
}

const FULL: Plan = Plan {
    sizes: &[1_000, 100_000, 1_000_000],
    rounds: 15,
    round: Duration::from_millis(50),
    table_lines: 4 << 20,
};

const QUICK: Plan =
    Plan { sizes: &[1_000], rounds: 1, round: Duration::from_millis(50), table_lines: 1 << 12 };

/// What is compared with each other.
struct Series {
    flows_per_worker: u32,
    preserves_client_ip: bool,
}

/// What one kind of crew did, round by round; each round has one of every kind.
struct Measured {
    kind: Kind,
    rounds: Vec<Work>,
}

impl Series {
    fn name(&self) -> String {
        let mode = if self.preserves_client_ip { "client-preserving NAT" } else { "full NAT" };
        format!("{mode}, {} flows per worker", self.flows_per_worker)
    }

    /// One worker, then more of them, by every way that packets come to them.
    fn kinds(&self, cores: u8) -> Vec<Kind> {
        let spreads = match self.preserves_client_ip {
            true => &[Spread::Apart, Spread::Steered, Spread::RequestsSteered, Spread::Hashed][..],
            false => &[Spread::Hashed],
        };
        let Series { flows_per_worker, preserves_client_ip } = *self;
        let kind = |workers, spread| Kind { workers, flows_per_worker, preserves_client_ip, spread };
        let crews = worker_counts(cores).into_iter().filter(|&workers| workers > 1);
        std::iter::once(kind(1, Spread::Hashed))
            .chain(crews.flat_map(|workers| spreads.iter().map(move |&spread| kind(workers, spread))))
            .collect()
    }
}

/// Powers of two up to the number of cores, and that number.
fn worker_counts(cores: u8) -> Vec<u8> {
    let doubled = std::iter::successors(Some(1_u8), |workers| workers.checked_mul(2));
    doubled.take_while(|&workers| workers < cores).chain([cores]).collect()
}

/// Rounds of all kinds in turn, and how many of those that are kept were disturbed.
fn measure(kinds: &[Kind], plan: Plan) -> (Vec<Measured>, usize) {
    let crews: Vec<Crew> = kinds.iter().map(|&kind| Crew::open(kind)).collect();
    let mut rounds: Vec<Vec<Work>> = Vec::new();
    let count_quiet = |rounds: &[Vec<Work>]| rounds.iter().filter(|round| is_quiet(round)).count();
    while count_quiet(&rounds) < plan.rounds && rounds.len() < plan.rounds * MOST_TRIES {
        rounds.push(crews.iter().map(|crew| crew.carry(plan.round)).collect());
    }
    crews.into_iter().for_each(Crew::disband);
    rounds.sort_by_key(|round| !is_quiet(round));
    rounds.truncate(plan.rounds);
    let of_kind = |at: usize| rounds.iter().map(|round| round[at]).collect();
    let measured = kinds.iter().enumerate().map(|(at, &kind)| Measured { kind, rounds: of_kind(at) });
    (measured.collect(), rounds.len() - count_quiet(&rounds))
}

/// Whether all workers of a round had their cores to themselves.
fn is_quiet(round: &[Work]) -> bool {
    round.iter().all(|work| work.waited_share() < QUIET_SHARE)
}

/// Rounds per round that is wanted.
const MOST_TRIES: usize = 2;
/// Part of their time for which workers may wait for their cores.
const QUIET_SHARE: f64 = 0.01;

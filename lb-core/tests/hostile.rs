//! Generated frames, near the edges of what is legal, through the whole packet path of several workers: nothing panics, every
//! frame has one fate, the flow tables stay whole, and what leaves is well formed whenever what came in was.
//!
//! `HOSTILE_FRAMES=100000000 cargo test --release --test hostile` runs more than the suite does.

mod generate;

use std::collections::BTreeSet;

use generate::{
    fleet::Fleet,
    inspect::assert_well_formed,
    random::Random,
    traffic::{Manners, Traffic},
    world::World,
};
use lb_core::{
    flow_table::FlowArena,
    verdict::{Action, Reason},
};

#[test]
fn generated_frames_meet_one_fate_each() {
    let frames: usize =
        std::env::var("HOSTILE_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(FRAMES);
    let mut met = BTreeSet::new();
    for (round, start) in (0..frames).step_by(FRAMES_OF_A_ROUND).enumerate() {
        let mut arenas: Vec<FlowArena> =
            (0..1 + round % 3).map(|_| FlowArena::new(FLOWS[round / 3 % FLOWS.len()])).collect();
        met.extend(run(round as u64, &mut arenas, FRAMES_OF_A_ROUND.min(frames - start)));
    }
    let missed: Vec<Reason> = Reason::ALL
        .iter()
        .copied()
        .filter(|reason| {
            reason.action() != Action::Pass && !UNREACHABLE.contains(reason) && !met.contains(reason)
        })
        .collect();
    assert!(missed.is_empty(), "the generator never led to {missed:?}");
}

/// So many frames through new workers, one for each arena; the reasons that they met.
fn run(seed: u64, arenas: &mut [FlowArena], frames: usize) -> BTreeSet<Reason> {
    let mut random = Random::seeded(0x1234_5678_9abc_def1 ^ seed << 20);
    let mut world = World::default();
    let mut fleet = Fleet::new(arenas, &world.tables());
    let mut traffic = Traffic::new(MANNERS);
    let (mut now_ms, mut sent) = (0, 0);
    while sent < frames {
        now_ms += random.below(40) as u64 * if random.one_in(100) { 5_000 } else { 1 };
        if random.one_in(60) {
            world.change(&mut random);
            fleet.install(&world.tables());
        }
        let burst: Vec<_> = (0..1 + random.below(48)).flat_map(|_| traffic.next(&mut random)).collect();
        sent += burst.len();
        let events = fleet.process(burst, now_ms, &mut random);
        events.iter().for_each(assert_well_formed);
        traffic.deliver(&events);
        fleet.audit();
    }
    fleet.reasons().collect()
}

const MANNERS: Manners = Manners { damaged: 8, spoiled: 24, odd: 8, disorderly: 2, noise: 64 };
const UNREACHABLE: [Reason; 5] = [
    Reason::TxRingFull, // These are the worker's, not the packet path's.
    Reason::HandoverFull,
    Reason::ResetRateLimited, // Time goes on too quickly.
    Reason::ErrorRateLimited,
    Reason::ResetUnanswered, // In steps of more than the second after which a SYN is repeated.
];
/// Frames of a run in the suite.
const FRAMES: usize = 240_000;
/// Each round has new workers, one to three of them.
const FRAMES_OF_A_ROUND: usize = 20_000;
/// Of each worker, by turns: few, so that tables are full at times, and most of the time.
const FLOWS: [u32; 4] = [192, 16, 64, 500];

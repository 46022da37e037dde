//! Bytes as a script for clients, targets and whoever changes the tables: frames go through the packet path of one or two workers,
//! and everything holds that the test `hostile` asks for. The same frames with IPv4 options, which have no short way, have the
//! same fate.

use lb_core::flow_table::FlowArena;

use crate::generate::{
    detour::assert_same_events,
    fleet::{Arriving, Fleet},
    inspect::assert_well_formed,
    random::Random,
    traffic::{Manners, Traffic},
    world::{INSIDE, OUTSIDE, World},
};

/// Plays the script to its end.
pub fn run(script: &[u8]) {
    let mut random = Random::scripted(script);
    let mut world = World::default();
    let workers = 1 + random.below(2);
    let arenas = || (0..workers).map(|_| FlowArena::new(FLOWS)).collect();
    let (mut arenas, mut detour_arenas): (Vec<FlowArena>, Vec<FlowArena>) = (arenas(), arenas());
    let mut fleet = Fleet::new(&mut arenas, &world.tables());
    let mut detours = Fleet::new(&mut detour_arenas, &world.tables()).by_detours();
    let mut traffic = Traffic::new(MANNERS);
    let (mut now_ms, mut steps) = (0, 0);
    while !random.is_over() {
        steps += 1;
        now_ms += random.below(256) as u64 * if random.one_in(8) { 1_000 } else { 1 };
        if random.one_in(16) {
            world.change(&mut random);
            fleet.install(&world.tables());
            detours.install(&world.tables());
        }
        let burst = match random.one_in(4) {
            true => vec![literal(&mut random)],
            false => traffic.next(&mut random),
        };
        let by_detours = detours.process(burst.clone(), now_ms, &mut random.clone());
        let events = fleet.process(burst, now_ms, &mut random);
        assert_same_events(&events, &by_detours);
        events.iter().for_each(assert_well_formed);
        traffic.deliver(&events);
        if steps % STEPS_PER_AUDIT == 0 {
            fleet.audit();
            detours.audit();
        }
    }
    fleet.audit();
}

/// A frame as it stands in the script.
fn literal(random: &mut Random<'_>) -> Arriving {
    let ingress = random.pick(&[OUTSIDE, INSIDE]);
    let length = random.below(256);
    Arriving { bytes: random.bytes(length), ingress }
}

const MANNERS: Manners = Manners { damaged: 4, spoiled: 32, odd: 4, disorderly: 2, noise: 32 };
/// Of each worker: few, so that tables are full soon.
const FLOWS: u32 = 16;
const STEPS_PER_AUDIT: u32 = 16;

//! The XDP program against its twin `lb_core::steer`, frame by frame.

use std::collections::BTreeMap;

use lb_core::steer::{Steer, Steering};
use lb_io::program::{Program, SteeringMaps, XdpAction};

use crate::{
    frames::{frame, steering},
    namespace,
    random::Random,
};

#[test]
fn the_program_decides_as_its_twin() {
    namespace::run("the_program_decides_as_its_twin", || {
        let steering = steering();
        let mut maps = SteeringMaps::create().unwrap();
        maps.apply(&steering).unwrap();
        let program = Program::load(&maps).unwrap();
        let mut random = Random::new(1);
        let mut decided: BTreeMap<(u16, bool), usize> = BTreeMap::new();
        for number in 0..FRAMES {
            let frame = frame(&mut random);
            let expected = match steering.steer(&frame) {
                // The program has no socket here.
                Steer::Redirect => XdpAction::Drop,
                Steer::Pass(_) => XdpAction::Pass,
            };
            let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
            *decided.entry((ethertype, expected == XdpAction::Pass)).or_default() += 1;
            let found = program.test_run(&frame).unwrap();
            assert_eq!(found, expected, "frame {number}: {frame:02x?}");
        }
        for kind in [(0x0800, false), (0x0800, true), (0x86dd, false), (0x86dd, true)] {
            assert!(decided[&kind] > FRAMES / 20, "one-sided frames: {decided:?}");
        }
    });
}

#[test]
fn frames_cut_at_every_length_are_decided_alike() {
    namespace::run("frames_cut_at_every_length_are_decided_alike", || {
        let steering = steering();
        let mut maps = SteeringMaps::create().unwrap();
        maps.apply(&steering).unwrap();
        let program = Program::load(&maps).unwrap();
        let mut random = Random::new(2);
        for _ in 0..500 {
            let whole = frame(&mut random);
            // The kernel runs no program on less than an Ethernet header.
            for len in 14..=whole.len() {
                let found = program.test_run(&whole[..len]).unwrap() == XdpAction::Pass;
                let expected = matches!(steering.steer(&whole[..len]), Steer::Pass(_));
                assert_eq!(found, expected, "cut at {len}: {whole:02x?}");
            }
        }
    });
}

#[test]
fn changed_maps_hold_exactly_what_was_asked_for() {
    namespace::run("changed_maps_hold_exactly_what_was_asked_for", || {
        let mut maps = SteeringMaps::create().unwrap();
        let program = Program::load(&maps).unwrap();
        let mut random = Random::new(3);
        let frames: Vec<Vec<u8>> = (0..2_000).map(|_| frame(&mut random)).collect();
        let whole = steering();
        for round in 0..20 {
            let mut part = whole.clone();
            part.addresses.retain(|_, _| !random.one_in(3));
            part.endpoints.retain(|_, _| !random.one_in(3));
            if round == 10 {
                part = Steering::default();
            }
            maps.apply(&part).unwrap();
            for frame in &frames {
                let found = program.test_run(frame).unwrap() == XdpAction::Pass;
                assert_eq!(found, matches!(part.steer(frame), Steer::Pass(_)), "round {round}: {frame:02x?}");
            }
        }
    });
}

const FRAMES: usize = 200_000;

//! What `cargo test` runs of this bench: two peers, shortly, to see that it measures at all.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use lbd::testbed;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::{
    measure::{Flows, Load},
    peer::Peer,
    rounds::{self, Plan},
};

/// Runs the test as the test runner's arguments say; without root it is reported as ignored.
pub fn test() -> ExitCode {
    let trial = Trial::test("versus_measures_routing_and_lbd", routing_and_lbd);
    let trials = vec![trial.with_ignored_flag(!testbed::is_privileged())];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn routing_and_lbd() -> Result<(), Failed> {
    crate::prepare()?;
    // A load lasts so shortly that one which something else holds up can count nothing.
    let mut missing = missing_figures();
    for _ in 1..ATTEMPTS {
        if missing.is_empty() {
            break;
        }
        eprintln!("again, because of {missing:?}");
        missing = missing_figures();
    }
    assert!(missing.is_empty(), "{missing:#?}");
    Ok(())
}

/// Measures all, and returns what has no figure, and why.
fn missing_figures() -> Vec<String> {
    let plan = Plan {
        peers: vec![Peer::Routing, Peer::LBD],
        loads: vec![Load::Udp(Flows::One), Load::Requests, Load::Connections],
        rounds: 1,
        attempts: 1,
        time: Duration::from_millis(300),
        lbd: PathBuf::from(env!("CARGO_BIN_EXE_lbd")),
    };
    let record = rounds::run(&plan);
    let measures = plan.loads.iter().flat_map(|load| load.measures());
    let wanted = plan.peers.iter().flat_map(|peer| measures.clone().map(move |measure| (*peer, *measure)));
    let has_figure = |peer, measure| record.spread(peer, measure).is_some_and(|spread| spread.median > 0.0);
    wanted
        .filter(|&(peer, measure)| !has_figure(peer, measure))
        .map(|(peer, measure)| {
            let why = record.absence(peer, measure).unwrap_or("nothing was counted");
            format!("{}: {}: {why}", peer.name(), measure.title())
        })
        .collect()
}

const ATTEMPTS: u32 = 3;

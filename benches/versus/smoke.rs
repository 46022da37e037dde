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
    for (&peer, &measure) in
        plan.peers.iter().flat_map(|peer| measures.clone().map(move |measure| (peer, measure)))
    {
        let figure = record.spread(peer, measure).map_or(0.0, |spread| spread.median);
        let why = record.absence(peer, measure).unwrap_or("nothing was counted");
        assert!(figure > 0.0, "{}: {}: {why}", peer.name(), measure.title());
    }
    Ok(())
}

//! The order of things: in each round every peer in turn, in a network of its own, under every load that it takes.

use std::{path::PathBuf, time::Duration};

use crate::{
    loads::{self, Stage, server::Server},
    measure::{Load, Measure, Room},
    others::{self, Watch},
    peer::Peer,
    peers::{self, Running},
    record::{Outcome, Record, Run},
    topology::{Failure, Topology},
};

/// What to measure.
pub struct Plan {
    /// Whom, in this order in each round.
    pub peers: Vec<Peer>,
    /// Under what.
    pub loads: Vec<Load>,
    /// How often.
    pub rounds: u32,
    /// How often at most a load is run, while other programs disturb it.
    pub attempts: u32,
    /// How long each load is counted.
    pub time: Duration,
    /// The daemon's program.
    pub lbd: PathBuf,
}

/// Measures everything and tells on standard error how far it is. What fails is recorded with its reason, and the rest goes on.
pub fn run(plan: &Plan) -> Record {
    let mut record = Record::default();
    for round in 1..=plan.rounds {
        for &peer in &plan.peers {
            eprintln!("round {round} of {}: {}", plan.rounds, peer.title());
            let mut visit = Visit { plan, peer, round, record: &mut record };
            visit.all_loads();
        }
    }
    record
}

/// One peer's turn.
struct Visit<'r> {
    plan: &'r Plan,
    peer: Peer,
    round: u32,
    record: &'r mut Record,
}

impl Visit<'_> {
    fn all_loads(&mut self) {
        let (wanted, senseless): (Vec<Load>, Vec<Load>) =
            self.plan.loads.iter().partition(|&&load| self.peer.absence(load).is_none());
        for load in senseless {
            self.absent(load, self.peer.absence(load).unwrap_or_default());
        }
        let visited = match peers::missing(self.peer) {
            Some(missing) => Err(missing.into()),
            None => self.visit(&wanted),
        };
        if let Err(error) = visited {
            let has_run = |load: &Load| {
                let is_of_it = |run: &Run| (run.round, run.peer) == (self.round, self.peer);
                self.record.0.iter().any(|run| is_of_it(run) && load.measures().contains(&run.measure))
            };
            let left: Vec<_> = wanted.into_iter().filter(|load| !has_run(load)).collect();
            left.into_iter().for_each(|load| self.absent(load, &error.to_string()));
        }
    }

    /// Builds the network and goes through the loads. An error says that the peer could not even start.
    fn visit(&mut self, loads: &[Load]) -> Result<(), Failure> {
        let topology = Topology::build(peers::offload(self.peer))?;
        let server = Server::start(topology.targets())?;
        let mut running: Option<Running> = None;
        for room in [Room::OneCpu, Room::AllCpus] {
            let loads: Vec<_> = loads.iter().filter(|load| load.room() == room).collect();
            if loads.is_empty() {
                continue;
            }
            if peers::is_made_for_its_room(self.peer) {
                running = None;
            }
            let running = match &running {
                Some(running) => running,
                None => running.insert(peers::start(self.peer, &topology, room, &self.plan.lbd)?),
            };
            for &load in loads {
                let stage = Stage {
                    topology: &topology,
                    peer: self.peer,
                    entry: &running.entry,
                    server: &server,
                    time: self.plan.time,
                };
                self.one_load(load, stage)?;
            }
        }
        Ok(())
    }

    /// Runs a load, and again while other programs disturb it.
    fn one_load(&mut self, load: Load, stage: Stage<'_>) -> Result<(), Failure> {
        for attempt in 1..=self.plan.attempts {
            let watch = Watch::begin()?;
            let figures = loads::run(load, stage);
            let others = watch.used()?;
            if others > UNDISTURBED && attempt < self.plan.attempts {
                eprintln!("    {load:?}: again, because other programs used {others:.2} CPUs");
                others::wait_until_quiet(UNDISTURBED, QUIET_WITHIN)?;
                continue;
            }
            match figures {
                Err(error) => self.absent(load, &error.to_string()),
                Ok(figures) => self.figures(&figures, others),
            }
            break;
        }
        Ok(())
    }

    fn figures(&mut self, figures: &[(Measure, f64)], others: f64) {
        for &(measure, figure) in figures {
            eprintln!("    {}: {}", measure.title(), measure.show(figure));
            let outcome = Outcome::Figure(figure);
            self.record.0.push(Run { round: self.round, peer: self.peer, measure, outcome, others });
        }
    }

    fn absent(&mut self, load: Load, why: &str) {
        eprintln!("    {load:?}: none: {why}");
        for &measure in load.measures() {
            let outcome = Outcome::Absent(why.to_owned());
            self.record.0.push(Run { round: self.round, peer: self.peer, measure, outcome, others: 0.0 });
        }
    }
}

/// How long others may take to become quiet before a load is run again.
const QUIET_WITHIN: Duration = Duration::from_secs(5);
/// What other programs may use, in CPUs.
const UNDISTURBED: f64 = 0.08;

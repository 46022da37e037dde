//! A daemon without packets: the control API in front of the real store of objects. Targets are as healthy as the test says.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use lb_ctl::{
    api::{InForce, Refusal, RefusalCode, Status, TargetRow, Traffic},
    change::{Context, Ref},
    config::Document,
    server::{Call, ChangeCall, Changed, Server, Snapshot},
    store::Store,
};

use crate::{Run, command};

/// The running server.
pub struct Daemon {
    pub socket: PathBuf,
    server: Option<Server>,
    control: Arc<Mutex<Control>>,
    scratch: tempfile::TempDir,
}

struct Control {
    store: Store,
    /// States of targets that are not `healthy`.
    states: BTreeMap<SocketAddr, String>,
    /// Flows of targets that have some.
    flows: BTreeMap<SocketAddr, u64>,
    /// Deregistered targets with their groups.
    leaving: Vec<(String, SocketAddr)>,
    /// How often the targets of a group were asked for.
    looks: BTreeMap<String, u64>,
}

impl Daemon {
    /// With two address pools, in zones a and b, and no objects.
    pub fn start() -> Daemon {
        let scratch = tempfile::tempdir().unwrap();
        let socket = scratch.path().join("lbd.sock");
        let host = Document::parse(HOST, "lbd.toml").unwrap();
        let (store, _) = Store::open(None, host, NOW).unwrap();
        let (states, flows, leaving, looks) = Default::default();
        let control = Arc::new(Mutex::new(Control { store, states, flows, leaving, looks }));
        let server = Some(serve(&socket, &control));
        Daemon { socket, server, control, scratch }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Nobody listens any more.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// With everything as it was.
    pub fn start_again(&mut self) {
        self.server = Some(serve(&self.socket, &self.control));
    }

    /// Runs `lbctl` with words that hold no spaces.
    pub fn lbctl(&self, line: &str) -> Run {
        self.lbctl_with(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `lbctl`.
    pub fn lbctl_with(&self, arguments: &[&str]) -> Run {
        Run::of(command().arg("--socket").arg(&self.socket).args(arguments).output().unwrap())
    }

    /// Each line in turn, all of them done.
    #[track_caller]
    pub fn all_done(&self, lines: &[&str]) {
        for line in lines {
            self.lbctl(line).done();
        }
    }

    /// A file of this text.
    pub fn file(&self, text: &str) -> PathBuf {
        let path = self.scratch.path().join("file.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// From now on the target is in this state.
    pub fn set_state(&self, target: &str, state: &str) {
        self.control.lock().unwrap().states.insert(target.parse().unwrap(), state.into());
    }

    /// From now on the target has so many flows.
    pub fn set_flows(&self, target: &str, flows: u64) {
        self.control.lock().unwrap().flows.insert(target.parse().unwrap(), flows);
    }

    /// How often the targets of a group have been asked for.
    pub fn looks(&self, target_group: &str) -> u64 {
        self.control.lock().unwrap().looks.get(target_group).copied().unwrap_or_default()
    }

    /// Waits until the targets of a group have been asked for more than so often.
    pub fn wait_for_look(&self, target_group: &str, seen: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.looks(target_group) <= seen {
            assert!(Instant::now() < deadline, "nobody asks for the targets of {target_group}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn generation(&self) -> u64 {
        self.control.lock().unwrap().store.generation
    }
}

fn serve(socket: &Path, control: &Arc<Mutex<Control>>) -> Server {
    let control = control.clone();
    Server::start(socket, move |call| control.lock().unwrap().answer(call)).unwrap()
}

impl Control {
    fn answer(&mut self, call: Call) {
        match call {
            Call::Status(reply) => reply.send(self.status()),
            Call::Targets(reply) => reply.send(self.targets()),
            Call::TargetsOf { target_group, reply } => {
                *self.looks.entry(target_group.clone()).or_default() += 1;
                let found = self.store.objects.group_at(&Ref::Name(target_group.clone()));
                let rows = self.targets().into_iter().filter(|row| row.target_group == target_group);
                match found {
                    Ok(_) => reply.send(rows.collect()),
                    Err(refusal) => reply.refuse(refusal),
                }
            }
            Call::Snapshot(reply) => {
                let Store { generation, objects, .. } = &self.store;
                reply.send(Snapshot { generation: *generation, objects: objects.clone() });
            }
            Call::Change(call) => self.change(call),
            Call::Export(reply) => reply.send(self.store.export().unwrap()),
            Call::Differences { file, reply } => match self.store.differences(&file, NOW) {
                Ok(rows) => reply.send(rows),
                Err(errors) => reply.refuse(Refusal::of(RefusalCode::ValidationError, errors.to_string())),
            },
            _ => {}
        }
    }

    fn status(&self) -> Status {
        let generation = self.store.generation;
        let tables = generation as u32;
        Status {
            generation,
            tables_generation: tables,
            applied_tables_generation: tables,
            ..Status::default()
        }
    }

    fn change(&mut self, call: ChangeCall) {
        let mut draft = self.store.draft();
        let outcome = match call.expected_generation {
            Some(expected) if expected != draft.generation() => {
                let error = format!("the objects are of generation {}", draft.generation());
                Err(Refusal::of(RefusalCode::GenerationMismatch, error))
            }
            _ => draft.apply(&call.change, &Context { host: &self.store.host, now: NOW }),
        };
        let settled = outcome.and_then(|id| draft.settle(&self.store.host).map(|()| id));
        match settled {
            Err(refusal) => call.reply.refuse(refusal),
            Ok(id) => {
                let before = self.registered();
                self.store = self.store.with_draft(draft);
                let after = self.registered();
                self.leaving.extend(before.into_iter().filter(|row| !after.contains(row)));
                let generation = self.store.generation;
                let in_force = InForce { generation, tables_generation: generation as u32, id };
                call.reply.send(Changed { in_force, objects: self.store.objects.clone() });
            }
        }
    }

    fn registered(&self) -> Vec<(String, SocketAddr)> {
        let groups = self.store.objects.target_groups.iter();
        let rows = groups.flat_map(|group| group.targets.iter().map(move |target| (group, target)));
        rows.map(|(group, target)| (group.name.clone(), SocketAddr::new(target.address, target.port)))
            .collect()
    }

    fn targets(&self) -> Vec<TargetRow> {
        let registered = self.registered().into_iter().map(|(group, target)| {
            let state = self.states.get(&target).map_or("healthy", String::as_str);
            self.row((group, target), state, Some(1))
        });
        let flows = |target: &SocketAddr| self.flows.get(target).copied().unwrap_or_default();
        let leaving = self.leaving.iter().filter(|(_, target)| flows(target) > 0).map(|row| {
            let state = self.states.get(&row.1).map_or("draining", String::as_str);
            self.row(row.clone(), state, None)
        });
        registered.chain(leaving).collect()
    }

    fn row(
        &self,
        (target_group, target): (String, SocketAddr),
        state: &str,
        weight: Option<u16>,
    ) -> TargetRow {
        let active_flows = self.flows.get(&target).copied().unwrap_or_default();
        TargetRow {
            target_group,
            target,
            zone: None,
            state: state.into(),
            reason: None,
            description: None,
            changed: None,
            changed_seconds_ago: Some(3),
            checks_passed: 1,
            checks_failed: 0,
            weight,
            is_eligible: state == "healthy",
            share_percent: 100.0,
            is_reachable: true,
            bypass: None,
            traffic: Traffic { active_flows, ..Traffic::default() },
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

const NOW: &str = "2026-11-23T12:00:00Z";

const HOST: &str = r#"
interfaces = ["eth0"]
[[address_pools]]
name = "subnet-a"
zone = "a"
addresses = ["198.18.100.16-198.18.100.31", "2001:db8::100-2001:db8::1ff"]
interface = "eth0"
[[address_pools]]
name = "subnet-b"
zone = "b"
addresses = ["198.18.101.16/28", "2001:db8:1::100-2001:db8:1::1ff"]
interface = "eth0"
"#;

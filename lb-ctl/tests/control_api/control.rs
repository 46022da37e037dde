//! What stands in for the control thread: it keeps objects by the daemon's own rules, but balances nothing.

use std::sync::{Arc, Mutex};

use lb_ctl::{
    api::{InForce, Refusal, RefusalCode, Stats, Status},
    change::Context,
    config::Document,
    server::{Call, ChangeCall, Changed, Snapshot},
    store::Store,
};

/// Objects without packets.
pub struct Control {
    store: Mutex<Store>,
}

impl Control {
    /// That of a host with a pool of addresses.
    pub fn new() -> Arc<Control> {
        let file = Document::parse(FILE, "lbd.toml").unwrap();
        let (store, _) = Store::open(None, file, NOW).unwrap();
        Arc::new(Control { store: Mutex::new(store) })
    }

    /// Answers a call at once.
    pub fn answer(&self, call: Call) {
        match call {
            Call::Status(reply) => reply.send(Status { generation: 7, ..Status::default() }),
            Call::Targets(reply) => reply.send(Vec::new()),
            Call::TargetsOf { target_group, reply } => {
                let store = self.store.lock().unwrap();
                match store.objects.target_group(&target_group) {
                    Some(_) => reply.send(Vec::new()),
                    None => reply.refuse(Refusal::of(RefusalCode::TargetGroupNotFound, "no such group")),
                }
            }
            Call::Change(call) => self.change(call),
            Call::Snapshot(reply) => {
                let store = self.store.lock().unwrap();
                reply.send(Snapshot { generation: store.generation, objects: store.objects.clone() });
            }
            Call::Export(reply) => reply.send(self.store.lock().unwrap().export().unwrap()),
            Call::Differences { file, reply } => match self.store.lock().unwrap().differences(&file, NOW) {
                Ok(differences) => reply.send(differences),
                Err(errors) => reply.refuse(Refusal::of_file(&errors)),
            },
            Call::Flows { reply, .. } => reply.send(Default::default()),
            Call::Why { reply, .. } => reply.refuse("there are no packets here"),
            Call::Trace { reply, .. } | Call::Capture { reply, .. } => {
                reply.refuse("there are no packets here")
            }
            Call::Stats(reply) => reply.send(Stats::default()),
            Call::Metrics(reply) => reply.send(Default::default()),
            Call::Reload { reply, .. } => reply.send(self.in_force()),
        }
    }

    fn change(&self, call: ChangeCall) {
        let mut store = self.store.lock().unwrap();
        let mut draft = store.draft();
        if call.expected_generation.is_some_and(|expected| expected != store.generation) {
            let refusal = Refusal::of(RefusalCode::GenerationMismatch, "another generation");
            return call.reply.refuse(Refusal { generation: Some(store.generation), ..refusal });
        }
        let context = Context { host: &store.host, now: NOW };
        match draft.apply(&call.change, &context).and_then(|id| draft.settle(&store.host).map(|()| id)) {
            Err(refusal) => call.reply.refuse(refusal),
            Ok(id) => {
                *store = store.with_draft(draft);
                let in_force = InForce { generation: store.generation, tables_generation: 1, id };
                call.reply.send(Changed { in_force, objects: store.objects.clone() });
            }
        }
    }

    fn in_force(&self) -> InForce {
        InForce { generation: self.store.lock().unwrap().generation, tables_generation: 1, id: None }
    }
}

const NOW: &str = "2026-11-23T10:00:00Z";

const FILE: &str = r#"
interfaces = ["eth0"]
[[address_pools]]
name = "subnet-a"
zone = "a"
addresses = ["198.18.100.16-198.18.100.31"]
interface = "eth0"
[[load_balancers]]
name = "declared"
addresses = ["198.18.100.1"]
listeners = [{ protocol = "TCP", port = 80, target_group = "old" }]
[[target_groups]]
name = "old"
protocol = "TCP"
port = 8080
"#;

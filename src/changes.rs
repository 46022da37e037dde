//! Changes of objects by call. All that wait are applied together: one compilation, one write to disk, one publication.

use std::{error::Error, sync::Arc, time::SystemTime};

use lb_core::tables::Tables;
use lb_ctl::{
    api::{Happening, InForce, Refusal, RefusalCode},
    change::{Change, Context, Draft},
    config::Config,
    health,
    objects::{Id, differences, summary},
    server::{ChangeCall, Changed},
    store::Store,
    timestamp::rfc3339,
};

use crate::{audit, control::Control};

/// A call that was tried on a draft.
struct Tried {
    call: ChangeCall,
    outcome: Result<Option<Id>, Refusal>,
    /// Of the draft behind it.
    generation: u64,
    /// What it does.
    change: String,
    is_new: bool,
}

/// Why objects cannot be put in force.
pub(crate) enum NotInForce {
    /// The host, or the tables, have no room for them.
    DoesNotFit(Box<dyn Error>),
    /// They cannot be kept.
    NotKept(Box<dyn Error>),
}

impl Control {
    /// Applies each call wholly or refuses it. Whether new tables are in force.
    pub(crate) fn change_objects(&mut self, calls: Vec<ChangeCall>) -> bool {
        if calls.is_empty() {
            return false;
        }
        let mut draft = self.store.draft();
        let tried: Vec<Tried> = calls.into_iter().map(|call| self.try_on(&mut draft, call)).collect();
        let is_new = draft.generation() != self.store.generation;
        let in_force = match draft.settle(&self.store.host) {
            Ok(()) if is_new => {
                self.put_objects_in_force(self.store.with_draft(draft)).map_err(|error| error.refusal())
            }
            settled => settled,
        };
        match in_force {
            Ok(()) => {
                self.answer_changes(tried);
                is_new
            }
            Err(refusal) if tried.len() == 1 => {
                tried.into_iter().for_each(|tried| refuse(tried.call, refusal.clone()));
                false
            }
            // One of them may ask for what cannot be: the others are not to suffer for it.
            Err(_) => {
                let one_by_one = tried.into_iter().map(|tried| self.change_objects(vec![tried.call]));
                let applied: Vec<bool> = one_by_one.collect();
                applied.contains(&true)
            }
        }
    }

    fn try_on(&self, draft: &mut Draft, call: ChangeCall) -> Tried {
        let before = draft.generation();
        let mut change = call.change.describe();
        let applied = matches!(call.change, Change::Apply(_)).then(|| draft.objects().clone());
        let outcome = match call.expected_generation {
            Some(expected) if expected != before => Err(mismatch(before, expected)),
            _ => draft.apply(&call.change, &Context { host: &self.store.host, now: &now() }),
        };
        let generation = draft.generation();
        if let Some(known) = applied.filter(|_| generation != before) {
            change += &format!(": {}", summary(&differences(&known, draft.objects())));
        }
        Tried { call, outcome, generation, change, is_new: generation != before }
    }

    /// Compiles, keeps and publishes objects; after an error nothing has changed.
    pub(crate) fn put_objects_in_force(&mut self, store: Store) -> Result<(), NotInForce> {
        if store.config == self.store.config {
            // Tags and the like: nothing that packets are treated by.
            self.state.save_objects(&store.to_keep()).map_err(|error| NotInForce::NotKept(error.into()))?;
            self.store = store;
            return Ok(());
        }
        let compiler = self.compiler.clone();
        let tables = match self.prepare(&store.config) {
            Ok(tables) => tables,
            Err(error) => {
                self.compiler = compiler;
                self.reserve_ports_of_tables();
                return Err(NotInForce::DoesNotFit(error));
            }
        };
        if let Err(error) = self.state.save_objects(&store.to_keep()) {
            self.compiler = compiler;
            self.reserve_ports_of_tables();
            self.release_addresses();
            return Err(NotInForce::NotKept(error.into()));
        }
        let before = std::mem::replace(&mut self.store, store);
        self.put_in_force(tables);
        self.health.set(health::checks(&self.store.config, &self.host_addresses()));
        self.watch_next_hops();
        if addresses(&before.config) != addresses(&self.store.config) {
            self.release_addresses();
            self.refresh();
            self.addresses.announce();
        }
        Ok(())
    }

    /// Does all that can fail, apart from keeping.
    fn prepare(&mut self, config: &Config) -> Result<Arc<Tables>, Box<dyn Error>> {
        let tables = self.compile(config)?;
        if addresses(config) != addresses(&self.store.config) || tables.sources() != self.tables.sources() {
            self.reserve_ports(tables.sources(), config)?;
            self.addresses.assign(config, &self.host_addresses(), &self.state)?;
        }
        Ok(tables)
    }

    /// Answers calls whose changes are in force, or that were refused.
    fn answer_changes(&self, tried: Vec<Tried>) {
        for Tried { call, outcome, generation, change, is_new } in tried {
            match outcome {
                Ok(id) => {
                    if is_new {
                        audit::accepted(&call.by, &change, generation);
                        let by = call.by.to_string();
                        self.server.events().publish(Happening::Change { generation, by, change });
                    } else {
                        audit::idle(&call.by, &change, generation);
                    }
                    let in_force = InForce { generation, tables_generation: self.tables.generation(), id };
                    call.reply.send(Changed { in_force, objects: self.store.objects.clone() });
                }
                Err(refusal) => refuse(call, refusal),
            }
        }
    }
}

impl NotInForce {
    fn refusal(&self) -> Refusal {
        match self {
            NotInForce::DoesNotFit(error) => {
                let code = RefusalCode::InvalidConfigurationRequest;
                Refusal::of(code, format!("nothing has changed: {error}"))
            }
            NotInForce::NotKept(error) => {
                Refusal::of(RefusalCode::StoreUnwritable, format!("nothing has changed: {error}"))
            }
        }
    }

    pub(crate) fn into_inner(self) -> Box<dyn Error> {
        match self {
            NotInForce::DoesNotFit(error) | NotInForce::NotKept(error) => error,
        }
    }
}

/// Now, as objects note it.
pub(crate) fn now() -> String {
    rfc3339(SystemTime::now())
}

fn mismatch(generation: u64, expected: u64) -> Refusal {
    let error = format!("the objects are of generation {generation}, not of {expected}: look again");
    Refusal { generation: Some(generation), ..Refusal::of(RefusalCode::GenerationMismatch, error) }
}

fn refuse(call: ChangeCall, refusal: Refusal) {
    audit::refused(&call.by, call.change.describe(), &refusal);
    call.reply.refuse(refusal);
}

/// What the host is asked for that only some changes touch.
fn addresses(config: &Config) -> Vec<(Vec<std::net::IpAddr>, u8, bool)> {
    let row = |lb: &lb_ctl::config::LoadBalancer| {
        let is_ours = lb.assignment == lb_ctl::config::Assignment::Daemon;
        (lb.addresses().collect(), lb.interface.0, is_ours)
    };
    let sources = &config.source_nat;
    let is_ours = sources.assignment == lb_ctl::config::Assignment::Daemon;
    let of_sources = (sources.addresses.clone(), sources.interface.0, is_ours);
    config.load_balancers.iter().map(row).chain([of_sources]).collect()
}

//! Targets that come and go by call. All calls that wait are applied together: one compilation, one write to disk, one publication.

use std::error::Error;

use lb_ctl::{
    api::{Happening, InForce, Refusal},
    config::Config,
    health,
    registrations::{self, Registrations},
    server::ChangeTargets,
};

use crate::{audit, control::Control};

impl Control {
    /// Applies each call wholly or refuses it. Whether new tables are in force.
    pub(crate) fn change_targets(&mut self, calls: Vec<ChangeTargets>) -> bool {
        if calls.is_empty() {
            return false;
        }
        let mut config = Config::clone(&self.config);
        let mut accepted = Vec::new();
        for call in calls {
            match registrations::apply(&mut config, &call.target_group, &call.changes) {
                Ok(()) => accepted.push(call),
                Err(refusal) => refuse(call, refusal),
            }
        }
        if accepted.is_empty() {
            return false;
        }
        match (self.put_registrations_in_force(config), accepted.len()) {
            (Ok(()), _) => {
                self.confirm(accepted);
                true
            }
            (Err(error), 1) => {
                let refusal = format!("nothing has changed: {error}");
                accepted.into_iter().for_each(|call| refuse(call, refusal.as_str().into()));
                false
            }
            // One of them may ask for too much: the others are not to suffer for it.
            (Err(_), _) => {
                let applied: Vec<bool> =
                    accepted.into_iter().map(|call| self.change_targets(vec![call])).collect();
                applied.contains(&true)
            }
        }
    }

    /// Compiles, keeps and publishes; after an error nothing has changed.
    fn put_registrations_in_force(&mut self, config: Config) -> Result<(), Box<dyn Error>> {
        let compiler = self.compiler.clone();
        let tables = self.compile(&config)?;
        if let Err(error) = self.state.save_registrations(&Registrations::of(&config)) {
            self.compiler = compiler;
            return Err(error.into());
        }
        self.config = config.into();
        self.put_in_force(tables);
        self.health.set(health::checks(&self.config, &self.host_addresses()));
        self.watch_next_hops();
        Ok(())
    }

    /// Answers calls that are in force.
    fn confirm(&self, calls: Vec<ChangeTargets>) {
        let generation = self.tables.generation();
        for call in calls {
            let change = describe(&call);
            audit::accepted(&call.by, &change, generation);
            let by = call.by.to_string();
            self.server.events().publish(Happening::Change { generation: generation.into(), by, change });
            call.reply.send(InForce { generation });
        }
    }
}

fn refuse(call: ChangeTargets, refusal: Refusal) {
    audit::refused(&call.by, describe(&call), &refusal.error);
    call.reply.refuse(refusal);
}

/// What a call asks for, in words.
fn describe(call: &ChangeTargets) -> String {
    let (registered, deregistered) = (call.changes.register.len(), call.changes.deregister.len());
    format!("target group {}: register {registered}, deregister {deregistered}", call.target_group)
}

//! A reload: the file is read again and applied wholly, or nothing changes.

use std::{error::Error, sync::Arc};

use lb_ctl::{
    api::{DroppedRegistrations, Reloaded},
    config::{self, Config},
    health,
    registrations::Registrations,
};

use crate::control::Control;

impl Control {
    /// Reads the file again and applies it, or changes nothing.
    pub(crate) fn reload(&mut self) -> Result<Reloaded, Box<dyn Error>> {
        let mut config = config::load(&self.path)?;
        self.check_unchangeable(&config)?;
        check_protected(&self.config, &config)?;
        let dropped = Registrations::of(&self.config).merge_into(&mut config)?;
        let config = Arc::new(config);
        let compiler = self.compiler.clone();
        if let Err(error) = self.prepare(&config) {
            self.compiler = compiler;
            self.reserve_ports_of_tables();
            return Err(error);
        }
        self.health.set(health::checks(&config, &self.host_addresses()));
        self.config = config;
        self.forget(&dropped);
        self.watch_next_hops();
        self.refresh();
        if let Err(error) = self.addresses.release(&self.config, &self.state) {
            eprintln!("lbd: {error}");
        }
        self.refresh();
        self.addresses.announce();
        Ok(Reloaded { generation: self.tables.generation(), dropped })
    }

    /// Registrations by call that the file in force has no target group for do not come back with one.
    pub(crate) fn forget(&self, dropped: &[DroppedRegistrations]) {
        if dropped.is_empty() {
            return;
        }
        for DroppedRegistrations { target_group, targets } in dropped {
            println!(
                "lbd: target group {target_group} takes no calls any more: its registered targets, {targets}, are dropped"
            );
        }
        if let Err(error) = self.state.save_registrations(&Registrations::of(&self.config)) {
            eprintln!("lbd: {error}; they would come back with their target group at a start");
        }
    }

    /// Does all of a reload that can fail.
    fn prepare(&mut self, config: &Config) -> Result<(), Box<dyn Error>> {
        let tables = self.compile(config)?;
        self.reserve_ports(tables.sources(), config)?;
        self.addresses.assign(config, &self.host_addresses(), &self.state)
    }

    /// Refuses what only a new process can change.
    fn check_unchangeable(&self, new: &Config) -> Result<(), String> {
        let old = &self.config;
        let changed: Vec<&str> = [
            ("interfaces", old.interfaces != new.interfaces),
            ("state_directory", old.state_directory != new.state_directory),
            ("control_socket", old.control_socket != new.control_socket),
            ("elbv2", old.elbv2 != new.elbv2),
            ("workers", old.workers != new.workers),
            ("flow_table", old.flow_capacity != new.flow_capacity),
            (
                "source_nat.ports_per_client",
                old.source_nat.ports_per_client != new.source_nat.ports_per_client,
            ),
            // `adopt_seconds` matters at a start only, so any change is fine.
            ("selection.secret", old.selection.secret != new.selection.secret),
        ]
        .into_iter()
        .filter_map(|(key, is_changed)| is_changed.then_some(key))
        .collect();
        match changed.as_slice() {
            [] => Ok(()),
            keys => Err(format!(
                "{}: {} changed, which takes a restart: stop lbd and start it again, or undo the change",
                self.path.display(),
                keys.join(", ")
            )),
        }
    }
}

/// Refuses a configuration without a load balancer that is protected (NLB `deletion_protection.enabled`).
fn check_protected(old: &Config, new: &Config) -> Result<(), String> {
    let is_gone = |name: &str| new.load_balancers.iter().all(|lb| lb.name != name);
    match old.load_balancers.iter().find(|lb| lb.is_deletion_protected && is_gone(&lb.name)) {
        None => Ok(()),
        Some(lb) => Err(format!(
            "load balancer {:?} is protected against deletion, and the file does not have it any more: put it back, set its \
             attribute \"deletion_protection.enabled\" to false and reload; then remove or rename it",
            lb.name
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, is_deletion_protected: bool) -> Config {
        let text = format!(
            r#"
            interfaces = ["eth0"]
            [[load_balancers]]
            name = "{name}"
            addresses = ["198.18.100.1"]
            listeners = [{{ protocol = "TCP", port = 80, target_group = "web" }}]
            attributes = {{ "deletion_protection.enabled" = {is_deletion_protected} }}
            [[target_groups]]
            name = "web"
            protocol = "TCP"
            port = 80
            "#
        );
        config::parse(&text, "lbd.toml").unwrap()
    }

    #[test]
    fn a_protected_load_balancer_stays() {
        for (old, new, is_allowed) in [
            (("edge", true), ("edge", true), true),
            (("edge", true), ("edge", false), true),
            (("edge", false), ("rim", false), true),
            (("edge", true), ("rim", true), false),
        ] {
            let checked = check_protected(&config(old.0, old.1), &config(new.0, new.1));
            assert_eq!(checked.is_ok(), is_allowed, "{checked:?}");
        }
    }
}

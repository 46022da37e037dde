//! A reload: the file is read again and applied wholly, or nothing changes.

use std::{error::Error, sync::Arc};

use lb_ctl::{
    api::Reloaded,
    config::{self, Config},
    health,
};

use crate::control::Control;

impl Control {
    /// Reads the file again and applies it, or changes nothing.
    pub(crate) fn reload(&mut self) -> Result<Reloaded, Box<dyn Error>> {
        let config = Arc::new(config::load(&self.path)?);
        self.check_unchangeable(&config)?;
        let compiler = self.compiler.clone();
        if let Err(error) = self.prepare(&config) {
            self.compiler = compiler;
            self.reserve_ports_of_tables();
            return Err(error);
        }
        self.health.set(health::checks(&config));
        self.config = config;
        self.next_hops.watch(&self.watched(&self.config));
        self.refresh();
        if let Err(error) = self.addresses.release(&self.config, &self.state) {
            eprintln!("lbd: {error}");
        }
        self.refresh();
        self.addresses.announce();
        Ok(Reloaded { generation: self.tables.generation() })
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

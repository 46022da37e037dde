//! A reload: the file is read again and applied wholly, or nothing changes.

use std::error::Error;

use lb_ctl::{
    api::{Happening, InForce, Refusal},
    config::{Config, Document, Elbv2},
    elbv2::Keys,
    objects::{Declaration, differences, summary},
    server::Caller,
};

use crate::{
    audit,
    changes::{NotInForce, now},
    control::Control,
    flow_log,
    log::complain,
};

impl Control {
    /// Reads the file again and applies it, or changes nothing; the log and those who follow events are told which.
    pub(crate) fn reload_for(&mut self, by: &Caller) -> Result<InForce, Refusal> {
        let before = self.store.objects.clone();
        let outcome =
            self.reload().map_err(|error| format!("not reloaded, the old configuration stays: {error}"));
        let changed = summary(&differences(&before, &self.store.objects));
        let change = format!("reload {}: {changed}", self.path.display());
        match &outcome {
            Ok(in_force) => audit::accepted(by, change, in_force.generation),
            Err(error) => audit::refused(by, change, error),
        }
        self.server.events().publish(Happening::Reload {
            generation: outcome.as_ref().ok().map(|in_force| in_force.generation),
            by: by.to_string(),
            error: outcome.as_ref().err().cloned(),
        });
        outcome.map_err(Into::into)
    }

    /// Reads the file again and applies it, or changes nothing.
    fn reload(&mut self) -> Result<InForce, Box<dyn Error>> {
        let file = Document::load(&self.path)?;
        let config = file.config()?;
        self.check_unchangeable(&config)?;
        let flow_log = flow_log::open(config.flow_log.as_ref())?;
        let keys = config.elbv2.map(|settings| Keys::load(&settings.access)).transpose()?;
        let declared = Declaration::of(&file, &file)?;
        declared.check_protected(&self.store.objects).map_err(|refusal| refusal.error)?;
        let mut next = self.store.with_file(file, &now())?;
        if next.objects == self.store.objects && next.host.text() == self.store.host.text() {
            next.generation = self.store.generation; // The file says what is in force.
        }
        self.put_objects_in_force(next).map_err(NotInForce::into_inner)?;
        self.change_flow_log(flow_log);
        self.warn_of_strays();
        if let (Some(endpoint), Some(keys)) = (&self.endpoint, keys) {
            endpoint.renew(keys);
        }
        Ok(self.in_force())
    }

    /// Tells of addresses that are in use, and of no pool any more.
    pub(crate) fn warn_of_strays(&self) {
        for warning in self.store.strays() {
            complain!("WARNING: {warning}");
        }
    }

    pub(crate) fn in_force(&self) -> InForce {
        let tables_generation = self.tables.generation();
        InForce { generation: self.store.generation, tables_generation, id: None }
    }

    /// Refuses what only a new process can change.
    fn check_unchangeable(&self, new: &Config) -> Result<(), String> {
        let old = &self.store.config;
        let changed: Vec<&str> = [
            ("interfaces", old.interfaces != new.interfaces),
            ("state_directory", old.state_directory != new.state_directory),
            ("control_socket", old.control_socket != new.control_socket),
            ("metrics.listen", old.metrics.listen != new.metrics.listen),
            ("control_api", old.control_api != new.control_api),
            ("elbv2", !is_same_endpoint(old.elbv2.as_ref(), new.elbv2.as_ref())),
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

/// Keys may differ.
fn is_same_endpoint(old: Option<&Elbv2>, new: Option<&Elbv2>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.is_like(new),
        (old, new) => old.is_none() && new.is_none(),
    }
}

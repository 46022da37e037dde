//! The objects in force, and what of them is kept: how a start, a reload and a call come to the next generation. Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    change::Draft,
    config::{Config, ConfigErrors, Document, Part},
    objects::{Address, Declaration, Difference, Objects, differences},
};

/// What is kept in the state directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    version: u32,
    /// Number of changes that led to the objects.
    generation: u64,
    /// Text of the file that `lbd --config` names, as it was when it was last applied.
    configuration: String,
    objects: Objects,
}

impl Kept {
    /// Objects of a generation, and the configuration file last applied.
    pub fn new(generation: u64, configuration: String, objects: Objects) -> Kept {
        Kept { version: VERSION, generation, configuration, objects }
    }

    /// Whether this version of the daemon knows what is kept in a version.
    pub fn is_understood(version: u32) -> bool {
        version == VERSION
    }
}

/// The objects in force.
#[derive(Clone, Debug)]
pub struct Store {
    /// The configuration file last applied: the host's settings are from it.
    pub host: Arc<Document>,
    /// Goes up by one with each change.
    pub generation: u64,
    /// The objects.
    pub objects: Arc<Objects>,
    /// What the host's settings and the objects come to.
    pub config: Arc<Config>,
}

impl Store {
    /// The objects of a start: those kept, with what the file declares applied to them if it has changed since. Also whether that is
    /// anything new to keep.
    pub fn open(kept: Option<Kept>, file: Document, now: &str) -> Result<(Store, bool), String> {
        let kept = kept.unwrap_or_else(|| Kept::new(0, String::new(), Objects::default()));
        let is_new = kept.configuration != file.text();
        let store = Store {
            host: Arc::new(file.clone()),
            generation: kept.generation,
            config: Arc::new(file.config().map_err(|errors| errors.to_string())?),
            objects: Arc::new(kept.objects),
        };
        match is_new {
            true => Ok((store.with_file(file, now)?, true)),
            false => Ok((store.with(Objects::clone(&store.objects), file)?, false)),
        }
    }

    /// With what a file declares and its settings of the host, in the next generation.
    pub fn with_file(&self, file: Document, now: &str) -> Result<Store, String> {
        let declaration = Declaration::of(&file, &file).map_err(|errors| errors.to_string())?;
        let mut objects = Objects::clone(&self.objects);
        declaration.apply(&mut objects, now);
        let generation = self.generation + 1;
        Ok(Store { generation, ..self.with(objects, file)? })
    }

    fn with(&self, objects: Objects, file: Document) -> Result<Store, String> {
        let config = file.config_with(&objects.to_document()).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            format!(
                "objects made by call do not go with {} any more: {}: change the file, or the objects first",
                file.file(),
                errors.join("; ")
            )
        })?;
        Ok(Store { host: file.into(), objects: objects.into(), config: config.into(), ..self.clone() })
    }

    /// A copy to try changes on.
    pub fn draft(&self) -> Draft {
        Draft::new(Objects::clone(&self.objects), Config::clone(&self.config), self.generation)
    }

    /// With the changes of a draft that is settled.
    pub fn with_draft(&self, draft: Draft) -> Store {
        let generation = draft.generation();
        let (objects, config) = draft.into_parts();
        Store { host: self.host.clone(), generation, objects: objects.into(), config: config.into() }
    }

    /// What applying a file would change.
    pub fn differences(&self, file: &Document, now: &str) -> Result<Vec<Difference>, ConfigErrors> {
        let mut after = Objects::clone(&self.objects);
        Declaration::of(file, &self.host)?.apply(&mut after, now);
        Ok(differences(&self.objects, &after))
    }

    /// The host's settings and all objects as a configuration file. Secrets are left out: who may read this need not know them.
    pub fn export(&self) -> Result<String, String> {
        let mut document = self.host.part(Part::Host);
        let mut text =
            format!("# What is in force: generation {}, also what was made by call.\n", self.generation);
        if document.get("elbv2").is_some_and(|section| section.get("keys").is_some()) {
            document.remove("elbv2");
            text += "# Left out, because its keys are secret: section elbv2.\n";
        }
        if let Some(section) = document.get_mut("selection").and_then(Value::as_object_mut)
            && section.remove("secret").is_some()
        {
            text += "# Left out: selection.secret.\n";
        }
        document.extend(self.objects.to_document());
        let exported = toml::to_string_pretty(&document).map_err(|error| error.to_string())?;
        Ok(format!("{text}\n{exported}"))
    }

    /// Addresses that load balancers have from pools that do not have them (any more), as warnings.
    pub fn strays(&self) -> Vec<String> {
        let pools = &self.config.address_pools;
        let is_of = |pool: &str, address| pools.iter().any(|known| known.name == pool && known.has(address));
        let mut warnings = Vec::new();
        for lb in &self.objects.load_balancers {
            for Address { address, pool, .. } in &lb.addresses {
                if let Some(pool) = pool.as_deref().filter(|pool| !is_of(pool, *address)) {
                    warnings.push(format!(
                        "load balancer {} keeps {address}, which address pool {pool} does not have any more",
                        lb.name
                    ));
                }
            }
        }
        warnings
    }

    /// What is to be kept of it.
    pub fn to_keep(&self) -> Kept {
        Kept::new(self.generation, self.host.text().into(), Objects::clone(&self.objects))
    }
}

/// Of the file in the state directory.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests;

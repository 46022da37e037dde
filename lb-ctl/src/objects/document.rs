//! Objects as a file has them: without what the store alone knows of them.

use serde_json::{Map, Value};

use super::Objects;

impl Objects {
    /// `load_balancers` and `target_groups` with a file's keys.
    pub(crate) fn to_document(&self) -> Map<String, Value> {
        let Ok(Value::Object(mut document)) = serde_json::to_value(self) else {
            unreachable!("plain data under text keys is a JSON object");
        };
        document.values_mut().for_each(strip);
        document
    }
}

/// Takes out of objects at any depth what no file says. Attributes and tags are left alone: their keys are somebody's own.
fn strip(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Object(table) => {
            OF_THE_STORE.iter().for_each(|key| drop(table.remove(*key)));
            for (_, value) in table.iter_mut().filter(|(key, _)| !OWN_KEYS.contains(&key.as_str())) {
                strip(value);
            }
        }
        _ => {}
    }
}

const OF_THE_STORE: [&str; 3] = ["id", "created", "declared"];

const OWN_KEYS: [&str; 3] = ["attributes", "tags", "health_check"];

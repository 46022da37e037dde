//! Attributes by their AWS keys: which exist, whose they are, and their values.

mod listener;
mod load_balancer;
mod target_group;

pub(super) use listener::of_listener;
pub(super) use load_balancer::of_load_balancer;
pub(super) use target_group::of_target_group;

use super::walk::{Section, Value};
use crate::near::edits;

/// The attributes of one kind of thing.
struct Catalogue {
    /// Which kind, for an error.
    owner: &'static str,
    keys: &'static [&'static str],
    /// What the keys of others begin with, and who the others are.
    foreign: &'static [(&'static str, &'static str)],
}

impl Catalogue {
    /// Refuses a key that is not one of these.
    fn refuse(&self, key: &str, value: &Value<'_>) -> Option<()> {
        let expected = format!("an attribute of {}", self.owner);
        if let Some((_, owner)) = self.foreign.iter().find(|(beginning, _)| key.starts_with(beginning)) {
            let found = format!("an attribute of {owner}");
            value.errors().advise(&value.place, found, expected, INVALID);
            return None;
        }
        let nearest = self.keys.iter().min_by_key(|known| edits(key, known))?;
        let advice = format!("the nearest one is {nearest:?}");
        value.errors().advise(&value.place, "an unknown attribute", expected, &advice);
        None
    }
}

/// Reads every attribute of a section; `None` if one of them is refused.
fn each(section: &Section<'_>, mut read: impl FnMut(&str, &Value<'_>) -> Option<()>) -> Option<()> {
    let outcomes: Vec<Option<()>> = section.flattened().iter().map(|(key, value)| read(key, value)).collect();
    outcomes.into_iter().collect()
}

/// Takes an attribute whose one possible value is what happens anyway.
fn only(value: &Value<'_>, possible: &str, advice: &str) -> Option<()> {
    let is_possible = match value.as_attribute_boolean() {
        Some(boolean) => boolean.to_string() == possible,
        None => value.as_text() == Some(possible),
    };
    let expected = if possible == "false" { possible.into() } else { format!("{possible:?}") };
    if is_possible { Some(()) } else { value.refuse_with_advice(expected, advice) }
}

const INVALID: &str = "remove it (the API's InvalidConfigurationRequest)";

//! Names of zones.

use super::{errors::Refusal, walk::Value};

/// A zone that an address of a load balancer is in.
pub(super) fn one(value: &Value<'_>) -> Option<String> {
    match parse(value.text(EXPECTED)?) {
        Ok(Some(zone)) => Some(zone),
        Ok(None) => value.refuse("one zone"),
        Err(refusal) => value.accept(Err(refusal)),
    }
}

/// The zone of a target; `None`: all.
pub(super) fn one_or_all(value: &Value<'_>) -> Option<Option<String>> {
    value.accept(parse(value.text(EXPECTED)?))
}

/// A zone's name; `None`: `all`.
pub(super) fn parse(name: &str) -> Result<Option<String>, Refusal> {
    let is_valid = (1..=CHARACTERS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match name {
        ALL => Ok(None),
        _ if is_valid => Ok(Some(name.into())),
        _ => Err(Refusal::new(format!("{name:?}"), EXPECTED)),
    }
}

/// What stands for every zone (NLB `AvailabilityZone`).
const ALL: &str = "all";

const CHARACTERS: usize = 32;
const EXPECTED: &str = "a zone's name of 1 to 32 letters, digits and hyphens";

//! Attributes as requests give them: values are text, or numbers and truth values that are taken for their text.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

use super::AttributeChanges;
use crate::objects;

/// The schema of attributes in requests.
pub(crate) type Values = BTreeMap<String, Value>;

/// The schema of changes of attributes in requests.
pub(crate) type ChangedValues = BTreeMap<String, Option<Value>>;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value(String);

/// Attributes to set.
pub(crate) fn attributes<'d, D: Deserializer<'d>>(source: D) -> Result<objects::Attributes, D::Error> {
    let values = Values::deserialize(source)?;
    Ok(values.into_iter().map(|(key, Value(text))| (key, text)).collect())
}

/// Attributes to set, or to put back to their defaults (`null`).
pub(crate) fn attribute_changes<'d, D: Deserializer<'d>>(
    source: D,
) -> Result<Option<AttributeChanges>, D::Error> {
    let values = Option::<ChangedValues>::deserialize(source)?;
    let text = |(key, value): (String, Option<Value>)| (key, value.map(|Value(text)| text));
    Ok(values.map(|values| values.into_iter().map(text).collect()))
}

impl<'d> Deserialize<'d> for Value {
    fn deserialize<D: Deserializer<'d>>(source: D) -> Result<Value, D::Error> {
        source.deserialize_any(Scalar)
    }
}

struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, or true or false")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value(text.into()))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value(flag.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value(number.to_string()))
    }
}

impl JsonSchema for Value {
    fn schema_name() -> Cow<'static, str> {
        "AttributeValue".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

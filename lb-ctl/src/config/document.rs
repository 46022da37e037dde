//! A document as the configuration's readers see it: values that know where they stand, from TOML or from JSON.

use std::{collections::BTreeMap, ops::Range};

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

/// A table: its values by their keys.
pub(crate) type Table = BTreeMap<String, Entry>;

/// A key's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Where the key stands in the text, in bytes; 0 where there is no text.
    pub(super) key_offset: usize,
    pub(super) item: Item,
}

/// A value and where it stands in the text, in bytes; 0 where there is no text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(super) offset: usize,
    pub(super) node: Node,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Text(String),
    /// `None`: not within an `i64`.
    Integer(Option<i64>, String),
    Boolean(bool),
    /// A value of a kind that no key takes, as it is written.
    Other(String),
    Array(Vec<Item>),
    Table(Table),
}

/// Why a text is no document.
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

/// Parses TOML. Tells the first fault alone: what follows is mostly its consequence.
pub(super) fn parse(text: &str) -> Result<Table, Fault> {
    let (document, faults) = DeTable::parse_recoverable(text);
    match faults.first() {
        None => Ok(table(document.get_ref())),
        Some(fault) => {
            let message = fault.message().split_whitespace().collect::<Vec<_>>().join(" ");
            Err(Fault { span: fault.span().unwrap_or_default(), message })
        }
    }
}

fn table(table: &DeTable<'_>) -> Table {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let item = Item { offset: value.span().start, node: node(value.get_ref()) };
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        (key.to_string(), item)
    };
    let offsets = table.iter().map(|(key, _)| key.span().start);
    let entries = table.iter().map(entry);
    entries.zip(offsets).map(|((key, item), key_offset)| (key, Entry { key_offset, item })).collect()
}

fn node(value: &DeValue<'_>) -> Node {
    match value {
        DeValue::String(text) => Node::Text(text.to_string()),
        DeValue::Integer(integer) => {
            Node::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok(), integer.to_string())
        }
        DeValue::Float(float) => Node::Other(float.to_string()),
        DeValue::Boolean(boolean) => Node::Boolean(*boolean),
        DeValue::Datetime(datetime) => Node::Other(datetime.to_string()),
        DeValue::Array(array) => {
            let item = |value: &toml::Spanned<DeValue<'_>>| Item {
                offset: value.span().start,
                node: node(value.get_ref()),
            };
            Node::Array(array.iter().map(item).collect())
        }
        DeValue::Table(inner) => Node::Table(table(inner)),
    }
}

/// A table from JSON. `null` counts as a key that is left out.
pub(crate) fn table_of(json: &serde_json::Map<String, Json>) -> Table {
    let entry = |(key, value): (&String, &Json)| {
        Some((key.clone(), Entry { key_offset: 0, item: Item { offset: 0, node: node_of(value)? } }))
    };
    json.iter().filter_map(entry).collect()
}

fn node_of(json: &Json) -> Option<Node> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(boolean) => Node::Boolean(*boolean),
        Json::Number(number) if number.is_f64() => Node::Other(number.to_string()),
        Json::Number(number) => Node::Integer(number.as_i64(), number.to_string()),
        Json::String(text) => Node::Text(text.clone()),
        Json::Array(array) => {
            let item = |value: &Json| Some(Item { offset: 0, node: node_of(value)? });
            Node::Array(array.iter().filter_map(item).collect())
        }
        Json::Object(object) => Node::Table(table_of(object)),
    })
}

impl Item {
    /// The same in JSON.
    pub(crate) fn to_json(&self) -> Json {
        match &self.node {
            Node::Text(text) | Node::Other(text) => Json::from(text.as_str()),
            Node::Integer(Some(integer), _) => Json::from(*integer),
            Node::Integer(None, text) => Json::from(text.as_str()),
            Node::Boolean(boolean) => Json::from(*boolean),
            Node::Array(items) => items.iter().map(Item::to_json).collect(),
            Node::Table(table) => Json::Object(to_json(table)),
        }
    }
}

/// A table in JSON.
pub(crate) fn to_json(table: &Table) -> serde_json::Map<String, Json> {
    table.iter().map(|(key, entry)| (key.clone(), entry.item.to_json())).collect()
}

//! A walk over a document that knows each value's key path and line, and collects every error instead of the first.
//!
//! A reader returns `None` exactly when it has reported an error, so a whole file is read before it is refused.

use std::{cell::RefCell, ops::RangeInclusive};

use super::{
    document::{Entry, Item, Node, Table},
    errors::{ConfigError, Refusal},
};

/// Where errors are collected.
pub(super) struct Errors<'t> {
    /// `None`: the document is of no text that has lines.
    text: Option<&'t str>,
    errors: RefCell<Vec<ConfigError>>,
}

impl<'t> Errors<'t> {
    pub(super) fn new(text: Option<&'t str>) -> Errors<'t> {
        Errors { text, errors: RefCell::default() }
    }

    pub(super) fn report(&self, at: &Place, found: impl Into<String>, expected: impl Into<String>) {
        self.refuse(at, Refusal::new(found, expected));
    }

    pub(super) fn advise(
        &self,
        at: &Place,
        found: impl Into<String>,
        expected: impl Into<String>,
        advice: &str,
    ) {
        self.refuse(at, Refusal::new(found, expected).advise(advice));
    }

    pub(super) fn refuse(&self, at: &Place, refusal: Refusal) {
        let line = self.text.map(|text| line(text, at.offset));
        self.errors.borrow_mut().push(ConfigError { line, ..refusal.of_key(&at.path) });
    }

    /// The errors, in the order of their lines.
    pub(super) fn into_sorted(self) -> Vec<ConfigError> {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|error| error.line);
        errors
    }
}

/// The line of a place in a text, from 1.
pub(super) fn line(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

/// Where in the file something stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Key path.
    pub(super) path: String,
    offset: usize,
}

impl Place {
    pub(super) fn new(path: impl Into<String>, offset: usize) -> Place {
        Place { path: path.into(), offset }
    }
}

/// A table in the file.
#[derive(Clone)]
pub(super) struct Section<'t> {
    pub(super) place: Place,
    table: &'t Table,
    errors: &'t Errors<'t>,
}

impl<'t> Section<'t> {
    pub(super) fn new(place: Place, table: &'t Table, errors: &'t Errors<'t>) -> Section<'t> {
        Section { place, table, errors }
    }

    pub(super) fn errors(&self) -> &'t Errors<'t> {
        self.errors
    }

    /// Reports every key that is not in `allowed`.
    pub(super) fn allow_only(&self, allowed: &[&str]) {
        for (key, entry) in self.table {
            if !allowed.contains(&key.as_str()) {
                let at = Place::new(self.path_of(key), entry.key_offset);
                self.errors.report(&at, "an unknown key", format!("one of: {}", allowed.join(", ")));
            }
        }
    }

    /// The value of a key that may be left out.
    pub(super) fn optional(&self, key: &str) -> Option<Value<'t>> {
        let item = &self.table.get(key)?.item;
        Some(Value {
            place: Place::new(self.path_of(key), item.offset),
            node: &item.node,
            errors: self.errors,
        })
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &str, expected: &str) -> Option<Value<'t>> {
        let value = self.optional(key);
        if value.is_none() {
            let at = Place { path: self.path_of(key), offset: self.place.offset };
            self.errors.report(&at, "nothing", expected);
        }
        value
    }

    /// Every value, by its key.
    pub(super) fn values(&self) -> Vec<(&'t str, Value<'t>)> {
        let value = |(key, entry): (&'t String, &'t Entry)| {
            let place = Place::new(self.path_of(key), entry.key_offset);
            (key.as_str(), Value { place, node: &entry.item.node, errors: self.errors })
        };
        self.table.iter().map(value).collect()
    }

    /// The table under a key; `Some(None)` when it is left out.
    pub(super) fn optional_section(&self, key: &str) -> Option<Option<Section<'t>>> {
        self.optional(key).map(|value| value.section()).map_or(Some(None), |section| section.map(Some))
    }

    /// Every value under the section, nested tables included, by its dotted key: `"a.b" = 1` and `a.b = 1` are the same.
    pub(super) fn flattened(&self) -> Vec<(String, Value<'t>)> {
        let mut rows = Vec::new();
        self.flatten_into("", &mut rows);
        rows
    }

    fn flatten_into(&self, prefix: &str, rows: &mut Vec<(String, Value<'t>)>) {
        for (key, entry) in self.table {
            let name = format!("{prefix}{key}");
            let place = Place::new(self.path_of(key), entry.key_offset);
            match &entry.item.node {
                Node::Table(table) => {
                    Section::new(place, table, self.errors).flatten_into(&format!("{name}."), rows);
                }
                node => rows.push((name, Value { place, node, errors: self.errors })),
            }
        }
    }

    fn path_of(&self, key: &str) -> String {
        let is_bare =
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
        if self.place.path.is_empty() { key } else { format!("{}.{key}", self.place.path) }
    }
}

/// A value in the file.
#[derive(Clone)]
pub(super) struct Value<'t> {
    pub(super) place: Place,
    node: &'t Node,
    errors: &'t Errors<'t>,
}

impl<'t> Value<'t> {
    /// Reports that something else was expected here.
    pub(super) fn refuse<T>(&self, expected: impl Into<String>) -> Option<T> {
        self.errors.report(&self.place, self.found(), expected);
        None
    }

    /// Reports that something else was expected here, and what to do about it.
    pub(super) fn refuse_with_advice<T>(&self, expected: impl Into<String>, advice: &str) -> Option<T> {
        self.errors.advise(&self.place, self.found(), expected, advice);
        None
    }

    /// The value that a rule makes of this one, unless it refuses that.
    pub(super) fn accept<T>(&self, judged: Result<T, Refusal>) -> Option<T> {
        judged.map_err(|refusal| self.errors.refuse(&self.place, refusal)).ok()
    }

    pub(super) fn text(&self, expected: &str) -> Option<&'t str> {
        match self.node {
            Node::Text(text) => Some(text),
            _ => self.refuse(expected),
        }
    }

    /// The text, if it is text; reports nothing.
    pub(super) fn as_text(&self) -> Option<&'t str> {
        match self.node {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.node {
            Node::Boolean(value) => Some(*value),
            _ => self.refuse("true or false"),
        }
    }

    pub(super) fn integer<N: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<N> {
        let number = self.as_integer().and_then(|number| within(number, &range));
        if number.is_none() { self.refuse(integer_expected(&range)) } else { number }
    }

    fn as_integer(&self) -> Option<i64> {
        match self.node {
            Node::Integer(integer, _) => *integer,
            _ => None,
        }
    }

    pub(super) fn errors(&self) -> &'t Errors<'t> {
        self.errors
    }

    /// A boolean, or the text of one as the AWS command line prints it.
    pub(super) fn attribute_boolean(&self) -> Option<bool> {
        let boolean = self.as_attribute_boolean();
        if boolean.is_none() { self.refuse("true or false") } else { boolean }
    }

    /// The same; reports nothing.
    pub(super) fn as_attribute_boolean(&self) -> Option<bool> {
        match self.node {
            Node::Boolean(value) => Some(*value),
            Node::Text(text) if text == "true" => Some(true),
            Node::Text(text) if text == "false" => Some(false),
            _ => None,
        }
    }

    /// An integer, or the text of one as the AWS command line prints it.
    pub(super) fn attribute_integer<N: TryFrom<i64>>(&self, range: RangeInclusive<i64>) -> Option<N> {
        let number = self.as_attribute_integer(&range);
        if number.is_none() { self.refuse(integer_expected(&range)) } else { number }
    }

    /// The same; reports nothing.
    pub(super) fn as_attribute_integer<N: TryFrom<i64>>(&self, range: &RangeInclusive<i64>) -> Option<N> {
        let number = match self.node {
            Node::Text(text) => text.parse().ok(),
            _ => self.as_integer(),
        };
        number.and_then(|number| within(number, range))
    }

    pub(super) fn section(&self) -> Option<Section<'t>> {
        self.section_or("a table")
    }

    /// The table, or an error that expects something else.
    pub(super) fn section_or(&self, expected: &str) -> Option<Section<'t>> {
        match self.node {
            Node::Table(table) => Some(Section::new(self.place.clone(), table, self.errors)),
            _ => self.refuse(expected),
        }
    }

    pub(super) fn items(&self, expected: &str) -> Option<Vec<Value<'t>>> {
        let Node::Array(array) = self.node else {
            return self.refuse(expected);
        };
        let item = |(index, item): (usize, &'t Item)| Value {
            place: Place::new(format!("{}[{index}]", self.place.path), item.offset),
            node: &item.node,
            errors: self.errors,
        };
        Some(array.iter().enumerate().map(item).collect())
    }

    /// What stands here, for an error.
    pub(super) fn found(&self) -> String {
        match self.node {
            Node::Text(text) if text.chars().count() > FOUND_CHARACTERS => {
                format!("{:?}...", text.chars().take(FOUND_CHARACTERS).collect::<String>())
            }
            Node::Text(text) => format!("{text:?}"),
            Node::Integer(_, text) | Node::Other(text) => text.clone(),
            Node::Boolean(value) => value.to_string(),
            Node::Array(array) if array.is_empty() => "an empty array".into(),
            Node::Array(_) => "an array".into(),
            Node::Table(_) => "a table".into(),
        }
    }
}

/// What is expected where an integer of a range is.
pub(super) fn integer_expected(range: &RangeInclusive<i64>) -> String {
    format!("an integer from {} to {}", range.start(), range.end())
}

fn within<N: TryFrom<i64>>(number: i64, range: &RangeInclusive<i64>) -> Option<N> {
    range.contains(&number).then(|| N::try_from(number).ok()).flatten()
}

const FOUND_CHARACTERS: usize = 60;

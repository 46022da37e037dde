//! What load balancers, listeners, rules and target groups have in common when they are shown.

use comfy_table::{Attribute as Style, Cell, Color};

use super::{
    Columns,
    table::{Give, fitted, table},
};
use crate::objects::{Attribute, Forward, Id, Tags};

/// Attributes, with those that nobody set marked.
pub(super) fn attributes(rows: &[Attribute<'_>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = table(&["ATTRIBUTE", "VALUE", ""]);
    for row in rows {
        let (value, mark) = match row.is_default {
            true => (Cell::new(row.value), Cell::new("default").fg(Color::DarkGrey)),
            false => (Cell::new(row.value).add_attribute(Style::Bold), Cell::new("")),
        };
        table.add_row([Cell::new(row.key), value, mark]);
    }
    format!("\n{}\n", fitted(table, Columns::Usual, VALUES_GIVE))
}

/// Tags; nothing where there are none.
pub fn tags(tags: &Tags) -> String {
    if tags.is_empty() {
        return "no tags\n".into();
    }
    let mut table = table(&["TAG", "VALUE"]);
    for (key, value) in tags {
        table.add_row([Cell::new(key), Cell::new(value)]);
    }
    format!("{}\n", fitted(table, Columns::Usual, VALUES_GIVE))
}

/// The tags at the end of something that has others things to tell.
pub(super) fn tags_below(own: &Tags) -> String {
    if own.is_empty() { String::new() } else { format!("\n{}", tags(own)) }
}

/// Such as `blue 9, green 1 (sticky)`.
pub(super) fn forward(forward: &Forward) -> String {
    let is_shared = forward.target_groups.len() > 1;
    let groups: Vec<String> = forward
        .target_groups
        .iter()
        .map(|row| if is_shared { format!("{} {}", row.name, row.weight) } else { row.name.clone() })
        .collect();
    format!("{}{}", groups.join(", "), if forward.stickiness { " (sticky)" } else { "" })
}

/// Who set it last.
pub(super) fn origin(is_declared: bool) -> &'static str {
    if is_declared { "file" } else { "call" }
}

/// Such as `id 0123456789abcdef, made 2026-11-23T10:43:09Z, set by call`.
pub(super) fn pedigree(id: Id, created: Option<&str>, is_declared: bool) -> String {
    let created = created.filter(|created| !created.is_empty());
    let made = created.map_or(String::new(), |created| format!(", made {created}"));
    format!("id {id}{made}, set by {}", origin(is_declared))
}

const VALUES_GIVE: Give = Give { spared: &[], wrapped: &["VALUE"] };

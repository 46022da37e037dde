//! `lbctl listener` and `lbctl rule`.

use comfy_table::Cell;
use serde::Serialize;

use super::{
    Columns,
    objects::{attributes, forward, origin, pedigree, tags_below},
    table::{Give, fitted, number, right, table},
};
use crate::objects::{Forward, Listener, LoadBalancer, Rule};

/// A listener and the load balancer that has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListenerOf {
    /// Name of the load balancer.
    pub load_balancer: String,
    /// The listener.
    #[serde(flatten)]
    pub listener: Listener,
}

/// The listeners of these load balancers.
pub fn listener_rows(lbs: &[LoadBalancer]) -> Vec<ListenerOf> {
    let of = |lb: &LoadBalancer, listener: &Listener| ListenerOf {
        load_balancer: lb.name.clone(),
        listener: listener.clone(),
    };
    lbs.iter().flat_map(|lb| lb.listeners.iter().map(move |listener| of(lb, listener))).collect()
}

/// Listeners, one a line.
pub fn listeners(rows: &[ListenerOf], columns: Columns) -> String {
    let more = columns.of_all(&["ID", "ATTRIBUTES SET", "TAGS"]);
    let header = [&["LISTENER", "FORWARDS TO", "RULES", "SET BY"][..], more].concat();
    let mut table = table(&header);
    for ListenerOf { load_balancer, listener } in rows {
        let mut cells = vec![
            Cell::new(name(load_balancer, listener)),
            Cell::new(forward(&listener.forward)),
            number(listener.rules.len() as u64),
            Cell::new(origin(listener.declared)),
        ];
        if columns == Columns::All {
            cells.push(Cell::new(listener.id));
            cells.extend([listener.attributes.len(), listener.tags.len()].map(|count| number(count as u64)));
        }
        table.add_row(cells);
    }
    fitted(table, columns, GIVE)
}

/// One listener with all that it has.
pub fn listener(load_balancer: &str, listener: &Listener) -> String {
    let text = format!(
        "Listener {}: {}\n\n{}",
        name(load_balancer, listener),
        pedigree(listener.id, None, listener.declared),
        rules(&listener.rules, &listener.forward)
    );
    text + "\n" + &attributes(&listener.all_attributes()) + &tags_below(&listener.tags)
}

/// Rules in their order; what no rule is for comes last.
pub fn rules(rules: &[Rule], default: &Forward) -> String {
    let mut table = table(&["PRIORITY", "CLIENTS", "FORWARDS TO", "TAGS"]);
    for rule in rules {
        table.add_row([
            right(rule.priority.to_string()),
            Cell::new(rule.source.name()),
            Cell::new(forward(&rule.forward)),
            number(rule.tags.len() as u64),
        ]);
    }
    table.add_row([right("default".into()), Cell::new("all others"), Cell::new(forward(default))]);
    fitted(table, Columns::Usual, GIVE)
}

/// Such as `edge/TCP:80`.
fn name(load_balancer: &str, listener: &Listener) -> String {
    format!("{load_balancer}/{}:{}", listener.protocol.name(), listener.port)
}

const GIVE: Give = Give { spared: &["SET BY", "TAGS", "RULES"], wrapped: &["FORWARDS TO"] };

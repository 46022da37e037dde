//! `lbctl target-group`.

use comfy_table::{Cell, Color};
use serde_json::{Map, Value};

use super::{
    Columns,
    objects::{attributes, origin, pedigree, tags_below},
    table::{Give, fitted, number, right, table},
};
use crate::{
    api::TargetRow,
    config::{Family, TargetType},
    objects::{Listener, LoadBalancer, TargetGroup},
};

/// Target groups, one a line, with who uses them and how many of their targets are healthy.
pub fn target_groups(
    groups: &[TargetGroup],
    (lbs, targets): (&[LoadBalancer], &[TargetRow]),
    columns: Columns,
) -> String {
    let more = columns.of_all(&["TYPE", "FAMILY", "ID", "CREATED", "ATTRIBUTES SET", "TAGS"]);
    let header = [&["NAME", "PROTOCOL", "PORT", "HEALTHY", "CHECK", "USED BY", "SET BY"][..], more].concat();
    let mut table = table(&header);
    for group in groups {
        let mut cells = vec![
            Cell::new(&group.name),
            Cell::new(group.protocol.name()),
            right(group.port.to_string()),
            healthy(group, targets),
            Cell::new(check(&group.health_check)),
            Cell::new(users(group, lbs).join(", ")),
            Cell::new(origin(group.declared)),
        ];
        if columns == Columns::All {
            cells.extend([Cell::new(target_type(group)), Cell::new(family(group).name())]);
            cells.extend([Cell::new(group.id), Cell::new(&group.created)]);
            cells.extend([group.attributes.len(), group.tags.len()].map(|count| number(count as u64)));
        }
        table.add_row(cells);
    }
    fitted(table, columns, GIVE)
}

/// One target group with all that it has.
pub fn target_group(group: &TargetGroup, lbs: &[LoadBalancer]) -> String {
    let users = users(group, lbs);
    let mut text = format!(
        "Target group {}: {} {}, targets by {}, {}\nUsed by: {}\nHealth check: {}\n",
        group.name,
        group.protocol.name(),
        group.port,
        match group.target_type {
            TargetType::Ip => format!("{} address", family(group).name()),
            TargetType::Instance => "node".into(),
        },
        pedigree(group.id, Some(&group.created), group.declared),
        if users.is_empty() { "no listener".into() } else { users.join(", ") },
        check(&group.health_check),
    );
    if !group.targets.is_empty() {
        let mut table = table(&["TARGET", "WEIGHT", "ZONE", ""]);
        for target in &group.targets {
            table.add_row([
                Cell::new(std::net::SocketAddr::new(target.address, target.port)),
                right(target.weight.to_string()),
                Cell::new(target.zone.as_deref().unwrap_or("all")),
                Cell::new(if target.stopped { "stopped" } else { "" }),
            ]);
        }
        text += &format!("\n{}\n", fitted(table, Columns::Usual, Give::default()));
    }
    text + &attributes(&group.all_attributes()) + &tags_below(&group.tags)
}

fn healthy(group: &TargetGroup, targets: &[TargetRow]) -> Cell {
    let own = targets.iter().filter(|row| row.target_group == group.name && row.is_registered());
    let healthy = own.filter(|row| row.state == "healthy").count();
    let all = group.targets.len();
    let color = match (healthy, all) {
        (_, 0) => Color::DarkGrey,
        (0, _) => Color::Red,
        (healthy, all) if healthy < all => Color::Yellow,
        _ => Color::Green,
    };
    right(format!("{healthy}/{all}")).fg(color)
}

/// Such as `HTTP, path /health, interval_seconds 10`: what is set, and the protocol in any case.
fn check(settings: &Map<String, Value>) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
    let kind = match settings.get("protocol") {
        Some(protocol) => Some(text(protocol)),
        None => (!settings.contains_key("grpc") && !settings.contains_key("udp")).then(|| "TCP".into()),
    };
    let others = settings.iter().filter(|(key, _)| *key != "protocol");
    let others = others.map(|(key, value)| format!("{key} {}", text(value)));
    kind.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

/// The listeners that forward to a group.
fn users(group: &TargetGroup, lbs: &[LoadBalancer]) -> Vec<String> {
    let uses = |listener: &&Listener| {
        listener.forwards().flat_map(|forward| &forward.target_groups).any(|row| row.name == group.name)
    };
    let name = |lb: &LoadBalancer, listener: &Listener| {
        format!("{}/{}:{}", lb.name, listener.protocol.name(), listener.port)
    };
    lbs.iter()
        .flat_map(|lb| lb.listeners.iter().filter(uses).map(move |listener| name(lb, listener)))
        .collect()
}

fn family(group: &TargetGroup) -> Family {
    let first = group.targets.first().map(|target| Family::of(target.address));
    group.ip_address_type.or(first).unwrap_or(Family::V4)
}

fn target_type(group: &TargetGroup) -> &'static str {
    match group.target_type {
        TargetType::Ip => "ip",
        TargetType::Instance => "instance",
    }
}

const GIVE: Give = Give { spared: &["SET BY", "PORT", "PROTOCOL", "CHECK"], wrapped: &["CHECK", "USED BY"] };

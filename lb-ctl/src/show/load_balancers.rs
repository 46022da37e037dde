//! `lbctl load-balancer`.

use comfy_table::Cell;

use super::{
    Columns,
    listeners::{listener_rows, listeners},
    objects::{attributes, origin, pedigree, tags_below},
    table::{Give, fitted, number, table},
};
use crate::objects::{Address, LoadBalancer};

/// Load balancers, one a line.
pub fn load_balancers(rows: &[LoadBalancer], columns: Columns) -> String {
    let more = columns.of_all(&["ID", "CREATED", "ATTRIBUTES SET", "TAGS"]);
    let header = [&["NAME", "TYPE", "ADDRESSES", "INTERFACE", "LISTENERS", "SET BY"][..], more].concat();
    let mut table = table(&header);
    for lb in rows {
        let mut cells = vec![
            Cell::new(&lb.name),
            Cell::new(ip_address_type(lb)),
            Cell::new(lb.addresses.iter().map(address).collect::<Vec<_>>().join(", ")),
            Cell::new(lb.interface.as_deref().unwrap_or("first")),
            number(lb.listeners.len() as u64),
            Cell::new(origin(lb.declared)),
        ];
        if columns == Columns::All {
            cells.extend([Cell::new(lb.id), Cell::new(&lb.created)]);
            cells.extend([lb.attributes.len(), lb.tags.len()].map(|count| number(count as u64)));
        }
        table.add_row(cells);
    }
    fitted(table, columns, GIVE)
}

/// One load balancer with all that it has.
pub fn load_balancer(lb: &LoadBalancer) -> String {
    let addresses: Vec<String> = lb.addresses.iter().map(address).collect();
    let placed = match (&lb.interface, lb.assign) {
        (Some(interface), _) => format!(" on {interface}"),
        (None, _) => " on the first interface".into(),
    };
    let mut text = format!(
        "Load balancer {}: {}, {}\nAddresses: {}{placed}{}\n",
        lb.name,
        ip_address_type(lb),
        pedigree(lb.id, Some(&lb.created), lb.declared),
        addresses.join(", "),
        if lb.assign == Some(false) { ", put there by others" } else { "" }
    );
    if !lb.listeners.is_empty() {
        let rows = listener_rows(std::slice::from_ref(lb));
        text += &format!("\n{}\n", listeners(&rows, Columns::Usual));
    }
    text + &attributes(&lb.all_attributes()) + &tags_below(&lb.tags)
}

fn ip_address_type(lb: &LoadBalancer) -> &'static str {
    match (lb.is_dualstack(), lb.addresses.iter().all(|row| row.address.is_ipv6())) {
        (true, _) => "dualstack",
        (false, true) => "ipv6",
        (false, false) => "ipv4",
    }
}

/// Such as `198.18.100.1 (zone a, pool subnet-a)`.
fn address(row: &Address) -> String {
    let named = |kind: &str, name: &Option<String>| name.as_ref().map(|name| format!("{kind} {name}"));
    let origin: Vec<String> =
        [named("zone", &row.zone), named("pool", &row.pool)].into_iter().flatten().collect();
    match origin.is_empty() {
        true => row.address.to_string(),
        false => format!("{} ({})", row.address, origin.join(", ")),
    }
}

const GIVE: Give = Give { spared: &["SET BY", "INTERFACE", "LISTENERS", "TYPE"], wrapped: &["ADDRESSES"] };

//! Section `control_api`: who may use the control API, and how much of it.

use std::{fs, ops::RangeInclusive};

use super::walk::{Section, Value};
use crate::server::{Limits, Tcp};

/// Section `control_api`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlApi {
    /// Groups whose members may do everything; besides them uid 0 and the daemon's own user.
    pub read_write_groups: Vec<u32>,
    /// Groups whose members may read.
    pub read_only_groups: Vec<u32>,
    /// How much a client may take.
    pub limits: Limits,
    /// Where clients with certificates find it.
    pub tcp: Option<Tcp>,
}

pub(super) fn read(root: &Section<'_>) -> Option<ControlApi> {
    let Some(section) = root.optional_section("control_api")? else {
        return Some(ControlApi::default());
    };
    section.allow_only(&[
        "read_write_groups",
        "read_only_groups",
        "connections",
        "connections_per_user",
        "body_bytes",
        "tcp",
    ]);
    let read_write_groups = groups(&section, "read_write_groups");
    let read_only_groups = groups(&section, "read_only_groups");
    let defaults = Limits::default();
    let connections = number(&section, "connections", CONNECTIONS, defaults.connections);
    let per_user = number(&section, "connections_per_user", CONNECTIONS, defaults.connections_per_user);
    let body_bytes = number(&section, "body_bytes", BODY_BYTES, defaults.body_bytes);
    let tcp = tcp(&section);
    Some(ControlApi {
        read_write_groups: read_write_groups?,
        read_only_groups: read_only_groups?,
        limits: Limits {
            connections: connections?,
            connections_per_user: per_user?,
            body_bytes: body_bytes?,
        },
        tcp: tcp?,
    })
}

fn tcp(section: &Section<'_>) -> Option<Option<Tcp>> {
    let Some(section) = section.optional_section("tcp")? else {
        return Some(None);
    };
    section.allow_only(&["listen", "certificate", "key", "client_ca", "read_write", "read_only"]);
    let expected = "an address and a port, such as \"127.0.0.1:8443\"";
    let listen = section.required("listen", expected).and_then(|value| {
        let address = value.text(expected)?.parse().ok();
        if address.is_none() { value.refuse(expected) } else { address }
    });
    let file = |key| {
        let value = section.required(key, FILE_EXPECTED)?;
        let path = value.text(FILE_EXPECTED)?;
        if path.starts_with('/') { Some(path.into()) } else { value.refuse(FILE_EXPECTED) }
    };
    let (certificate, key, client_ca) = (file("certificate"), file("key"), file("client_ca"));
    let (read_write, read_only) = (names(&section, "read_write"), names(&section, "read_only"));
    let tcp = Tcp {
        listen: listen?,
        certificate: certificate?,
        key: key?,
        client_ca: client_ca?,
        read_write: read_write?,
        read_only: read_only?,
    };
    match tcp.load() {
        Ok(_) => Some(Some(tcp)),
        Err((key, error)) => {
            section.required(key, FILE_EXPECTED)?.refuse(format!("{FILE_EXPECTED} ({error})"))
        }
    }
}

fn names(section: &Section<'_>, key: &str) -> Option<Vec<String>> {
    let Some(value) = section.optional(key) else {
        return Some(Vec::new());
    };
    let expected = "an array of names in clients' certificates";
    value.items(expected)?.iter().map(|item| item.text(expected).map(Into::into)).collect()
}

fn number(section: &Section<'_>, key: &str, range: RangeInclusive<i64>, default: usize) -> Option<usize> {
    section.optional(key).map_or(Some(default), |value| value.integer(range))
}

fn groups(section: &Section<'_>, key: &str) -> Option<Vec<u32>> {
    let Some(value) = section.optional(key) else {
        return Some(Vec::new());
    };
    let items = value.items("an array of groups, by name or number")?;
    items.iter().map(group).collect()
}

fn group(value: &Value<'_>) -> Option<u32> {
    let Some(name) = value.as_text() else {
        return value.integer(0..=i64::from(u32::MAX - 1));
    };
    let database = fs::read_to_string(GROUPS).unwrap_or_default();
    let number = number_of(name, &database);
    if number.is_none() {
        return value.refuse(format!("a group that {GROUPS} has, or the number of one"));
    }
    number
}

/// The number of a group in the group database (group(5)).
fn number_of(name: &str, database: &str) -> Option<u32> {
    database.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name);
        is_it.then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

const FILE_EXPECTED: &str = "the absolute path of a PEM file";
/// The group database.
const GROUPS: &str = "/etc/group";
const CONNECTIONS: RangeInclusive<i64> = 4..=65_536;
const BODY_BYTES: RangeInclusive<i64> = 4_096..=64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_number_from_the_database() {
        let database = "root:x:0:\nstaff:x:50:ann,bob\nbroken\nodd:x:many:\n";
        assert_eq!(number_of("staff", database), Some(50));
        assert_eq!(number_of("root", database), Some(0));
        for unknown in ["", "sta", "ann", "broken", "odd"] {
            assert_eq!(number_of(unknown, database), None, "{unknown:?}");
        }
    }
}

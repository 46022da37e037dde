//! `lbctl target-group` and the verbs below it.

use clap::Subcommand;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    lbd::{Lbd, Request, target_group_path},
    output::print,
    values::{AttributeChanges, NewNames, Setting, pairs, port, protocols, word},
};
use crate::{
    change::NewTargetGroup,
    config::{Family, Protocols, TargetType},
    show,
};

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Verb {
    /// Every target group
    List,
    /// One target group: health check, attributes with their defaults, tags, who uses it
    Show {
        /// Its name
        name: String,
    },
    /// Make a target group
    Create {
        /// Its name: letters, digits and hyphens
        name: String,

        /// TCP, UDP or TCP_UDP
        #[arg(long, value_parser = protocols)]
        protocol: Protocols,

        /// Port of targets that name none
        #[arg(long, value_parser = port)]
        port: u16,

        /// How targets are named, which decides defaults
        #[arg(long, value_name = "TYPE", default_value = "ip", value_parser = word::<TargetType>(&["ip", "instance"]))]
        target_type: TargetType,

        /// Family of its targets
        #[arg(long, value_name = "FAMILY", default_value = "ipv4", value_parser = word::<Family>(&["ipv4", "ipv6"]))]
        ip_address_type: Family,

        /// A setting of its health check by the key that it has in a file, such as protocol=HTTP, path=/health or
        /// interval_seconds=10; may be given several times
        #[arg(long, value_name = "KEY=VALUE")]
        health_check: Vec<Setting>,

        #[command(flatten)]
        names: NewNames,
    },
    /// Change settings of the health check
    Modify {
        /// Its name
        name: String,

        /// Settings by the keys that they have in a file, such as path=/health
        #[arg(value_name = "KEY=VALUE", required_unless_present = "reset")]
        health_check: Vec<Setting>,

        /// Put a setting back to its default; may be given several times
        #[arg(long, value_name = "KEY")]
        reset: Vec<String>,
    },
    /// Remove a target group that no listener forwards to
    Delete {
        /// Its name
        name: String,
    },
    /// Set attributes, or put them back to their defaults
    SetAttributes {
        /// Its name
        name: String,

        #[command(flatten)]
        attributes: AttributeChanges,
    },
}

impl Verb {
    pub(super) fn is_reading(&self) -> bool {
        matches!(self, Verb::List | Verb::Show { .. })
    }
}

pub(super) fn run(lbd: &Lbd<'_>, verb: Verb) -> Result<(), Failure> {
    let columns = lbd.output.columns();
    match verb {
        Verb::List => {
            let (groups, lbs, targets) = (lbd.target_groups()?, lbd.load_balancers()?, lbd.client.targets()?);
            print(lbd.output, &groups, |groups| show::target_groups(groups, (&lbs, &targets), columns))
        }
        Verb::Show { name } => {
            let (group, lbs) = (lbd.target_group(&name)?, lbd.load_balancers()?);
            print(lbd.output, &group, |group| show::target_group(group, &lbs))
        }
        Verb::Create { name, protocol, port, target_type, ip_address_type, health_check, names } => {
            let done = format!("target group {name} created");
            let new = NewTargetGroup {
                name,
                protocol,
                port,
                target_type: Some(target_type),
                ip_address_type: Some(ip_address_type),
                vpc: None,
                health_check: settings(health_check, Vec::new()),
                attributes: pairs(names.attributes),
                tags: pairs(names.tags),
            };
            lbd.change(&Request { method: Method::POST, path: "/v1/target-groups", done: &done }, &new)
        }
        Verb::Modify { name, health_check, reset } => {
            let body = json!({ "health_check": settings(health_check, reset) });
            patch(lbd, &name, "modified", &body)
        }
        Verb::Delete { name } => {
            lbd.delete(&target_group_path(&name), &format!("target group {name} deleted"))
        }
        Verb::SetAttributes { name, attributes } => {
            patch(lbd, &name, "attributes set", &attributes.into_json())
        }
    }
}

fn patch(lbd: &Lbd<'_>, name: &str, what: &str, body: &Value) -> Result<(), Failure> {
    let (path, done) = (target_group_path(name), format!("target group {name}: {what}"));
    lbd.change(&Request { method: Method::PATCH, path: &path, done: &done }, body)
}

/// Settings of a health check; `null` for the default.
fn settings(set: Vec<Setting>, reset: Vec<String>) -> Map<String, Value> {
    let set = set.into_iter().map(|Setting { key, value }| (key, value));
    set.chain(reset.into_iter().map(|key| (key, Value::Null))).collect()
}

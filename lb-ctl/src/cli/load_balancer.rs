//! `lbctl load-balancer` and the verbs below it.

use clap::Subcommand;
use hyper::Method;
use serde_json::json;

use super::{
    Failure,
    lbd::{Lbd, Request, load_balancer_path},
    output::print,
    values::{AddressArguments, AttributeChanges, NewNames, json_of, pairs, said, word},
};
use crate::{
    change::{IpAddressType, NewLoadBalancer},
    objects::Scheme,
    show,
};

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Verb {
    /// Every load balancer
    List,
    /// One load balancer: addresses, listeners, attributes with their defaults, tags
    Show {
        /// Its name
        name: String,
    },
    /// Make a load balancer
    Create {
        /// Its name: letters, digits and hyphens
        name: String,

        #[command(flatten)]
        addresses: AddressArguments,

        /// Families of the addresses that are taken from pools
        #[arg(long, value_name = "TYPE", default_value = "ipv4", value_parser = word::<IpAddressType>(&IP_ADDRESS_TYPES))]
        ip_address_type: IpAddressType,

        /// Where clients are; nothing depends on it
        #[arg(long, value_name = "SCHEME", default_value = "internet-facing", value_parser = word::<Scheme>(&SCHEMES))]
        scheme: Scheme,

        #[command(flatten)]
        names: NewNames,
    },
    /// Remove a load balancer with its listeners
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
    /// Give a load balancer other addresses; flows to those that it loses are reset
    SetAddresses {
        /// Its name
        name: String,

        #[command(flatten)]
        addresses: AddressArguments,

        /// Families of the addresses that are taken from pools; by default as they are
        #[arg(long, value_name = "TYPE", value_parser = word::<IpAddressType>(&IP_ADDRESS_TYPES))]
        ip_address_type: Option<IpAddressType>,
    },
    /// Give a load balancer IPv6 addresses of its pools beside its IPv4 ones, or take them away
    SetIpAddressType {
        /// Its name
        name: String,

        /// What it becomes
        #[arg(value_parser = word::<IpAddressType>(&IP_ADDRESS_TYPES))]
        ip_address_type: IpAddressType,
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
        Verb::List => print(lbd.output, &lbd.load_balancers()?, |rows| show::load_balancers(rows, columns)),
        Verb::Show { name } => print(lbd.output, &lbd.load_balancer(&name)?, show::load_balancer),
        Verb::Create { name, addresses, ip_address_type, scheme, names } => {
            let done = format!("load balancer {name} created");
            let new = NewLoadBalancer {
                name,
                scheme,
                addresses: addresses.into_requests(),
                ip_address_type,
                attributes: pairs(names.attributes),
                tags: pairs(names.tags),
            };
            lbd.change(&Request { method: Method::POST, path: "/v1/load-balancers", done: &done }, &new)
        }
        Verb::Delete { name } => {
            lbd.delete(&load_balancer_path(&name), &format!("load balancer {name} deleted"))
        }
        Verb::SetAttributes { name, attributes } => {
            patch(lbd, &name, "attributes set", &attributes.into_json())
        }
        Verb::SetAddresses { name, addresses, ip_address_type } => {
            let keys = [
                ("addresses", Some(json!(addresses.into_requests()))),
                ("ip_address_type", json_of(ip_address_type)),
            ];
            patch(lbd, &name, "addresses set", &json!(said(keys)))
        }
        Verb::SetIpAddressType { name, ip_address_type } => {
            let body = json!({ "ip_address_type": ip_address_type });
            patch(lbd, &name, "IP address type set", &body)
        }
    }
}

fn patch(lbd: &Lbd<'_>, name: &str, what: &str, body: &serde_json::Value) -> Result<(), Failure> {
    let (path, done) = (load_balancer_path(name), format!("load balancer {name}: {what}"));
    lbd.change(&Request { method: Method::PATCH, path: &path, done: &done }, body)
}

const IP_ADDRESS_TYPES: [&str; 2] = ["ipv4", "dualstack"];
const SCHEMES: [&str; 2] = ["internet-facing", "internal"];

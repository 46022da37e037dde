//! `lbctl listener` and the verbs below it.

use clap::Subcommand;
use hyper::Method;
use serde_json::json;

use super::{
    Failure,
    lbd::{Lbd, Request, listener_path, listeners_path},
    output::print,
    values::{
        AttributeChanges, Endpoint, ForwardArguments, ListenerName, NewNames, json_of, pairs, port,
        protocols, said,
    },
};
use crate::{config::Protocols, show};

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Verb {
    /// Every listener, or those of one load balancer
    List {
        /// Load balancer
        load_balancer: Option<String>,
    },
    /// One listener: rules, attributes with their defaults, tags
    Show {
        #[command(flatten)]
        listener: Which,
    },
    /// Make a listener
    Create {
        /// Load balancer
        load_balancer: String,

        /// Protocol and port, such as TCP:80
        #[arg(value_name = "PROTOCOL:PORT")]
        endpoint: Endpoint,

        #[command(flatten)]
        forward: ForwardArguments,

        #[command(flatten)]
        names: NewNames,
    },
    /// Change where new flows go, or the protocol or port
    Modify {
        #[command(flatten)]
        listener: Which,

        /// Another protocol: TCP, UDP or TCP_UDP
        #[arg(long, value_parser = protocols)]
        protocol: Option<Protocols>,

        /// Another port
        #[arg(long, value_parser = port)]
        port: Option<u16>,

        #[command(flatten)]
        forward: ForwardArguments,
    },
    /// Remove a listener with its rules; its flows are reset
    Delete {
        #[command(flatten)]
        listener: Which,
    },
    /// Set attributes, or put them back to their defaults
    SetAttributes {
        #[command(flatten)]
        listener: Which,

        #[command(flatten)]
        attributes: AttributeChanges,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Which {
    /// Load balancer with protocol and port, such as edge/TCP:80, or edge/80 for short
    #[arg(value_name = "LISTENER")]
    pub(super) name: ListenerName,
}

impl Verb {
    pub(super) fn is_reading(&self) -> bool {
        matches!(self, Verb::List { .. } | Verb::Show { .. })
    }
}

pub(super) fn run(lbd: &Lbd<'_>, verb: Verb) -> Result<(), Failure> {
    let columns = lbd.output.columns();
    match verb {
        Verb::List { load_balancer } => {
            let lbs = match load_balancer {
                Some(name) => vec![lbd.load_balancer(&name)?],
                None => lbd.load_balancers()?,
            };
            print(lbd.output, &show::listener_rows(&lbs), |rows| show::listeners(rows, columns))
        }
        Verb::Show { listener: Which { name } } => {
            let (lb, listener) = lbd.listener(&name)?;
            print(lbd.output, &listener, |listener| show::listener(&lb.name, listener))
        }
        Verb::Create { load_balancer, endpoint: Endpoint { protocol, port }, forward, names } => {
            let forward = forward.into_forward().ok_or_else(no_forward)?;
            let body = json!({
                "protocol": protocol,
                "port": port,
                "forward": forward,
                "attributes": pairs(names.attributes),
                "tags": pairs(names.tags),
            });
            let path = listeners_path(&load_balancer);
            let done = format!("listener {load_balancer}/{}:{port} created", protocol.name());
            lbd.change(&Request { method: Method::POST, path: &path, done: &done }, &body)
        }
        Verb::Modify { listener: Which { name }, protocol, port, forward } => {
            let forward = json_of(forward.into_forward());
            let keys = [("protocol", json_of(protocol)), ("port", json_of(port)), ("forward", forward)];
            let body = said(keys);
            if body.is_empty() {
                return Err(Failure::Unusable("say what changes: --forward, --protocol or --port".into()));
            }
            patch(lbd, &name, "modified", &json!(body))
        }
        Verb::Delete { listener: Which { name } } => {
            lbd.delete(&listener_path(&name), &format!("listener {name} deleted"))
        }
        Verb::SetAttributes { listener: Which { name }, attributes } => {
            patch(lbd, &name, "attributes set", &attributes.into_json())
        }
    }
}

fn patch(lbd: &Lbd<'_>, name: &ListenerName, what: &str, body: &serde_json::Value) -> Result<(), Failure> {
    let (path, done) = (listener_path(name), format!("listener {name}: {what}"));
    lbd.change(&Request { method: Method::PATCH, path: &path, done: &done }, body)
}

/// Something that forwards must say where to.
pub(super) fn no_forward() -> Failure {
    Failure::Unusable(
        "say where new flows go: --forward GROUP, or --forward GROUP=WEIGHT for each of several".into(),
    )
}

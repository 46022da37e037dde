//! `lbctl tag` and the verbs below it.

use std::{fmt, str::FromStr};

use clap::Subcommand;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    lbd::{Lbd, Request, listener_path, load_balancer_path, rule_path, target_group_path},
    output::print,
    values::{ListenerName, Pair, pairs},
};
use crate::{objects::Tags, show};

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Verb {
    /// Tags of one object
    List {
        #[arg(value_name = RESOURCE, help = RESOURCE_HELP)]
        resource: Resource,
    },
    /// Set tags
    Set {
        #[arg(value_name = RESOURCE, help = RESOURCE_HELP)]
        resource: Resource,

        /// The tags; of one that is there already, the value
        #[arg(required = true, value_name = "KEY=VALUE")]
        tags: Vec<Pair>,
    },
    /// Remove tags; those that are not there are no error
    Remove {
        #[arg(value_name = RESOURCE, help = RESOURCE_HELP)]
        resource: Resource,

        /// Keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
}

/// What has tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    LoadBalancer(String),
    Listener(ListenerName),
    Rule(ListenerName, u16),
    TargetGroup(String),
}

impl Verb {
    pub(super) fn is_reading(&self) -> bool {
        matches!(self, Verb::List { .. })
    }
}

pub(super) fn run(lbd: &Lbd<'_>, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::List { resource } => print(lbd.output, &tags_of(lbd, &resource)?, show::tags),
        Verb::Set { resource, tags } => change(lbd, &resource, &json!({ "tags": pairs(tags) })),
        Verb::Remove { resource, keys } => {
            let none = keys.into_iter().map(|key| (key, Value::Null));
            change(lbd, &resource, &json!({ "tags": none.collect::<Map<_, _>>() }))
        }
    }
}

fn change(lbd: &Lbd<'_>, resource: &Resource, body: &Value) -> Result<(), Failure> {
    let path = match resource {
        Resource::LoadBalancer(name) => load_balancer_path(name),
        Resource::Listener(name) => listener_path(name),
        Resource::Rule(name, priority) => rule_path(name, *priority),
        Resource::TargetGroup(name) => target_group_path(name),
    };
    let done = format!("{resource}: tags changed");
    lbd.change(&Request { method: Method::PATCH, path: &path, done: &done }, body)
}

fn tags_of(lbd: &Lbd<'_>, resource: &Resource) -> Result<Tags, Failure> {
    Ok(match resource {
        Resource::LoadBalancer(name) => lbd.load_balancer(name)?.tags,
        Resource::TargetGroup(name) => lbd.target_group(name)?.tags,
        Resource::Listener(name) => lbd.listener(name)?.1.tags,
        Resource::Rule(name, priority) => {
            let (_, listener) = lbd.listener(name)?;
            let rule = listener.rules.into_iter().find(|rule| rule.priority == *priority);
            let none = || Failure::Refused(format!("listener {name} has no rule of priority {priority}"));
            rule.ok_or_else(none)?.tags
        }
    })
}

impl FromStr for Resource {
    type Err = String;

    fn from_str(text: &str) -> Result<Resource, String> {
        parse(text).ok_or_else(|| {
            "expected load-balancer/NAME, listener/LOAD-BALANCER/PROTOCOL:PORT, \
             rule/LOAD-BALANCER/PROTOCOL:PORT/PRIORITY or target-group/NAME"
                .into()
        })
    }
}

fn parse(text: &str) -> Option<Resource> {
    let (kind, name) = text.split_once('/')?;
    match kind {
        "load-balancer" | "lb" if !name.is_empty() => Some(Resource::LoadBalancer(name.into())),
        "target-group" | "tg" if !name.is_empty() => Some(Resource::TargetGroup(name.into())),
        "listener" => Some(Resource::Listener(name.parse().ok()?)),
        "rule" => {
            let (listener, priority) = name.rsplit_once('/')?;
            Some(Resource::Rule(listener.parse().ok()?, priority.parse().ok()?))
        }
        _ => None,
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::LoadBalancer(name) => write!(f, "load-balancer/{name}"),
            Resource::Listener(name) => write!(f, "listener/{name}"),
            Resource::Rule(name, priority) => write!(f, "rule/{name}/{priority}"),
            Resource::TargetGroup(name) => write!(f, "target-group/{name}"),
        }
    }
}

const RESOURCE: &str = "KIND/NAME";
const RESOURCE_HELP: &str = "load-balancer/NAME, listener/LOAD-BALANCER/PROTOCOL:PORT, \
                             rule/LOAD-BALANCER/PROTOCOL:PORT/PRIORITY or target-group/NAME";

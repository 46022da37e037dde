//! `lbctl rule` and the verbs below it.

use std::str::FromStr;

use clap::Subcommand;
use hyper::Method;
use serde_json::{Map, json};

use super::{
    Failure,
    lbd::{Lbd, Request, rule_path, rules_path},
    listener::{Which, no_forward},
    output::print,
    values::{ForwardArguments, Pair, json_of, pairs, said, word},
};
use crate::{config::Family, objects::Rule, show};

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Verb {
    /// Rules of a listener, in their order
    List {
        #[command(flatten)]
        listener: Which,
    },
    /// Make a rule; its load balancer must have addresses of both families
    Create {
        #[command(flatten)]
        listener: Which,

        /// Place in the order: the lowest that fits counts
        #[arg(long, value_name = "N", value_parser = priority)]
        priority: u16,

        /// Family of the clients that it is for
        #[arg(long, value_name = "FAMILY", value_parser = word::<Family>(&FAMILIES))]
        source: Family,

        #[command(flatten)]
        forward: ForwardArguments,

        /// A tag; may be given several times
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<Pair>,
    },
    /// Change where a rule sends new flows, or whom it is for
    Modify {
        #[command(flatten)]
        listener: Which,

        /// The rule's priority
        #[arg(value_parser = priority)]
        priority: u16,

        /// Family of the clients that it is for
        #[arg(long, value_name = "FAMILY", value_parser = word::<Family>(&FAMILIES))]
        source: Option<Family>,

        #[command(flatten)]
        forward: ForwardArguments,
    },
    /// Remove a rule
    Delete {
        #[command(flatten)]
        listener: Which,

        /// The rule's priority
        #[arg(value_parser = priority)]
        priority: u16,
    },
    /// Give rules other priorities, all at once: two may change places
    SetPriorities {
        #[command(flatten)]
        listener: Which,

        /// Priorities as they are and as they become
        #[arg(required = true, value_name = "OLD=NEW")]
        priorities: Vec<Move>,
    },
}

/// A rule's priority as it is and as it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    from: u16,
    to: u16,
}

impl FromStr for Move {
    type Err = String;

    fn from_str(text: &str) -> Result<Move, String> {
        let (from, to) = text.split_once('=').ok_or("expected OLD=NEW, such as 10=20")?;
        Ok(Move { from: priority(from)?, to: priority(to)? })
    }
}

impl Verb {
    pub(super) fn is_reading(&self) -> bool {
        matches!(self, Verb::List { .. })
    }
}

pub(super) fn run(lbd: &Lbd<'_>, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::List { listener: Which { name } } => {
            let (_, listener) = lbd.listener(&name)?;
            print(lbd.output, &listener.rules, |rules: &Vec<Rule>| show::rules(rules, &listener.forward))
        }
        Verb::Create { listener: Which { name }, priority, source, forward, tags } => {
            let forward = forward.into_forward().ok_or_else(no_forward)?;
            let body =
                json!({ "priority": priority, "source": source, "forward": forward, "tags": pairs(tags) });
            let (path, done) = (rules_path(&name), format!("rule {name}/{priority} created"));
            lbd.change(&Request { method: Method::POST, path: &path, done: &done }, &body)
        }
        Verb::Modify { listener: Which { name }, priority, source, forward } => {
            let body = said([("source", json_of(source)), ("forward", json_of(forward.into_forward()))]);
            if body.is_empty() {
                return Err(Failure::Unusable("say what changes: --forward or --source".into()));
            }
            let (path, done) = (rule_path(&name, priority), format!("rule {name}/{priority} modified"));
            lbd.change(&Request { method: Method::PATCH, path: &path, done: &done }, &body)
        }
        Verb::Delete { listener: Which { name }, priority } => {
            lbd.delete(&rule_path(&name, priority), &format!("rule {name}/{priority} deleted"))
        }
        Verb::SetPriorities { listener: Which { name }, priorities } => {
            let moves = priorities.iter().map(|row| (row.from.to_string(), row.to.into()));
            let body = json!({ "priorities": moves.collect::<Map<_, _>>() });
            let (path, done) = (rules_path(&name), format!("listener {name}: priorities set"));
            lbd.change(&Request { method: Method::PATCH, path: &path, done: &done }, &body)
        }
    }
}

fn priority(text: &str) -> Result<u16, String> {
    let priority = text.parse().ok().filter(|priority| (1..=LAST_PRIORITY).contains(priority));
    priority.ok_or_else(|| format!("expected a priority from 1 to {LAST_PRIORITY}"))
}

const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

/// Priorities of rules begin with 1 (NLB "Listener rules").
const LAST_PRIORITY: u16 = 50_000;

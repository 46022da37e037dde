//! What verbs ask of the daemon: its objects, and changes of them.

use hyper::Method;
use serde::Serialize;

use super::{Failure, Format, output::print, unusable, values::ListenerName};
use crate::{
    api::{InForce, TargetChanges},
    client::{Client, Question, encode},
    objects::{Listener, LoadBalancer, TargetGroup},
};

/// The daemon as one command line sees it.
pub(super) struct Lbd<'c> {
    pub(super) client: &'c Client,
    pub(super) output: Format,
    /// Change nothing unless the objects are of this generation.
    pub(super) if_generation: Option<u64>,
}

/// What is asked of the daemon, and what to say once it is done.
pub(super) struct Request<'r> {
    pub(super) method: Method,
    pub(super) path: &'r str,
    /// Such as `load balancer edge created`.
    pub(super) done: &'r str,
}

impl Lbd<'_> {
    /// Every load balancer.
    pub(super) fn load_balancers(&self) -> Result<Vec<LoadBalancer>, Failure> {
        self.read("/v1/load-balancers")
    }

    /// The load balancer of a name.
    pub(super) fn load_balancer(&self, name: &str) -> Result<LoadBalancer, Failure> {
        self.read(&load_balancer_path(name))
    }

    /// A listener, with its load balancer.
    pub(super) fn listener(&self, name: &ListenerName) -> Result<(LoadBalancer, Listener), Failure> {
        let lb = self.load_balancer(&name.load_balancer)?;
        let found = lb.listeners.iter().find(|listener| name.is_of(listener)).cloned();
        let known: Vec<String> = lb.listeners.iter().map(listener_name).collect();
        match found {
            Some(listener) => Ok((lb, listener)),
            None => Err(Failure::Refused(format!(
                "load balancer {:?} has no listener {}; it has: {}",
                lb.name,
                name.place(),
                if known.is_empty() { "none".into() } else { known.join(", ") }
            ))),
        }
    }

    /// Every target group.
    pub(super) fn target_groups(&self) -> Result<Vec<TargetGroup>, Failure> {
        self.read("/v1/target-groups")
    }

    /// The target group of a name.
    pub(super) fn target_group(&self, name: &str) -> Result<TargetGroup, Failure> {
        self.read(&target_group_path(name))
    }

    /// Makes a change and says that it is in force, or that there was nothing to change.
    pub(super) fn change(&self, request: &Request<'_>, body: &impl Serialize) -> Result<(), Failure> {
        let body = serde_json::to_vec(body).map_err(|error| unusable(&error))?;
        self.carry_out(request, body)
    }

    /// Registers and deregisters targets, wholly or not at all.
    pub(super) fn change_targets(&self, group: &str, changes: &TargetChanges) -> Result<InForce, Failure> {
        let body = serde_json::to_vec(changes).map_err(|error| unusable(&error))?;
        let path = format!("{}/targets", target_group_path(group));
        self.ask(Question { body, ..Question::new(Method::POST, &path) })
    }

    /// Removes something and says so.
    pub(super) fn delete(&self, path: &str, done: &str) -> Result<(), Failure> {
        self.carry_out(&Request { method: Method::DELETE, path, done }, Vec::new())
    }

    fn carry_out(&self, request: &Request<'_>, body: Vec<u8>) -> Result<(), Failure> {
        let before = self.generation()?;
        let in_force = self.ask(Question { body, ..Question::new(request.method.clone(), request.path) })?;
        print(self.output, &in_force, |in_force| match in_force.generation == before {
            true => format!("nothing to change: generation {before}\n"),
            false => format!("{}: generation {}\n", request.done, in_force.generation),
        })
    }

    /// The generation of the objects.
    pub(super) fn generation(&self) -> Result<u64, Failure> {
        Ok(self.client.status()?.generation)
    }

    fn ask(&self, question: Question) -> Result<InForce, Failure> {
        let question = Question { if_generation: self.if_generation, ..question };
        Ok(self.client.ask(question)?.json()?)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        Ok(self.client.ask(Question::new(Method::GET, path))?.json()?)
    }
}

/// Where a load balancer is found.
pub(super) fn load_balancer_path(name: &str) -> String {
    format!("/v1/load-balancers/{}", encode(name))
}

/// Where a load balancer's listeners are found.
pub(super) fn listeners_path(load_balancer: &str) -> String {
    format!("{}/listeners", load_balancer_path(load_balancer))
}

/// Where a listener is found.
pub(super) fn listener_path(name: &ListenerName) -> String {
    format!("{}/{}", listeners_path(&name.load_balancer), name.place())
}

/// Where a listener's rules are found.
pub(super) fn rules_path(listener: &ListenerName) -> String {
    format!("{}/rules", listener_path(listener))
}

/// Where a rule is found.
pub(super) fn rule_path(listener: &ListenerName, priority: u16) -> String {
    format!("{}/{priority}", rules_path(listener))
}

/// Where a target group is found.
pub(super) fn target_group_path(name: &str) -> String {
    format!("/v1/target-groups/{}", encode(name))
}

/// Such as `TCP:80`.
pub(super) fn listener_name(listener: &Listener) -> String {
    format!("{}:{}", listener.protocol.name(), listener.port)
}

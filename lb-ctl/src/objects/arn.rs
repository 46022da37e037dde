//! Amazon resource names of objects, as the ELBv2 API makes them.

use std::{fmt, str::FromStr};

use super::{Id, Listener, LoadBalancer, Rule, TargetGroup};

/// Makes ARNs of a region and an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arns {
    /// Such as `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

/// An ARN, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn {
    /// Its region.
    pub region: String,
    /// Its account.
    pub account: String,
    /// What it names.
    pub resource: Resource,
}

/// What an ARN names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `loadbalancer/net/NAME/ID`.
    LoadBalancer {
        /// Its name.
        name: String,
        /// Its id.
        id: Id,
    },
    /// `listener/net/NAME/LBID/ID`.
    Listener {
        /// Its load balancer's name.
        load_balancer: String,
        /// Its load balancer's id.
        load_balancer_id: Id,
        /// Its id.
        id: Id,
    },
    /// `listener-rule/net/NAME/LBID/LISTENERID/ID`; the listener's default rule has the listener's id again.
    Rule {
        /// Its load balancer's name.
        load_balancer: String,
        /// Its load balancer's id.
        load_balancer_id: Id,
        /// Its listener's id.
        listener_id: Id,
        /// Its id.
        id: Id,
    },
    /// `targetgroup/NAME/ID`.
    TargetGroup {
        /// Its name.
        name: String,
        /// Its id.
        id: Id,
    },
}

impl Arns {
    /// A load balancer's.
    pub fn load_balancer(&self, lb: &LoadBalancer) -> Arn {
        self.arn(Resource::LoadBalancer { name: lb.name.clone(), id: lb.id })
    }

    /// A listener's.
    pub fn listener(&self, lb: &LoadBalancer, listener: &Listener) -> Arn {
        let (load_balancer, load_balancer_id) = (lb.name.clone(), lb.id);
        self.arn(Resource::Listener { load_balancer, load_balancer_id, id: listener.id })
    }

    /// A rule's; `None`: the default rule's.
    pub fn rule(&self, lb: &LoadBalancer, listener: &Listener, rule: Option<&Rule>) -> Arn {
        self.arn(Resource::Rule {
            load_balancer: lb.name.clone(),
            load_balancer_id: lb.id,
            listener_id: listener.id,
            id: rule.map_or(listener.id, |rule| rule.id),
        })
    }

    /// A target group's.
    pub fn target_group(&self, group: &TargetGroup) -> Arn {
        self.arn(Resource::TargetGroup { name: group.name.clone(), id: group.id })
    }

    fn arn(&self, resource: Resource) -> Arn {
        Arn { region: self.region.clone(), account: self.account.clone(), resource }
    }
}

impl Default for Arns {
    fn default() -> Arns {
        Arns { region: "us-east-1".into(), account: "000000000000".into() }
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}:{}:", self.region, self.account)?;
        match &self.resource {
            Resource::LoadBalancer { name, id } => write!(f, "loadbalancer/net/{name}/{id}"),
            Resource::Listener { load_balancer, load_balancer_id, id } => {
                write!(f, "listener/net/{load_balancer}/{load_balancer_id}/{id}")
            }
            Resource::Rule { load_balancer, load_balancer_id, listener_id, id } => {
                write!(f, "listener-rule/net/{load_balancer}/{load_balancer_id}/{listener_id}/{id}")
            }
            Resource::TargetGroup { name, id } => write!(f, "targetgroup/{name}/{id}"),
        }
    }
}

impl FromStr for Arn {
    type Err = String;

    fn from_str(text: &str) -> Result<Arn, String> {
        parse(text).ok_or_else(|| format!("'{text}' is not a valid ARN"))
    }
}

fn parse(text: &str) -> Option<Arn> {
    let mut parts = text.strip_prefix(PREFIX)?.splitn(3, ':');
    let (region, account, tail) = (parts.next()?, parts.next()?, parts.next()?);
    let resource = match *tail.split('/').collect::<Vec<_>>() {
        ["loadbalancer", "net", name, id] => {
            Resource::LoadBalancer { name: name.into(), id: id.parse().ok()? }
        }
        ["listener", "net", name, lb, id] => Resource::Listener {
            load_balancer: name.into(),
            load_balancer_id: lb.parse().ok()?,
            id: id.parse().ok()?,
        },
        ["listener-rule", "net", name, lb, listener, id] => Resource::Rule {
            load_balancer: name.into(),
            load_balancer_id: lb.parse().ok()?,
            listener_id: listener.parse().ok()?,
            id: id.parse().ok()?,
        },
        ["targetgroup", name, id] => Resource::TargetGroup { name: name.into(), id: id.parse().ok()? },
        _ => return None,
    };
    Some(Arn { region: region.into(), account: account.into(), resource })
}

const PREFIX: &str = "arn:aws:elasticloadbalancing:";

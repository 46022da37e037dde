//! The objects as a request sees them: found by ARNs and names, and named by ARNs and DNS names in the answer.

use super::fault::Fault;
use crate::{
    config::Elbv2,
    objects::{Arn, Arns, Listener, LoadBalancer, Objects, Resource, Rule, TargetGroup},
};

/// Objects of one generation, and how they are called.
pub(super) struct View<'v> {
    pub(super) objects: &'v Objects,
    pub(super) arns: Arns,
    dns_suffix: &'v str,
}

/// A rule of a listener, the default one included.
#[derive(Clone, Copy)]
pub(super) struct RuleView<'v> {
    pub(super) load_balancer: &'v LoadBalancer,
    pub(super) listener: &'v Listener,
    /// `None`: the default rule, which is the listener's own action.
    pub(super) rule: Option<&'v Rule>,
}

/// An object that can have tags.
pub(super) enum Tagged<'v> {
    LoadBalancer(&'v LoadBalancer),
    Listener(&'v Listener),
    Rule(&'v Rule),
    /// The default rule, which has none.
    DefaultRule,
    TargetGroup(&'v TargetGroup),
}

impl<'v> View<'v> {
    pub(super) fn new(objects: &'v Objects, settings: &'v Elbv2) -> View<'v> {
        let arns = Arns { region: settings.region.clone(), account: settings.account.clone() };
        View { objects, arns, dns_suffix: &settings.dns_suffix }
    }

    pub(super) fn load_balancer(&self, arn: &str) -> Result<&'v LoadBalancer, Fault> {
        let Resource::LoadBalancer { name, id } = self.resource(arn, "load balancer")? else {
            return Err(malformed(arn, "load balancer"));
        };
        let found = self.objects.load_balancer(&name).filter(|lb| lb.id == id && self.is_ours(arn));
        found.ok_or_else(|| Fault::new("LoadBalancerNotFound", format!("Load balancer '{arn}' not found")))
    }

    pub(super) fn target_group(&self, arn: &str) -> Result<&'v TargetGroup, Fault> {
        let Resource::TargetGroup { name, id } = self.resource(arn, "target group")? else {
            return Err(malformed(arn, "target group"));
        };
        let found = self.objects.target_group(&name).filter(|group| group.id == id && self.is_ours(arn));
        found.ok_or_else(|| Fault::new("TargetGroupNotFound", format!("Target group '{arn}' not found")))
    }

    pub(super) fn listener(&self, arn: &str) -> Result<(&'v LoadBalancer, &'v Listener), Fault> {
        let Resource::Listener { id, .. } = self.resource(arn, "listener")? else {
            return Err(malformed(arn, "listener"));
        };
        let found = self.objects.listener(id);
        let is_it =
            |(lb, listener): &(&LoadBalancer, &Listener)| self.arns.listener(lb, listener).to_string() == arn;
        found
            .filter(is_it)
            .ok_or_else(|| Fault::new("ListenerNotFound", format!("Listener '{arn}' not found")))
    }

    pub(super) fn rule(&self, arn: &str) -> Result<RuleView<'v>, Fault> {
        let Resource::Rule { listener_id, .. } = self.resource(arn, "listener rule")? else {
            return Err(malformed(arn, "listener rule"));
        };
        let of_listener = self.objects.listener(listener_id).map(|(lb, listener)| rules_of(lb, listener));
        let found = of_listener.into_iter().flatten().find(|row| self.rule_arn(row) == arn);
        found.ok_or_else(|| Fault::new("RuleNotFound", format!("Rule '{arn}' not found")))
    }

    /// Whatever an ARN names.
    pub(super) fn tagged(&self, arn: &str) -> Result<Tagged<'v>, Fault> {
        if arn.contains(":truststore/") {
            return Err(Fault::new("TrustStoreNotFound", format!("Trust store '{arn}' not found")));
        }
        Ok(match self.resource(arn, "resource")? {
            Resource::LoadBalancer { .. } => Tagged::LoadBalancer(self.load_balancer(arn)?),
            Resource::Listener { .. } => Tagged::Listener(self.listener(arn)?.1),
            Resource::Rule { .. } => self.rule(arn)?.rule.map_or(Tagged::DefaultRule, Tagged::Rule),
            Resource::TargetGroup { .. } => Tagged::TargetGroup(self.target_group(arn)?),
        })
    }

    pub(super) fn rule_arn(&self, row: &RuleView<'_>) -> String {
        self.arns.rule(row.load_balancer, row.listener, row.rule).to_string()
    }

    /// The ARN of a target group that an action names.
    pub(super) fn group_arn(&self, name: &str) -> Option<String> {
        self.objects.target_group(name).map(|group| self.arns.target_group(group).to_string())
    }

    pub(super) fn dns_name(&self, lb: &LoadBalancer) -> String {
        format!("{}-{}.elb.{}.{}", lb.name, lb.id, self.arns.region, self.dns_suffix)
    }

    fn resource(&self, arn: &str, kind: &str) -> Result<Resource, Fault> {
        arn.parse().map(|arn: Arn| arn.resource).map_err(|_| malformed(arn, kind))
    }

    fn is_ours(&self, arn: &str) -> bool {
        arn.parse().is_ok_and(|arn: Arn| arn.region == self.arns.region && arn.account == self.arns.account)
    }
}

/// A listener's rules in their order, the default one last.
pub(super) fn rules_of<'v>(
    load_balancer: &'v LoadBalancer,
    listener: &'v Listener,
) -> impl Iterator<Item = RuleView<'v>> {
    let rules = listener.rules.iter().map(Some).chain([None]);
    rules.map(move |rule| RuleView { load_balancer, listener, rule })
}

fn malformed(arn: &str, kind: &str) -> Fault {
    Fault::validation(format!("'{arn}' is not a valid {kind} ARN"))
}

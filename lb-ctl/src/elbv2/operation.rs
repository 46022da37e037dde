//! Every operation of the API: its parameters, and what carries it out.

use super::{
    account, attributes,
    fault::Fault,
    form::{Form, Parameters},
    listeners, load_balancers, rules,
    service::{Client, Service},
    tags, target_groups, targets, unavailable,
    view::View,
    xml::Element,
};
use crate::{change::Change, objects::Id};

/// An operation.
pub(super) struct Operation {
    /// Its name, parameter `Action`.
    pub(super) action: &'static str,
    /// Names of its parameters, separated by spaces.
    parameters: &'static str,
    kind: Kind,
}

enum Kind {
    /// Tells of objects, or refuses what there cannot be.
    Read(fn(&Parameters<'_>, &View<'_>) -> Result<Element, Fault>),
    /// Tells of the health of a target group's targets.
    Health,
    /// Changes objects.
    Change {
        /// What to change; `None`: nothing has to be.
        plan: fn(&Parameters<'_>, &View<'_>) -> Result<Option<Change>, Fault>,
        /// The answer, by the objects after the change and the id of the one that was made or changed.
        answer: fn(&Parameters<'_>, &View<'_>, Option<Id>) -> Result<Element, Fault>,
    },
}

/// The operation that a request asks for.
pub(super) fn of(form: &Form) -> Result<&'static Operation, Fault> {
    let parameters = form.parameters();
    let action = parameters.text("Action").unwrap_or_default();
    let version = parameters.text("Version").unwrap_or(VERSION);
    let operation = OPERATIONS.iter().find(|operation| operation.action == action && version == VERSION);
    operation.ok_or_else(|| {
        Fault::new("InvalidAction", format!("Could not find operation '{action}' for version {version}"))
    })
}

impl Operation {
    /// Whether it leaves everything as it is.
    pub(super) fn reads_alone(&self) -> bool {
        matches!(self.kind, Kind::Read(_) | Kind::Health)
    }

    /// The result, as the answer has it.
    pub(super) async fn carry_out(
        &self,
        form: &Form,
        client: &Client,
        service: &Service,
    ) -> Result<Element, Fault> {
        let parameters = form.parameters();
        let known: Vec<&str> = self.parameters.split(' ').chain(["Action", "Version"]).collect();
        parameters.allow_only(&known)?;
        let (settings, control) = (&service.settings, &service.control);
        let before = control.snapshot().await?;
        let view = View::new(&before.objects, settings);
        let result = match self.kind {
            Kind::Read(read) => read(&parameters, &view),
            Kind::Health => {
                let group = target_groups::of(&parameters, &view)?;
                targets::health(&parameters, group, &control.targets_of(&group.name).await?)
            }
            Kind::Change { plan, answer } => match plan(&parameters, &view)? {
                None => answer(&parameters, &view, None),
                Some(change) => {
                    let after = control.change(change, client.caller()).await?;
                    answer(&parameters, &View::new(&after.objects, settings), after.in_force.id)
                }
            },
        };
        Ok(result?.named(format!("{}Result", self.action)))
    }
}

const fn read(
    action: &'static str,
    parameters: &'static str,
    read: fn(&Parameters<'_>, &View<'_>) -> Result<Element, Fault>,
) -> Operation {
    Operation { action, parameters, kind: Kind::Read(read) }
}

const fn change(
    action: &'static str,
    parameters: &'static str,
    plan: fn(&Parameters<'_>, &View<'_>) -> Result<Option<Change>, Fault>,
    answer: fn(&Parameters<'_>, &View<'_>, Option<Id>) -> Result<Element, Fault>,
) -> Operation {
    Operation { action, parameters, kind: Kind::Change { plan, answer } }
}

/// The answer of operations that have nothing to tell.
fn done(_: &Parameters<'_>, _: &View<'_>, _: Option<Id>) -> Result<Element, Fault> {
    Ok(Element::new("Result"))
}

/// The only version of the API that there is.
const VERSION: &str = "2015-12-01";

const TARGET_GROUP_CHECK: &str = "TargetGroupArn HealthCheckProtocol HealthCheckPort HealthCheckPath HealthCheckEnabled \
     HealthCheckIntervalSeconds HealthCheckTimeoutSeconds HealthyThresholdCount UnhealthyThresholdCount Matcher";

const NEW_TARGET_GROUP: &str = "Name Protocol ProtocolVersion Port VpcId HealthCheckProtocol HealthCheckPort \
     HealthCheckEnabled HealthCheckPath HealthCheckIntervalSeconds HealthCheckTimeoutSeconds HealthyThresholdCount \
     UnhealthyThresholdCount Matcher TargetType Tags IpAddressType TargetControlPort";

const NEW_LOAD_BALANCER: &str = "Name Subnets SubnetMappings SecurityGroups Scheme Tags Type IpAddressType \
     CustomerOwnedIpv4Pool EnablePrefixForIpv6SourceNat IpamPools";

const NEW_LISTENER: &str = "LoadBalancerArn Protocol Port SslPolicy Certificates DefaultActions AlpnPolicy Tags MutualAuthentication";

const LISTENER: &str =
    "ListenerArn Port Protocol SslPolicy Certificates DefaultActions AlpnPolicy MutualAuthentication";

const NEW_TRUST_STORE: &str = "Name TrustStoreArn CaCertificatesBundleS3Bucket CaCertificatesBundleS3Key \
     CaCertificatesBundleS3ObjectVersion Tags";

const OPERATIONS: [Operation; 51] = [
    change("CreateLoadBalancer", NEW_LOAD_BALANCER, load_balancers::create, load_balancers::created),
    read("DescribeLoadBalancers", "LoadBalancerArns Names Marker PageSize", load_balancers::describe),
    change(
        "SetSubnets",
        "LoadBalancerArn Subnets SubnetMappings IpAddressType EnablePrefixForIpv6SourceNat",
        load_balancers::set_subnets,
        load_balancers::subnets_set,
    ),
    change(
        "SetIpAddressType",
        "LoadBalancerArn IpAddressType",
        load_balancers::set_ip_address_type,
        load_balancers::ip_address_type_set,
    ),
    change("DeleteLoadBalancer", "LoadBalancerArn", load_balancers::delete, done),
    change(
        "ModifyLoadBalancerAttributes",
        "LoadBalancerArn Attributes",
        attributes::modify_load_balancer,
        attributes::load_balancer_modified,
    ),
    read("DescribeLoadBalancerAttributes", "LoadBalancerArn", attributes::of_load_balancer),
    change("CreateTargetGroup", NEW_TARGET_GROUP, target_groups::create, target_groups::changed),
    read(
        "DescribeTargetGroups",
        "LoadBalancerArn TargetGroupArns Names Marker PageSize",
        target_groups::describe,
    ),
    change("ModifyTargetGroup", TARGET_GROUP_CHECK, target_groups::modify, target_groups::changed),
    change("DeleteTargetGroup", "TargetGroupArn", target_groups::delete, done),
    change(
        "ModifyTargetGroupAttributes",
        "TargetGroupArn Attributes",
        attributes::modify_target_group,
        attributes::target_group_modified,
    ),
    read("DescribeTargetGroupAttributes", "TargetGroupArn", attributes::of_target_group),
    change("RegisterTargets", "TargetGroupArn Targets", targets::register, done),
    change("DeregisterTargets", "TargetGroupArn Targets", targets::deregister, done),
    Operation {
        action: "DescribeTargetHealth",
        parameters: "TargetGroupArn Targets Include",
        kind: Kind::Health,
    },
    change("CreateListener", NEW_LISTENER, listeners::create, listeners::changed),
    read("DescribeListeners", "LoadBalancerArn ListenerArns Marker PageSize", listeners::describe),
    change("ModifyListener", LISTENER, listeners::modify, listeners::changed),
    change("DeleteListener", "ListenerArn", listeners::delete, done),
    change(
        "ModifyListenerAttributes",
        "ListenerArn Attributes",
        attributes::modify_listener,
        attributes::listener_modified,
    ),
    read("DescribeListenerAttributes", "ListenerArn", attributes::of_listener),
    change(
        "CreateRule",
        "ListenerArn Conditions Priority Actions Tags Transforms",
        rules::create,
        rules::changed,
    ),
    read("DescribeRules", "ListenerArn RuleArns Marker PageSize", rules::describe),
    change(
        "ModifyRule",
        "RuleArn Conditions Actions Transforms ResetTransforms",
        rules::modify,
        rules::changed,
    ),
    change("DeleteRule", "RuleArn", rules::delete, done),
    change("SetRulePriorities", "RulePriorities", rules::set_priorities, rules::priorities_set),
    change("AddTags", "ResourceArns Tags", tags::add, done),
    change("RemoveTags", "ResourceArns TagKeys", tags::remove, done),
    read("DescribeTags", "ResourceArns", tags::describe),
    read("DescribeAccountLimits", "Marker PageSize", account::limits),
    read("DescribeSSLPolicies", "Names Marker PageSize LoadBalancerType", account::ssl_policies),
    read("AddListenerCertificates", "ListenerArn Certificates", unavailable::add_certificates),
    read("RemoveListenerCertificates", "ListenerArn Certificates", unavailable::remove_certificates),
    read("DescribeListenerCertificates", "ListenerArn Marker PageSize", unavailable::certificates),
    read("SetSecurityGroups", SECURITY_GROUPS, unavailable::set_security_groups),
    read("DescribeCapacityReservation", "LoadBalancerArn", unavailable::capacity),
    read(
        "ModifyCapacityReservation",
        "LoadBalancerArn MinimumLoadBalancerCapacity ResetCapacityReservation",
        unavailable::modify_capacity,
    ),
    read("ModifyIpPools", "LoadBalancerArn IpamPools RemoveIpamPools", unavailable::modify_ip_pools),
    read("GetResourcePolicy", "ResourceArn", unavailable::resource_policy),
    read("CreateTrustStore", NEW_TRUST_STORE, unavailable::create_trust_store),
    read("DescribeTrustStores", "TrustStoreArns Names Marker PageSize", unavailable::trust_stores),
    read("ModifyTrustStore", NEW_TRUST_STORE, unavailable::trust_store),
    read("DeleteTrustStore", "TrustStoreArn", unavailable::trust_store),
    read("AddTrustStoreRevocations", "TrustStoreArn RevocationContents", unavailable::trust_store),
    read("RemoveTrustStoreRevocations", "TrustStoreArn RevocationIds", unavailable::trust_store),
    read(
        "DescribeTrustStoreRevocations",
        "TrustStoreArn RevocationIds Marker PageSize",
        unavailable::trust_store,
    ),
    read("DescribeTrustStoreAssociations", "TrustStoreArn Marker PageSize", unavailable::trust_store),
    read("DeleteSharedTrustStoreAssociation", "TrustStoreArn ResourceArn", unavailable::trust_store),
    read("GetTrustStoreCaCertificatesBundle", "TrustStoreArn", unavailable::trust_store),
    read("GetTrustStoreRevocationContent", "TrustStoreArn RevocationId", unavailable::trust_store),
];

const SECURITY_GROUPS: &str =
    "LoadBalancerArn SecurityGroups EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic";

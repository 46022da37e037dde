//! Operations on target groups.

use super::{
    fault::Fault,
    form::Parameters,
    health_checks,
    listeners::PROTOCOLS,
    load_balancers::{self, VPC},
    paging::{Item, page},
    rules::{FAMILIES, family_name},
    tags,
    view::View,
    xml::Element,
};
use crate::{
    change::{Change, NewTargetGroup, Ref},
    config::{Family, Protocols, TargetType},
    objects::{Id, TargetGroup},
};

pub(super) fn create(parameters: &Parameters<'_>, _: &View<'_>) -> Result<Option<Change>, Fault> {
    let target_type = parameters.choice("TargetType", &TARGET_TYPES)?.unwrap_or(Some(TargetType::Instance));
    let target_type = target_type.ok_or_else(|| {
        let found = parameters.text("TargetType").unwrap_or_default();
        Fault::configuration(format!(
            "The target type '{found}' is not available: it must be one of 'instance, ip'"
        ))
    })?;
    refuse_application(parameters)?;
    let port = parameters.number("Port", 1..=u16::MAX)?;
    Ok(Some(Change::CreateTargetGroup(NewTargetGroup {
        name: parameters.required_text("Name")?.into(),
        protocol: protocol(parameters)?,
        port: port.ok_or_else(|| Fault::validation("A port must be specified"))?,
        target_type: Some(target_type),
        ip_address_type: parameters.choice("IpAddressType", &FAMILIES)?,
        vpc: parameters.text("VpcId").map(Into::into),
        health_check: health_checks::read(parameters)?,
        attributes: Default::default(),
        tags: tags::read(parameters)?,
    })))
}

pub(super) fn modify(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let target_group = Ref::Id(of(parameters, view)?.id);
    let health_check = health_checks::read(parameters)?;
    Ok(Some(Change::ModifyTargetGroup { target_group, health_check }))
}

/// The answer to `CreateTargetGroup` and `ModifyTargetGroup`.
pub(super) fn changed(_: &Parameters<'_>, view: &View<'_>, id: Option<Id>) -> Result<Element, Fault> {
    let groups = view.objects.target_groups.iter().filter(|group| Some(group.id) == id);
    let elements = groups.map(|group| element(group, view));
    Ok(Element::new("Result").with(Element::of_members("TargetGroups", elements)))
}

pub(super) fn describe(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    let (arns, names) = (parameters.texts("TargetGroupArns")?, parameters.texts("Names")?);
    let user = parameters.has("LoadBalancerArn");
    if usize::from(user) + usize::from(!arns.is_empty()) + usize::from(!names.is_empty()) > 1 {
        return Err(Fault::validation(
            "Target group names, target group ARNs and a load balancer ARN cannot be specified at the same time",
        ));
    }
    let named = |name: &&str| {
        let missing = || Fault::new("TargetGroupNotFound", format!("Target groups '[{name}]' not found"));
        view.objects.target_group(name).ok_or_else(missing)
    };
    let found: Vec<&TargetGroup> = if user {
        let lb = load_balancers::of(parameters, view)?;
        let is_used =
            |group: &&TargetGroup| view.objects.users(&group.name).any(|(user, _)| user.id == lb.id);
        view.objects.target_groups.iter().filter(is_used).collect()
    } else if !arns.is_empty() {
        arns.iter().map(|arn| view.target_group(arn)).collect::<Result<_, _>>()?
    } else if !names.is_empty() {
        names.iter().map(named).collect::<Result<_, _>>()?
    } else {
        view.objects.target_groups.iter().collect()
    };
    let item = |group: &TargetGroup| Item { order: group.name.clone(), element: element(group, view) };
    page(found.into_iter().map(item).collect(), "TargetGroups", parameters)
}

/// Deleting what is not there succeeds.
pub(super) fn delete(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    match of(parameters, view) {
        Ok(group) => Ok(Some(Change::DeleteTargetGroup(Ref::Id(group.id)))),
        Err(fault) if fault.code == "TargetGroupNotFound" => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The target group that a request names by parameter `TargetGroupArn`.
pub(super) fn of<'v>(parameters: &Parameters<'_>, view: &View<'v>) -> Result<&'v TargetGroup, Fault> {
    view.target_group(parameters.required_text("TargetGroupArn")?)
}

fn element(group: &TargetGroup, view: &View<'_>) -> Element {
    let mut users: Vec<String> =
        view.objects.users(&group.name).map(|(lb, _)| view.arns.load_balancer(lb).to_string()).collect();
    users.dedup();
    let element = Element::new("TargetGroup")
        .with_text("TargetGroupArn", view.arns.target_group(group))
        .with_text("TargetGroupName", &group.name)
        .with_text("Protocol", group.protocol.name())
        .with_text("Port", group.port)
        .with_text("VpcId", group.vpc.as_deref().unwrap_or(VPC));
    health_checks::add_to(element, &group.health_check)
        .with(Element::of_texts("LoadBalancerArns", users))
        .with_text("TargetType", target_type_name(group.target_type))
        .with_text("IpAddressType", family_name(family_of(group)))
}

fn target_type_name(target_type: TargetType) -> &'static str {
    TARGET_TYPES.iter().find(|(_, known)| *known == Some(target_type)).map_or("", |(name, _)| name)
}

fn family_of(group: &TargetGroup) -> Family {
    let first = || group.targets.first().map(|target| Family::of(target.address));
    group.ip_address_type.or_else(first).unwrap_or(Family::V4)
}

fn protocol(parameters: &Parameters<'_>) -> Result<Protocols, Fault> {
    match parameters.choice("Protocol", &PROTOCOLS)? {
        None => Err(Fault::validation("A protocol must be specified")),
        Some(None) => {
            let found = parameters.text("Protocol").unwrap_or_default();
            Err(Fault::configuration(format!("Protocol '{found}' must be one of 'TCP, UDP, TCP_UDP'")))
        }
        Some(Some(protocol)) => Ok(protocol),
    }
}

fn refuse_application(parameters: &Parameters<'_>) -> Result<(), Fault> {
    match ["ProtocolVersion", "TargetControlPort"].into_iter().find(|name| parameters.has(name)) {
        Some(name) => {
            Err(Fault::configuration(format!("{name} is for target groups of application load balancers")))
        }
        None => Ok(()),
    }
}

const TARGET_TYPES: [(&str, Option<TargetType>); 4] =
    [("instance", Some(TargetType::Instance)), ("ip", Some(TargetType::Ip)), ("lambda", None), ("alb", None)];

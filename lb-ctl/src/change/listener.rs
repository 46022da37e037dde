//! Listeners and their forward actions.

use std::net::IpAddr;

use super::{ForwardRequest, Ground, ListenerRef, NewListener};
use crate::{
    api::{Refusal, RefusalCode},
    config::{FORWARD_GROUPS, Family, Protocols},
    objects::{Forward, ForwardGroup, Id, Listener, LoadBalancer, Objects, TargetGroup},
};

/// Makes a listener; one that is there already with the same settings is as good.
pub(super) fn create(objects: &mut Objects, new: NewListener, ground: &Ground<'_>) -> Result<Id, Refusal> {
    let at = objects.load_balancer_at(&new.load_balancer)?;
    let forward = forward(objects, at, new.protocol, &new.forward, ground)?;
    let lb = &objects.load_balancers[at];
    if let Some(known) = lb.listeners.iter().find(|known| known.port == new.port) {
        let is_like = known.protocol == new.protocol && known.forward == forward;
        return if is_like { Ok(known.id) } else { Err(duplicate(new.port)) };
    }
    if lb.listeners.len() >= LISTENERS {
        let error = format!("a load balancer can have {LISTENERS} listeners");
        return Err(Refusal::of(RefusalCode::TooManyListeners, error));
    }
    let id = Id::fresh();
    objects.load_balancers[at].listeners.push(Listener {
        id,
        declared: false,
        protocol: new.protocol,
        port: new.port,
        forward,
        rules: Vec::new(),
        attributes: new.attributes,
        tags: new.tags,
    });
    Ok(id)
}

/// Changes what is given.
pub(super) fn modify(
    objects: &mut Objects,
    listener: &ListenerRef,
    (protocol, port): (Option<Protocols>, Option<u16>),
    request: Option<ForwardRequest>,
    ground: &Ground<'_>,
) -> Result<Id, Refusal> {
    let (lb_at, at) = objects.listener_at(listener)?;
    let lb = &objects.load_balancers[lb_at];
    let known = &lb.listeners[at];
    let (protocol, port) = (protocol.unwrap_or(known.protocol), port.unwrap_or(known.port));
    if port != known.port && lb.listeners.iter().any(|other| other.port == port) {
        return Err(duplicate(port));
    }
    let forward = match request {
        Some(request) => forward(objects, lb_at, protocol, &request, ground)?,
        None => {
            for row in known.forwards().flat_map(|forward| &forward.target_groups) {
                compatible(objects, &row.name, protocol)?;
            }
            known.forward.clone()
        }
    };
    let listener = &mut objects.load_balancers[lb_at].listeners[at];
    (listener.protocol, listener.port, listener.forward) = (protocol, port, forward);
    Ok(listener.id)
}

/// Removes a listener.
pub(super) fn delete(objects: &mut Objects, listener: &ListenerRef) -> Result<Id, Refusal> {
    let (lb, at) = objects.listener_at(listener)?;
    Ok(objects.load_balancers[lb].listeners.remove(at).id)
}

/// The forward action that a listener of the load balancer of this index can have.
pub(super) fn forward(
    objects: &Objects,
    lb_at: usize,
    protocol: Protocols,
    request: &ForwardRequest,
    ground: &Ground<'_>,
) -> Result<Forward, Refusal> {
    let lb = &objects.load_balancers[lb_at];
    let mut groups: Vec<&TargetGroup> = Vec::new();
    let mut target_groups: Vec<ForwardGroup> = Vec::new();
    for (wanted, weight) in &request.target_groups {
        let group = &objects.target_groups[objects.group_at(wanted)?];
        let name = &group.name;
        if let Some((user, _)) = objects.users(name).find(|(user, _)| user.name != lb.name) {
            return Err(Refusal::of(
                RefusalCode::TargetGroupAssociationLimit,
                format!(
                    "target group {name:?} belongs to load balancer {:?} already: a target group can be used by one load \
                     balancer",
                    user.name
                ),
            ));
        }
        compatible(objects, name, protocol)?;
        reachable(lb, group, ground)?;
        groups.push(group);
        target_groups.push(ForwardGroup { name: name.clone(), weight: *weight });
    }
    if target_groups.is_empty() {
        let error = "a forward action must name at least one target group";
        return Err(Refusal::of(RefusalCode::ValidationError, error));
    }
    combinable(&groups)?;
    Ok(Forward { target_groups, stickiness: request.stickiness })
}

/// What target groups of one forward action may be (NLB "Quotas" and "Listener rules"). A file may weigh groups of both families:
/// flows are translated, which is this load balancer's own.
fn combinable(groups: &[&TargetGroup]) -> Result<(), Refusal> {
    let error = if groups.len() > FORWARD_GROUPS {
        format!("a forward action can have {FORWARD_GROUPS} target groups, and this has {}", groups.len())
    } else if let Some(twice) =
        groups.iter().enumerate().find(|(at, group)| groups[..*at].iter().any(|known| known.id == group.id))
    {
        format!("target group {:?} is specified twice in one forward action", twice.1.name)
    } else if groups.iter().any(|group| family(group) != family(groups[0])) {
        "a forward action cannot have target groups of different IP address types".into()
    } else {
        return Ok(());
    };
    Err(Refusal::of(RefusalCode::InvalidConfigurationRequest, error))
}

/// Refuses a target group whose targets the load balancer has no address to send from to: its own, or one for source NAT.
fn reachable(lb: &LoadBalancer, group: &TargetGroup, ground: &Ground<'_>) -> Result<(), Refusal> {
    let own: Vec<IpAddr> = lb.addresses.iter().map(|row| row.address).collect();
    let family = family(group);
    if ground.config.source_nat.addresses_for(&own).iter().any(|source| Family::of(*source) == family) {
        return Ok(());
    }
    let error = format!(
        "target group {:?} is of IP address type {}, of which load balancer {:?} has no address",
        group.name,
        family.name(),
        lb.name
    );
    Err(Refusal::of(RefusalCode::InvalidConfigurationRequest, error))
}

/// A group that a file declares may leave its family to its targets.
fn family(group: &TargetGroup) -> Family {
    let of_targets = || group.targets.first().map(|target| Family::of(target.address));
    group.ip_address_type.or_else(of_targets).unwrap_or(Family::V4)
}

fn compatible(objects: &Objects, group: &str, protocol: Protocols) -> Result<(), Refusal> {
    let group = objects.target_group(group).map(|group| group.protocol);
    match group {
        Some(group) if !protocol.forwards_to().contains(&group) => Err(Refusal::of(
            RefusalCode::IncompatibleProtocols,
            format!("a {} listener cannot forward to a {} target group", protocol.name(), group.name()),
        )),
        _ => Ok(()),
    }
}

fn duplicate(port: u16) -> Refusal {
    let error = format!("a listener already exists on port {port} for this load balancer");
    Refusal::of(RefusalCode::DuplicateListener, error)
}

/// Most listeners of a load balancer (NLB "Quotas").
pub const LISTENERS: usize = 50;

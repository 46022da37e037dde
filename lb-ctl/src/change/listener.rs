//! Listeners and their forward actions.

use super::{ForwardRequest, ListenerRef, NewListener};
use crate::{
    api::{Refusal, RefusalCode},
    config::Protocols,
    objects::{Forward, ForwardGroup, Id, Listener, Objects},
};

/// Makes a listener; one that is there already with the same settings is as good.
pub(super) fn create(objects: &mut Objects, new: NewListener) -> Result<Id, Refusal> {
    let at = objects.load_balancer_at(&new.load_balancer)?;
    let forward = forward(objects, at, new.protocol, &new.forward)?;
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
) -> Result<Id, Refusal> {
    let (lb_at, at) = objects.listener_at(listener)?;
    let lb = &objects.load_balancers[lb_at];
    let known = &lb.listeners[at];
    let (protocol, port) = (protocol.unwrap_or(known.protocol), port.unwrap_or(known.port));
    if port != known.port && lb.listeners.iter().any(|other| other.port == port) {
        return Err(duplicate(port));
    }
    let forward = match request {
        Some(request) => forward(objects, lb_at, protocol, &request)?,
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
) -> Result<Forward, Refusal> {
    let lb = &objects.load_balancers[lb_at];
    let mut target_groups: Vec<ForwardGroup> = Vec::new();
    for (group, weight) in &request.target_groups {
        let name = &objects.target_groups[objects.group_at(group)?].name;
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
        target_groups.push(ForwardGroup { name: name.clone(), weight: *weight });
    }
    if target_groups.is_empty() {
        let error = "a forward action must name at least one target group";
        return Err(Refusal::of(RefusalCode::ValidationError, error));
    }
    Ok(Forward { target_groups, stickiness: request.stickiness })
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

//! Targets that come and go: how a change of them alters a configuration, without a look at the rest of it.

use std::net::{IpAddr, SocketAddr};

use lb_core::limits;

use crate::{
    api::{NewTarget, Refusal, RefusalCode, TargetAddress, TargetChanges},
    config::{Config, Target, TargetGroup, TargetRequest},
};

/// Registers and deregisters targets of a group, or changes nothing and says why.
pub fn apply(config: &mut Config, target_group: &str, changes: &TargetChanges) -> Result<(), Refusal> {
    let index = group_at(config, target_group)?;
    if changes.register.len() > limits::TARGETS_PER_GROUP {
        return Err(too_many(changes.register.len(), limits::TARGETS_PER_GROUP, "in one call"));
    }
    let mut group = config.target_groups[index].clone();
    let leaving = deregister(&mut group, &changes.deregister)?;
    let mut joining = Vec::new();
    for new in &changes.register {
        let endpoint = (new.address, new.port.unwrap_or(group.port));
        if leaving.contains(&endpoint) {
            return Err(invalid(
                &group,
                endpoint,
                "is both in register and in deregister: decide for one of them",
            ));
        }
        if joining.contains(&endpoint) {
            return Err(invalid(&group, endpoint, NAMED_TWICE));
        }
        register(config, &mut group, new, endpoint)?;
        joining.push(endpoint);
    }
    check_limits(config, index, group.targets.len())?;
    config.target_groups[index] = group;
    Ok(())
}

/// The index of a target group.
fn group_at(config: &Config, name: &str) -> Result<usize, Refusal> {
    let at = config.target_groups.iter().position(|group| group.name == name);
    at.ok_or_else(|| {
        Refusal::of(RefusalCode::TargetGroupNotFound, format!("there is no target group {name:?}"))
    })
}

/// Takes targets out of a group; one that is not registered is gone already. Returns their endpoints.
fn deregister(group: &mut TargetGroup, targets: &[TargetAddress]) -> Result<Vec<(IpAddr, u16)>, Refusal> {
    let mut leaving = Vec::new();
    for TargetAddress { address, port } in targets {
        let endpoint = (*address, port.unwrap_or(group.port));
        if leaving.contains(&endpoint) {
            return Err(invalid(group, endpoint, NAMED_TWICE));
        }
        if let Some(at) = position(group, endpoint) {
            group.targets.remove(at);
        }
        leaving.push(endpoint);
    }
    Ok(leaving)
}

/// Adds a target, or replaces the one that has its endpoint.
fn register(
    config: &Config,
    group: &mut TargetGroup,
    new: &NewTarget,
    endpoint: (IpAddr, u16),
) -> Result<(), Refusal> {
    let NewTarget { address, port, weight, zone } = new.clone();
    let known = position(group, endpoint);
    let at = known.unwrap_or(group.targets.len());
    let was_stopped = known.is_some_and(|at| group.targets[at].is_stopped);
    drop(known.map(|at| group.targets.remove(at)));
    match config.admit(group, &TargetRequest { address, port, weight, zone }) {
        Ok(target) => {
            group.targets.insert(at, Target { is_stopped: was_stopped, ..target });
            Ok(())
        }
        Err(error) => Err(invalid(group, endpoint, &format!("cannot be registered: {error}"))),
    }
}

/// Refuses more targets than the group of this index, or all together, can have.
fn check_limits(config: &Config, index: usize, targets: usize) -> Result<(), Refusal> {
    let all: usize = config.target_groups.iter().map(|group| group.targets.len()).sum();
    let group = &config.target_groups[index];
    let all = all - group.targets.len() + targets;
    if targets > limits::TARGETS_PER_GROUP {
        return Err(too_many(
            targets,
            limits::TARGETS_PER_GROUP,
            &format!("in target group {:?}", group.name),
        ));
    }
    match all > limits::TARGETS {
        true => Err(too_many(all, limits::TARGETS, "over all target groups")),
        false => Ok(()),
    }
}

fn too_many(count: usize, most: usize, place: &str) -> Refusal {
    let error = format!("there would be {count} targets {place}, expected at most {most}");
    Refusal::of(RefusalCode::TooManyTargets, error)
}

fn position(group: &TargetGroup, wanted: (IpAddr, u16)) -> Option<usize> {
    group.targets.iter().position(|target| (target.address, target.port) == wanted)
}

fn invalid(group: &TargetGroup, (address, port): (IpAddr, u16), why: &str) -> Refusal {
    let error = format!("target {}/{} {why}", group.name, SocketAddr::new(address, port));
    Refusal::of(RefusalCode::InvalidTarget, error)
}

const NAMED_TWICE: &str = "is named twice";

#[cfg(test)]
mod tests;

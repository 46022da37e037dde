//! Targets registered by call: how a call changes a configuration, and what of that outlives the daemon.
//!
//! The configuration in force is the file's with the registrations in it, so nothing else keeps them apart. Called by the
//! daemon's control thread at a start, a reload and a call. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lb_core::limits;
use serde::{Deserialize, Serialize};

use crate::{
    api::{DroppedRegistrations, NewTarget, Refusal, RefusalCode, TargetAddress, TargetChanges},
    config::{Config, Family, Registrar, Target, TargetGroup},
};

/// What is kept in the state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registrations {
    version: u32,
    /// By the name of the target group; those without targets are left out.
    target_groups: BTreeMap<String, Vec<NewTarget>>,
}

impl Registrations {
    /// Those of a configuration in force.
    pub fn of(config: &Config) -> Registrations {
        let groups = config.target_groups.iter().filter(|group| group.registrar == Registrar::Calls);
        let row = |group: &TargetGroup| (group.name.clone(), group.targets.iter().map(kept).collect());
        let target_groups = groups.filter(|group| !group.targets.is_empty()).map(row).collect();
        Registrations { version: VERSION, target_groups }
    }

    /// Whether this version of the daemon knows what they mean.
    pub fn is_understood(&self) -> bool {
        self.version == VERSION
    }

    /// Registers them with a configuration as its file says. Tells those whose target group is not there for them any more; refuses a
    /// target that does not fit the configuration.
    pub fn merge_into(self, config: &mut Config) -> Result<Vec<DroppedRegistrations>, String> {
        let mut dropped = Vec::new();
        for (target_group, register) in self.target_groups {
            let targets = register.len();
            let changes = TargetChanges { register, deregister: Vec::new() };
            match apply(config, &target_group, &changes) {
                Ok(()) => {}
                Err(Refusal { code: Some(GROUP_NOT_FOUND | GROUP_OF_FILE), .. }) => {
                    dropped.push(DroppedRegistrations { target_group, targets });
                }
                Err(Refusal { error, .. }) => {
                    return Err(format!(
                        "a target registered by call does not fit the configuration any more: {error}: change the \
                         configuration, or deregister the target first"
                    ));
                }
            }
        }
        Ok(dropped)
    }
}

impl Default for Registrations {
    fn default() -> Registrations {
        Registrations { version: VERSION, target_groups: BTreeMap::new() }
    }
}

/// Registers and deregisters targets of a group, or changes nothing and says why.
pub fn apply(config: &mut Config, target_group: &str, changes: &TargetChanges) -> Result<(), Refusal> {
    let index = group_of_calls(config, target_group)?;
    let group = &config.target_groups[index];
    let leaving = leaving(group, &changes.deregister)?;
    let joining = joining(config, group, &changes.register)?;
    if let Some(both) = joining.iter().map(endpoint).find(|endpoint| leaving.contains(endpoint)) {
        return Err(invalid(group, both, "is both in register and in deregister: decide for one of them"));
    }
    check_limits(config, group, leaving.len(), &joining)?;
    let targets = &mut config.target_groups[index].targets;
    if !leaving.is_empty() {
        targets.retain(|target| !leaving.contains(&endpoint(target)));
    }
    for target in joining {
        match targets.iter_mut().find(|known| endpoint(known) == endpoint(&target)) {
            Some(known) => *known = target,
            None => targets.push(target),
        }
    }
    Ok(())
}

/// The index of a target group that calls may change.
fn group_of_calls(config: &Config, name: &str) -> Result<usize, Refusal> {
    let Some(index) = config.target_groups.iter().position(|group| group.name == name) else {
        let known: Vec<&str> = config.target_groups.iter().map(|group| group.name.as_str()).collect();
        return Err(Refusal::of(
            GROUP_NOT_FOUND,
            format!("there is no target group {name:?}: those in force are {}", known.join(", ")),
        ));
    };
    match config.target_groups[index].registrar {
        Registrar::Calls => Ok(index),
        Registrar::File => Err(Refusal::of(
            GROUP_OF_FILE,
            format!(
                "the targets of target group {name:?} stand in the file: edit it and reload, or take the key targets out \
                 of it to register them by call"
            ),
        )),
    }
}

/// The endpoints to deregister, all of them registered.
fn leaving(group: &TargetGroup, deregister: &[TargetAddress]) -> Result<Vec<(IpAddr, u16)>, Refusal> {
    let mut leaving = Vec::new();
    for TargetAddress { address, port } in deregister {
        let endpoint = (*address, port.unwrap_or(group.port));
        if !is_registered(group, endpoint) {
            return Err(invalid(group, endpoint, "is not registered"));
        }
        if leaving.contains(&endpoint) {
            return Err(invalid(group, endpoint, "is named twice"));
        }
        leaving.push(endpoint);
    }
    Ok(leaving)
}

/// The targets to register, all of them allowed.
fn joining(config: &Config, group: &TargetGroup, register: &[NewTarget]) -> Result<Vec<Target>, Refusal> {
    if register.len() > limits::TARGETS_PER_GROUP {
        return Err(too_many(register.len(), limits::TARGETS_PER_GROUP, "in one call"));
    }
    let mut joining: Vec<Target> = Vec::new();
    for new in register.iter().cloned() {
        let target = Target {
            address: new.address,
            port: new.port.unwrap_or(group.port),
            weight: new.weight.unwrap_or(1),
            zone: new.zone.filter(|zone| zone != ALL_ZONES),
            is_stopped: false,
        };
        if joining.iter().any(|other| endpoint(other) == endpoint(&target)) {
            return Err(invalid(group, endpoint(&target), "is named twice"));
        }
        if let Err(why) = check_target(config, group, &target) {
            return Err(invalid(group, endpoint(&target), &format!("cannot be registered: {why}")));
        }
        joining.push(target);
    }
    Ok(joining)
}

fn check_limits(
    config: &Config,
    group: &TargetGroup,
    leaving: usize,
    joining: &[Target],
) -> Result<(), Refusal> {
    let new = joining.iter().filter(|target| !is_registered(group, endpoint(target))).count();
    let of_group = group.targets.len() + new - leaving;
    let of_all = config.target_groups.iter().map(|group| group.targets.len()).sum::<usize>() + new - leaving;
    if of_group > limits::TARGETS_PER_GROUP {
        return Err(too_many(
            of_group,
            limits::TARGETS_PER_GROUP,
            &format!("in target group {:?}", group.name),
        ));
    }
    match of_all > limits::TARGETS {
        true => Err(too_many(of_all, limits::TARGETS, "over all target groups")),
        false => Ok(()),
    }
}

fn too_many(count: usize, most: usize, place: &str) -> Refusal {
    let error = format!("there would be {count} targets {place}, expected at most {most}");
    Refusal::of(RefusalCode::TooManyTargets, error)
}

fn invalid(group: &TargetGroup, (address, port): (IpAddr, u16), why: &str) -> Refusal {
    let error = format!("target {}/{} {why}", group.name, SocketAddr::new(address, port));
    Refusal::of(RefusalCode::InvalidTarget, error)
}

fn is_registered(group: &TargetGroup, wanted: (IpAddr, u16)) -> bool {
    group.targets.iter().any(|target| endpoint(target) == wanted)
}

fn check_target(config: &Config, group: &TargetGroup, target: &Target) -> Result<(), String> {
    if Family::of(target.address) != group.family {
        return Err(format!("its address is expected to be an {} address", group.family.name()));
    }
    if config.addresses().any(|address| address == target.address) {
        return Err("its address is a load balancer's".into());
    }
    if target.weight > limits::TARGET_WEIGHT {
        return Err(format!("found the weight {}, expected 0 to {}", target.weight, limits::TARGET_WEIGHT));
    }
    Ok(())
}

fn endpoint(target: &Target) -> (IpAddr, u16) {
    (target.address, target.port)
}

fn kept(target: &Target) -> NewTarget {
    NewTarget {
        address: target.address,
        port: Some(target.port),
        weight: Some(target.weight),
        zone: target.zone.clone(),
    }
}

/// Of the file in the state directory.
const VERSION: u32 = 1;

/// Stands for no zone in particular (NLB `TargetDescription.AvailabilityZone`).
const ALL_ZONES: &str = "all";

const GROUP_NOT_FOUND: RefusalCode = RefusalCode::TargetGroupNotFound;
const GROUP_OF_FILE: RefusalCode = RefusalCode::OperationNotPermitted;

#[cfg(test)]
mod tests;

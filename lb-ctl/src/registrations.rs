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
    config::{Config, Registrar, Target, TargetGroup, TargetRequest},
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

/// Takes targets out of a group, all of them registered. Returns their endpoints.
fn deregister(group: &mut TargetGroup, targets: &[TargetAddress]) -> Result<Vec<(IpAddr, u16)>, Refusal> {
    let mut leaving = Vec::new();
    for TargetAddress { address, port } in targets {
        let endpoint = (*address, port.unwrap_or(group.port));
        if leaving.contains(&endpoint) {
            return Err(invalid(group, endpoint, NAMED_TWICE));
        }
        match position(group, endpoint) {
            Some(at) => drop(group.targets.remove(at)),
            None => return Err(invalid(group, endpoint, "is not registered")),
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
    drop(known.map(|at| group.targets.remove(at)));
    match config.admit(group, &TargetRequest { address, port, weight, zone }) {
        Ok(target) => {
            group.targets.insert(at, target);
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

const NAMED_TWICE: &str = "is named twice";

const GROUP_NOT_FOUND: RefusalCode = RefusalCode::TargetGroupNotFound;
const GROUP_OF_FILE: RefusalCode = RefusalCode::OperationNotPermitted;

#[cfg(test)]
mod tests;

//! Who is found at which endpoint: what of the tables stays the same while only health and next hops change.
//!
//! Made by `Tables`, shared by generations that need no other. The packet path asks it for the listener of every new flow, so that is one
//! probe of a hash table whatever the number of listeners.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use super::{Endpoint, TablesError, TablesParts};
use crate::{
    limits,
    listener::ListenerId,
    tables::Protocol,
    target::{Target, TargetGroup, TargetGroupId, TargetId},
};

/// The endpoints of listeners and targets.
#[derive(Debug, Default)]
pub(super) struct Directory {
    listeners: ListenerMap,
    /// For each listener, those before it, by endpoint, of the same protocol and target group; at most `limits::SIBLINGS`.
    siblings: Box<[Box<[ListenerId]>]>,
    /// Listeners that can reach a target's endpoint, sorted; several rows when several can.
    targets: Box<[(Endpoint, ListenerId, TargetId)]>,
}

impl Directory {
    pub(super) fn new(parts: &TablesParts) -> Result<Directory, TablesError> {
        let mut members: Vec<Vec<(TargetId, &Target)>> = vec![Vec::new(); parts.groups.len()];
        for (id, target) in (0..).zip(&parts.targets) {
            if let Some(target) = target {
                members[usize::from(target.group.0)].push((TargetId(id), target));
            }
        }
        let mut listeners = Vec::new();
        let mut targets = Vec::new();
        for (id, listener) in (0..).zip(&parts.listeners) {
            let Some(listener) = listener else { continue };
            let id = ListenerId(id);
            listeners.push((listener.endpoint, id));
            let groups =
                listener.forward.groups.iter().filter_map(|row| members.get(usize::from(row.group.0)));
            targets.extend(groups.flatten().map(|(target_id, target)| {
                let protocol = listener.endpoint.protocol;
                (Endpoint { address: target.address, port: target.port, protocol }, id, *target_id)
            }));
        }
        listeners.sort_unstable();
        targets.sort_unstable();
        if let Some(pair) = listeners.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(TablesError::DuplicateListener(pair[0].0));
        }
        Ok(Directory {
            siblings: siblings(parts, &listeners),
            listeners: ListenerMap::new(&listeners),
            targets: targets.into(),
        })
    }

    /// Whether `one` and `other` have the same directory.
    pub(super) fn is_common(one: &TablesParts, other: &TablesParts) -> bool {
        let name = |target: &Option<Target>| {
            target.as_ref().map(|target| (target.group, target.address, target.port, target.protocols))
        };
        one.listeners == other.listeners
            && one.targets.iter().map(name).eq(other.targets.iter().map(name))
            && one.groups.iter().map(has_siblings).eq(other.groups.iter().map(has_siblings))
    }

    #[inline]
    pub(super) fn listener_at(&self, endpoint: &Endpoint) -> Option<ListenerId> {
        self.listeners.find(endpoint)
    }

    pub(super) fn siblings(&self, id: ListenerId) -> &[ListenerId] {
        self.siblings.get(usize::from(id.0)).map_or(&[], |siblings| siblings)
    }

    pub(super) fn listeners_of_target(&self, endpoint: &Endpoint) -> &[(Endpoint, ListenerId, TargetId)] {
        let from = self.targets.partition_point(|row| row.0 < *endpoint);
        let to = from + self.targets[from..].partition_point(|row| row.0 == *endpoint);
        &self.targets[from..to]
    }
}

/// Whether the listeners of a group send one client's port to different targets. Not where targets tell flows apart by sources of ours,
/// nor where a client has one target.
fn has_siblings(group: &TargetGroup) -> bool {
    group.preserves_client_ip && !group.is_sticky
}

/// For each listener, the first of those before it, by endpoint, of the same protocol and target group.
fn siblings(parts: &TablesParts, by_endpoint: &[(Endpoint, ListenerId)]) -> Box<[Box<[ListenerId]>]> {
    let listeners = &parts.listeners;
    let mut siblings = vec![Box::default(); listeners.len()];
    let mut families: HashMap<(TargetGroupId, Protocol), Vec<ListenerId>> = HashMap::new();
    for &(endpoint, id) in by_endpoint {
        let Some(listener) = listeners.get(usize::from(id.0)).and_then(Option::as_ref) else { continue };
        let mut earlier: Vec<ListenerId> = Vec::new();
        for row in &listener.forward.groups {
            if !parts.groups.get(usize::from(row.group.0)).is_some_and(has_siblings) {
                continue;
            }
            let family = families.entry((row.group, endpoint.protocol)).or_default();
            earlier.extend(family.iter().filter(|id| !earlier.contains(id)).copied().collect::<Vec<_>>());
            if family.len() < limits::SIBLINGS {
                family.push(id);
            }
        }
        earlier.truncate(limits::SIBLINGS);
        siblings[usize::from(id.0)] = earlier.into();
    }
    siblings.into()
}

/// Listeners by endpoint: a hash table with linear probing, at most half full. The endpoints are the configuration's, so no stranger
/// can choose them to collide.
#[derive(Debug)]
struct ListenerMap {
    rows: Box<[Option<(Endpoint, ListenerId)>]>,
}

impl ListenerMap {
    fn new(listeners: &[(Endpoint, ListenerId)]) -> ListenerMap {
        let mut rows = vec![None; (2 * listeners.len()).next_power_of_two().max(2)];
        for row in listeners {
            let mut place = place(&row.0, rows.len());
            while rows[place].is_some() {
                place = (place + 1) % rows.len();
            }
            rows[place] = Some(*row);
        }
        ListenerMap { rows: rows.into() }
    }

    #[inline]
    fn find(&self, endpoint: &Endpoint) -> Option<ListenerId> {
        let first = place(endpoint, self.rows.len());
        let (before, from) = self.rows.split_at(first);
        let mut rows = from.iter().chain(before).map_while(|row| *row);
        rows.find(|row| row.0 == *endpoint).map(|row| row.1)
    }
}

impl Default for ListenerMap {
    fn default() -> ListenerMap {
        ListenerMap::new(&[])
    }
}

/// Where an endpoint's row is looked for first, of `places`, a power of two from 2 on.
#[inline]
fn place(endpoint: &Endpoint, places: usize) -> usize {
    let address = match endpoint.address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => fold(v6),
    };
    let service = u64::from(endpoint.port) << 8 | endpoint.protocol as u64;
    let hash = (address.wrapping_mul(SPREAD) ^ service).wrapping_mul(SPREAD);
    (hash >> (u64::BITS - places.trailing_zeros())) as usize
}

#[inline]
fn fold(address: Ipv6Addr) -> u64 {
    let bits = address.to_bits();
    (bits as u64) ^ ((bits >> 64) as u64).wrapping_mul(SPREAD)
}

/// 2^64 divided by the golden ratio, odd: multiples of it are spread evenly (Knuth, volume 3, section 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: IpAddr, port: u16, protocol: Protocol) -> Endpoint {
        Endpoint { address, port, protocol }
    }

    #[test]
    fn every_listener_is_found_and_nothing_else() {
        for count in [0, 1, 2, 3, 1_000, 4_096u16] {
            let at = |id: u16| {
                let address = match id % 3 {
                    0 => IpAddr::from([198, 18, 100, (id / 300) as u8]),
                    _ => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, id / 300]),
                };
                let protocol = if id.is_multiple_of(2) { Protocol::Tcp } else { Protocol::Udp };
                endpoint(address, 10_000 + id % 300, protocol)
            };
            let listeners: Vec<_> = (0..count).map(|id| (at(id), ListenerId(id))).collect();
            let map = ListenerMap::new(&listeners);
            for (endpoint, id) in &listeners {
                assert_eq!(map.find(endpoint), Some(*id));
            }
            for stranger in [at(count), endpoint([198, 18, 100, 1].into(), 80, Protocol::Tcp)] {
                assert_eq!(map.find(&stranger), None, "{stranger:?} of {count}");
            }
        }
    }

    #[test]
    fn endpoints_that_follow_each_other_do_not_crowd() {
        let listeners: Vec<_> = (0..4_000u16)
            .map(|id| {
                let address = IpAddr::from([198, 18, 100, (id / 100) as u8]);
                (endpoint(address, 8_000 + id % 100, Protocol::Tcp), ListenerId(id))
            })
            .collect();
        let map = ListenerMap::new(&listeners);
        let longest = map.rows.split(|row| row.is_none()).map(<[_]>::len).max();
        assert!(longest < Some(30), "{longest:?}");
    }
}

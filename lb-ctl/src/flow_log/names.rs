//! Names of listeners and target groups by what records of flows know of them: an id, which has other holders in time, with the
//! endpoint that tells those apart. Flows outlive their listeners and targets, so names outlive them, too.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    net::IpAddr,
    sync::Arc,
};

use lb_core::{
    datapath::FlowView,
    limits,
    tables::{Endpoint, ListenerId, Tables, TargetId},
};

/// Names of those there are, and of those there were.
#[derive(Debug, Default)]
pub(super) struct Names {
    listeners: HashMap<(ListenerId, Endpoint), Arc<str>>,
    target_groups: HashMap<(TargetId, (IpAddr, u16)), Arc<str>>,
}

impl Names {
    /// Notes who there is by new tables.
    pub(super) fn note(&mut self, tables: &Tables) {
        let listeners = (0..).zip(tables.listeners()).filter_map(|(id, listener)| {
            let listener = listener.as_ref()?;
            Some(((ListenerId(id), listener.endpoint), &*listener.name))
        });
        note(&mut self.listeners, listeners.collect(), MOST_PER_ID * limits::LISTENERS);
        let targets = (0..).zip(tables.targets()).filter_map(|(id, target)| {
            let target = target.as_ref()?;
            Some(((TargetId(id), (target.address, target.port)), &*tables.group(target.group)?.name))
        });
        note(&mut self.target_groups, targets.collect(), MOST_PER_ID * limits::TARGETS);
    }

    /// The name of a flow's listener.
    pub(super) fn listener(&self, flow: &FlowView) -> Option<&str> {
        let (address, port) = flow.vip;
        let endpoint = Endpoint { address, port, protocol: flow.protocol };
        self.listeners.get(&(flow.listener, endpoint)).map(|name| &**name)
    }

    /// The name of the group of a flow's target.
    pub(super) fn target_group(&self, flow: &FlowView) -> Option<&str> {
        self.target_groups.get(&(flow.target_id, flow.target)).map(|name| &**name)
    }
}

/// Notes names. Where there are more than `most` then, those that are none of today's are forgotten.
fn note<K: Copy + Eq + Hash>(names: &mut HashMap<K, Arc<str>>, today: Vec<(K, &str)>, most: usize) {
    for (key, name) in &today {
        if names.get(key).is_none_or(|known| **known != **name) {
            names.insert(*key, (*name).into());
        }
    }
    if names.len() > most {
        let today: HashSet<K> = today.into_iter().map(|(key, _)| key).collect();
        names.retain(|key, _| today.contains(key));
    }
}

/// As many holders of an id are remembered, if every id has had so many.
const MOST_PER_ID: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_former_times_stay_until_there_are_too_many() {
        let mut names = HashMap::new();
        note(&mut names, vec![(1, "web"), (2, "dns")], 3);
        note(&mut names, vec![(1, "blue"), (3, "green")], 3);
        let name = |names: &HashMap<i32, Arc<str>>, key| names.get(&key).map(|name| name.to_string());
        assert_eq!([1, 2, 3].map(|key| name(&names, key)).map(Option::unwrap), ["blue", "dns", "green"]);
        note(&mut names, vec![(4, "late")], 3);
        assert_eq!(names.into_keys().collect::<Vec<_>>(), [4]);
    }
}

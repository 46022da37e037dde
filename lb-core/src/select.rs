//! The choice of a target for a new flow: a function of the flow's key, the lasting secret and the tables alone. Called by
//! `datapath` on a miss, and by whoever wants to know what it would choose.
//!
//! First the target group, where the listener has several: by weighted rendezvous. Then the target, by the group's Maglev table. Both go by
//! a hash of the flow's key, or of the client's address alone where they stick to that.
//!
//! A target tells flows apart by the client's address and port only, and so must a target's packet that finds no flow: two
//! listeners of one group must not send one client's port to the same target. So a listener takes the first target, from
//! the flow's Maglev slot on, that its siblings before it (by endpoint) do not take for that client, while there are
//! enough targets.

use std::ptr;

use crate::{
    flow_key::FlowKey,
    hash, limits,
    listener::{Forward, Listener, ListenerId, WeightedGroup},
    tables::Tables,
    target::{Pool, TargetGroup, TargetGroupId, TargetId},
};

/// Where in which group the search for a flow's target begins.
#[derive(Clone, Copy, Debug)]
pub struct Start<'t> {
    /// The group that the flow goes to.
    pub group: &'t TargetGroup,
    /// Those of its targets that serve the listener's zone.
    pub pool: &'t Pool,
    /// What the pool's Maglev table is asked for.
    pub hash: u64,
}

/// The group for a flow; `None` when the listener gives none a weight.
#[inline]
pub fn start<'t>(
    tables: &'t Tables,
    forward: &'t Forward,
    secret: &[u8; 16],
    key: &FlowKey,
) -> Option<Start<'t>> {
    match &*forward.groups {
        [only] if only.weight > 0 => {
            let (group, pool) = tables.pool(only)?;
            Some(Start { group, pool, hash: target_hash(group, secret, key) })
        }
        groups => {
            let hash = match forward.is_sticky {
                true => hash::selection_of_client(secret, key.source()),
                false => hash::selection(secret, key),
            };
            let chosen = hash::weighted(hash, groups.iter().map(|row| (row.weight, row.salt)))?;
            let (group, pool) = tables.pool(groups.get(chosen)?)?;
            Some(Start { group, pool, hash: target_hash(group, secret, key) })
        }
    }
}

#[inline]
fn target_hash(group: &TargetGroup, secret: &[u8; 16], key: &FlowKey) -> u64 {
    match group.is_sticky {
        true => hash::selection_of_client(secret, key.source()),
        false => hash::selection(secret, key),
    }
}

/// The candidates for a flow whose search begins at `start`, best first. The later ones serve only when the client's address and port already reach the
/// earlier ones through another listener after all, by a flow from before the tables changed. A group that sticks to clients has one.
pub fn candidates<'t>(
    tables: &Tables,
    id: ListenerId,
    start: Start<'t>,
    secret: &[u8; 16],
    key: &FlowKey,
) -> impl Iterator<Item = TargetId> + use<'t> {
    let chosen = first_free(start, &taken(tables, id, secret, key));
    let others = (!start.group.is_sticky).then(|| walk(start));
    chosen.into_iter().chain(others.into_iter().flatten().filter(move |other| Some(*other) != chosen))
}

/// The target for a flow; `None` when the group has none.
pub fn select(tables: &Tables, id: ListenerId, secret: &[u8; 16], key: &FlowKey) -> Option<TargetId> {
    let start = start(tables, &tables.listener(id)?.forward, secret, key)?;
    first_free(start, &taken(tables, id, secret, key))
}

/// How the target for a flow was selected, by the tables alone: [`select`] step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The group that the flow goes to.
    pub group: TargetGroupId,
    /// Which of the group's pools.
    pub pool: u8,
    /// Its slot in the pool's Maglev table; `None` when the pool is empty.
    pub slot: Option<u32>,
    /// Who owns the slot.
    pub owner: Option<TargetId>,
    /// The sibling that sends the same client's port to the owner, so that the search goes on.
    pub sibling: Option<ListenerId>,
    /// What is selected.
    pub target: Option<TargetId>,
}

/// The way to a flow's target; `None` when the listener gives no group a weight.
pub fn trace(tables: &Tables, id: ListenerId, secret: &[u8; 16], key: &FlowKey) -> Option<Selection> {
    let forward = &tables.listener(id)?.forward;
    let start = start(tables, forward, secret, key)?;
    let is_chosen =
        |row: &&WeightedGroup| tables.group(row.group).is_some_and(|group| ptr::eq(group, start.group));
    let row = forward.groups.iter().find(is_chosen)?;
    let taken = taken(tables, id, secret, key);
    let (owner, target) = (walk(start).next(), first_free(start, &taken));
    let rival = taken.targets.iter().position(|taken| taken.is_some() && *taken == owner);
    Some(Selection {
        group: row.group,
        pool: row.pool,
        slot: start.pool.maglev.slot(start.hash),
        owner,
        sibling: rival.filter(|_| owner != target).and_then(|at| tables.siblings(id).get(at).copied()),
        target,
    })
}

/// What the siblings before a listener take for the same client.
struct Taken {
    targets: [Option<TargetId>; limits::SIBLINGS],
}

fn taken(tables: &Tables, id: ListenerId, secret: &[u8; 16], key: &FlowKey) -> Taken {
    let mut taken = Taken { targets: [None; limits::SIBLINGS] };
    for (at, sibling) in tables.siblings(id).iter().enumerate() {
        taken.targets[at] = tables.listener(*sibling).and_then(|sibling| {
            first_free(start(tables, &sibling.forward, secret, &towards(key, sibling)?)?, &taken)
        });
    }
    taken
}

/// The first target of a walk that is not taken, or else the first.
fn first_free(start: Start<'_>, taken: &Taken) -> Option<TargetId> {
    let mut targets = walk(start);
    let first = targets.next()?;
    if start.group.is_sticky {
        return Some(first);
    }
    std::iter::once(first)
        .chain(targets)
        .find(|target| !taken.targets.contains(&Some(*target)))
        .or(Some(first))
}

/// The owners of the Maglev slots from a flow's own on.
fn walk(start: Start<'_>) -> impl Iterator<Item = TargetId> {
    let Start { pool, hash, .. } = start;
    let slot = pool.maglev.slot(hash);
    (0..=limits::COLLISION_RETRIES).map_while(move |step| {
        let candidate = pool.maglev.candidate(slot? + step)?;
        pool.eligible.get(candidate).copied()
    })
}

/// The key of the same client's packets to another listener. `None` when that is of the other family.
fn towards(key: &FlowKey, listener: &Listener) -> Option<FlowKey> {
    let vip = (listener.endpoint.address, listener.endpoint.port.to_be_bytes());
    FlowKey::new((key.source(), key.source_port()), vip, key.protocol())
}

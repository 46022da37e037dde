//! The choice of a target for a new flow: a function of the flow's key, the lasting secret and the tables alone. Called by
//! `datapath` on a miss, and by whoever wants to know what it would choose.
//!
//! A target tells flows apart by the client's address and port only, and so must a target's packet that finds no flow: two
//! listeners of one group must not send one client's port to the same target. So a listener takes the first target, from
//! the flow's Maglev slot on, that its siblings before it (by endpoint) do not take for that client, while there are
//! enough targets.

use crate::{
    flow_key::FlowKey,
    hash, limits,
    listener::{Listener, ListenerId},
    tables::Tables,
    target::TargetId,
};

/// The candidates for a flow, best first. The later ones serve only when the client's address and port already reach the
/// earlier ones through another listener after all, by a flow from before the tables changed.
pub fn candidates<'t>(
    tables: &'t Tables,
    id: ListenerId,
    secret: &[u8; 16],
    forward: &FlowKey,
) -> impl Iterator<Item = TargetId> + use<'t> {
    let listener = tables.listener(id);
    let taken = taken(tables, id, secret, forward);
    let chosen = listener.and_then(|listener| first_free(tables, listener, secret, forward, &taken));
    let others = listener.map(|listener| walk(tables, listener, secret, forward));
    chosen.into_iter().chain(others.into_iter().flatten().filter(move |other| Some(*other) != chosen))
}

/// The target for a flow; `None` when the group has none.
pub fn select(tables: &Tables, id: ListenerId, secret: &[u8; 16], forward: &FlowKey) -> Option<TargetId> {
    let taken = taken(tables, id, secret, forward);
    first_free(tables, tables.listener(id)?, secret, forward, &taken)
}

/// What the siblings before a listener take for the same client.
struct Taken {
    targets: [Option<TargetId>; limits::SIBLINGS],
}

fn taken(tables: &Tables, id: ListenerId, secret: &[u8; 16], forward: &FlowKey) -> Taken {
    let mut taken = Taken { targets: [None; limits::SIBLINGS] };
    for (at, sibling) in tables.siblings(id).iter().enumerate() {
        taken.targets[at] = tables
            .listener(*sibling)
            .and_then(|sibling| first_free(tables, sibling, secret, &towards(forward, sibling)?, &taken));
    }
    taken
}

/// The first target of a listener's walk that is not taken, or else the first.
fn first_free(
    tables: &Tables,
    listener: &Listener,
    secret: &[u8; 16],
    forward: &FlowKey,
    taken: &Taken,
) -> Option<TargetId> {
    let mut targets = walk(tables, listener, secret, forward);
    let first = targets.next()?;
    std::iter::once(first)
        .chain(targets)
        .find(|target| !taken.targets.contains(&Some(*target)))
        .or(Some(first))
}

/// The owners of the Maglev slots from a flow's own on.
fn walk<'t>(
    tables: &'t Tables,
    listener: &Listener,
    secret: &[u8; 16],
    forward: &FlowKey,
) -> impl Iterator<Item = TargetId> + use<'t> {
    let group = tables.group(listener.group);
    let slot = group.and_then(|group| group.maglev.slot(hash::selection(secret, forward)));
    (0..=limits::COLLISION_RETRIES).map_while(move |step| {
        let candidate = group?.maglev.candidate(slot? + step)?;
        group?.eligible.get(candidate).copied()
    })
}

/// The key of the same client's packets to another listener. `None` when that is of the other family.
fn towards(forward: &FlowKey, listener: &Listener) -> Option<FlowKey> {
    let vip = (listener.endpoint.address, listener.endpoint.port.to_be_bytes());
    FlowKey::new((forward.source(), forward.source_port()), vip, forward.protocol())
}

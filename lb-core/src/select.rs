//! The choice of a target for a new flow: a function of the flow's key, the lasting secret and the eligible targets alone.
//! Called by `datapath` on a miss, and by whoever wants to know what it would choose.

use crate::{
    flow::FlowKey,
    hash, limits,
    tables::Tables,
    target::{TargetGroupId, TargetId},
};

/// The candidates for a flow, best first: the owner of the flow's Maglev slot, then the owners of slots further on. The
/// later ones serve only when the client's address and port already reach the earlier ones through another listener.
pub fn candidates<'t>(
    tables: &'t Tables,
    group: TargetGroupId,
    secret: &[u8; 16],
    forward: &FlowKey,
) -> impl Iterator<Item = TargetId> + use<'t> {
    let group = tables.group(group);
    let slot = group.and_then(|group| group.maglev.slot(hash::selection(secret, forward)));
    (0..=limits::COLLISION_RETRIES).map_while(move |attempt| {
        let candidate = group?.maglev.candidate(slot? + attempt)?;
        group?.eligible.get(candidate).copied()
    })
}

/// The target for a flow; `None` when the group has none.
pub fn select(
    tables: &Tables,
    group: TargetGroupId,
    secret: &[u8; 16],
    forward: &FlowKey,
) -> Option<TargetId> {
    candidates(tables, group, secret, forward).next()
}

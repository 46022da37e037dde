//! Targets behind one next hop, such as the pods of one node and the node itself: what one of them sends to another never comes back
//! to us.

use std::net::IpAddr;

use super::NextHop;
use crate::target::Target;

/// Addresses of targets that share their next hop with another address, sorted; none where each target is a host of its own.
#[derive(Debug, Default)]
pub(super) struct SharedHops(Box<[(IpAddr, NextHop)]>);

impl SharedHops {
    pub(super) fn among(targets: &[Option<Target>]) -> SharedHops {
        let mut rows: Vec<(IpAddr, NextHop)> = targets.iter().flatten().filter_map(row).collect();
        rows.sort_unstable_by_key(|(address, hop)| (hop.interface, hop.mac, *address));
        rows.dedup();
        let together = rows.chunk_by(|one, other| one.1 == other.1).filter(|rows| rows.len() > 1);
        let mut rows = together.collect::<Vec<_>>().concat();
        rows.sort_unstable_by_key(|row| row.0);
        SharedHops(rows.into())
    }

    /// Whether two lists of targets share the same next hops.
    pub(super) fn are_common(one: &[Option<Target>], other: &[Option<Target>]) -> bool {
        one.iter().flatten().filter_map(row).eq(other.iter().flatten().filter_map(row))
    }

    /// The next hop of a target that shares it.
    #[inline]
    pub(super) fn of(&self, address: IpAddr) -> Option<NextHop> {
        if self.0.is_empty() {
            return None;
        }
        let at = self.0.binary_search_by_key(&address, |row| row.0).ok()?;
        Some(self.0[at].1)
    }
}

fn row(target: &Target) -> Option<(IpAddr, NextHop)> {
    Some((target.address, target.next_hop?))
}

//! Zones: which targets of a group serve which VIPs of its load balancer (NLB "Cross-zone load balancing").

use crate::config::{Config, LoadBalancer, Target, TargetGroup, Vip};

/// The zones of a group's load balancer, and whether the group's flows cross them.
pub(super) struct Zones<'c> {
    user: Option<&'c LoadBalancer>,
    /// Ascending; none: targets' zones mean nothing.
    enabled: Vec<&'c str>,
    is_crossed: bool,
}

/// Which of a group's pools a target serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Every one.
    Everywhere,
    /// The one of its zone.
    Pool(u8),
}

impl Place {
    pub(super) fn is_in(self, pool: u8) -> bool {
        self == Place::Everywhere || self == Place::Pool(pool)
    }
}

impl<'c> Zones<'c> {
    /// Those of every group, in the order of the configuration.
    pub(super) fn of_groups(config: &'c Config) -> Vec<Zones<'c>> {
        let users = users(config);
        config.target_groups.iter().zip(users).map(|(group, user)| Zones::new(group, user)).collect()
    }

    fn new(group: &TargetGroup, user: Option<&'c LoadBalancer>) -> Zones<'c> {
        let vips = user.map_or(&[][..], |lb| &lb.vips);
        let mut enabled: Vec<&str> = vips.iter().filter_map(|vip| vip.zone.as_deref()).collect();
        enabled.sort_unstable();
        enabled.dedup();
        let is_crossed = group.crosses_zones.or(user.map(|lb| lb.crosses_zones)).unwrap_or_default();
        Zones { user, enabled, is_crossed }
    }

    /// Whether a load balancer uses the group.
    pub(super) fn is_used(&self) -> bool {
        self.user.is_some()
    }

    /// The group's pools: one, or one of each zone.
    pub(super) fn pools(&self) -> u8 {
        if self.is_crossed { 1 } else { self.enabled.len().max(1) as u8 } // A load balancer has few VIPs.
    }

    /// The pool that a VIP's flows are shared out to.
    pub(super) fn pool_of(&self, vip: &Vip) -> u8 {
        match vip.zone.as_deref().and_then(|zone| self.place_in(zone)) {
            Some(Place::Pool(pool)) => pool,
            _ => 0,
        }
    }

    /// The pools that a target serves; `None` when its zone is none of the load balancer's.
    pub(super) fn place_of(&self, target: &Target) -> Option<Place> {
        match target.zone.as_deref() {
            Some(zone) if !self.enabled.is_empty() => self.place_in(zone),
            _ => Some(Place::Everywhere),
        }
    }

    fn place_in(&self, zone: &str) -> Option<Place> {
        let at = self.enabled.iter().position(|known| *known == zone)?;
        Some(if self.is_crossed { Place::Everywhere } else { Place::Pool(at as u8) })
    }
}

/// The load balancer that uses each group.
fn users(config: &Config) -> Vec<Option<&LoadBalancer>> {
    let mut users = vec![None; config.target_groups.len()];
    for lb in &config.load_balancers {
        for row in lb
            .listeners
            .iter()
            .flat_map(crate::config::Listener::forwards)
            .flat_map(|forward| &forward.groups)
        {
            users[row.group] = Some(lb);
        }
    }
    users
}

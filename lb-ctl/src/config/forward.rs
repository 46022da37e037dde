//! What a listener forwards to: one target group, or several with weights.

use std::{net::IpAddr, ops::RangeInclusive};

use super::{
    Family, Protocols, TargetGroup,
    load_balancer::{Known, Owner, Taken},
    walk::{Section, Value},
};

/// What a listener does with new flows (NLB "Forward action").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Target groups, at least one, none twice.
    pub groups: Vec<WeightedGroup>,
    /// Whether the flows of one client's address go to one group (`TargetGroupStickinessConfig.Enabled`).
    pub is_sticky: bool,
}

impl Forward {
    /// Whether flows may go to the target group of this index.
    pub fn has(&self, target_group: usize) -> bool {
        self.groups.iter().any(|row| row.group == target_group)
    }
}

/// A target group's part in a forward action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedGroup {
    /// Index in [`Config::target_groups`](super::Config::target_groups).
    pub group: usize,
    /// Share of new flows in proportion to the other weights, 0 to 999; 0: none, and existing ones are terminated after a while.
    pub weight: u16,
}

/// What decides which target groups a listener may forward to.
pub(super) struct Rules<'r> {
    /// The listener's protocol, unless it is wrong.
    pub(super) protocol: Option<Protocols>,
    pub(super) known: &'r Known<'r>,
    pub(super) owner: &'r Owner<'r>,
}

/// Key `target_group` or `forward` of a listener.
pub(super) fn read(section: &Section<'_>, rules: &Rules<'_>, taken: &mut Taken) -> Option<Forward> {
    match (section.optional("target_group"), section.optional("forward")) {
        (Some(_), Some(value)) => value.refuse("target_group or forward, not both"),
        (None, Some(value)) => weighted(&value.section()?, rules, taken),
        _ => {
            let value =
                section.required("target_group", "the name of a target group, or forward to several")?;
            let group = rules.group(&value, taken)?;
            Some(Forward { groups: vec![WeightedGroup { group, weight: WEIGHT_DEFAULT }], is_sticky: false })
        }
    }
}

/// `{ target_groups = [{ name, weight }, ...], stickiness }`.
fn weighted(section: &Section<'_>, rules: &Rules<'_>, taken: &mut Taken) -> Option<Forward> {
    section.allow_only(&["target_groups", "stickiness"]);
    let groups = weighted_groups(section, rules, taken);
    let is_sticky = match section.optional("stickiness") {
        Some(value) => value.boolean(),
        None => Some(false),
    };
    Some(Forward { groups: groups?, is_sticky: is_sticky? })
}

fn weighted_groups(
    section: &Section<'_>,
    rules: &Rules<'_>,
    taken: &mut Taken,
) -> Option<Vec<WeightedGroup>> {
    let expected =
        format!("1 to {FORWARD_GROUPS} target groups, such as [{{ name = \"blue\", weight = 9 }}]");
    let value = section.required("target_groups", &expected)?;
    let items = value.items(&expected)?;
    if items.is_empty() || items.len() > FORWARD_GROUPS {
        return value.refuse(expected);
    }
    let mut groups: Vec<Option<WeightedGroup>> = Vec::new();
    for item in &items {
        let group = weighted_group(item, rules, taken);
        let is_known = |known: &WeightedGroup| group.is_some_and(|group| group.group == known.group);
        groups.push(match groups.iter().flatten().any(is_known) {
            true => item.refuse("each target group once"),
            false => group,
        });
    }
    groups.into_iter().collect()
}

fn weighted_group(item: &Value<'_>, rules: &Rules<'_>, taken: &mut Taken) -> Option<WeightedGroup> {
    let section = item.section()?;
    section.allow_only(&["name", "weight"]);
    let group =
        section.required("name", "the name of a target group").and_then(|value| rules.group(&value, taken));
    let weight = match section.optional("weight") {
        Some(value) => value.integer(WEIGHT),
        None => Some(WEIGHT_DEFAULT),
    };
    Some(WeightedGroup { group: group?, weight: weight? })
}

impl Rules<'_> {
    /// The index of the target group that a value names.
    fn group(&self, value: &Value<'_>, taken: &mut Taken) -> Option<usize> {
        let name = value.text("the name of a target group")?;
        let groups = self.known.groups;
        let Some(index) = groups.iter().position(|group| group.name.as_deref() == Some(name)) else {
            let known: Vec<&str> = groups.iter().filter_map(|group| group.name.as_deref()).collect();
            return value.refuse(match known.is_empty() {
                true => "a target group; the file has none".into(),
                false => format!("one of the target groups: {}", known.join(", ")),
            });
        };
        let user = taken.groups.entry(index).or_insert_with(|| self.owner.path.into());
        if user != self.owner.path {
            return value.refuse(format!("a target group that no other load balancer uses (as {user} does)"));
        }
        let group = groups[index].checked.as_ref()?;
        let protocol = self.protocol?;
        if !protocol.forwards_to().contains(&group.protocol) {
            let found = format!("{:?}, a {} target group", group.name, group.protocol.name());
            let expected = format!("a {} target group for a {} listener", names(protocol), protocol.name());
            value.errors().report(&value.place, found, expected);
            return None;
        }
        self.has_source(value, group)?;
        Some(index)
    }

    /// Refuses a target group that the load balancer could not send a packet of its own to: a flow whose client has another
    /// family than its target is translated, and needs a source address of the target's.
    fn has_source(&self, value: &Value<'_>, group: &TargetGroup) -> Option<()> {
        let own: Vec<IpAddr> = self.owner.vips?.iter().map(|vip| vip.address).collect();
        let sources = self.known.source_nat?.addresses_for(&own);
        if sources.iter().any(|address| Family::of(*address) == group.family) {
            return Some(());
        }
        let (path, family) = (self.owner.path, group.family.name());
        let found = format!("{:?}, a target group of {family} targets", group.name);
        let expected = format!("a target group of the family of {path}.addresses");
        let advice = format!(
            "to translate, give {path}.addresses or source_nat.addresses an {family} address, which targets see instead of \
             the client's"
        );
        value.errors().advise(&value.place, found, expected, &advice);
        None
    }
}

/// The protocols of target groups that a listener may forward to, for an error.
fn names(listener: Protocols) -> String {
    listener.forwards_to().iter().map(|protocols| protocols.name()).collect::<Vec<_>>().join(" or ")
}

/// Most target groups of a forward action (NLB "Quotas").
pub(crate) const FORWARD_GROUPS: usize = 5;

const WEIGHT: RangeInclusive<i64> = 0..=999;
const WEIGHT_DEFAULT: u16 = 1;

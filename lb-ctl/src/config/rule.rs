//! Rules of listeners: where flows go of clients of one family (NLB "Listener rules").

use std::ops::RangeInclusive;

use super::{
    Family, Forward, forward,
    load_balancer::Taken,
    read::{one_of, sections},
    tags,
    walk::{Section, integer_expected},
};

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its place in the order, 1 to 50000: the lowest that fits wins.
    pub priority: u16,
    /// The family of the clients that it is for (`source-ip` with `IpAddressType`).
    pub source: Family,
    /// Where their new flows go.
    pub forward: Forward,
}

/// Key `rules` of a listener; in the order of their priorities.
pub(super) fn all(
    listener: &Section<'_>,
    forwarding: &forward::Rules<'_>,
    taken: &mut Taken,
) -> Option<Vec<Rule>> {
    let sections = sections(listener, "rules")?;
    let mut rules: Vec<Option<Rule>> = Vec::new();
    for section in sections {
        let rule = section.and_then(|section| rule(&section, forwarding, taken, &rules));
        rules.push(rule);
    }
    let mut rules = rules.into_iter().collect::<Option<Vec<Rule>>>()?;
    rules.sort_by_key(|rule| rule.priority);
    Some(rules)
}

fn rule(
    section: &Section<'_>,
    forwarding: &forward::Rules<'_>,
    taken: &mut Taken,
    earlier: &[Option<Rule>],
) -> Option<Rule> {
    section.allow_only(&["priority", "source", "target_group", "forward", "tags"]);
    let value = section.required("priority", &integer_expected(&PRIORITY))?;
    let priority: u16 = value.integer(PRIORITY)?;
    if earlier.iter().flatten().any(|rule| rule.priority == priority) {
        return value.refuse("a priority that no other rule of the listener has");
    }
    let source = section.required("source", "\"ipv4\" or \"ipv6\"")?;
    let family = one_of(&source, &[("ipv4", Family::V4), ("ipv6", Family::V6)])?;
    let vips = forwarding.owner.vips?;
    if !vips.iter().any(|vip| Family::of(vip.address) != Family::of(vips[0].address)) {
        let expected = "a rule only where the load balancer has IPv4 and IPv6 addresses (dualstack)";
        return source.refuse(expected);
    }
    let forward = forward::read(section, forwarding, taken)?;
    tags::check(section)?;
    Some(Rule { priority, source: family, forward })
}

const PRIORITY: RangeInclusive<i64> = 1..=50_000;

//! Operations on listener rules: by the client's address family, on dualstack load balancers.

use super::{
    actions,
    fault::Fault,
    form::Parameters,
    listeners,
    paging::{Item, page},
    tags,
    view::{RuleView, View, rules_of},
    xml::Element,
};
use crate::{
    change::{Change, ListenerRef, NewRule},
    config::Family,
    objects::{Id, Rule},
};

pub(super) fn create(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let (_, listener) = listeners::of(parameters, view)?;
    refuse_transforms(parameters)?;
    let priority =
        parameters.number("Priority", PRIORITIES)?.ok_or_else(|| parameters.missing("Priority"))?;
    let rule = NewRule {
        priority,
        source: source(parameters)?.ok_or_else(|| parameters.missing("Conditions"))?,
        forward: actions::required("Actions", parameters, view)?,
        tags: tags::read(parameters)?,
    };
    Ok(Some(Change::CreateRule { listener: ListenerRef::Id(listener.id), rule }))
}

pub(super) fn modify(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    refuse_transforms(parameters)?;
    Ok(Some(Change::ModifyRule {
        rule: of(parameters, view)?.id,
        source: source(parameters)?,
        forward: actions::optional("Actions", parameters, view)?,
    }))
}

/// The answer to `CreateRule` and `ModifyRule`.
pub(super) fn changed(_: &Parameters<'_>, view: &View<'_>, id: Option<Id>) -> Result<Element, Fault> {
    Ok(those(view, |rule| Some(rule.id) == id))
}

pub(super) fn delete(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    Ok(Some(Change::DeleteRule(of(parameters, view)?.id)))
}

pub(super) fn describe(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    let arns = parameters.texts("RuleArns")?;
    let found: Vec<RuleView<'_>> = match (parameters.text("ListenerArn"), arns.as_slice()) {
        (None, []) => {
            return Err(Fault::validation("You must specify either listener rule ARNs or a listener ARN"));
        }
        (Some(_), [_, ..]) => {
            return Err(Fault::validation(
                "Listener rule ARNs and a listener ARN cannot be specified together",
            ));
        }
        (Some(arn), []) => {
            let (lb, listener) = view.listener(arn)?;
            rules_of(lb, listener).collect()
        }
        (None, arns) => arns.iter().map(|arn| view.rule(arn)).collect::<Result<_, _>>()?,
    };
    let item = |row: RuleView<'_>| Item { order: order(&row), element: element(&row, view) };
    page(found.into_iter().map(item).collect(), "Rules", parameters)
}

pub(super) fn set_priorities(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let pair = |pair: &Parameters<'_>| {
        pair.allow_only(&["RuleArn", "Priority"])?;
        let priority = pair.number("Priority", PRIORITIES)?.ok_or_else(|| pair.missing("Priority"))?;
        Ok((of(pair, view)?.id, priority))
    };
    let pairs = parameters.required_list("RulePriorities")?;
    Ok(Some(Change::SetRulePriorities(pairs.iter().map(pair).collect::<Result<_, Fault>>()?)))
}

pub(super) fn priorities_set(
    parameters: &Parameters<'_>,
    view: &View<'_>,
    _: Option<Id>,
) -> Result<Element, Fault> {
    let pairs = parameters.required_list("RulePriorities")?;
    let ids = pairs.iter().map(|pair| of(pair, view).map(|rule| rule.id)).collect::<Result<Vec<_>, _>>()?;
    Ok(those(view, |rule| ids.contains(&rule.id)))
}

/// The rule that a request names by parameter `RuleArn`; the default rule changes with its listener alone.
fn of<'v>(parameters: &Parameters<'_>, view: &View<'v>) -> Result<&'v Rule, Fault> {
    let arn = parameters.required_text("RuleArn")?;
    view.rule(arn)?.rule.ok_or_else(|| {
        Fault::new(
            "OperationNotPermitted",
            format!("Default rule '{arn}' cannot be modified: modify its listener"),
        )
    })
}

fn those(view: &View<'_>, is_wanted: impl Fn(&Rule) -> bool) -> Element {
    let all = view.objects.listeners().flat_map(|(lb, listener)| rules_of(lb, listener));
    let found = all.filter(|row| row.rule.is_some_and(&is_wanted));
    Element::new("Result").with(Element::of_members("Rules", found.map(|row| element(&row, view))))
}

/// By listener, then by priority, the default rule last.
fn order(row: &RuleView<'_>) -> String {
    let priority = row.rule.map_or(DEFAULT_PRIORITY.into(), |rule| format!("{:05}", rule.priority));
    format!("{}/{priority}", row.listener.id)
}

fn element(row: &RuleView<'_>, view: &View<'_>) -> Element {
    let priority = row.rule.map_or(DEFAULT_PRIORITY.into(), |rule| rule.priority.to_string());
    let condition = |rule: &Rule| {
        let source = Element::new("SourceIpConfig").with_text("IpAddressType", family_name(rule.source));
        Element::new("RuleCondition").with_text("Field", SOURCE_IP).with(source)
    };
    let forward = row.rule.map_or(&row.listener.forward, |rule| &rule.forward);
    Element::new("Rule")
        .with_text("RuleArn", view.rule_arn(row))
        .with_text("Priority", priority)
        .with(Element::of_members("Conditions", row.rule.map(condition)))
        .with(actions::element("Actions", forward, view))
        .with_text("IsDefault", row.rule.is_none())
}

/// Parameter `Conditions`: one, on the client's address family.
fn source(parameters: &Parameters<'_>) -> Result<Option<Family>, Fault> {
    let conditions = parameters.list("Conditions")?;
    let [condition] = conditions.as_slice() else {
        return match conditions.is_empty() {
            true => Ok(None),
            false => Err(Fault::configuration("A network load balancer's rule has one condition")),
        };
    };
    let source = condition.structure("SourceIpConfig");
    let is_plain = condition.allow_only(&["Field", "SourceIpConfig"]).is_ok()
        && source.allow_only(&["IpAddressType"]).is_ok()
        && condition.text("Field").is_none_or(|field| field == SOURCE_IP);
    if !is_plain {
        return Err(Fault::configuration(
            "The condition of a network load balancer's rule must be source-ip with IpAddressType 'ipv4' or 'ipv6'",
        ));
    }
    let family = source.choice("IpAddressType", &FAMILIES)?;
    family.map(Some).ok_or_else(|| source.missing("IpAddressType"))
}

fn refuse_transforms(parameters: &Parameters<'_>) -> Result<(), Fault> {
    match ["Transforms", "ResetTransforms"].into_iter().find(|name| parameters.has(name)) {
        Some(name) => Err(Fault::configuration(format!("{name} is for application load balancers"))),
        None => Ok(()),
    }
}

/// `ipv4` or `ipv6`.
pub(super) fn family_name(family: Family) -> &'static str {
    FAMILIES.iter().find(|(_, known)| *known == family).map_or("", |(name, _)| name)
}

pub(super) const FAMILIES: [(&str, Family); 2] = [("ipv4", Family::V4), ("ipv6", Family::V6)];

const PRIORITIES: std::ops::RangeInclusive<u16> = 1..=50_000;
const DEFAULT_PRIORITY: &str = "default";
const SOURCE_IP: &str = "source-ip";

//! Forward actions, of listeners and rules: the one kind of action that a network load balancer has.

use super::{fault::Fault, form::Parameters, view::View, xml::Element};
use crate::{
    change::{ForwardRequest, Ref},
    objects::Forward,
};

/// The action under a parameter, `DefaultActions` or `Actions`.
pub(super) fn required(
    name: &str,
    parameters: &Parameters<'_>,
    view: &View<'_>,
) -> Result<ForwardRequest, Fault> {
    match parameters.required_list(name)?.as_slice() {
        [action] => forward(action, view),
        _ => Err(Fault::new("TooManyActions", "A network load balancer's listener or rule has one action")),
    }
}

/// The same, where it may be left out.
pub(super) fn optional(
    name: &str,
    parameters: &Parameters<'_>,
    view: &View<'_>,
) -> Result<Option<ForwardRequest>, Fault> {
    if parameters.has(name) { required(name, parameters, view).map(Some) } else { Ok(None) }
}

/// The list of one action, as an answer has it.
pub(super) fn element(name: &'static str, forward: &Forward, view: &View<'_>) -> Element {
    let row = |arn: String, weight: u16| {
        Element::new("TargetGroup").with_text("TargetGroupArn", arn).with_text("Weight", weight)
    };
    let rows: Vec<Element> = forward
        .target_groups
        .iter()
        .filter_map(|group| view.group_arn(&group.name).map(|arn| row(arn, group.weight)))
        .collect();
    let only = match forward.target_groups.as_slice() {
        [only] => view.group_arn(&only.name),
        _ => None,
    };
    let stickiness = Element::new("TargetGroupStickinessConfig").with_text("Enabled", forward.stickiness);
    let config =
        Element::new("ForwardConfig").with(Element::of_members("TargetGroups", rows)).with(stickiness);
    let action = Element::new("Action").with_text("Type", "forward").with_optional("TargetGroupArn", only);
    Element::of_members(name, [action.with_text("Order", 1).with(config)])
}

fn forward(action: &Parameters<'_>, view: &View<'_>) -> Result<ForwardRequest, Fault> {
    match action.choice("Type", &KINDS)? {
        None => return Err(action.missing("Type")),
        Some(Kind::Forward) => {}
        Some(Kind::Application) => {
            let message =
                "The action of a network load balancer's listener or rule must be of type 'forward'";
            return Err(Fault::new("InvalidLoadBalancerAction", message));
        }
    }
    action.allow_only(&["Type", "Order", "TargetGroupArn", "ForwardConfig"])?;
    action.number("Order", 1..=LAST_ORDER)?;
    let config = action.structure("ForwardConfig");
    config.allow_only(&["TargetGroups", "TargetGroupStickinessConfig"])?;
    let weighted = config.list("TargetGroups")?;
    let target_groups = match (action.text("TargetGroupArn"), weighted.as_slice()) {
        (None, []) => {
            Err(Fault::new("InvalidLoadBalancerAction", "A forward action must name a target group"))
        }
        (Some(arn), []) => Ok(vec![(Ref::Id(view.target_group(arn)?.id), WEIGHT_DEFAULT)]),
        (Some(arn), [only]) if only.text("TargetGroupArn") == Some(arn) => Ok(vec![share(only, view)?]),
        (Some(_), _) => Err(Fault::new(
            "InvalidLoadBalancerAction",
            "A forward action has a target group ARN or a forward configuration, not both, unless they name the same group",
        )),
        (None, weighted) => weighted.iter().map(|row| share(row, view)).collect(),
    };
    Ok(ForwardRequest { target_groups: target_groups?, stickiness: stickiness(&config)? })
}

/// A target group with its weight.
fn share(row: &Parameters<'_>, view: &View<'_>) -> Result<(Ref, u16), Fault> {
    row.allow_only(&["TargetGroupArn", "Weight"])?;
    let group = view.target_group(row.required_text("TargetGroupArn")?)?;
    Ok((Ref::Id(group.id), row.number("Weight", 0..=LAST_WEIGHT)?.unwrap_or(WEIGHT_DEFAULT)))
}

fn stickiness(config: &Parameters<'_>) -> Result<bool, Fault> {
    let stickiness = config.structure("TargetGroupStickinessConfig");
    stickiness.allow_only(&["Enabled", "DurationSeconds"])?;
    if stickiness.has("DurationSeconds") {
        return Err(Fault::configuration(
            "Target group stickiness of a network load balancer has no duration: leave DurationSeconds out",
        ));
    }
    Ok(stickiness.boolean("Enabled")?.unwrap_or(false))
}

/// Kinds of actions.
#[derive(Clone, Copy)]
enum Kind {
    Forward,
    /// An application load balancer's.
    Application,
}

const KINDS: [(&str, Kind); 6] = [
    ("forward", Kind::Forward),
    ("authenticate-oidc", Kind::Application),
    ("authenticate-cognito", Kind::Application),
    ("redirect", Kind::Application),
    ("fixed-response", Kind::Application),
    ("jwt-validation", Kind::Application),
];

const LAST_ORDER: u16 = 50_000;
const LAST_WEIGHT: u16 = 999;
const WEIGHT_DEFAULT: u16 = 1;

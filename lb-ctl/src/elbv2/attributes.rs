//! Attributes of load balancers, target groups and listeners: all, those that somebody set over the defaults.

use super::{
    fault::Fault, form::Parameters, listeners, load_balancers, target_groups, view::View, xml::Element,
};
use crate::{
    change::{AttributeChanges, Change, ListenerRef, Ref},
    objects::{Attribute, Id},
};

pub(super) fn modify_load_balancer(
    parameters: &Parameters<'_>,
    view: &View<'_>,
) -> Result<Option<Change>, Fault> {
    let load_balancer = Ref::Id(load_balancers::of(parameters, view)?.id);
    Ok(Some(Change::ModifyLoadBalancerAttributes { load_balancer, attributes: changes(parameters)? }))
}

pub(super) fn of_load_balancer(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    Ok(element(load_balancers::of(parameters, view)?.all_attributes()))
}

pub(super) fn load_balancer_modified(
    parameters: &Parameters<'_>,
    view: &View<'_>,
    _: Option<Id>,
) -> Result<Element, Fault> {
    of_load_balancer(parameters, view)
}

pub(super) fn modify_target_group(
    parameters: &Parameters<'_>,
    view: &View<'_>,
) -> Result<Option<Change>, Fault> {
    let target_group = Ref::Id(target_groups::of(parameters, view)?.id);
    Ok(Some(Change::ModifyTargetGroupAttributes { target_group, attributes: changes(parameters)? }))
}

pub(super) fn of_target_group(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    Ok(element(target_groups::of(parameters, view)?.all_attributes()))
}

pub(super) fn target_group_modified(
    parameters: &Parameters<'_>,
    view: &View<'_>,
    _: Option<Id>,
) -> Result<Element, Fault> {
    of_target_group(parameters, view)
}

pub(super) fn modify_listener(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let listener = ListenerRef::Id(listeners::of(parameters, view)?.1.id);
    Ok(Some(Change::ModifyListenerAttributes { listener, attributes: changes(parameters)? }))
}

pub(super) fn of_listener(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    let (_, listener) = listeners::of(parameters, view)?;
    Ok(element(listener.all_attributes()))
}

pub(super) fn listener_modified(
    parameters: &Parameters<'_>,
    view: &View<'_>,
    _: Option<Id>,
) -> Result<Element, Fault> {
    of_listener(parameters, view)
}

/// Parameter `Attributes`.
fn changes(parameters: &Parameters<'_>) -> Result<AttributeChanges, Fault> {
    let mut changes = AttributeChanges::new();
    for attribute in parameters.required_list("Attributes")? {
        attribute.allow_only(&["Key", "Value"])?;
        let key = attribute.required_text("Key")?;
        let value = attribute.text("Value").ok_or_else(|| attribute.missing("Value"))?;
        if changes.insert(key.into(), Some(value.into())).is_some() {
            return Err(Fault::validation(format!("The attribute '{key}' is specified twice")));
        }
    }
    Ok(changes)
}

fn element(attributes: Vec<Attribute<'_>>) -> Element {
    let element = |row: Attribute<'_>| {
        Element::new("Attribute").with_text("Key", row.key).with_text("Value", row.value)
    };
    Element::new("Result").with(Element::of_members("Attributes", attributes.into_iter().map(element)))
}

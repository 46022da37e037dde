//! Tags: what an operator notes beside objects.

use super::{
    fault::Fault,
    form::Parameters,
    view::{Tagged, View},
    xml::Element,
};
use crate::{
    change::{Change, ListenerRef, Ref, ResourceRef},
    objects::Tags,
};

pub(super) fn add(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    parameters.required_list("Tags")?;
    Ok(Some(Change::Tag {
        resources: resources(parameters, view)?,
        set: read(parameters)?,
        remove: Vec::new(),
    }))
}

pub(super) fn remove(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let keys = parameters.required_texts("TagKeys")?;
    let remove = keys.into_iter().map(String::from).collect();
    Ok(Some(Change::Tag { resources: resources(parameters, view)?, set: Tags::new(), remove }))
}

pub(super) fn describe(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    let arns = parameters.required_texts("ResourceArns")?;
    if arns.len() > RESOURCES {
        let message = format!("At most {RESOURCES} resources can be specified, and {} are", arns.len());
        return Err(Fault::validation(message));
    }
    let none = Tags::new();
    let description = |arn: &&str| {
        let tags = match view.tagged(arn)? {
            Tagged::LoadBalancer(lb) => &lb.tags,
            Tagged::Listener(listener) => &listener.tags,
            Tagged::Rule(rule) => &rule.tags,
            Tagged::DefaultRule => &none,
            Tagged::TargetGroup(group) => &group.tags,
        };
        Ok(Element::new("TagDescription").with_text("ResourceArn", arn).with(element(tags)))
    };
    let descriptions = arns.iter().map(description).collect::<Result<Vec<_>, Fault>>()?;
    Ok(Element::new("Result").with(Element::of_members("TagDescriptions", descriptions)))
}

/// Parameter `Tags`.
pub(super) fn read(parameters: &Parameters<'_>) -> Result<Tags, Fault> {
    let mut tags = Tags::new();
    for tag in parameters.list("Tags")? {
        tag.allow_only(&["Key", "Value"])?;
        let key = tag.required_text("Key")?;
        let value = tag.text("Value").unwrap_or_default();
        for (name, text, characters) in [("Key", key, KEY_CHARACTERS), ("Value", value, VALUE_CHARACTERS)] {
            if text.chars().count() > characters || !text.chars().all(is_allowed) {
                return Err(tag.refuse(name, TEXT_EXPECTED));
            }
        }
        if key.starts_with("aws:") {
            return Err(Fault::validation(format!("The tag key '{key}' cannot begin with 'aws:'")));
        }
        if tags.insert(key.into(), value.into()).is_some() {
            return Err(Fault::new("DuplicateTagKeys", format!("The tag key '{key}' is specified twice")));
        }
    }
    Ok(tags)
}

fn resources(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Vec<ResourceRef>, Fault> {
    let resource = |arn: &str| {
        Ok(match view.tagged(arn)? {
            Tagged::LoadBalancer(lb) => ResourceRef::LoadBalancer(Ref::Id(lb.id)),
            Tagged::Listener(listener) => ResourceRef::Listener(ListenerRef::Id(listener.id)),
            Tagged::Rule(rule) => ResourceRef::Rule(rule.id),
            Tagged::DefaultRule => {
                return Err(Fault::validation(format!(
                    "The default rule '{arn}' has no tags: tag its listener"
                )));
            }
            Tagged::TargetGroup(group) => ResourceRef::TargetGroup(Ref::Id(group.id)),
        })
    };
    parameters.required_texts("ResourceArns")?.into_iter().map(resource).collect()
}

fn element(tags: &Tags) -> Element {
    let tag = |(key, value)| Element::new("Tag").with_text("Key", key).with_text("Value", value);
    Element::of_members("Tags", tags.iter().map(tag))
}

/// Letters, digits and spaces of any script, and some signs.
fn is_allowed(character: char) -> bool {
    character.is_alphanumeric() || character.is_whitespace() || "_.:/=+-@".contains(character)
}

const KEY_CHARACTERS: usize = 128;
const VALUE_CHARACTERS: usize = 256;
const TEXT_EXPECTED: &str =
    "Member must be at most 128 (a key) or 256 (a value) letters, digits, spaces and _.:/=+-@";

/// Resources of one `DescribeTags`.
const RESOURCES: usize = 20;

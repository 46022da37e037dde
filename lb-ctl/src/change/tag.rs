//! Tags.

use super::{ResourceRef, rule::rule_at};
use crate::{
    api::{Refusal, RefusalCode},
    config::TAGS,
    objects::{Objects, Tags},
};

/// Sets and removes tags of all the resources, or of none.
pub(super) fn change(
    objects: &mut Objects,
    resources: &[ResourceRef],
    set: &Tags,
    remove: &[String],
) -> Result<(), Refusal> {
    for resource in resources {
        let tags = tags_of(objects, resource)?;
        remove.iter().for_each(|key| drop(tags.remove(key)));
        tags.extend(set.clone());
        if tags.len() > TAGS {
            return Err(Refusal::of(RefusalCode::TooManyTags, format!("a resource can have {TAGS} tags")));
        }
    }
    Ok(())
}

fn tags_of<'o>(objects: &'o mut Objects, resource: &ResourceRef) -> Result<&'o mut Tags, Refusal> {
    Ok(match resource {
        ResourceRef::LoadBalancer(lb) => {
            let at = objects.load_balancer_at(lb)?;
            &mut objects.load_balancers[at].tags
        }
        ResourceRef::Listener(listener) => {
            let (lb, at) = objects.listener_at(listener)?;
            &mut objects.load_balancers[lb].listeners[at].tags
        }
        ResourceRef::Rule(rule) => {
            let (lb, listener, at) = rule_at(objects, *rule)?;
            &mut objects.load_balancers[lb].listeners[listener].rules[at].tags
        }
        ResourceRef::TargetGroup(group) => {
            let at = objects.group_at(group)?;
            &mut objects.target_groups[at].tags
        }
    })
}

//! Rules of listeners.

use super::{ForwardRequest, ListenerRef, NewRule, listener::forward};
use crate::{
    api::{Refusal, RefusalCode},
    config::Family,
    objects::{Id, Objects, Rule},
};

/// Makes a rule.
pub(super) fn create(objects: &mut Objects, listener: &ListenerRef, new: NewRule) -> Result<Id, Refusal> {
    let (lb_at, at) = objects.listener_at(listener)?;
    let lb = &objects.load_balancers[lb_at];
    let owner = &lb.listeners[at];
    if !lb.is_dualstack() {
        return Err(Refusal::of(
            RefusalCode::InvalidConfigurationRequest,
            format!(
                "load balancer {:?} is not dualstack: listener rules choose by the client's family",
                lb.name
            ),
        ));
    }
    if owner.rules.iter().any(|rule| rule.priority == new.priority) {
        return Err(in_use(new.priority));
    }
    if owner.rules.len() >= RULES {
        let error = format!("a listener can have {RULES} rules");
        return Err(Refusal::of(RefusalCode::TooManyRules, error));
    }
    let forward = forward(objects, lb_at, owner.protocol, &new.forward)?;
    let id = Id::fresh();
    let rules = &mut objects.load_balancers[lb_at].listeners[at].rules;
    rules.push(Rule { id, priority: new.priority, source: new.source, forward, tags: new.tags });
    rules.sort_by_key(|rule| rule.priority);
    Ok(id)
}

/// Changes what is given.
pub(super) fn modify(
    objects: &mut Objects,
    rule: Id,
    source: Option<Family>,
    request: Option<ForwardRequest>,
) -> Result<Id, Refusal> {
    let (lb_at, listener, at) = rule_at(objects, rule)?;
    let protocol = objects.load_balancers[lb_at].listeners[listener].protocol;
    let forward = request.map(|request| forward(objects, lb_at, protocol, &request)).transpose()?;
    let known = &mut objects.load_balancers[lb_at].listeners[listener].rules[at];
    known.source = source.unwrap_or(known.source);
    known.forward = forward.unwrap_or_else(|| known.forward.clone());
    Ok(known.id)
}

/// Removes a rule.
pub(super) fn delete(objects: &mut Objects, rule: Id) -> Result<Id, Refusal> {
    let (lb, listener, at) = rule_at(objects, rule)?;
    Ok(objects.load_balancers[lb].listeners[listener].rules.remove(at).id)
}

/// Gives rules of listeners other priorities, all at once: two may change places.
pub(super) fn set_priorities(objects: &mut Objects, priorities: &[(Id, u16)]) -> Result<(), Refusal> {
    for (rule, priority) in priorities {
        let (lb, listener, at) = rule_at(objects, *rule)?;
        objects.load_balancers[lb].listeners[listener].rules[at].priority = *priority;
    }
    for listener in objects.load_balancers.iter_mut().flat_map(|lb| &mut lb.listeners) {
        listener.rules.sort_by_key(|rule| rule.priority);
        let twice = listener.rules.windows(2).find(|pair| pair[0].priority == pair[1].priority);
        if let Some(pair) = twice {
            return Err(in_use(pair[0].priority));
        }
    }
    Ok(())
}

/// The indexes of a rule's load balancer, its listener and itself.
pub(super) fn rule_at(objects: &Objects, rule: Id) -> Result<(usize, usize, usize), Refusal> {
    for (lb_at, lb) in objects.load_balancers.iter().enumerate() {
        for (listener_at, listener) in lb.listeners.iter().enumerate() {
            if let Some(at) = listener.rules.iter().position(|known| known.id == rule) {
                return Ok((lb_at, listener_at, at));
            }
        }
    }
    Err(Refusal::of(RefusalCode::RuleNotFound, format!("there is no rule {rule}")))
}

fn in_use(priority: u16) -> Refusal {
    Refusal::of(RefusalCode::PriorityInUse, format!("priority {priority} is currently in use"))
}

/// Most rules of a listener.
pub const RULES: usize = 100;

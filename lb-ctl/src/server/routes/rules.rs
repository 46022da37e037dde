//! Rules of a listener.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    Api,
    changes::{Caller, read},
    extract::{Json, Segments},
    listeners::named,
    several,
};
use crate::{
    api::{NewRuleBody, Refusal, RefusalCode, RulePatch, RulePriorities},
    change::{Change, ListenerRef, NewRule, ResourceRef},
    objects::{Id, Objects, Rule},
    server::{Call, answer::ask},
};

pub(super) async fn list(State(api): State<Api>, place: Segments<(String, String)>) -> Response {
    read(&api, |snapshot| Ok(rules(&snapshot.objects, &named(place)?)?.to_vec())).await
}

pub(super) async fn create(
    State(api): State<Api>,
    place: Segments<(String, String)>,
    caller: Caller,
    Json(new): Json<NewRuleBody>,
) -> Result<Response, Refusal> {
    let NewRuleBody { priority, source, forward, tags } = new;
    let rule = NewRule { priority, source, forward: forward.into(), tags };
    Ok(caller.change(&api, Change::CreateRule { listener: named(place)?, rule }).await)
}

pub(super) async fn show(State(api): State<Api>, place: Segments<(String, String, String)>) -> Response {
    read(&api, |snapshot| Ok(find(&snapshot.objects, place)?.clone())).await
}

pub(super) async fn modify(
    State(api): State<Api>,
    place: Segments<(String, String, String)>,
    caller: Caller,
    Json(patch): Json<RulePatch>,
) -> Result<Response, Response> {
    let rule = id(&api, place).await?;
    let RulePatch { priority, source, forward, tags } = patch;
    let forward = forward.map(Into::into);
    let is_other = source.is_some() || forward.is_some();
    let other = is_other.then_some(Change::ModifyRule { rule, source, forward });
    let priority = priority.map(|priority| Change::SetRulePriorities(vec![(rule, priority)]));
    let tags = tags.map(|tags| tags.change(ResourceRef::Rule(rule)));
    Ok(several(&api, caller, [other, priority, tags]).await)
}

pub(super) async fn reorder(
    State(api): State<Api>,
    place: Segments<(String, String)>,
    caller: Caller,
    Json(RulePriorities { priorities }): Json<RulePriorities>,
) -> Result<Response, Response> {
    let Segments((load_balancer, listener)) = place;
    let snapshot = ask(&api.deliver, Call::Snapshot).await?;
    let moved = priorities.into_iter().map(|(from, to)| {
        let place = Segments((load_balancer.clone(), listener.clone(), from.to_string()));
        Ok((find(&snapshot.objects, place)?.id, to))
    });
    let moved = moved.collect::<Result<Vec<(Id, u16)>, Refusal>>().map_err(IntoResponse::into_response)?;
    Ok(caller.change(&api, Change::SetRulePriorities(moved)).await)
}

pub(super) async fn delete(
    State(api): State<Api>,
    place: Segments<(String, String, String)>,
    caller: Caller,
) -> Result<Response, Response> {
    let rule = id(&api, place).await?;
    Ok(caller.change(&api, Change::DeleteRule(rule)).await)
}

/// The rule that has a priority now: it stays the same one whatever priority others give it meanwhile.
async fn id(api: &Api, place: Segments<(String, String, String)>) -> Result<Id, Response> {
    let snapshot = ask(&api.deliver, Call::Snapshot).await?;
    find(&snapshot.objects, place).map(|rule| rule.id).map_err(IntoResponse::into_response)
}

fn find(
    objects: &Objects,
    Segments((load_balancer, listener, priority)): Segments<(String, String, String)>,
) -> Result<&Rule, Refusal> {
    let listener = named(Segments((load_balancer, listener)))?;
    let is_it = |rule: &&Rule| priority.parse() == Ok(rule.priority);
    rules(objects, &listener)?.iter().find(is_it).ok_or_else(|| {
        let error = format!("listener {listener} has no rule of priority {priority:?}");
        Refusal::of(RefusalCode::RuleNotFound, error)
    })
}

fn rules<'o>(objects: &'o Objects, listener: &ListenerRef) -> Result<&'o [Rule], Refusal> {
    let (lb, listener) = objects.listener_at(listener)?;
    Ok(&objects.load_balancers[lb].listeners[listener].rules)
}

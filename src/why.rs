//! Why packets fare as they do: what the workers say of them, told in the words of the configuration.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_core::{
    datapath::{FlowFate, Outlook, TranslationCause, Why},
    flow::{Direction, State},
    select::Selection,
    steer::{AddressKey, role},
    tables::{Endpoint, Listener, ListenerId, Tables, TargetId, WeightedGroup},
    verdict::Reason,
};
use lb_ctl::{
    api::{
        self, Bypass, BypassSign, Refusal, RefusalCode, TargetRow, WhyAddress, WhyFlow, WhyListener,
        WhyNextHop, WhyRule, WhySelection, WhySender, WhySource, WhyVerdict, WhyWeight,
    },
    config::{self, Family, LoadBalancer, Vip},
};

use crate::{bypass, control::Control, questions::Answered, report};

impl Control {
    /// Answers a question that the workers have answered.
    pub(crate) fn explain(&self, answered: Answered) {
        let Answered { query, said, silent, reply } = answered;
        match most_telling(said) {
            Some(why) => {
                let answer = self.told(&query, &why);
                reply.send(api::Why { silent_workers: silent, ..answer });
            }
            None => {
                reply.refuse(Refusal::of(RefusalCode::ServiceUnavailable, "no worker has answered in time"))
            }
        }
    }

    fn told(&self, query: &api::WhyQuery, why: &Why) -> api::Why {
        let tables = &why.tables;
        let listener_id = listener_of(why);
        let listener = listener_id.and_then(|id| tables.listener(id));
        let target = self.target_of(why);
        let bypass = self.bypass_of(why, target.as_ref());
        let has_worker = why.flow.is_some() || why.is_home && why.outlook != Outlook::Nobody;
        api::Why {
            protocol: query.protocol().name().into(),
            from: query.client,
            to: query.vip,
            sender: sender(why),
            verdict: self.reason(query, why).into(),
            stray: stray(query, why),
            address: self.address(query.vip.ip()),
            listener: listener.map(|listener| self.told_listener(tables, listener)),
            other_listeners: if listener.is_none() {
                listeners_of(tables, query.vip.ip())
            } else {
                Vec::new()
            },
            flow: why.flow.as_ref().map(told_flow),
            selection: selection_of(why)
                .and_then(|(listener, selection)| self.told_selection(tables, listener, selection)),
            source: source(why, query.client, target.as_ref()),
            next_hop: target_id(why).and_then(|id| next_hop(tables, id)),
            target,
            bypass,
            worker: has_worker.then_some(why.worker),
            generation: tables.generation(),
            silent_workers: Vec::new(),
        }
    }

    /// How the target's replies go past: as its client's own flow shows, or else others.
    fn bypass_of(&self, why: &Why, target: Option<&TargetRow>) -> Option<Bypass> {
        let view = why.flow.as_ref().map(|flow| &flow.view);
        let own =
            view.filter(|view| view.state == State::AnsweredElsewhere.name() && view.source == view.client);
        match own {
            Some(view) => Some(bypass::shown_by(view, BypassSign::AnsweredElsewhere)),
            None => target?.bypass.clone(),
        }
    }

    /// The XDP program leaves to the kernel what has nothing to do with a listener.
    fn reason(&self, query: &api::WhyQuery, why: &Why) -> Reason {
        let has = |roles| {
            let entry = self.steering.addresses.get(&AddressKey::from(query.vip.ip()));
            entry.is_some_and(|entry| entry.roles & roles != 0)
        };
        let reason = why.reason();
        let is_nobodys = why.outlook == Outlook::Nobody
            && matches!(reason, Reason::NoListener | Reason::MartianSource | Reason::OwnSource);
        match () {
            () if is_nobodys && has(role::HOST) => Reason::PassHost,
            () if is_nobodys && !has(role::VIP) => Reason::PassNotOurs,
            () => reason,
        }
    }

    fn address(&self, address: IpAddr) -> WhyAddress {
        let entry = self.steering.addresses.get(&AddressKey::from(address));
        let found = self.vip(address);
        WhyAddress {
            address,
            load_balancer: found.map(|(lb, _)| lb.name.clone()),
            zone: found.and_then(|(_, vip)| vip.zone.clone()),
            pool: self.pool(address),
            is_host: entry.is_some_and(|entry| entry.roles & role::HOST != 0),
        }
    }

    fn pool(&self, address: IpAddr) -> Option<String> {
        let mut addresses = self.store.objects.load_balancers.iter().flat_map(|lb| &lb.addresses);
        addresses.find(|row| row.address == address)?.pool.clone()
    }

    fn vip(&self, address: IpAddr) -> Option<(&LoadBalancer, &Vip)> {
        let mut vips =
            self.store.config.load_balancers.iter().flat_map(|lb| lb.vips.iter().map(move |vip| (lb, vip)));
        vips.find(|(_, vip)| vip.address == address)
    }

    fn told_listener(&self, tables: &Tables, listener: &Listener) -> WhyListener {
        let weight = |row: &WeightedGroup| {
            let target_group = tables.group(row.group)?.name.to_string();
            Some(WhyWeight { target_group, weight: row.weight })
        };
        WhyListener {
            name: listener.name.to_string(),
            rule: self.rule(&listener.endpoint),
            forward: listener.forward.groups.iter().filter_map(weight).collect(),
            is_sticky: listener.forward.is_sticky,
            has_syn_cookies: listener.has_syn_cookies,
            idle_timeout_seconds: listener.idle_timeout_s,
        }
    }

    /// The rule that is for the clients of an endpoint, who are of its family.
    fn rule(&self, endpoint: &Endpoint) -> Option<WhyRule> {
        let has_endpoint = |listener: &&config::Listener| {
            listener.port == endpoint.port && listener.protocol.each().contains(&endpoint.protocol)
        };
        let listener = self.vip(endpoint.address)?.0.listeners.iter().find(has_endpoint)?;
        let rule = listener.rule_for(Family::of(endpoint.address))?;
        Some(WhyRule { priority: rule.priority, source: rule.source })
    }

    /// The target of a flow, or else the one that a new flow gets.
    fn target_of(&self, why: &Why) -> Option<TargetRow> {
        let id = target_id(why)?;
        let address = match why.flow.as_ref().filter(|flow| !flow.is_replaced()) {
            Some(flow) => SocketAddr::from(flow.view.target),
            None => address_of(&why.tables, id)?,
        };
        let mut rows = self.target_rows(|entry| entry.id == id);
        rows.pop().filter(|row| row.target == address)
    }

    fn told_selection(
        &self,
        tables: &Tables,
        listener: &Listener,
        selection: &Selection,
    ) -> Option<WhySelection> {
        let group = tables.group(selection.group)?;
        let pool = group.pools.get(usize::from(selection.pool))?;
        let zone = || self.vip(listener.endpoint.address)?.1.zone.clone();
        let name = |id: ListenerId| tables.listener(id).map(|listener| listener.name.to_string());
        let by = |is_sticky: bool| if is_sticky { "client_address" } else { "flow" };
        let address = |id: Option<TargetId>| address_of(tables, id?);
        Some(WhySelection {
            target_group: group.name.to_string(),
            group_by: (listener.forward.groups.len() > 1).then(|| by(listener.forward.is_sticky).into()),
            target_by: by(group.is_sticky).into(),
            zone: if group.pools.len() > 1 { zone() } else { None },
            eligible_targets: pool.eligible.len(),
            is_failing_open: pool.is_failing_open,
            slot: selection.slot,
            slots: pool.maglev.slots().len(),
            owner: address(selection.owner),
            taken_by: selection.sibling.and_then(name),
            target: address(selection.target),
            targets: match selection.target {
                Some(_) => Vec::new(),
                None => self.target_rows(|entry| *entry.key.group == *group.name),
            },
        })
    }
}

/// The worker with the flow says most, then the one that would have it.
fn most_telling(mut said: Vec<Why>) -> Option<Why> {
    let with_flow = said.iter().position(|why| why.flow.is_some());
    let at = with_flow.or_else(|| said.iter().position(|why| why.is_home)).unwrap_or(0);
    (at < said.len()).then(|| said.swap_remove(at))
}

fn sender(why: &Why) -> WhySender {
    match (&why.flow, &why.outlook) {
        (Some(FlowFate { direction: Direction::Forward, .. }), _) => WhySender::Client,
        (Some(FlowFate { direction: Direction::Reverse, .. }), _) => WhySender::Target,
        (None, Outlook::Client { .. }) => WhySender::Client,
        (None, Outlook::Target { .. }) => WhySender::Target,
        (None, Outlook::Nobody) => WhySender::Nobody,
    }
}

fn listener_of(why: &Why) -> Option<ListenerId> {
    match (&why.flow, &why.outlook) {
        (Some(flow), _) => Some(flow.view.listener),
        (None, Outlook::Client { listener, .. }) => Some(*listener),
        (None, Outlook::Target { origin, .. }) => *origin,
        (None, Outlook::Nobody) => None,
    }
}

/// What the hash selects, unless that comes to nothing.
fn selection_of(why: &Why) -> Option<(&Listener, &Selection)> {
    match &why.outlook {
        Outlook::Client { listener, selection: Some(selection), prospect }
            if !matches!(prospect.reason, Reason::OwnSource | Reason::MartianSource) =>
        {
            Some((why.tables.listener(*listener)?, selection))
        }
        _ => None,
    }
}

/// What a TCP packet of no flow meets that does not open one.
fn stray(query: &api::WhyQuery, why: &Why) -> Option<WhyVerdict> {
    match &why.outlook {
        Outlook::Client { prospect, .. } if why.flow.is_none() && query.protocol().name() == "TCP" => {
            Some(prospect.stray.into())
        }
        _ => None,
    }
}

/// The names of the listeners on an address.
fn listeners_of(tables: &Tables, address: IpAddr) -> Vec<String> {
    let listeners = tables.listeners().iter().flatten();
    let own = listeners.filter(|row| row.endpoint.address == address && !row.forward.is_closing());
    own.map(|row| row.name.to_string()).collect()
}

fn told_flow(flow: &FlowFate) -> WhyFlow {
    WhyFlow {
        row: flow.view.into(),
        is_reply: flow.direction == Direction::Reverse,
        is_over: flow.is_over,
        cut: flow.cut.map(|cause| cause.name().into()),
    }
}

/// Whom the target sees.
fn source(why: &Why, client: SocketAddr, target: Option<&TargetRow>) -> Option<WhySource> {
    let none = WhySource { address: None, cause: None, addresses: Vec::new(), ports: None };
    if let Some(flow) = why.flow.as_ref().filter(|flow| !flow.is_replaced()) {
        let cause = cause_of(&why.tables, flow).map(|cause| cause.name().into());
        return Some(WhySource { address: Some(flow.view.source.into()), cause, ..none });
    }
    let Outlook::Client { listener, prospect, .. } = &why.outlook else { return None };
    let (target, listener) = (target?, why.tables.listener(*listener)?);
    let Some(cause) = prospect.translated else {
        return Some(WhySource { address: Some(client), ..none });
    };
    let is_of_family = |address: &&IpAddr| address.is_ipv4() == target.target.is_ipv4();
    let ports = &listener.sources.ports;
    Some(WhySource {
        cause: Some(cause.name().into()),
        addresses: listener.sources.addresses.iter().filter(is_of_family).copied().collect(),
        ports: Some((*ports.start(), *ports.end())),
        ..none
    })
}

/// Why a flow's target sees another source than the client, as far as the tables of today tell.
fn cause_of(tables: &Arc<Tables>, flow: &FlowFate) -> Option<TranslationCause> {
    let view = &flow.view;
    let target = tables.target(view.target_id).filter(|_| view.source != view.client)?;
    TranslationCause::of(tables, view.client.0, target)
}

/// The target of a flow, or else the one that a new flow gets, or that sends.
fn target_id(why: &Why) -> Option<TargetId> {
    match (why.flow.as_ref().filter(|flow| !flow.is_replaced()), &why.outlook) {
        (Some(flow), _) => Some(flow.view.target_id),
        (None, Outlook::Client { prospect, .. }) => prospect.target,
        (None, Outlook::Target { target, .. }) => Some(*target),
        (None, Outlook::Nobody) => None,
    }
}

fn next_hop(tables: &Tables, id: TargetId) -> Option<WhyNextHop> {
    let hop = tables.target(id)?.next_hop?;
    let interface = tables.interface(hop.interface)?.name.to_string();
    Some(WhyNextHop { mac: report::text(hop.mac), interface })
}

fn address_of(tables: &Tables, id: TargetId) -> Option<SocketAddr> {
    tables.target(id).map(|target| (target.address, target.port).into())
}

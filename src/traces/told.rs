//! What a worker has noted of a frame, told in the configuration's words.

use std::net::SocketAddr;

use lb_core::{
    datapath::{FlowFate, Outlook, Why},
    flow::Direction,
    verdict::{Action, Reason},
};
use lb_ctl::{
    api::{TraceOrigin, TraceSelection, TracedFrame, WhyFlow, WhySender, WhyVerdict},
    packet_head::packet_head,
    timestamp::rfc3339_ns,
};
use lb_io::engine::{Glimpse, Note, Origin};

/// A note in words; `at_ns` is its time in nanoseconds since 1970.
pub(super) fn told(note: &Note, interfaces: &[String], at_ns: u64) -> TracedFrame {
    let name = |number: u8| interfaces.get(usize::from(number)).cloned();
    let head = |frame: &Glimpse| packet_head(&frame.bytes, frame.length);
    let action = note.reason.action();
    let leaves = matches!(action, Action::Transmit | Action::Reply);
    let (origin, queue) = match note.origin {
        Origin::Queue(queue) => (TraceOrigin::Queue, Some(queue)),
        Origin::Worker => (TraceOrigin::Worker, None),
        Origin::Own => (TraceOrigin::Own, None),
    };
    let flow = note.why.as_ref().and_then(|why| why.flow.as_ref()).filter(|_| !opens(note.reason));
    TracedFrame {
        at: rfc3339_ns(at_ns),
        worker: note.worker,
        origin,
        interface: name(note.ingress.0).unwrap_or_default(),
        queue,
        before: note.before.as_ref().map(head),
        sender: note.why.as_ref().filter(|_| origin != TraceOrigin::Own).map(|why| sender(why, flow)),
        listener: note.why.as_ref().and_then(|why| listener(why, flow)),
        flow: flow.map(|flow| told_flow(flow, origin)),
        selection: note.why.as_ref().filter(|_| flow.is_none()).and_then(|why| selection(note, why)),
        after: note.after.as_ref().map(head),
        out: leaves.then(|| name(note.verdict.port)).flatten(),
        to_worker: (action == Action::HandOver).then_some(note.verdict.port),
        verdict: WhyVerdict::from(note.reason),
    }
}

/// Whether a packet was the first of a flow, or of none, so that its target was selected whatever there was before.
fn opens(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::FlowNew | Reason::FlowAdopted | Reason::Stateless | Reason::SynCookie | Reason::SynToTarget
    )
}

fn sender(why: &Why, flow: Option<&FlowFate>) -> WhySender {
    match (flow.map(|flow| flow.direction), &why.outlook) {
        (Some(Direction::Forward), _) | (None, Outlook::Client { .. }) => WhySender::Client,
        (Some(Direction::Reverse), _) | (None, Outlook::Target { .. }) => WhySender::Target,
        (None, Outlook::Nobody) => WhySender::Nobody,
    }
}

fn listener(why: &Why, flow: Option<&FlowFate>) -> Option<String> {
    let id = match (flow, &why.outlook) {
        (Some(flow), _) => Some(flow.view.listener),
        (None, Outlook::Client { listener, .. }) => Some(*listener),
        (None, Outlook::Target { origin, .. }) => *origin,
        (None, Outlook::Nobody) => None,
    };
    Some(why.tables.listener(id?)?.name.to_string())
}

/// A frame of the load balancer's own was looked up by its answers, which go the other way.
fn told_flow(flow: &FlowFate, origin: TraceOrigin) -> WhyFlow {
    WhyFlow {
        row: flow.view.into(),
        is_reply: (flow.direction == Direction::Reverse) != (origin == TraceOrigin::Own),
        is_over: flow.is_over,
        cut: flow.cut.map(|cause| cause.name().into()),
    }
}

/// How the target was selected, where one was asked for.
fn selection(note: &Note, why: &Why) -> Option<TraceSelection> {
    let Outlook::Client { selection: Some(selection), prospect, .. } = &why.outlook else { return None };
    let is_asked_for = opens(note.reason)
        || matches!(
            note.reason,
            Reason::NoTarget
                | Reason::ResetNoTarget
                | Reason::NextHopUnresolved
                | Reason::NoSourcePort
                | Reason::NoSource
                | Reason::ClientPorts
                | Reason::TupleCollision
                | Reason::FlowTableFull
        );
    if !is_asked_for || note.origin == Origin::Own {
        return None;
    }
    let group = why.tables.group(selection.group)?;
    let pool = group.pools.get(usize::from(selection.pool))?;
    let address = |id| why.tables.target(id).map(|target| SocketAddr::from((target.address, target.port)));
    Some(TraceSelection {
        target_group: group.name.to_string(),
        slot: selection.slot,
        slots: pool.maglev.slots().len(),
        owner: selection.owner.and_then(address),
        target: sent_to(note).or_else(|| prospect.target.and_then(address)),
    })
}

/// The target that a client's packet went to. Once it has, the tables alone would name another, for its flow takes the place.
fn sent_to(note: &Note) -> Option<SocketAddr> {
    let after = note.after.as_ref().filter(|_| note.verdict.reason.action() == Action::Transmit)?;
    let head = packet_head(&after.bytes, after.length);
    Some(SocketAddr::from((head.destination?, head.destination_port?)))
}

//! A record: what is told of a flow, as a line of JSON. Its fields are those of NLB's access log that make sense for TCP and UDP (NLB
//! "Access log entries"), and what else operators ask for. Names stay; new ones may come.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    time::{Duration, SystemTime},
};

use lb_core::{flow_log::EndedFlow, time::Instant};
use serde::Serialize;

use super::names::Names;
use crate::timestamp::rfc3339_millis;

/// What one look at both clocks said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) monotonic: Instant,
    pub(super) wall: SystemTime,
}

/// A record. Directions are seen from the load balancer, as NLB does: it receives from the client and sends to the client.
#[derive(Debug, Serialize)]
pub(super) struct Record<'n> {
    #[serde(rename = "type")]
    kind: &'static str,
    version: u32,
    time: String,
    start_time: Option<String>,
    connection_time_ms: Option<u64>,
    load_balancer: Option<&'n str>,
    listener: Option<&'n str>,
    protocol: &'static str,
    client_ip: IpAddr,
    client_port: u16,
    destination_ip: IpAddr,
    destination_port: u16,
    target_group: Option<&'n str>,
    target_ip: IpAddr,
    target_port: u16,
    source_nat_ip: Option<IpAddr>,
    source_nat_port: Option<u16>,
    received_bytes: Option<u64>,
    received_packets: Option<u64>,
    sent_bytes: Option<u64>,
    sent_packets: Option<u64>,
    close_reason: &'static str,
    state: &'static str,
    hairpin: bool,
    adopted: Option<bool>,
    worker: u8,
    sample: NonZeroU32,
}

impl Record<'_> {
    /// What is told of a flow, one of `sample`.
    pub(super) fn new<'n>(
        flow: &EndedFlow,
        names: &'n Names,
        clocks: Clocks,
        sample: NonZeroU32,
    ) -> Record<'n> {
        let EndedFlow { view, tally, reason, .. } = flow;
        let began = tally.map(|tally| tally.began());
        // It is known to the millisecond, where the beginning is to the microsecond.
        let ended = flow.ended(clocks.monotonic).max(began.unwrap_or_default());
        let listener = names.listener(view);
        let is_source_ours = view.source != view.client;
        let source = Some(view.source).filter(|_| is_source_ours);
        let count = |count: fn([u64; 2]) -> u64, of: Option<[u64; 2]>| of.map(count);
        let (bytes, packets) = (tally.map(|tally| tally.bytes), tally.map(|tally| tally.packets));
        Record {
            kind: "flow",
            version: VERSION,
            time: clocks.wall_time(ended),
            start_time: began.map(|began| clocks.wall_time(began)),
            connection_time_ms: began.map(|began| (ended.nanos() - began.nanos()) / 1_000_000),
            load_balancer: listener.and_then(|name| name.split(['@', '/']).next()),
            listener,
            protocol: view.protocol.name(),
            client_ip: view.client.0,
            client_port: view.client.1,
            destination_ip: view.vip.0,
            destination_port: view.vip.1,
            target_group: names.target_group(view),
            target_ip: view.target.0,
            target_port: view.target.1,
            source_nat_ip: source.map(|source| source.0),
            source_nat_port: source.map(|source| source.1),
            received_bytes: count(|[received, _]| received, bytes),
            received_packets: count(|[received, _]| received, packets),
            sent_bytes: count(|[_, sent]| sent, bytes),
            sent_packets: count(|[_, sent]| sent, packets),
            close_reason: reason.name(),
            state: view.state,
            hairpin: is_source_ours && view.client.0 == view.target.0,
            adopted: tally.map(|tally| tally.is_adopted()),
            worker: view.worker,
            sample,
        }
    }

    /// Appends the record to lines.
    pub(super) fn write(&self, lines: &mut Vec<u8>) {
        // Its numbers and strings are all JSON can say, and a vector takes them all.
        let _ = serde_json::to_writer(&mut *lines, self);
        lines.push(b'\n');
    }
}

impl Clocks {
    /// The time of day of a moment.
    fn wall_time(self, moment: Instant) -> String {
        let since = Duration::from_nanos(self.monotonic.nanos().saturating_sub(moment.nanos()));
        rfc3339_millis(self.wall.checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH))
    }
}

/// Goes up when a field changes its meaning.
const VERSION: u32 = 1;

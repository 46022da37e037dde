//! Following live frames: which are asked for, and what is told of each.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
};

use lb_core::{datapath::Parties, listener::ListenerId, verdict::Reason};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AddressFilter, ProtocolName, Refusal, RefusalCode, WhyFlow, WhySender, WhyVerdict};

/// The query of `GET /v1/trace` and `GET /v1/capture`: frames that have everything that is named, both ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TraceQuery {
    /// Protocol.
    pub protocol: Option<ProtocolName>,
    /// Client.
    pub client: Option<AddressFilter>,
    /// Listener's end.
    pub vip: Option<AddressFilter>,
    /// Target: of the flow, or else the one that would be selected.
    pub target: Option<AddressFilter>,
    /// Name of the listener, such as `edge/TCP:80`, or `edge/80`.
    pub listener: Option<String>,
    /// What frames are counted under.
    pub reason: Option<ReasonName>,
    /// Only one in so many of these frames.
    pub sample: Option<u32>,
    /// End after so many frames, up to 1,000,000; by default 1,000, or 100,000 of a capture.
    pub count: Option<u64>,
    /// End after so many seconds, up to 3,600; by default 60.
    pub seconds: Option<u32>,
    /// Most bytes of a frame in a capture; by default all. A trace has none.
    pub snap: Option<u32>,
}

impl TraceQuery {
    /// Refuses what is out of its range, by name.
    pub fn check(&self) -> Result<(), Refusal> {
        let row = |key, value: Option<u64>, range| (key, value, range);
        let rows = [
            row("sample", self.sample.map(u64::from), 1..=u64::from(u32::MAX)),
            row("count", self.count, TRACED_FRAMES),
            row("seconds", self.seconds.map(u64::from), TRACE_SECONDS),
            row("snap", self.snap.map(u64::from), SNAP_BYTES),
        ];
        for (key, value, range) in rows {
            if value.is_some_and(|value| !range.contains(&value)) {
                let error = format!("{key} is a number from {} to {}", range.start(), range.end());
                return Err(Refusal::of(RefusalCode::ValidationError, error).at(key));
            }
        }
        Ok(())
    }

    /// Whether it asks for packets of certain parties, so that frames without a packet are left out.
    pub fn names_parties(&self) -> bool {
        let Self { protocol, client, vip, target, listener, .. } = self;
        protocol.is_some() || client.is_some() || vip.is_some() || target.is_some() || listener.is_some()
    }

    /// Whether packets of these parties are asked for, where the listener that it names has these numbers.
    pub fn matches(&self, parties: &Parties, listeners: &[ListenerId]) -> bool {
        let is_at = |filter: &Option<AddressFilter>, end: Option<(IpAddr, u16)>| {
            filter.is_none_or(|filter| end.is_some_and(|end| filter.matches(end)))
        };
        self.protocol.is_none_or(|protocol| protocol.0 == parties.protocol)
            && is_at(&self.client, Some(parties.client))
            && is_at(&self.vip, parties.vip)
            && is_at(&self.target, parties.target)
            && (self.listener.is_none() || parties.listener.is_some_and(|id| listeners.contains(&id)))
    }

    /// Whether a listener of this name is one that it names: of a load balancer with several addresses, such as
    /// `edge@198.18.100.1/TCP:80`, all are named without one.
    pub fn is_listener(&self, name: &str) -> bool {
        let is_it = |asked: &str| {
            let ((asked_lb, asked_place), (lb, place)) = (asked.split_once('/')?, name.split_once('/')?);
            let without_address = lb.split_once('@').map_or(lb, |(lb, _)| lb);
            let without_protocol = place.rsplit_once(':').map_or(place, |(_, port)| port);
            Some(
                [lb, without_address].contains(&asked_lb) && [place, without_protocol].contains(&asked_place),
            )
        };
        self.listener.as_deref().and_then(is_it).unwrap_or(false)
    }

    /// What it names, as the query of a URL has it.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        fn text(value: &Option<impl ToString>) -> Option<String> {
            value.as_ref().map(ToString::to_string)
        }
        let pairs = [
            ("protocol", text(&self.protocol)),
            ("client", text(&self.client)),
            ("vip", text(&self.vip)),
            ("target", text(&self.target)),
            ("listener", self.listener.clone()),
            ("reason", text(&self.reason)),
            ("sample", text(&self.sample)),
            ("count", text(&self.count)),
            ("seconds", text(&self.seconds)),
            ("snap", text(&self.snap)),
        ];
        pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// A reason by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ReasonName(#[schemars(with = "String")] pub Reason);

impl FromStr for ReasonName {
    type Err = String;

    fn from_str(text: &str) -> Result<ReasonName, String> {
        let named = Reason::ALL.iter().find(|reason| reason.name() == text);
        named.copied().map(ReasonName).ok_or_else(|| {
            "expected a reason as `lbctl stats` names it, such as new_flow or no_listener".into()
        })
    }
}

impl TryFrom<String> for ReasonName {
    type Error = String;

    fn try_from(text: String) -> Result<ReasonName, String> {
        text.parse()
    }
}

impl From<ReasonName> for String {
    fn from(name: ReasonName) -> String {
        name.to_string()
    }
}

impl fmt::Display for ReasonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// One line of `GET /v1/trace`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TraceLine {
    /// What became of a frame.
    Frame(Box<TracedFrame>),
    /// Frames that were asked for and are not told.
    Missed {
        /// They came when a worker had told of as many as it may in a second.
        over_rate: u64,
        /// They came faster than this stream was read.
        unread: u64,
    },
    /// The trace goes on; there has been nothing to tell.
    Heartbeat,
    /// The trace is over.
    End {
        /// Why.
        because: TraceEnd,
        /// Frames that were told.
        frames: u64,
        /// Frames that were missed.
        missed: u64,
    },
}

impl TraceLine {
    /// Appends it as the stream has it, with its end of line.
    pub fn append_to(&self, stream: &mut Vec<u8>) {
        // Its strings and numbers are all JSON can say.
        stream.extend(serde_json::to_vec(self).unwrap_or_default());
        stream.push(b'\n');
    }
}

/// Why a trace is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceEnd {
    /// As many frames were told as were asked for.
    Count,
    /// Its time is over.
    Time,
    /// The daemon stops.
    Stop,
}

/// What became of a frame, stage by stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracedFrame {
    /// When a worker took it (RFC 3339 with nanoseconds, UTC). Frames of one burst have one time.
    pub at: String,
    /// The worker.
    pub worker: u8,
    /// Where the worker had it from.
    pub origin: TraceOrigin,
    /// Interface that it came in by, or that the frame which it was made for came in by.
    pub interface: String,
    /// Receive queue that it came in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// As it came in; nothing of one that the load balancer has made or kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<PacketHead>,
    /// What sent it, as the XDP program found when it steered it to the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<WhySender>,
    /// The listener that it is for, or whose flow it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The flow that it belongs to, as it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<WhyFlow>,
    /// The target that was selected, where there was no flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<TraceSelection>,
    /// As it was to leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PacketHead>,
    /// Interface that it left by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
    /// The worker that it was handed over to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_worker: Option<u8>,
    /// What became of it in the end.
    pub verdict: WhyVerdict,
}

/// Where a worker has a frame from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceOrigin {
    /// A receive queue.
    Queue,
    /// Another worker, which handed it over.
    Worker,
    /// The load balancer itself: made, or kept until it could go on.
    Own,
}

/// How a target was selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TraceSelection {
    /// The target group.
    pub target_group: String,
    /// The flow's slot in the group's Maglev table; `None` without a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// Slots of that table.
    pub slots: usize,
    /// Who owns the slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<SocketAddr>,
    /// The target that the flow gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<SocketAddr>,
}

/// The headers of a frame, as far as there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PacketHead {
    /// Length of the frame, in bytes.
    pub bytes: usize,
    /// Link-layer address of the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_mac: Option<String>,
    /// Link-layer address of the receiver: the next hop, of a frame that leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_mac: Option<String>,
    /// `TCP`, `UDP`, `ICMP`, `ICMPv6`, or a number.
    pub protocol: String,
    /// Source address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Source port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Destination address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    /// Destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Time to live or hop limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Whether it is a piece of a packet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_piece: bool,
    /// Of a TCP segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpHead>,
}

/// The header of a TCP segment (RFC 9293 section 3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpHead {
    /// Such as `SYN,ACK`.
    pub flags: String,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number, where `ACK` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledgement: Option<u32>,
    /// Window as it stands there, without its shift.
    pub window: u16,
    /// Bytes of data.
    pub data_bytes: usize,
}

/// Frames that a trace may tell.
pub const TRACED_FRAMES: RangeInclusive<u64> = 1..=1_000_000;

/// Seconds that a trace may last.
pub const TRACE_SECONDS: RangeInclusive<u64> = 1..=3_600;

/// Bytes of a frame that may be captured.
pub const SNAP_BYTES: RangeInclusive<u64> = 14..=65_535;

/// Frames after which a trace ends by default.
pub const TRACE_COUNT_DEFAULT: u64 = 1_000;

/// Frames after which a capture ends by default.
pub const CAPTURE_COUNT_DEFAULT: u64 = 100_000;

/// Seconds after which both end by default.
pub const TRACE_SECONDS_DEFAULT: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use lb_core::tables::Protocol;

    fn end(text: &str) -> (IpAddr, u16) {
        text.parse::<SocketAddr>().map(|end| (end.ip(), end.port())).unwrap()
    }

    #[test]
    fn packets_must_have_everything_that_is_named() {
        let parties = Parties {
            protocol: Protocol::Tcp,
            listener: Some(ListenerId(3)),
            client: end("198.18.0.9:40000"),
            vip: Some(end("198.18.100.1:80")),
            target: Some(end("198.19.1.2:8080")),
        };
        let query = TraceQuery {
            protocol: "tcp".parse().ok(),
            client: "198.18.0.0/16".parse().ok(),
            vip: "198.18.100.1".parse().ok(),
            target: "198.19.1.2:8080".parse().ok(),
            listener: Some("edge/80".into()),
            ..TraceQuery::default()
        };
        assert!(query.matches(&parties, &[ListenerId(3)]) && !query.matches(&parties, &[ListenerId(4)]));
        assert!(!query.matches(&Parties { vip: None, ..parties }, &[ListenerId(3)]));
        assert!(!query.matches(&Parties { protocol: Protocol::Udp, ..parties }, &[ListenerId(3)]));
        assert!(query.names_parties() && !TraceQuery::default().names_parties());
        assert!(TraceQuery::default().matches(&parties, &[]));
    }

    #[test]
    fn a_listener_is_named_with_its_protocol_or_without() {
        let named = |name: &str| TraceQuery { listener: Some(name.into()), ..TraceQuery::default() };
        assert!(
            named("edge/TCP:80").is_listener("edge/TCP:80") && named("edge/80").is_listener("edge/TCP:80")
        );
        for one in ["edge/TCP:80", "edge/80", "edge@198.18.100.1/TCP:80", "edge@198.18.100.1/80"] {
            assert!(named(one).is_listener("edge@198.18.100.1/TCP:80"), "{one}");
        }
        assert!(!named("edge@198.18.100.2/TCP:80").is_listener("edge@198.18.100.1/TCP:80"));
        for other in ["edge/TCP:81", "edge/UDP:80", "other/80", "edge", ""] {
            assert!(!named(other).is_listener("edge/TCP:80"), "{other}");
        }
        assert!(!TraceQuery::default().is_listener("edge"));
    }
}

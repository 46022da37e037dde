//! Every maximum, default and size of the packet path, each with its unit. Nothing grows past these.

/// Most frames in one burst.
pub const BURST_FRAMES: usize = 64;

/// Most workers (one per receive queue).
pub const WORKERS: usize = 64;

/// Most network interfaces that a load balancer uses.
pub const INTERFACES: usize = 16;

/// Most listeners over all load balancers.
pub const LISTENERS: usize = 4_096;

/// Most target groups.
pub const TARGET_GROUPS: usize = 4_096;

/// Most targets over all target groups, those kept for their draining flows included. A target in two groups counts twice.
pub const TARGETS: usize = 16_384;

/// Most targets in one target group (NLB: 1,000).
pub const TARGETS_PER_GROUP: usize = 1_000;

/// Slots of a Maglev table: prime, and more than 65 times the largest group, which keeps imbalance around 1 %.
pub const MAGLEV_SLOTS: u32 = 65_537;

/// Largest weight of a target; the smallest is 0, no new flows.
pub const TARGET_WEIGHT: u16 = 999;

/// Flows that all workers together can hold, by default.
pub const FLOWS_DEFAULT: u32 = 1 << 20;

/// Fewest flows that a flow table can be configured for.
pub const FLOWS_MINIMUM: u32 = 64;

/// Most flows of one worker's table: an index entry has 31 bits for the record.
pub const FLOWS_MAXIMUM: u32 = 1 << 30;

/// Half-open flows are at most one in this many of the table's capacity.
pub const HALF_OPEN_SHARE: u32 = 8;

/// Every flow record is looked at for expiry once in this time, in milliseconds, when turns are frequent enough.
pub const EXPIRY_ROUND_MS: u64 = 10_000;

/// Most flow records looked at for expiry in one turn.
pub const EXPIRY_RECORDS: u32 = 4_096;

/// After a change that cuts flows, every flow record is looked at once within this time, in milliseconds, when turns are frequent enough.
pub const PURGE_ROUND_MS: u64 = 1_000;

/// Most flow records looked at for a cut in one turn.
pub const PURGE_RECORDS: u32 = 128;

/// Most flows cut in one turn without a packet of theirs.
pub const PURGED_FLOWS: usize = 32;

/// TCP flow without packets, by default (NLB `tcp.idle_timeout.seconds`), in seconds.
pub const TCP_IDLE_S: u16 = 350;

/// Range of `tcp.idle_timeout.seconds`.
pub const TCP_IDLE_RANGE_S: std::ops::RangeInclusive<u16> = 60..=6_000;

/// UDP flow without packets, by default (NLB: always), in seconds.
pub const UDP_IDLE_S: u16 = 120;

/// Range of `udp.idle_timeout.seconds`. RFC 4787 REQ-5 wants two minutes at least, but on well-known ports, where questions have one
/// answer: there, less is less state. An answer takes its time, so not below 10 s.
pub const UDP_IDLE_RANGE_S: std::ops::RangeInclusive<u16> = 10..=*TCP_IDLE_RANGE_S.end();

/// Time that a target has to answer a new TCP flow and the client to confirm it (NLB's half-open timeout), in seconds.
pub const HALF_OPEN_S: u16 = 30;

/// A TCP flow after both FINs is kept this long, in seconds, for the last acknowledgements.
pub const CLOSED_S: u16 = 60;

/// A TCP flow after a RST is kept this long, in seconds, so that a forged reset does not choose a new target
/// (RFC 7857 section 2.2: 4 minutes).
pub const RESET_S: u16 = 240;

/// A flow whose source address and port are ours rests for this long when it is over, in seconds, before they are used again
/// (RFC 6888 section 3, REQ-8). A TCP flow that both sides have closed, or one has reset, has rested by then.
pub const REST_S: u16 = 120;

/// SYNs to targets of confirmed clients that one worker repeats at a time.
pub const SYNS_REPEATED: usize = 4_096;

/// PROXY headers that one worker repeats at a time.
pub const HEADERS_REPEATED: usize = 4_096;

/// Source addresses and ports that are tried for a new flow.
pub const SOURCES_TRIED: u32 = 4_096;

/// As many are tried at least for a free one, before a flow whose handshake is slow gives up its own.
pub const SOURCES_TRIED_IN_FLOOD: u32 = 64;

/// A flow that is half-open for this long, in milliseconds, gives up its source port to one that finds none free.
pub const HANDSHAKE_MS: u32 = 1_000;

/// A target that no source port was free for is not tried again for this long, in milliseconds.
pub const EXHAUSTION_MS: u32 = 10;

/// Most addresses and port ranges that flows have as their sources.
pub const SOURCES: usize = 1_024;

/// Most extension headers of an IPv6 packet.
pub const EXTENSION_HEADERS: usize = 8;

/// Most pieces beyond the first that a packet is cut into.
pub const PIECES: usize = 8;

/// Counters of one worker that number IPv4 packets, by source and destination.
pub const IDENTIFICATION_COUNTERS: usize = 1_024;

/// Datagrams of no flow, sent while the flow table is full, whose answers one worker lets pass.
pub const STATELESS_DATAGRAMS: usize = 16_384;

/// Datagrams in pieces that one worker knows at a time.
pub const FRAGMENTED_DATAGRAMS: usize = 4_096;

/// The pieces of a datagram belong together for this long after the first, in seconds.
pub const FRAGMENTED_DATAGRAM_S: u64 = 5;

/// Frames that one worker keeps or makes beside those that came, at a time.
pub const EXTRA_FRAMES: usize = 192;

/// Later pieces of datagrams that one worker keeps until the first comes.
pub const HELD_FRAGMENTS: usize = 128;

/// A later piece is kept for this long, in seconds.
pub const HELD_FRAGMENT_S: u64 = 5;

/// Longest frame that is kept or made, in bytes.
pub const EXTRA_FRAME_BYTES: usize = 3_840;

/// Longest ICMP error that the load balancer makes, in bytes from the IP header on (RFC 1812 section 4.3.2.3).
pub const ICMP_ERROR_BYTES: usize = 576;

/// Resets, ICMP errors of one type, or any other kind of answers, that one worker sends per second at most, on average: as many at once
/// when there were none for a second (RFC 4443 section 2.4 (f), RFC 1812 section 4.3.2.8).
pub const REPLIES_PER_SECOND: u32 = 10_000;

/// Addresses whose next hop one worker can ask for at a time.
pub const WANTED_HOPS: usize = 256;

/// Most single addresses whose next hop the tables hold because workers asked for it.
pub const HOPS: usize = 4_096;

/// Maglev slots tried, after a flow's own, for a target that no other listener's flow of the same client can be at.
pub const COLLISION_RETRIES: u32 = 32;

/// Listeners of one target group whose selections are kept apart for each client's address and port.
pub const SIBLINGS: usize = 8;

/// Ended flows that one worker keeps in a turn for the flow log.
pub const ENDED_FLOWS: usize = 8_192;

/// A flow that is closed or reset is told to the flow log when nothing came for this long, in milliseconds.
pub const SETTLED_MS: u32 = 2_000;

/// Time to live of packets that the load balancer makes itself.
pub const REPLY_TTL: u8 = 64;

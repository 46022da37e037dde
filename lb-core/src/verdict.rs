//! What becomes of a frame, and why: one table of reasons, one `match` from reason to action.

/// Builds the enum of reasons, its names, its help texts and its actions from one table.
macro_rules! reasons {
    ($($variant:ident, $name:literal, $action:ident, $help:literal;)*) => {
        /// Why a frame met its fate. Every frame is counted under exactly one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $help] $variant,)* }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The reason's name in counters and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// One sentence for a person.
            pub const fn help(self) -> &'static str {
                match self { $(Reason::$variant => $help,)* }
            }

            /// What is done with a frame for this reason.
            pub const fn action(self) -> Action {
                match self { $(Reason::$variant => Action::$action,)* }
            }
        }
    };
}

reasons! {
    FlowHit, "flow", Transmit, "Rewritten by its flow.";
    FlowNew, "new_flow", Transmit, "First packet of a new flow: a target was selected.";
    FlowAdopted, "adopted_flow", Transmit, "Packet of a flow from before an unclean start: its target was found again by hash.";
    Stateless, "stateless", Transmit, "The flow table had no room: the target was selected without keeping state.";

    IcmpError, "icmp_error", Transmit, "ICMP error about a packet of a flow: translated for the side that sent the packet.";

    ResetNoFlow, "reset_no_flow", Reply, "TCP packet of no flow: answered by a reset.";
    ResetTerminated, "reset_terminated", Reply, "TCP packet of a flow that was cut with its target: answered by a reset.";
    ResetNoTarget, "reset_no_target", Reply, "TCP SYN for a target group without targets: answered by a reset.";

    TimeExceeded, "time_exceeded", Reply, "Time to live would reach 0 here: answered by ICMP time exceeded (RFC 1812 5.3.1).";
    TooBig, "too_big", Reply, "Longer than the MTU on the way out: answered by ICMP fragmentation needed (RFC 1191).";

    FragmentHeld, "fragment_held", Hold, "Later piece of a datagram whose first has not come yet: kept for a while; counted again when it goes on.";
    HandedOver, "handed_over", HandOver, "Given to the worker that owns the flow; counted again there.";

    PassNotIp, "not_ip", Pass, "Neither IPv4 nor IPv6: left to the kernel.";
    PassIcmp, "icmp", Pass, "ICMP to a VIP, and not an error about a listener's packet: left to the kernel.";
    PassHost, "host", Pass, "For one of the host's own addresses: left to the kernel.";
    PassNotOurs, "not_ours", Pass, "Neither for a listener nor from a target: left to the kernel.";

    EthernetTruncated, "ethernet_truncated", Drop, "Shorter than an Ethernet header.";
    NotIpv4, "not_ipv4_drop", Drop, "Not IPv4, yet given to a worker.";
    LinkMulticast, "link_multicast", Drop, "Link-layer broadcast or multicast carrying a unicast IP packet (RFC 1812 5.3.4).";
    OtherMac, "other_mac", Drop, "Addressed to another host's MAC address.";
    Ipv4Truncated, "ipv4_truncated", Drop, "Shorter than an IPv4 header (RFC 1812 5.2.2).";
    Ipv4Version, "ipv4_version", Drop, "IP version is not 4 (RFC 1812 5.2.2).";
    Ipv4HeaderLength, "ipv4_header_length", Drop, "IPv4 header length under 5 words or past the frame (RFC 1812 5.2.2).";
    Ipv4TotalLength, "ipv4_total_length", Drop, "IPv4 total length under the header or past the frame (RFC 1812 5.2.2).";
    Ipv4Checksum, "ipv4_checksum", Drop, "IPv4 header checksum is wrong (RFC 1812 5.2.2).";
    SourceRoute, "source_route", Drop, "IPv4 source-route option (RFC 7126 4.3, 4.4).";
    MartianSource, "martian_source", Drop, "Source address that no packet may have (RFC 1812 5.3.7).";
    OwnSource, "own_source", Drop, "Source address is a VIP of this load balancer.";
    TtlExpired, "ttl_expired", Drop, "Time to live is 0, or would reach 0 here and the packet is of no listener or flow (RFC 1812 5.3.1).";
    Fragment, "fragment", Drop, "IPv4 fragment.";
    L4Truncated, "l4_truncated", Drop, "Shorter than its TCP or UDP header.";
    TcpHeaderLength, "tcp_header_length", Drop, "TCP data offset under 5 words or past the packet.";
    TcpFlags, "tcp_flags", Drop, "TCP flags that no legal segment has.";
    UdpLength, "udp_length", Drop, "UDP length under 8 or past the packet (RFC 768).";
    PortZero, "port_zero", Drop, "Source or destination port 0.";
    UnsupportedProtocol, "unsupported_protocol", Drop, "Neither TCP nor UDP nor ICMP.";
    IcmpTruncated, "icmp_truncated", Drop, "ICMP message or its quote is cut short before the ports.";
    IcmpChecksum, "icmp_checksum", Drop, "ICMP checksum is wrong (RFC 5508 REQ-3).";
    IcmpType, "icmp_type", Drop, "ICMP message that is not an error.";
    IcmpQuote, "icmp_quote", Drop, "ICMP error whose quote is no first piece of an IPv4 TCP or UDP packet, was sent by somebody else, or has a wrong checksum (RFC 5508 REQ-3).";
    IcmpNoFlow, "icmp_no_flow", Drop, "ICMP error about a packet of no flow (RFC 5508 REQ-4).";
    NoListener, "no_listener", Drop, "No listener on this address, protocol and port.";
    NoTarget, "no_target", Drop, "The listener's target group has no target.";
    NoFlow, "no_flow", Drop, "Packet of no flow that must not be answered.";
    Terminated, "terminated", Drop, "Reset of a flow that was cut with its target.";
    TupleCollision, "tuple_collision", Drop, "The client's address and port already reach every candidate target through another listener, or the client is the only target itself.";
    NextHopUnresolved, "next_hop_unresolved", Drop, "The kernel knows no route or no link address towards the next hop yet.";
    ReplyRateLimited, "reply_rate_limited", Drop, "Would have been answered, but too many answers were sent this second.";
    MtuExceeded, "mtu_exceeded", Drop, "Longer than the MTU on the way out, and may be fragmented: fragments are not made here.";
    TxRingFull, "tx_ring_full", Drop, "No room in the transmit ring.";
    HandoverFull, "handover_full", Drop, "No room in the ring to the worker that owns the flow.";
    FrameOversize, "frame_oversize", Drop, "Frame spans several buffers.";
}

impl Reason {
    /// Number of reasons.
    pub const COUNT: usize = Reason::ALL.len();
}

/// What is done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sent on, rewritten, by the interface in [`Verdict::port`].
    Transmit,
    /// An answer of the load balancer's own, sent by the interface in [`Verdict::port`].
    Reply,
    /// Given to the worker in [`Verdict::port`].
    HandOver,
    /// Copied by the packet path, which brings it up again by `Datapath::next_extra`; the frame itself is free.
    Hold,
    /// Left to the kernel. Only the XDP program (and `steer`, its twin) can decide this.
    Pass,
    /// Dropped.
    Drop,
}

impl Action {
    /// The action's name in counters and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Transmit => "transmit",
            Action::Reply => "reply",
            Action::HandOver => "hand_over",
            Action::Hold => "hold",
            Action::Pass => "pass",
            Action::Drop => "drop",
        }
    }
}

/// The fate of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why, and by [`Reason::action`] what.
    pub reason: Reason,
    /// Interface to send by, or worker to hand to; 0 otherwise.
    pub port: u8,
}

impl Verdict {
    /// Sends the frame by interface `port` (transmit, reply) or to worker `port` (hand over).
    #[inline]
    pub const fn to(reason: Reason, port: u8) -> Verdict {
        Verdict { reason, port }
    }

    /// Drops the frame.
    #[inline]
    pub const fn drop(reason: Reason) -> Verdict {
        Verdict { reason, port: 0 }
    }
}

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
    FlowAdopted, "adopted_flow", Transmit, "Packet of a flow from before an unclean start, or that the flow table had no room for: its target was found again by hash.";
    Stateless, "stateless", Transmit, "The flow table had no room: the target was selected without keeping state.";

    ProxyHeader, "proxy_header", Transmit, "With the PROXY header that its target is owed, or replaced by it where both do not fit one packet. The first datagram of a flow is a new_flow.";
    BehindHeader, "behind_header", Transmit, "TCP segment behind a PROXY header that did not fit one packet with it.";
    HeaderRepeated, "header_repeated", Reply, "PROXY header that went without data, and that its target has not acknowledged: sent again.";
    ResetBeforeHeader, "reset_before_header", Transmit, "Copy of a client's reset for a target that may not have got its PROXY header.";

    CutUp, "cut_up", Transmit, "Further piece of a packet that was too long for the way out.";
    IcmpError, "icmp_error", Transmit, "ICMP error about a packet of a flow: translated for the side that sent the packet.";

    ResetNoFlow, "reset_no_flow", Reply, "TCP packet of no flow: answered by a reset.";
    ResetOtherSide, "reset_other_side", Reply, "Reset for the other side of a flow that was cut with its target.";
    ProbeCut, "probe_cut", Reply, "Segment for a side of a flow that was cut with its target: its answer is reset, also where no packet was under way.";
    SynCookie, "syn_cookie", Reply, "TCP SYN to a listener with SYN cookies: answered without keeping state.";
    SynToTarget, "syn_to_target", Transmit, "The client has confirmed a SYN cookie: the SYN went to its target.";
    AckToTarget, "ack_to_target", Reply, "The target has answered the SYN of a confirmed client: acknowledged for it.";
    WindowToClient, "window_to_client", Reply, "The target has answered the SYN of a confirmed client: the client may send.";
    ResetUnanswered, "reset_unanswered", Reply, "The target has not answered the SYN of a confirmed client: the client is reset.";
    RefusedByTarget, "refused_by_target", Reply, "The target has refused the SYN of a confirmed client: so did the VIP.";
    ResetTerminated, "reset_terminated", Reply, "TCP packet of a flow that was cut with its target: answered by a reset.";
    ResetNoTarget, "reset_no_target", Reply, "TCP SYN for a target group without targets: answered by a reset.";

    TimeExceeded, "time_exceeded", Reply, "Time to live would reach 0 here: answered by ICMP time exceeded (RFC 1812 5.3.1, RFC 4443 3.3).";
    TooBig, "too_big", Reply, "Longer than the MTU on the way out: answered by ICMP fragmentation needed or packet too big (RFC 1191, RFC 8201).";
    ParameterProblem, "parameter_problem", Reply, "IPv6 routing header with segments left, to an address of ours: answered by ICMPv6 parameter problem (RFC 8200 4.4, RFC 5095 3).";

    FragmentHeld, "fragment_held", Hold, "Later piece of a datagram whose first has not come yet: kept for a while; counted again when it goes on.";
    HandedOver, "handed_over", HandOver, "Given to the worker that owns the flow; counted again there.";

    PassNotIp, "not_ip", Pass, "Neither IPv4 nor IPv6: left to the kernel.";
    PassIcmp, "icmp", Pass, "ICMP to a VIP, and not an error about a listener's packet: left to the kernel.";
    PassHost, "host", Pass, "For one of the host's own addresses: left to the kernel.";
    PassNotOurs, "not_ours", Pass, "Neither for a listener nor from a target: left to the kernel.";

    EthernetTruncated, "ethernet_truncated", Drop, "Shorter than an Ethernet header.";
    NotIp, "not_ip_drop", Drop, "Neither IPv4 nor IPv6, yet given to a worker.";
    LinkMulticast, "link_multicast", Drop, "Link-layer broadcast or multicast carrying a unicast IP packet (RFC 1812 5.3.4), or from a group address, which no station has (IEEE 802.3 3.2.3).";
    OtherMac, "other_mac", Drop, "Addressed to another host's MAC address.";
    Ipv4Truncated, "ipv4_truncated", Drop, "Shorter than an IPv4 header (RFC 1812 5.2.2).";
    Ipv4Version, "ipv4_version", Drop, "IP version is not 4 (RFC 1812 5.2.2).";
    Ipv4HeaderLength, "ipv4_header_length", Drop, "IPv4 header length under 5 words or past the frame (RFC 1812 5.2.2).";
    Ipv4TotalLength, "ipv4_total_length", Drop, "IPv4 total length under the header or past the frame (RFC 1812 5.2.2).";
    Ipv4Checksum, "ipv4_checksum", Drop, "IPv4 header checksum is wrong (RFC 1812 5.2.2).";
    Ipv4Options, "ipv4_options", Drop, "IPv4 option whose length is under 2, or past the header (RFC 791 3.1).";
    Ipv6Truncated, "ipv6_truncated", Drop, "Shorter than an IPv6 header.";
    Ipv6Version, "ipv6_version", Drop, "IP version is not 6.";
    Ipv6PayloadLength, "ipv6_payload_length", Drop, "IPv6 payload length past the frame, or a packet of more than 65,535 bytes.";
    Ipv6Extension, "ipv6_extension", Drop, "IPv6 extension header that is cut short or out of place, or too many of them (RFC 7112, RFC 8200 4.1).";
    Ipv6NoNextHeader, "ipv6_no_next_header", Drop, "IPv6 packet that says that nothing follows (RFC 8200 4.7).";
    SourceRoute, "source_route", Drop, "IPv4 source-route option (RFC 7126 4.3, 4.4); IPv6 routing header of type 0 (RFC 5095 4.2), or with segments left where no answer is due.";
    MartianSource, "martian_source", Drop, "Source address that no packet may have (RFC 1812 5.3.7).";
    OwnSource, "own_source", Drop, "Source address is one of ours: a VIP, a source of full NAT, or the host's own or a broadcast address of its subnets (RFC 1812 5.3.7, RFC 2827).";
    TtlExpired, "ttl_expired", Drop, "Time to live is 0, or would reach 0 here and the packet is of no listener or flow (RFC 1812 5.3.1).";
    Fragment, "fragment", Drop, "Piece of a packet that is neither TCP nor UDP.";
    TcpFragment, "tcp_fragment", Drop, "TCP segment in pieces: not carried, as NLB does not (RFC 1858, RFC 3128).";
    FragmentLength, "fragment_length", Drop, "Piece of a datagram that ends behind 65,535 bytes, or, not its last, is empty or no multiple of 8 bytes long.";
    ProxyFragment, "proxy_fragment", Drop, "Piece of a datagram to a target that is owed a PROXY header: only whole datagrams have one.";
    ProxyUnplaced, "proxy_unplaced", Drop, "TCP segment of a connection that a target which is owed a PROXY header is not known to have: the header's place in it is not known either.";
    FragmentLost, "fragment_lost", Drop, "Later piece of a datagram whose first did not come in time, or for which there was no room.";
    L4Truncated, "l4_truncated", Drop, "Shorter than its TCP or UDP header.";
    TcpHeaderLength, "tcp_header_length", Drop, "TCP data offset under 5 words or past the packet.";
    TcpFlags, "tcp_flags", Drop, "TCP flags that no legal segment has.";
    TcpChecksum, "tcp_checksum", Drop, "TCP checksum of a segment that is answered here, or that would be adopted into a flow, is wrong (RFC 9293 3.1).";
    UdpLength, "udp_length", Drop, "UDP length under 8 or past the packet (RFC 768).";
    UdpChecksumZero, "udp_checksum_zero", Drop, "UDP without a checksum, over IPv6 (RFC 8200 8.1) or in pieces that would have to be translated to it (RFC 7915 4.5).";
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
    NoSourcePort, "no_source_port", Drop, "No source port is free towards the target (NLB PortAllocationErrorCount).";
    ClientPorts, "client_ports", Drop, "The client has as many source ports as one may have (`source_nat.ports_per_client`).";
    NoSource, "no_source", Drop, "The client's address cannot be kept, and there is no source address of the target's family.";
    FlowTableFull, "flow_table_full", Drop, "The flow table has no room for a flow whose source address is translated, or whose target is owed a PROXY header.";
    Connecting, "connecting", Drop, "Packet of a flow whose target has not answered the SYN of a confirmed client yet.";
    IcmpUntranslatable, "icmp_untranslatable", Drop, "ICMP error that has no counterpart in the other address family (RFC 7915 4.2, 5.2), or tells of an IPv6 link with an MTU under 1,280 (RFC 8201 4).";
    NextHopUnresolved, "next_hop_unresolved", Drop, "The kernel knows no route or no link address towards the next hop yet.";
    ResetRateLimited, "reset_rate_limited", Drop, "Would have been answered by a reset, but there were too many of late.";
    ErrorRateLimited, "error_rate_limited", Drop, "Would have been answered by an ICMP error, but there were too many of its type of late.";
    MtuExceeded, "mtu_exceeded", Drop, "Longer than the MTU on the way out, and there was no room to cut it up or to tell its sender, or an ICMP error.";
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

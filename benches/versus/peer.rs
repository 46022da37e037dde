//! Who is measured, and what of it cannot be.

use crate::measure::{Flows, Load};

/// One way to get packets from a client to targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The kernel forwards; clients address the targets themselves. Nothing is balanced.
    Routing,
    /// The same with checksum and segmentation offload on: what the kernel can do and no AF_XDP program can.
    RoutingOffloaded,
    /// DNAT as kube-proxy lays it out with nftables.
    Nftables(Source),
    /// DNAT as kube-proxy lays it out with iptables.
    Iptables(Source),
    /// HAProxy in TCP mode.
    Haproxy,
    /// nginx's stream module, TCP and UDP.
    Nginx,
    /// DPDK's testpmd on AF_XDP sockets of the same links, forwarding all frames unseen: the limit of this kind of socket.
    Testpmd,
    /// Ours.
    Lbd(Mode),
}

/// Which source address the targets see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The client's.
    Kept,
    /// The balancer's.
    Masqueraded,
}

/// How lbd runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Full NAT where it is masqueraded.
    pub source: Source,
    /// Whether its worker ever sleeps.
    pub polling: Polling,
    /// How many listeners it has; all but those under load are idle.
    pub listeners: Listeners,
}

/// lbd's `workers.polling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// Sleeps when there is nothing to do.
    Adaptive,
    /// Never sleeps.
    Busy,
}

/// How many listeners a load balancer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listeners {
    /// Those under load.
    Few,
    /// A thousand more, each with a target group of its own.
    Thousand,
}

impl Peer {
    /// lbd as it is by default: for TCP with the client's address kept, which is what kube-proxy and routing do.
    pub const LBD: Peer = lbd(Source::Kept, Polling::Adaptive, Listeners::Few);
    /// The same, never sleeping.
    pub const LBD_BUSY: Peer = lbd(Source::Kept, Polling::Busy, Listeners::Few);
    /// Full NAT.
    pub const LBD_NAT: Peer = lbd(Source::Masqueraded, Polling::Adaptive, Listeners::Few);
    /// Full NAT, never sleeping.
    pub const LBD_NAT_BUSY: Peer = lbd(Source::Masqueraded, Polling::Busy, Listeners::Few);
    /// A thousand listeners more.
    pub const LBD_THOUSAND: Peer = lbd(Source::Kept, Polling::Adaptive, Listeners::Thousand);

    /// All, in the order of the table and of each round.
    pub const ALL: [Peer; 14] = [
        Peer::Routing,
        Peer::RoutingOffloaded,
        Peer::Iptables(Source::Kept),
        Peer::Iptables(Source::Masqueraded),
        Peer::Nftables(Source::Masqueraded),
        Peer::Nginx,
        Peer::Haproxy,
        Peer::Nftables(Source::Kept),
        Peer::Testpmd,
        Peer::LBD,
        Peer::LBD_BUSY,
        Peer::LBD_NAT,
        Peer::LBD_NAT_BUSY,
        Peer::LBD_THOUSAND,
    ];

    /// What it is called on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Routing => "routing",
            Peer::RoutingOffloaded => "routing-offloaded",
            Peer::Nftables(Source::Kept) => "nftables",
            Peer::Nftables(Source::Masqueraded) => "nftables-masquerade",
            Peer::Iptables(Source::Kept) => "iptables",
            Peer::Iptables(Source::Masqueraded) => "iptables-masquerade",
            Peer::Haproxy => "haproxy",
            Peer::Nginx => "nginx",
            Peer::Testpmd => "testpmd",
            Peer::Lbd(Mode { listeners: Listeners::Thousand, .. }) => "lbd-1000-listeners",
            Peer::Lbd(Mode { source: Source::Kept, polling: Polling::Adaptive, .. }) => "lbd",
            Peer::Lbd(Mode { source: Source::Kept, polling: Polling::Busy, .. }) => "lbd-busy",
            Peer::Lbd(Mode { source: Source::Masqueraded, polling: Polling::Adaptive, .. }) => "lbd-nat",
            Peer::Lbd(Mode { source: Source::Masqueraded, polling: Polling::Busy, .. }) => "lbd-nat-busy",
        }
    }

    /// What it is called in tables and charts.
    pub fn title(self) -> &'static str {
        match self {
            Peer::Routing => "kernel routing",
            Peer::RoutingOffloaded => "kernel routing, offloads on",
            Peer::Nftables(Source::Kept) => "nftables (kube-proxy)",
            Peer::Nftables(Source::Masqueraded) => "nftables, masquerade",
            Peer::Iptables(Source::Kept) => "iptables (kube-proxy)",
            Peer::Iptables(Source::Masqueraded) => "iptables, masquerade",
            Peer::Haproxy => "HAProxy, TCP mode",
            Peer::Nginx => "nginx stream",
            Peer::Testpmd => "testpmd io over AF_XDP",
            Peer::Lbd(Mode { listeners: Listeners::Thousand, .. }) => "lbd, 1,000 listeners more",
            Peer::Lbd(Mode { source: Source::Kept, polling: Polling::Adaptive, .. }) => "lbd",
            Peer::Lbd(Mode { source: Source::Kept, polling: Polling::Busy, .. }) => "lbd, busy polling",
            Peer::Lbd(Mode { source: Source::Masqueraded, polling: Polling::Adaptive, .. }) => {
                "lbd, full NAT"
            }
            Peer::Lbd(Mode { source: Source::Masqueraded, polling: Polling::Busy, .. }) => {
                "lbd, full NAT, busy"
            }
        }
    }

    /// Who is called so.
    pub fn named(name: &str) -> Option<Peer> {
        Peer::ALL.into_iter().find(|peer| peer.name() == name)
    }

    /// Why a load makes no sense for it; `None` where it does.
    pub fn absence(self, load: Load) -> Option<&'static str> {
        match (self, load) {
            (Peer::RoutingOffloaded, Load::Bulk) => None,
            (Peer::RoutingOffloaded, _) => Some("not asked"),
            (Peer::Haproxy, Load::Udp(_) | Load::PacketCpu) => Some("no UDP"),
            (Peer::Nginx, Load::PacketCpu) => Some("too slow"),
            (Peer::Lbd(Mode { listeners: Listeners::Thousand, .. }), load) => match load {
                Load::Udp(Flows::Thousand) | Load::Connections => None,
                _ => Some("not asked"),
            },
            (Peer::Lbd(Mode { source: Source::Masqueraded, .. }), Load::Udp(_) | Load::PacketCpu) => {
                Some("as lbd")
            }
            (peer, Load::PacketCpu | Load::Idle) if peer.never_sleeps() => Some("a whole CPU"),
            _ => None,
        }
    }

    /// Whether packets are received by an AF_XDP socket of a thread that has CPU 1, not by the kernel's stack.
    pub fn is_af_xdp(self) -> bool {
        matches!(self, Peer::Testpmd | Peer::Lbd(_))
    }

    fn never_sleeps(self) -> bool {
        matches!(self, Peer::Testpmd | Peer::Lbd(Mode { polling: Polling::Busy, .. }))
    }
}

const fn lbd(source: Source, polling: Polling, listeners: Listeners) -> Peer {
    Peer::Lbd(Mode { source, polling, listeners })
}

//! Moves frames between the kernel and `lb-core`.
//!
//! [`engine::Engine`] is the front door: it opens the [`device`]s, loads the XDP [`program`] and `attach`es it, binds an
//! `xsk` socket with its [`ring`]s for each queue, and runs `worker` threads, which share one [`umem`] among their sockets
//! and hand frames to each other by `handoff`. Beside it, [`nexthop`] mirrors the kernel's routes and neighbours, and
//! [`vip`] puts addresses on interfaces. [`inspect`] looks at a host on which none of this runs yet. Nothing here decides about a packet: that is `lb-core`.

mod attach;
mod bell;
mod bpf;
pub mod clock;
pub mod device;
pub mod engine;
mod ethtool;
mod handoff;
pub mod in_memory;
pub mod inspect;
mod link;
mod lock;
mod netlink;
pub mod nexthop;
mod partial_checksum;
pub mod peer;
mod plan;
mod probe;
pub mod program;
pub mod ring;
mod spsc;
mod status;
mod sync;
mod sys;
pub mod umem;
pub mod vip;
mod worker;
mod xdp_features;
mod xsk;

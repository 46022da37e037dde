//! Moves frames between the kernel and `lb-core`.
//!
//! [`engine::Engine`] is the front door: it opens the [`device`]s, loads the XDP [`program`], binds an [`xsk`] socket
//! with its [`ring`]s and a shared [`umem`] per queue, and runs a [`worker`] thread per queue, which hand frames to each
//! other by [`handoff`]. Beside it, [`nexthop`] mirrors the kernel's routes and neighbours, and [`vip`] puts addresses
//! on interfaces. Nothing here decides about a packet: that is `lb-core`.

pub mod attach;
mod bpf;
pub mod clock;
pub mod device;
pub mod engine;
mod handoff;
pub mod lock;
pub mod netlink;
pub mod nexthop;
mod partial_checksum;
pub mod plan;
pub mod program;
pub mod ring;
pub mod status;
mod sys;
pub mod umem;
pub mod vip;
pub mod worker;
mod xsk;

//! Moves frames between the kernel and `lb-core`.
//!
//! [`engine::Engine`] is the front door: it opens the [`device`]s, loads the XDP [`program`], binds an [`xsk`] socket
//! with its [`ring`]s and a shared [`umem`] per queue, and runs a [`worker`] thread per queue, which hand frames to each
//! other by [`handoff`]. Beside it, [`nexthop`] mirrors the kernel's routes and neighbours, and [`vip`] puts addresses
//! on interfaces. Nothing here decides about a packet: that is `lb-core`.

pub mod clock;
pub mod device;
pub mod engine;
pub mod netlink;
pub mod nexthop;
mod sys;
pub mod vip;

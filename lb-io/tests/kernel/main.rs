//! What only a kernel can show: the XDP program against its twin, AF_XDP sockets over veth, next hops, addresses.
//!
//! Every test runs in a network namespace of its own, which ends with the test. All of them need root; without it, each
//! says on standard error that it was not run, and why.

mod engine;
mod frames;
mod inspect;
mod namespace;
mod nexthop;
mod random;
mod steering;
#[path = "../support/mod.rs"]
mod support;
mod vip;

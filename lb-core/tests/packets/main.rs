//! What every packet is owed, by the standard that says so: frames in, frames or a reason out. Each test is named by its
//! reference; a row that applies to both families, or to every mode of translation, is put through all of them.

#[path = "../support/mod.rs"]
mod support;

mod complained;
mod complaint;
mod fragment;
mod icmp;
mod identification;
mod ipv4;
mod ipv6;
mod nat;
mod neighbour;
mod proxy;
mod source;
mod tcp;
mod translation;

use lb_core::{
    datapath::Datapath,
    verdict::{Action, Reason},
};
use support::{Crafted, Family, Mode, assert_books_balance, ingress_of, modes, send};

/// Modes in which both sides have one family, so that a packet keeps all but its addresses and ports.
fn one_family_modes() -> impl Iterator<Item = Mode> {
    modes().into_iter().filter(|mode| mode.is_ipv4() == (mode.scene.target_family == Family::V4))
}

/// The reason that a frame is dropped for. Nothing leaves, no flow is made, and the reason's counter is one up.
fn dropped(path: &mut Datapath<'_>, packet: &Crafted, frame: &[u8]) -> Reason {
    let flows = path.counters().flows.value();
    let before = counts(path);
    let (verdict, out) = send(path, ingress_of(packet), frame, 0);
    assert_eq!((verdict.reason.action(), out), (Action::Drop, None), "{:?}", verdict.reason);
    assert_eq!(path.counters().flows.value(), flows);
    for (at, (before, after)) in before.iter().zip(counts(path)).enumerate() {
        assert_eq!(after - before, u64::from(at == verdict.reason as usize), "{:?}", Reason::ALL[at]);
    }
    assert_books_balance(path.counters());
    verdict.reason
}

fn counts(path: &Datapath<'_>) -> Vec<u64> {
    path.counters().reasons.iter().map(|counter| counter.value()).collect()
}

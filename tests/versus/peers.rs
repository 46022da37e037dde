//! Who is measured, and what of it.

use crate::{
    measure::{Flows, Load},
    peer::Peer,
};

#[test]
fn every_peer_is_found_by_its_own_name() {
    for peer in Peer::ALL {
        assert_eq!(Peer::named(peer.name()), Some(peer));
        assert!(Peer::ALL.iter().filter(|other| other.title() == peer.title()).count() == 1);
    }
    assert_eq!(Peer::named("nobody"), None);
}

#[test]
fn every_peer_is_measured_by_something_and_every_load_measures_lbd() {
    for peer in Peer::ALL {
        assert!(Load::ALL.iter().any(|&load| peer.absence(load).is_none()), "{peer:?}");
    }
    assert!(Load::ALL.iter().all(|&load| Peer::LBD.absence(load).is_none()));
}

#[test]
fn who_never_sleeps_has_no_cpu_time_per_packet() {
    assert!(Peer::Testpmd.is_af_xdp() && Peer::LBD.is_af_xdp() && !Peer::Routing.is_af_xdp());
    assert!(Peer::LBD_BUSY.absence(Load::PacketCpu).is_some());
    assert!(Peer::LBD_BUSY.absence(Load::Udp(Flows::One)).is_none());
    assert!(Peer::LBD_NAT.absence(Load::Udp(Flows::One)).is_some());
    assert!(Peer::LBD_NAT_BUSY.absence(Load::Connections).is_none());
    assert!(Peer::LBD_THOUSAND.absence(Load::Bulk).is_some());
}

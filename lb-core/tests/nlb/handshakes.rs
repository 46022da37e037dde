//! Handshakes that only the client and the target complete (RFC 9293 section 3.5): what anybody can forge, who sees neither, makes no
//! flow that lasts, and ends none that begins.

use super::*;

/// A flow that its target has answered.
fn answered(mode: &Mode, path: &mut Datapath<'_>) -> OpenFlow {
    let flow = OpenFlow::open(path, &mode.syn(), 0);
    flow.to_client(path, &flow.reply(SYN | ACK), 0);
    assert_eq!(half_open(path), 1);
    flow
}

fn half_open(path: &Datapath<'_>) -> u64 {
    path.counters().half_open.value()
}

/// Puts a packet through whose TCP checksum is wrong, and expects that its receiver gets it.
fn assert_spoiled_passes(path: &mut Datapath<'_>, packet: &Crafted) {
    let mut frame = packet.bytes();
    let at = if packet.source.is_ipv4() { 34 } else { 54 } + 16;
    frame[at] ^= 0x10;
    let (verdict, out) = process(path, ingress_of(packet), &frame, 1);
    assert_eq!(verdict.reason, Reason::FlowHit);
    assert_eq!(is_checksum_right(&out.unwrap()), Some(false));
}

/// An acknowledgement of the client, of so much more than nothing of its target's.
fn acknowledging(flow: &OpenFlow, flags: u8, count: u32) -> Crafted {
    Crafted { acknowledgement: FIRST_SEQUENCE.wrapping_add(count), ..flow.request(flags) }
}

#[test]
fn an_acknowledgement_of_what_the_target_has_not_sent_completes_none() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = answered(&mode, &mut path);
        for count in [0, 65_536, u32::MAX, 0xdead_0000] {
            for flags in [ACK, PSH | ACK, FIN | ACK] {
                let forged = acknowledging(&flow, flags, count);
                let seen = flow.to_target(&mut path, &forged, 1);
                assert_eq!(seen.acknowledgement, forged.acknowledgement, "its target is to answer");
                assert_eq!(half_open(&path), 1, "{} {count} {flags:#04x}", mode.name);
            }
        }
        assert_reset(&mut path, &flow.request(ACK), Reason::ResetNoFlow, 30_001);
    }
}

#[test]
fn an_acknowledgement_with_a_wrong_checksum_completes_none() {
    for mode in modes() {
        for flags in [ACK, FIN | ACK] {
            let mut path = mode.path();
            let flow = answered(&mode, &mut path);
            assert_spoiled_passes(&mut path, &flow.request(flags));
            assert_eq!(half_open(&path), 1, "{}", mode.name);
            flow.to_target(&mut path, &flow.request(flags), 2);
            assert_eq!(half_open(&path), 0, "{}", mode.name);
        }
    }
}

/// A server of TCP Fast Open sends data behind its SYN-ACK (RFC 7413 section 4.1), and the client acknowledges them all at once.
#[test]
fn an_acknowledgement_of_early_data_completes_one() {
    for mode in modes() {
        for count in [1, 14_601, 65_535] {
            let mut path = mode.path();
            let flow = answered(&mode, &mut path);
            flow.to_target(&mut path, &acknowledging(&flow, ACK, count), 1);
            assert_eq!(half_open(&path), 0, "{} {count}", mode.name);
            flow.to_client(&mut path, &flow.reply(ACK), 350_000);
        }
    }
}

#[test]
fn a_target_that_was_started_again_is_acknowledged_by_its_new_number() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = answered(&mode, &mut path);
        let again = Crafted { sequence: FIRST_SEQUENCE.wrapping_sub(7_000_000), ..flow.reply(SYN | ACK) };
        flow.to_client(&mut path, &again, 1);
        flow.to_target(&mut path, &flow.request(ACK), 2);
        assert_eq!(half_open(&path), 1, "{}", mode.name);
        let acknowledgement = again.sequence.wrapping_add(1);
        flow.to_target(&mut path, &Crafted { acknowledgement, ..flow.request(ACK) }, 3);
        assert_eq!(half_open(&path), 0, "{}", mode.name);
    }
}

#[test]
fn an_answer_with_a_wrong_checksum_is_none() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = answered(&mode, &mut path);
        assert_spoiled_passes(&mut path, &Crafted { sequence: 7, ..flow.reply(SYN | ACK) });
        flow.to_target(&mut path, &Crafted { acknowledgement: 8, ..flow.request(ACK) }, 2);
        assert_eq!(half_open(&path), 1, "{}", mode.name);
        flow.to_target(&mut path, &flow.request(ACK), 3);
        assert_eq!(half_open(&path), 0, "{}", mode.name);
    }
}

#[test]
fn a_simultaneous_open_is_completed_by_the_number_of_the_targets_syn() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.syn(), 0);
        flow.to_client(&mut path, &flow.reply(SYN), 0);
        flow.to_target(&mut path, &acknowledging(&flow, SYN | ACK, 0), 1);
        assert_eq!(half_open(&path), 1, "{}", mode.name);
        flow.to_target(&mut path, &flow.request(SYN | ACK), 2);
        assert_eq!(half_open(&path), 0, "{}", mode.name);
    }
}

/// Where a target answers after a crash of ours, the handshake goes on.
#[test]
fn a_handshake_that_is_adopted_is_completed_by_its_number() {
    let hops = vec![(CLIENT.into(), NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
    let mut mode = preserving_modes()[0].clone();
    let mut earlier = mode.path();
    let flow = OpenFlow::open(&mut earlier, &mode.syn(), 0);
    mode.scene = Scene { adopts_strays: true, hops, ..mode.scene };
    let mut path = mode.path();
    flow.to_client(&mut path, &flow.reply(SYN | ACK), 1);
    flow.to_target(&mut path, &acknowledging(&flow, ACK, 0), 2);
    assert_eq!(half_open(&path), 1);
    flow.to_target(&mut path, &flow.request(ACK), 3);
    assert_eq!(half_open(&path), 0);
}

/// RFC 9293 section 3.10.7.3: who waits for an answer to its SYN heeds no reset without an acknowledgement.
#[test]
fn a_reset_that_its_client_does_not_heed_refuses_none() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.syn(), 0);
        flow.to_client(&mut path, &flow.reply(RST), 1);
        assert_spoiled_passes(&mut path, &flow.reply(RST | ACK));
        assert_eq!(half_open(&path), 1, "{}", mode.name);
        flow.to_client(&mut path, &flow.reply(SYN | ACK), 2);
        flow.to_target(&mut path, &flow.request(ACK), 3);
        assert_eq!(half_open(&path), 0, "{}", mode.name);
        flow.to_client(&mut path, &flow.reply(ACK), 350_000);

        let refused = OpenFlow::open(
            &mut path,
            &Crafted { source: (mode.client.ip(), 40_001).into(), ..mode.syn() },
            350_000,
        );
        refused.to_client(&mut path, &refused.reply(RST | ACK), 350_000);
        assert_eq!((half_open(&path), path.counters().flows.value()), (0, 1), "{}", mode.name);
    }
}

//! Target groups with PROXY headers between a scripted client and a scripted target: what each of them gets for what it sends, in
//! every mode.

#[path = "../support/mod.rs"]
mod support;

mod datagrams;
mod endpoint;
mod forgery;
mod loss;
mod script;
mod transfers;

use lb_core::{
    tables::{
        CutCause, FlowPolicy,
        HeaderPlacement::{OnFirstAck, OnFirstAckWithPayload},
    },
    verdict::Reason::*,
};
use script::*;
use support::*;

#[test]
fn the_targets_connection_begins_earlier_by_a_header() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::new(&mode);
        let seen = script.begin();
        let length = script.length();
        assert_eq!(length, if mode.is_ipv4() { 100 } else { 124 }, "{}", mode.name);
        assert_eq!((seen.flags, seen.sequence), (SYN, INITIAL.wrapping_add_signed(-length)));
        let seen = script.answer(0);
        assert_eq!((seen.flags, seen.acknowledgement), (SYN | ACK, INITIAL.wrapping_add(1)));
        assert_eq!(seen.window, 28_960 - length as u16, "the header's room is not the client's");
        assert_eq!(seen.tcp_options, TARGET_OPTIONS);
        let left = script.client_sends(&script.client(ACK, 1, b""), 0);
        assert_eq!(left, [(FlowHit, 1 - length, ACK, vec![])], "{}", mode.name);
    }
}

#[test]
fn the_header_goes_with_the_clients_first_bytes() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let length = script.length();
        let left = script.client_sends(&script.client(ACK | PSH, 1, b"hello"), 0);
        assert_eq!(
            left,
            [(ProxyHeader, 1 - length, ACK | PSH, script.header_and(b"hello"))],
            "{}",
            mode.name
        );
        let left = script.client_sends(&script.client(ACK | PSH, 6, b"world"), 0);
        assert_eq!(left, [(FlowHit, 6, ACK | PSH, b"world".to_vec())]);
    }
}

#[test]
fn or_with_the_clients_first_acknowledgement() {
    for mode in proxy_modes(OnFirstAck) {
        let mut script = Script::answered(&mode);
        let length = script.length();
        let left = script.client_sends(&script.client(ACK, 1, b""), 0);
        assert_eq!(left, [(ProxyHeader, 1 - length, ACK | PSH, script.header_and(b""))], "{}", mode.name);
        assert_eq!(script.client_sends(&script.client(ACK, 1, b""), 1), [(FlowHit, 1, ACK, vec![])]);
        assert_eq!(script.told(ACK, 1), (1, 1_000));
        let left = script.client_sends(&script.client(ACK | PSH, 1, b"hello"), 0);
        assert_eq!(left, [(FlowHit, 1, ACK | PSH, b"hello".to_vec())]);
    }
}

/// What is acknowledged of the header is not the client's business; what lies behind it has the client's own numbers.
#[test]
fn once_the_target_has_acknowledged_the_header_numbers_are_the_same_at_both_ends() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let length = script.length();
        assert_eq!(script.told(ACK, 1 - length), (1, 999), "{}: windows count in units of 128", mode.name);
        script.client_sends(&script.client(ACK | PSH, 1, b"hello"), 0);
        assert_eq!(script.told(ACK, 1 - length), (1, 999));
        assert_eq!(script.told(ACK, -20), (1, 999));
        assert!(!script.is_over());
        assert_eq!(script.told(ACK, 6), (6, 1_000));
        assert!(script.is_over(), "{}", mode.name);
        assert_eq!(script.told(ACK, 1), (1, 1_000));
        let left = script.client_sends(&script.client(ACK | PSH, 1, b"hello"), 0);
        assert_eq!(left, [(FlowHit, 1, ACK | PSH, b"hello".to_vec())]);
    }
}

#[test]
fn a_client_that_ends_without_a_byte_leaves_its_header() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let length = script.length();
        let left = script.client_sends(&script.client(FIN | ACK, 1, b""), 0);
        assert_eq!(
            left,
            [(ProxyHeader, 1 - length, FIN | ACK | PSH, script.header_and(b""))],
            "{}",
            mode.name
        );
        assert_eq!(script.told(FIN | ACK, 2), (2, 1_000));
        let left = script.client_sends(&script.client(ACK, 2, b""), 0);
        assert_eq!(left, [(FlowHit, 2, ACK, vec![])]);
    }
}

#[test]
fn keepalives_and_probes_have_a_number_that_the_target_has_seen() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let length = script.length();
        assert_eq!(script.client_sends(&script.client(ACK, 0, b""), 0), [(FlowHit, -length, ACK, vec![])]);
        assert_eq!(script.client_sends(&script.client(ACK, 0, b"x"), 0), [(FlowHit, -length, ACK, vec![])]);
    }
}

/// A window that is not closed stays open, or the client would wait for one that only its bytes open.
#[test]
fn windows_reach_as_far_as_the_targets() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        for (window, told) in [(0, 0), (1, 1), (2, 1), (3, 2), (0xffff, 0xfffe)] {
            let packet = Crafted { window, ..script.target(ACK, 1 - script.length()) };
            assert_eq!(script.target_sends(&packet, 0).window, told, "{}", mode.name);
        }
    }
}

#[test]
fn the_clients_first_byte_is_not_acknowledged_selectively_before_the_header() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::sent(&mode);
        let edges = |numbers: [i32; 4]| {
            let edges = numbers.map(|number| INITIAL.wrapping_add_signed(number).to_be_bytes());
            [&[1, 5, 18][..], &edges.concat(), &[1]].concat()
        };
        let mut packet = script.target(ACK, 1 - script.length());
        for (edge, told) in [(-50, 2), (1, 2), (2, 2), (3, 3)] {
            packet.tcp_options = edges([1_000, 2_000, edge, 300]);
            let seen = script.target_sends(&packet, 0);
            assert_eq!(seen.tcp_options, edges([1_000, 2_000, told, 300]), "{}", mode.name);
        }
        packet = Crafted { tcp_options: edges([1_000, 2_000, -50, 300]), ..script.target(ACK, 6) };
        assert_eq!(script.target_sends(&packet, 0).tcp_options, edges([1_000, 2_000, 1, 300]));
    }
}

/// A target says of bytes that come twice that they did (RFC 2883). Of the header's the client knows nothing.
#[test]
fn blocks_that_hold_nothing_of_the_clients_are_not_told() {
    const NOTHING: u32 = 0x0101_0101;
    let options = |numbers: &[i32]| {
        let edges = numbers.iter().flat_map(|&number| INITIAL.wrapping_add_signed(number).to_be_bytes());
        let option = [1, 1, 5, 2 + 4 * numbers.len() as u8].into_iter().chain(edges).collect::<Vec<u8>>();
        if numbers.is_empty() { NOTHING.to_be_bytes().to_vec() } else { option }
    };
    for placement in [OnFirstAck, OnFirstAckWithPayload] {
        for mode in proxy_modes(placement) {
            let mut script = Script::sent(&mode);
            let length = script.length();
            for (acknowledgement, blocks, told) in [
                (1 - length, vec![1 - length, 1], vec![]),
                (1 - length, vec![-length, 1 - length, 300, 900], vec![0, 1, 300, 900]),
                (1 - length, vec![-30, 2, 300, 900], vec![300, 900]),
                (1, vec![1 - length, 1], vec![]),
                (6, vec![1 - length, 6, 300, 900], vec![1, 6, 300, 900]),
            ] {
                let packet = script.target(ACK, acknowledgement);
                let packet = Crafted { tcp_options: options(&blocks), ..packet };
                let seen = script.target_sends(&packet, 0);
                let mut expected = options(&told);
                expected.resize(packet.tcp_options.len(), 1);
                assert_eq!(seen.tcp_options, expected, "{}: {blocks:?}", mode.name);
                if acknowledgement > 0 {
                    script = Script::sent(&mode);
                }
            }
        }
    }
}

/// The target may have got the header or not, and heeds a reset with the number that it expects alone.
#[test]
fn resets_have_the_number_that_their_receiver_expects() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let length = script.length();
        let reset = (FlowHit, 1 - length, RST, vec![]);
        assert_eq!(script.client_sends(&script.client(RST, 1, b""), 0), [reset], "{}", mode.name);

        let mut script = Script::sent(&mode);
        let resets = [(FlowHit, 1, RST, vec![]), (ResetBeforeHeader, 1 - length, RST, vec![])];
        assert_eq!(script.client_sends(&script.client(RST, 1, b""), 0), resets);

        let mut script = Script::sent(&mode);
        assert_eq!(script.told(RST | ACK, 1 - length).0, 1);

        let mut script = Script::new(&mode);
        script.begin();
        let seen = script.target_sends(&script.target(RST | ACK, 1 - length), 0);
        assert_eq!((seen.flags, seen.acknowledgement), (RST | ACK, INITIAL.wrapping_add(1)), "a refusal");
        assert_eq!(script.path.counters().flows.value(), 0);
    }
}

#[test]
fn data_in_a_syn_are_left_for_the_client_to_send_again() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::new(&mode);
        (script.source, script.target) = (script.mode.client, script.mode.web());
        let syn = script.client(SYN, 0, b"early");
        let (_, out) = through(&mut script.path, &syn, 0);
        let seen = read(&out.unwrap());
        assert_eq!((seen.flags, seen.payload.len()), (SYN, 0), "{}", mode.name);
        (script.source, script.target) = (seen.source, seen.destination);
        script.answer(0);
        let left = script.client_sends(&script.client(ACK | PSH, 1, b"early"), 0);
        assert_eq!(left[0].3, script.header_and(b"early"));
    }
}

/// Longer than the way out, or than what the target takes: the header goes first.
#[test]
fn a_header_that_does_not_fit_goes_by_itself() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let length = script.length();
        let payload = vec![7; 1_400];
        let left = script.client_sends(&script.client(ACK | PSH, 1, &payload), 0);
        let header = (ProxyHeader, 1 - length, ACK | PSH, script.header_and(b""));
        assert_eq!(left, [header, (BehindHeader, 1, ACK | PSH, payload)], "{}", mode.name);
    }
}

#[test]
fn a_header_fills_a_segment_to_the_last_byte() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        for (longer, frames) in [(0, 1), (1, 2)] {
            let mut script = Script::answered(&mode);
            let is_ipv4_out = script.target.is_ipv4();
            let room = 1_500 - if is_ipv4_out { 40 } else { 60 } - script.header.len();
            let left = script.client_sends(&script.client(ACK, 1, &vec![7; room + longer]), 0);
            assert_eq!(left.len(), frames, "{}", mode.name);
        }
    }
}

#[test]
fn timestamps_and_other_options_stay_with_their_segment() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let options = vec![1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9];
        let packet = Crafted { tcp_options: options.clone(), ..script.client(ACK, 1, b"odd") };
        let (verdict, out) = through(&mut script.path, &packet, 0);
        let seen = read(&out.unwrap());
        assert_eq!((verdict.reason, seen.payload), (ProxyHeader, script.header_and(b"odd")));
        assert_eq!(seen.tcp_options, options, "{}", mode.name);
    }
}

/// What is damaged is for its receiver to find, and changes nothing.
#[test]
fn a_wrong_checksum_stays_wrong_and_is_not_learnt_from() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let damaged = |packet: &Crafted, path: &mut _| {
            let mut frame = packet.bytes();
            *frame.last_mut().unwrap() ^= 1;
            let (verdict, out) = send(path, ingress_of(packet), &frame, 0);
            (verdict.reason, is_checksum_right(&out.unwrap()))
        };
        let hello = script.client(ACK | PSH, 1, b"hello");
        assert_eq!(damaged(&hello, &mut script.path), (FlowHit, Some(false)), "{}", mode.name);
        assert_eq!(script.client_sends(&hello, 0)[0].0, ProxyHeader);
        let answer = script.target(ACK, 6).payload(b"world");
        assert_eq!(damaged(&answer, &mut script.path), (FlowHit, Some(false)));
        assert!(!script.is_over());
    }
}

/// Flows from before the attribute was switched on began without; flows in the phase end it.
#[test]
fn switching_the_attribute_concerns_new_flows_alone() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let without = Scene { proxy_header: None, generation: 2, ..mode.scene.clone() };
        let mut script = Script::connected(&mode);
        script.path.install(without.tables());
        assert_eq!(
            script.client_sends(&script.client(ACK, 1, b"hello"), 0)[0].0,
            ProxyHeader,
            "{}",
            mode.name
        );
        assert_eq!(script.told(ACK, 6), (6, 1_000));
        assert!(script.is_over());

        let mut path = leaked_datapath(64, settings(), &without);
        let flow = OpenFlow::connect(&mut path, mode.client, mode.web(), 0);
        path.install(Scene { generation: 3, ..mode.scene.clone() }.tables());
        let request = flow.request(ACK).payload(b"hello");
        let seen = flow.to_target(&mut path, &request, 0);
        assert_eq!((seen.sequence, &seen.payload[..]), (request.sequence, &b"hello"[..]));
    }
}

/// Without a record nobody would know where the stream begins.
#[test]
fn a_flow_that_is_owed_a_header_is_not_opened_without_room() {
    let [mode, ..] = proxy_modes(OnFirstAck);
    let other = std::net::SocketAddr::new(mode.client.ip(), 41_000);
    let mut script = Script::new(&Mode { client: other, ..mode.clone() });
    script.path = leaked_datapath(1, settings(), &mode.scene);
    script.begin();
    script.answer(0);
    script.client_sends(&script.client(ACK, 1, b""), 0);
    assert_eq!(through(&mut script.path, &mode.syn(), 0).0.reason, FlowTableFull);
}

/// A client finds its own numbers in what routers and its target say of its packets.
#[test]
fn icmp_errors_quote_the_clients_own_numbers() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let length = script.length();
        for (about, number) in [(1 - length, 1), (-length, 0), (1, 1), (500, 500)] {
            let at_target = Crafted {
                sequence: INITIAL.wrapping_add_signed(about),
                ..tcp(script.source, script.target, ACK)
            };
            let at_target = at_target.payload(&[0; 40]).bytes();
            let kind = if script.target.is_ipv4() { (3, 4) } else { (2, 0) };
            let from = (target_mac(number_of(script.target)), INSIDE_MAC);
            let addresses = (script.target.ip(), script.source.ip());
            let error = icmp_error(kind, addresses, from, &at_target, at_target.len() - 14);
            let (verdict, out) = send(&mut script.path, INSIDE, &error, 0);
            assert_eq!(verdict.reason, IcmpError, "{}", mode.name);
            let quoted = read(&read_error(&out.unwrap()).quote);
            assert_eq!(quoted.sequence.wrapping_sub(INITIAL) as i32, number, "{}", mode.name);
        }
    }
}

/// A flow's first SYN makes room for its header, so a SYN after a reset cannot be sent on as it is.
#[test]
fn a_connection_after_a_reset_has_a_header_too() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::sent(&mode);
        script.target_sends(&script.target(ACK, 6), 0);
        script.client_sends(&script.client(RST, 6, b""), 0);
        let syn = script.client(SYN, 1_000, b"");
        let (verdict, out) = through(&mut script.path, &syn, 1);
        let number = read(&out.unwrap()).sequence.wrapping_sub(INITIAL) as i32;
        assert_eq!((verdict.reason, number), (FlowNew, 1_000 - script.length()), "{}", mode.name);
    }
}

/// A flow that is cut in the phase: both sides are reset with numbers that they know.
#[test]
fn a_flow_that_is_cut_before_its_header_went_is_reset_on_both_sides() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let length = script.length();
        let n = number_of(script.target);
        let mut cut = Scene { generation: 2, ..mode.scene.clone() };
        cut.targets[usize::from(n) - 1] = (n, false, FlowPolicy::Cut(CutCause::Unhealthy));
        script.path.install(cut.tables());
        let hello = script.client(ACK | PSH, 1, b"hello");
        let (verdict, out) = through(&mut script.path, &hello, 0);
        assert_eq!((verdict.reason, read(&out.unwrap()).flags), (ResetTerminated, RST), "{}", mode.name);
        let made = script.made(0);
        assert_eq!(made, [(ResetOtherSide, 1 - length, RST | ACK, vec![])], "{}", mode.name);
    }
}

//! Segments that are lost, repeated or late.

use lb_core::{
    tables::HeaderPlacement::{OnFirstAck, OnFirstAckWithPayload},
    verdict::Reason::*,
};

use super::{script::*, support::*};

#[test]
fn a_repeated_syn_is_the_same_at_the_target() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::new(&mode);
        let first = without_number(script.begin());
        assert_eq!(without_number(script.begin()), first, "{}", mode.name);
        script.answer(0);
        assert_eq!(without_number(script.begin()), first);
    }
}

/// IPv4 packets that may be cut up have numbers of their own, though they say the same.
fn without_number(mut seen: Seen) -> Seen {
    if seen.source.is_ipv4() {
        seen.header[4..6].fill(0);
        seen.header[10..12].fill(0);
    }
    seen
}

/// A client that gives up and begins anew on the same port, while its target remembers the first time.
#[test]
fn a_client_that_begins_anew_has_new_numbers() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        for gap in [1_000, -1_000] {
            let mut script = Script::answered(&mode);
            let length = script.length();
            let syn = script.client_sends(&script.client(SYN, gap, b""), 1);
            assert_eq!(syn, [(FlowHit, gap - length, SYN, vec![])], "{}", mode.name);
            // The target says what it expects, which the client does not know: its reset is what the target expects.
            assert_eq!(script.told(ACK, 1 - length).0, 1);
            let reset = script.client_sends(&script.client(RST, 1, b""), 2);
            assert_eq!(reset, [(FlowHit, 1 - length, RST, vec![])]);
            assert_eq!(script.client_sends(&script.client(SYN, gap, b""), 3)[0].1, gap - length);
            assert_eq!(script.told(SYN | ACK, gap + 1 - length).0, gap + 1);
            let left = script.client_sends(&script.client(ACK, gap + 1, b"hello"), 4);
            assert_eq!(left, [(ProxyHeader, gap + 1 - length, ACK, script.header_and(b"hello"))]);
        }
    }
}

/// The client's own repetition is the header's, each by itself in case that both were too long.
#[test]
fn a_lost_header_goes_again_with_the_clients_bytes() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::sent(&mode);
        let length = script.length();
        for now_ms in [200, 600] {
            let left = script.client_sends(&script.client(ACK | PSH, 1, b"hello"), now_ms);
            let header = (ProxyHeader, 1 - length, ACK | PSH, script.header_and(b""));
            assert_eq!(left, [header, (BehindHeader, 1, ACK | PSH, b"hello".to_vec())], "{}", mode.name);
        }
        assert!(script.made(10_000).is_empty(), "nothing goes unasked");
    }
}

#[test]
fn bytes_that_overtake_the_first_ones_keep_their_number() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let length = script.length();
        let left = script.client_sends(&script.client(ACK | PSH, 6, b"world"), 0);
        assert_eq!(left, [(FlowHit, 6, ACK | PSH, b"world".to_vec())], "{}", mode.name);
        assert_eq!(script.told(ACK, 1 - length).0, 1);
        let left = script.client_sends(&script.client(ACK | PSH, 1, b"hello"), 0);
        assert_eq!(left, [(ProxyHeader, 1 - length, ACK | PSH, script.header_and(b"hello"))]);
    }
}

/// Nobody else would: the client has nothing to repeat.
#[test]
fn a_header_without_data_is_repeated_until_it_is_acknowledged() {
    let options = vec![1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9];
    for mode in proxy_modes(OnFirstAck) {
        let mut script = Script::answered(&mode);
        let length = script.length();
        let first = Crafted { tcp_options: options.clone(), window: 77, ..script.client(ACK, 1, b"") };
        script.client_sends(&first, 0);
        let repeated = (HeaderRepeated, 1 - length, ACK | PSH, script.header_and(b""));
        let mut times_ms = Vec::new();
        for now_ms in (0..40_000).step_by(50) {
            for left in script.made(now_ms) {
                assert_eq!(left, repeated, "{}", mode.name);
                times_ms.push(now_ms);
            }
        }
        assert_eq!(times_ms, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000], "{}", mode.name);
    }
    for mode in proxy_modes(OnFirstAck) {
        let mut script = Script::answered(&mode);
        let first = Crafted { tcp_options: options.clone(), window: 77, ..script.client(ACK, 1, b"") };
        script.client_sends(&first, 0);
        script.path.expire(lb_core::time::Instant::from_millis(250));
        let seen = read(&take_extras(&mut script.path)[0].1);
        assert_eq!((seen.window, seen.acknowledgement), (77, TARGET_INITIAL + 1), "{}", mode.name);
        assert_eq!((seen.tcp_options, seen.payload), (options.clone(), script.header.clone()));
        script.told(ACK, 1);
        assert!(script.made(500).is_empty());
        assert!(script.is_over());
    }
}

/// Together the header would come twice, which the target's stack would report.
#[test]
fn first_bytes_follow_a_header_that_went_before_them_and_bring_it_when_they_come_again() {
    for mode in proxy_modes(OnFirstAck) {
        for payload in [&b"hello"[..], &[7; 1_400]] {
            let mut script = Script::connected(&mode);
            let length = script.length();
            let first = script.client(ACK | PSH, 1, payload);
            let alone = (FlowHit, 1, ACK | PSH, payload.to_vec());
            assert_eq!(script.client_sends(&first, 0), [alone], "{}", mode.name);
            let header = (ProxyHeader, 1 - length, ACK | PSH, script.header_and(b""));
            let behind = (BehindHeader, 1, ACK | PSH, payload.to_vec());
            assert_eq!(script.client_sends(&first, 200), [header, behind]);
        }
    }
}

/// The third segment of the handshake was lost with the header: the target repeats its SYN, and the client acknowledges it again.
#[test]
fn an_acknowledgement_that_comes_again_brings_the_header_again() {
    for mode in proxy_modes(OnFirstAck) {
        let mut script = Script::answered(&mode);
        let length = script.length();
        let header = vec![(ProxyHeader, 1 - length, ACK | PSH, script.header_and(b""))];
        assert_eq!(script.client_sends(&script.client(ACK, 1, b""), 0), header, "{}", mode.name);
        assert_eq!(script.client_sends(&script.client(ACK, 1, b""), 100)[0], (FlowHit, 1, ACK, vec![]));
        assert_eq!(script.answer(200).acknowledgement, INITIAL.wrapping_add(1));
        assert_eq!(script.client_sends(&script.client(ACK, 1, b""), 240), header);
    }
}

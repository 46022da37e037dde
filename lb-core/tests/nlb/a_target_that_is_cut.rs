//! Unhealthy or deregistered, with connection termination.

use super::*;

/// The flow's next packet, from whichever side, resets both: its sender by an answer, the other in the packet's place.
#[test]
fn has_both_sides_of_its_tcp_flows_reset() {
    for mode in modes() {
        for is_request in [true, false] {
            let mut path = mode.path();
            let flow = mode.connect(&mut path);
            path.install(
                with_policy(&mode.scene, number_of(flow.target), FlowPolicy::Cut(CutCause::Unhealthy))
                    .tables(),
            );
            let packet = if is_request { flow.request(ACK) } else { flow.reply(ACK) };
            let packet = Crafted { sequence: 77, acknowledgement: 88, ..packet.payload(b"data") };
            assert_reset(&mut path, &packet, Reason::ResetTerminated, 1);
            let extras = take_extras(&mut path);
            assert_eq!((extras.len(), extras[0].0.reason), (1, Reason::ResetOtherSide), "{}", mode.name);
            assert_eq!(extras[0].0.port, if is_request { INSIDE.0 } else { OUTSIDE.0 });
            let seen = read(&extras[0].1);
            let golden = if is_request { flow.at_target(&packet) } else { flow.at_client(&packet) };
            assert_eq!(
                (seen.source, seen.destination, seen.macs),
                (golden.source, golden.destination, golden.macs)
            );
            assert_eq!((seen.flags, seen.sequence, seen.acknowledgement), (RST | ACK, 77, 88));
            assert_eq!((seen.ttl, seen.payload.len()), (limits::REPLY_TTL, 0));
            // From now on each gets its own.
            for packet in [flow.request(ACK), flow.reply(ACK)] {
                assert_reset(&mut path, &packet, Reason::ResetTerminated, 2);
                assert!(take_extras(&mut path).is_empty());
            }
            for packet in [flow.request(RST), flow.reply(RST)] {
                assert_silence(&mut path, &packet, Reason::Terminated);
            }
            assert_eq!((path.counters().all_cut(), path.counters().made.value()), (1, 1));
            assert_books_balance(path.counters());
        }
    }
}

#[test]
fn gets_no_new_flow_and_the_client_reaches_another_by_a_new_syn() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        let n = number_of(flow.target);
        path.install(with_policy(&mode.scene, n, FlowPolicy::Cut(CutCause::Unhealthy)).tables());
        through(&mut path, &flow.request(ACK), 1);
        take_extras(&mut path);
        let again = OpenFlow::connect(&mut path, flow.client, flow.vip, 2);
        assert_ne!(number_of(again.target), n, "{}", mode.name);
        for port in 10_000..10_060 {
            let other = OpenFlow::open(&mut path, &tcp((mode.client.ip(), port), mode.web(), SYN), 2);
            assert_ne!(number_of(other.target), n);
        }
    }
}

#[test]
fn loses_its_udp_flows_to_others() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        path.install(
            with_policy(&mode.scene, number_of(flow.target), FlowPolicy::Cut(CutCause::Unhealthy)).tables(),
        );
        let (verdict, out) = through(&mut path, &mode.datagram(), 1);
        assert_eq!(verdict.reason, Reason::FlowNew, "{}", mode.name);
        assert_ne!(read(&out.unwrap()).destination, flow.target);
        assert_silence(&mut path, &flow.reply(0), Reason::NoFlow);
        assert!(take_extras(&mut path).is_empty(), "a datagram is never answered by a reset");
    }
}

#[test]
fn and_then_well_again_does_not_get_its_old_flows_back() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        path.install(
            with_policy(&mode.scene, number_of(flow.target), FlowPolicy::Cut(CutCause::Unhealthy)).tables(),
        );
        assert_reset(&mut path, &flow.request(ACK), Reason::ResetTerminated, 1);
        take_extras(&mut path);
        path.install(Scene { generation: 3, ..mode.scene.clone() }.tables());
        assert_reset(&mut path, &flow.request(ACK), Reason::ResetTerminated, 2);
        assert_reset(&mut path, &flow.reply(ACK), Reason::ResetTerminated, 2);
    }
}

/// Also where no packet is under way: each side is asked for one, which it answers, and the answer is reset.
#[test]
fn has_its_idle_flows_ended_within_a_second() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        OpenFlow::open(&mut path, &mode.datagram(), 0);
        path.install(
            with_policy(&mode.scene, number_of(flow.target), FlowPolicy::Cut(CutCause::Unhealthy)).tables(),
        );
        let probes = purge(&mut path, 1_000);
        assert!(!path.is_purging());
        let [for_target, for_client] = &probes[..] else { panic!("{}: {probes:?}", mode.name) };
        for (probe, golden, port) in [
            (for_target, flow.at_target(&flow.request(ACK)), INSIDE.0),
            (for_client, flow.at_client(&flow.reply(ACK)), OUTSIDE.0),
        ] {
            assert_eq!((probe.0.reason, probe.0.port), (Reason::ProbeCut, port), "{}", mode.name);
            let seen = read(&probe.1);
            assert_eq!(
                (seen.source, seen.destination, seen.macs, seen.flags),
                (golden.source, golden.destination, golden.macs, ACK)
            );
        }
        for packet in [flow.request(ACK), flow.reply(ACK)] {
            assert_reset(&mut path, &packet, Reason::ResetTerminated, 1_001);
        }
        assert!(purge(&mut path, 5_000).is_empty(), "once is enough");
        assert_books_balance(path.counters());
    }
}

#[test]
fn loses_its_idle_udp_flows_within_a_second() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        let policy = FlowPolicy::Cut(CutCause::Deregistered);
        path.install(with_policy(&mode.scene, number_of(flow.target), policy).tables());
        assert!(purge(&mut path, 1_000).is_empty(), "a datagram provokes no answer");
        let cut = &path.counters().cut;
        assert_eq!(cut[CutCause::Deregistered as usize].value(), 1, "{}", mode.name);
        assert_eq!(path.counters().targets[usize::from(number_of(flow.target))].active_flows.value(), 0);
    }
}

/// However often tables change meanwhile.
#[test]
fn has_its_flows_found_in_the_midst_of_other_changes() {
    let mode = &modes()[0];
    let mut path = leaked_datapath(8_192, settings(), &mode.scene);
    let flows: Vec<OpenFlow> = (10_000..14_000)
        .map(|port| OpenFlow::open(&mut path, &udp((mode.client.ip(), port), mode.dns()), 0))
        .collect();
    let n = number_of(flows[0].target);
    let concerned = flows.iter().filter(|flow| number_of(flow.target) == n).count();
    let mut scene = with_policy(&mode.scene, n, FlowPolicy::Cut(CutCause::Unhealthy));
    for change in 1..=15 {
        scene.generation += 1;
        path.install(scene.tables());
        for ms in 0..100 {
            path.expire(Instant::from_nanos((change * 100 + ms) * 1_000_000));
        }
    }
    assert_eq!(path.counters().all_cut(), concerned as u64);
}

/// The frames that a packet path makes by itself from a second before `until_ms` on.
fn purge(path: &mut Datapath<'_>, until_ms: u64) -> Vec<(Verdict, Vec<u8>)> {
    let mut made = Vec::new();
    for ms in until_ms.saturating_sub(1_000)..=until_ms {
        path.expire(Instant::from_nanos(ms * 1_000_000));
        made.extend(take_extras(path));
    }
    made
}

//! Why flows are over, and when they are told of: in every mode, and once.

use std::collections::BTreeSet;

use lb_core::{
    datapath::{Datapath, Settings},
    flow_log::{CloseReason, EndedFlow},
    limits,
    tables::{CutCause, FlowPolicy, Tables},
    time::Instant,
};

use crate::{
    log_all, stop,
    support::{
        ACK, Crafted, FIN, Mode, OpenFlow, RST, SYN, Scene, leaked_datapath, modes, settings, take_extras,
        tcp, through,
    },
};

#[test]
fn a_closed_flow_is_told_of_when_it_is_quiet() {
    for mode in modes() {
        let mut path = logged(&mode);
        let flow = connect(&mode, &mut path);
        let request = flow.request(ACK).payload(&[1; 300]);
        flow.to_target(&mut path, &request, 1_500);
        flow.to_client(&mut path, &flow.reply(FIN | ACK), 2_000);
        flow.to_target(&mut path, &flow.request(FIN | ACK), 3_000);
        flow.to_client(&mut path, &flow.reply(ACK), 3_500);
        assert_eq!(told(&mut path, 3_501..5_500), [], "{}", mode.name);
        let [ended] = told(&mut path, 5_500..16_000)[..] else { panic!("{}", mode.name) };
        assert_eq!((ended.reason, ended.ended_ms, ended.view.state), (CloseReason::Fin, 3_500, "closed"));
        let tally = ended.tally.unwrap();
        assert_eq!((tally.packets, tally.began()), ([4, 3], Instant::from_millis(1_000)), "{}", mode.name);
        let header = |packet: &Crafted| packet.bytes().len() as u64 - ETHERNET;
        let requests = [SYN, ACK, FIN | ACK].map(|flags| header(&flow.request(flags)));
        let replies = [SYN | ACK, FIN | ACK, ACK].map(|flags| header(&flow.reply(flags)));
        assert_eq!(
            tally.bytes,
            [requests.iter().sum::<u64>() + header(&request), replies.iter().sum::<u64>()]
        );
        let ends = (ended.view.client, ended.view.vip, ended.view.source, ended.view.target);
        let end = |end: std::net::SocketAddr| (end.ip(), end.port());
        assert_eq!(ends, (end(flow.client), end(flow.vip), end(flow.source), end(flow.target)));
        assert_eq!(told(&mut path, 16_000..200_000), [], "once is enough");
        assert_eq!(stop(&mut path, 200_000), []);
    }
}

#[test]
fn a_new_flow_on_the_same_ports_does_not_wait() {
    for mode in modes() {
        let mut path = logged(&mode);
        let flow = connect(&mode, &mut path);
        through(&mut path, &flow.request(FIN | ACK), 2_000);
        through(&mut path, &flow.reply(FIN | ACK), 2_000);
        assert_eq!(reasons(told(&mut path, 2_000..2_010)), []);
        through(&mut path, &mode.syn(), 2_100);
        assert_eq!(reasons(told(&mut path, 2_100..2_101)), [CloseReason::Fin], "{}", mode.name);
        assert_eq!(reasons(stop(&mut path, 2_200)), [CloseReason::Stopped]);
    }
}

#[test]
fn a_reset_names_its_sender() {
    for mode in modes() {
        for (is_by_client, reason) in [(true, CloseReason::ClientReset), (false, CloseReason::TargetReset)] {
            let mut path = logged(&mode);
            let flow = connect(&mode, &mut path);
            let reset = if is_by_client { flow.request(RST) } else { flow.reply(RST) };
            through(&mut path, &reset, 2_000);
            let [ended] = told(&mut path, 2_000..30_000)[..] else { panic!("{}", mode.name) };
            assert_eq!((ended.reason, ended.ended_ms), (reason, 2_000), "{}", mode.name);
            assert_eq!(told(&mut path, 30_000..600_000), []);
        }
    }
}

/// Its ends take no notice of the reset, which was forged: what comes then is another record.
#[test]
fn a_flow_that_goes_on_after_its_reset_is_told_of_again() {
    let mode = &modes()[0];
    let mut path = logged(mode);
    let flow = connect(mode, &mut path);
    through(&mut path, &flow.request(RST), 2_000);
    assert_eq!(reasons(told(&mut path, 2_000..30_000)), [CloseReason::ClientReset]);
    flow.to_client(&mut path, &flow.reply(ACK), 30_000);
    let [ended] = stop(&mut path, 31_000)[..] else { panic!("not told of again") };
    assert_eq!((ended.reason, ended.tally.unwrap().packets), (CloseReason::Stopped, [0, 1]));
}

/// The next connection on the same ports, in no hurry and at once: its record has all its packets, and nobody else's.
#[test]
fn a_flow_on_ports_of_one_that_was_reset() {
    for mode in modes() {
        for pause_ms in [1, 20_000] {
            let mut path = logged(&mode);
            let flow = connect(&mode, &mut path);
            through(&mut path, &flow.request(RST), 2_000);
            let (mut ended, begun) = (told(&mut path, 2_000..2_000 + pause_ms), 2_000 + pause_ms);
            flow.to_target(&mut path, &flow.request(SYN), begun);
            flow.to_client(&mut path, &flow.reply(SYN | ACK), begun + 1);
            flow.to_target(&mut path, &flow.request(ACK), begun + 2);
            through(&mut path, &flow.reply(RST), begun + 3);
            ended.extend(told(&mut path, begun + 3..begun + 30_000));
            let rows: Vec<_> = ended.iter().map(|one| (one.reason, one.tally.unwrap().packets)).collect();
            let expected = [(CloseReason::ClientReset, [3, 1]), (CloseReason::TargetReset, [2, 2])];
            assert_eq!(rows, expected, "{}", mode.name);
            assert_eq!(ended[1].tally.unwrap().began(), Instant::from_millis(begun), "{}", mode.name);
        }
    }
}

/// Its client's SYN after the reset is unanswered: it did not end by that, nor was its time over.
#[test]
fn a_flow_that_begins_again_is_told_of_as_one_that_was_under_way() {
    for mode in modes() {
        for cause in [None, Some(CutCause::Unhealthy)] {
            let mut path = logged(&mode);
            let flow = connect(&mode, &mut path);
            through(&mut path, &flow.request(RST), 2_000);
            flow.to_target(&mut path, &flow.request(SYN), 2_100);
            let mut ended = told(&mut path, 2_100..2_101);
            if let Some(cause) = cause {
                path.install(cut(&mode.scene, cause));
                ended.extend(told(&mut path, 2_200..4_000));
            }
            ended.extend(stop(&mut path, 4_000));
            let why = cause.map_or(CloseReason::Stopped, CloseReason::Cut);
            assert_eq!(reasons(ended), [CloseReason::ClientReset, why], "{}", mode.name);
        }
    }
}

#[test]
fn a_flow_that_its_target_refuses() {
    for mode in modes() {
        let mut path = logged(&mode);
        let flow = OpenFlow::open(&mut path, &mode.syn(), 1_000);
        through(&mut path, &flow.reply(RST | ACK), 1_200);
        let [ended] = told(&mut path, 1_200..1_201)[..] else { panic!("{}", mode.name) };
        assert_eq!(
            (ended.reason, ended.ended_ms, ended.view.state),
            (CloseReason::Refused, 1_200, "half_open")
        );
        assert_eq!(ended.tally.unwrap().packets, [1, 1], "the refusal is the flow's, too");
    }
}

/// Each SYN after a reset is a flow of its own, whatever ended the one before.
#[test]
fn a_flow_that_its_target_refuses_on_ports_of_one_that_was_reset() {
    for mode in modes() {
        let mut path = logged(&mode);
        let flow = connect(&mode, &mut path);
        through(&mut path, &flow.request(RST), 2_000);
        let mut ended = told(&mut path, 2_000..2_001);
        for syn_ms in [3_000, 4_000] {
            flow.to_target(&mut path, &flow.request(SYN), syn_ms);
            flow.to_target(&mut path, &flow.request(SYN), syn_ms + 100);
            flow.to_client(&mut path, &flow.reply(RST | ACK), syn_ms + 200);
            ended.extend(told(&mut path, syn_ms + 200..syn_ms + 201));
        }
        ended.extend(told(&mut path, 4_201..400_000));
        let rows: Vec<_> =
            ended.iter().map(|one| (one.reason, one.ended_ms, one.tally.unwrap().packets)).collect();
        let refused = |ended_ms| (CloseReason::Refused, ended_ms, [2, 1]);
        let expected = [(CloseReason::ClientReset, 2_000, [3, 1]), refused(3_200), refused(4_200)];
        assert_eq!(rows, expected, "{}", mode.name);
    }
}

/// Refusal and reset were forged: what comes then is another record.
#[test]
fn a_flow_that_goes_on_after_its_refusal_is_told_of_again() {
    for mode in modes() {
        let mut path = logged(&mode);
        let flow = connect(&mode, &mut path);
        through(&mut path, &flow.request(RST), 2_000);
        flow.to_target(&mut path, &flow.request(SYN), 2_100);
        flow.to_client(&mut path, &flow.reply(RST | ACK), 2_200);
        let before = reasons(told(&mut path, 2_200..30_000));
        assert_eq!(before, [CloseReason::ClientReset, CloseReason::Refused], "{}", mode.name);
        flow.to_target(&mut path, &flow.request(ACK), 30_000);
        flow.to_client(&mut path, &flow.reply(RST), 30_100);
        assert_eq!(reasons(told(&mut path, 30_100..60_000)), [CloseReason::TargetReset], "{}", mode.name);
    }
}

#[test]
fn a_flow_without_packets() {
    for mode in modes() {
        let mut path = logged(&mode);
        connect(&mode, &mut path);
        OpenFlow::open(&mut path, &mode.datagram(), 1_000);
        OpenFlow::open(&mut path, &tcp((mode.client.ip(), 40_001), mode.web(), SYN), 1_000);
        let ended = told(&mut path, 1_000..400_000);
        let of = |at: usize| (ended[at].view.state, ended[at].reason, ended[at].ended_ms);
        assert_eq!(ended.len(), 3, "{}", mode.name);
        assert_eq!(of(0), ("half_open", CloseReason::HalfOpenTimeout, 1_000 + 30_000));
        assert_eq!(of(1), ("udp", CloseReason::Idle, 1_000 + 120_000));
        assert_eq!(of(2), ("established", CloseReason::Idle, 1_000 + 350_000));
    }
}

#[test]
fn half_open_flows_that_make_room_for_others() {
    for mode in modes() {
        let mut path = leaked_datapath(8, settings(), &mode.scene);
        log_all(&mut path, 1_000);
        for port in [1, 2] {
            through(&mut path, &tcp((mode.client.ip(), port), mode.web(), SYN), 1_000 + u64::from(port));
        }
        let [ended] = told(&mut path, 1_002..1_003)[..] else { panic!("{}", mode.name) };
        assert_eq!((ended.reason, ended.view.client.1, ended.ended_ms), (CloseReason::Evicted, 1, 1_002));
        assert_eq!(ended.tally.unwrap().packets, [1, 0]);
    }
}

/// By its next packet, or by the round over all flows, whichever comes first.
#[test]
fn flows_that_are_cut() {
    for mode in modes() {
        for cause in CutCause::ALL {
            for has_packet in [true, false] {
                let mut path = logged(&mode);
                let (flow, datagram) = (connect(&mode, &mut path), mode.datagram());
                let other = OpenFlow::open(&mut path, &datagram, 1_000);
                path.install(cut(&mode.scene, cause));
                if has_packet {
                    through(&mut path, &flow.request(ACK), 2_000);
                    through(&mut path, &other.reply(0), 2_000);
                    take_extras(&mut path);
                }
                let ended = told(&mut path, 2_000..4_000);
                assert_eq!(reasons(ended.clone()), [CloseReason::Cut(cause); 2], "{}", mode.name);
                let states: BTreeSet<&str> = ended.iter().map(|ended| ended.view.state).collect();
                assert_eq!(states, BTreeSet::from(["established", "udp"]));
                assert_eq!(told(&mut path, 4_000..900_000), [], "{}: once is enough", mode.name);
            }
        }
    }
}

#[test]
fn flows_of_which_the_daemon_stops() {
    for mode in modes() {
        let mut path = logged(&mode);
        let flow = connect(&mode, &mut path);
        OpenFlow::open(&mut path, &mode.datagram(), 1_000);
        let closed = OpenFlow::connect(&mut path, (mode.client.ip(), 40_002).into(), mode.web(), 1_000);
        through(&mut path, &closed.request(FIN | ACK), 1_000);
        through(&mut path, &closed.reply(FIN | ACK), 1_000);
        let mut reasons = reasons(stop(&mut path, 1_100));
        reasons.sort_unstable_by_key(|reason| reason.name());
        assert_eq!(reasons, [CloseReason::Fin, CloseReason::Stopped, CloseReason::Stopped], "{flow:?}");
        assert_eq!(stop(&mut path, 1_200), []);
    }
}

#[test]
fn a_flow_that_was_under_way_is_marked() {
    let mode = &modes()[0];
    for adopts_strays in [false, true] {
        let scene = Scene { adopts_strays, ..mode.scene.clone() };
        let mut path = leaked_datapath(64, settings(), &scene);
        log_all(&mut path, 1_000);
        let flags = if adopts_strays { ACK } else { SYN };
        through(&mut path, &tcp(mode.client, mode.web(), flags), 1_000);
        let [ended] = stop(&mut path, 1_001)[..] else { panic!("no flow") };
        assert_eq!(ended.tally.unwrap().is_adopted(), adopts_strays);
    }
}

/// Its annex may be left from another flow.
#[test]
fn the_counts_of_a_flow_that_is_older_than_the_log_are_unknown() {
    for mode in modes() {
        let mut path = logged(&mode);
        let earlier = connect(&mode, &mut path);
        path.log_flows(None, Instant::from_millis(1_500));
        through(&mut path, &earlier.request(RST), 1_600);
        path.expire(Instant::from_millis(1_600));
        path.expire(Instant::from_millis(500_000));
        assert_eq!(path.take_ended().collect::<Vec<_>>(), []);
        let flow = OpenFlow::connect(&mut path, mode.client, mode.web(), 600_000);
        log_all(&mut path, 600_001);
        flow.to_target(&mut path, &flow.request(ACK), 600_002);
        through(&mut path, &flow.reply(RST), 600_003);
        let [ended] = stop(&mut path, 600_004)[..] else { panic!("{}", mode.name) };
        assert_eq!((ended.tally, ended.reason), (None, CloseReason::TargetReset), "{}", mode.name);
    }
}

#[test]
fn a_sample_is_the_same_on_every_node() {
    let mode = &modes()[0];
    let sample = |flow_hash_key| {
        let mut path = leaked_datapath(16_384, Settings { flow_hash_key, ..settings() }, &mode.scene);
        path.log_flows(10.try_into().ok(), Instant::from_millis(1_000));
        for port in 10_000..14_000 {
            OpenFlow::open(
                &mut path,
                &Crafted { source: (mode.client.ip(), port).into(), ..mode.datagram() },
                1_000,
            );
        }
        stop(&mut path, 1_001).into_iter().map(|ended| ended.view.client.1).collect::<BTreeSet<u16>>()
    };
    let sampled = sample([1; 16]);
    assert!((300..500).contains(&sampled.len()), "{} of 4000", sampled.len());
    assert_eq!(sampled, sample([2; 16]));
}

#[test]
fn what_there_is_no_room_for_is_counted() {
    let mode = &modes()[0];
    let mut path = leaked_datapath(16_384, settings(), &mode.scene);
    log_all(&mut path, 1_000);
    for port in 1..=limits::ENDED_FLOWS as u16 + 100 {
        let client = (mode.client.ip(), port).into();
        OpenFlow::open(&mut path, &Crafted { source: client, ..mode.datagram() }, 1_000);
    }
    for ms in (1_000..140_000).step_by(500) {
        path.expire(Instant::from_millis(ms));
    }
    assert_eq!(path.take_ended().count(), limits::ENDED_FLOWS);
    assert_eq!(path.counters().ended_flows_lost.value(), 100);
}

/// A packet path that tells of every flow from the first second on.
fn logged(mode: &Mode) -> Datapath<'static> {
    let mut path = mode.path();
    log_all(&mut path, 1_000);
    path
}

fn connect(mode: &Mode, path: &mut Datapath<'_>) -> OpenFlow {
    OpenFlow::connect(path, mode.client, mode.web(), 1_000)
}

/// What is told while time goes on, from its first to its last millisecond.
fn told(path: &mut Datapath<'_>, time_ms: std::ops::Range<u64>) -> Vec<EndedFlow> {
    let mut told: Vec<EndedFlow> = path.take_ended().collect();
    for ms in time_ms.step_by(100) {
        path.expire(Instant::from_millis(ms));
        take_extras(path);
        told.extend(path.take_ended());
    }
    told
}

fn reasons(told: Vec<EndedFlow>) -> Vec<CloseReason> {
    told.into_iter().map(|ended| ended.reason).collect()
}

/// The scene's next tables, by which all flows are cut.
fn cut(scene: &Scene, cause: CutCause) -> std::sync::Arc<Tables> {
    let is_closing = cause == CutCause::ListenerGone;
    let mut scene = Scene { generation: scene.generation + 1, is_closing, ..scene.clone() };
    for target in scene.targets.iter_mut().filter(|_| !is_closing) {
        *target = (target.0, false, FlowPolicy::Cut(cause));
    }
    scene.tables()
}

const ETHERNET: u64 = 14;

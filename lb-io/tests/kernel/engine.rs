//! The whole data path over veth: real sockets and programs, a client and a target played by the test.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_core::{
    counters::WorkerCounters,
    datapath::FlowView,
    flow_key::FlowKey,
    steer::Steering,
    tables::{Mac, Protocol, Tables},
    verdict::{Action, Reason},
};
use lb_io::engine::{
    Answers, AttachMode, Engine, EngineError, EngineSettings, Extent, FlowQuery, LockError, Polling,
};

use crate::{
    namespace::{self, Wire},
    support::{
        self, ACK, CLIENT, CLIENT_MAC, SYN, TARGET, TARGET_MAC, VIP, checksum_at, fold, frame, is_packet,
        is_right, pseudo_header, sum,
    },
};

#[test]
fn packets_reach_the_target_and_come_back() {
    namespace::run("packets_reach_the_target_and_come_back", || {
        let network = Network::new(1);
        let engine = network.start(settings(Polling::Adaptive));
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            for port in 40_000..40_050 {
                network.exchange(protocol, port);
            }
        }
        assert_eq!(settled(&engine), 200);
        assert_eq!(counted(&engine, Reason::HandedOver), 0);
        assert_eq!(flows(&engine, Extent::Some(1_000), |_| true).len(), 100);
        assert_eq!(flows(&engine, Extent::Some(30), |_| true).len(), 30);
        let only = flows(&engine, Extent::Some(1_000), |flow| flow.client.1 == 40_007);
        assert_eq!(only.len(), 2);
        assert!(only.iter().all(|flow| flow.target == (IpAddr::from(TARGET), 8_080)), "{only:?}");
        let status = &engine.workers()[0];
        assert!(status.is_running && status.turns > 0);
        let modes: Vec<_> = status.sockets.iter().map(|socket| socket.mode).collect();
        assert_eq!(modes, ["copy, native"; 2], "what a veth can do");
        engine.stop().unwrap();
    });
}

#[test]
fn a_worker_that_is_stuck_holds_up_no_other_and_not_who_asks() {
    namespace::run("a_worker_that_is_stuck_holds_up_no_other_and_not_who_asks", || {
        let network = Network::new(2);
        let engine = network.start(EngineSettings { workers: Some(2), ..settings(Polling::Adaptive) });
        for port in 40_000..40_100 {
            network.exchange(Protocol::Udp, port);
        }
        let (release, released) = crossbeam_channel::bounded::<()>(0);
        let (begin, begun) = crossbeam_channel::unbounded::<()>();
        let sticks = move |_: &FlowView| begin.send(()).is_ok() && released.recv().is_ok();
        let stuck =
            engine.find_flows(&FlowQuery { extent: Extent::Count, filter: Arc::new(sticks) }, Some(0));
        begun.recv_timeout(PATIENCE).unwrap();
        let how_many =
            || engine.find_flows(&FlowQuery { extent: Extent::Count, filter: Arc::new(|_| true) }, None);
        let key = {
            let (client, vip) = ((CLIENT.into(), 40_007u16.to_be_bytes()), (VIP.into(), 80u16.to_be_bytes()));
            FlowKey::new(client, vip, Protocol::Udp as u8).unwrap()
        };
        let why = || engine.ask_why(key);
        let asks_at_once = || {
            let asked = Instant::now();
            drop((how_many(), why()));
            assert_eq!(engine.workers().len(), 2);
            asked.elapsed() < Duration::from_secs(1)
        };
        assert!((0..ATTEMPTS).any(|_| asks_at_once()), "asking does not wait");
        let found = ask(how_many, &[0]);
        assert_eq!(found.len(), 1);
        assert!((1..100).contains(&found[0].count) && found[0].is_complete && found[0].flows.is_empty());
        let said = ask(why, &[0]);
        assert_eq!((said.len(), said[0].worker), (1, 1));
        assert_eq!(stuck.collect().1, [0]);
        drop(release); // It goes on, and gives up what nobody waits for.
        let said = ask(why, &[]);
        assert_eq!(said.len(), 2);
        assert_eq!(said.iter().filter(|why| why.flow.is_some()).count(), 1);
        assert_eq!(said.iter().filter(|why| why.is_home).count(), 1);
        engine.stop().unwrap();
    });
}

#[test]
fn partial_checksums_of_local_senders_are_completed() {
    namespace::run("partial_checksums_of_local_senders_are_completed", || {
        let network = Network::new(1);
        let engine = network.start(settings(Polling::Adaptive));
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let whole = network.request(protocol, 41_000);
            let mut partial = whole.clone();
            let at = checksum_at(protocol);
            let segment = 34..whole.len();
            let pseudo = fold(pseudo_header(&whole[14..], segment.len()));
            partial[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
            assert_ne!(partial, whole);
            network.client.send(&partial);
            let arrived = network.at_target(protocol, 41_000);
            assert!(is_right(&arrived), "{protocol:?}: {arrived:02x?}");
        }
        engine.stop().unwrap();
    });
}

#[test]
fn workers_hand_over_what_belongs_to_another() {
    namespace::run("workers_hand_over_what_belongs_to_another", || {
        let network = Network::new(2);
        let engine = network.start(EngineSettings { workers: Some(2), ..settings(Polling::Interrupt) });
        assert_eq!(engine.workers().len(), 2);
        for port in 42_000..42_400 {
            network.exchange(Protocol::Udp, port);
        }
        // Again, now that every flow has its home.
        for port in 42_000..42_400 {
            network.exchange(Protocol::Udp, port);
        }
        assert_eq!(settled(&engine), 1_600);
        let handed_over = counted(&engine, Reason::HandedOver);
        assert!((100..1_500).contains(&handed_over), "{handed_over} of 1,600 handed over");
        assert_eq!(counted(&engine, Reason::HandoverFull), 0);
        assert_eq!(flows(&engine, Extent::Some(1_000), |_| true).len(), 400);
        engine.stop().unwrap();
    });
}

#[test]
fn more_workers_than_cores_take_them_in_turn() {
    namespace::run("more_workers_than_cores_take_them_in_turn", || {
        for workers in [4, 8] {
            let network = Network::new(u32::from(workers));
            let mut settings = settings(Polling::Adaptive);
            settings.workers = Some(workers);
            settings.cpus = vec![lb_io::in_memory::cores().unwrap()[0]];
            let engine = network.start(settings);
            assert!(engine.shares_cores());
            assert_eq!(engine.workers().len(), usize::from(workers));
            for port in 48_000..48_100 {
                network.exchange(Protocol::Udp, port);
            }
            assert_eq!(settled(&engine), 200);
            assert!(counted(&engine, Reason::HandedOver) > 0);
            engine.stop().unwrap();
            namespace::remove("lb0");
            namespace::remove("lb1");
        }
    });
}

#[test]
fn a_piece_that_came_too_early_follows_the_first() {
    namespace::run("a_piece_that_came_too_early_follows_the_first", || {
        let network = Network::new(1);
        let engine = network.start(settings(Polling::Interrupt));
        let whole = network.request(Protocol::Udp, 49_000);
        let [first, later] =
            [(0..16, 0x2000), (16..32, 0x0002)].map(|(range, field)| piece(&whole, range, field));
        network.client.send(&later);
        namespace::wait_until(PATIENCE, "the piece is held", || counted(&engine, Reason::FragmentHeld) == 1);
        network.client.send(&first);
        for (sent, what) in [(first, "first"), (later, "later")] {
            let is_it = |frame: &[u8]| frame.len() == sent.len() && frame[20..22] == sent[20..22];
            let arrived = network.target.receive(PATIENCE, is_it).unwrap_or_else(|| panic!("{what} piece"));
            assert_eq!(
                (&arrived[26..34], &arrived[..6]),
                (&[CLIENT, TARGET].concat()[..], &TARGET_MAC.0[..])
            );
            assert_eq!(fold(sum(&arrived[14..34])), 0xffff);
        }
        assert_eq!(settled(&engine), 2);
        engine.stop().unwrap();
    });
}

#[test]
fn a_flood_is_counted_to_the_last_frame() {
    namespace::run("a_flood_is_counted_to_the_last_frame", || {
        let network = Network::new(2);
        let mut settings = settings(Polling::Adaptive);
        settings.frames_per_worker = 512;
        settings.workers = Some(2);
        let engine = network.start(settings);
        let frames: Vec<Vec<u8>> =
            (0..1_000).map(|flow| network.request(Protocol::Udp, 20_000 + flow)).collect();
        let counters = engine.counters();
        let received = || counters.iter().map(|worker| worker.received.value()).sum::<u64>();
        let deadline = Instant::now() + PATIENCE;
        let mut rounds = 0;
        // More than all rings together hold, so the workers take frames while others come.
        while rounds < 50 || received() <= 2_000 {
            assert!(Instant::now() < deadline, "{} of {rounds},000 received", received());
            frames.iter().for_each(|frame| network.client.send(frame));
            rounds += 1;
        }
        let mut last = (received(), Instant::now());
        namespace::wait_until(PATIENCE, "the flood is over, and every frame of it settled", || {
            if received() != last.0 {
                last = (received(), Instant::now());
            }
            last.1.elapsed() > Duration::from_millis(200) && settled_in(&counters) == received()
        });
        // What the flood left in the target's socket would keep new frames out of it.
        while network.target.receive(Duration::ZERO, |_| true).is_some() {}
        // No buffer was lost on the way: the workers still receive and send.
        for port in 30_000..30_300 {
            network.exchange(Protocol::Udp, port);
        }
        engine.stop().unwrap();
        assert_eq!(settled_in(&counters), taken_in(&counters));
    });
}

#[test]
fn new_tables_reach_a_sleeping_worker_at_once() {
    namespace::run("new_tables_reach_a_sleeping_worker_at_once", || {
        let network = Network::new(1);
        for polling in [Polling::Interrupt, Polling::Adaptive, Polling::Busy] {
            let engine = network.start(settings(polling));
            std::thread::sleep(Duration::from_millis(20));
            let mut took: Vec<Duration> = (2..102)
                .map(|generation| {
                    let published = Instant::now();
                    engine.publish(network.tables(generation, Some(TARGET_MAC)));
                    namespace::wait_until(PATIENCE, "the tables are in use", || {
                        engine.applied_generation() == generation
                    });
                    published.elapsed()
                })
                .collect();
            took.sort();
            // By itself a sleeper wakes ten times a second.
            assert!(took[25] < Duration::from_millis(20), "{polling:?}: {took:?}");
            engine.stop().unwrap();
        }
    });
}

#[test]
fn idle_workers_sleep_unless_they_are_busy() {
    namespace::run("idle_workers_sleep_unless_they_are_busy", || {
        let network = Network::new(1);
        for (polling, turns_per_second) in [(Polling::Interrupt, 100), (Polling::Adaptive, 40_000)] {
            let engine = network.start(settings(polling));
            std::thread::sleep(Duration::from_millis(20));
            let taken = turns_per_second_of(&engine);
            assert!(taken < turns_per_second, "{polling:?}: {taken} turns a second");
            assert!(engine.workers()[0].idle_share() > 0.9);
            engine.stop().unwrap();
        }
        let engine = network.start(settings(Polling::Busy));
        let is_spinning = || turns_per_second_of(&engine) > 40_000;
        assert!((0..ATTEMPTS).any(|_| is_spinning()), "a busy worker does not sleep");
        assert!(engine.workers()[0].idle_share() > 0.9);
        engine.stop().unwrap();
    });
}

#[test]
fn a_crash_drops_and_the_next_start_takes_over() {
    namespace::run("a_crash_drops_and_the_next_start_takes_over", || {
        let network = Network::new(1);
        let crashed = network.start(settings(Polling::Adaptive));
        assert!(crashed.attachments().iter().all(|attachment| !attachment.adopted));
        drop(crashed);

        let engine = network.start(settings(Polling::Adaptive));
        assert!(engine.attachments().iter().all(|attachment| attachment.adopted));
        network.exchange(Protocol::Udp, 43_000);
        engine.stop().unwrap();

        let engine = network.start(settings(Polling::Adaptive));
        assert!(
            engine.attachments().iter().all(|attachment| !attachment.adopted),
            "a clean stop leaves nothing"
        );
        network.exchange(Protocol::Udp, 43_000);
        engine.stop().unwrap();
    });
}

#[test]
fn a_driver_that_refuses_the_program_is_served_in_the_stack() {
    namespace::run("a_driver_that_refuses_the_program_is_served_in_the_stack", || {
        let network = Network::new(1);
        // A veth runs no program while its peer may send more than fits a page.
        namespace::set_mtu("far0", 9_000);
        for adopted in [false, true] {
            let engine = network.start(settings(Polling::Adaptive));
            let attachment = &engine.attachments()[0];
            assert_eq!((attachment.mode, attachment.adopted), (AttachMode::Generic, adopted));
            assert_eq!(attachment.native_refusal.is_some(), !adopted, "{attachment:?}");
            assert_eq!(engine.attachments()[1].mode, AttachMode::Native);
            let modes: Vec<_> = engine.workers()[0].sockets.iter().map(|socket| socket.mode).collect();
            assert_eq!(modes, ["copy, generic", "copy, native"]);
            network.exchange(Protocol::Tcp, 47_000);
            if adopted {
                engine.stop().unwrap();
            }
        }
    });
}

#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() {
    namespace::run("a_second_instance_is_refused_and_the_first_goes_on", || {
        let network = Network::new(1);
        let same = settings(Polling::Adaptive);
        let engine = network.start(same.clone());
        match Engine::prepare(same.clone()) {
            Err(EngineError::Lock(LockError::Held { interface, process })) => {
                assert_eq!((interface, process), ("lb0".to_owned(), std::process::id().to_string()));
            }
            other => panic!("{other:?}"),
        }
        // With another lock directory, the queues are found busy.
        let lock_directory = std::env::temp_dir().join(format!("lb-io-other-{}", std::process::id()));
        let other = Engine::prepare(EngineSettings { lock_directory: lock_directory.clone(), ..same });
        std::fs::remove_dir(lock_directory).unwrap();
        match other {
            Err(error @ EngineError::Bind { .. }) => {
                assert!(error.to_string().contains("another program"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        network.exchange(Protocol::Udp, 44_000);
        engine.stop().unwrap();
    });
}

#[test]
fn a_removed_interface_neither_spins_nor_hinders_the_stop() {
    namespace::run("a_removed_interface_neither_spins_nor_hinders_the_stop", || {
        let network = Network::new(1);
        let engine = network.start(settings(Polling::Interrupt));
        network.exchange(Protocol::Udp, 46_000);
        namespace::remove("lb1");
        network.client.send(&network.request(Protocol::Udp, 46_000));
        namespace::wait_until(PATIENCE, "the frame is taken", || counted(&engine, Reason::FlowHit) == 2);
        let taken = turns_per_second_of(&engine);
        assert!(taken < 2_000, "{taken} turns a second");
        engine.stop().unwrap();
    });
}

#[test]
fn a_missing_next_hop_is_asked_for() {
    namespace::run("a_missing_next_hop_is_asked_for", || {
        let network = Network::new(1);
        let mut engine = Engine::prepare(settings(Polling::Interrupt)).unwrap();
        let tables = network.tables(1, None);
        engine.start(tables.clone(), &Steering::new(&tables, &[])).unwrap();
        network.client.send(&network.request(Protocol::Udp, 45_000));
        namespace::wait_until(PATIENCE, "the frame is dropped", || {
            counted(&engine, Reason::NextHopUnresolved) == 1
        });
        engine.publish(network.tables(2, Some(TARGET_MAC)));
        namespace::wait_until(PATIENCE, "the tables are in use", || engine.applied_generation() == 2);
        network.exchange(Protocol::Udp, 45_000);
        engine.stop().unwrap();
    });
}

/// Two veth pairs, `lb0` towards a client and `lb1` towards a target.
struct Network {
    client: Wire,
    target: Wire,
    macs: [Mac; 2],
}

impl Network {
    fn new(queues: u32) -> Network {
        namespace::veth("lb0", "far0", queues);
        namespace::veth("lb1", "far1", queues);
        let macs = ["lb0", "lb1"].map(|name| lb_io::device::Device::open(name).unwrap().mac);
        Network { client: Wire::open("far0"), target: Wire::open("far1"), macs }
    }

    fn start(&self, settings: EngineSettings) -> Engine {
        let mut engine = Engine::prepare(settings).unwrap();
        let interfaces = engine.interfaces();
        assert_eq!(interfaces.iter().map(|interface| interface.mac).collect::<Vec<_>>(), self.macs);
        assert!(
            interfaces.iter().all(|interface| interface.receive_hash.is_none()),
            "a veth has none to tell"
        );
        let tables = self.tables(1, Some(TARGET_MAC));
        engine.start(tables.clone(), &Steering::new(&tables, &[])).unwrap();
        engine
    }

    fn tables(&self, generation: u32, target: Option<Mac>) -> Arc<Tables> {
        support::tables(generation, self.macs, target)
    }

    /// Sends a request and its reply through, and checks both on the far side.
    fn exchange(&self, protocol: Protocol, port: u16) {
        self.client.send(&self.request(protocol, port));
        let arrived = self.at_target(protocol, port);
        assert_eq!((&arrived[..6], &arrived[6..12]), (&TARGET_MAC.0[..], &self.macs[1].0[..]));
        assert_eq!((&arrived[26..30], &arrived[30..34]), (&CLIENT[..], &TARGET[..]));
        assert_eq!(arrived[36..38], 8_080_u16.to_be_bytes());
        assert!(is_right(&arrived), "{arrived:02x?}");

        let macs = (self.macs[1], TARGET_MAC);
        self.target.send(&frame(macs, protocol, (TARGET, 8_080), (CLIENT, port), SYN | ACK));
        let returned = self
            .client
            .receive(PATIENCE, |frame| is_packet(frame, protocol, (VIP, 80), (CLIENT, port)))
            .unwrap_or_else(|| panic!("{protocol:?} reply to {port} did not arrive"));
        assert_eq!((&returned[..6], &returned[6..12]), (&CLIENT_MAC.0[..], &self.macs[0].0[..]));
        assert!(is_right(&returned), "{returned:02x?}");
    }

    fn request(&self, protocol: Protocol, port: u16) -> Vec<u8> {
        frame((self.macs[0], CLIENT_MAC), protocol, (CLIENT, port), (VIP, 80), SYN)
    }

    fn at_target(&self, protocol: Protocol, port: u16) -> Vec<u8> {
        self.target
            .receive(PATIENCE, |frame| is_packet(frame, protocol, (CLIENT, port), (TARGET, 8_080)))
            .unwrap_or_else(|| panic!("{protocol:?} request from {port} did not arrive"))
    }
}

fn settings(polling: Polling) -> EngineSettings {
    EngineSettings {
        interfaces: vec!["lb0".to_owned(), "lb1".to_owned()],
        workers: None,
        cpus: Vec::new(),
        polling,
        frames_per_worker: 1_024,
        flow_capacity: 65_536,
        flow_hash_key: std::array::from_fn(|word| (word as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        selection_secret: [7; 16],
        adopt_until: None,
        // Every test has a network namespace of its own, and so a lock of its own.
        ports_per_client: None,
        lock_directory: std::env::temp_dir(),
    }
}

/// Flows that the workers find; all of them must answer.
fn flows(
    engine: &Engine,
    extent: Extent,
    filter: impl Fn(&FlowView) -> bool + Send + Sync + 'static,
) -> Vec<FlowView> {
    let query = FlowQuery { extent, filter: Arc::new(filter) };
    ask(|| engine.find_flows(&query, None), &[]).into_iter().flat_map(|found| found.flows).collect()
}

/// What the workers answer to a question when none is silent but those that are `stuck`. Others may be kept from it once.
fn ask<T>(question: impl Fn() -> Answers<T>, stuck: &[u8]) -> Vec<T> {
    let answers = (0..ATTEMPTS).map(|_| question().collect()).find(|(_, silent)| silent == stuck);
    answers.expect("all others answer").0
}

/// Turns that the first worker takes in a second.
fn turns_per_second_of(engine: &Engine) -> u64 {
    let turns = || engine.workers()[0].turns;
    let (began, before) = (Instant::now(), turns());
    std::thread::sleep(Duration::from_millis(500));
    let taken = turns() - before;
    (taken as f64 / began.elapsed().as_secs_f64()) as u64
}

fn counted(engine: &Engine, reason: Reason) -> u64 {
    engine.counters().iter().map(|worker| worker.reasons[reason as usize].value()).sum()
}

/// Frames settled for good; waits until none is on its way.
fn settled(engine: &Engine) -> u64 {
    let counters = engine.counters();
    namespace::wait_until(PATIENCE, "every frame is settled", || {
        taken_in(&counters) == settled_in(&counters)
    });
    taken_in(&counters)
}

/// Frames that came, and those that the load balancer made beside them.
fn taken_in(counters: &[Arc<WorkerCounters>]) -> u64 {
    counters.iter().map(|worker| worker.received.value() + worker.made.value()).sum()
}

fn settled_in(counters: &[Arc<WorkerCounters>]) -> u64 {
    Reason::ALL
        .iter()
        .filter(|reason| !matches!(reason.action(), Action::HandOver | Action::Hold))
        .map(|&reason| counters.iter().map(|worker| worker.reasons[reason as usize].value()).sum::<u64>())
        .sum()
}

/// The piece of a frame's packet that has `range` of its segment; `field` is its fragment offset and flags.
fn piece(whole: &[u8], range: std::ops::Range<usize>, field: u16) -> Vec<u8> {
    let mut piece = whole[..34].to_vec();
    piece[16..18].copy_from_slice(&(20 + range.len() as u16).to_be_bytes());
    piece[20..22].copy_from_slice(&field.to_be_bytes());
    piece[24..26].fill(0);
    let checksum = !fold(sum(&piece[14..34]));
    piece[24..26].copy_from_slice(&checksum.to_be_bytes());
    piece.extend(&whole[34..][range]);
    piece
}

const PATIENCE: Duration = Duration::from_secs(20);
/// Tries that a machine which stands still for a while may spoil, but not all of them.
const ATTEMPTS: u32 = 5;

//! A client that would have its target read a PROXY header of its own: whatever it sends, in whatever order, the target's stream begins
//! with ours.

use std::collections::{BTreeMap, HashMap};

use lb_core::{
    datapath::Datapath,
    tables::HeaderPlacement::{OnFirstAck, OnFirstAckWithPayload},
    verdict::{Action, Reason, Verdict},
    wire::l4::tcp::URG,
};
use proptest::{prelude::*, sample::select, test_runner::RngSeed};

use super::{script::*, support::*};

/// A target that takes all that RFC 9293 lets it take. Until a connection is made it keeps nothing, as one under a flood of SYNs does: any
/// of its answers may be confirmed. One for each address and port that its clients seem to have.
#[derive(Default)]
struct Target {
    /// Initial numbers of the client's SYNs that came, less the header.
    begun: Vec<u32>,
    connection: Option<Connection>,
}

#[derive(Default)]
struct Connection {
    initial: u32,
    early: BTreeMap<u32, u8>,
    stream: Vec<u8>,
}

impl Connection {
    fn next(&self) -> u32 {
        self.initial.wrapping_add(1).wrapping_add(self.stream.len() as u32)
    }

    fn take(&mut self, sequence: u32, payload: &[u8]) {
        for (at, byte) in payload.iter().enumerate() {
            let offset = sequence.wrapping_add(at as u32).wrapping_sub(self.initial.wrapping_add(1));
            if (self.stream.len() as u32..WINDOW).contains(&offset) {
                self.early.entry(offset).or_insert(*byte);
            }
        }
        while let Some(byte) = self.early.remove(&(self.stream.len() as u32)) {
            self.stream.push(byte);
        }
    }
}

impl Target {
    /// What it answers: flags, sequence number and acknowledgement.
    fn take(&mut self, seen: &Seen) -> Option<(u8, u32, u32)> {
        let Some(connection) = &mut self.connection else { return self.listen(seen) };
        let first = answer_to(connection.initial).wrapping_add(1);
        let next = connection.next();
        if seen.flags & RST != 0 {
            if seen.sequence == next {
                *self = Target::default();
            }
            return None;
        }
        if seen.flags & SYN == 0 && seen.flags & ACK != 0 && seen.acknowledgement == first {
            let offset = seen.sequence.wrapping_sub(connection.initial) as i32;
            let may_be_urgent = connection.stream.len() >= 100 || offset > 100;
            assert!(seen.flags & URG == 0 || may_be_urgent, "what is urgent is not read with the stream");
            connection.take(seen.sequence, &seen.payload);
        }
        Some((ACK, first, connection.next()))
    }

    fn listen(&mut self, seen: &Seen) -> Option<(u8, u32, u32)> {
        // What acknowledges something is no SYN for who listens (sections 3.10.7.2 and 3.10.7.4).
        if seen.flags & (SYN | RST | ACK) == SYN {
            assert!(seen.payload.is_empty(), "data in a SYN may be taken at once (RFC 7413)");
            if !self.begun.contains(&seen.sequence) {
                self.begun.push(seen.sequence);
            }
            return Some((SYN | ACK, answer_to(seen.sequence), seen.sequence.wrapping_add(1)));
        }
        let initial = seen.sequence.wrapping_sub(1);
        let confirms = self.begun.contains(&initial)
            && seen.acknowledgement == answer_to(initial).wrapping_add(1)
            && seen.flags & (SYN | ACK | RST) == ACK;
        if !confirms {
            return (seen.flags & (ACK | RST) == ACK).then_some((RST, seen.acknowledgement, 0));
        }
        self.connection = Some(Connection { initial, ..Connection::default() });
        self.take(seen)
    }
}

/// As a SYN cookie depends on the client's number.
fn answer_to(initial: u32) -> u32 {
    initial.wrapping_add(0x1234_5678)
}

/// What a client does.
#[derive(Clone, Debug)]
enum Move {
    /// Sends a segment: flags, number by [`number`], bytes of payload, whose answer it acknowledges, and what becomes of it.
    Send {
        flags: u8,
        number: usize,
        payload: usize,
        answered: usize,
        fate: Fate,
    },
    /// The target forgets its connection without a word.
    Vanish,
    /// The load balancer begins anew with no flow.
    Restart,
    /// Targets see clients where they did not, or the other way round.
    Toggle,
    Wait(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Arrives,
    /// At the load balancer, and no farther: its time to live was over, or the target finds an option wrong.
    Lost,
    /// The target finds its checksum wrong.
    Damaged,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let flags = select(vec![SYN, SYN, ACK, ACK, ACK | PSH, FIN | ACK, RST, SYN | ACK, FIN, ACK | URG]);
    let fate = select(vec![Fate::Arrives, Fate::Arrives, Fate::Arrives, Fate::Lost, Fate::Damaged]);
    let payload = select(vec![0, 0, 1, 2, 101, 250]);
    let send = (flags, 0..NUMBERS.len(), payload, 0..3usize, fate).prop_map(
        |(flags, number, payload, answered, fate)| Move::Send { flags, number, payload, answered, fate },
    );
    let wait = select(vec![10u64, 300, 31_000, 400_000]).prop_map(Move::Wait);
    let other =
        prop_oneof![2 => Just(Move::Vanish), 2 => wait, 1 => Just(Move::Restart), 1 => Just(Move::Toggle)];
    prop::collection::vec(prop_oneof![12 => send, 1 => other], 1..24)
}

/// Where segments begin, in multiples of the header's length, and bytes more.
const NUMBERS: [(i32, i32); 14] = [
    (0, 0),
    (0, 0),
    (0, 1),
    (0, 1),
    (0, 2),
    (-1, 0),
    (-1, 1),
    (-1, 2),
    (-1, -10),
    (1, 0),
    (1, 1),
    (1, 2),
    (0, -1),
    (-2, 1),
];

/// Bytes that a target takes ahead of the next.
const WINDOW: u32 = 0xffff;
/// A byte that no header has.
const FORGED: u8 = 0xee;

struct Attack {
    mode: Mode,
    path: Datapath<'static>,
    header: Vec<u8>,
    targets: HashMap<(std::net::SocketAddr, std::net::SocketAddr), Target>,
    /// Numbers of targets' SYNs that the client has seen, the last first.
    answers: Vec<u32>,
    now_ms: u64,
}

impl Attack {
    fn new(mode: &Mode) -> Attack {
        let Script { path, header, .. } = Script::new(mode);
        Attack { mode: mode.clone(), path, header, targets: HashMap::new(), answers: vec![0], now_ms: 0 }
    }

    fn make(&mut self, step: &Move) {
        match *step {
            Move::Vanish => self.targets.clear(),
            Move::Restart => self.path = self.mode.path(),
            Move::Toggle => {
                let scene = &mut self.mode.scene;
                scene.generation += 1;
                scene.preserves_client_ip = !scene.preserves_client_ip;
                self.path.install(scene.tables());
            }
            Move::Wait(ms) => self.now_ms += ms,
            Move::Send { flags, number, payload, answered, fate } => {
                let (headers, more) = NUMBERS[number];
                let sequence = INITIAL.wrapping_add_signed(headers * self.header.len() as i32 + more);
                let answer = *self.answers.get(answered).unwrap_or(&0);
                let packet = tcp(self.mode.client, self.mode.web(), flags).payload(&[FORGED; 250][..payload]);
                self.send(&Crafted { sequence, acknowledgement: answer.wrapping_add(1), ..packet }, fate);
            }
        }
        self.path.expire(lb_core::time::Instant::from_millis(self.now_ms));
        self.deliver_extras(Fate::Arrives);
    }

    fn send(&mut self, packet: &Crafted, fate: Fate) {
        let mut frame = packet.bytes();
        if fate == Fate::Damaged {
            *frame.last_mut().unwrap() ^= 1;
        }
        let (verdict, out) = process(&mut self.path, OUTSIDE, &frame, self.now_ms);
        if let Some(out) = out {
            self.deliver(verdict, &out, fate);
        }
        self.deliver_extras(fate);
    }

    fn deliver_extras(&mut self, fate: Fate) {
        for (verdict, frame) in take_extras(&mut self.path) {
            self.deliver(verdict, &frame, fate);
        }
    }

    fn deliver(&mut self, verdict: Verdict, frame: &[u8], fate: Fate) {
        let is_sent = matches!(verdict.reason.action(), Action::Transmit | Action::Reply);
        if !is_sent || fate != Fate::Arrives {
            return;
        }
        let seen = read(frame);
        if verdict.port == OUTSIDE.0 {
            if seen.flags & (SYN | ACK) == SYN | ACK {
                self.answers.insert(0, seen.sequence);
            }
            return;
        }
        let target = self.targets.entry((seen.source, seen.destination)).or_default();
        let answer = target.take(&seen);
        if let Some(Connection { stream, .. }) = &target.connection {
            let length = stream.len().min(self.header.len());
            assert_eq!(stream[..length], self.header[..length], "{}", self.mode.name);
        }
        if let Some((flags, sequence, acknowledgement)) = answer {
            let macs = (target_mac(number_of(seen.destination)), INSIDE_MAC);
            let packet = tcp(seen.destination, seen.source, flags).macs(macs.0, macs.1);
            let packet = Crafted { sequence, acknowledgement, ..packet };
            let (verdict, out) = process(&mut self.path, INSIDE, &packet.bytes(), self.now_ms);
            if let Some(out) = out {
                self.deliver(verdict, &out, Fate::Arrives);
            }
            self.deliver_extras(Fate::Arrives);
        }
    }
}

proptest! {
    // The same moves each time.
    #![proptest_config(ProptestConfig { cases: 500, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_client_sends_its_targets_stream_begins_with_our_header(
        mode in 0..6usize,
        placement in select(vec![OnFirstAck, OnFirstAckWithPayload]),
        (adopts_strays, has_syn_cookies) in select(vec![(false, false), (true, false), (false, true)]),
        moves in moves(),
    ) {
        let [mode, ..] = &proxy_modes(placement)[mode..] else { unreachable!() };
        let scene = Scene { adopts_strays, has_syn_cookies, ..mode.scene.clone() };
        let mut attack = Attack::new(&Mode { scene, ..mode.clone() });
        for step in &moves {
            attack.make(step);
        }
    }
}

/// The target cuts off what is old (RFC 9293 section 3.10.7.4); so do we, first.
#[test]
fn bytes_from_before_the_first_are_cut_off() {
    for placement in [OnFirstAck, OnFirstAckWithPayload] {
        for mode in proxy_modes(placement) {
            for (old, flags) in [(1, ACK | PSH), (2, FIN | PSH | ACK), (40, ACK), (1, ACK | URG)] {
                let mut script = Script::answered(&mode);
                let length = script.length();
                let payload = [vec![0; old], b"forged".to_vec()].concat();
                let packet = script.client(flags, 1 - old as i32, &payload);
                let left = script.client_sends(&packet, 0);
                let with = [(Reason::ProxyHeader, 1 - length, flags & !URG, script.header_and(b"forged"))];
                assert_eq!(left, with, "{}: {old}", mode.name);
                assert_eq!(script.told(ACK, 7).0, 7);
            }
        }
    }
}

/// Only the target can answer a probe, and does for its number alone.
#[test]
fn what_is_all_old_leaves_as_a_probe() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::connected(&mode);
        let length = script.length();
        for (number, flags, payload) in
            [(0, ACK, &b"x"[..]), (-9, FIN | ACK, b"old"), (-3, PSH | ACK, b"old")]
        {
            let left = script.client_sends(&script.client(flags, number, payload), 0);
            assert_eq!(left, [(Reason::FlowHit, number - length, ACK, vec![])], "{}", mode.name);
        }
    }
}

/// Of several SYNs the target says which is its connection's, and what it has sent is acknowledged, or nothing is.
#[test]
fn a_segment_that_is_not_of_the_targets_connection_goes_nowhere() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::answered(&mode);
        let length = script.length();
        let unplaced = Reason::ProxyUnplaced;
        let fate = |script: &mut Script, packet: &Crafted| through(&mut script.path, packet, 0).0.reason;
        let beyond = Crafted { acknowledgement: TARGET_INITIAL + 2, ..script.client(ACK, 1, b"forged") };
        assert_eq!(fate(&mut script, &beyond), unplaced, "{}", mode.name);
        let silent = script.client(FIN, 1, b"forged");
        assert_eq!(fate(&mut script, &silent), unplaced);
        script.client_sends(&script.client(SYN, -length, b""), 0);
        let left = script.client_sends(&script.client(ACK, 1, b"hello"), 0);
        assert_eq!(left, [(Reason::ProxyHeader, 1 - length, ACK, script.header_and(b"hello"))]);

        let mut script = Script::new(&mode);
        script.begin();
        let early = script.client(ACK, 1, b"forged");
        assert_eq!(fate(&mut script, &early), unplaced);
    }
}

/// The target has lost the connection unseen (its timeouts are its own), and the client knows: the next one is not the old flow's.
#[test]
fn a_syn_in_the_midst_of_a_flow_begins_no_connection_without_a_header() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut script = Script::sent(&mode);
        let length = script.length();
        script.told(ACK, 6);
        assert!(script.is_over());
        let syn = script.client(SYN, 1_000, b"forged");
        let left = script.client_sends(&syn, 0);
        assert_eq!(left, [(Reason::FlowHit, 1_000 - length, SYN, vec![])], "{}", mode.name);
        assert_eq!(script.told(ACK, 6), (6, 1_000), "the connection lives");
        // The connection that the target has begun is the end of the flow, and is refused when it is offered again.
        for reason in [Reason::ProxyUnplaced, Reason::ResetNoFlow] {
            let answer = script.target(SYN | ACK, 1_001 - length);
            assert_eq!(through(&mut script.path, &answer, 0).0.reason, reason, "{}", mode.name);
        }
        let (verdict, out) = through(&mut script.path, &syn, 0);
        let seen = read(&out.unwrap());
        assert_eq!(
            (verdict.reason, seen.sequence),
            (Reason::FlowNew, INITIAL.wrapping_add_signed(1_000 - length))
        );
    }
}

/// A listener that adopts strays does so without knowing how their streams began.
#[test]
fn a_stray_of_a_target_that_is_owed_a_header_is_adopted_after_an_unclean_start_alone() {
    for mode in proxy_modes(OnFirstAckWithPayload).into_iter().filter(|mode| mode.scene.preserves_client_ip) {
        let adopting = Mode { scene: Scene { adopts_strays: true, ..mode.scene.clone() }, ..mode };
        let mut script = Script::new(&adopting);
        let stray = script.client(ACK, 1, b"forged");
        let (verdict, _) = through(&mut script.path, &stray, 0);
        assert_eq!(verdict.reason, Reason::ResetNoFlow, "{}", adopting.name);
    }
}

//! Listeners with SYN cookies before targets that are owed PROXY headers.

use lb_core::{
    tables::{HeaderPlacement, Protocol},
    verdict::Reason,
    wire::proxy::Header,
};

use super::{script::*, support::*};

/// A confirmed client and a target, with a header between them.
struct Proxied {
    script: Script,
    header: Vec<u8>,
}

const NEXT: u32 = CLIENT_INITIAL.wrapping_add(1);
const TARGET_NEXT: u32 = TARGET_INITIAL + 1;

impl Proxied {
    fn all(placement: HeaderPlacement) -> impl Iterator<Item = Proxied> {
        cookie_modes().into_iter().map(move |mode| {
            let mode = Mode { scene: Scene { proxy_header: Some(placement), ..mode.scene }, ..mode };
            let end = |address: std::net::SocketAddr| (address.ip(), address.port());
            let header = Header::proxied(Protocol::Tcp, end(mode.client), end(mode.web())).bytes().to_vec();
            Proxied { script: Script::new(&mode), header }
        })
    }

    /// What the target knows as the client's first number.
    fn first(&self) -> u32 {
        NEXT.wrapping_sub(self.header.len() as u32)
    }

    /// The client confirms its cookie, the target answers: what it gets for that, and what was made beside.
    fn connect(&mut self) -> (Seen, Vec<(Reason, Seen)>) {
        self.script.get_cookie(0);
        let syn = self.script.confirm(0);
        assert_eq!(
            (syn.flags, syn.sequence),
            (SYN, self.first().wrapping_sub(1)),
            "{}",
            self.script.mode.name
        );
        let answer = Crafted { acknowledgement: self.first(), ..self.script.target_answer() };
        let acknowledged = self.script.send(&answer, Reason::AckToTarget, 0);
        let extras = take_extras(&mut self.script.path);
        (acknowledged, extras.into_iter().map(|(verdict, bytes)| (verdict.reason, read(&bytes))).collect())
    }

    fn request(&self, payload: &[u8]) -> Crafted {
        self.script.request(ACK | PSH, (NEXT, self.script.cookie.wrapping_add(1))).payload(payload)
    }

    /// The target acknowledges all of `length` bytes, and the client goes on.
    fn assert_flows_behind(&mut self, length: u32) {
        let script = &mut self.script;
        let reply = script.reply(ACK | PSH, (TARGET_NEXT, NEXT.wrapping_add(length))).payload(b"hi");
        let seen = script.send(&reply, Reason::FlowHit, 1);
        let numbers = (seen.sequence, seen.acknowledgement);
        assert_eq!(
            numbers,
            (script.cookie.wrapping_add(1), NEXT.wrapping_add(length)),
            "{}",
            script.mode.name
        );
        let next = (NEXT.wrapping_add(length), script.cookie.wrapping_add(3));
        let seen = script.send(&script.request(ACK | PSH, next).payload(b"world"), Reason::FlowHit, 1);
        let numbers = (seen.sequence, seen.acknowledgement);
        assert_eq!(numbers, (NEXT.wrapping_add(length), TARGET_NEXT + 2));
        assert_eq!(seen.payload, b"world");
    }
}

#[test]
fn the_header_goes_with_a_confirmed_clients_first_bytes() {
    for mut proxied in Proxied::all(HeaderPlacement::OnFirstAckWithPayload) {
        let (acknowledged, made) = proxied.connect();
        assert_eq!((acknowledged.sequence, acknowledged.acknowledgement), (proxied.first(), TARGET_NEXT));
        let [(Reason::WindowToClient, window)] = &made[..] else { panic!("{made:?}") };
        assert_eq!(window.window, (28_960 - proxied.header.len() as u16) >> 7);
        let seen = proxied.script.send(&proxied.request(b"hello"), Reason::ProxyHeader, 0);
        assert_eq!((seen.sequence, seen.acknowledgement), (proxied.first(), TARGET_NEXT));
        assert_eq!(seen.payload, [&proxied.header[..], b"hello"].concat());
        proxied.assert_flows_behind(5);
    }
}

#[test]
fn or_with_the_acknowledgement_in_its_name() {
    for mut proxied in Proxied::all(HeaderPlacement::OnFirstAck) {
        let (acknowledged, made) = proxied.connect();
        assert_eq!(acknowledged.payload, b"");
        let [(Reason::WindowToClient, _), (Reason::ProxyHeader, header)] = &made[..] else {
            panic!("{made:?}")
        };
        assert_eq!((header.sequence, header.acknowledgement), (proxied.first(), TARGET_NEXT));
        assert_eq!(u32::from(header.window) << 9, 8_192);
        assert_eq!(header.payload, proxied.header, "{}", proxied.script.mode.name);
        proxied.assert_flows_behind(0);
        assert_books_balance(proxied.script.path.counters());
    }
}

//! Pieces of packets.

use super::*;

#[test]
fn of_tcp_segments_are_dropped() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        for part in cut(&flow.request(ACK).payload(&[1; 64]).bytes(), &[40], 1) {
            let (verdict, out) = send(&mut path, OUTSIDE, &part, 0);
            assert_eq!((verdict.reason, out), (Reason::TcpFragment, None), "{}", mode.name);
        }
    }
}

/// First or later piece first, at the worker that owns the flow or at another: all at one target, and back.
#[test]
fn of_datagrams_are_carried_in_any_order_to_one_target_and_back() {
    for mode in modes() {
        for workers in [1, 3] {
            let mut fleet = Fleet::new(workers, 256, &mode.scene);
            for port in 0..20u16 {
                let datagram = udp((mode.client.ip(), 20_000 + port), mode.dns()).payload(&[port as u8; 90]);
                let request = carry(&mut fleet, OUTSIDE, &datagram, port);
                let reply = udp(request.destination, request.source)
                    .macs(target_mac(number_of(request.destination)), INSIDE_MAC)
                    .payload(&[!port as u8; 90]);
                let reply = carry(&mut fleet, INSIDE, &reply, port + 3);
                assert_eq!((reply.source, reply.destination), (mode.dns(), datagram.source), "{}", mode.name);
            }
            assert_eq!(fleet.flows(), 20);
            fleet.assert_books_balance();
        }
    }
}

/// Sends a datagram in three pieces, in an order that `turn` says; what comes out, put together.
fn carry(fleet: &mut Fleet, ingress: lb_core::tables::InterfaceId, packet: &Crafted, turn: u16) -> Seen {
    let mut pieces = cut(&packet.bytes(), &[16, 64], u32::from(turn) + 1);
    pieces.rotate_left(usize::from(turn) % 3);
    if turn.is_multiple_of(2) {
        pieces.swap(0, 1);
    }
    let workers = fleet.workers.len();
    let mut out = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let queue = (at + usize::from(turn)) % workers;
        let fates = fleet.send(queue as u8, ingress, piece, 0).fates;
        out.extend(fates.into_iter().filter_map(|(_, _, frame)| frame));
    }
    let seen = read(&join(&out));
    assert_eq!(seen.payload, packet.payload);
    seen
}

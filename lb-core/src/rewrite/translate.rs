//! IPv6 flows, and those between both families (RFC 7915). The checksums of TCP and UDP change by deltas, so that one that was
//! wrong stays wrong.

use std::net::IpAddr;

use super::{
    identification::{Counters, Ports},
    link,
    nat::{update, update_udp},
};
use crate::{
    flow::{Outward, WideEnd},
    flow_key::{End, FlowKey, Ipv6Key},
    frame::Frame,
    parse::{Packet, Piece},
    tables::Mac,
    verdict::Reason,
    wire::{
        checksum::{self, Delta},
        ethernet, ipv4,
        ipv6::{self, fragment, next},
        l4::{self, udp},
        octets,
    },
};

/// Rewrites a packet in place, so that it has the addresses and ports of `out`. The frame's start moves when the family changes.
/// An IPv4 packet that has no number to take over gets one of the counters. Bytes of a PROXY header, if its sender's packet has got
/// one, do not count for whether it may be cut up. On an error the frame is as it was.
pub fn apply(
    frame: &mut Frame<'_>,
    packet: &Packet,
    out: &Outward,
    (from, to): (Mac, Mac),
    (counters, proxy_header): (&mut Counters, usize),
) -> Result<(), Reason> {
    match (&packet.key, out.source) {
        (FlowKey::V6(_), IpAddr::V6(_)) => rewrite_ipv6(frame.bytes_mut(), packet, out),
        (FlowKey::V6(_), IpAddr::V4(_)) => ipv6_to_ipv4(frame, packet, out, (counters, proxy_header))?,
        (FlowKey::V4(_), IpAddr::V6(_)) => ipv4_to_ipv6(frame, packet, out)?,
        (FlowKey::V4(_), IpAddr::V4(_)) => return Err(Reason::NoSource), // `nat` has those.
    }
    link(frame.bytes_mut(), from, to);
    Ok(())
}

/// Bytes of an IP packet after translation.
pub fn length_after(packet: &Packet, out: &Outward) -> usize {
    let upper = packet.end() - usize::from(packet.l4);
    match (packet.key.is_ipv6(), out.source.is_ipv6()) {
        (true, false) => ipv4::HEADER + upper,
        (false, true) if packet.piece != Piece::Whole => ipv6::HEADER + fragment::HEADER + upper,
        (false, true) => ipv6::HEADER + upper,
        _ => usize::from(packet.total_length),
    }
}

/// Whether the IPv4 packet that a packet is, or becomes, may be cut up by whoever finds it too long (RFC 7915 sections 4, 5.1).
pub fn may_be_cut(frame: &[u8], packet: &Packet, to_ipv6: bool) -> bool {
    match (packet.key.is_ipv6(), to_ipv6) {
        (false, _) => ipv4_field(&frame[ethernet::HEADER..]) & ipv4::DO_NOT_FRAGMENT == 0,
        (true, false) => {
            let length = ipv4::HEADER + packet.end() - usize::from(packet.l4);
            length <= LARGEST_WITHOUT_PATH_MTU || fragment_header(frame, packet).is_some()
        }
        (true, true) => false,
    }
}

/// Flags and fragment offset of an IPv4 header.
fn ipv4_field(header: &[u8]) -> u16 {
    u16::from_be_bytes([header[ipv4::FRAGMENT.start], header[ipv4::FRAGMENT.start + 1]])
}

/// The fragment header of an IPv6 packet, which one that is all of its pieces may have, too (RFC 6946).
fn fragment_header<'f>(frame: &'f [u8], packet: &Packet) -> Option<&'f [u8; fragment::HEADER]> {
    let headers = &frame[ethernet::HEADER..usize::from(packet.l4)];
    match packet.piece {
        Piece::Whole => ipv6::fragment_header(headers),
        Piece::First | Piece::Later => headers.last_chunk(),
    }
}

/// The change of a TCP or UDP checksum: by addresses of either family, and ports.
pub(super) fn delta(key: &FlowKey, out: &Outward) -> Delta {
    let old = sum_of(key.source(), key.destination(), key.source_port(), key.destination_port());
    let new = sum_of(out.source, out.destination, out.source_port, out.destination_port);
    Delta(checksum::fold(u32::from(!old) + u32::from(new)))
}

fn sum_of(source: IpAddr, destination: IpAddr, source_port: [u8; 2], destination_port: [u8; 2]) -> u16 {
    let ports = u32::from(u16::from_be_bytes(source_port)) + u32::from(u16::from_be_bytes(destination_port));
    checksum::fold(checksum::pseudo_header_of(source, destination, 0, 0) + ports)
}

fn rewrite_ipv6(frame: &mut [u8], packet: &Packet, out: &Outward) {
    let Some((head, segment)) = frame.split_at_mut_checked(usize::from(packet.l4)) else { return };
    let header = &mut head[ethernet::HEADER..];
    header[ipv6::HOP_LIMIT] -= 1; // The caller lets no packet with less than 2 through.
    header[ipv6::SOURCE].copy_from_slice(&octets(out.source));
    header[ipv6::DESTINATION].copy_from_slice(&octets(out.destination));
    if packet.piece != Piece::Whole && out.source != packet.key.source() {
        let at = header.len() - fragment::HEADER;
        renumber_ipv6(&mut header[at..], out);
    }
    rewrite_l4(segment, packet, out);
}

fn renumber_ipv6(header: &mut [u8], out: &Outward) {
    if let Ok(number) = <[u8; 4]>::try_from(&header[fragment::IDENTIFICATION]) {
        header[fragment::IDENTIFICATION].copy_from_slice(&Ports::of(out).renumber_ipv6(number));
    }
}

/// Rewrites a whole packet without extension headers in place, as [`apply`] does, but for its link addresses, as it leaves by the end
/// with these addresses and ports.
pub(crate) fn apply_plain_ipv6(
    frame: &mut [u8],
    key: &Ipv6Key,
    (addresses, ports): (&WideEnd, &End),
    is_udp: bool,
) {
    let Some((head, segment)) = frame.split_at_mut_checked(ethernet::HEADER + ipv6::HEADER) else { return };
    let header = &mut head[ethernet::HEADER..];
    header[ipv6::HOP_LIMIT] -= 1; // The caller lets no packet with less than 2 through.
    header[ipv6::SOURCE].copy_from_slice(&addresses.local);
    header[ipv6::DESTINATION].copy_from_slice(&addresses.remote);
    let words = |address: [u8; 16]| -> [u32; 4] { bytemuck::cast(address) };
    let port = |ports: [[u8; 2]; 2]| -> [u32; 1] { bytemuck::cast(ports) };
    let delta = Delta::replacing_words(words(key.remote), words(addresses.remote))
        .and(Delta::replacing_words(words(key.local), words(addresses.local)))
        .and(Delta::replacing_words(
            port([key.remote_port, key.local_port]),
            port([ports.remote_port, ports.local_port]),
        ));
    segment[l4::SOURCE_PORT].copy_from_slice(&ports.local_port);
    segment[l4::DESTINATION_PORT].copy_from_slice(&ports.remote_port);
    match is_udp {
        true => update_udp(&mut segment[udp::CHECKSUM..], delta),
        false => update(&mut segment[l4::tcp::CHECKSUM..], delta),
    }
}

fn rewrite_l4(segment: &mut [u8], packet: &Packet, out: &Outward) {
    if packet.piece == Piece::Later {
        return;
    }
    let delta = delta(&packet.key, out);
    segment[l4::SOURCE_PORT].copy_from_slice(&out.source_port);
    segment[l4::DESTINATION_PORT].copy_from_slice(&out.destination_port);
    match packet.is_udp() {
        true => update_udp(&mut segment[udp::CHECKSUM..], delta),
        false => update(&mut segment[l4::tcp::CHECKSUM..], delta),
    }
}

/// RFC 7915 section 5.1. Extension headers go; of a fragment header its contents stay.
fn ipv6_to_ipv4(
    frame: &mut Frame<'_>,
    packet: &Packet,
    out: &Outward,
    (counters, proxy_header): (&mut Counters, usize),
) -> Result<(), Reason> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (out.source, out.destination) else {
        return Err(Reason::NoSource);
    };
    let upper = packet.end() - usize::from(packet.l4);
    let length = ipv4::HEADER + upper;
    let old = frame.bytes();
    let traffic_class = old[ethernet::HEADER] << 4 | old[ethernet::HEADER + 1] >> 4;
    let (number, field) = match fragment_header(old, packet) {
        Some(&[_, _, high, low, .., number_high, number_low]) => {
            let offset = u16::from_be_bytes([high, low]);
            let more = if offset & fragment::MORE != 0 { ipv4::MORE_FRAGMENTS } else { 0 };
            (Ports::of(out).renumber_ipv4([number_high, number_low]), offset >> 3 | more)
        }
        None if length > LARGEST_WITHOUT_PATH_MTU + proxy_header => ([0, 0], ipv4::DO_NOT_FRAGMENT),
        None => (counters.next(out.source, out.destination), 0),
    };
    rewrite_l4(&mut frame.bytes_mut()[usize::from(packet.l4)..], packet, out);
    frame.drop_front(usize::from(packet.l4) - ethernet::HEADER - ipv4::HEADER);
    let bytes = frame.bytes_mut();
    bytes[ethernet::ETHERTYPE].copy_from_slice(&ethernet::IPV4);
    let header = &mut bytes[ethernet::HEADER..ethernet::HEADER + ipv4::HEADER];
    header.fill(0);
    header[ipv4::VERSION_IHL] = 0x45;
    header[ipv4::TOS] = traffic_class;
    header[ipv4::TOTAL_LENGTH].copy_from_slice(&(length as u16).to_be_bytes());
    header[ipv4::IDENTIFICATION].copy_from_slice(&number);
    header[ipv4::FRAGMENT].copy_from_slice(&field.to_be_bytes());
    header[ipv4::TTL] = packet.ttl - 1;
    header[ipv4::PROTOCOL] = packet.key.protocol();
    header[ipv4::SOURCE].copy_from_slice(&source.octets());
    header[ipv4::DESTINATION].copy_from_slice(&destination.octets());
    let sum = checksum::checksum(header, 0);
    header[ipv4::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// Whether a packet is UDP that has no checksum, where its header is there to tell.
pub fn lacks_checksum(frame: &[u8], packet: &Packet) -> bool {
    packet.is_udp() && packet.piece != Piece::Later && checksum_of(frame, packet) == [0, 0]
}

/// Gives a whole IPv4 packet of UDP the checksum that it lacks, as its sender could have.
pub fn add_checksum(frame: &mut [u8], packet: &Packet) {
    let key = &packet.key;
    let segment = &mut frame[usize::from(packet.l4)..packet.end()];
    complete_udp(segment, key.source(), key.destination());
}

fn checksum_of(frame: &[u8], packet: &Packet) -> [u8; 2] {
    let at = usize::from(packet.l4) + if packet.is_udp() { udp::CHECKSUM } else { l4::tcp::CHECKSUM };
    frame.get(at..at + 2).map_or([0, 0], |sum| [sum[0], sum[1]])
}

/// RFC 7915 section 4.1. Options go.
fn ipv4_to_ipv6(frame: &mut Frame<'_>, packet: &Packet, out: &Outward) -> Result<(), Reason> {
    let old = frame.bytes();
    let header = &old[ethernet::HEADER..ethernet::HEADER + ipv4::HEADER];
    let (tos, number) = (header[ipv4::TOS], [header[4], header[5]]);
    let field = ipv4_field(header);
    let l4 = usize::from(packet.l4);
    let lacks_checksum = lacks_checksum(old, packet);
    if lacks_checksum && packet.piece == Piece::First {
        return Err(Reason::UdpChecksumZero);
    }
    let extension = if packet.piece == Piece::Whole { 0 } else { fragment::HEADER };
    let payload = extension + packet.end() - l4;
    let header_room = ipv6::HEADER + extension;
    let growth = (ethernet::HEADER + header_room).checked_sub(l4);
    let has_room = match growth {
        Some(growth) => frame.extend_front(growth),
        None => {
            frame.drop_front(l4 - ethernet::HEADER - header_room);
            true
        }
    };
    if !has_room {
        return Err(Reason::FrameOversize);
    }
    let upper = ethernet::HEADER + header_room;
    let end = upper + packet.end() - l4;
    let bytes = frame.bytes_mut();
    bytes[ethernet::ETHERTYPE].copy_from_slice(&ethernet::IPV6);
    let header = &mut bytes[ethernet::HEADER..upper];
    header.fill(0);
    (header[0], header[1]) = (0x60 | tos >> 4, tos << 4);
    header[ipv6::PAYLOAD_LENGTH].copy_from_slice(&(payload as u16).to_be_bytes());
    header[ipv6::NEXT_HEADER] = if extension == 0 { packet.key.protocol() } else { next::FRAGMENT };
    header[ipv6::HOP_LIMIT] = packet.ttl - 1;
    header[ipv6::SOURCE].copy_from_slice(&octets(out.source));
    header[ipv6::DESTINATION].copy_from_slice(&octets(out.destination));
    if extension != 0 {
        let more = if field & ipv4::MORE_FRAGMENTS != 0 { fragment::MORE } else { 0 };
        let offset = (field & ipv4::OFFSET_MASK) << 3 | more;
        let header = &mut header[ipv6::HEADER..];
        header[fragment::NEXT_HEADER] = packet.key.protocol();
        header[fragment::OFFSET].copy_from_slice(&offset.to_be_bytes());
        header[fragment::IDENTIFICATION].copy_from_slice(&Ports::of(out).widen(number));
    }
    rewrite_l4(&mut bytes[upper..], packet, out);
    if lacks_checksum {
        complete_udp(&mut bytes[upper..end], out.source, out.destination);
    }
    Ok(())
}

/// Computes the checksum that IPv6 wants and IPv4 does not. The datagram may be shorter than its packet.
fn complete_udp(segment: &mut [u8], source: IpAddr, destination: IpAddr) {
    let length = usize::from(u16::from_be_bytes([segment[4], segment[5]]));
    let Some(segment) = segment.get_mut(..length) else { return };
    let protocol = crate::tables::Protocol::Udp as u8;
    let pseudo = checksum::pseudo_header_of(source, destination, protocol, segment.len());
    let sum = match checksum::checksum(segment, pseudo) {
        0 => 0xffff,
        sum => sum,
    };
    segment[udp::CHECKSUM..udp::CHECKSUM + 2].copy_from_slice(&u16::to_be_bytes(sum));
}

/// An IPv4 packet that came from IPv6 and is no longer than this may be cut up on its way: its sender does not go lower
/// (RFC 7915 section 5.1).
const LARGEST_WITHOUT_PATH_MTU: usize = 1_260;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flow::{Direction, NewFlow, State},
        tables::InterfaceId,
    };
    use proptest::prelude::*;

    /// Addresses and ports of any kind, often such that sums come to zero.
    fn end() -> impl Strategy<Value = (IpAddr, [u8; 2])> {
        let address = prop_oneof![any::<[u8; 16]>(), any::<u8>().prop_map(|byte| [byte; 16])]
            .prop_filter("IPv6", |address| address[..10] != [0; 10]);
        let port = prop_oneof![any::<[u8; 2]>(), Just([0, 0]), Just([0xff, 0xff])];
        (address.prop_map(IpAddr::from), port)
    }

    proptest! {
        #[test]
        fn the_plain_way_writes_the_same_bytes(
            ends in prop::array::uniform4(end()),
            (is_udp, is_forward) in any::<(bool, bool)>(),
            rest in any::<[u8; 32]>(),
            checksum in prop_oneof![any::<[u8; 2]>(), Just([0, 0]), Just([0xff, 0xff])],
            hop_limit in 2u8..,
        ) {
            let [client, vip, source, target] = ends;
            let direction = if is_forward { Direction::Forward } else { Direction::Reverse };
            let forward = FlowKey::new(client, vip, if is_udp { 17 } else { 6 }).unwrap();
            let NewFlow { flow, addresses } = NewFlow::new(&forward, source, target, State::Established);
            let key = flow.key(&addresses, direction);
            let FlowKey::V6(ipv6_key) = key else { panic!("an IPv6 key") };
            let mut bytes = [&[0; 14][..], &[0x60, 0, 0, 0, 0, 20, key.protocol(), hop_limit], &[0; 32], &rest].concat();
            let at = 54 + if is_udp { 6 } else { 16 };
            bytes[at..at + 2].copy_from_slice(&checksum);
            let packet = Packet { key, l4: 54, total_length: 60, ttl: hop_limit, ..Packet::EMPTY };

            let mut plain = bytes.clone();
            let out = addresses.ipv6_end(direction.opposite()).unwrap();
            apply_plain_ipv6(&mut plain, &ipv6_key, (out, flow.end(direction.opposite())), is_udp);
            let length = bytes.len();
            let mut frame = Frame::new(&mut bytes, 0, length, InterfaceId(0));
            let out = flow.outward(&addresses, direction);
            apply(&mut frame, &packet, &out, (Mac([0; 6]), Mac([0; 6])), (&mut Counters::new(0, 1, &[0; 16]), 0)).unwrap();
            prop_assert_eq!(frame.bytes(), &plain);
        }
    }
}

//! What another implementation (the crate `etherparse`) finds in frames: lengths, and checksums summed up from scratch.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Slice, Icmpv6Slice, IpNumber, IpSlice, TcpSlice, UdpSlice,
    checksum::Sum16BitWords,
    ip_number::{ICMP, IPV6_ICMP, TCP, UDP},
};
use lb_core::{
    verdict::{Action, Reason},
    wire::proxy,
};

use super::{
    fleet::Event,
    world::{Family, own_addresses},
};

/// A packet, as far as it can be seen from outside. The frame's padding is none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ttl: u8,
    pub protocol: IpNumber,
    /// Offset in units of 8 bytes and whether more follow, of a piece.
    pub piece: Option<Piece>,
    pub checksum: Checksum,
    /// Source and destination port; `None` where there are none.
    pub ports: Option<(u16, u16)>,
    /// Transport header and data.
    pub segment: Vec<u8>,
    /// Where the data begins in the segment.
    pub data: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub offset: u16,
    pub has_more: bool,
    /// The sender's number for the packet.
    pub number: u32,
}

/// A transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    Right,
    Wrong,
    /// UDP without one.
    Absent,
    /// Of a piece, or of a quote that is cut short.
    Unknown,
}

impl Seen {
    pub fn is_icmp(&self) -> bool {
        matches!(self.protocol, ICMP | IPV6_ICMP)
    }

    pub fn data(&self) -> &[u8] {
        &self.segment[self.data..]
    }
}

/// Takes a frame apart. An error when a length or the IPv4 header's checksum is wrong.
pub fn see(frame: &[u8]) -> Result<Seen, String> {
    let packet = frame.get(14..).ok_or("no link header")?;
    let ip = IpSlice::from_slice(packet).map_err(|error| error.to_string())?;
    let expected = if ip.source_addr().is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
    if frame[12..14] != expected {
        return Err(format!("EtherType {:02x?}", &frame[12..14]));
    }
    if let IpSlice::Ipv4(ipv4) = &ip
        && sum(ipv4.header().slice(), Sum16BitWords::new()) != 0
    {
        return Err("IPv4 header checksum".into());
    }
    let mut seen = Seen {
        source: ip.source_addr(),
        destination: ip.destination_addr(),
        ttl: ttl(&ip),
        protocol: ip.payload_ip_number(),
        piece: piece(&ip),
        checksum: Checksum::Unknown,
        ports: None,
        segment: ip.payload().payload.to_vec(),
        data: 0,
    };
    match seen.piece {
        None => see_transport(&mut seen)?,
        Some(piece) if piece.offset == 0 && seen.protocol == UDP => {
            let port =
                |at: usize| Some(u16::from_be_bytes([*seen.segment.get(at)?, *seen.segment.get(at + 1)?]));
            seen.ports = port(0).zip(port(2));
            seen.data = UDP_HEADER.min(seen.segment.len());
        }
        Some(_) => {}
    }
    Ok(seen)
}

/// The packet that an ICMP error quotes; `None` when the quote is no whole packet, padding apart.
pub fn see_quoted(error: &Seen) -> Option<Result<Seen, String>> {
    let quote = error.data();
    let length = match quote.first()? >> 4 {
        4 => usize::from(u16::from_be_bytes([*quote.get(2)?, *quote.get(3)?])),
        _ => 40 + usize::from(u16::from_be_bytes([*quote.get(4)?, *quote.get(5)?])),
    };
    let packet = quote.get(..length)?;
    let link = if error.source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
    Some(see(&[&[0; 12], &link[..], packet].concat()))
}

/// The packet that these pieces make together. An error when they are not its pieces, each once.
pub fn reassemble(frames: &[Vec<u8>]) -> Result<Seen, String> {
    let mut pieces = frames.iter().map(|frame| see(frame)).collect::<Result<Vec<_>, _>>()?;
    pieces.sort_by_key(|seen| seen.piece.map(|piece| piece.offset));
    let mut whole = Seen { segment: Vec::new(), piece: None, ..pieces.first().ok_or("no pieces")?.clone() };
    let number = pieces[0].piece.map(|piece| piece.number);
    for (at, seen) in pieces.iter().enumerate() {
        let piece = seen.piece.ok_or("a whole packet among the pieces")?;
        if (seen.source, seen.destination, Some(piece.number)) != (whole.source, whole.destination, number) {
            return Err("pieces of several packets".into());
        }
        if usize::from(piece.offset) * 8 != whole.segment.len() || piece.has_more != (at + 1 < pieces.len()) {
            return Err(format!("{piece:?} does not follow {} bytes", whole.segment.len()));
        }
        whole.segment.extend(&seen.segment);
    }
    see_transport(&mut whole)?;
    Ok(whole)
}

fn see_transport(seen: &mut Seen) -> Result<(), String> {
    let segment = seen.segment.clone();
    match seen.protocol {
        TCP => {
            let tcp = TcpSlice::from_slice(&segment).map_err(|error| error.to_string())?;
            seen.ports = Some((tcp.source_port(), tcp.destination_port()));
            seen.data = tcp.header_slice().len();
            seen.checksum = judge(sum(&segment, pseudo_header(seen, segment.len())));
        }
        UDP => {
            let udp = UdpSlice::from_slice(&segment).map_err(|error| error.to_string())?;
            seen.ports = Some((udp.source_port(), udp.destination_port()));
            seen.data = udp.header_slice().len();
            let pseudo = pseudo_header(seen, udp.slice().len());
            seen.checksum = match udp.checksum() {
                0 => Checksum::Absent,
                _ => judge(sum(udp.slice(), pseudo)),
            };
        }
        ICMP => {
            seen.data = Icmpv4Slice::from_slice(&segment).map_err(|error| error.to_string())?.header_len();
            seen.checksum = judge(sum(&segment, Sum16BitWords::new()));
        }
        IPV6_ICMP => {
            seen.data = Icmpv6Slice::from_slice(&segment).map_err(|error| error.to_string())?.header_len();
            seen.checksum = judge(sum(&segment, pseudo_header(seen, segment.len())));
        }
        other => return Err(format!("protocol {other:?}")),
    }
    Ok(())
}

fn judge(rest: u16) -> Checksum {
    if rest == 0 { Checksum::Right } else { Checksum::Wrong }
}

/// What a checksum over all of this would have to be; 0 when a right one is among it.
fn sum(bytes: &[u8], initial: Sum16BitWords) -> u16 {
    initial.add_slice(bytes).ones_complement()
}

fn pseudo_header(seen: &Seen, length: usize) -> Sum16BitWords {
    let sum = match (seen.source, seen.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Sum16BitWords::new().add_slice(&source.octets()).add_slice(&destination.octets())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Sum16BitWords::new().add_slice(&source.octets()).add_slice(&destination.octets())
        }
        mixed => panic!("one packet of two families: {mixed:?}"),
    };
    sum.add_2bytes([0, seen.protocol.0]).add_2bytes((length as u16).to_be_bytes())
}

fn ttl(ip: &IpSlice<'_>) -> u8 {
    match ip {
        IpSlice::Ipv4(ipv4) => ipv4.header().ttl(),
        IpSlice::Ipv6(ipv6) => ipv6.header().hop_limit(),
    }
}

fn piece(ip: &IpSlice<'_>) -> Option<Piece> {
    match ip {
        IpSlice::Ipv4(ipv4) => {
            let header = ipv4.header();
            header.is_fragmenting_payload().then(|| Piece {
                offset: header.fragments_offset().value(),
                has_more: header.more_fragments(),
                number: header.identification().into(),
            })
        }
        IpSlice::Ipv6(ipv6) => ipv6.extensions().clone().into_iter().find_map(|extension| match extension {
            etherparse::Ipv6ExtensionSlice::Fragment(fragment) if fragment.is_fragmenting_payload() => {
                Some(Piece {
                    offset: fragment.fragment_offset().value(),
                    has_more: fragment.more_fragments(),
                    number: fragment.identification(),
                })
            }
            _ => None,
        }),
    }
}

/// Asserts of a packet that was sent on with a PROXY header that its data, or the end of them, follow that, or nothing does, or, in the first piece of a
/// packet that was too long then, the beginning of its data.
fn assert_proxied(before: &[u8], after: &[u8]) {
    let was = see(before).unwrap_or_else(|error| panic!("{error} in {before:02x?}"));
    let is = see(after).unwrap_or_else(|error| panic!("{error} in {after:02x?}, which was {before:02x?}"));
    let is_new_to_ipv6 = was.source.is_ipv4() && is.source.is_ipv6();
    let checksum = match was.checksum {
        _ if is.piece.is_some() => Checksum::Unknown,
        Checksum::Absent if is_new_to_ipv6 => Checksum::Right,
        checksum => checksum,
    };
    assert_eq!((is.ttl, is.checksum), (was.ttl - 1, checksum), "\n{was:x?}\nbecame\n{is:x?}");
    let length = if was.source.is_ipv4() { proxy::IPV4_LENGTH } else { proxy::IPV6_LENGTH };
    let (header, data) = is.data().split_at(length);
    assert_eq!(header[..12], proxy::SIGNATURE, "{is:x?}");
    let is_in_place = match is.piece {
        Some(piece) => piece.offset == 0 && piece.has_more && was.data().starts_with(data),
        None => was.data().ends_with(data), // What comes before the first byte is cut off.
    };
    assert!(is_in_place, "\n{was:x?}\nbecame\n{is:x?}");
}

/// Whether a packet has got a PROXY header that it came without.
fn is_proxied(before: &[u8], after: &[u8]) -> bool {
    let has_header = |frame| see(frame).is_ok_and(|seen| seen.data().starts_with(&proxy::SIGNATURE));
    has_header(after) && !has_header(before)
}

/// Asserts of what leaves that it is as right as what came in, or, made by the load balancer, right.
pub fn assert_well_formed(event: &Event) {
    let reason = event.verdict.reason;
    if matches!(reason.action(), Action::Transmit | Action::Reply | Action::HandOver | Action::Hold)
        && let Some(Ok(seen)) = event.before.as_deref().map(see)
    {
        let family = if seen.source.is_ipv4() { Family::V4 } else { Family::V6 };
        assert!(!own_addresses(family).contains(&seen.source), "{reason:?} of {seen:x?}");
    }
    match (&event.before, reason.action()) {
        (Some(before), Action::Reply) if matches!(reason, Reason::TimeExceeded | Reason::TooBig) => {
            assert_complains(before, &event.after);
        }
        (Some(before), Action::Reply) if reason == Reason::ParameterProblem => {
            assert_quotes(before, &assert_made_well(&event.after));
        }
        (_, Action::Reply) => drop(assert_made_well(&event.after)),
        (_, Action::Transmit) if reason == Reason::SynToTarget => drop(assert_made_well(&event.after)),
        (Some(before), Action::Transmit)
            if reason == Reason::ProxyHeader || is_proxied(before, &event.after) =>
        {
            assert_proxied(before, &event.after);
        }
        (Some(before), Action::Transmit) => drop(assert_sent_on(before, &event.after)),
        _ => {}
    }
}

/// Asserts of a packet that was sent on that it is the one that came in, for somebody else: one hop older, with the same data,
/// and with right checksums exactly where they were right.
pub fn assert_sent_on(before: &[u8], after: &[u8]) -> Seen {
    let was = see(before).unwrap_or_else(|error| panic!("{error} in {before:02x?}"));
    let is = see(after).unwrap_or_else(|error| panic!("{error} in {after:02x?}, which was {before:02x?}"));
    let context = || format!("\n{was:x?}\nbecame\n{is:x?}");
    assert_eq!(is.ttl, was.ttl - 1, "{}", context());
    if was.is_icmp() {
        assert_error_sent_on(&was, &is);
        return is;
    }
    assert_eq!(is.protocol, was.protocol, "{}", context());
    let is_segment = was.protocol == TCP && was.piece.is_none() && is.piece.is_none();
    if is_segment && was.data().ends_with(is.data()) {
        assert_eq!(is.checksum, was.checksum, "{}", context()); // Its data stood where a PROXY header belongs.
        return is;
    }
    if is.segment.len() < was.segment.len() {
        assert_cut(&was, &is);
        return is;
    }
    assert_eq!(is.segment.len(), was.segment.len(), "{}", context());
    assert_eq!(is.data(), was.data(), "{}", context());
    let place = |seen: &Seen| seen.piece.map(|piece| (piece.offset, piece.has_more));
    assert_eq!(place(&is), place(&was), "{}", context());
    let is_new_to_ipv6 = was.source.is_ipv4() && is.source.is_ipv6();
    match was.checksum {
        Checksum::Absent if is_new_to_ipv6 => assert_eq!(is.checksum, Checksum::Right, "{}", context()),
        checksum => assert_eq!(is.checksum, checksum, "{}", context()),
    }
    is
}

/// Asserts of the first part of a packet that was too long that it is where the packet was, with the same data.
fn assert_cut(was: &Seen, is: &Seen) {
    let offset = |seen: &Seen| seen.piece.map_or(0, |piece| piece.offset);
    assert!(
        is.piece.is_some_and(|piece| piece.has_more) && offset(is) == offset(was),
        "{was:x?}\nbecame\n{is:x?}"
    );
    assert_eq!(is.segment[was.data..], was.segment[was.data..is.segment.len()], "{was:x?}\nbecame\n{is:x?}");
}

/// Asserts of an ICMP error of the load balancer's own that it quotes the packet that it is about.
pub fn assert_complains(about: &[u8], error: &[u8]) {
    let is = assert_made_well(error);
    let was = see(about).unwrap_or_else(|error| panic!("{error} in {about:02x?}"));
    assert_quotes(about, &is);
    assert_eq!(is.destination, was.source);
    let is_later = was.piece.is_some_and(|piece| piece.offset != 0);
    assert!(!is_later || is.source.is_ipv6(), "RFC 1812 section 4.3.2.7: {was:x?}");
}

fn assert_quotes(about: &[u8], error: &Seen) {
    assert!(
        error.is_icmp() && about[14..].starts_with(error.data()),
        "{about:02x?}\nanswered by\n{error:x?}"
    );
}

/// Asserts of an ICMP error that its reader finds a packet of its own in it, as right as it was.
fn assert_error_sent_on(was: &Seen, is: &Seen) {
    let context = || format!("\n{was:x?}\nbecame\n{is:x?}");
    assert!(is.is_icmp() && was.checksum == Checksum::Right, "{}", context());
    assert_eq!(is.checksum, Checksum::Right, "{}", context());
    let Some(Ok(was_quoted)) = see_quoted(was) else { return };
    if was_quoted.piece.is_some() {
        return; // Translated to the other family, the quote does not say that any more.
    }
    let Some(quoted) = see_quoted(is) else { return };
    let quoted = quoted.unwrap_or_else(|error| panic!("{error} in a quote{}", context()));
    assert_eq!(quoted.source, is.destination, "{}", context());
    assert_eq!(quoted.checksum, was_quoted.checksum, "{}", context());
    assert_eq!(quoted.data(), was_quoted.data(), "{}", context());
}

const UDP_HEADER: usize = 8;

/// Asserts of a packet of the load balancer's own that all of it is right.
pub fn assert_made_well(frame: &[u8]) -> Seen {
    let seen = see(frame).unwrap_or_else(|error| panic!("{error} in {frame:02x?}"));
    assert_eq!(seen.checksum, Checksum::Right, "{seen:x?}");
    seen
}

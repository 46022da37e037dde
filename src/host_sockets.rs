//! The host's own sockets, as /proc/net lists them: which of them the ports of a source address would take packets from.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use lb_core::tables::Source;

/// A socket of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSocket {
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// Its own address and port; an IPv4 address as such, whatever the socket's family.
    pub local: SocketAddr,
    /// Its peer; unspecified when it has none.
    pub peer: SocketAddr,
}

/// Sockets of this network namespace that share an address and port with a source and talk to a target, or could.
pub fn at_risk(sources: &BTreeSet<Source>, targets: &BTreeSet<IpAddr>) -> io::Result<Vec<HostSocket>> {
    let mut found = Vec::new();
    for (file, protocol) in FILES {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue, // A kernel without IPv6.
            text => text?,
        };
        found.extend(text.lines().skip(1).filter_map(|line| parse(line, protocol)));
    }
    found.retain(|socket| socket.is_at_risk(sources, targets));
    Ok(found)
}

impl HostSocket {
    fn is_at_risk(&self, sources: &BTreeSet<Source>, targets: &BTreeSet<IpAddr>) -> bool {
        let has_peer = !self.peer.ip().is_unspecified();
        let meets_target = if has_peer { targets.contains(&self.peer.ip()) } else { self.protocol == "UDP" };
        meets_target && sources.iter().any(|source| self.is_on(source))
    }

    /// A socket of no address of its own is on all; one of `::` serves IPv4, too.
    fn is_on(&self, source: &Source) -> bool {
        let address = self.local.ip();
        let is_there = address == source.address
            || address == IpAddr::from(Ipv6Addr::UNSPECIFIED)
            || (address == IpAddr::from(Ipv4Addr::UNSPECIFIED) && source.address.is_ipv4());
        is_there && (source.first_port..=source.last_port).contains(&self.local.port())
    }
}

impl fmt::Display for HostSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} socket {}", self.protocol, self.local)?;
        if self.peer.ip().is_unspecified() { Ok(()) } else { write!(f, " to {}", self.peer) }
    }
}

/// A line of /proc/net/tcp and its like (proc_pid_net(5)): number, local address, peer, state. `None` for one that is only
/// waiting for late packets.
fn parse(line: &str, protocol: &'static str) -> Option<HostSocket> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, peer) = (endpoint(words.next()?)?, endpoint(words.next()?)?);
    let state = words.next()?;
    (state != TIME_WAIT).then_some(HostSocket { protocol, local, peer })
}

/// `ADDRESS:PORT` in hex, the address in words of 32 bits in this machine's byte order.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| -> Option<[u8; 4]> {
        Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let octets = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            IpAddr::from(<[u8; 16]>::try_from(octets).ok()?).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

const FILES: [(&str, &str); 4] = [
    ("/proc/thread-self/net/tcp", "TCP"),
    ("/proc/thread-self/net/tcp6", "TCP"),
    ("/proc/thread-self/net/udp", "UDP"),
    ("/proc/thread-self/net/udp6", "UDP"),
];

/// `TCP_TIME_WAIT` of the kernel's enum.
const TIME_WAIT: &str = "06";

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn found(address: &str, ports: (u16, u16), target: &str) -> Vec<String> {
        let address = address.parse().unwrap();
        let source = Source { address, first_port: ports.0, last_port: ports.1 };
        let sockets = at_risk(&[source].into(), &[target.parse().unwrap()].into()).unwrap();
        sockets.iter().map(HostSocket::to_string).collect()
    }

    #[test]
    fn a_socket_that_talks_to_a_target_is_found() {
        for loopback in ["127.0.0.1", "::1"] {
            let Ok(listener) = TcpListener::bind((loopback, 0)) else { continue }; // A kernel without IPv6.
            let target = listener.local_addr().unwrap();
            let stream = TcpStream::connect(target).unwrap();
            let local = stream.local_addr().unwrap();
            let port = local.port();
            // Others may have the same port, towards another place or by another protocol.
            let ours = format!("TCP socket {local} to {target}");
            let is_found = |address, port, target| found(address, (port, port), target).contains(&ours);
            assert!(is_found(loopback, port, loopback));
            assert!(!is_found(loopback, port, "198.19.1.2"), "no target");
            assert!(!is_found("198.18.0.1", port, loopback), "another address");
            let listening = format!("TCP socket {target}");
            let at_risk = found(loopback, (target.port(), target.port()), "198.19.1.2");
            assert!(!at_risk.contains(&listening), "it only listens");
        }
    }

    #[test]
    fn a_udp_socket_without_a_peer_could_talk_to_any() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let local = socket.local_addr().unwrap();
        let ports = (local.port(), local.port());
        assert_eq!(found("198.18.0.1", ports, "198.19.1.2"), [format!("UDP socket {local}")]);
        assert!(found("2001:db8::1", ports, "198.19.1.2").is_empty(), "an IPv4 socket");
        socket.connect("127.0.0.1:9").unwrap();
        assert!(found("198.18.0.1", ports, "198.19.1.2").is_empty(), "its peer is no target");
    }
}

//! Clients of the embedded targets: single conversations, crowds of them, and datagrams.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    checked,
    namespace::Namespace,
    target::{LONGEST_DATAGRAM, UNANSWERED},
};

/// What a target answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The target's name.
    pub target: String,
    /// The client's address as the target sees it.
    pub client: SocketAddr,
    /// What the target was told.
    pub text: String,
}

impl Answer {
    fn parse(line: &str) -> io::Result<Answer> {
        let mut words = line.trim_end_matches('\n').splitn(3, ' ');
        let answer = (|| {
            let (target, client, text) = (words.next()?, words.next()?, words.next()?);
            Some(Answer { target: target.to_owned(), client: client.parse().ok()?, text: text.to_owned() })
        })();
        answer
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("not a target's answer: {line:?}")))
    }
}

/// Whom a target must take for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The client, by its own address and port.
    Client,
    /// A source address of the load balancer, whatever the port.
    Source(IpAddr),
}

impl Seen {
    fn check(self, answer: &Answer, local: SocketAddr) -> io::Result<()> {
        let is_right = match self {
            Seen::Client => answer.client == local,
            Seen::Source(address) => answer.client.ip() == address,
        };
        let wrong =
            || io::Error::other(format!("{} sees {}, not {self:?} {local}", answer.target, answer.client));
        if is_right { Ok(()) } else { Err(wrong()) }
    }
}

/// One TCP connection to a target.
#[derive(Debug)]
pub struct Conversation {
    stream: BufReader<TcpStream>,
    /// The client's own address.
    pub local: SocketAddr,
}

impl Conversation {
    /// Connects from the calling thread's namespace.
    ///
    /// # Errors
    /// When there is no connection within [`PATIENCE`].
    pub fn open(to: SocketAddr) -> io::Result<Conversation> {
        Conversation::over(TcpStream::connect_timeout(&to, PATIENCE)?)
    }

    /// The same from an address and port of the client's.
    ///
    /// # Errors
    /// When the port is taken, or there is no connection within [`PATIENCE`].
    pub fn open_from(from: SocketAddr, to: SocketAddr) -> io::Result<Conversation> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        Conversation::over(socket.into())
    }

    fn over(stream: TcpStream) -> io::Result<Conversation> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let local = stream.local_addr()?;
        Ok(Conversation { stream: BufReader::new(stream), local })
    }

    /// Says a line.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().set_nonblocking(false)?;
        self.stream.get_mut().write_all(format!("{text}\n").as_bytes())
    }

    /// Waits for the answer to a line, at most `patience`; with none left it takes only what is there.
    ///
    /// # Errors
    /// When the connection is over or there is no answer.
    pub fn hear(&mut self, patience: Duration) -> io::Result<Answer> {
        self.stream.get_mut().set_nonblocking(patience.is_zero())?;
        if !patience.is_zero() {
            self.stream.get_mut().set_read_timeout(Some(patience))?;
        }
        let mut line = String::new();
        match self.stream.read_line(&mut line).map_err(no_answer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Answer::parse(&line),
        }
    }

    /// Says a line and waits for the answer.
    ///
    /// # Errors
    /// When the connection is over, there is no answer, or it does not repeat the text.
    pub fn ask(&mut self, text: &str) -> io::Result<Answer> {
        self.say(text)?;
        let answer = self.hear(PATIENCE)?;
        if answer.text == text { Ok(answer) } else { Err(ErrorKind::InvalidData.into()) }
    }
}

/// Many connections at once.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<Member>,
}

/// One connection of a crowd and the target that answered it first.
#[derive(Debug)]
pub struct Member {
    conversation: Conversation,
    /// Name of the target that answered first.
    pub target: String,
}

impl Crowd {
    /// Opens `count` connections and exchanges one line on each. The targets must see the client's own address.
    ///
    /// # Errors
    /// The first connection that cannot be made or gets no right answer.
    pub fn open(from: &Namespace, to: SocketAddr, count: usize) -> io::Result<Crowd> {
        Crowd::open_seen(from, to, count, Seen::Client)
    }

    /// The same, where the targets must see what is given.
    ///
    /// # Errors
    /// The first connection that cannot be made or gets no right answer.
    pub fn open_seen(from: &Namespace, to: SocketAddr, count: usize, seen: Seen) -> io::Result<Crowd> {
        let members =
            from.within(|| (0..count).map(|_| Member::open(to, seen)).collect::<io::Result<_>>())?;
        Ok(Crowd { members })
    }

    /// Says a line on every connection, then waits for all answers, at most `patience` for all together. The failures, with the
    /// name of the target that the connection was with.
    pub fn ask_all(&mut self, text: &str, patience: Duration) -> Vec<Failure> {
        let deadline = Instant::now() + patience;
        let said: Vec<_> = self.members.iter_mut().map(|member| member.conversation.say(text)).collect();
        let heard = self.members.iter_mut().zip(said).map(|(member, said)| {
            said.and_then(|()| member.hear(text, deadline.saturating_duration_since(Instant::now()))).map_err(
                |error| Failure { target: member.target.clone(), client: member.conversation.local, error },
            )
        });
        heard.filter_map(Result::err).collect()
    }

    /// Its members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Ends all connections that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(&Member) -> bool) {
        self.members.retain(keep);
    }
}

impl Member {
    /// The client's own address.
    pub fn local(&self) -> SocketAddr {
        self.conversation.local
    }

    fn open(to: SocketAddr, seen: Seen) -> io::Result<Member> {
        let mut conversation = Conversation::open(to)?;
        let answer = conversation.ask("hello")?;
        seen.check(&answer, conversation.local)?;
        Ok(Member { conversation, target: answer.target })
    }

    /// The answer must come from the same target as before and repeat the text. What was late before is skipped.
    fn hear(&mut self, text: &str, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let answer = self.conversation.hear(deadline.saturating_duration_since(Instant::now()))?;
            if answer.target != self.target {
                return Err(io::Error::other(format!("answered by {}", answer.target)));
            }
            if answer.text == text {
                return Ok(());
            }
        }
    }
}

/// A connection of a crowd that did not go on.
#[derive(Debug)]
pub struct Failure {
    /// The target that it was with.
    pub target: String,
    /// The client's address.
    pub client: SocketAddr,
    /// What went wrong.
    pub error: io::Error,
}

/// UDP flows: one socket each.
#[derive(Debug)]
pub struct Flows {
    sockets: Vec<UdpSocket>,
    seen: Seen,
    repeated: Repeated,
}

/// Whether any question was repeated: it may be answered twice.
#[derive(Debug, Default)]
struct Repeated(AtomicBool);

impl Flows {
    /// Makes `count` sockets in `from` that send to `to`. The targets must see the client's own address.
    ///
    /// # Errors
    /// When sockets or ports run out.
    pub fn open(from: &Namespace, to: SocketAddr, count: usize) -> io::Result<Flows> {
        Flows::open_seen(from, to, count, Seen::Client)
    }

    /// The same, where the targets must see what is given.
    ///
    /// # Errors
    /// When sockets or ports run out.
    pub fn open_seen(from: &Namespace, to: SocketAddr, count: usize, seen: Seen) -> io::Result<Flows> {
        let any =
            if to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let open = |_| {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(LOST))?;
            Ok(socket)
        };
        let sockets = from.within(|| (0..count).map(open).collect::<io::Result<_>>())?;
        Ok(Flows { sockets, seen, repeated: Repeated::default() })
    }

    /// The same, sending datagrams over IPv4 without checksums (RFC 768: zero).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn without_checksums(self) -> io::Result<Flows> {
        self.sockets.iter().try_for_each(leave_checksum)?;
        Ok(self)
    }

    /// Sends one datagram on each flow and waits for its answer; the answers in the order of the flows. A few flows at a time:
    /// nothing slows UDP down, so a burst of all would overflow any network's buffers. What has no answer after `LOST` is sent
    /// again: the kernel's queues, which all networks of a machine share, may have lost it.
    ///
    /// # Errors
    /// The first flow without a right answer within [`PATIENCE`].
    pub fn ask_all(&self, text: &str) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(self.sockets.len());
        let pieces = text.len().div_ceil(PIECE_BYTES).max(1);
        for some in self.sockets.chunks((UDP_WINDOW / pieces).max(1)) {
            for socket in some {
                socket.send(text.as_bytes())?;
            }
            for socket in some {
                let answer = insist(socket, text, &self.repeated)?;
                self.seen.check(&answer, socket.local_addr()?)?;
                answers.push(answer);
            }
        }
        Ok(answers)
    }

    /// Sends small datagrams that get no answer, in turn on all flows, for `duration`. Returns how many were sent.
    ///
    /// # Errors
    /// When a datagram cannot be sent for another reason than a full queue.
    pub fn blast(&self, duration: Duration) -> io::Result<u64> {
        let end = Instant::now() + duration;
        let mut sent = 0;
        while Instant::now() < end {
            for socket in &self.sockets {
                match socket.send(&SMALL) {
                    Ok(_) => sent += 1,
                    Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EAGAIN)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(sent)
    }
}

/// Sends one datagram from an address and port of the client's, in the calling thread's namespace, and waits for its answer.
///
/// # Errors
/// When the port is taken, or there is no right answer within [`PATIENCE`].
pub fn ask_datagram(from: SocketAddr, to: SocketAddr, text: &str) -> io::Result<Answer> {
    let socket = UdpSocket::bind(from)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(LOST))?;
    socket.send(text.as_bytes())?;
    insist(&socket, text, &Repeated::default())
}

/// Sets SO_NO_CHECK (socket(7) of Linux).
fn leave_checksum(socket: &UdpSocket) -> io::Result<()> {
    let (on, length): (libc::c_int, _) = (1, size_of::<libc::c_int>() as libc::socklen_t);
    let option = (&raw const on).cast();
    // SAFETY: the option takes an int, which lives through the call and is given with its size.
    checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, option, length)
    })
    .map(drop)
}

/// The answer to a text that was sent, and is sent again when none comes.
fn insist(socket: &UdpSocket, text: &str, repeated: &Repeated) -> io::Result<Answer> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match hear_datagram(socket) {
            Ok(answer) if answer.text == text => return Ok(answer),
            Ok(_) if repeated.0.load(Relaxed) => {}
            Ok(other) => {
                let local = socket.local_addr()?;
                return Err(io::Error::new(ErrorKind::InvalidData, format!("{local} was told {other:?}")));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                repeated.0.store(true, Relaxed);
                socket.send(text.as_bytes())?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(no_answer(ErrorKind::WouldBlock.into()))
}

fn hear_datagram(socket: &UdpSocket) -> io::Result<Answer> {
    let mut bytes = vec![0; LONGEST_DATAGRAM];
    let length = socket.recv(&mut bytes).map_err(no_answer)?;
    Answer::parse(&String::from_utf8_lossy(&bytes[..length]))
}

/// A read that ran out of time, in words.
fn no_answer(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "no answer in time"),
        _ => error,
    }
}

/// Pings `to` from the calling thread's namespace, once unless the kernel's queues lose it.
///
/// # Errors
/// When there is no answer within [`PATIENCE`].
pub fn ping(to: impl Into<IpAddr>) -> io::Result<()> {
    let to = SocketAddr::from((to.into(), 0));
    let (protocol, request, reply, header) = match to {
        SocketAddr::V4(_) => (Protocol::ICMPV4, &ECHO_REQUEST, ECHO_REPLY, IPV4_HEADER_BYTES),
        SocketAddr::V6(_) => (Protocol::ICMPV6, &ECHO_REQUEST_V6, ECHO_REPLY_V6, 0),
    };
    let socket = Socket::new(Domain::for_address(to), Type::RAW, Some(protocol))?;
    socket.set_read_timeout(Some(LOST))?;
    socket.connect(&to.into())?;
    socket.send(request)?;
    let deadline = Instant::now() + PATIENCE;
    let mut packet = [0; 128];
    // All ICMP from there comes by this socket, neighbour discovery's messages, too.
    while Instant::now() < deadline {
        match (&socket).read(&mut packet) {
            Ok(length) if packet[..length].get(header) == Some(&reply) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => drop(socket.send(request)?),
            Err(error) => return Err(error),
        }
    }
    Err(no_answer(ErrorKind::WouldBlock.into()))
}

/// How long a client waits for a connection or an answer: a SYN that is lost three times is sent again after 15 s.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// A datagram without an answer for so long is lost. Long, for one that is only late is answered twice.
const LOST: Duration = Duration::from_secs(5);

/// Frames of datagrams that wait for an answer at a time.
const UDP_WINDOW: usize = 50;
/// UDP payload that fits into one frame, or into a fragment, of an MTU of 1,500 bytes in either family.
const PIECE_BYTES: usize = 1_400;
/// 18 bytes of UDP payload make the smallest Ethernet frame.
const SMALL: [u8; 18] = [UNANSWERED; 18];

/// RFC 792: type 8, code 0, checksum over the message, identifier 1, sequence number 1.
const ECHO_REQUEST: [u8; 8] = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
/// RFC 792: type 0.
const ECHO_REPLY: u8 = 0;
/// A raw IPv4 socket delivers the IP header, too; an IPv6 one does not.
const IPV4_HEADER_BYTES: usize = 20;
/// RFC 4443 section 4.1: type 128, code 0, a checksum that the kernel computes, identifier 1, sequence number 1.
const ECHO_REQUEST_V6: [u8; 8] = [128, 0, 0, 0, 0, 1, 0, 1];
/// RFC 4443 section 4.2: type 129.
const ECHO_REPLY_V6: u8 = 129;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let answer = Answer::parse("target1 198.18.0.2:40000 two words\n").expect("an answer");
        assert_eq!(answer.target, "target1");
        assert_eq!(answer.client, "198.18.0.2:40000".parse().expect("an address"));
        assert_eq!(answer.text, "two words");
    }

    #[test]
    fn other_text_is_no_answer() {
        for line in ["", "\n", "target1", "target1 hello there", "HTTP/1.1 400 Bad Request"] {
            assert!(Answer::parse(line).is_err(), "{line:?}");
        }
    }
}

//! Netlink, as little as is needed: messages built and read as bytes, requests that wait for their answer, events.
//!
//! Used by `link`, `attach`, `nexthop`, `vip` and `xdp_features`. Every read is bounds-checked: a short or odd message is skipped.

use std::{
    fmt, io, mem,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use crate::sys;

/// A request under construction.
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of type `kind` (`RTM_...`) with the fixed `header` that the type asks for.
    pub(crate) fn new(kind: u16, flags: libc::c_int, header: &[u8]) -> Message {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags as u16 | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend_from_slice(header);
        Message { bytes }
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Message {
        let start = self.open_attribute(kind);
        self.bytes.extend_from_slice(value);
        self.close_attribute(start);
        self
    }

    /// Adds an attribute that is made of attributes.
    pub(crate) fn nested(mut self, kind: u16, build: impl FnOnce(Message) -> Message) -> Message {
        let start = self.open_attribute(kind | libc::NLA_F_NESTED as u16);
        let mut message = build(self);
        message.close_attribute(start);
        message
    }

    fn open_attribute(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close_attribute(&mut self, start: usize) {
        let len = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }

    fn finish(mut self, sequence: u32, extra_flags: libc::c_int) -> Vec<u8> {
        let len = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&len.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | extra_flags as u16;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A message from the kernel: its type and what follows the netlink header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'a> {
    /// `RTM_...`.
    pub(crate) kind: u16,
    /// The type's fixed header and attributes.
    pub(crate) body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The attributes after a fixed header of `header_bytes`.
    pub(crate) fn attributes(&self, header_bytes: usize) -> Attributes<'a> {
        Attributes { rest: self.body.get(header_bytes.next_multiple_of(ALIGNMENT)..).unwrap_or_default() }
    }
}

/// Attributes of a message or of a nested attribute, as (type, value).
#[derive(Clone, Debug)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// The attributes inside a nested attribute.
    pub(crate) fn of(value: &'a [u8]) -> Attributes<'a> {
        Attributes { rest: value }
    }

    /// The value of the first attribute of type `kind`.
    pub(crate) fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(found, value)| (found == kind).then_some(value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let head = self.rest.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & libc::NLA_TYPE_MASK as u16;
        let value = self.rest.get(4..len)?;
        self.rest = self.rest.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// Reads a native-endian u32 at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk::<4>()?))
}

/// Why the kernel refused a request: an errno and, where it gives one, a sentence.
#[derive(Debug)]
pub struct NetlinkError {
    source: io::Error,
    note: Option<String>,
}

impl NetlinkError {
    /// The errno, 0 when there is none.
    pub(crate) fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }
}

impl From<io::Error> for NetlinkError {
    fn from(source: io::Error) -> NetlinkError {
        NetlinkError { source, note: None }
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.note {
            Some(note) => write!(f, "{note} ({})", self.source),
            None => self.source.fmt(f),
        }
    }
}

impl std::error::Error for NetlinkError {}

/// A netlink socket.
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket of route netlink for requests, or for the events of `groups` (bits `RTMGRP_...`) when they are not 0.
    pub(crate) fn open(groups: u32) -> io::Result<Socket> {
        Socket::of_protocol(libc::NETLINK_ROUTE, groups)
    }

    /// Opens a socket of generic netlink for requests.
    pub(crate) fn generic() -> io::Result<Socket> {
        Socket::of_protocol(libc::NETLINK_GENERIC, 0)
    }

    fn of_protocol(protocol: libc::c_int, groups: u32) -> io::Result<Socket> {
        let kind = if groups == 0 { libc::SOCK_RAW } else { libc::SOCK_RAW | libc::SOCK_NONBLOCK };
        let fd = sys::socket(libc::AF_NETLINK, kind, protocol)?;
        for (name, value) in [(libc::NETLINK_EXT_ACK, 1), (libc::NETLINK_CAP_ACK, 1)] {
            sys::set_option(fd.as_raw_fd(), libc::SOL_NETLINK, name, &(value as libc::c_int))?;
        }
        // A burst of events must not overflow the socket while the thread is busy; without the right to force it, the
        // default size has to do, and an overflow is answered by reading everything anew.
        let _ =
            sys::set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER_BYTES);
        // SAFETY: all zero is a valid address.
        let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = groups;
        let (pointer, len) = sys::address_bytes(&address);
        // SAFETY: `address` lives through the call and `len` is its size.
        sys::checked(unsafe { libc::bind(fd.as_raw_fd(), pointer, len) })?;
        Ok(Socket { fd, sequence: 0, buffer: vec![0; MESSAGE_BYTES] })
    }

    /// Sends a request and waits for the kernel's acknowledgement.
    pub(crate) fn request(&mut self, message: Message) -> Result<(), NetlinkError> {
        self.exchange(message, libc::NLM_F_ACK, |_| {})
    }

    /// Sends a request for one object or, with `NLM_F_DUMP` in its flags, for all of a kind; `visit` sees every answer.
    pub(crate) fn ask(&mut self, message: Message, visit: impl FnMut(Reply<'_>)) -> Result<(), NetlinkError> {
        let dump = u16::from_ne_bytes([message.bytes[6], message.bytes[7]]) & libc::NLM_F_DUMP as u16 != 0;
        let extra = if dump { 0 } else { libc::NLM_F_ACK };
        self.exchange(message, extra, visit)
    }

    /// Reads the events that have arrived, without waiting. `Err` with ENOBUFS means that some were lost.
    pub(crate) fn events(&mut self, mut visit: impl FnMut(Reply<'_>)) -> io::Result<()> {
        loop {
            let len = match self.receive() {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for (header, body) in messages(&self.buffer[..len]) {
                visit(Reply { kind: header.kind, body });
            }
        }
    }

    fn exchange(
        &mut self,
        message: Message,
        extra_flags: libc::c_int,
        mut visit: impl FnMut(Reply<'_>),
    ) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = message.finish(self.sequence, extra_flags);
        // SAFETY: `bytes` is valid for reading for the call.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error().into());
        }
        loop {
            let len = match self.receive() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received?,
            };
            for (header, body) in messages(&self.buffer[..len]) {
                if header.sequence != self.sequence {
                    continue;
                }
                match i32::from(header.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => return acknowledgement(header, body),
                    _ => visit(Reply { kind: header.kind, body }),
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let (pointer, len) = (self.buffer.as_mut_ptr(), self.buffer.len());
        // SAFETY: the buffer is valid for `len` bytes of writing.
        let received = unsafe { libc::recv(self.fd.as_raw_fd(), pointer.cast(), len, 0) };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[derive(Clone, Copy)]
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

/// The messages of one datagram, each with what follows its header.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<HEADER_BYTES>()?;
        let len = u32_at(head, 0)? as usize;
        let body = bytes.get(HEADER_BYTES..len)?;
        let header = Header {
            kind: u16::from_ne_bytes([head[4], head[5]]),
            flags: u16::from_ne_bytes([head[6], head[7]]),
            sequence: u32_at(head, 8)?,
        };
        bytes = bytes.get(len.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((header, body))
    })
}

/// What an acknowledgement or the end of a dump says.
fn acknowledgement(header: Header, body: &[u8]) -> Result<(), NetlinkError> {
    let code = u32_at(body, 0).unwrap_or(0) as i32;
    if code >= 0 {
        return Ok(());
    }
    let has_note = i32::from(header.flags) & NLM_F_ACK_TLVS != 0;
    let attributes = Attributes::of(body.get(4 + HEADER_BYTES..).unwrap_or_default());
    let note = attributes.find(NLMSGERR_ATTR_MSG).filter(|_| has_note).map(sys::text);
    Err(NetlinkError { source: io::Error::from_raw_os_error(-code), note })
}

const HEADER_BYTES: usize = 16;
const ALIGNMENT: usize = 4;
/// The kernel sends dumps in datagrams of at most 32 KiB.
const MESSAGE_BYTES: usize = 64 * 1024;
const RECEIVE_BUFFER_BYTES: libc::c_int = 4 << 20;
const NLM_F_ACK_TLVS: i32 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_built() {
        let message = Message::new(1, 0, &[9; 8])
            .attribute(3, b"abc")
            .nested(5, |inner| inner.attribute(1, &7_u32.to_ne_bytes()));
        let bytes = message.finish(42, 0);
        let (header, body) = messages(&bytes).next().unwrap();
        assert_eq!((header.kind, header.sequence), (1, 42));
        let reply = Reply { kind: header.kind, body };
        assert_eq!(reply.attributes(8).find(3), Some(&b"abc"[..]));
        let inner = reply.attributes(8).find(5).unwrap();
        assert_eq!(Attributes::of(inner).find(1).and_then(|value| u32_at(value, 0)), Some(7));
    }

    #[test]
    fn broken_messages_end_the_walk() {
        let whole = Message::new(1, 0, &[9; 8]).attribute(3, b"abcdef").finish(1, 0);
        for len in 0..whole.len() {
            assert_eq!(messages(&whole[..len]).count(), 0, "cut at {len}");
            let _ = Attributes::of(&whole[..len]).count();
        }
        assert_eq!(messages(&[0; 64]).count(), 0, "a length of 0 must not loop");
        assert_eq!(Attributes::of(&[0; 64]).count(), 0);
    }

    #[test]
    fn the_kernel_answers() {
        let mut socket = Socket::open(0).unwrap();
        let dump = Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; 16]);
        let mut links = 0;
        socket.ask(dump, |_| links += 1).unwrap();
        assert!(links >= 1, "there is always a loopback device");

        let mut header = [0; 16];
        header[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let refused = socket.ask(Message::new(libc::RTM_GETLINK, 0, &header), |_| {}).unwrap_err();
        assert_eq!(refused.errno(), libc::ENODEV);
    }
}

//! Taps: what went over any set of links at once, every frame at every end of a link in the order in which it went there.
//!
//! A frame is seen twice on its way over a link, [`Direction::Out`] of one end and [`Direction::In`] at the other. What AF_XDP
//! sends and receives passes below packet sockets: such an end is tapped [across](LinkEnd::across) its link.

mod hop;
mod packet;
mod path;

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Doing, TestbedError,
    namespace::Namespace,
    packet_socket::{self, Links, PacketSocket},
};

pub use super::packet_socket::Direction;
pub use hop::{Checksum, Hop, Protocol, Segment};
pub use path::{Crossing, crossings, follow};

/// One end of a link, to be tapped.
#[derive(Clone, Debug)]
pub struct LinkEnd<'a> {
    namespace: &'a Namespace,
    link: String,
    place: String,
    stand: Stand,
}

/// Where the socket of a tap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// At the end that the place names.
    Here,
    /// At the other end of the link: what is sent there is received here.
    Across,
}

impl<'a> LinkEnd<'a> {
    /// Link `link` of a namespace, called `place`.
    pub fn at(namespace: &'a Namespace, link: &str, place: &str) -> LinkEnd<'a> {
        LinkEnd { namespace, link: link.to_owned(), place: place.to_owned(), stand: Stand::Here }
    }

    /// The other end of link `link` of a namespace, called `place`, without touching it.
    pub fn across(namespace: &'a Namespace, link: &str, place: &str) -> LinkEnd<'a> {
        LinkEnd { stand: Stand::Across, ..LinkEnd::at(namespace, link, place) }
    }

    /// What it is called.
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// Captures of several links, which go on until this is dropped. The kernel keeps ten thousand frames of each link and counts
/// what it cannot keep.
#[derive(Debug)]
pub struct Taps(Vec<Tap>);

#[derive(Debug)]
struct Tap {
    place: String,
    stand: Stand,
    socket: PacketSocket,
}

impl Taps {
    /// Begins to capture. What goes over the links from now on is seen, with the kernel's time of it.
    ///
    /// # Errors
    /// When a link does not exist or cannot be listened to.
    pub fn on(ends: &[LinkEnd<'_>]) -> Result<Taps, TestbedError> {
        let taps = Taps(ends.iter().map(Tap::on).collect::<Result<_, _>>()?);
        if let Some(end) = ends.first() {
            let stamped = end.namespace.within(packet_socket::await_time_stamps);
            stamped.doing(|| "learn when frames come".into())?;
        }
        Ok(taps)
    }

    /// What went over the links since the start or the last call, in order; neither ARP nor neighbour discovery.
    ///
    /// # Errors
    /// When there was more than the kernel kept.
    pub fn take(&mut self) -> Result<Vec<Hop>, TestbedError> {
        let mut hops = self.take_all()?;
        hops.retain(|hop| hop.protocol != Protocol::Neighbours);
        Ok(hops)
    }

    /// The same with ARP and neighbour discovery.
    ///
    /// # Errors
    /// When there was more than the kernel kept.
    pub fn take_all(&mut self) -> Result<Vec<Hop>, TestbedError> {
        let mut hops = Vec::new();
        for tap in &self.0 {
            tap.read(&mut hops).doing(|| format!("tap {}", tap.place))?;
        }
        hops.sort_by_key(|hop| hop.time_ns);
        Ok(hops)
    }

    /// As [`Self::take`], again and again until it is `enough` or `patience` is over: all that there was, either way.
    ///
    /// # Errors
    /// When there was more than the kernel kept.
    pub fn take_until(
        &mut self,
        patience: Duration,
        enough: impl Fn(&[Hop]) -> bool,
    ) -> Result<Vec<Hop>, TestbedError> {
        let deadline = Instant::now() + patience;
        let mut hops = self.take()?;
        while !enough(&hops) && Instant::now() < deadline {
            thread::sleep(LOOK_AGAIN);
            hops.extend(self.take()?);
            // A tap that was read early may have kept back what another tells of already.
            hops.sort_by_key(|hop| hop.time_ns);
        }
        Ok(hops)
    }
}

impl Tap {
    fn on(end: &LinkEnd<'_>) -> Result<Tap, TestbedError> {
        let open = || PacketSocket::open(Links::One(&end.link), &[]);
        let socket = end.namespace.within(open).doing(|| format!("tap {}", end.place))?;
        Ok(Tap { place: end.place.clone(), stand: end.stand, socket })
    }

    /// Adds all that the kernel keeps.
    fn read(&self, hops: &mut Vec<Hop>) -> std::io::Result<()> {
        let mut frame = vec![0; LONGEST_FRAME];
        while let Some(arrival) = self.socket.receive(&mut frame)? {
            let direction = match (self.stand, arrival.direction) {
                (Stand::Here, direction) => direction,
                (Stand::Across, Direction::In) => Direction::Out,
                (Stand::Across, Direction::Out) => Direction::In,
            };
            hops.extend(Hop::read(&self.place, direction, arrival.time_ns, &frame[..arrival.length]));
        }
        match self.socket.dropped()? {
            0 => Ok(()),
            lost => Err(std::io::Error::other(format!("{lost} frames were more than the kernel kept"))),
        }
    }
}

/// An IP packet of the greatest length with its Ethernet header: segments that are to be cut up later are as long.
const LONGEST_FRAME: usize = 14 + 65_535;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

//! Connections with one request each: connect, 64 bytes, 64 bytes back, the target closes. From two threads and many addresses, each
//! of many places beginning anew as soon as it has ended.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, event::Event, net::TcpStream};

use super::{Stage, join, server::MESSAGE_BYTES, socket};
use crate::topology::{Failure, ONCE_PORT, client_addresses};

/// Whole connections per second.
pub fn per_second(stage: Stage<'_>) -> Result<f64, Failure> {
    let (done, failed, stopping) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let sources = client_addresses();
    let rate = thread::scope(|scope| {
        let clients: Vec<_> = sources
            .chunks(sources.len() / THREADS)
            .map(|sources| {
                let (done, failed, stopping) = (&done, &failed, &stopping);
                scope.spawn(move || {
                    let mut clients = Clients { stage, sources, done, failed, next: 0 };
                    stage.topology.network.client.within(|| clients.run(stopping))
                })
            })
            .collect();
        let rate = stage.rate(|| Ok(done.load(Relaxed)));
        stopping.store(true, Relaxed);
        for client in clients {
            join(client)?;
        }
        rate
    })?;
    let (done, failed) = (done.load(Relaxed), failed.load(Relaxed));
    if failed * MOST_FAILED > done {
        return Err(format!("{failed} of {} connections failed", done + failed).into());
    }
    Ok(rate)
}

/// One thread's clients.
struct Clients<'s> {
    stage: Stage<'s>,
    sources: &'s [Ipv4Addr],
    done: &'s AtomicU64,
    failed: &'s AtomicU64,
    /// Connections begun.
    next: usize,
}

/// A place that has one connection at a time.
struct Place {
    stream: TcpStream,
    is_asked: bool,
    answered: usize,
}

/// How a connection goes on after an event.
#[derive(PartialEq, Eq)]
enum Progress {
    Open,
    Done,
}

impl Clients<'_> {
    fn run(&mut self, stopping: &AtomicBool) -> io::Result<()> {
        let mut poll = Poll::new()?;
        let mut places = (0..PLACES).map(|place| self.begin(&poll, place)).collect::<io::Result<Vec<_>>>()?;
        let mut events = Events::with_capacity(PLACES);
        while !stopping.load(Relaxed) {
            match poll.poll(&mut events, Some(LOOK_AROUND)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                let place = event.token().0;
                match places[place].go_on(event) {
                    Ok(Progress::Open) => continue,
                    Ok(Progress::Done) => self.done.fetch_add(1, Relaxed),
                    Err(_) => self.failed.fetch_add(1, Relaxed),
                };
                places[place] = self.begin(&poll, place)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, poll: &Poll, place: usize) -> io::Result<Place> {
        let source = self.sources[self.next % self.sources.len()];
        let mut stream = socket::connect(source, self.stage.destination(self.next, ONCE_PORT))?;
        self.next += 1;
        poll.registry().register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Place { stream, is_asked: false, answered: 0 })
    }
}

impl Place {
    fn go_on(&mut self, event: &Event) -> io::Result<Progress> {
        if !self.is_asked && event.is_writable() {
            // A connection that was refused says so here.
            self.stream.write_all(&[0; MESSAGE_BYTES])?;
            self.is_asked = true;
        }
        if !self.is_asked || !event.is_readable() {
            return Ok(Progress::Open);
        }
        match self.stream.read(&mut [0; 2 * MESSAGE_BYTES]) {
            Ok(0) if self.answered < MESSAGE_BYTES => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.answered += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let is_over = self.answered >= MESSAGE_BYTES && event.is_read_closed();
        Ok(if is_over { Progress::Done } else { Progress::Open })
    }
}

const THREADS: usize = 2;
/// Connections at a time of each thread.
const PLACES: usize = 32;
/// One of so many connections may fail.
const MOST_FAILED: u64 = 1000;
/// How often a thread looks whether to stop.
const LOOK_AROUND: Duration = Duration::from_millis(100);

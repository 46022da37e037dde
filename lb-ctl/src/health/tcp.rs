//! The checking thread: non-blocking TCP connects, thousands at a time, and the timers of the roster.
//!
//! A check succeeds when the target completes the handshake; the connection is closed at once.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Instant};

use crossbeam_channel::Receiver;
use mio::{Events, Interest, Poll, Token, Waker, net::TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Board, Command, Outcome, Transition,
    roster::{Roster, Ticket, Work},
};

/// The thread's belongings.
pub(super) struct Checker {
    poll: Poll,
    commands: Receiver<Command>,
    board: Arc<Board>,
    roster: Roster,
    streams: HashMap<Ticket, TcpStream>,
}

/// Whether the thread goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    Stop,
}

impl Checker {
    pub(super) fn new(commands: Receiver<Command>, board: Arc<Board>) -> io::Result<Checker> {
        Ok(Checker { poll: Poll::new()?, commands, board, roster: Roster::new(), streams: HashMap::new() })
    }

    /// Wakes the thread when there are commands.
    pub(super) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKE)
    }

    pub(super) fn run(mut self, mut on_transition: impl FnMut(Transition)) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.wait(&mut events);
            if self.obey() == Next::Stop {
                return;
            }
            let work = self.roster.turn(Instant::now(), jitter);
            self.carry_out(work);
            for transition in self.roster.take_transitions() {
                if self.board.note(&transition) {
                    on_transition(transition);
                }
            }
        }
    }

    /// Waits for the next timer or event, and takes every outcome that is there before any timer is looked at.
    fn wait(&mut self, events: &mut Events) {
        let mut timeout =
            self.roster.next_timer().map(|timer| timer.saturating_duration_since(Instant::now()));
        loop {
            if let Err(error) = self.poll.poll(events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return;
            }
            let mut count = 0;
            for event in events.iter() {
                count += 1;
                if event.token() != WAKE {
                    self.take_outcome(event.token().0);
                }
            }
            if count < EVENTS {
                return;
            }
            timeout = Some(std::time::Duration::ZERO);
        }
    }

    fn take_outcome(&mut self, ticket: Ticket) {
        let Some(stream) = self.streams.get(&ticket) else { return };
        let outcome = match stream.take_error() {
            Ok(None) => match stream.peer_addr() {
                Ok(_) => Some(Outcome::Success),
                Err(_) => return, // Still connecting.
            },
            Ok(Some(error)) | Err(error) => judge(&error),
        };
        self.forget(ticket);
        self.roster.finish(ticket, outcome, Instant::now(), jitter());
    }

    fn obey(&mut self) -> Next {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Stop => return Next::Stop,
                Command::Set { checks, restored } => {
                    let work = self.roster.set(checks, &restored, Instant::now());
                    self.carry_out(work);
                }
            }
        }
        Next::Continue
    }

    fn carry_out(&mut self, work: Vec<Work>) {
        for item in work {
            match item {
                Work::Abandon(ticket) => self.forget(ticket),
                Work::Begin(ticket, endpoint) => {
                    if let Err(error) = self.connect(ticket, endpoint) {
                        self.roster.finish(ticket, judge(&error), Instant::now(), jitter());
                    }
                }
            }
        }
    }

    fn connect(&mut self, ticket: Ticket, endpoint: SocketAddr) -> io::Result<()> {
        let socket =
            Socket::new(Domain::for_address(endpoint), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        match socket.connect(&endpoint.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut stream, Token(ticket), Interest::WRITABLE)?;
        self.streams.insert(ticket, stream);
        Ok(())
    }

    fn forget(&mut self, ticket: Ticket) {
        if let Some(mut stream) = self.streams.remove(&ticket) {
            let _ = self.poll.registry().deregister(&mut stream); // Closing does the same.
        }
    }
}

/// What an error says about the target; `None` when it speaks of this host only.
fn judge(error: &io::Error) -> Option<Outcome> {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL) => None,
        Some(libc::ETIMEDOUT) => Some(Outcome::Timeout),
        _ => Some(Outcome::Failure),
    }
}

/// From 0 to 1, different for every check and every process.
fn jitter() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}

const WAKE: Token = Token(usize::MAX);
const EVENTS: usize = 1_024;

//! Requests of 64 bytes on 16 open connections, each answered by 64 bytes: as fast as answers come, or at a fixed mean rate.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use super::{SETTLING, Stage, join, server::MESSAGE_BYTES, socket};
use crate::{
    system,
    topology::{CLIENT_CPU, Failure, KEPT_PORT},
};

/// Answers per second, the next request of a connection sent as soon as the last is answered.
pub fn per_second(stage: Stage<'_>) -> Result<f64, Failure> {
    let (answers, stopping) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            stage.topology.network.client.within(|| {
                let mut crowd = Crowd::connect(stage)?;
                (0..CONNECTIONS).try_for_each(|index| crowd.ask(index, Instant::now()))?;
                while !stopping.load(Relaxed) {
                    let answered = crowd.answers(Some(LOOK_AROUND))?;
                    answers.fetch_add(answered.len() as u64, Relaxed);
                    answered
                        .into_iter()
                        .try_for_each(|answer| crowd.ask(answer.connection, Instant::now()))?;
                }
                Ok::<_, Failure>(())
            })
        });
        let rate = stage.rate(|| Ok(answers.load(Relaxed)));
        stopping.store(true, Relaxed);
        join(client)?;
        rate
    })
}

/// Latencies in microseconds that 50 %, 99 % and 99.9 % of all requests stay below, at a fixed mean rate with exponential gaps.
///
/// A request is timed from when it was due, so one that waits because an earlier one was slow counts with its wait. Client and targets
/// share a CPU; the client never sleeps but gives way to everything, so that no packet waits for it.
pub fn latencies_us(stage: Stage<'_>) -> Result<[f64; 3], Failure> {
    let pinned = stage.server.out_of_the_balancers_way()?;
    let mut latencies = thread::scope(|scope| {
        join(scope.spawn(|| {
            stage.topology.network.client.within(|| {
                system::pin(0, &[CLIENT_CPU])?;
                system::go_last()?;
                open_loop(&mut Crowd::connect(stage)?, stage.time)
            })
        }))
    })?;
    drop(pinned);
    latencies.sort_unstable();
    if latencies.is_empty() {
        return Err("no request was answered".into());
    }
    let share = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    Ok([share(0.5), share(0.99), share(0.999)])
}

fn open_loop(crowd: &mut Crowd, time: Duration) -> Result<Vec<Duration>, Failure> {
    let counted_from = Instant::now() + SETTLING;
    let end = counted_from + time;
    let mut latencies = Vec::with_capacity((REQUESTS_PER_SECOND * time.as_secs_f64() * 1.5) as usize);
    let (mut due, mut random, mut asked) = (Instant::now(), SEED, 0);
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(latencies);
        }
        while due <= now {
            crowd.ask(asked % CONNECTIONS, due)?;
            asked += 1;
            due += gap(&mut random);
        }
        let answered = crowd.answers(Some(Duration::ZERO))?;
        latencies
            .extend(answered.iter().filter(|answer| answer.due >= counted_from).map(|answer| answer.took));
    }
}

/// The time to the next request of a Poisson process.
fn gap(random: &mut u64) -> Duration {
    // xorshift64: the same requests in every run.
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    let uniform = (*random >> 11) as f64 / (1u64 << 53) as f64;
    Duration::from_secs_f64(-(1.0 - uniform).ln() / REQUESTS_PER_SECOND)
}

/// Open connections of one client.
struct Crowd {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    /// When the requests were due that are not answered yet, the oldest first.
    open: VecDeque<Instant>,
    /// Bytes of an answer that is not whole yet.
    partial: usize,
}

struct Answer {
    connection: usize,
    due: Instant,
    took: Duration,
}

impl Crowd {
    fn connect(stage: Stage<'_>) -> Result<Crowd, Failure> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for index in 0..CONNECTIONS {
            let mut stream = socket::connected(stage.destination(index, KEPT_PORT))?;
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            connections.push(Connection { stream, open: VecDeque::new(), partial: 0 });
        }
        Ok(Crowd { poll, events: Events::with_capacity(CONNECTIONS), connections })
    }

    fn ask(&mut self, connection: usize, due: Instant) -> Result<(), Failure> {
        let Connection { stream, open, .. } = &mut self.connections[connection];
        if open.len() >= MOST_OPEN {
            return Err(format!("{MOST_OPEN} requests of one connection are not answered").into());
        }
        stream.write_all(&[0; MESSAGE_BYTES])?;
        open.push_back(due);
        Ok(())
    }

    /// Waits for answers.
    fn answers(&mut self, patience: Option<Duration>) -> Result<Vec<Answer>, Failure> {
        match self.poll.poll(&mut self.events, patience) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Vec::new()),
            other => other?,
        }
        let mut answers = Vec::new();
        for event in &self.events {
            let index = event.token().0;
            let whole = self.connections[index].read()?;
            let now = Instant::now();
            for due in self.connections[index].open.drain(..whole) {
                answers.push(Answer { connection: index, due, took: now - due });
            }
        }
        Ok(answers)
    }
}

impl Connection {
    /// Reads what is there and returns the number of answers that are whole now.
    fn read(&mut self) -> io::Result<usize> {
        let mut buffer = [0; MOST_OPEN * MESSAGE_BYTES];
        let received = match self.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            other => other?,
        };
        let bytes = self.partial + received;
        self.partial = bytes % MESSAGE_BYTES;
        Ok((bytes / MESSAGE_BYTES).min(self.open.len()))
    }
}

const CONNECTIONS: usize = 16;
const REQUESTS_PER_SECOND: f64 = 10_000.0;
/// Requests of one connection at a time.
const MOST_OPEN: usize = 256;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// How often a client looks whether to stop.
const LOOK_AROUND: Duration = Duration::from_millis(100);

//! As many bytes as four connections take, counted where they arrive.

use std::{
    io::{self, ErrorKind, Write},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use super::{Stage, join, socket};
use crate::topology::{BULK_PORT, Failure};

/// TCP payload in Gbit/s.
pub fn gbit_per_second(stage: Stage<'_>) -> Result<f64, Failure> {
    let stopping = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| stage.topology.network.client.within(|| send_until(stage, &stopping)));
        let rate = stage.rate(|| Ok(stage.server.swallowed()));
        stopping.store(true, Relaxed);
        join(client)?;
        Ok(rate? * 8.0 / 1e9)
    })
}

fn send_until(stage: Stage<'_>, stopping: &AtomicBool) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut streams = Vec::new();
    for index in 0..CONNECTIONS {
        let mut stream = socket::connected(stage.destination(index, BULK_PORT))?;
        poll.registry().register(&mut stream, Token(index), Interest::WRITABLE)?;
        streams.push(stream);
    }
    let chunk = vec![0; CHUNK_BYTES];
    let mut events = Events::with_capacity(CONNECTIONS);
    while !stopping.load(Relaxed) {
        match poll.poll(&mut events, Some(LOOK_AROUND)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            fill(&mut streams[event.token().0], &chunk, stopping)?;
        }
    }
    Ok(())
}

/// Writes until the connection takes no more.
fn fill(stream: &mut TcpStream, chunk: &[u8], stopping: &AtomicBool) -> io::Result<()> {
    while !stopping.load(Relaxed) {
        match stream.write(chunk) {
            // One that takes a part is full: room makes another event.
            Ok(written) if written < chunk.len() => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

const CONNECTIONS: usize = 4;
const CHUNK_BYTES: usize = 128 * 1024;
/// How often the client looks whether to stop.
const LOOK_AROUND: Duration = Duration::from_millis(100);

//! Bodies without end, connections without number, heads without haste.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Rig, Witness, mutate::Mutator, number};

#[test]
fn a_body_of_a_gibibyte_is_not_read() {
    let rig = Rig::start();
    let witness = Witness::start(&rig.socket);
    for head in ["content-length: 1073741824", "transfer-encoding: chunked"] {
        let mut stream = UnixStream::connect(&rig.socket).unwrap();
        let head = format!(
            "POST /v1/target-groups/web/targets HTTP/1.1\r\nhost: lbd\r\ncontent-type: application/json\r\n{head}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut piece = b"10000\r\n".to_vec();
        piece.resize(piece.len() + 0x10000, b' ');
        piece.extend(b"\r\n");
        let mut sent = 0_usize;
        while sent < 1 << 30 {
            match stream.write(&piece) {
                Ok(bytes) => sent += bytes,
                Err(error) => {
                    assert!(
                        matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                        "{error}"
                    );
                    break;
                }
            }
        }
        assert!(sent < 16 << 20, "{sent} bytes were taken");
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer)); // What was not read makes the end a reset.
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("{\"error\":\"the body is longer than"), "{answer}");
    }
    witness.finish("bodies of 1 GiB");
}

#[test]
fn a_body_that_is_said_to_be_too_long_is_not_waited_for() {
    let rig = Rig::start();
    let mut stream = UnixStream::connect(&rig.socket).unwrap();
    let head = "POST /v1/target-groups HTTP/1.1\r\nhost: lbd\r\ncontent-type: application/json\r\n\
                expect: 100-continue\r\ncontent-length: 5000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer.as_slice(), b"HTTP/1.1 413 ");
}

#[test]
fn ten_thousand_connections_keep_nobody_out() {
    let rig = Rig::start();
    let wanted = number("HOSTILE_CONNECTIONS", 2_000).min(raise_file_limit() - 200);
    let witness = Witness::start(&rig.socket);
    let mut held = Vec::with_capacity(wanted);
    for _ in 0..wanted {
        held.push(UnixStream::connect(&rig.socket).unwrap());
    }
    thread::sleep(Duration::from_secs(1));
    witness.finish(&format!("{wanted} connections without a request"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while held.iter().filter(|stream| is_open(stream)).count() > 64 {
        assert!(Instant::now() < deadline, "more than 64 of one user are open");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn slow_heads_end_in_time_and_keep_nobody_out() {
    let rig = Rig::start();
    let witness = Witness::start(&rig.socket);
    let mut slow: Vec<UnixStream> = (0..200).map(|_| UnixStream::connect(&rig.socket).unwrap()).collect();
    let begun = Instant::now();
    let mut bytes = b"GET /v1/status HTTP/1.1\r\nhost: ".iter().chain(std::iter::repeat(&b'x'));
    while !slow.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} are still open", slow.len());
        let byte = [*bytes.next().unwrap()];
        slow.retain_mut(|stream| stream.write_all(&byte).is_ok());
        thread::sleep(Duration::from_millis(100));
    }
    witness.finish("200 slow heads");
}

#[test]
fn a_reader_that_sleeps_is_left_behind() {
    let rig = Rig::start();
    let witness = Witness::start(&rig.socket);
    let mut stream = UnixStream::connect(&rig.socket).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let request = b"GET /v1/status HTTP/1.1\r\nhost: lbd\r\n\r\n".repeat(1_000);
    // Answers pile up until the server stops to read, then to wait.
    while stream.write_all(&request).is_ok() {}
    witness.finish("a reader that sleeps");
}

#[test]
fn mutated_requests_are_answered_or_dropped() {
    let rig = Rig::start();
    let count = number("HOSTILE_REQUESTS", 10_000);
    let witness = Witness::start(&rig.socket);
    let begun = Instant::now();
    let threads = [1, 2].map(|seed| {
        let socket = rig.socket.clone();
        thread::spawn(move || {
            let mut mutator = Mutator::new(seed);
            let mut answered = 0;
            for _ in 0..count / 2 {
                let mut stream = UnixStream::connect(&socket).unwrap();
                let request = mutator.next();
                if stream.write_all(&request).is_err() {
                    continue;
                }
                drop(stream.shutdown(std::net::Shutdown::Write));
                let mut answer = Vec::new();
                drop(stream.read_to_end(&mut answer));
                assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{request:?} -> {answer:?}");
                assert!(!answer.starts_with(b"HTTP/1.1 5"), "{}", String::from_utf8_lossy(&answer));
                answered += usize::from(!answer.is_empty());
            }
            answered
        })
    });
    let answered: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let seconds = begun.elapsed().as_secs_f64();
    witness.finish(&format!("{count} mutated requests, {answered} answered, {seconds:.0} s"));
}

fn is_open(mut stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Raises the limit of open files as far as it goes, and returns it.
fn raise_file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    limit.maximum.map_or(1 << 20, |maximum| maximum as usize)
}

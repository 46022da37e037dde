//! Following what happens.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use lb_ctl::api::{Event, Happening};

use crate::Rig;

#[test]
fn a_follower_is_told_as_it_happens_and_finds_its_place_again() {
    let rig = Rig::start();
    let events = rig.server.events();
    let mut follower = follow(&rig, "follow=true");
    assert_eq!(read(&mut follower).what, Happening::Heartbeat, "a sign that it follows");
    events.publish(opened("a"));
    let first = next(&mut follower);
    assert_eq!(first.what, opened("a"));
    drop(follower);
    events.publish(opened("b"));
    events.publish(opened("c"));
    let mut follower = follow(&rig, &format!("follow=true&since={}", first.seq));
    let told: Vec<Happening> = (0..2).map(|_| next(&mut follower).what).collect();
    assert_eq!(told, [opened("b"), opened("c")]);
}

#[test]
fn a_slow_follower_is_told_how_many_it_missed() {
    let rig = Rig::start();
    let events = rig.server.events();
    let mut follower = follow(&rig, "follow=true");
    let begin = read(&mut follower).seq;
    let count = 40_000;
    for number in 0..count {
        events.publish(opened(&format!("{number}")));
        if number % 1_000 == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let (mut told, mut missed) = (0, 0);
    loop {
        let event = next(&mut follower);
        match event.what {
            Happening::FailOpen { .. } => told += 1,
            Happening::Missed { events } => missed += events.expect("of this run"),
            other => panic!("{other:?}"),
        }
        assert_eq!(event.seq, begin + told + missed);
        if event.seq == begin + count {
            break;
        }
    }
    assert!(missed > 0, "{told} were told");
}

fn opened(group: &str) -> Happening {
    Happening::FailOpen { target_group: group.into(), is_failing_open: true }
}

fn follow(rig: &Rig, query: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(&rig.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET /v1/events?{query} HTTP/1.0\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0);
    }
    reader
}

/// The next event that is no sign of life.
fn next(follower: &mut BufReader<UnixStream>) -> Event {
    loop {
        let event = read(follower);
        if event.what != Happening::Heartbeat {
            return event;
        }
    }
}

fn read(follower: &mut BufReader<UnixStream>) -> Event {
    let mut line = String::new();
    follower.read_line(&mut line).unwrap();
    serde_json::from_str(&line).expect(&line)
}

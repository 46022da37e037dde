//! UDP checks.

use std::{net::UdpSocket, thread};

use super::*;

/// Answers each datagram with `answer`, if there is one.
fn serve(answer: Option<&'static [u8]>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoint = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut question = [0; 16];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            assert_eq!(&question[..length], b"ping");
            if let Some(answer) = answer {
                socket.send_to(answer, from).unwrap();
            }
        }
    });
    endpoint
}

fn probe(expect: Option<&[u8]>) -> Probe {
    Probe::Udp(UdpProbe { send: b"ping".to_vec(), expect: expect.map(Into::into) })
}

#[test]
fn an_answer_must_contain_what_is_expected() {
    let answering = serve(Some(b"a pong!"));
    assert_eq!(verdict(probe(Some(b"pong")), answering), TargetHealth::Healthy);
    assert_eq!(verdict(probe(None), answering), TargetHealth::Healthy);
    let wrong = TargetHealth::Unhealthy(Cause::WrongAnswer);
    assert_eq!(verdict(probe(Some(b"pang")), answering), wrong);
}

#[test]
fn silence_is_a_failure_only_where_an_answer_is_expected() {
    let silent = serve(None);
    let timeout = Duration::from_millis(100);
    assert_eq!(verdict_within(timeout, probe(None), silent), TargetHealth::Healthy);
    let expecting = verdict_within(timeout, probe(Some(b"pong")), silent);
    assert_eq!(expecting, TargetHealth::Unhealthy(Cause::Timeout));
}

#[test]
fn an_icmp_error_is_a_failure() {
    let closed = SocketAddr::from((address_apart(), 9));
    for expect in [None, Some(b"pong".as_slice())] {
        assert_eq!(verdict(probe(expect), closed), TargetHealth::Unhealthy(Cause::Refused));
    }
}

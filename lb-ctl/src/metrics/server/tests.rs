//! Scrapers that behave, and such that do not.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::*;
use crate::metrics::{CONTENT_TYPE, Metrics};

fn start() -> MetricsServer {
    let deliver = |call| match call {
        Call::Metrics(reply) => reply.send(Metrics::default()),
        _ => panic!("only metrics are asked for"),
    };
    MetricsServer::start(([127, 0, 0, 1], 0).into(), deliver).unwrap()
}

/// What comes until the server closes the connection; nothing if it resets it.
fn exchange(server: &MetricsServer, request: &str) -> String {
    let mut answer = Vec::new();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
    String::from_utf8(answer).unwrap()
}

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: lbd\r\n\r\n";

#[test]
fn a_scrape_is_answered_and_nothing_else() {
    let server = start();
    let answer = exchange(&server, SCRAPE);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(&format!("content-type: {CONTENT_TYPE}\r\n")), "{answer}");
    assert!(answer.ends_with("\n# EOF\n"), "{answer}");
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: lbd\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\nHost: lbd\r\nContent-Length: 0\r\n\r\n", "405 Method Not Allowed"),
        ("nonsense\r\n\r\n", "400 Bad Request"),
    ] {
        let answer = exchange(&server, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    }
}

#[test]
fn an_address_in_use_is_told() {
    let server = start();
    let error = MetricsServer::start(server.address(), drop).unwrap_err().to_string();
    let expected = format!("metrics.listen: cannot listen on {}: ", server.address());
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn silent_scrapers_make_room() {
    let server = start();
    let mut silent: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    for stream in &mut silent {
        assert!(exchange(&server, SCRAPE).ends_with("# EOF\n"));
        stream.set_read_timeout(Some(CONNECTION_TIME * 3)).unwrap();
    }
    assert_eq!(silent[0].read(&mut [0]).unwrap_or(0), 0, "the first was closed");
}

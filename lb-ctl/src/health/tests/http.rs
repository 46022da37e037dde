//! HTTP checks.

use std::{io::Write, net::TcpStream};

use super::{
    servers::{request, serve, serve_answer},
    *,
};

fn probe(matcher: &str) -> Probe {
    let matcher = Matcher::parse(matcher).unwrap();
    Probe::Http(HttpProbe { host: "198.18.0.1:80".into(), path: "/healthz?full".into(), matcher, tls: None })
}

#[test]
fn the_status_code_decides() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\n\r\n", TargetHealth::Healthy),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnobod", TargetHealth::Healthy),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", TargetHealth::Healthy),
        ("HTTP/1.1 301 Moved\r\n\r\n", TargetHealth::Unhealthy(Cause::Code(301))),
        ("HTTP/1.1 500 Oops\r\n\r\n", TargetHealth::Unhealthy(Cause::Code(500))),
        ("220 mail.example ESMTP\r\n", TargetHealth::Unhealthy(Cause::Malformed)),
        ("HTTP/1.1 200 OK\r\nContent-", TargetHealth::Unhealthy(Cause::Closed)),
        ("", TargetHealth::Unhealthy(Cause::Closed)),
    ] {
        let endpoint = serve_answer(answer.as_bytes(), 7);
        assert_eq!(verdict(probe("200-299,404"), endpoint), expected, "{answer:?}");
    }
}

#[test]
fn the_request_is_nlbs() {
    let (sender, requests) = mpsc::channel();
    let endpoint = serve(move |mut stream| {
        let request = request(&mut stream);
        if stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_ok() && request.ends_with("\r\n\r\n") {
            let _ = sender.send(request); // One is looked at.
        }
    });
    assert_eq!(verdict(probe("200"), endpoint), TargetHealth::Healthy);
    let request = requests.recv_timeout(Duration::from_secs(30)).unwrap();
    let mut lines: Vec<&str> = request.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "GET /healthz?full HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(lines, ["Connection: close", "Host: 198.18.0.1:80", "User-Agent: ELB-HealthChecker/2.0"]);
}

#[test]
fn silence_times_out() {
    let mut kept: Vec<TcpStream> = Vec::new();
    let silent = serve(move |stream| kept.push(stream));
    let health = verdict_within(Duration::from_millis(100), probe("200"), silent);
    assert_eq!(health, TargetHealth::Unhealthy(Cause::Timeout));
}

#[test]
fn a_head_without_end_is_not_read() {
    let bomb = serve(|mut stream| {
        request(&mut stream);
        let mut written = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while written.is_ok() {
            written = stream.write_all(&[b'a'; 4_096]);
        }
    });
    assert_eq!(verdict(probe("200"), bomb), TargetHealth::Unhealthy(Cause::HeaderTooLong));
}

//! Questions about flows, from the client over the socket to the control thread: they arrive as they were asked.

use std::path::Path;

use lb_ctl::{
    api::{FLOWS_LISTED, FlowsQuery, TraceQuery, WhyQuery},
    client::Client,
    server::{Call, Server},
};

/// A server whose refusals say what was asked.
fn start(socket: &Path) -> Server {
    Server::start(socket, |call| match call {
        Call::Flows { query, reply } => reply.refuse(format!("{query:?}")),
        Call::Why { query, key, reply } => reply.refuse(format!("{query:?} {key:?}")),
        Call::Trace { query, reply } => reply.refuse(format!("trace {query:?}")),
        Call::Capture { query, reply, .. } => reply.refuse(format!("capture {query:?}")),
        other => panic!("{other:?} was not asked"),
    })
    .unwrap()
}

#[test]
fn a_question_arrives_as_it_was_asked() {
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("lbd.sock");
    let _server = start(&socket);
    let client = Client::new(&socket);
    let every = FlowsQuery {
        protocol: "tcp".parse().ok(),
        client: "2001:db8::/32".parse().ok(),
        vip: "[2001:db8::1]:80".parse().ok(),
        target: "198.19.1.2".parse().ok(),
        state: "half_open".parse().ok(),
        worker: Some(3),
        limit: Some(5),
        count: true,
    };
    for query in [every.clone(), FlowsQuery::default()] {
        assert_eq!(client.flows(&query).unwrap_err().to_string(), format!("{query:?}"));
    }
    let too_many = FlowsQuery { limit: Some(FLOWS_LISTED + 1), ..every };
    assert_eq!(client.flows(&too_many).unwrap_err().to_string(), "limit is a number up to 10000");

    let query = WhyQuery {
        client: "[2001:db8::2]:40000".parse().unwrap(),
        vip: "[2001:db8::1]:53".parse().unwrap(),
        protocol: "udp".parse().ok(),
    };
    let key = query.key().unwrap();
    assert_eq!(client.why(&query).unwrap_err().to_string(), format!("{query:?} {key:?}"));
    let mixed = WhyQuery { vip: "198.18.100.1:53".parse().unwrap(), ..query };
    assert!(client.why(&mixed).unwrap_err().to_string().starts_with("expected two addresses of one family"));
}

#[test]
fn a_trace_is_asked_for_by_what_is_named_and_bounds_are_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("lbd.sock");
    let _server = start(&socket);
    let client = Client::new(&socket);
    let every = TraceQuery {
        protocol: "udp".parse().ok(),
        client: "2001:db8::/32".parse().ok(),
        vip: "[2001:db8::1]:80".parse().ok(),
        target: "198.19.1.2:8080".parse().ok(),
        listener: Some("edge/TCP:80".into()),
        reason: "no_listener".parse().ok(),
        sample: Some(10),
        count: Some(1_000_000),
        seconds: Some(3_600),
        snap: None,
    };
    for query in [every.clone(), TraceQuery::default()] {
        assert_eq!(client.trace(&query).unwrap_err().to_string(), format!("trace {query:?}"));
    }
    let captured = TraceQuery { snap: Some(96), ..every.clone() };
    assert_eq!(client.capture(&captured).unwrap_err().to_string(), format!("capture {captured:?}"));
    for (query, error) in [
        (TraceQuery { count: Some(1_000_001), ..every.clone() }, "count is a number from 1 to 1000000"),
        (TraceQuery { seconds: Some(0), ..every.clone() }, "seconds is a number from 1 to 3600"),
        (TraceQuery { sample: Some(0), ..every.clone() }, "sample is a number from 1 to"),
        (captured, "ask for a capture"),
    ] {
        let said = client.trace(&query).unwrap_err().to_string();
        assert!(said.contains(error), "{said}");
    }
    let said = client.chunks("/v1/trace?reason=nothing").unwrap_err().to_string();
    assert!(said.contains("reason") && said.contains("as `lbctl stats` names it"), "{said}");
}

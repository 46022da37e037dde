//! Questions about flows, from the client over the socket to the control thread: they arrive as they were asked.

use std::path::Path;

use lb_ctl::{
    api::{FLOWS_LISTED, FlowsQuery, WhyQuery},
    client::Client,
    server::{Call, Server},
};

/// A server whose refusals say what was asked.
fn start(socket: &Path) -> Server {
    Server::start(socket, |call| match call {
        Call::Flows { query, reply } => reply.refuse(format!("{query:?}")),
        Call::Why { query, key, reply } => reply.refuse(format!("{query:?} {key:?}")),
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

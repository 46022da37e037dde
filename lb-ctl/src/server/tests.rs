//! The server as clients meet it.

use std::io::{Read, Write};

use std::{
    fs,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
};

use super::*;
use crate::{
    api::{FLOWS_LISTED, NewTarget, RefusalCode, TargetAddress, TargetChanges},
    client::{Client, ClientError},
};

/// A server that answers as a control thread might, and refuses reloads.
fn start(socket: &Path) -> Result<Server, ServerError> {
    Server::start(socket, |call| match call {
        Call::Status(reply) => reply.send(Status { generation: 7, ..Status::default() }),
        Call::Flows { query, reply } => reply.refuse(format!("asked for {:?}", query.limit)),
        Call::Why { query, key, reply } => {
            reply.refuse(format!("asked for {} to {}, protocol {}", query.client, query.vip, key.protocol()));
        }
        Call::Reload { reply, .. } => reply.refuse("lbd.toml:3: port: found 0"),
        Call::Targets(reply) => drop(reply),
        Call::TargetsOf { target_group, reply } => {
            reply.refuse(Refusal::of(RefusalCode::TargetGroupNotFound, format!("no group {target_group}")))
        }
        Call::Change(ChangeCall { change: Change::ChangeTargets { changes, .. }, reply, .. }) => {
            match changes.register.is_empty() {
                true => reply.refuse(Refusal::of(RefusalCode::InvalidTarget, "not registered")),
                false => {
                    let in_force = InForce { generation: 8, tables_generation: 9, id: None };
                    reply.send(Changed { in_force, objects: Default::default() });
                }
            }
        }
        Call::Trace { .. } | Call::Capture { .. } => {}
        Call::Snapshot(_) | Call::Change(_) | Call::Export(_) | Call::Differences { .. } => {}
        Call::Stats(reply) => reply.send(Stats::default()),
        Call::Metrics(reply) => reply.send(Default::default()),
    })
}

#[test]
fn calls_are_answered_and_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("run/lbd.sock");
    let server = start(&socket).unwrap();
    let client = Client::new(&socket);
    assert_eq!(client.status().unwrap().generation, 7);
    assert_eq!(client.stats().unwrap(), Stats::default());
    assert_eq!(client.reload().unwrap_err().to_string(), "lbd.toml:3: port: found 0");
    let flows = |limit| FlowsQuery { limit: Some(limit), ..FlowsQuery::default() };
    assert_eq!(client.flows(&flows(5)).unwrap_err().to_string(), "asked for Some(5)");
    assert_eq!(
        client.flows(&flows(FLOWS_LISTED + 1)).unwrap_err().to_string(),
        "limit is a number up to 10000"
    );
    assert_eq!(client.targets().unwrap_err().to_string(), "the daemon is stopping");
    assert_eq!(client.targets_of("a/b c").unwrap_err().to_string(), "no group a/b c");
    let address = "198.19.1.2".parse().unwrap();
    let new = NewTarget { address, port: None, weight: Some(2), zone: None };
    let register = TargetChanges { register: vec![new], deregister: vec![] };
    assert_eq!(client.change_targets("web", &register).unwrap().generation, 8);
    let gone = TargetAddress { address, port: Some(80) };
    let deregister = TargetChanges { register: vec![], deregister: vec![gone] };
    let refused = client.change_targets("web", &deregister).unwrap_err();
    assert_eq!(refused.to_string(), "not registered");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    drop(server);
    assert!(!socket.exists());
    assert!(matches!(client.status(), Err(ClientError::Unreachable(..))));
}

#[test]
fn a_second_server_is_refused_and_a_stale_socket_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("lbd.sock");
    drop(UnixListener::bind(&socket).unwrap()); // Leaves the file, as a killed process does.
    let server = start(&socket).unwrap();
    assert!(matches!(start(&socket), Err(ServerError::InUse(_))));
    assert_eq!(Client::new(&socket).status().unwrap().generation, 7);
    drop(server);
    fs::write(&socket, "precious").unwrap();
    assert!(matches!(start(&socket), Err(ServerError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
}

#[test]
fn nonsense_is_refused_in_json() {
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("lbd.sock");
    let _server = start(&socket).unwrap();
    for (request, body, status) in [
        ("GET /v2", "", "404 Not Found"),
        ("POST /v1/status", "", "405 Method Not Allowed"),
        ("GET /v1/flows?limit=x", "", "400 Bad Request"),
        ("GET /v1/target-groups/web/targets", "", "404 Not Found"),
        ("POST /v1/target-groups/web/targets", "{}", "400 Bad Request"),
        ("POST /v1/target-groups/web/targets", "[]", "400 Bad Request"),
        ("POST /v1/target-groups/web/targets", r#"{"register":[{"address":"x"}]}"#, "422 Unprocessable"),
        ("POST /v1/target-groups/web/targets", r#"{"registre":[]}"#, "422 Unprocessable"),
        ("POST /v1/target-groups/web/targets", "register", "400 Bad Request"),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let length = body.len();
        write!(
            stream,
            "{request} HTTP/1.1\r\nhost: lbd\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("{\"error\":"), "{answer}");
    }
}

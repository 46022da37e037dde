//! Requests by HTTP to an endpoint whose control thread keeps objects and nothing else: every operation, and every refusal.

use std::{
    io::{self, Write},
    net::TcpStream,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{
    api::{InForce, Refusal, TargetRow, Traffic},
    change::{Context, Draft},
    config::{Access, AccessKey, Document, Elbv2, Secret},
    server::{Call, ChangeCall, Changed, Snapshot},
};

mod access;
mod lifecycle;
mod refusals;

/// An endpoint, and what its answers have been.
struct World {
    endpoint: Endpoint,
    log: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new() -> World {
        World::with(Access::Unsigned)
    }

    fn with(access: Access) -> World {
        let settings = Elbv2 {
            listen: "127.0.0.1:0".parse().unwrap(),
            region: "us-east-1".into(),
            account: "000000000000".into(),
            dns_suffix: "lbd.internal".into(),
            access,
        };
        let host = Document::parse(HOST, "host").unwrap();
        let draft = Mutex::new(Draft::new(Default::default(), host.config().unwrap(), 1));
        let deliver = move |call| answer(call, &mut draft.lock().unwrap(), &host);
        let keys = Keys::load(&settings.access).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = log.clone();
        let log_line = move |line| lines.lock().unwrap().push(line);
        World { endpoint: Endpoint::start(&settings, keys, log_line, deliver).unwrap(), log }
    }

    /// Sends a request as it is. Returns the head and the body of the answer.
    fn send(&self, request: &str) -> (String, String) {
        // What is refused before it has come whole is waited for, but not for long: a sender that is held up may be cut off.
        let answer = (0..ATTEMPTS).find_map(|_| self.exchange(request).ok()).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.into(), body.into())
    }

    fn exchange(&self, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.endpoint.address())?;
        stream.write_all(request.as_bytes())?;
        io::read_to_string(stream)
    }

    /// Posts a form. Returns the status and the document.
    fn post(&self, form: &str) -> (u16, String) {
        let (head, body) = self.send(&post(form, ""));
        (head[9..12].parse().unwrap(), body)
    }

    /// The result of an operation that succeeds, without what is around it.
    #[track_caller]
    fn ok(&self, form: &str) -> String {
        let (status, document) = self.post(form);
        assert_eq!(status, 200, "{form}\n{document}");
        let action = form.split(['=', '&']).nth(1).unwrap();
        let result = between(&document, &format!("<{action}Result>"), &format!("</{action}Result>"));
        assert!(document.contains("<ResponseMetadata><RequestId>"), "{document}");
        result.into()
    }

    /// The code of the error that an operation is refused by.
    #[track_caller]
    fn refused(&self, form: &str) -> String {
        let (status, document) = self.post(form);
        assert_ne!(status, 200, "{form}\n{document}");
        between(&document, "<Code>", "</Code>").into()
    }

    /// The ARN in the result of an operation.
    #[track_caller]
    fn arn(&self, form: &str, name: &str) -> String {
        let result = self.ok(form);
        between(&result, &format!("<{name}>"), &format!("</{name}>")).into()
    }

    fn load_balancer(&self, name: &str) -> String {
        let form = format!("Action=CreateLoadBalancer&Type=network&Subnets.member.1=pool-a&Name={name}");
        self.arn(&form, "LoadBalancerArn")
    }

    fn target_group(&self, name: &str) -> String {
        let form = format!("Action=CreateTargetGroup&Protocol=TCP&Port=8080&TargetType=ip&Name={name}");
        self.arn(&form, "TargetGroupArn")
    }

    fn listener(&self, lb: &str, port: u16, group: &str) -> String {
        let form = format!(
            "Action=CreateListener&LoadBalancerArn={lb}&Protocol=TCP&Port={port}&DefaultActions.member.1.Type=forward&\
             DefaultActions.member.1.TargetGroupArn={group}"
        );
        self.arn(&form, "ListenerArn")
    }
}

const ATTEMPTS: u32 = 3;

fn post(form: &str, headers: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: lbd\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{form}",
        form.len()
    )
}

#[track_caller]
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let found = text.split_once(before).and_then(|(_, rest)| rest.split_once(after));
    found.unwrap_or_else(|| panic!("no {before} in {text}")).0
}

/// What the control thread does, as far as this endpoint asks.
fn answer(call: Call, draft: &mut Draft, host: &Document) {
    match call {
        Call::Snapshot(reply) => {
            reply.send(Snapshot { generation: 1, objects: Arc::new(draft.objects().clone()) });
        }
        Call::Change(ChangeCall { change, reply, .. }) => {
            let context = Context { host, now: "2026-11-23T10:43:09Z" };
            let mut next = draft.clone();
            match next.apply(&change, &context).and_then(|id| next.settle(host).map(|()| id)) {
                Ok(id) => {
                    *draft = next;
                    let in_force = InForce { generation: draft.generation(), tables_generation: 1, id };
                    reply.send(Changed { in_force, objects: Arc::new(draft.objects().clone()) });
                }
                Err(refusal) => reply.refuse(refusal),
            }
        }
        Call::TargetsOf { target_group, reply } => match draft.objects().target_group(&target_group) {
            Some(group) => {
                reply.send(group.targets.iter().map(|target| row(&target_group, target)).collect())
            }
            None => reply.refuse(Refusal::from("no such group")),
        },
        other => panic!("{other:?}"),
    }
}

/// Who has the port 9 is draining.
fn row(group: &str, target: &crate::objects::Target) -> TargetRow {
    let state = if target.port == 9 { "draining" } else { "healthy" };
    let reason = (target.port == 9).then(|| "Target.DeregistrationInProgress".into());
    TargetRow {
        target_group: group.into(),
        target: (target.address, target.port).into(),
        zone: target.zone.clone(),
        state: state.into(),
        reason,
        description: None,
        changed: None,
        changed_seconds_ago: None,
        checks_passed: 0,
        checks_failed: 0,
        weight: Some(1),
        is_eligible: true,
        share_percent: 100.0,
        is_reachable: true,
        bypass: None,
        traffic: Traffic::default(),
    }
}

const HOST: &str = r#"
interfaces = ["eth0"]

[[address_pools]]
name = "pool-a"
zone = "a"
addresses = ["198.18.100.16-198.18.100.31", "2001:db8:100::10-2001:db8:100::1f"]

[[address_pools]]
name = "pool-b"
zone = "b"
addresses = ["198.18.100.32-198.18.100.33"]
"#;

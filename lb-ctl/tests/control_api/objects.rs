//! A life of objects by REST, each answer held against the API's own description of it.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use serde_json::{Value, json};

use crate::Rig;

#[test]
fn objects_are_made_read_changed_and_removed_as_described() {
    let api = Api::new();
    let lb = json!({ "name": "edge", "addresses": [{ "pool": "subnet-a" }], "tags": { "team": "x" } });
    let group = json!({ "name": "web", "protocol": "TCP", "port": 8080, "attributes": { "stickiness.enabled": "true" } });
    let listener =
        json!({ "protocol": "TCP", "port": 443, "forward": { "target_groups": [{ "name": "web" }] } });
    let made = api.done("POST", "/v1/load-balancers", &lb);
    assert_eq!(api.done("POST", "/v1/load-balancers", &lb), made, "the same once more");
    api.done("POST", "/v1/target-groups", &group);
    api.done("POST", "/v1/load-balancers/edge/listeners", &listener);

    let seen = api.done("GET", "/v1/load-balancers/edge", &Value::Null);
    assert_eq!(seen["addresses"][0]["address"], "198.18.100.16");
    assert_eq!(seen["listeners"][0]["port"], 443);
    for place in ["443", "TCP:443"] {
        let path = format!("/v1/load-balancers/edge/listeners/{place}");
        assert_eq!(api.done("GET", &path, &Value::Null), seen["listeners"][0]);
    }
    assert_eq!(api.done("GET", "/v1/load-balancers/edge/listeners", &Value::Null), seen["listeners"]);
    assert_eq!(api.done("GET", "/v1/load-balancers", &Value::Null).as_array().unwrap().len(), 2);
    assert_eq!(api.done("GET", "/v1/target-groups", &Value::Null).as_array().unwrap().len(), 2);

    let patch = json!({ "attributes": { "load_balancing.cross_zone.enabled": "true" }, "tags": { "team": null, "tier": "1" } });
    let generation = api.done("GET", "/v1/status", &Value::Null)["generation"].clone();
    assert_eq!(generation, 7);
    let before = api.generation();
    api.done("PATCH", "/v1/load-balancers/edge", &patch);
    assert_eq!(api.generation(), before + 1, "two changes in one step");
    let seen = api.done("GET", "/v1/load-balancers/edge", &Value::Null);
    assert_eq!(seen["tags"], json!({ "tier": "1" }));
    api.done(
        "PATCH",
        "/v1/target-groups/web",
        &json!({ "health_check": { "protocol": "HTTP", "path": "/up" } }),
    );
    let seen = api.done("GET", "/v1/target-groups/web", &Value::Null);
    assert_eq!(seen["health_check"]["path"], "/up");
    api.done("PATCH", "/v1/load-balancers/edge/listeners/443", &json!({ "port": 444, "tags": { "a": "b" } }));
    api.done("POST", "/v1/target-groups/web/targets", &json!({ "register": [{ "address": "198.19.1.2" }] }));
    api.done("GET", "/v1/target-groups/web/targets", &Value::Null);
    api.done("POST", "/v1/tags", &json!({ "resources": [{ "target_group": "web" }], "set": { "a": "b" } }));

    api.done("DELETE", "/v1/load-balancers/edge/listeners/444", &Value::Null);
    api.done("DELETE", "/v1/load-balancers/edge", &Value::Null);
    api.done("DELETE", "/v1/target-groups/web", &Value::Null);
    for path in ["/v1/stats", "/v1/targets", "/v1/flows?limit=3", "/v1/openapi.json"] {
        api.done("GET", path, &Value::Null);
    }
    api.done("POST", "/v1/reload", &Value::Null);
}

#[test]
fn rules_go_by_their_priority() {
    let api = Api::new();
    let pool = json!([{ "ipv4": "198.18.100.9" }, { "ipv6": "2001:db8::9" }]);
    let lb = json!({ "name": "edge", "addresses": pool });
    api.done("POST", "/v1/load-balancers", &lb);
    for (name, family) in [("web", "ipv4"), ("web6", "ipv6")] {
        let group = json!({ "name": name, "protocol": "TCP", "port": 80, "ip_address_type": family });
        api.done("POST", "/v1/target-groups", &group);
    }
    let forward = |name: &str| json!({ "target_groups": [{ "name": name }] });
    let listener = json!({ "protocol": "TCP", "port": 80, "forward": forward("web") });
    api.done("POST", "/v1/load-balancers/edge/listeners", &listener);
    let rules = "/v1/load-balancers/edge/listeners/80/rules";
    api.done("POST", rules, &json!({ "priority": 5, "source": "ipv6", "forward": forward("web6") }));
    api.done("PATCH", rules, &json!({ "priorities": { "5": 6 } }));
    api.done("PATCH", rules, &json!({ "priorities": { "6": 5 } }));
    api.done("PATCH", &format!("{rules}/5"), &json!({ "priority": 7, "tags": { "a": "b" } }));
    let seen = api.done("GET", &format!("{rules}/7"), &Value::Null);
    assert_eq!((&seen["source"], &seen["tags"]["a"]), (&json!("ipv6"), &json!("b")));
    assert_eq!(api.done("GET", rules, &Value::Null), json!([seen]));
    api.refused("GET", &format!("{rules}/5"), &Value::Null, (404, "RuleNotFound"));
    api.done("DELETE", &format!("{rules}/7"), &Value::Null);
    assert_eq!(api.done("GET", rules, &Value::Null), json!([]));
}

#[test]
fn a_change_of_another_generation_is_refused() {
    let api = Api::new();
    let group = json!({ "name": "web", "protocol": "TCP", "port": 8080 });
    let (status, _, told) = api.ask("POST", "/v1/target-groups", &[("if-match", "\"99\"")], &group);
    assert_eq!((status, &told["code"], &told["generation"]), (412, &json!("GenerationMismatch"), &json!(1)));
    let (status, etag, _) = api.ask("POST", "/v1/target-groups", &[("if-match", "\"1\"")], &group);
    assert_eq!((status, etag.as_deref()), (200, Some("\"2\"")));
    let (status, ..) = api.ask("DELETE", "/v1/target-groups/web", &[("if-match", "soon")], &Value::Null);
    assert_eq!(status, 400);
}

#[test]
fn a_file_is_compared_applied_and_written() {
    let api = Api::new();
    let text = api.text("GET", "/v1/export", "", "").1;
    assert!(text.contains("declared"), "{text}");
    let other = text.replace("port = 80\n", "port = 81\n");
    for (path, body) in [("/v1/diff", &other), ("/v1/apply", &other), ("/v1/diff", &other)] {
        let (status, told) = api.text("POST", path, "application/toml", body);
        assert_eq!(status, 200, "{told}");
    }
    let differences: Value =
        serde_json::from_str(&api.text("POST", "/v1/diff", "text/plain", &other).1).unwrap();
    assert_eq!(differences, json!([]), "applied");
    let file = json!({ "load_balancers": [], "target_groups": [] });
    api.done("POST", "/v1/apply", &file);
    assert_eq!(api.done("GET", "/v1/load-balancers", &Value::Null), json!([]));
    let differences = api.done(
        "POST",
        "/v1/diff",
        &json!({ "target_groups": [{ "name": "n", "protocol": "UDP", "port": 5 }] }),
    );
    assert_eq!(differences[0]["action"], "add");
    let (status, told) = api.text("POST", "/v1/apply", "application/toml", "[[load_balancers]]\nnam = 1\n");
    assert_eq!(status, 400, "{told}");
    assert!(told.contains("nam"), "{told}");
}

#[test]
fn what_is_wrong_is_told_with_status_code_and_key() {
    let api = Api::new();
    let null = Value::Null;
    api.refused("GET", "/v1/load-balancers/none", &null, (404, "LoadBalancerNotFound"));
    api.refused("GET", "/v1/load-balancers/declared/listeners/tcp", &null, (404, "ListenerNotFound"));
    api.refused("DELETE", "/v1/target-groups/old", &null, (409, "ResourceInUse"));
    let (status, _, told) =
        api.ask("POST", "/v1/target-groups", &[], &json!({ "name": "a", "protocol": "SCTP", "port": 1 }));
    assert_eq!((status, &told["path"]), (422, &json!("protocol")));
    let wrong = json!({ "register": [{ "address": "198.19.1.2" }, { "address": 7 }] });
    let (status, _, told) = api.ask("POST", "/v1/target-groups/old/targets", &[], &wrong);
    assert_eq!((status, &told["path"]), (422, &json!("register[1].address")));
    for (method, path, status) in [
        ("GET", "/v1/load-balancers/%ff", 400),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/load-balancers/declared", 405),
        ("PATCH", "/v1/load-balancers/declared", 400),
        ("GET", "/v1/flows?limit=-1", 400),
        ("GET", "/v1/flows?limt=1", 400),
    ] {
        let (found, _, told) = api.ask(method, path, &[], &json!({}));
        assert_eq!(found, status, "{method} {path}");
        assert!(told["code"].is_string(), "{told}");
    }
    let long = " ".repeat(5 << 20);
    for (kind, body, status, code) in [
        ("text/html", "{}", 415, "UnsupportedMediaType"),
        ("application/json", "{", 400, "ValidationError"),
        ("application/json", &long, 413, "BodyTooLarge"),
    ] {
        let (found, told) = api.text("POST", "/v1/target-groups", kind, body);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!((found, &told["code"], &told["path"]), (status, &json!(code), &null), "{told}");
    }
    let (_, _, told) = api.ask("POST", "/v1/target-groups", &[], &json!({ "protocol": "TCP", "port": 1 }));
    assert_eq!((&told["code"], &told["path"]), (&json!("ValidationError"), &json!("name")), "{told}");
    let check = json!({ "health_check": { "interval_seconds": 4 } });
    let (_, _, told) = api.ask("PATCH", "/v1/target-groups/old", &[], &check);
    assert_eq!(told["path"], "health_check.interval_seconds", "{told}");
    assert!(told["error"].as_str().unwrap().starts_with("health_check.interval_seconds: "), "{told}");
}

#[test]
fn what_answers_tell_can_be_sent_back() {
    let api = Api::new();
    let lb = json!({ "name": "edge", "addresses": [{ "pool": "subnet-a" }] });
    api.done("POST", "/v1/load-balancers", &lb);
    let listener = json!({ "protocol": "TCP", "port": 443, "target_group": "old" });
    let (status, _, told) = api.ask("POST", "/v1/load-balancers/edge/listeners", &[], &listener);
    assert_eq!((status, &told["code"]), (409, &json!("TargetGroupAssociationLimit")), "it is understood");
    let addresses = &api.done("GET", "/v1/load-balancers/edge", &Value::Null)["addresses"];
    let patch =
        json!({ "addresses": addresses, "attributes": { "load_balancing.cross_zone.enabled": true } });
    api.done("PATCH", "/v1/load-balancers/edge", &patch);
    let seen = api.done("GET", "/v1/load-balancers/edge", &Value::Null);
    assert_eq!(&seen["addresses"], addresses);
    assert_eq!(seen["attributes"]["load_balancing.cross_zone.enabled"], "true");
}

#[test]
fn the_walk_misses_nothing_that_is_described() {
    let api = Api::new();
    // Lines, packets, TOML and metrics are tested elsewhere.
    let left_out =
        ["capture", "events", "export", "metrics", "trace", "why"].map(|name| format!("get /v1/{name}"));
    let walked = WALKED.iter().map(ToString::to_string).chain(left_out);
    assert_eq!(api.described(), walked.collect::<BTreeSet<_>>());
}

/// Operations whose answers the tests of this file hold against their schemas.
const WALKED: &[&str] = &[
    "delete /v1/load-balancers/{name}",
    "delete /v1/load-balancers/{name}/listeners/{listener}",
    "delete /v1/load-balancers/{name}/listeners/{listener}/rules/{priority}",
    "delete /v1/target-groups/{name}",
    "get /v1/flows",
    "get /v1/load-balancers",
    "get /v1/load-balancers/{name}",
    "get /v1/load-balancers/{name}/listeners",
    "get /v1/load-balancers/{name}/listeners/{listener}",
    "get /v1/load-balancers/{name}/listeners/{listener}/rules",
    "get /v1/load-balancers/{name}/listeners/{listener}/rules/{priority}",
    "get /v1/openapi.json",
    "get /v1/stats",
    "get /v1/status",
    "get /v1/target-groups",
    "get /v1/target-groups/{name}",
    "get /v1/target-groups/{name}/targets",
    "get /v1/targets",
    "patch /v1/load-balancers/{name}",
    "patch /v1/load-balancers/{name}/listeners/{listener}",
    "patch /v1/load-balancers/{name}/listeners/{listener}/rules",
    "patch /v1/load-balancers/{name}/listeners/{listener}/rules/{priority}",
    "patch /v1/target-groups/{name}",
    "post /v1/apply",
    "post /v1/diff",
    "post /v1/load-balancers",
    "post /v1/load-balancers/{name}/listeners",
    "post /v1/load-balancers/{name}/listeners/{listener}/rules",
    "post /v1/reload",
    "post /v1/tags",
    "post /v1/target-groups",
    "post /v1/target-groups/{name}/targets",
];

/// A server, and the description that it gives of itself.
struct Api {
    rig: Rig,
    document: Value,
    generation: RefCell<Option<String>>,
}

impl Api {
    fn new() -> Api {
        let rig = Rig::start();
        let mut api = Api { rig, document: Value::Null, generation: RefCell::default() };
        api.document = serde_json::from_str(&api.text("GET", "/v1/openapi.json", "", "").1).unwrap();
        api
    }

    /// Asks, expects 200, and holds body and answer against their schemas.
    fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, etag, told) = self.ask(method, path, &[], body);
        assert_eq!(status, 200, "{method} {path}: {told}");
        self.generation.replace(etag.or(self.generation.take()));
        let operation = self.operation(method, path);
        if !body.is_null() {
            self.check(&operation["requestBody"]["content"]["application/json"]["schema"], body);
        }
        self.check(&operation["responses"]["200"]["content"]["application/json"]["schema"], &told);
        told
    }

    fn refused(&self, method: &str, path: &str, body: &Value, (status, code): (u16, &str)) {
        let (found, _, told) = self.ask(method, path, &[], body);
        assert_eq!((found, &told["code"]), (status, &json!(code)), "{method} {path}: {told}");
    }

    /// The generation that the latest answer about objects told.
    fn generation(&self) -> u64 {
        self.generation.borrow().as_ref().unwrap().trim_matches('"').parse().unwrap()
    }

    /// Status, ETag and JSON of an answer. A refusal is held against its schema.
    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Option<String>, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut head = String::from("content-type: application/json\r\n");
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        let (status, head, text) = self.exchange(method, path, &head, &body);
        let told: Value = serde_json::from_str(&text).expect(&text);
        if status != 200 {
            self.check(&json!({ "$ref": "#/components/schemas/Refusal" }), &told);
        }
        let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).map(Into::into);
        (status, etag, told)
    }

    fn text(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
        let head = if kind.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") };
        let (status, _, text) = self.exchange(method, path, &head, body);
        (status, text)
    }

    fn exchange(&self, method: &str, path: &str, head: &str, body: &str) -> (u16, String, String) {
        let mut stream = UnixStream::connect(&self.rig.socket).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: lbd\r\nconnection: close\r\n{head}content-length: {length}\r\n\r\n{body}"
        );
        let _ = stream.write_all(request.as_bytes()); // What is too long is not read to its end.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").expect(&answer);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), text.into())
    }

    fn operation(&self, method: &str, path: &str) -> &Value {
        let path = path.split('?').next().unwrap();
        let is_like = |template: &str| {
            let (parts, wanted) = (path.split('/'), template.split('/'));
            parts.clone().count() == wanted.clone().count()
                && parts.zip(wanted).all(|(part, wanted)| part == wanted || wanted.starts_with('{'))
        };
        let paths = self.document["paths"].as_object().unwrap();
        let (template, methods) = paths.iter().find(|(template, _)| is_like(template)).expect(path);
        let name = format!("{} {template}", method.to_lowercase());
        assert!(WALKED.contains(&name.as_str()), "{name}");
        &methods[method.to_lowercase()]
    }

    fn check(&self, schema: &Value, value: &Value) {
        assert!(schema.is_object());
        let mut whole = schema.clone();
        whole["components"] = self.document["components"].clone();
        let validator = jsonschema::validator_for(&whole).unwrap();
        let errors: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{schema}\n{value}\n{errors:?}");
    }

    fn described(&self) -> BTreeSet<String> {
        let paths = self.document["paths"].as_object().unwrap().iter();
        paths
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
            })
            .collect()
    }
}

//! The description of the API (OpenAPI 3.1): shapes from the types that are sent and read, paths from the table below. A test holds
//! both against the router and its answers.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    api::{
        Event, FlowList, FlowsQuery, InForce, ListenerPatch, LoadBalancerPatch, NewListenerBody, NewRuleBody,
        Refusal, RulePatch, RulePriorities, Stats, Status, TagsBody, TargetChanges, TargetGroupPatch,
        TargetRow, TraceLine, TraceQuery, Why, WhyQuery,
    },
    capture::pcapng,
    change::{NewLoadBalancer, NewTargetGroup},
    metrics,
    objects::{Difference, Listener, LoadBalancer, Rule, TargetGroup},
    server::events::EventsQuery,
};

/// One method of one path.
pub(super) struct Operation {
    /// Such as `get`.
    pub(super) method: &'static str,
    /// As the router has it.
    pub(super) path: &'static str,
    summary: &'static str,
    query: Option<Shape>,
    body: Content,
    answer: Content,
}

/// What a body is.
#[derive(Clone, Copy)]
enum Content {
    Nothing,
    Json(Shape),
    /// JSON, a value in each line.
    Lines(Shape),
    /// A configuration file, in TOML or JSON.
    File,
    Toml,
    /// Metrics.
    Metrics,
    /// Frames.
    Pcapng,
}

/// A type's schema.
type Shape = fn(&mut SchemaGenerator) -> Schema;

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The whole document.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let refusal = shape::<Refusal>(&mut generator);
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let described = describe(operation, &mut generator, &refusal);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "lbd control API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://localhost", "description": "by the Unix socket control_socket" }],
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn describe(operation: &Operation, generator: &mut SchemaGenerator, refusal: &Schema) -> Value {
    let mut described = json!({
        "operationId": operation_id(operation),
        "summary": operation.summary,
        "parameters": parameters(operation, generator),
        "responses": {
            "200": { "description": "done", "content": content(operation.answer, generator) },
            "default": {
                "description": "refused; nothing has changed",
                "content": { "application/json": { "schema": refusal } },
            },
        },
    });
    if is_about_objects(operation) {
        described["responses"]["200"]["headers"] = json!({
            "ETag": { "description": "generation of the objects", "schema": { "type": "string" } }
        });
    }
    if !matches!(operation.body, Content::Nothing) {
        described["requestBody"] = json!({ "required": true, "content": content(operation.body, generator) });
    }
    described
}

/// Such as `patch_load_balancers_name`.
fn operation_id(operation: &Operation) -> String {
    let words = operation.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    [operation.method].into_iter().chain(words.skip(1)).collect::<Vec<_>>().join("_")
}

fn parameters(operation: &Operation, generator: &mut SchemaGenerator) -> Vec<Value> {
    let names = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let of_path = names.map(|name| {
        let meaning = SEGMENTS.iter().find(|row| row.0 == name).map_or("", |row| row.1);
        json!({ "name": name, "in": "path", "required": true, "description": meaning, "schema": { "type": "string" } })
    });
    let query = operation.query.map(|shape| shape(generator).to_value());
    let keys = query.as_ref().and_then(|query| query["properties"].as_object()).into_iter().flatten();
    let is_required = |key: &str| {
        let required = query.as_ref().and_then(|query| query["required"].as_array());
        required.is_some_and(|required| required.iter().any(|name| name == key))
    };
    let of_query = keys.map(
        |(key, schema)| json!({ "name": key, "in": "query", "required": is_required(key), "schema": schema }),
    );
    let is_conditional = is_about_objects(operation) && operation.method != "get";
    let condition = is_conditional.then(|| {
        let meaning = "refuse the change (412) unless the objects are of this generation: an ETag";
        json!({ "name": "If-Match", "in": "header", "description": meaning, "schema": { "type": "string" } })
    });
    of_path.chain(of_query).chain(condition).collect()
}

fn content(content: Content, generator: &mut SchemaGenerator) -> Value {
    match content {
        Content::Nothing => json!({}),
        Content::Json(shape) => json!({ "application/json": { "schema": shape(generator) } }),
        Content::Lines(shape) => json!({ "application/x-ndjson": { "schema": shape(generator) } }),
        Content::File => json!({
            "application/toml": { "schema": { "type": "string" } },
            "application/json": { "schema": { "type": "object" } },
        }),
        Content::Toml => json!({ "application/toml": { "schema": { "type": "string" } } }),
        Content::Pcapng => {
            json!({ (pcapng::CONTENT_TYPE): { "schema": { "type": "string", "format": "binary" } } })
        }
        Content::Metrics => json!({ (metrics::CONTENT_TYPE): { "schema": { "type": "string" } } }),
    }
}

fn is_about_objects(operation: &Operation) -> bool {
    ["/v1/load-balancers", "/v1/target-groups", "/v1/tags", "/v1/apply"]
        .iter()
        .any(|prefix| operation.path.starts_with(prefix))
        && !(operation.method == "get" && operation.path.ends_with("/targets"))
}

const fn get(path: &'static str, answer: Content, summary: &'static str) -> Operation {
    Operation { method: "get", path, summary, query: None, body: Content::Nothing, answer }
}

const fn change(method: &'static str, path: &'static str, body: Content, summary: &'static str) -> Operation {
    Operation { method, path, summary, query: None, body, answer: Content::Json(shape::<InForce>) }
}

/// The keys of a query.
const fn query<T: JsonSchema>() -> Option<Shape> {
    Some(T::json_schema)
}

const fn json_of<T: JsonSchema>() -> Content {
    Content::Json(shape::<T>)
}

const LB: &str = "/v1/load-balancers/{name}";
const LISTENERS: &str = "/v1/load-balancers/{name}/listeners";
const LISTENER: &str = "/v1/load-balancers/{name}/listeners/{listener}";
const RULES: &str = "/v1/load-balancers/{name}/listeners/{listener}/rules";
const RULE: &str = "/v1/load-balancers/{name}/listeners/{listener}/rules/{priority}";
const GROUP: &str = "/v1/target-groups/{name}";
const TARGETS: &str = "/v1/target-groups/{name}/targets";

/// Every operation, in the order of the document.
pub(super) const OPERATIONS: &[Operation] = &[
    get("/v1/status", json_of::<Status>(), "the daemon at a glance"),
    get("/v1/stats", json_of::<Stats>(), "counters since the start"),
    get("/v1/targets", json_of::<Vec<TargetRow>>(), "every target, with its health and traffic"),
    Operation { query: query::<FlowsQuery>(), ..get("/v1/flows", json_of::<FlowList>(), "some flows") },
    Operation {
        query: query::<WhyQuery>(),
        ..get("/v1/why", json_of::<Why>(), "why packets fare as they do")
    },
    Operation {
        query: query::<EventsQuery>(),
        ..get("/v1/events", Content::Lines(shape::<Event>), "what has happened")
    },
    Operation {
        query: query::<TraceQuery>(),
        ..get("/v1/trace", Content::Lines(shape::<TraceLine>), "what becomes of frames, as they come")
    },
    Operation {
        query: query::<TraceQuery>(),
        ..get(
            "/v1/capture",
            Content::Pcapng,
            "frames as they come and as they leave; takes the right to change",
        )
    },
    get("/v1/metrics", Content::Metrics, "counters and states in the text format of OpenMetrics"),
    get("/v1/openapi.json", json_of::<Map<String, Value>>(), "this description"),
    get("/v1/load-balancers", json_of::<Vec<LoadBalancer>>(), "every load balancer"),
    change(
        "post",
        "/v1/load-balancers",
        json_of::<NewLoadBalancer>(),
        "make a load balancer; the same once more changes nothing",
    ),
    get(LB, json_of::<LoadBalancer>(), "a load balancer"),
    change("patch", LB, json_of::<LoadBalancerPatch>(), "change what the body names of it"),
    change("delete", LB, Content::Nothing, "remove it with its listeners"),
    get(LISTENERS, json_of::<Vec<Listener>>(), "its listeners"),
    change(
        "post",
        LISTENERS,
        json_of::<NewListenerBody>(),
        "make a listener; the same once more changes nothing",
    ),
    get(LISTENER, json_of::<Listener>(), "a listener"),
    change("patch", LISTENER, json_of::<ListenerPatch>(), "change what the body names of it"),
    change("delete", LISTENER, Content::Nothing, "remove it with its rules"),
    get(RULES, json_of::<Vec<Rule>>(), "its rules"),
    change("post", RULES, json_of::<NewRuleBody>(), "make a rule"),
    change("patch", RULES, json_of::<RulePriorities>(), "give rules other priorities, all at once"),
    get(RULE, json_of::<Rule>(), "a rule"),
    change("patch", RULE, json_of::<RulePatch>(), "change what the body names of it"),
    change("delete", RULE, Content::Nothing, "remove it"),
    get("/v1/target-groups", json_of::<Vec<TargetGroup>>(), "every target group"),
    change(
        "post",
        "/v1/target-groups",
        json_of::<NewTargetGroup>(),
        "make a target group; the same once more changes nothing",
    ),
    get(GROUP, json_of::<TargetGroup>(), "a target group"),
    change("patch", GROUP, json_of::<TargetGroupPatch>(), "change what the body names of it"),
    change("delete", GROUP, Content::Nothing, "remove it; no listener may forward to it"),
    get(TARGETS, json_of::<Vec<TargetRow>>(), "its targets, with their health and traffic"),
    change("post", TARGETS, json_of::<TargetChanges>(), "register and deregister targets"),
    change("post", "/v1/tags", json_of::<TagsBody>(), "set and remove tags of several objects"),
    Operation {
        answer: json_of::<Vec<Difference>>(),
        ..change("post", "/v1/diff", Content::File, "what applying a file would change")
    },
    change(
        "post",
        "/v1/apply",
        Content::File,
        "have a file declare objects in place of what files declared before",
    ),
    get("/v1/export", Content::Toml, "the host's settings and all objects as a file"),
    change("post", "/v1/reload", Content::Nothing, "read the daemon's configuration file again and apply it"),
];

/// What stands in a path.
const SEGMENTS: &[(&str, &str)] = &[
    ("name", "the object's name"),
    ("listener", "the listener's port, or PROTOCOL:PORT, such as TCP:80"),
    ("priority", "the rule's priority, 1 to 50000"),
];

const INTRODUCTION: &str = "Everything that lbd does is asked for here, by JSON over HTTP. A change is in force and kept when its \
    answer comes; refused, it has changed nothing. Each has a generation, which answers tell as their ETag. Who may do what is \
    decided by the credentials of the process that connects (403, without a look at the request), limits are answered with 408, \
    413, 431 or 503.";

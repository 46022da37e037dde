//! The control API's server: HTTP and JSON on a Unix socket, on a thread of its own.
//!
//! It decides nothing. Each request becomes a [`Call`] for the control thread, which answers by the call's [`Reply`].

use std::{
    fmt, fs, io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Path as UrlPath, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    api::{
        FLOWS_LISTED, FLOWS_LISTED_DEFAULT, FlowRow, InForce, Refusal, RefusalCode, Stats, Status,
        TargetChanges, TargetRow,
    },
    change::{Change, Ref},
    config::Document,
    objects::{Difference, Objects},
};

/// A request for the control thread.
#[derive(Debug)]
pub enum Call {
    /// The daemon at a glance.
    Status(Reply<Status>),
    /// Every target.
    Targets(Reply<Vec<TargetRow>>),
    /// The targets of one target group.
    TargetsOf {
        /// Its name.
        target_group: String,
        /// The answer.
        reply: Reply<Vec<TargetRow>>,
    },
    /// The objects as they are.
    Snapshot(Reply<Snapshot>),
    /// Change objects.
    Change(ChangeCall),
    /// The host's settings and all objects as a configuration file.
    Export(Reply<String>),
    /// What applying a file would change.
    Differences {
        /// The file.
        file: Document,
        /// The answer.
        reply: Reply<Vec<Difference>>,
    },
    /// Some flows.
    Flows {
        /// At most this many.
        limit: usize,
        /// The answer.
        reply: Reply<Vec<FlowRow>>,
    },
    /// Counters.
    Stats(Reply<Stats>),
    /// Read the configuration again and apply it, or refuse it and keep the old one.
    Reload(Reply<InForce>),
}

/// A request to change objects, wholly or not at all.
#[derive(Debug)]
pub struct ChangeCall {
    /// The change.
    pub change: Change,
    /// Refuse it (`GenerationMismatch`) unless the objects are of this generation.
    pub expected_generation: Option<u64>,
    /// Who asks.
    pub by: Caller,
    /// The answer, once the change is in force and kept.
    pub reply: Reply<Changed>,
}

/// Who asks for a change, for the audit line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller(pub String);

/// A change is in force and kept.
#[derive(Clone, Debug)]
pub struct Changed {
    /// In which generation.
    pub in_force: InForce,
    /// The objects with it.
    pub objects: Arc<Objects>,
}

/// Objects of a generation.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The generation.
    pub generation: u64,
    /// The objects.
    pub objects: Arc<Objects>,
}

/// Where the answer to a call goes. Dropped unused, it tells the client that there is no answer.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<Result<T, Refusal>>);

impl<T> Reply<T> {
    /// A reply, and where its answer comes out.
    pub(crate) fn channel() -> (Reply<T>, oneshot::Receiver<Result<T, Refusal>>) {
        let (sender, answer) = oneshot::channel();
        (Reply(sender), answer)
    }

    /// Answers. A client that has gone away is no concern of the control thread's.
    pub fn send(self, answer: T) {
        let _ = self.0.send(Ok(answer));
    }

    /// Refuses, with one paragraph for a person.
    pub fn refuse(self, refusal: impl Into<Refusal>) {
        let _ = self.0.send(Err(refusal.into()));
    }
}

/// The running server. Dropping it stops the thread and removes the socket.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the server cannot be started.
#[derive(Debug)]
pub enum ServerError {
    /// Somebody answers on the socket.
    InUse(PathBuf),
    /// The path is taken by something that is not a socket.
    NotASocket(PathBuf),
    /// The system refused.
    System(PathBuf, io::Error),
}

impl Server {
    /// Listens on `socket` (mode 0660, its directory made with 0750 if need be); a socket that nobody answers on is
    /// replaced. `deliver` hands a call to the control thread, and must not block.
    pub fn start(
        socket: &Path,
        deliver: impl Fn(Call) + Send + Sync + 'static,
    ) -> Result<Server, ServerError> {
        let system = |error| ServerError::System(socket.into(), error);
        let listener = listen(socket)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::from_std(listener).map_err(system)?
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let router = router(Deliver(Arc::new(deliver)));
        let run = move || {
            runtime.block_on(async move {
                let serve = axum::serve(listener, router).into_future();
                tokio::select! {
                    _ = serve => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("api".into()).spawn(run).map_err(system)?;
        Ok(Server { socket: socket.into(), stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.socket); // Somebody may have removed it already.
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::InUse(path) => {
                write!(
                    f,
                    "another lbd answers on {}: stop it, or give this one its own control_socket",
                    path.display()
                )
            }
            ServerError::NotASocket(path) => {
                write!(
                    f,
                    "{} exists and is no socket: remove it, or name another control_socket",
                    path.display()
                )
            }
            ServerError::System(path, error) => write!(f, "cannot listen on {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ServerError {}

fn listen(socket: &Path) -> Result<UnixListener, ServerError> {
    let system = |error| ServerError::System(socket.into(), error);
    if let Some(directory) = socket.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(system)?;
    }
    remove_stale(socket)?;
    let listener = UnixListener::bind(socket).map_err(system)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o660)).map_err(system)?;
    listener.set_nonblocking(true).map_err(system)?;
    Ok(listener)
}

fn remove_stale(socket: &Path) -> Result<(), ServerError> {
    let system = |error| ServerError::System(socket.into(), error);
    match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ServerError::NotASocket(socket.into()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(socket) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(socket).map_err(system)
        }
        Err(error) => Err(system(error)),
        Ok(_) => Err(ServerError::InUse(socket.into())),
    }
}

/// Hands a call to the control thread.
#[derive(Clone)]
struct Deliver(Arc<dyn Fn(Call) + Send + Sync>);

fn router(deliver: Deliver) -> Router {
    Router::new()
        .route("/v1/status", get(async |State(deliver): State<Deliver>| ask(&deliver, Call::Status).await))
        .route("/v1/targets", get(async |State(deliver): State<Deliver>| ask(&deliver, Call::Targets).await))
        .route("/v1/target-groups/{name}/targets", get(targets_of).post(change_targets))
        .route("/v1/flows", get(flows))
        .route("/v1/stats", get(async |State(deliver): State<Deliver>| ask(&deliver, Call::Stats).await))
        .route("/v1/reload", post(async |State(deliver): State<Deliver>| ask(&deliver, Call::Reload).await))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "there is no such path in this API"))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "this path has another method")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(deliver)
}

async fn targets_of(State(deliver): State<Deliver>, UrlPath(target_group): UrlPath<String>) -> Response {
    ask(&deliver, |reply| Call::TargetsOf { target_group, reply }).await
}

async fn change_targets(
    State(deliver): State<Deliver>,
    UrlPath(target_group): UrlPath<String>,
    changes: Result<Json<TargetChanges>, JsonRejection>,
) -> Response {
    match changes {
        Ok(Json(changes)) if changes == TargetChanges::default() => {
            refuse(StatusCode::BAD_REQUEST, &format!("the request names no target; {CHANGES_EXPECTED}"))
        }
        Ok(Json(changes)) => {
            let change = Change::ChangeTargets { target_group: Ref::Name(target_group), changes };
            let by = Caller("a client of the control socket".into());
            let call = |reply| Call::Change(ChangeCall { change, expected_generation: None, by, reply });
            answer(request(&deliver, call).await.map(|changed| changed.in_force))
        }
        Err(rejection) => {
            refuse(rejection.status(), &format!("{}; {CHANGES_EXPECTED}", rejection.body_text()))
        }
    }
}

/// The query of `GET /v1/flows`.
#[derive(Deserialize)]
struct FlowsQuery {
    limit: Option<usize>,
}

async fn flows(State(deliver): State<Deliver>, query: Result<Query<FlowsQuery>, QueryRejection>) -> Response {
    match query {
        Ok(Query(FlowsQuery { limit })) if limit.is_none_or(|limit| limit <= FLOWS_LISTED) => {
            let limit = limit.unwrap_or(FLOWS_LISTED_DEFAULT);
            ask(&deliver, |reply| Call::Flows { limit, reply }).await
        }
        _ => refuse(StatusCode::BAD_REQUEST, &format!("limit is a number up to {FLOWS_LISTED}")),
    }
}

async fn ask<T: Serialize>(deliver: &Deliver, call: impl FnOnce(Reply<T>) -> Call) -> Response {
    answer(request(deliver, call).await)
}

/// The control thread's answer, or why there is none.
async fn request<T>(
    deliver: &Deliver,
    call: impl FnOnce(Reply<T>) -> Call,
) -> Result<T, (StatusCode, Refusal)> {
    let (sender, answer) = oneshot::channel();
    deliver.0(call(Reply(sender)));
    let unavailable = |error: &str| (StatusCode::SERVICE_UNAVAILABLE, Refusal::from(error));
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => answer.map_err(|refusal| (status(&refusal), refusal)),
        Ok(Err(_)) => Err(unavailable("the daemon is stopping")),
        Err(_) => Err(unavailable("the daemon's control thread did not answer in time")),
    }
}

fn answer<T: Serialize>(answer: Result<T, (StatusCode, Refusal)>) -> Response {
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err((status, refusal)) => (status, Json(refusal)).into_response(),
    }
}

fn status(refusal: &Refusal) -> StatusCode {
    use RefusalCode::*;
    match refusal.code {
        Some(
            LoadBalancerNotFound | ListenerNotFound | RuleNotFound | TargetGroupNotFound | SubnetNotFound,
        ) => StatusCode::NOT_FOUND,
        Some(AccessDenied) => StatusCode::FORBIDDEN,
        Some(GenerationMismatch) => StatusCode::PRECONDITION_FAILED,
        Some(StoreUnwritable) => StatusCode::SERVICE_UNAVAILABLE,
        Some(
            InvalidTarget
            | InvalidSubnet
            | InvalidConfigurationRequest
            | ValidationError
            | IncompatibleProtocols
            | UnsupportedProtocol,
        ) => StatusCode::BAD_REQUEST,
        _ => StatusCode::CONFLICT,
    }
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(Refusal::from(error))).into_response()
}

/// Time that the control thread has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest body of a request, in bytes: a thousand targets are a tenth of that.
const BODY_BYTES: usize = 1 << 20;

const CHANGES_EXPECTED: &str = "expected targets such as {\"register\": [{\"address\": \"198.19.1.2\", \"port\": 80, \
     \"weight\": 1, \"zone\": \"a\"}], \"deregister\": [{\"address\": \"198.19.1.3\"}]}";

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::{
        api::{NewTarget, TargetAddress},
        client::{Client, ClientError},
    };

    /// A server that answers as a control thread might, and refuses reloads.
    fn start(socket: &Path) -> Result<Server, ServerError> {
        Server::start(socket, |call| match call {
            Call::Status(reply) => reply.send(Status { generation: 7, ..Status::default() }),
            Call::Flows { limit, reply } => reply.refuse(format!("asked for {limit}")),
            Call::Reload(reply) => reply.refuse("lbd.toml:3: port: found 0"),
            Call::Targets(reply) => drop(reply),
            Call::TargetsOf { target_group, reply } => reply
                .refuse(Refusal::of(RefusalCode::TargetGroupNotFound, format!("no group {target_group}"))),
            Call::Change(ChangeCall { change: Change::ChangeTargets { changes, .. }, reply, .. }) => {
                match changes.register.is_empty() {
                    true => reply.refuse(Refusal::of(RefusalCode::InvalidTarget, "not registered")),
                    false => {
                        let in_force = InForce { generation: 8, tables_generation: 9, id: None };
                        reply.send(Changed { in_force, objects: Default::default() });
                    }
                }
            }
            Call::Snapshot(_) | Call::Change(_) | Call::Export(_) | Call::Differences { .. } => {}
            Call::Stats(reply) => reply.send(Stats::default()),
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
        assert_eq!(client.flows(5).unwrap_err().to_string(), "asked for 5");
        assert_eq!(client.flows(FLOWS_LISTED + 1).unwrap_err().to_string(), "limit is a number up to 10000");
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
}

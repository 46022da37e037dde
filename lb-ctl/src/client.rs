//! A client of the control API that blocks: for `lbctl`, the demo and tests.

mod chunks;
mod dial;
mod lines;

use std::{
    fmt,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1::{Connection, SendRequest, handshake},
    header::{CONNECTION, CONTENT_TYPE, HOST, IF_MATCH},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

pub use chunks::{Chunks, Stopper};
pub use lines::Lines;

use crate::{
    api::{
        FlowList, FlowsQuery, InForce, Refusal, Stats, Status, TargetChanges, TargetRow, TraceQuery, Why,
        WhyQuery,
    },
    server::STALL_TIME,
};

use dial::dial;

/// A client of the daemon on one socket. Every call is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody can be reached on the socket.
    Unreachable(PathBuf, io::Error),
    /// The daemon refused, for this reason.
    Refused(Refusal),
    /// The daemon went away before its answer was whole.
    Stopped,
    /// The daemon goes on, but not with this answer: nobody read it for as long as it waits.
    CutOff,
    /// What came was no answer.
    Garbled(String),
}

impl Client {
    /// A client of the daemon that listens on `socket`. Nothing is connected yet.
    pub fn new(socket: &Path) -> Client {
        Client { socket: socket.into() }
    }

    /// The daemon at a glance.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.call(Method::GET, "/v1/status")
    }

    /// Every target.
    pub fn targets(&self) -> Result<Vec<TargetRow>, ClientError> {
        self.call(Method::GET, "/v1/targets")
    }

    /// The targets of one target group.
    pub fn targets_of(&self, target_group: &str) -> Result<Vec<TargetRow>, ClientError> {
        self.call(Method::GET, &targets_path(target_group))
    }

    /// Registers and deregisters targets, wholly or not at all.
    pub fn change_targets(
        &self,
        target_group: &str,
        changes: &TargetChanges,
    ) -> Result<InForce, ClientError> {
        let body = serde_json::to_vec(changes).map_err(|error| ClientError::Garbled(error.to_string()))?;
        self.call_with(Method::POST, &targets_path(target_group), body)
    }

    /// Some flows, or their number.
    pub fn flows(&self, query: &FlowsQuery) -> Result<FlowList, ClientError> {
        self.call(Method::GET, &format!("/v1/flows?{}", encode_query(query.pairs())))
    }

    /// Why packets fare as they do.
    pub fn why(&self, query: &WhyQuery) -> Result<Why, ClientError> {
        self.call(Method::GET, &format!("/v1/why?{}", encode_query(query.pairs())))
    }

    /// What becomes of frames, as they come: lines of [`crate::api::TraceLine`].
    pub fn trace(&self, query: &TraceQuery) -> Result<Lines, ClientError> {
        self.lines(&format!("/v1/trace?{}", encode_query(query.pairs())))
    }

    /// The same frames with what is in them, as blocks of pcapng.
    pub fn capture(&self, query: &TraceQuery) -> Result<Chunks, ClientError> {
        self.chunks(&format!("/v1/capture?{}", encode_query(query.pairs())))
    }

    /// Counters.
    pub fn stats(&self) -> Result<Stats, ClientError> {
        self.call(Method::GET, "/v1/stats")
    }

    /// Metrics, in the text format of OpenMetrics.
    pub fn metrics(&self) -> Result<String, ClientError> {
        let text = self.ask(Question::new(Method::GET, "/v1/metrics"))?.body;
        String::from_utf8(text.into()).map_err(|error| ClientError::Garbled(error.to_string()))
    }

    /// Has the daemon read its configuration again and apply it.
    pub fn reload(&self) -> Result<InForce, ClientError> {
        self.call(Method::POST, "/v1/reload")
    }

    fn call<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        self.call_with(method, path, Vec::new())
    }

    fn call_with<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, ClientError> {
        self.ask(Question { body, ..Question::new(method, path) })?.json()
    }

    /// The answer to any request of the API.
    ///
    /// # Errors
    /// Also when the daemon refuses.
    pub fn ask(&self, question: Question) -> Result<Answer, ClientError> {
        let unreachable = |error| ClientError::Unreachable(self.socket.clone(), error);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unreachable)?;
        let exchange = async { tokio::time::timeout(PATIENCE, self.insist(question)).await };
        let (status, answer) = match runtime.block_on(exchange) {
            Ok(answer) => answer?,
            Err(_) => return Err(unreachable(ErrorKind::TimedOut.into())),
        };
        if status.is_success() { Ok(answer) } else { Err(failure(status, &answer.body)) }
    }

    /// Asks, and asks again where that changes nothing (RFC 9110 section 9.2.2): in a crowd the daemon may end a connection before it
    /// has read the question.
    async fn insist(&self, question: Question) -> Result<(StatusCode, Answer), ClientError> {
        if question.method.is_safe() {
            for repeat in 0..REPEATS {
                match self.exchange(question.clone()).await {
                    Err(ClientError::Stopped) => tokio::time::sleep(PAUSE * 2u32.pow(repeat)).await,
                    answer => return answer,
                }
            }
        }
        self.exchange(question).await
    }

    async fn exchange(&self, question: Question) -> Result<(StatusCode, Answer), ClientError> {
        let garbled = |error: &dyn fmt::Display| ClientError::Garbled(error.to_string());
        let (mut sender, connection) = connect(&self.socket).await?;
        let request = question.into_request().map_err(|error| garbled(&error))?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await;
            Ok((status, Answer { body: body.map_err(unread)?.to_bytes() }))
        };
        let (answer, _) = tokio::join!(answer, connection);
        answer
    }
}

/// A connection of the daemon's socket.
async fn connect(
    socket: &Path,
) -> Result<(SendRequest<Full<Bytes>>, Connection<TokioIo<UnixStream>, Full<Bytes>>), ClientError> {
    let stream = dial(socket, PATIENCE);
    let stream = stream.map_err(|error| ClientError::Unreachable(socket.into(), error))?;
    handshake(TokioIo::new(stream)).await.map_err(broken)
}

/// Why an exchange came to nothing: bytes that are no HTTP, or a connection that ended.
fn broken(error: hyper::Error) -> ClientError {
    match error.is_parse() || error.is_user() {
        true => ClientError::Garbled(error.to_string()),
        false => ClientError::Stopped,
    }
}

/// Why a body was not read to its end.
fn unread(error: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => broken(*error),
        Err(error) => ClientError::Garbled(error.to_string()),
    }
}

/// What an answer says that is no success.
fn failure(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => ClientError::Refused(refusal),
        Err(_) => ClientError::Garbled(format!("HTTP status {status}")),
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// The path, with its query.
    pub path: String,
    /// Refuse a change unless the objects are of this generation.
    pub if_generation: Option<u64>,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Question {
    /// Of a path, without a body.
    pub fn new(method: Method, path: &str) -> Question {
        let (path, content_type) = (path.into(), "application/json");
        Question { method, path, if_generation: None, content_type, body: Vec::new() }
    }

    fn into_request(self) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let headers = [(HOST, "lbd"), (CONNECTION, "close"), (CONTENT_TYPE, self.content_type)];
        let request = Request::builder().method(self.method).uri(self.path);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = match self.if_generation {
            Some(generation) => request.header(IF_MATCH, format!("\"{generation}\"")),
            None => request,
        };
        request.body(Full::new(Bytes::from(self.body)))
    }
}

/// An answer that is no refusal.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// What the body says.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Garbled(error.to_string()))
    }
}

/// Where a target group's targets are found; its name can be anything here.
fn targets_path(target_group: &str) -> String {
    format!("/v1/target-groups/{}/targets", encode(target_group))
}

fn encode_query(pairs: Vec<(&str, String)>) -> String {
    pairs.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect::<Vec<_>>().join("&")
}

/// Any text as a part of a URL (RFC 3986 section 2.1).
pub fn encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable(socket, error) => {
                let advice = match error.kind() {
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                        "; is lbd running, with this control_socket?"
                    }
                    ErrorKind::PermissionDenied => {
                        "; run as root, or as a member of a group that control_api names"
                    }
                    _ => "",
                };
                write!(f, "cannot reach lbd on {}: {error}{advice}", socket.display())
            }
            ClientError::Refused(refusal) => refusal.fmt(f),
            ClientError::Stopped => f.write_str("lbd has stopped: its answer breaks off"),
            ClientError::CutOff => {
                let seconds = STALL_TIME.as_secs();
                write!(f, "lbd has broken off its answer, as it does when nothing is read for {seconds} s")
            }
            ClientError::Garbled(error) => {
                write!(f, "lbd's answer makes no sense ({error}); is it of another version?")
            }
        }
    }
}

impl std::error::Error for ClientError {}

/// Time that a call may take; longer than the server's own patience.
const PATIENCE: Duration = Duration::from_secs(15);

/// Times that a question is asked again when its answer breaks off.
const REPEATS: u32 = 6;

/// Time before it is asked again, the first time; then twice as long each time, so that the last one comes when a crowd may be gone.
const PAUSE: Duration = Duration::from_millis(20);

/// Longest answer, in bytes.
const ANSWER_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;

    const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]";

    /// What becomes of a question when the daemon's connections have these answers, one after the other.
    fn asked(method: Method, answers: &'static [&str]) -> Result<Answer, ClientError> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("lbd.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = thread::spawn(move || {
            for answer in answers {
                let mut stream = listener.accept().unwrap().0;
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let answer = Client::new(&socket).ask(Question::new(method, "/"));
        daemon.join().unwrap();
        answer
    }

    #[test]
    fn a_question_is_asked_again_but_a_change_is_not() {
        assert_eq!(asked(Method::GET, &["", "HTTP/1.1", WHOLE]).unwrap().body, "[]");
        assert!(matches!(asked(Method::POST, &[""]), Err(ClientError::Stopped)));
        assert!(matches!(asked(Method::GET, &[""]), Err(ClientError::Unreachable(..))));
    }
}

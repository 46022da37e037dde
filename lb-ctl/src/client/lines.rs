//! Answers that come line by line and may have no end.

use std::{path::PathBuf, time::Duration};

use http_body_util::BodyExt;
use hyper::{Method, body::Incoming};
use tokio::{runtime::Runtime, task::JoinHandle};

use super::{Client, ClientError, Question, broken, connect, failure};

/// The lines of an answer, as they come.
#[derive(Debug)]
pub struct Lines {
    socket: PathBuf,
    runtime: Runtime,
    body: Incoming,
    connection: JoinHandle<()>,
    /// What has come and is not yet a line.
    rest: Vec<u8>,
}

impl Client {
    /// Asks for an answer that comes line by line.
    pub fn lines(&self, path: &str) -> Result<Lines, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ClientError::Unreachable(self.socket.clone(), error))?;
        let begin = async {
            let (mut sender, connection) = connect(&self.socket).await?;
            let connection = tokio::spawn(async move { drop(connection.await) });
            let request = Question::new(Method::GET, path).into_request();
            let request = request.map_err(|error| ClientError::Garbled(error.to_string()))?;
            let answer = sender.send_request(request).await;
            Ok((answer.map_err(broken)?, connection))
        };
        let (answer, connection) = runtime.block_on(begin)?;
        let status = answer.status();
        if !status.is_success() {
            let body = runtime.block_on(answer.into_body().collect());
            let body = body.map_err(broken)?.to_bytes();
            return Err(failure(status, &body));
        }
        let (socket, body) = (self.socket.clone(), answer.into_body());
        Ok(Lines { socket, runtime, body, connection, rest: Vec::new() })
    }
}

impl Iterator for Lines {
    type Item = Result<String, ClientError>;

    fn next(&mut self) -> Option<Result<String, ClientError>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(Ok(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            let frame =
                self.runtime.block_on(async { tokio::time::timeout(SILENCE, self.body.frame()).await });
            match frame {
                Ok(None) => return None,
                Ok(Some(Ok(frame))) => self.rest.extend(frame.into_data().unwrap_or_default()),
                // The daemon went away in the midst of it.
                Ok(Some(Err(_))) => return None,
                Err(_) => {
                    let silent = std::io::ErrorKind::TimedOut.into();
                    return Some(Err(ClientError::Unreachable(self.socket.clone(), silent)));
                }
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Time without a line after which nobody is there any more: the daemon gives a sign of life every 10 s.
const SILENCE: Duration = Duration::from_secs(30);

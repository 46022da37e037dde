//! Answers that come bit by bit and may have no end.

use std::{path::PathBuf, time::Duration};

use http_body_util::BodyExt;
use hyper::{
    Method,
    body::{Bytes, Incoming},
};
use tokio::{runtime::Runtime, task::JoinHandle};

use super::{Client, ClientError, Question, broken, connect, failure};

/// The bytes of an answer, as they come. Its end is no error, whether the answer was whole or not.
#[derive(Debug)]
pub struct Chunks {
    socket: PathBuf,
    runtime: Runtime,
    body: Incoming,
    connection: JoinHandle<()>,
}

impl Client {
    /// Asks for an answer that comes bit by bit.
    pub fn chunks(&self, path: &str) -> Result<Chunks, ClientError> {
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
        Ok(Chunks { socket: self.socket.clone(), runtime, body: answer.into_body(), connection })
    }
}

impl Iterator for Chunks {
    type Item = Result<Bytes, ClientError>;

    fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        let frame = self.runtime.block_on(async { tokio::time::timeout(SILENCE, self.body.frame()).await });
        match frame {
            Ok(Some(Ok(frame))) => Some(Ok(frame.into_data().unwrap_or_default())),
            // Broken off: the daemon went away in the midst of it.
            Ok(None | Some(Err(_))) => None,
            Err(_) => {
                let silent = std::io::ErrorKind::TimedOut.into();
                Some(Err(ClientError::Unreachable(self.socket.clone(), silent)))
            }
        }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Time without a word after which nobody is there any more: the daemon gives a sign of life every 10 s.
const SILENCE: Duration = Duration::from_secs(30);

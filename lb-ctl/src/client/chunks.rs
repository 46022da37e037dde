//! Answers that come bit by bit and may have no end.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    time::{Duration, Instant},
};

use http_body_util::BodyExt;
use hyper::{
    Method,
    body::{Bytes, Incoming},
};
use tokio::{runtime::Runtime, sync::Notify, task::JoinHandle, time::timeout};

use super::{Client, ClientError, Question, broken, connect, failure};

/// The bytes of an answer, as they come. It is an error when it breaks off.
#[derive(Debug)]
pub struct Chunks {
    client: Client,
    runtime: Runtime,
    body: Incoming,
    connection: JoinHandle<()>,
    begun: Instant,
    stopper: Stopper,
}

/// Ends the answer for whoever reads it, from any thread.
#[derive(Clone, Debug, Default)]
pub struct Stopper(Arc<Stop>);

#[derive(Debug, Default)]
struct Stop {
    is_stopped: AtomicBool,
    wake: Notify,
}

impl Stopper {
    /// Has the reader find the end, now or when he reads next.
    pub fn stop(&self) {
        self.0.is_stopped.store(true, Release);
        self.0.wake.notify_one();
    }

    /// Whether it has been used.
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(Acquire)
    }
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
        Ok(Chunks {
            client: self.clone(),
            runtime,
            body: answer.into_body(),
            connection,
            begun: Instant::now(),
            stopper: Stopper::default(),
        })
    }
}

impl Chunks {
    /// What ends it before lbd does.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Why it broke off: lbd is gone, or another by now, or has cut its reader off.
    fn breach(&self) -> ClientError {
        let since = self.begun.elapsed().as_secs();
        match self.client.status() {
            Ok(status) if status.uptime_seconds >= since => ClientError::CutOff,
            _ => ClientError::Stopped,
        }
    }
}

impl Iterator for Chunks {
    type Item = Result<Bytes, ClientError>;

    fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        let Chunks { runtime, body, stopper, .. } = self;
        let heard = runtime.block_on(async {
            tokio::select! {
                biased;
                () = stopper.0.wake.notified() => Heard::Stop,
                heard = hear(body) => heard,
            }
        });
        match heard {
            Heard::Bytes(bytes) => Some(Ok(bytes)),
            Heard::Stop | Heard::End => None,
            Heard::Breach => Some(Err(self.breach())),
            Heard::Nothing => {
                let silent = ErrorKind::TimedOut.into();
                Some(Err(ClientError::Unreachable(self.client.socket.clone(), silent)))
            }
        }
    }
}

enum Heard {
    Bytes(Bytes),
    Stop,
    End,
    Breach,
    Nothing,
}

/// Waits second by second: while this process is stopped, it hears nothing of what there is to hear.
async fn hear(body: &mut Incoming) -> Heard {
    for _ in 0..SILENT_SECONDS {
        match timeout(Duration::from_secs(1), body.frame()).await {
            Ok(Some(Ok(frame))) => return Heard::Bytes(frame.into_data().unwrap_or_default()),
            Ok(None) => return Heard::End,
            Ok(Some(Err(_))) => return Heard::Breach,
            Err(_) => {}
        }
    }
    Heard::Nothing
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Seconds without a word after which nobody is there any more: the daemon gives a sign of life every 10 s.
const SILENT_SECONDS: u32 = 30;

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;

    /// What a client finds whose answer is this, and then nothing.
    fn answered(body: &'static str) -> Vec<Result<Bytes, ClientError>> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("lbd.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            drop(listener);
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}").unwrap();
        });
        let found = Client::new(&socket).chunks("/").unwrap().collect();
        daemon.join().unwrap();
        found
    }

    #[test]
    fn an_answer_that_breaks_off_is_told_from_one_that_is_whole() {
        assert!(matches!(&answered("2\r\nhi\r\n0\r\n\r\n")[..], [Ok(bytes)] if bytes == "hi"));
        assert!(
            matches!(&answered("2\r\nhi\r\n5\r\n")[..], [Ok(bytes), Err(ClientError::Stopped), ..] if bytes == "hi")
        );
    }
}

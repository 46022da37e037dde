//! One connection: its requests, one after the other, each within its time.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Body, http::Response};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};

use super::{
    Caller,
    access::{Proof, Role},
    answer,
    limits::{HEAD_BYTES, HEAD_TIME, HEADERS, REQUEST_TIME},
    seats::Seat,
    unstalled::Unstalled,
};

/// Marks an answer that is a stream without end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endless;

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) caller: Caller,
    pub(super) role: Role,
    pub(super) proof: Proof,
}

/// Serves a connection to its end: the client's, a limit's, or a newer connection's that takes its seat.
pub(super) async fn serve<T>(stream: T, client: Client, seat: Seat, router: Router)
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let clock = Arc::new(Clock::new(seat));
    let serving = {
        let clock = clock.clone();
        service_fn(move |mut request: hyper::Request<Incoming>| {
            clock.begin();
            request.extensions_mut().insert(client.clone());
            let answer = TowerToHyperService::new(router.clone()).call(request);
            let clock = clock.clone();
            async move { Ok::<_, Infallible>(clock.end(answer.await.unwrap_or_else(|never| match never {}))) }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .half_close(true)
        .serve_connection(TokioIo::new(Unstalled::new(stream)), serving);
    tokio::select! {
        // What a client does wrong below HTTP concerns nobody but itself.
        _ = connection => {}
        () = clock.runs_out() => {}
        () = clock.seat.displaced() => {}
    }
}

/// How long the connection may go on.
struct Clock {
    seat: Seat,
    /// `None`: for as long as the stream's reader takes what comes.
    deadline: Mutex<Option<Instant>>,
}

impl Clock {
    fn new(seat: Seat) -> Clock {
        Clock { seat, deadline: Mutex::new(Some(Instant::now() + REQUEST_TIME)) }
    }

    fn begin(&self) {
        self.seat.work();
        self.set(Some(Instant::now() + REQUEST_TIME));
    }

    fn end(&self, answer: Response<Body>) -> Response<Body> {
        if answer.extensions().get::<Endless>().is_none() {
            self.seat.rest();
            return answer;
        }
        if !self.seat.stream() {
            self.seat.rest();
            return answer::too_many_streams();
        }
        self.set(None);
        answer
    }

    /// Returns when the time is over.
    async fn runs_out(&self) {
        loop {
            let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
            match deadline {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => sleep_until(deadline).await,
                None => sleep_until(Instant::now() + REQUEST_TIME).await,
            }
        }
    }

    fn set(&self, deadline: Option<Instant>) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }
}

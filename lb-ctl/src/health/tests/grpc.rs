//! gRPC checks, of servers that speak HTTP/2 by `h2`.

use std::thread;

use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{servers::serve_refusal, tls::identity, *};

/// What a server answers.
#[derive(Clone, Copy)]
enum Answer {
    /// A message and status `OK`.
    Message(&'static [u8]),
    /// A status, in headers alone.
    Status(&'static str),
    /// An HTTP status.
    Http(u16),
}

const SERVING: Answer = Answer::Message(&[0, 0, 0, 0, 2, 8, 1]);

/// Serves over TCP, or over TLS.
fn serve(answer: Answer, tls: Option<rustls::ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                match &acceptor {
                    None => converse(stream, answer).await,
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => converse(stream, answer).await,
                        Err(_) => continue, // It may have gone away.
                    },
                }
            }
        })
    });
    endpoint
}

/// Answers what comes until the other side goes away.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut calls = tokio::task::JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        calls.spawn(respond_to(request, respond, answer));
    }
}

async fn respond_to(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, answer: Answer) {
    let (head, mut body) = request.into_parts();
    assert_eq!(head.uri.path(), "/grpc.health.v1.Health/Check");
    assert_eq!(head.uri.authority().unwrap(), "198.18.0.1:50051");
    assert_eq!(head.headers["content-type"], "application/grpc");
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(body.data().await.unwrap().unwrap(), b"\0\0\0\0\x06\x0a\x04shop".as_slice());
    let response = Response::builder().header("content-type", "application/grpc");
    match answer {
        Answer::Message(message) => {
            let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
            stream.send_data(Bytes::from_static(message), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        }
        Answer::Status(status) => {
            let response = response.header("grpc-status", status).body(()).unwrap();
            respond.send_response(response, true).unwrap();
        }
        Answer::Http(status) => {
            respond.send_response(response.status(status).body(()).unwrap(), true).unwrap();
        }
    }
}

fn probe(tls: Option<TlsProbe>) -> Probe {
    Probe::Grpc(GrpcProbe { host: "198.18.0.1:50051".into(), service: "shop".into(), tls })
}

#[test]
fn the_health_service_decides() {
    for (answer, expected) in [
        (SERVING, TargetHealth::Healthy),
        (Answer::Message(&[0, 0, 0, 0, 2, 8, 2]), TargetHealth::Unhealthy(Cause::NotServing)),
        (Answer::Message(&[0, 0, 0, 0, 0]), TargetHealth::Unhealthy(Cause::NotServing)),
        (Answer::Message(&[0, 0, 0, 0, 3, 8, 1]), TargetHealth::Unhealthy(Cause::Malformed)),
        (Answer::Message(&[0; 5_000]), TargetHealth::Unhealthy(Cause::Malformed)),
        (Answer::Status("12"), TargetHealth::Unhealthy(Cause::GrpcStatus(12))),
        (Answer::Http(503), TargetHealth::Unhealthy(Cause::Code(503))),
    ] {
        assert_eq!(verdict(probe(None), serve(answer, None)), expected);
    }
}

#[test]
fn tls_carries_it_too() {
    let (mut config, _) = identity(&[&TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let endpoint = serve(SERVING, Some(config));
    let tls = TlsProbe { server_name: None, validate: Validation::Off };
    assert_eq!(verdict(probe(Some(tls)), endpoint), TargetHealth::Healthy);
}

#[test]
fn another_protocol_is_malformed() {
    let endpoint = serve_refusal();
    assert_eq!(verdict(probe(None), endpoint), TargetHealth::Unhealthy(Cause::Malformed));
}

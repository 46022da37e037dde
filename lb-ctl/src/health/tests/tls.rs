//! HTTPS checks.

use std::io::Write;

use rcgen::{BasicConstraints, CertificateParams, IsCa};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
    crypto::ring,
    pki_types::PrivatePkcs8KeyDer,
    version::{TLS12, TLS13},
};

use super::{
    servers::{request, serve, serve_refusal},
    *,
};

/// A self-signed certificate for `target.example` and 127.0.0.1, with its key: the server's side, and the certificate in PEM.
pub(super) fn identity(versions: &[&'static SupportedProtocolVersion]) -> (ServerConfig, String) {
    let names = ["target.example".into(), "127.0.0.1".into()];
    identity_of(CertificateParams::new(names).unwrap(), versions)
}

fn identity_of(
    params: CertificateParams,
    versions: &[&'static SupportedProtocolVersion],
) -> (ServerConfig, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_no_client_auth();
    let config = builder.with_single_cert(vec![certificate.der().clone()], key.into()).unwrap();
    (config, certificate.pem())
}

/// An HTTPS server, and its certificate in PEM.
fn serve_https(versions: &[&'static SupportedProtocolVersion]) -> (SocketAddr, String) {
    serve_as(identity(versions))
}

fn serve_as((config, pem): (ServerConfig, String)) -> (SocketAddr, String) {
    let config = Arc::new(config);
    let endpoint = serve(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        if !request(&mut stream).is_empty() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        }
    });
    (endpoint, pem)
}

fn probe(server_name: Option<&str>, validate: Validation) -> Probe {
    Probe::Http(HttpProbe {
        host: "198.18.0.1:443".into(),
        path: "/".into(),
        matcher: Matcher::default(),
        tls: Some(TlsProbe { server_name: server_name.map(Into::into), validate }),
    })
}

#[test]
fn no_certificate_is_refused_by_default() {
    for version in [&TLS12, &TLS13] {
        let (endpoint, _) = serve_https(&[version]);
        for name in [None, Some("another.example")] {
            assert_eq!(verdict(probe(name, Validation::Off), endpoint), TargetHealth::Healthy);
        }
    }
}

#[test]
fn validation_asks_for_a_known_authority_and_the_right_name() {
    let (endpoint, pem) = serve_https(&[&TLS12, &TLS13]);
    let own = Validation::Roots(Roots::parse(pem.as_bytes()).unwrap());
    let other = Validation::Roots(Roots::parse(identity(&[&TLS13]).1.as_bytes()).unwrap());
    let invalid = TargetHealth::Unhealthy(Cause::Certificate);
    for (name, validate, expected) in [
        (Some("target.example"), own.clone(), TargetHealth::Healthy),
        (None, own.clone(), TargetHealth::Healthy),
        (Some("another.example"), own, invalid),
        (Some("target.example"), other, invalid),
    ] {
        assert_eq!(verdict(probe(name, validate), endpoint), expected, "{name:?}");
    }
}

/// As `openssl req -x509` makes them: those of an authority.
#[test]
fn a_self_signed_certificate_is_valid_where_it_is_named_itself() {
    let of_authority = || {
        let mut params = CertificateParams::new(["target.example".into()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let mut expired = of_authority();
    expired.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let invalid = TargetHealth::Unhealthy(Cause::Certificate);
    for (params, name, expected) in [
        (of_authority(), "target.example", TargetHealth::Healthy),
        (of_authority(), "another.example", invalid),
        (expired, "target.example", invalid),
    ] {
        let (endpoint, pem) = serve_as(identity_of(params, &[&TLS13]));
        let own = Validation::Roots(Roots::parse(pem.as_bytes()).unwrap());
        assert_eq!(verdict(probe(Some(name), own), endpoint), expected, "{name}");
    }
    let (endpoint, _) = serve_as(identity_of(of_authority(), &[&TLS13]));
    let another = identity_of(of_authority(), &[&TLS13]).1;
    let other = Validation::Roots(Roots::parse(another.as_bytes()).unwrap());
    assert_eq!(verdict(probe(Some("target.example"), other), endpoint), invalid);
}

#[test]
fn a_target_without_tls_is_told_from_a_closed_one() {
    let plain = serve_refusal();
    assert_eq!(verdict(probe(None, Validation::Off), plain), TargetHealth::Unhealthy(Cause::Tls));
    let closing = serve(drop);
    let health = verdict(probe(None, Validation::Off), closing);
    assert!(matches!(health, TargetHealth::Unhealthy(Cause::Closed | Cause::Reset)), "{health:?}");
}

#[test]
fn roots_are_certificates() {
    assert!(Roots::parse(b"nothing here").is_err());
    assert!(Roots::load(std::path::Path::new("/nonexistent")).is_err());
}

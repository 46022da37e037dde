//! What a check asks a target, and what counts as a good answer.

use std::{fmt, fs, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rustls::{RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};

use super::{
    Cause, Matcher,
    socket::{Place, Stream},
};

/// One way to check a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The target completes a TCP handshake.
    Tcp,
    /// It answers a GET with a code of the matcher, over TCP or TLS.
    Http(HttpProbe),
    /// Its gRPC health service says `SERVING`.
    Grpc(GrpcProbe),
    /// It answers a datagram, or at least does not refuse it.
    Udp(UdpProbe),
}

/// An HTTP/1.1 request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Value of the `Host` header: visible ASCII.
    pub host: String,
    /// Path and query, beginning with `/`: visible ASCII.
    pub path: String,
    /// Codes of success.
    pub matcher: Matcher,
    /// TLS, if the target speaks HTTPS.
    pub tls: Option<TlsProbe>,
}

/// A call of `grpc.health.v1.Health/Check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcProbe {
    /// `:authority` of the request.
    pub host: String,
    /// Service to ask for; empty: the server as a whole.
    pub service: String,
    /// TLS, if the target wants it.
    pub tls: Option<TlsProbe>,
}

/// A datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpProbe {
    /// Its payload.
    pub send: Vec<u8>,
    /// What the answer must contain; `None`: no answer is needed, only an ICMP error is a failure.
    pub expect: Option<Vec<u8>>,
}

/// How TLS is spoken with a target: versions 1.2 and 1.3, every check with a handshake of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProbe {
    /// Name that is sent (SNI) and validated; `None`: none is sent, and the target's address is validated.
    pub server_name: Option<String>,
    /// What is asked of the target's certificate.
    pub validate: Validation,
}

/// What is asked of a target's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// Nothing, as NLB does.
    #[default]
    Off,
    /// It is valid for the name, by the system's certificate authorities as they were when the first check asked.
    SystemRoots,
    /// It is valid for the name, by these authorities.
    Roots(Roots),
}

/// Certificate authorities, or targets' own certificates, at least one.
#[derive(Clone)]
pub struct Roots {
    pub(super) store: Arc<RootCertStore>,
    pub(super) certificates: Arc<[CertificateDer<'static>]>,
}

impl Roots {
    /// Reads a file of PEM certificates.
    pub fn load(path: &Path) -> io::Result<Roots> {
        Roots::parse(&fs::read(path)?)
    }

    /// Reads PEM certificates; other PEM sections are passed over.
    pub fn parse(pem: &[u8]) -> io::Result<Roots> {
        let mut store = RootCertStore::empty();
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(invalid)?;
            store.add(certificate.clone()).map_err(invalid)?;
            certificates.push(certificate);
        }
        if store.is_empty() {
            return Err(invalid("no PEM certificate in it, expected at least one"));
        }
        Ok(Roots { store: Arc::new(store), certificates: certificates.into() })
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Roots) -> bool {
        self.store.roots == other.store.roots
    }
}

impl Eq for Roots {}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.store.len())
    }
}

impl Probe {
    /// Makes one check; how long it may take, [`Probe::silence`] says.
    pub(super) async fn check(&self, endpoint: SocketAddr, place: &Place) -> Result<(), Cause> {
        match self {
            Probe::Tcp => match Stream::connect(endpoint, place).await {
                // Only a connection can be reset: before it is one, it is refused.
                Err(error) if is_reset(&error) => Ok(()),
                connected => Ok(connected.map(drop)?),
            },
            Probe::Http(probe) => probe.check(endpoint, place).await,
            Probe::Grpc(probe) => probe.check(endpoint, place).await,
            Probe::Udp(probe) => probe.check(endpoint, place).await,
        }
    }

    /// How long a check may take that has `timeout`, and what it means when nothing was heard until then.
    pub(super) fn silence(&self, timeout: Duration) -> (Duration, Result<(), Cause>) {
        match self {
            Probe::Udp(UdpProbe { expect: None, .. }) => (timeout.min(UNREFUSED), Ok(())),
            _ => (timeout, Err(Cause::Timeout)),
        }
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A datagram that no ICMP error has answered for this long was taken: by then the kernel has told, too, if nobody has the address.
const UNREFUSED: Duration = Duration::from_millis(3_500);

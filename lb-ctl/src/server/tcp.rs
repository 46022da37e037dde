//! The control API by TCP: for those alone who have a certificate of an authority that the configuration names.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Caller, ServerError,
    accept::House,
    access::Role,
    answer::Farewell,
    certificate,
    connection::{self, Client},
    limits::{ACCEPT_PAUSE, FAREWELL_TIME, HANDSHAKE_TIME},
    seats::{Holder, Seat},
};

/// Section `control_api.tcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Where to listen.
    pub listen: SocketAddr,
    /// PEM file of the server's certificate, with those between it and its authority.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// PEM file of the authorities of clients' certificates.
    pub client_ca: PathBuf,
    /// Names in certificates whose owners may do everything: a DNS name or URI of theirs, or else the common name.
    pub read_write: Vec<String>,
    /// Names in certificates whose owners may read.
    pub read_only: Vec<String>,
}

impl Tcp {
    /// What the files say; an error names the key of the one that is wrong.
    pub fn load(&self) -> Result<Arc<ServerConfig>, (&'static str, String)> {
        let provider = Arc::new(ring::default_provider());
        let mut authorities = RootCertStore::empty();
        for certificate in certificates(&self.client_ca).map_err(|error| ("client_ca", error))? {
            authorities.add(certificate).map_err(|error| ("client_ca", error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(authorities.into(), provider.clone());
        let verifier = verifier.build().map_err(|error| ("client_ca", error.to_string()))?;
        let chain = certificates(&self.certificate).map_err(|error| ("certificate", error))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| ("key", error.to_string()))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_client_cert_verifier(verifier))
            .and_then(|builder| builder.with_single_cert(chain, key));
        let mut config = config.map_err(|error| ("key", error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn role(&self, name: &str) -> Option<Role> {
        let is_in = |list: &[String]| list.iter().any(|known| known == name);
        if is_in(&self.read_write) {
            Some(Role::ReadWrite)
        } else {
            is_in(&self.read_only).then_some(Role::ReadOnly)
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if Vec::is_empty(&certificates) => Err("there is no certificate in it".into()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

/// A socket that listens, and what it takes to shake hands.
pub(super) struct Door {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    tcp: Tcp,
}

impl Door {
    pub(super) fn open(tcp: Tcp) -> Result<Door, ServerError> {
        let config = tcp.load().map_err(|(key, error)| ServerError::Tls(key, error))?;
        let system = |error| ServerError::Tcp(tcp.listen, error);
        let listener = TcpListener::bind(tcp.listen).map_err(system)?;
        listener.set_nonblocking(true).map_err(system)?;
        Ok(Door { listener, acceptor: TlsAcceptor::from(config), tcp })
    }

    /// Accepts for ever.
    pub(super) async fn keep(self, house: Arc<House>) -> io::Result<()> {
        let Door { listener, acceptor, tcp } = self;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let tcp = Arc::new(tcp);
        loop {
            let Ok((stream, address)) = listener.accept().await else {
                house.counts.failed.note("somebody by TCP");
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Who it is shows in the handshake, which one address may have only so many of under way.
            match house.seats.take(Holder::Address(address.ip())) {
                Some(seat) => {
                    let guest = Guest { house: house.clone(), tcp: tcp.clone(), address, seat };
                    drop(tokio::spawn(guest.come_in(stream, acceptor.clone())));
                }
                None => house.counts.crowded.note(address),
            }
        }
    }
}

/// One who is at the door.
struct Guest {
    house: Arc<House>,
    tcp: Arc<Tcp>,
    address: SocketAddr,
    seat: Seat,
}

impl Guest {
    async fn come_in(self, stream: TcpStream, acceptor: TlsAcceptor) {
        let Guest { house, tcp, address, seat } = self;
        let handshake = timeout(HANDSHAKE_TIME, acceptor.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = seat.displaced() => return,
        };
        let Ok(Ok(stream)) = shaken else {
            house.counts.strangers.note(address);
            return;
        };
        let names = names(&stream);
        match names.into_iter().find_map(|name| Some((tcp.role(&name)?, name))) {
            Some((role, name)) => {
                house.counts.accepted.note("");
                let caller = Caller(format!("certificate {name:?} at {address}"));
                connection::serve(stream, Client { caller, role }, seat, house.router.clone()).await;
            }
            None => {
                house.counts.strangers.note(address);
                drop(timeout(FAREWELL_TIME, part(stream)).await); // Who does not take the answer does not need it.
            }
        }
    }
}

async fn part(mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    stream.write_all(&Farewell::Unnamed.bytes()).await?;
    stream.shutdown().await
}

/// What the client's certificate, which is valid, calls it.
fn names(stream: &TlsStream<TcpStream>) -> Vec<String> {
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    certificates.first().map_or(Vec::new(), certificate::names)
}

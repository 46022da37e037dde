//! TLS with a target: rustls over a check's stream.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Cause, TlsProbe, Validation, socket::Stream};

impl TlsProbe {
    /// Completes a handshake that offers these application protocols (ALPN, RFC 7301).
    pub(super) async fn connect(
        &self,
        stream: Stream,
        endpoint: SocketAddr,
        protocols: &[&[u8]],
    ) -> Result<TlsStream<Stream>, Cause> {
        let mut config = self.config()?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = match &self.server_name {
            Some(name) => ServerName::try_from(name.clone()).map_err(|_| Cause::Internal)?,
            None => ServerName::IpAddress(endpoint.ip().into()),
        };
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }

    fn config(&self) -> Result<ClientConfig, Cause> {
        let builder = ClientConfig::builder_with_provider(provider().clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(|_| Cause::Internal)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(self.validate.verifier()?);
        let mut config = builder.with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl Validation {
    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, Cause> {
        let roots = match self {
            Validation::Off => return Ok(Arc::new(Unvalidated)),
            Validation::SystemRoots => system_roots(),
            Validation::Roots(roots) => &roots.store,
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider().clone()).build();
        // Fails only when there is no root: the system has none.
        Ok(verifier.map_err(|_| Cause::Internal)?)
    }
}

/// Takes every certificate, as NLB does, and does not ask whether the target has its key.
#[derive(Debug)]
struct Unvalidated;

impl ServerCertVerifier for Unvalidated {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed read, write or handshake over TLS says about the target.
pub(super) fn cause(error: &rustls::Error) -> Cause {
    match error {
        rustls::Error::InvalidCertificate(_) => Cause::Certificate,
        _ => Cause::Tls,
    }
}

fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// Certificates of the system that rustls understands; the others are nobody's here.
fn system_roots() -> &'static Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    })
}

/// The TLS error in an error of a stream.
pub(super) fn error_in(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

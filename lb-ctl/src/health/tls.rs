//! TLS with a target: rustls over a check's stream.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    client::verify_server_name,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
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
        match self {
            Validation::Off => Ok(Arc::new(Unvalidated)),
            Validation::SystemRoots => Ok(by_authorities(system_roots())?),
            Validation::Roots(roots) => Ok(Arc::new(Listed {
                authorities: by_authorities(&roots.store)?,
                certificates: roots.certificates.clone(),
            })),
        }
    }
}

fn by_authorities(roots: &Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, Cause> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider().clone()).build();
    // Fails only when there is no root: the system has none.
    verifier.map_err(|_| Cause::Internal)
}

/// Takes certificates by authorities of a list, and those that stand in the list themselves. That matters to self-signed ones, which most
/// tools make as certificates of an authority, too: as a server's, they would be refused for that alone.
#[derive(Debug)]
struct Listed {
    authorities: Arc<WebPkiServerVerifier>,
    certificates: Arc<[CertificateDer<'static>]>,
}

impl ServerCertVerifier for Listed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            // Said of a certificate whose dates are right.
            Err(error) if is_authority(&error) && self.certificates.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether a certificate was refused because it is that of an authority.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(error))) = error else {
        return false;
    };
    matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
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

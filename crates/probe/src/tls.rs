//! TLS of probes (TLS 1.2 and 1.3). As in keepalived, a server's certificate is not verified unless the configuration
//! names a CA or requests verification.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use evenkeel_core::health::Phase;
use evenkeel_core::model::Tls;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::{PhaseTimer, ProbeFailure};

/// TLS configurations by settings. A certificate file that changes is read again at the next reload.
#[derive(Default)]
pub struct TlsConfigs(Mutex<HashMap<Tls, Arc<ClientConfig>>>);

impl TlsConfigs {
    /// Makes the TLS handshake over a connection.
    pub async fn handshake(
        &self,
        tls: &Tls,
        to: IpAddr,
        stream: TcpStream,
        timer: &mut PhaseTimer,
    ) -> Result<TlsStream<TcpStream>, ProbeFailure> {
        let config = self.get(tls).map_err(|why| (Phase::Prepare, why))?;
        // The name that is sent (SNI), or else the name that the certificate must have.
        let name = match tls.sni.as_ref().or(tls.name.as_ref()) {
            Some(name) => ServerName::try_from(name.clone()).map_err(|e| (Phase::Prepare, format!("{name}: {e}")))?,
            None => ServerName::IpAddress(to.into()),
        };
        let connector = TlsConnector::from(config);
        timer.run_phase(Phase::Tls, connector.connect(name, stream)).await
    }

    fn get(&self, tls: &Tls) -> Result<Arc<ClientConfig>, String> {
        let mut known = self.0.lock().map_err(|e| e.to_string())?;
        if let Some(c) = known.get(tls) {
            return Ok(c.clone());
        }
        let config = Arc::new(build_config(tls)?);
        known.insert(tls.clone(), config.clone());
        Ok(config)
    }
}

fn build_config(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(tls, provider)?));
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = load_certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("{key}: {e}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| format!("{certificate}: {e}"))?
        }
    };
    config.enable_sni = tls.sni.is_some();
    if tls.http2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    Ok(config)
}

fn load_certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(all) if all.is_empty() => Err(format!("{file} contains no certificate")),
        all => all.map_err(|e| format!("{file}: {e}")),
    }
}

/// Verifies what is configured: nothing; the chain and the dates; or these and the name.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    verify_name: bool,
}

impl Verifier {
    fn new(tls: &Tls, provider: Arc<CryptoProvider>) -> Result<Verifier, String> {
        let Some(by) = &tls.verify else { return Ok(Verifier { provider, chain: None, verify_name: false }) };
        let mut roots = RootCertStore::empty();
        match by {
            Some(file) => {
                for c in load_certificates(file)? {
                    roots.add(c).map_err(|e| format!("{file}: {e}"))?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Ok(Verifier { provider, chain: Some(chain.map_err(|e| e.to_string())?), verify_name: tls.name.is_some() })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end, more, name, ocsp, now) {
            // The name is compared last: with this error everything else is valid.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.verify_name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

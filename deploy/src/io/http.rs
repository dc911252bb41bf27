//! Asking services over HTTP or HTTPS: one request, one whole answer, within a bound.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be used.
    #[error("{0:?} is no URL of the form http://host:port or https://host:port")]
    Url(String),
    /// The certificates to trust cannot be read.
    #[error("cannot read certificates from {}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificates to trust cannot be used.
    #[error("cannot trust what is in {}", path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// Nobody answers there.
    #[error("cannot reach {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        source: hyper_util::client::legacy::Error,
    },
    /// The answer broke off, or is longer than [`ANSWER_BYTES_MAX`].
    #[error("cannot read the answer of {url}")]
    Body {
        /// Who answered.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("{url} did not answer within {} s", ANSWER_WITHIN.as_secs())]
    TimedOut {
        /// Who did not answer.
        url: String,
    },
}

/// A client with kept-alive connections.
#[derive(Clone, Debug)]
pub struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON, if it is that.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The first line of the body, to be shown to a person.
    pub fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line = text.lines().next().unwrap_or_default();
        line.chars().take(LINE_CHARS_MAX).collect()
    }
}

impl Http {
    /// A client that trusts the certificates in the file `ca`, or those that browsers trust.
    pub fn new(ca: Option<&Path>) -> Result<Self, HttpError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(ANSWER_WITHIN));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(ca)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// GET `url`.
    pub async fn get(&self, url: &str) -> Result<Answer, HttpError> {
        self.send(Method::GET, url, &[], Bytes::new()).await
    }

    /// POST `body` to `url`.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, HttpError> {
        self.send(Method::POST, url, headers, body.into()).await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, HttpError> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|_| HttpError::Url(url.to_owned()))?;
        let url = url.to_owned();
        let answered = async {
            let response = self.0.request(request).await;
            let response =
                response.map_err(|source| HttpError::Unreachable { url: url.clone(), source })?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|source| HttpError::Body { url: url.clone(), source })?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        let late = tokio::time::timeout(ANSWER_WITHIN, answered).await;
        late.unwrap_or_else(|_| Err(HttpError::TimedOut { url: url.clone() }))
    }
}

/// The beginning of a service's URLs, without a slash at its end.
pub fn base(url: &str) -> Result<String, HttpError> {
    let wrong = || HttpError::Url(url.to_owned());
    let parsed: hyper::Uri = url.parse().map_err(|_| wrong())?;
    let usable = matches!(parsed.scheme_str(), Some("http" | "https")) && parsed.query().is_none();
    if usable { Ok(url.trim_end_matches('/').to_owned()) } else { Err(wrong()) }
}

/// TLS of a client that trusts the certificates in the file `ca`, or those that browsers trust.
pub fn tls(ca: Option<&Path>) -> Result<ClientConfig, HttpError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let Some(path) = ca else { return Ok(builder.with_webpki_roots().with_no_client_auth()) };
    let unreadable = |source| HttpError::Trust { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let added = roots.add(certificate.map_err(unreadable)?);
        added.map_err(|source| HttpError::Untrusted { path: path.to_owned(), source })?;
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// How long one request may take, connecting included.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The longest answer that is read: a page of history is far below.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

const LINE_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_of_http() {
        assert_eq!(base("http://127.0.0.1:7400").unwrap(), "http://127.0.0.1:7400");
        assert_eq!(base("https://live.example.com/a/").unwrap(), "https://live.example.com/a");
        for wrong in ["", "127.0.0.1:7400", "ws://127.0.0.1", "http://a/?b=c", "/api"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_of_certificates_is_read_or_named() {
        assert!(tls(None).is_ok());
        let error = tls(Some(Path::new("/nowhere/ca.pem"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}

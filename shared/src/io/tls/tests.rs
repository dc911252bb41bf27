//! Handshakes between nodes, wanted and unwanted, and certificates that change.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::io::http::{Limits, Metrics, Server, StatusCode, text};
use crate::io::shutdown::Shutdown;

/// Longer than any test should take: reaching it is the failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("linecast-tls-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Writes a node's three files.
    fn node(&self, dns_name: &str, issuer: &Ca, trusted: &str) -> NodeFiles {
        let (certificate, key) = issuer.issue(dns_name, 1);
        NodeFiles {
            ca: self.write(&format!("{dns_name}.ca.pem"), trusted),
            certificate: self.write(&format!("{dns_name}.pem"), &certificate),
            key: self.write(&format!("{dns_name}.key"), &key),
            revoked: None,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and key as PEM.
    fn issue(&self, dns_name: &str, serial: u64) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![dns_name.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn revoke(&self, serial: u64) -> String {
        let now = rcgen::date_time_ymd(2024, 1, 1);
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: rcgen::date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// A QUIC handshake between two nodes, up to and including a byte in each direction, since with
/// TLS 1.3 a client learns only then that it was refused. Returns whom each side met.
async fn meet(
    server: &Nodes,
    accepts: &[Role],
    client: &Nodes,
    expects: &[Role],
) -> Result<(NodeName, NodeName), String> {
    let (server, client) = (server.quic_server(accepts), client.quic_client(expects));
    meet_with(&server.unwrap(), &client.unwrap()).await
}

/// The same with configurations that have met before.
async fn meet_with(
    server: &quinn::ServerConfig,
    client: &quinn::ClientConfig,
) -> Result<(NodeName, NodeName), String> {
    let any = "127.0.0.1:0".parse().unwrap();
    let listening = quinn::Endpoint::server(server.clone(), any).unwrap();
    let calling = quinn::Endpoint::client(any).unwrap();
    let config = client.clone();
    let address = listening.local_addr().unwrap();

    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let connection = listening.accept().await.unwrap().await.map_err(|e| e.to_string())?;
        let (mut send, mut receive) = connection.accept_bi().await.map_err(|e| e.to_string())?;
        receive.read_to_end(1).await.map_err(|e| e.to_string())?;
        send.write_all(b"b").await.map_err(|e| e.to_string())?;
        send.finish().map_err(|e| e.to_string())?;
        connection.closed().await;
        NodeName::of_peer(connection.peer_identity()).ok_or_else(|| "no name".to_owned())
    });
    let call = async {
        let connecting = calling.connect_with(config, address, SERVER_NAME).unwrap();
        let connection = connecting.await.map_err(|e| e.to_string())?;
        let (mut send, mut receive) = connection.open_bi().await.map_err(|e| e.to_string())?;
        send.write_all(b"a").await.map_err(|e| e.to_string())?;
        send.finish().map_err(|e| e.to_string())?;
        receive.read_to_end(1).await.map_err(|e| e.to_string())?;
        NodeName::of_peer(connection.peer_identity()).ok_or_else(|| "no name".to_owned())
    };
    let met = tokio::time::timeout(PATIENCE, call).await.expect("the handshake does not end");
    calling.close(0_u8.into(), b"");
    let meeting = tokio::time::timeout(PATIENCE, tasks.join_next()).await;
    let was_met = meeting.expect("the server does not end").unwrap().unwrap();
    // A refusal has to be one on both sides.
    assert_eq!(met.is_ok(), was_met.is_ok(), "{met:?} {was_met:?}");
    Ok((met?, was_met?))
}

#[tokio::test]
async fn nodes_of_the_same_ca_meet_by_name() {
    let (folder, ca) = (Folder::new(), Ca::new());
    let origin = Nodes::load(&folder.node("origin.o1.linecast", &ca, &ca.pem())).unwrap();
    let edge = Nodes::load(&folder.node("edge.bj-telecom.linecast", &ca, &ca.pem())).unwrap();
    assert_eq!(edge.name().to_string(), "edge.bj-telecom.linecast");
    let met = meet(&origin, &[Role::Edge], &edge, &[Role::Origin, Role::Edge]).await.unwrap();
    assert_eq!(met, (origin.name(), edge.name()));
}

#[tokio::test]
async fn a_foreign_ca_is_refused_on_either_side() {
    let (folder, ca, foreign) = (Folder::new(), Ca::new(), Ca::new());
    let origin = Nodes::load(&folder.node("origin.o1.linecast", &ca, &ca.pem())).unwrap();
    let imposter = Nodes::load(&folder.node("edge.e1.linecast", &foreign, &ca.pem())).unwrap();
    meet(&origin, &[Role::Edge], &imposter, &[Role::Origin]).await.unwrap_err();
    let refused = meet(&imposter, &[Role::Origin], &origin, &[Role::Edge]).await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

#[tokio::test]
async fn another_role_is_refused_on_either_side() {
    let (folder, ca) = (Folder::new(), Ca::new());
    let origin = Nodes::load(&folder.node("origin.o1.linecast", &ca, &ca.pem())).unwrap();
    let edge = Nodes::load(&folder.node("edge.e1.linecast", &ca, &ca.pem())).unwrap();
    let refused = meet(&origin, &[Role::Edge], &edge, &[Role::Svrlist]).await.unwrap_err();
    assert!(refused.contains("origin.o1.linecast does not have a role"), "{refused}");
    meet(&origin, &[Role::Svrlist], &edge, &[Role::Origin]).await.unwrap_err();
}

#[tokio::test]
async fn a_certificate_without_a_node_name_is_not_loaded() {
    let (folder, ca) = (Folder::new(), Ca::new());
    let error = Nodes::load(&folder.node("www.example.com", &ca, &ca.pem())).unwrap_err();
    assert!(matches!(error, TlsError::Name { source: NodeNameError::Absent, .. }), "{error:?}");
}

#[tokio::test]
async fn a_removed_ca_is_refused_from_the_next_connection_on() {
    let (folder, old, new) = (Folder::new(), Ca::new(), Ca::new());
    let both = format!("{}{}", old.pem(), new.pem());
    let files = folder.node("origin.o1.linecast", &new, &both);
    let origin = Nodes::load(&files).unwrap();
    let edge_files = folder.node("edge.e1.linecast", &old, &both);
    let edge = Nodes::load(&edge_files).unwrap();
    let chain = [CertificateDer::from_pem_file(&edge_files.certificate).unwrap()];
    let server = origin.quic_server(&[Role::Edge]).unwrap();
    let client = edge.quic_client(&[Role::Origin]).unwrap();
    meet_with(&server, &client).await.unwrap();
    assert!(origin.still_trusts(&chain));

    std::fs::write(&files.ca, new.pem()).unwrap();
    assert!(origin.reload().unwrap());
    assert!(!origin.reload().unwrap(), "nothing changed since");
    meet_with(&server, &client).await.unwrap_err();
    assert!(!origin.still_trusts(&chain));
    assert!(!origin.still_trusts(&[]));
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_on_either_side() {
    let (folder, ca) = (Folder::new(), Ca::new());
    let edge = Nodes::load(&folder.node("edge.e1.linecast", &ca, &ca.pem())).unwrap();
    let mut files = folder.node("origin.o1.linecast", &ca, &ca.pem());
    files.revoked = Some(folder.write("revoked.pem", &ca.revoke(999)));
    let origin = Nodes::load(&files).unwrap();
    let server = origin.quic_server(&[Role::Edge]).unwrap();
    let client = edge.quic_client(&[Role::Origin]).unwrap();
    meet_with(&server, &client).await.unwrap();

    folder.write("revoked.pem", &ca.revoke(1));
    assert!(origin.reload().unwrap());
    meet_with(&server, &client).await.unwrap_err();
    let refused = meet(&edge, &[Role::Origin], &origin, &[Role::Edge]).await.unwrap_err();
    assert!(refused.contains("Revoked"), "{refused}");
}

#[tokio::test]
async fn a_broken_file_keeps_the_old_state() {
    let (folder, ca) = (Folder::new(), Ca::new());
    let files = folder.node("origin.o1.linecast", &ca, &ca.pem());
    let origin = Nodes::load(&files).unwrap();
    let edge = Nodes::load(&folder.node("edge.e1.linecast", &ca, &ca.pem())).unwrap();
    let server = origin.quic_server(&[Role::Edge]).unwrap();
    let client = edge.quic_client(&[Role::Origin]).unwrap();
    let failed = || {
        let mut registry = Registry::default();
        origin.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("certificate_not_after_seconds 67"), "{text}");
        text.contains("certificate_reload_failed 1\n")
    };
    let (certificate, key) = ca.issue("origin.o2.linecast", 2);
    let good = std::fs::read_to_string(&files.certificate).unwrap();
    for broken in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        &certificate,
    ] {
        // The last one is a good certificate, but of another key.
        std::fs::write(&files.certificate, broken).unwrap();
        assert!(origin.reload().is_err(), "{broken}");
        assert!(!origin.reload().unwrap(), "a bad state is reported once");
        assert!(failed());
        meet_with(&server, &client).await.unwrap();
    }
    std::fs::remove_file(&files.certificate).unwrap();
    assert!(matches!(origin.reload(), Err(TlsError::Read { .. })));
    std::fs::write(&files.certificate, good).unwrap();
    assert!(origin.reload().unwrap());
    assert!(!failed());
    std::fs::write(&files.certificate, certificate).unwrap();
    assert!(origin.reload().is_err());
    std::fs::write(&files.key, key).unwrap();
    assert!(origin.reload().unwrap(), "the key has followed its certificate");
    assert_eq!(origin.name().name, "o2");
}

/// What a client uses that trusts `ca` alone.
fn client_of(ca: &Ca) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A TLS handshake with a listener for clients: the chain that the client was shown.
async fn shown_to_client(
    server: Arc<rustls::ServerConfig>,
    ca: &Ca,
) -> Vec<CertificateDer<'static>> {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut stream = TlsAcceptor::from(server).accept(far).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let name = ServerName::try_from("live.example.com").unwrap();
    let mut stream = TlsConnector::from(client_of(ca)).connect(name, near).await.unwrap();
    let mut received = String::new();
    stream.read_to_string(&mut received).await.unwrap();
    assert_eq!(received, "hello");
    stream.get_ref().1.peer_certificates().unwrap().to_vec()
}

#[tokio::test]
async fn a_listener_for_clients_follows_its_files() {
    let (folder, ca) = (Folder::new(), Ca::new());
    let (certificate, key) = ca.issue("live.example.com", 1);
    let chain_file = folder.write("chain.pem", &certificate);
    let key_file = folder.write("key.pem", &key);
    let certificates = ClientFacing::load(&chain_file, &key_file).unwrap();
    let config = certificates.server_config(&[b"http/1.1"]).unwrap();
    let first = shown_to_client(Arc::clone(&config), &ca).await;

    let shutdown = Shutdown::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(certificates.clone().watch(Duration::from_millis(5), shutdown.clone()));
    let (certificate, key) = ca.issue("live.example.com", 2);
    folder.write("chain.pem", &certificate);
    folder.write("key.pem", &key);
    let changed = async { while shown_to_client(Arc::clone(&config), &ca).await == first {} };
    tokio::time::timeout(PATIENCE, changed).await.expect("the new certificate is never shown");
    shutdown.trigger();
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn an_http_listener_speaks_tls_within_its_deadline() {
    let (folder, ca) = (Folder::new(), Ca::new());
    let (certificate, key) = ca.issue("live.example.com", 1);
    let certificates = ClientFacing::load(
        &folder.write("chain.pem", &certificate),
        &folder.write("key.pem", &key),
    );
    let metrics = Metrics::default();
    let server = Server {
        limits: Limits { head_deadline: Duration::from_millis(500), ..Limits::default() },
        tls: Some(certificates.unwrap().server_config(&[b"http/1.1"]).unwrap()),
        metrics: metrics.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(server.serve(listener, Shutdown::new(), async |_| text(StatusCode::OK, "hello")));

    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("live.example.com").unwrap();
    let mut stream = TlsConnector::from(client_of(&ca)).connect(name, stream).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut received = String::new();
    stream.read_to_string(&mut received).await.unwrap();
    assert!(received.ends_with("hello"), "{received}");

    let mut silent = TcpStream::connect(address).await.unwrap();
    let closing = silent.read_to_string(&mut received);
    let _ = tokio::time::timeout(PATIENCE, closing).await.expect("a silent peer is not closed");
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut counters = String::new();
    encode(&mut counters, &registry).unwrap();
    assert!(counters.contains("{reason=\"tls_deadline\"} 1"), "{counters}");
}

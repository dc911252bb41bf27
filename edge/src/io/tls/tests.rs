use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream as Blocking;
use std::thread::JoinHandle;

use rustls::crypto::cipher::{OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    RootCertStore, StreamOwned, SupportedCipherSuite,
};
use tokio::net::TcpListener;

use super::super::socket::Socket;
use super::*;

/// A server's configuration, and one of clients that trust it.
fn configs(versions: &[&'static rustls::SupportedProtocolVersion]) -> [Either; 2] {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    [Either::Server(Arc::new(server)), Either::Client(Arc::new(client))]
}

enum Either {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>),
}

/// A connection whose far end is driven by `client` in a thread of its own.
async fn pair<T: Send + 'static>(
    versions: &[&'static rustls::SupportedProtocolVersion],
    client: impl FnOnce(Blocking, Arc<ClientConfig>) -> T + Send + 'static,
) -> (Socket, JoinHandle<T>) {
    let [Either::Server(server), Either::Client(config)] = configs(versions) else {
        panic!("a server's and a client's")
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || client(Blocking::connect(address).unwrap(), config));
    let (stream, _) = listener.accept().await.unwrap();
    let mut socket = Socket::new(stream, Default::default());
    socket.begin_tls(&server).unwrap();
    (socket, client)
}

fn connect(stream: Blocking, config: Arc<ClientConfig>) -> StreamOwned<ClientConnection, Blocking> {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream)
}

/// Sends everything back until the client ends.
async fn echo(socket: &mut Socket) -> io::Result<()> {
    let mut input = BytesMut::new();
    loop {
        while !input.is_empty() {
            let half = input.len() / 2;
            let pieces = [IoSlice::new(&input[..half]), IoSlice::new(&input[half..])];
            let written = socket.write(&pieces)?;
            let _ = input.split_to(written);
            if !socket.flush()? || written == 0 {
                poll_fn(|cx| socket.poll_writable(cx)).await?;
            }
        }
        poll_fn(|cx| socket.poll_readable(cx)).await?;
        match socket.read(&mut input, READ_BYTES)? {
            ReadOutcome::End if input.is_empty() => return Ok(()),
            ReadOutcome::End | ReadOutcome::More | ReadOutcome::Drained => {}
        }
        while !socket.flush()? {
            poll_fn(|cx| socket.poll_writable(cx)).await?;
        }
    }
}

#[tokio::test]
async fn what_is_sent_comes_back_whatever_its_size() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let (mut socket, client) = pair(&[version], |stream, config| {
            let mut stream = connect(stream, config);
            for length in [1, 100, 16_384, 16_385, 300_000] {
                let sent: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
                let mut got = vec![0; length];
                for (sent, got) in sent.chunks(40_000).zip(got.chunks_mut(40_000)) {
                    stream.write_all(sent).unwrap();
                    stream.flush().unwrap();
                    stream.read_exact(got).unwrap();
                }
                assert!(got == sent, "{length} bytes");
            }
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            // Nothing but an orderly end follows.
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        })
        .await;
        echo(&mut socket).await.unwrap();
        socket.finish();
        client.join().unwrap();
        let tls = socket.tls().unwrap();
        assert_eq!((tls.incoming.capacity(), tls.outgoing.capacity()), (0, 0), "idle: no buffers");
    }
}

#[tokio::test]
async fn noise_is_answered_with_an_alert() {
    let (mut socket, client) = pair(&[&rustls::version::TLS13], |mut stream, _| {
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        // A reset after it is no fault: what was said is not read any more.
        let _ = stream.read_to_end(&mut answer);
        answer
    })
    .await;
    assert_eq!(echo(&mut socket).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    socket.finish();
    drop(socket);
    let answer = client.join().unwrap();
    assert_eq!(answer.first(), Some(&21), "an alert, and not {answer:?}");
}

#[tokio::test]
async fn nothing_is_written_before_the_handshake() {
    let (mut socket, client) = pair(&[&rustls::version::TLS13], |stream, _| stream).await;
    let error = socket.write(&[IoSlice::new(b"early")]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    drop(client.join());
}

/// A record of the handshake.
fn record(payload: &[u8]) -> Vec<u8> {
    [&[22, 3, 1, 0, payload.len() as u8][..], payload].concat()
}

#[tokio::test]
async fn messages_behind_a_broken_one_are_not_looked_at() {
    // Two hellos in one record: one that is none, and one that is complete.
    let hellos = record(&[1, 0, 0, 2, 0, 0, 1, 0, 0, 0]);
    let (mut socket, client) = pair(&[&rustls::version::TLS13], move |mut stream, _| {
        stream.write_all(&hellos).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    })
    .await;
    assert_eq!(echo(&mut socket).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    drop(socket);
    let answer = client.join().unwrap();
    assert_eq!(answer.first(), Some(&21), "an alert, and not {answer:?}");
}

#[tokio::test]
async fn half_a_hello_does_not_hinder_the_end() {
    let half = record(&[1, 0, 1, 0, 3, 3]);
    let (mut socket, client) = pair(&[&rustls::version::TLS13], move |mut stream, _| {
        stream.write_all(&half).unwrap();
        stream
    })
    .await;
    let mut input = BytesMut::new();
    while socket.tls().unwrap().incoming.is_empty() {
        poll_fn(|cx| socket.poll_readable(cx)).await.unwrap();
        socket.read(&mut input, READ_BYTES).unwrap();
    }
    socket.finish();
    drop(client.join());
}

#[tokio::test]
async fn half_a_key_update_does_not_hinder_writing() {
    let (mut socket, client) = pair(&[&rustls::version::TLS13], |stream, config| {
        let mut config = ClientConfig::clone(&config);
        config.enable_secret_extraction = true;
        let mut stream = connect(stream, Arc::new(config));
        stream.write_all(b"ping").unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        let (client, mut socket) = stream.into_parts();
        let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else {
            panic!("TLS 1.3")
        };
        let (seq, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("AES") };
        let message = OutboundPlainMessage {
            typ: ContentType::Handshake,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(&[24, 0]),
        };
        let record = suite.aead_alg.encrypter(key, iv).encrypt(message, seq).unwrap();
        socket.write_all(&record.encode()).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        answer.len()
    })
    .await;
    let mut input = BytesMut::new();
    while &input[..] != b"ping" {
        poll_fn(|cx| socket.poll_readable(cx)).await.unwrap();
        socket.read(&mut input, READ_BYTES).unwrap();
    }
    assert_eq!(socket.write(&[IoSlice::new(b"pong")]).unwrap(), 4);
    while socket.tls().unwrap().incoming.is_empty() {
        poll_fn(|cx| socket.poll_readable(cx)).await.unwrap();
        socket.read(&mut input, READ_BYTES).unwrap();
    }
    assert_eq!(socket.write(&[IoSlice::new(b"news")]).unwrap(), 4);
    socket.finish();
    drop(socket);
    // A record with four bytes and one with an alert, each with 5 bytes of head, 1 of type, 16 of tag.
    assert_eq!(client.join().unwrap(), 4 + 22 + 2 + 22);
}

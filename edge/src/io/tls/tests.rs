use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream as Blocking;
use std::thread::JoinHandle;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
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

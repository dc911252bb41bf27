//! Frames over TCP and over WebSocket: where the two differ.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use super::frame::{Decoder, Frame, decode_all, operation};

/// One transport connection.
#[derive(Debug)]
pub(super) enum Wire {
    Tcp { stream: Box<dyn Stream>, decoder: Decoder },
    WebSocket { stream: Box<WebSocketStream<TcpStream>>, nested: VecDeque<Frame> },
}

/// Bytes both ways, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + std::fmt::Debug + Send + Unpin> Stream for T {}

impl Wire {
    pub(super) async fn tcp(address: SocketAddr) -> Result<Self> {
        let stream = Box::new(connect(address).await?);
        Ok(Self::Tcp { stream, decoder: Decoder::default() })
    }

    pub(super) async fn tls(address: SocketAddr, certificate: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).context("read the certificate")?)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::from(address.ip());
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, connect(address).await?).await.context("TLS")?;
        Ok(Self::Tcp { stream: Box::new(stream), decoder: Decoder::default() })
    }

    pub(super) async fn websocket(address: SocketAddr, path: &str) -> Result<Self> {
        let uri = format!("ws://{address}{path}");
        let (stream, _) = ClientBuilder::new()
            .uri(&uri)?
            .connect_on(connect(address).await?)
            .await
            .with_context(|| format!("upgrade {uri}"))?;
        Ok(Self::WebSocket { stream: Box::new(stream), nested: VecDeque::new() })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Tcp { stream, .. } => {
                stream.write_all(bytes).await.context("send")?;
                stream.flush().await.context("send")
            }
            Self::WebSocket { stream, .. } => {
                stream.send(Message::binary(bytes.to_vec())).await.context("send")
            }
        }
    }

    pub(super) async fn receive(&mut self) -> Result<Option<Frame>> {
        match self {
            Self::Tcp { stream, decoder } => loop {
                if let Some(frame) = decoder.next_frame()? {
                    ensure!(frame.operation != operation::RAW, "operation 9 on TCP: {frame:?}");
                    return Ok(Some(frame));
                }
                match stream.read_buf(decoder.buffer()).await {
                    Ok(0) => return Ok(None),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                    Err(error) => return Err(error).context("receive"),
                }
            },
            Self::WebSocket { stream, nested } => loop {
                if let Some(frame) = nested.pop_front() {
                    return Ok(Some(frame));
                }
                let message = match stream.next().await {
                    None => return Ok(None),
                    Some(Err(tokio_websockets::Error::Io(_))) => return Ok(None),
                    Some(message) => message.context("receive")?,
                };
                if message.is_close() {
                    return Ok(None);
                }
                if message.is_ping() || message.is_pong() {
                    continue;
                }
                ensure!(message.is_binary(), "a message that is not binary: {message:?}");
                let mut frames = decode_all(message.as_payload())?;
                let Some(frame) = frames.pop().filter(|_| frames.is_empty()) else {
                    bail!("a WebSocket message of {} frames", frames.len());
                };
                if frame.operation != operation::RAW {
                    ensure!(frame.sequence != 0, "a push outside operation 9: {frame:?}");
                    return Ok(Some(frame));
                }
                nested.extend(decode_all(&frame.body).context("inside operation 9")?);
            },
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream =
        TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

//! Says what it is told: the edge's upgrade, WebSocket decoder and encoder around nothing at all, for
//! test suites that want an echo (see `tests/autobahn`).
//!
//! Bytes go the way that `edge/src/io/input.rs` sends them. It ends when it is killed.

#![allow(clippy::print_stdout, reason = "it says where it listens")]
#![allow(clippy::disallowed_methods, reason = "it is I/O and nothing else")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use clap::Parser;
use edge::upgrade::{self, Config, Head};
use edge::websocket::{self, Decoder, Event, Opcode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Echoes WebSocket messages with the edge's own code, on the edge's paths
#[derive(Parser, Debug)]
struct Args {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Bytes of a message at most
    #[arg(long, default_value_t = 32 << 20)]
    message_max: u32,
}

/// What a connection has become.
enum Stage {
    Head,
    Open(Decoder),
    Over,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let listener = TcpListener::bind(args.listen).await?;
    println!("{}", listener.local_addr()?);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(echo(stream, args.message_max));
            }
            Some(ended) = connections.join_next() => if let Ok(Err(error)) = ended {
                println!("{error}");
            }
        }
    }
}

async fn echo(mut stream: TcpStream, message_max: u32) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    let mut stage = Stage::Head;
    while !matches!(stage, Stage::Over) {
        input.reserve(64 << 10);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        while understand(&mut stage, &mut input, &mut out, message_max) {}
        stream.write_all(&out).await?;
        out.clear();
    }
    stream.shutdown().await?;
    // The client's last bytes are awaited and dropped.
    let rest = async {
        while stream.read_buf(&mut input).await? > 0 {
            input.clear();
        }
        Ok(())
    };
    timeout(Duration::from_secs(5), rest).await.unwrap_or(Ok(()))
}

/// Takes the next whole thing off the input; answers whether there may be more.
fn understand(stage: &mut Stage, input: &mut BytesMut, out: &mut BytesMut, max: u32) -> bool {
    match stage {
        Stage::Over => return false,
        Stage::Head => match upgrade::read(input, &Config::default()) {
            Head::More => return false,
            Head::Refused(answer) => {
                out.extend_from_slice(answer.as_bytes());
                *stage = Stage::Over;
            }
            Head::Upgrade(upgrade) => {
                upgrade.put_answer(out);
                *stage = Stage::Open(Decoder::new(max));
            }
        },
        Stage::Open(decoder) => match decoder.decode(input) {
            Ok(None) => return false,
            Ok(Some(Event::Message { text, payload })) => {
                let opcode = if text { Opcode::Text } else { Opcode::Binary };
                websocket::put_message(out, opcode, &payload);
            }
            Ok(Some(Event::Ping(payload))) => websocket::put_pong(out, &payload),
            Ok(Some(Event::Pong)) => {}
            Ok(Some(Event::Close { code, .. })) => {
                websocket::put_close(out, code.unwrap_or(1000), "");
                *stage = Stage::Over;
            }
            Err(error) => {
                websocket::put_close(out, error.close_code(), &error.to_string());
                *stage = Stage::Over;
            }
        },
    }
    true
}

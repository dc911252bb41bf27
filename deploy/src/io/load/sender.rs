//! The bare loop: a process that accepts connections and only sends. What it takes for a send is the
//! machine's limit, because a server can do no less.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::mpsc::TryRecvError;
use std::thread::sleep;

use super::clock;
use super::orders::{Orders, tell};
use crate::load::message::Stamp;
use crate::load::pipe::{Order, Report};
use crate::load::plan::Plan;
use crate::load::protocol::put_batch;

/// Sends to `clients` connections, in sends of `batch` messages on average.
pub(super) fn send(
    plan: &Plan,
    clients: u32,
    batch: f64,
    flat_out: bool,
    orders: &Orders,
) -> io::Result<()> {
    let listener = listener()?;
    tell(&Report::Listening(listener.local_addr()?))?;
    let mut sockets = Vec::new();
    while sockets.len() < clients as usize {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    let (start, from, until) = loop {
        match orders.wait() {
            Some(Order::Measure { start, from, until }) => break (start, from, until),
            Some(_) => {}
            None => return Ok(()),
        }
    };
    let interval = batch * 1e6 / plan.rooms.groups.first().map_or(1.0, |group| group.rate);
    let upto = |rounds: u32| (f64::from(rounds) * batch) as u32;
    let (mut rounds, mut sends) = (0_u32, 0);
    let (mut first, mut last) = (None, (0, 0));
    let mut bytes = Vec::new();
    loop {
        let due = match flat_out {
            true => clock::now().max(start),
            false => start + (f64::from(rounds) * interval) as u64,
        };
        if due >= until || matches!(orders.take(), Err(TryRecvError::Disconnected)) {
            break;
        }
        sleep(clock::until(due));
        if due >= from && first.is_none() {
            first = Some((clock::now(), clock::cpu()));
        }
        put_round(plan, upto(rounds)..upto(rounds + 1), due, &mut bytes);
        send_round(&mut sockets, &bytes)?;
        rounds += 1;
        if due >= from {
            sends += sockets.len() as u64;
            last = (clock::now(), clock::cpu());
        }
    }
    let (began, cpu) = first.unwrap_or_default();
    let messages = upto(rounds);
    let sent = Report::Sent {
        sends,
        messages,
        cpu: last.1.saturating_sub(cpu),
        took: last.0.saturating_sub(began),
    };
    tell(&sent)?;
    // The sockets stay open until clients have read everything.
    while orders.wait().is_some() {}
    Ok(())
}

/// Listens with as long a queue as the workers open connections at once.
fn listener() -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(QUEUE)?;
    Ok(socket.into())
}

fn put_round(plan: &Plan, numbers: Range<u32>, due: u64, bytes: &mut Vec<u8>) {
    let body = |sequence| {
        let mut body = Vec::new();
        Stamp { run: plan.run, room: 0, sequence, due }.put(plan.size, &mut body);
        body
    };
    let bodies: Vec<Vec<u8>> = numbers.map(body).collect();
    let channel = plan.rooms.channel(0, &plan.namespace, plan.protocol);
    bytes.clear();
    put_batch(plan.protocol, &channel, &bodies, bytes);
}

fn send_round(sockets: &mut [TcpStream], bytes: &[u8]) -> io::Result<()> {
    sockets.iter_mut().try_for_each(|socket| socket.write_all(bytes))
}

const QUEUE: i32 = 4096;

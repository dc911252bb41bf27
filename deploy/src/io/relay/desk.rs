//! Where lines are read and changed: the state that a line's thread and the admin listener share.
//!
//! Invariant: a line's lock is held for one decision at a time, never while anything is sent.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::Method;
use shared::io::http::{Request, Response, StatusCode, error, json, percent_decode};

use crate::relay::{
    Both, ChangeError, DirectionReport, Line, LineConfig, LineReport, Report, change,
};

/// A datagram under way.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) payload: Box<[u8]>,
    pub(super) way: Way,
}

/// How a datagram leaves.
#[derive(Debug)]
pub(super) enum Way {
    /// To the target, through the caller's own socket.
    Up(Arc<UdpSocket>),
    /// To the caller, through the line's socket.
    Down(SocketAddr),
}

/// A line, as its thread and the admin listener share it.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) config: LineConfig,
    /// Where it is called, as bound.
    pub(super) listen: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) line: Line<Parcel>,
    pub(super) clients: usize,
}

impl Station {
    pub(super) fn new(config: LineConfig, listen: SocketAddr, line: Line<Parcel>) -> Self {
        Self { config, listen, state: Mutex::new(State { line, clients: 0 }) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> LineReport {
        let state = self.state();
        let Both { up, down } = DirectionReport::both(state.line.settings(), state.line.counters());
        LineReport {
            name: self.config.name.clone(),
            listen: self.listen,
            target: self.config.target,
            clients: state.clients,
            up,
            down,
        }
    }

    fn change(&self, body: &[u8]) -> Result<(), ChangeError> {
        let mut state = self.state();
        let settings = change(body, self.config.own, state.line.settings())?;
        state.line.set(settings, Instant::now());
        drop(state);
        tracing::info!(line = self.config.name, change = ?String::from_utf8_lossy(body), "changed");
        Ok(())
    }

    fn heal(&self) {
        self.state().line.set(self.config.own, Instant::now());
        tracing::info!(line = self.config.name, "healed");
    }

    /// Whether it is a line of this edge, as far as its name says.
    fn is_of(&self, edge: &str) -> bool {
        self.config.name.split_once('/').is_some_and(|(of, _)| of == edge)
    }
}

/// All lines, as the admin listener sees them.
#[derive(Debug)]
pub(super) struct Desk(Vec<Arc<Station>>);

impl Desk {
    pub(super) fn new(stations: Vec<Arc<Station>>) -> Self {
        Self(stations)
    }

    pub(super) fn stations(&self) -> impl Iterator<Item = &Arc<Station>> {
        self.0.iter()
    }

    /// Answers a request about lines; `None` if it is about something else.
    pub(super) fn answer(&self, request: &Request) -> Option<Response> {
        let rest = request.path.strip_prefix("/lines")?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        // Pages that a browser shows can send requests, too.
        if request.method != Method::GET && request.header("origin").is_some() {
            return Some(error(StatusCode::FORBIDDEN, "lines are not changed by pages"));
        }
        Some(match (&request.method, rest.strip_prefix('/')) {
            (&Method::GET, None | Some("")) => {
                let lines = self.stations().map(|station| station.report()).collect();
                json(StatusCode::OK, &Report { lines })
            }
            (&Method::GET, Some(name)) => self.with(name, |_| Ok(())),
            (&Method::POST, Some(path)) => match path.strip_suffix("/heal") {
                Some(name) => self.with(name, |line| {
                    line.heal();
                    Ok(())
                }),
                None if request.body.len() > CHANGE_BYTES_MAX => {
                    error(StatusCode::PAYLOAD_TOO_LARGE, "a change is shorter than that")
                }
                None => self.with(path, |line| line.change(&request.body)),
            },
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "lines are read by GET, changed by POST"),
        })
    }

    /// Does something to the line of this name, or to all lines of the edge of this name, and
    /// answers what it is, or they are, then.
    fn with(
        &self,
        name: &str,
        mut act: impl FnMut(&Station) -> Result<(), ChangeError>,
    ) -> Response {
        let name = percent_decode(name).unwrap_or_default();
        let line = self.stations().find(|station| station.config.name == name);
        let of_edge = self.stations().filter(|station| line.is_none() && station.is_of(&name));
        let stations: Vec<&Arc<Station>> = line.into_iter().chain(of_edge).collect();
        if stations.is_empty() {
            let names: Vec<&str> =
                self.stations().map(|station| station.config.name.as_str()).collect();
            let message = format!("no line or edge {name:?}; there are {}", names.join(", "));
            return error(StatusCode::NOT_FOUND, &message);
        }
        for station in &stations {
            // Whether a change is wrong does not depend on the line, so the first one tells.
            if let Err(error) = act(station) {
                return json(StatusCode::BAD_REQUEST, &error.to_json());
            }
        }
        match line {
            Some(line) => json(StatusCode::OK, &line.report()),
            None => {
                let lines = stations.into_iter().map(|station| station.report()).collect();
                json(StatusCode::OK, &Report { lines })
            }
        }
    }
}

/// All fields of both directions take less than 1 KiB.
const CHANGE_BYTES_MAX: usize = 16 << 10;

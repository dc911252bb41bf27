//! Uplink requests: by the best line, and at once by the next where that one does not answer.
//!
//! A request has a number of its own, by which the upstream knows one that comes again. Requests with
//! large answers have places of their own, so that they do not hold up the others.
//!
//! Invariant: a request is answered or has failed within its time, whatever lines do; publishes of one
//! connection are carried out in the order in which they came.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::Connection;
use shared::io::line;
use shared::message::{Message, Position};
use shared::wire::control::{HistoryResult, Request, Response, request, response};
use shared::wire::convert;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use super::Gauges;
use crate::hub::ShardId;
use crate::room::ConnectionId;
use crate::session::{Answer, AskId};

/// Who asks.
pub(super) type Asker = (ShardId, ConnectionId);

/// A publish that waits for the one before it of the same connection.
type Waiting = (AskId, request::Kind);

/// The uplink requests of an edge.
pub(super) struct Requests {
    timeout: Duration,
    /// Places for requests of this edge's clients, and for those of its neighbours'.
    own: Places,
    served: Places,
    /// Requests under way; a publish says whose it was, also when it fails badly.
    running: JoinSet<Option<Asker>>,
    publishers: HashMap<tokio::task::Id, Asker>,
    /// A connection with a publish under way has an entry, most often an empty one.
    publishing: HashMap<Asker, VecDeque<Waiting>>,
    next_id: u64,
    gauges: Arc<Gauges>,
}

/// For whom is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum For {
    /// A client of this edge; where it publishes, which one.
    Client(Option<Asker>),
    /// One of another edge.
    Neighbour,
}

/// Places for requests under way: those with large answers, and all others.
struct Places {
    large: Arc<Semaphore>,
    small: Arc<Semaphore>,
}

impl Places {
    fn new(share: usize) -> Self {
        let places = |max: usize| Arc::new(Semaphore::new(max / share));
        Self { large: places(LARGE_MAX), small: places(SMALL_MAX) }
    }
}

/// By which lines a request may go, best first, and how long an answer takes on the best.
pub(super) struct Route {
    pub(super) connections: Vec<Connection>,
    pub(super) rtt: Duration,
    /// The update that the upstream must have seen before it answers.
    pub(super) after_update: u64,
}

impl Requests {
    pub(super) fn new(timeout: Duration, gauges: Arc<Gauges>) -> Self {
        Self {
            timeout,
            own: Places::new(1),
            served: Places::new(SERVED_SHARE),
            running: JoinSet::new(),
            publishers: HashMap::new(),
            publishing: HashMap::new(),
            next_id: 1,
            gauges,
        }
    }

    /// Whether a publish must wait for the one before it; it is kept then.
    pub(super) fn waits(
        &mut self,
        asker: Asker,
        id: AskId,
        kind: request::Kind,
    ) -> Option<Waiting> {
        if !matches!(kind, request::Kind::Publish(_)) {
            return Some((id, kind));
        }
        if let Some(waiting) = self.publishing.get_mut(&asker) {
            waiting.push_back((id, kind)); // as many as its session lets be open
            return None;
        }
        self.publishing.insert(asker, VecDeque::new());
        Some((id, kind))
    }

    /// Asks by a route, and hands the answer to `tell`, or `None` if there is none.
    pub(super) fn ask<F: Future<Output = ()> + Send>(
        &mut self,
        route: Route,
        kind: request::Kind,
        asker: For,
        tell: impl FnOnce(Option<response::Kind>) -> F + Send + 'static,
    ) {
        let is_large = matches!(kind, request::Kind::History(_) | request::Kind::Presence(_));
        let (places, publisher) = match asker {
            For::Client(publisher) => (&self.own, publisher),
            For::Neighbour => (&self.served, None),
        };
        let places = Arc::clone(if is_large { &places.large } else { &places.small });
        let after_update = route.after_update;
        let (timeout, gauges) = (self.timeout, Arc::clone(&self.gauges));
        let timeout_ms = timeout.as_millis() as u32; // at most a minute
        let request = Request { id: self.next_id, after_update, timeout_ms, kind: Some(kind) };
        self.next_id += 1;
        let handle = self.running.spawn(async move {
            let asked = async {
                let _place = places.acquire().await; // never closed
                ask(&route, &request, timeout, &gauges).await
            };
            let response = tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| {
                tracing::info!(?timeout, "an uplink request was not answered in time");
                None
            });
            if response.is_none() {
                gauges.requests_failed.fetch_add(1, Ordering::Relaxed);
            }
            tell(response).await;
            publisher
        });
        if let Some(publisher) = publisher {
            self.publishers.insert(handle.id(), publisher);
        }
    }

    /// Waits until a request has ended. Answers whose next publish may follow, and that publish.
    pub(super) async fn ended(&mut self) -> Option<(Asker, Waiting)> {
        let Some(ended) = self.running.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let publisher = match ended {
            Ok((id, publisher)) => {
                self.publishers.remove(&id);
                publisher
            }
            Err(error) => self.failed(&error),
        }?;
        match self.publishing.get_mut(&publisher).and_then(VecDeque::pop_front) {
            Some(waiting) => Some((publisher, waiting)),
            None => {
                self.publishing.remove(&publisher);
                None
            }
        }
    }

    fn failed(&mut self, error: &JoinError) -> Option<Asker> {
        tracing::error!(%error, "an uplink request's task failed");
        self.publishers.remove(&error.id())
    }
}

/// Asks by the best line; by the next when that one fails, or does not answer in the time that two
/// round trips and some work take. The first answer counts.
async fn ask(
    route: &Route,
    request: &Request,
    timeout: Duration,
    gauges: &Gauges,
) -> Option<response::Kind> {
    let hedge_after = 2 * route.rtt + HEDGE_SLACK;
    let mut asking = JoinSet::new();
    let mut lines = route.connections.iter();
    loop {
        match lines.next() {
            Some(connection) => {
                if !asking.is_empty() {
                    gauges.requests_hedged.fetch_add(1, Ordering::Relaxed);
                }
                let (connection, request) = (connection.clone(), request.clone());
                asking.spawn(async move { line::request(&connection, &request, timeout).await });
            }
            None if asking.is_empty() => return None,
            None => {}
        }
        let is_last = lines.len() == 0;
        tokio::select! {
            Some(answered) = asking.join_next() => match answered {
                Ok(Ok(Response { kind })) => return kind,
                Ok(Err(error)) => {
                    tracing::info!(error = &error as &dyn Error, "an uplink request failed");
                }
                Err(error) => tracing::error!(%error, "an uplink request's task failed"),
            },
            () = tokio::time::sleep(hedge_after), if !is_last => {}
        }
    }
}

/// What a session is told: the upstream's words, refusals and verdicts of hooks included.
pub(super) fn answer(response: Option<response::Kind>) -> Answer {
    response.map_or_else(
        || Answer::Failed {
            code: 100,
            message: "the upstream cannot be reached".into(),
            temporary: true,
        },
        Answer::Response,
    )
}

/// The messages after `position`; none where there are none any more, `None` where nobody knows.
pub(super) fn older(
    response: Option<response::Kind>,
    position: Position,
) -> Option<Vec<Arc<Message>>> {
    match response? {
        response::Kind::History(HistoryResult { epoch, messages, .. }) => {
            // Another epoch has nothing to do with what was asked: nothing is left of it.
            let same = epoch == position.epoch.number();
            let messages = if same { messages } else { Vec::new() };
            messages.into_iter().map(|stored| convert::stored_in(stored).map(Arc::new)).collect()
        }
        response::Kind::Failure(failure) if !failure.temporary => Some(Vec::new()),
        _ => None,
    }
}

/// Histories and presences under way: at up to 4 MiB each, 32 MiB.
const LARGE_MAX: usize = 8;
/// Other requests under way: at a round trip of 50 ms, 10,000 a second.
const SMALL_MAX: usize = 512;
/// Neighbours have one of so many places more, of their own.
const SERVED_SHARE: usize = 4;
/// What an upstream may take beside two round trips before another line is tried too.
const HEDGE_SLACK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use shared::wire::control::Rpc;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn neighbours_have_places_of_their_own() {
        let mut requests = Requests::new(Duration::from_secs(5), Arc::default());
        let all = (SMALL_MAX / SERVED_SHARE) as u32;
        let _taken = Arc::clone(&requests.served.small).acquire_many_owned(all).await.unwrap();
        let mut ask = |asker| {
            let (reply, answer) = oneshot::channel();
            let route = Route { connections: Vec::new(), rtt: Duration::ZERO, after_update: 0 };
            requests.ask(route, request::Kind::Rpc(Rpc::default()), asker, |result| async {
                let _ = reply.send(result);
            });
            answer
        };
        let (mut neighbour, own) = (ask(For::Neighbour), ask(For::Client(None)));
        assert!(own.await.unwrap().is_none(), "without a line at once");
        assert!(neighbour.try_recv().is_err(), "it waits");
    }
}

//! Uplink requests of one session. An edge that gets no answer by one line asks again by another, so
//! requests are numbered: one that comes again is answered with what the first one was.
//!
//! Invariant: of all publishes and calls with one number at most one is carried out.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::io::line::{self, LineError};
use crate::wire::control::request::Kind;
use crate::wire::control::{Request, Response};

/// The answer to a request in the making.
type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// The requests of one session.
pub struct Requests {
    answer: Box<dyn Fn(Request) -> Answering + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answers: HashMap<u64, watch::Receiver<Option<Arc<Response>>>>,
    /// When answers may be forgotten, oldest first.
    forget: VecDeque<(Instant, u64)>,
    /// They go on when the line that asked is gone, and end with the session.
    running: JoinSet<()>,
}

impl Requests {
    /// Requests that `answer` answers.
    pub fn new<F: Future<Output = Response> + Send + 'static>(
        answer: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self {
        let answer = Box::new(move |request| Box::pin(answer(request)) as Answering);
        Self { answer, state: Mutex::default() }
    }

    /// Answers what comes by one line, until it ends.
    pub async fn serve(self: Arc<Self>, connection: Connection) {
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                accepted = connection.accept_bi() => match accepted {
                    Ok((send, recv)) => {
                        let requests = Arc::clone(&self);
                        streams.spawn(async move {
                            if let Err(error) = requests.answer(send, recv).await {
                                let error = &error as &dyn Error;
                                tracing::debug!(error, "an uplink request got no answer");
                            }
                        });
                    }
                    Err(_) => return, // the line's end is told by its other tasks
                },
                Some(ended) = streams.join_next(), if !streams.is_empty() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "an uplink request's task failed");
                    }
                }
            }
        }
    }

    async fn answer(&self, mut send: SendStream, mut recv: RecvStream) -> Result<(), LineError> {
        let request = line::read_request(&mut recv).await?;
        let mut answer = self.find(request);
        let response = match answer.wait_for(Option::is_some).await {
            Ok(response) => response.clone(),
            Err(_) => return Err(LineError::Protocol("the session ends")),
        };
        match response {
            Some(response) => line::write_response(&mut send, &response).await,
            None => Ok(()),
        }
    }

    /// Where the answer to a request will be; starts on it unless that was done.
    fn find(&self, request: Request) -> watch::Receiver<Option<Arc<Response>>> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.running.try_join_next().is_some() {}
        while let Some((at, id)) = state.forget.front().copied()
            && (at <= now || state.forget.len() > REMEMBERED_MAX)
        {
            state.forget.pop_front();
            state.answers.remove(&id);
        }
        // Asking again for what only reads costs less than keeping what was read.
        let counts = matches!(request.kind, Some(Kind::Publish(_) | Kind::Rpc(_)));
        let id = Some(request.id).filter(|id| counts && *id != 0);
        if let Some(known) = id.and_then(|id| state.answers.get(&id)) {
            return known.clone();
        }
        let (answered, answer) = watch::channel(None);
        let response = (self.answer)(request);
        state.running.spawn(async move {
            answered.send_replace(Some(Arc::new(response.await)));
        });
        if let Some(id) = id {
            state.answers.insert(id, answer.clone());
            state.forget.push_back((now + REMEMBERED_FOR, id));
        }
        answer
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

/// How long an answer is kept for a request that comes again: longer than edges ask.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// Answers that are kept: at 10,000 requests a second for a second.
const REMEMBERED_MAX: usize = 10_000;

//! Uplink requests of one session. An edge that gets no answer by one line asks again by another, so
//! requests are numbered: one that comes again is answered with what the first one was.
//!
//! Invariant: of all publishes and calls with one number at most one is carried out.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prost::Message as _;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::io::line::{self, LineError};
use crate::wire::control::request::Kind;
use crate::wire::control::{Failure, Request, Response, response};

/// The answer to a request in the making.
type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// The requests of one session.
pub struct Requests {
    answer: Box<dyn Fn(Request) -> Answering + Send + Sync>,
    state: Mutex<State>,
}

/// Where the answer to a request will be.
type Answer = watch::Receiver<Option<Arc<Response>>>;

struct State {
    known: HashMap<u64, Answer>,
    /// What was answered, oldest first: when it may be forgotten, its number and its bytes.
    answered: VecDeque<(Instant, u64, usize)>,
    /// How many at the front of `answered` keep the fact alone, and the bytes of all others.
    emptied: usize,
    bytes: usize,
    /// They go on when the line that asked is gone, and end with the session.
    running: JoinSet<Done>,
}

/// A request that was answered: its number, where it is known by it, and for how long to keep it.
struct Done {
    id: Option<u64>,
    bytes: usize,
    keep: Duration,
}

impl Requests {
    /// Requests that `answer` answers.
    pub fn new<F: Future<Output = Response> + Send + 'static>(
        answer: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self {
        let answer = Box::new(move |request| Box::pin(answer(request)) as Answering);
        let state = State {
            known: HashMap::new(),
            answered: VecDeque::new(),
            emptied: 0,
            bytes: 0,
            running: JoinSet::new(),
        };
        Self { answer, state: Mutex::new(state) }
    }

    /// Answers what comes by one line, until it ends.
    pub async fn serve(self: Arc<Self>, connection: Connection) {
        let mut streams = JoinSet::new();
        let mut forget = tokio::time::interval(FORGET_EVERY);
        loop {
            tokio::select! {
                _ = forget.tick() => self.lock().forget(Instant::now()),
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
    fn find(&self, request: Request) -> Answer {
        let mut state = self.lock();
        state.forget(Instant::now());
        // Asking again for what only reads costs less than keeping what was read.
        let counts = matches!(request.kind, Some(Kind::Publish(_) | Kind::Rpc(_)));
        let id = Some(request.id).filter(|id| counts && *id != 0);
        if let Some(known) = id.and_then(|id| state.known.get(&id)) {
            return known.clone();
        }
        if state.running.len() >= RUNNING_MAX || state.known.len() >= REMEMBERED_MAX {
            return ready(failure(111, "too many requests of one edge"));
        }
        let (told, answer) = watch::channel(None);
        let asks_for = match request.timeout_ms {
            0 => ASKS_FOR,
            ms => Duration::from_millis(ms.into()).min(ASKS_FOR_MAX),
        };
        let response = (self.answer)(request);
        state.running.spawn(async move {
            let response = response.await;
            let bytes = response.encoded_len();
            told.send_replace(Some(Arc::new(response)));
            Done { id, bytes, keep: asks_for + KEEP_SLACK }
        });
        if let Some(id) = id {
            state.known.insert(id, answer.clone());
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets what nobody asks for again. What is not answered yet is never forgotten.
    fn forget(&mut self, now: Instant) {
        while let Some(ended) = self.running.try_join_next() {
            match ended {
                Ok(Done { id: Some(id), bytes, keep }) => {
                    self.answered.push_back((now + keep, id, bytes));
                    self.bytes += bytes;
                }
                Ok(Done { id: None, .. }) => {}
                // Its number stays: nobody knows what it had done.
                Err(error) => tracing::error!(%error, "answering a request failed badly"),
            }
        }
        while let Some((_, id, bytes)) = self.answered.pop_front_if(|(at, ..)| *at <= now) {
            self.known.remove(&id);
            match self.emptied.checked_sub(1) {
                Some(left) => self.emptied = left,
                None => self.bytes -= bytes,
            }
        }
        // Where answers are large, that there was one must do.
        while self.bytes > REMEMBERED_BYTES
            && let Some((_, id, bytes)) = self.answered.get(self.emptied)
        {
            let gone = ready(failure(100, "answered before; the answer is not kept"));
            self.known.insert(*id, gone);
            self.bytes -= bytes;
            self.emptied += 1;
        }
    }
}

fn failure(code: u32, message: &str) -> Response {
    let failure = Failure { code, message: message.into(), temporary: true, disconnect: 0 };
    Response { kind: Some(response::Kind::Failure(failure)) }
}

/// An answer that is there already.
fn ready(response: Response) -> Answer {
    watch::channel(Some(Arc::new(response))).1
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

/// For how long a request may come again that does not say so: twice what edges usually wait.
const ASKS_FOR: Duration = Duration::from_secs(10);
/// For how long at most, whatever it says: what an edge can be told to wait.
const ASKS_FOR_MAX: Duration = Duration::from_secs(60);
/// What a copy may take on its way.
const KEEP_SLACK: Duration = Duration::from_secs(5);
const FORGET_EVERY: Duration = Duration::from_secs(1);
/// Requests that are being answered: a few lines full of them. A stream that is stopped frees its
/// line's place, while its request runs on.
const RUNNING_MAX: usize = 2 * line::REQUESTS_MAX as usize;
/// Numbers that are kept: at 9 s, for 20,000 requests a second; of 200 bytes each, 40 MB.
const REMEMBERED_MAX: usize = 200_000;
/// Bytes of answers that are kept.
const REMEMBERED_BYTES: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::control::{Publish, Rpc, RpcResult};

    fn publish(id: u64) -> Request {
        Request {
            id,
            timeout_ms: 1000,
            kind: Some(Kind::Publish(Publish::default())),
            ..Request::default()
        }
    }

    fn code(response: &Response) -> u32 {
        match &response.kind {
            Some(response::Kind::Failure(failure)) => failure.code,
            _ => 0,
        }
    }

    async fn answered(mut answer: Answer) -> Arc<Response> {
        answer.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }

    #[tokio::test]
    async fn what_is_not_answered_yet_is_not_forgotten() {
        let requests = Requests::new(|_| std::future::pending());
        let first = requests.find(publish(1));
        for id in 2..=RUNNING_MAX as u64 {
            assert!(requests.find(publish(id)).borrow().is_none());
        }
        let refused = requests.find(publish(RUNNING_MAX as u64 + 1));
        assert_eq!(code(&*answered(refused).await), 111, "more than may run");
        requests.lock().forget(Instant::now() + Duration::from_secs(600));
        assert!(requests.find(publish(1)).same_channel(&first), "it runs once");
    }

    #[tokio::test]
    async fn answers_are_kept_for_as_long_as_edges_ask() {
        let requests = Requests::new(|_| async { Response::default() });
        let first = requests.find(publish(1));
        answered(first.clone()).await;
        let mut now = Instant::now();
        while !requests.lock().running.is_empty() {
            tokio::task::yield_now().await;
            now = Instant::now();
            requests.lock().forget(now);
        }
        requests.lock().forget(now + Duration::from_secs(5));
        assert!(requests.find(publish(1)).same_channel(&first));
        requests.lock().forget(now + Duration::from_secs(7));
        assert!(requests.lock().known.is_empty() && requests.lock().bytes == 0);
    }

    #[tokio::test]
    async fn large_answers_leave_the_fact_behind() {
        let data = bytes::Bytes::from(vec![0; 1 << 20]);
        let kind = response::Kind::Rpc(RpcResult { data });
        let response = Response { kind: Some(kind) };
        let requests = Requests::new(move |_| std::future::ready(response.clone()));
        for id in 1..=40 {
            let kind = Some(Kind::Rpc(Rpc::default()));
            answered(requests.find(Request { id, kind, ..Request::default() })).await;
        }
        while !requests.lock().running.is_empty() {
            tokio::task::yield_now().await;
            requests.lock().forget(Instant::now());
        }
        assert!(requests.lock().bytes <= REMEMBERED_BYTES);
        assert_eq!(code(&*answered(requests.find(publish(1))).await), 100, "not done again");
        assert_eq!(code(&*answered(requests.find(publish(40))).await), 0, "kept");
        requests.lock().forget(Instant::now() + Duration::from_secs(60));
        let state = requests.lock();
        assert!(state.known.is_empty() && state.bytes == 0 && state.emptied == 0);
    }
}

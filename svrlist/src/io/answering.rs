//! Answers that are made to their end, whether or not their clients wait for them.
//!
//! Invariant: what was begun is seen to end, before svrlist does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use shared::io::http::{Response, StatusCode, error};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};

/// What was begun.
#[derive(Debug, Default)]
pub(super) struct Answering(Mutex<JoinSet<()>>);

impl Answering {
    /// Answers; whoever hangs up in the middle of a change does not leave it half written down.
    pub(super) async fn answer(
        &self,
        answering: impl Future<Output = Response> + Send + 'static,
    ) -> Response {
        let (sender, answer) = oneshot::channel();
        {
            let mut begun = self.lock();
            while let Some(ended) = begun.try_join_next() {
                see(ended);
            }
            begun.spawn(async move {
                // Nobody may be there any more.
                let _ = sender.send(answering.await);
            });
        }
        let failed = |_| error(StatusCode::INTERNAL_SERVER_ERROR, "svrlist failed at this");
        answer.await.unwrap_or_else(failed)
    }

    /// Waits until nothing is left of what was begun.
    pub(super) async fn drain(&self) {
        let mut begun = std::mem::take(&mut *self.lock());
        while let Some(ended) = begun.join_next().await {
            see(ended);
        }
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn see(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an answer failed");
    }
}

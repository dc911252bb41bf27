//! Waiting for levels, with deadlines that name what did not happen.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long anything may take that a loaded test machine does in well under a second.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `work` and fails with `what` when it takes longer than [`PATIENCE`].
pub async fn within<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    within_time(what, PATIENCE, work).await
}

/// Runs `work` and fails with `what` when it takes longer than `limit`.
pub async fn within_time<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, Box::pin(work)).await {
        Ok(done) => done.with_context(|| what.to_owned()),
        Err(_) => bail!("{what}: not done after {limit:?}"),
    }
}

/// Asks `read` every 20 ms until `good` likes the answer; fails with the last answer after
/// [`PATIENCE`].
pub async fn until<T: std::fmt::Debug>(
    what: &str,
    mut read: impl AsyncFnMut() -> Result<T>,
    good: impl Fn(&T) -> bool,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let answer = read().await;
        match answer {
            Ok(value) if good(&value) => return Ok(value),
            _ if start.elapsed() > PATIENCE => {
                bail!("{what}: after {PATIENCE:?} still {answer:?}")
            }
            _ => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}

const ASK_AGAIN: Duration = Duration::from_millis(20);

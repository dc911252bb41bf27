//! `linecast push`: publishes messages one after the other.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use shared::io::shutdown::Shutdown;

use super::http::{self, Http, HttpError};
use super::output::{note, say};
use crate::push::{Position, Refusal, Request, outcome};

/// What to publish, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// What holds for every message.
    pub request: Request,
    /// The message; `None` publishes every line of standard input.
    pub body: Option<String>,
    /// How often.
    pub count: u64,
    /// At most so many a second; `None` as fast as the origin answers.
    pub rate: Option<f64>,
    /// The origin's API.
    pub api: String,
    /// The API key.
    pub key: String,
    /// Certificates to trust instead of those that browsers trust.
    pub ca: Option<PathBuf>,
}

/// Why publishing ended early.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The origin could not be asked.
    #[error("cannot publish")]
    Http(#[from] HttpError),
    /// The origin refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Standard input could not be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
}

/// Publishes everything, or until the shutdown.
pub async fn push(options: Options, shutdown: Shutdown) -> Result<(), PushError> {
    let publisher = Publisher {
        http: Http::new(options.ca.as_deref())?,
        url: format!("{}/api/publish", http::base(&options.api)?),
        options,
    };
    tokio::select! {
        () = shutdown.triggered() => Ok(()),
        done = publisher.publish_all() => done,
    }
}

struct Publisher {
    options: Options,
    http: Http,
    url: String,
}

impl Publisher {
    async fn publish_all(&self) -> Result<(), PushError> {
        let started = Instant::now();
        let mut published = 0;
        let mut last = None;
        if let Some(body) = &self.options.body {
            for number in 1..=self.options.count {
                self.wait(started, published).await;
                last = Some(self.publish(body, number, self.options.count).await?);
                published += 1;
            }
        } else {
            let mut lines = lines();
            while let Some(line) = lines.recv().await {
                let line = line.map_err(PushError::Input)?;
                self.wait(started, published).await;
                last = Some(self.publish(&line, published + 1, u64::MAX).await?);
                published += 1;
            }
        }
        let took = started.elapsed();
        match last {
            None => note("nothing to publish: standard input was empty"),
            Some(position) if published == 1 => {
                let _ = say(&format!("{} {position}", self.options.request.channel));
            }
            Some(position) => {
                let per_second = published as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE);
                let _ = say(&format!(
                    "{} {published} messages in {:.2} s ({per_second:.0}/s), the last at {position}",
                    self.options.request.channel,
                    took.as_secs_f64()
                ));
            }
        }
        Ok(())
    }

    /// Waits until message number `published` + 1 is due.
    async fn wait(&self, started: Instant, published: u64) {
        if let Some(rate) = self.options.rate {
            let due = started + Duration::from_secs_f64(published as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
    }

    async fn publish(&self, body: &str, number: u64, count: u64) -> Result<Position, PushError> {
        let headers =
            [("x-api-key", self.options.key.as_str()), ("content-type", "application/json")];
        let body = self.options.request.body(body, number, count);
        let answer = self.http.post(&self.url, &headers, body).await?;
        Ok(outcome(answer.status, &answer.body, &answer.first_line())?)
    }
}

/// The lines of standard input. A thread reads them: waiting for standard input cannot be called off.
fn lines() -> tokio::sync::mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

const LINES_AHEAD: usize = 16;

//! `linecast line`: shows and changes the lines of a running relay.

use shared::io::shutdown::Shutdown;

use super::http::{self, Http, HttpError};
use super::output::say;
use crate::relay::{Order, Refusal};

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// The relay could not be asked.
    #[error("cannot ask the relay at {relay}")]
    Http {
        /// Its admin address.
        relay: String,
        /// Why.
        source: HttpError,
    },
    /// It refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl LinesError {
    /// Whether the order itself was wrong.
    pub fn is_misuse(&self) -> bool {
        match self {
            Self::Http { source, .. } => matches!(source, HttpError::Url(_)),
            Self::Refused(refusal) => matches!(refusal.status, 400 | 404 | 413),
        }
    }
}

/// Gives an order to the relay whose admin address is `relay`, and prints what comes of it.
pub async fn order(relay: String, order: Order, shutdown: Shutdown) -> Result<(), LinesError> {
    let answer = tokio::select! {
        () = shutdown.triggered() => return Ok(()),
        answer = ask(&relay, &order) => answer.map_err(|source| LinesError::Http { relay, source })?,
    };
    // The order is carried out, whether or not somebody reads on.
    let _ = say(&order.outcome(answer.status, &answer.body)?);
    Ok(())
}

async fn ask(relay: &str, order: &Order) -> Result<http::Answer, HttpError> {
    let http = Http::new(None)?;
    let (path, body) = order.request();
    let url = format!("{}{path}", http::base(relay)?);
    match body {
        None => http.get(&url).await,
        Some(body) => {
            let headers = [("content-type", "application/json")];
            http.post(&url, &headers, body.to_string()).await
        }
    }
}

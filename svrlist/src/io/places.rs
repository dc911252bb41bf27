//! Follows the place databases: a changed file counts as soon as it is noticed, a broken one never.

use std::sync::Arc;
use std::time::Duration;

use geo_data::io::Watch;
use shared::io::shutdown::Shutdown;

use super::Desk;

/// Looks at the files every `period` until the shutdown.
pub(super) async fn watch(watch: Watch, desk: Arc<Desk>, period: Duration, shutdown: Shutdown) {
    let mut watch = Some(watch);
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            () = tokio::time::sleep(period) => {}
        }
        desk.metrics.unreadable(desk.site.places().unreadable_records());
        let Some(mut looking) = watch.take() else { return };
        // Verifying a file takes a while: not on a thread that serves.
        let looked = tokio::task::spawn_blocking(move || {
            let outcome = looking.check();
            (looking, outcome)
        });
        let Ok((looked, outcome)) = looked.await else {
            tracing::error!("looking at the place databases failed; they are followed no more");
            shutdown.triggered().await;
            return;
        };
        watch = Some(looked);
        match outcome {
            None => {}
            Some(Ok(places)) => {
                desk.site.set_places(places);
                desk.metrics.reloaded(true);
                tracing::info!("new place databases are in use");
            }
            Some(Err(error)) => {
                desk.metrics.reloaded(false);
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "refused new place databases; the old ones stay in use");
            }
        }
    }
}

//! The loops: sample, ask, serve.

use std::cell::Cell;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use mbcas_core::demand::{Signals, queue_pressure};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::board::{Board, Smoother, Source, Watch};
use crate::sockets::AcceptQueue;
use crate::{app, server};

/// Time between two questions to the application.
pub const ASK_EVERY: Duration = Duration::from_secs(1);

/// Runs until `token` is cancelled, and then ends at once: nothing here is worth waiting for.
pub async fn run(board: &Arc<Board>, token: CancellationToken) {
    let app_pressure = Cell::new(None);
    if let Some(who) = &board.config.identity {
        info!(
            namespace = who.namespace,
            pod = who.pod,
            container = who.container,
            "watching"
        );
    }
    tokio::select! {
        () = token.cancelled() => {}
        () = sample(board, &app_pressure) => {}
        () = ask(board, &app_pressure) => {}
        () = server::serve(Arc::clone(board), token.clone()) => {}
    }
}

async fn sample(board: &Board, app_pressure: &Cell<Option<f64>>) {
    let own = board.config.listen.port();
    let mut watch = Watch::new(Source::AcceptQueue);
    let mut smoother = Smoother::default();
    let mut last = Instant::now();
    let mut queue = AcceptQueue::new();
    loop {
        let waiting = watch.note(queue.waiting(|port| port != own), board);
        let signals = Signals {
            accept_queue: waiting.map(queue_pressure),
            app_queue: app_pressure.get(),
        };
        if let Some(reading) = smoother.read(signals, last.elapsed()) {
            last = Instant::now();
            board.put(reading);
        }
        sleep(queue.pace()).await;
    }
}

async fn ask(board: &Board, app_pressure: &Cell<Option<f64>>) {
    let Some(source) = &board.config.app else {
        return pending().await;
    };
    info!(%source, "asking the application");
    let mut watch = Watch::new(Source::AppQueue);
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let queue = watch.note(app::waiting(source).await, board);
        app_pressure.set(queue.map(queue_pressure));
    }
}

//! The loops: sample, ask, serve.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::application::Application;
use crate::board::{Board, Smoother};
use crate::kernel::Kernel;
use crate::server;
use crate::signal::{Pressures, Source};
use crate::ticker::Ticker;

/// Runs until `token` is cancelled, and then ends at once: nothing here is worth waiting for.
pub async fn run(board: &Arc<Board>, token: CancellationToken) {
    let app_pressures = watch::Sender::new(Pressures::default());
    if let Some(who) = &board.config.identity {
        info!(
            namespace = who.namespace,
            pod = who.pod,
            container = who.container,
            "watching"
        );
    }
    // A task of its own, because waking the outermost one costs a detour through the kernel.
    let mut sampling = JoinSet::new();
    sampling.spawn(sample(Arc::clone(board), app_pressures.subscribe()));
    tokio::select! {
        () = token.cancelled() => {}
        () = ask(board, &app_pressures) => {}
        () = server::serve(Arc::clone(board), token.clone()) => {}
    }
}

async fn sample(board: Arc<Board>, app_pressures: watch::Receiver<Pressures>) {
    let mut kernel = Kernel::new(&board);
    let mut smoother = Smoother::default();
    let mut ticker = Ticker::new();
    let mut last = Instant::now();
    loop {
        kernel.step(std::time::Instant::now(), &board);
        let app = *app_pressures.borrow();
        let pressures = [Source::AppQueue, Source::AppLatency]
            .into_iter()
            .fold(kernel.pressures(), |all, source| {
                all.with(source, app.of(source))
            });
        let is_known = pressures.breakdown().greatest().is_some();
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(last);
        last = now;
        // Who cannot look has seen nothing: then the last reading ages.
        if is_known || !kernel.is_blind() {
            board.put(smoother.read(pressures, kernel.need(), elapsed));
        }
        ticker.tick(kernel.pace()).await;
    }
}

async fn ask(board: &Board, app_pressures: &watch::Sender<Pressures>) {
    let Some(source) = &board.config.app else {
        return pending().await;
    };
    info!(%source, "asking the application");
    let mut application = Application::new(source, board);
    loop {
        let begin = Instant::now();
        app_pressures.send_replace(application.pressures().await);
        sleep_until(begin + application.pause()).await;
    }
}

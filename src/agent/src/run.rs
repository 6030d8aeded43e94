//! The loops: sample, ask, serve.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use mbcas_core::annotations::{AppMetrics, Slo};
use mbcas_core::demand::{latency_pressure, queue_pressure};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::app::{Answer, AppError, Latency};
use crate::board::{Board, Smoother, Watch};
use crate::kernel::Kernel;
use crate::latency::Percentile;
use crate::mean::{Mean, Standing};
use crate::signal::{Pressures, Source};
use crate::ticker::Ticker;
use crate::{app, server};

/// Time between two questions to the application.
pub const ASK_EVERY: Duration = Duration::from_secs(1);

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
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        app_pressures.send_replace(application.pressures().await);
    }
}

/// What the application says, from one question to the next.
struct Application<'a> {
    source: &'a AppMetrics,
    slo: Option<Duration>,
    standing: Standing,
    percentile: Percentile,
    mean: Mean,
    watch_queue: Watch<AppError>,
    watch_latency: Watch<AppError>,
}

impl<'a> Application<'a> {
    fn new(source: &'a AppMetrics, board: &Board) -> Self {
        Self {
            source,
            slo: board.config.slo.map(Slo::as_duration),
            standing: Standing::default(),
            percentile: Percentile::new(),
            mean: Mean::default(),
            watch_queue: Watch::new(Source::AppQueue, board),
            watch_latency: Watch::new(Source::AppLatency, board),
        }
    }

    async fn pressures(&mut self) -> Pressures {
        let answer = match app::answer(self.source).await {
            Ok(answer) => answer,
            // The whole answer's failure is noted once, where it is looked for first.
            Err(why) if self.source.queue.is_some() => Answer {
                queue: Some(Err(why)),
                latency: None,
            },
            Err(why) => Answer {
                queue: None,
                latency: Some(Err(why)),
            },
        };
        let queue = answer.queue.and_then(|queue| self.watch_queue.note(queue));
        let now = std::time::Instant::now();
        let queue = self.standing.update(queue, now).map(queue_pressure);
        let latency = answer.latency;
        let latency = latency.and_then(|latency| self.watch_latency.note(latency));
        let seconds = match latency {
            Some(Latency::Seconds(seconds)) => Some(seconds),
            Some(Latency::Histogram(all)) => self.percentile.update(all, now),
            None => {
                self.percentile.forget();
                None
            }
        };
        let objective = self.slo.zip(seconds).map(|(slo, seconds)| {
            let pressure = latency_pressure(seconds, slo.as_secs_f64());
            self.mean.update(pressure, ASK_EVERY)
        });
        if objective.is_none() {
            self.mean = Mean::default();
        }
        Pressures::default()
            .with(Source::AppQueue, queue)
            .with(Source::AppLatency, objective)
    }
}

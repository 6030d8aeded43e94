//! The loops: sample, ask, serve.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{self, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::application::Application;
use crate::board::{Board, Smoother};
use crate::kernel::Kernel;
use crate::server;
use crate::signal::{Pressures, Source};

/// Room for the sampling thread's calls, in bytes: buffers of 8 KiB are the most of them. What is not used is not there.
const STACK: usize = 256 * 1024;

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
    tokio::select! {
        biased; // a reading comes before anybody who could ask for it
        () = token.cancelled() => {}
        () = sample(board, &app_pressures, &token) => {}
        () = ask(board, &app_pressures) => {}
        () = server::serve(Arc::clone(board), token.clone()) => {}
    }
}

/// Samples in a thread of its own, or, where there can be none, in this one.
async fn sample(board: &Arc<Board>, app: &watch::Sender<Pressures>, token: &CancellationToken) {
    let sampler = || Box::new(Sampler::new(Arc::clone(board), app.subscribe()));
    let Err(why) = sample_apart(sampler(), token.clone()) else {
        return pending().await;
    };
    warn!(%why, "no thread to sample in (is there a limit of processes?); sampling takes more CPU without");
    let mut sampler = sampler();
    loop {
        sleep(sampler.step()).await;
    }
}

/// Takes a first reading, and the others in a thread that sleeps in between until `token` is cancelled. That is the
/// cheapest way to wake up: a timer of the runtime's wakes it twice for a sleep of 100 ms, one of the kernel's takes
/// two calls more, and both all that the runtime does for an event.
fn sample_apart(mut sampler: Box<Sampler>, token: CancellationToken) -> io::Result<()> {
    let mut pause = sampler.step();
    let thread = thread::Builder::new().name("sampling".to_owned());
    let thread = thread.stack_size(STACK).spawn(move || {
        while !token.is_cancelled() {
            thread::sleep(pause);
            pause = sampler.step();
        }
    });
    thread.map(drop)
}

/// Puts readings on the board.
struct Sampler {
    board: Arc<Board>,
    app: watch::Receiver<Pressures>,
    kernel: Kernel,
    smoother: Smoother,
    last: Instant,
}

impl Sampler {
    fn new(board: Arc<Board>, app: watch::Receiver<Pressures>) -> Self {
        Self {
            app,
            kernel: Kernel::new(&board),
            board,
            smoother: Smoother::default(),
            last: Instant::now(),
        }
    }

    /// Takes one reading, and says how long to wait before the next.
    fn step(&mut self) -> Duration {
        let now = Instant::now();
        self.kernel.step(now, &self.board);
        let app = *self.app.borrow();
        let pressures = [Source::AppQueue, Source::AppLatency]
            .into_iter()
            .fold(self.kernel.pressures(), |all, source| {
                all.with(source, app.of(source))
            });
        let is_known = pressures.breakdown().greatest().is_some();
        let elapsed = now.saturating_duration_since(self.last);
        self.last = now;
        // Who cannot look has seen nothing: then the last reading ages.
        if is_known || !self.kernel.is_blind() {
            let reading = self.smoother.read(pressures, self.kernel.need(), elapsed);
            self.board.put(reading);
        }
        // What this took is a part of the pause. Half of it is left whatever that was: a look that is dear may not fill a core.
        let pace = self.kernel.pace();
        pace.saturating_sub(now.elapsed()).max(pace / 2)
    }
}

async fn ask(board: &Board, app_pressures: &watch::Sender<Pressures>) {
    let Some(source) = &board.config.app else {
        return pending().await;
    };
    info!(%source, "asking the application");
    let mut application = Application::new(source, board);
    loop {
        let begin = time::Instant::now();
        app_pressures.send_replace(application.pressures().await);
        sleep_until(begin + application.pause()).await;
    }
}

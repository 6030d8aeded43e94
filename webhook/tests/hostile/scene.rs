//! The stage: a server, an honest audience, and one attack at a time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mbcas_runtime::priority;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::attacks::Attack;
use super::client::Target;
use super::honest::{self, Seen, percentile};
use super::server::Server;

/// How much memory the server may have: an eighth less than the chart lets it.
const MOST_MEMORY: usize = 112 * 1024 * 1024;

/// The longest that an honest caller may wait: the API server's own patience.
const PATIENCE: Duration = Duration::from_secs(2);

/// One attack at a time: they share the machine, whose time is measured.
static STAGE: Mutex<()> = Mutex::new(());

/// At length, and with figures.
pub(crate) fn is_long() -> bool {
    std::env::var("MBCAS_HOSTILE").is_ok_and(|value| value == "long")
}

/// Runs an attack in turns with peace, and looks how honest callers fare.
pub(crate) fn play(name: &str, attack: fn() -> Attack) {
    let _stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let attack = attack();
    allow_many_files();
    let server = Server::start();
    let target = server.target();
    let audience = runtime("honest", false);
    // What the attackers' own work costs is not what the server lets them take.
    let attackers = runtime("attack", true);

    let (rounds, time) = if is_long() {
        (5, Duration::from_secs(3))
    } else {
        (2, Duration::from_millis(700))
    };
    let (mut peace, mut war) = (Seen::default(), Seen::default());
    let connection = audience.block_on(target.http2()).unwrap();
    audience.block_on(honest::ask(&target, &connection, time / 2));
    let (before, mut most) = (server.resident(), 0);
    for _ in 0..rounds {
        peace.add(audience.block_on(honest::ask(&target, &connection, time)));
        let end = CancellationToken::new();
        let attackers = attack.begin(&attackers, &target.for_strangers(), &end);
        war.add(audience.block_on(honest::ask(&target, &connection, time)));
        most = most.max(server.resident());
        end.cancel();
        attackers.wait();
    }
    report(name, &peace, &war, [before, most]);
    for runtime in [attackers, audience] {
        runtime.shutdown_background();
    }

    assert!(
        war.faults.is_empty(),
        "{name}: {:?}",
        &war.faults[..war.faults.len().min(5)]
    );
    assert!(
        peace.faults.is_empty(),
        "{name}, afterwards: {:?}",
        peace.faults
    );
    let worst = war.answers.iter().chain(&war.newcomers).max().unwrap();
    assert!(*worst < PATIENCE, "{name}: an answer took {worst:?}");
    assert!(
        most < MOST_MEMORY,
        "{name}: the server had {} kB",
        most / 1024
    );
}

/// Talks to a server that nobody else talks to.
pub(crate) fn alone(talk: impl AsyncFnOnce(Target)) {
    let _stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let audience = runtime("honest", false);
    audience.block_on(talk(server.target()));
}

fn report(name: &str, peace: &Seen, war: &Seen, memory: [usize; 2]) {
    let ms = |times: &[Duration], percent| percentile(times, percent).as_secs_f64() * 1e3;
    let megabytes = memory.map(|bytes| f64::from(u32::try_from(bytes / 1024).unwrap()) / 1024.0);
    println!(
        "{name:20} p50 {:5.2} -> {:5.2} ms  p99 {:6.2} -> {:6.2} ms  newcomers p50 {:5.2} -> {:5.2} ms  p99 {:6.2} -> {:6.2} ms  \
         of {} and {}  server {:.1} -> {:.1} MB",
        ms(&peace.answers, 50),
        ms(&war.answers, 50),
        ms(&peace.answers, 99),
        ms(&war.answers, 99),
        ms(&peace.newcomers, 50),
        ms(&war.newcomers, 50),
        ms(&peace.newcomers, 99),
        ms(&war.newcomers, 99),
        war.answers.len(),
        war.newcomers.len(),
        megabytes[0],
        megabytes[1],
    );
}

/// Threads of their own, which run when nobody else wants to if they `give_way`.
fn runtime(name: &str, give_way: bool) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .on_thread_start(move || {
            if give_way {
                priority::give_way();
            }
        })
        .enable_all()
        .build()
        .unwrap()
}

/// For this process, and those that it starts.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
}

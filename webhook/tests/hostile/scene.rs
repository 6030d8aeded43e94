//! The stage: a server, an honest audience, and one attack at a time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mbcas_certs::{Authority, LiveCertificate, server_name};
use mbcas_webhook::metrics::Metrics;
use mbcas_webhook::routes::{self, Judge};
use mbcas_webhook::{AgentSpec, Policy, serve};
use prometheus::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::attacks::Attack;
use super::client::Target;
use super::honest::{self, Seen, percentile};

/// By how much the process may grow, attackers included: they are in it too.
const MOST_GROWTH: usize = 96 * 1024 * 1024;

/// The longest that an honest caller may wait: the API server's own patience.
const PATIENCE: Duration = Duration::from_secs(2);

/// One attack at a time: they share the machine, and the process's memory is measured.
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
    let server = runtime("server", 0);
    let audience = runtime("honest", 0);
    // What the attackers' own work costs is not what the server lets them take.
    let attackers = runtime("attack", 19);
    let token = CancellationToken::new();
    let target = {
        let _context = server.enter();
        start(token.clone())
    };

    let (rounds, time) = if is_long() {
        (5, Duration::from_secs(3))
    } else {
        (2, Duration::from_millis(700))
    };
    let (mut peace, mut war) = (Seen::default(), Seen::default());
    let connection = audience.block_on(target.http2()).unwrap();
    audience.block_on(honest::ask(&target, &connection, time / 2));
    let (before, mut most) = (resident(), 0);
    for _ in 0..rounds {
        peace.add(audience.block_on(honest::ask(&target, &connection, time)));
        let end = CancellationToken::new();
        let attackers = attack.begin(&attackers, &target, &end);
        war.add(audience.block_on(honest::ask(&target, &connection, time)));
        most = most.max(resident());
        end.cancel();
        attackers.wait();
    }
    token.cancel();
    report(name, &peace, &war, most.saturating_sub(before));
    for runtime in [attackers, audience, server] {
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
    let growth = most.saturating_sub(before);
    assert!(
        growth < MOST_GROWTH,
        "{name}: the process grew by {} kB",
        growth / 1024
    );
}

fn report(name: &str, peace: &Seen, war: &Seen, growth: usize) {
    let ms = |times: &[Duration], percent| percentile(times, percent).as_secs_f64() * 1e3;
    println!(
        "{name:20} p50 {:5.2} -> {:5.2} ms  p99 {:6.2} -> {:6.2} ms  newcomers p50 {:5.2} -> {:5.2} ms  p99 {:6.2} -> {:6.2} ms  \
         of {} and {}  grew by {:.1} MB",
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
        f64::from(u32::try_from(growth / 1024).unwrap()) / 1024.0,
    );
}

/// A server in the runtime that this is called in.
fn start(token: CancellationToken) -> Target {
    let listener = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let now = SystemTime::now();
    let authority = Authority::generate(now).unwrap();
    let live = Arc::new(LiveCertificate::default());
    let leaf = authority.issue(&server_name("mbcas-system"), now).unwrap();
    live.set(leaf.certified());
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let router = routes::router(&Judge::alone(policy()), metrics.clone());
    tokio::spawn(serve::serve(listener, router, live, metrics, token));
    Target::new(address, &authority)
}

fn policy() -> Policy {
    let agent = AgentSpec::usual("registry.example.org/mbcas-demand-agent:1.2.3");
    Policy::new(agent, "64").unwrap()
}

/// Threads of their own, `nice` to the others.
fn runtime(name: &str, nice: i32) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .on_thread_start(move || {
            if nice > 0 {
                // On Linux this is the calling thread's own.
                let _ = rustix::process::nice(nice);
            }
        })
        .enable_all()
        .build()
        .unwrap()
}

/// What the process has in memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
}

//! The server, in a process of its own: this program once more, told to run one test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mbcas_certs::schedule::LEAF_LIFETIME;
use mbcas_certs::{Authority, LiveCertificate, server_name};
use mbcas_webhook::metrics::Metrics;
use mbcas_webhook::routes::{self, Judge};
use mbcas_webhook::{AgentSpec, Policy, serve};
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use super::client::Target;

/// Where the process that serves is to write its address, and what to trust.
const CALLED: &str = "MBCAS_HOSTILE_SERVER";

/// A server that runs until this is dropped.
pub(crate) struct Server {
    process: Child,
    called: PathBuf,
}

impl Server {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let called = std::env::temp_dir().join(format!("mbcas-hostile-{}", std::process::id()));
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::the_process_that_serves"])
            .env(CALLED, &called)
            // Built for debugging, h2 panics where a connection is cut in the middle, and to
            // find the lines of a backtrace takes 100 MB that are none of the server's.
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, called }
    }

    /// How to reach it.
    pub(crate) fn target(&self) -> Target {
        let mut tries = (0..1_000).map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            std::fs::read_to_string(&self.called).ok()
        });
        let called = tries.find_map(|called| called).expect("a server");
        let (address, pem) = called.split_once('\n').unwrap();
        Target::new(address.parse().unwrap(), pem)
    }

    /// What it has in memory, in bytes.
    pub(crate) fn resident(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.process.id())).unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.called);
    }
}

/// Not a test by itself: what [`Server`] starts.
#[test]
fn the_process_that_serves() {
    if let Some(called) = std::env::var_os(CALLED) {
        serve_until_killed(Path::new(&called));
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn serve_until_killed(called: &Path) {
    let listener = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let now = SystemTime::now();
    let authority = Authority::generate(now).unwrap();
    let live = Arc::new(LiveCertificate::default());
    let leaf = authority
        .issue(&server_name("mbcas-system"), now, LEAF_LIFETIME)
        .unwrap();
    live.set(leaf.certified());
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let agent = AgentSpec::usual("registry.example.org/mbcas-demand-agent:1.2.3");
    let judge = Judge::alone(Policy::new(agent, "64").unwrap());
    let router = routes::router(&judge, metrics.clone());
    // Whole or not at all.
    let draft = called.with_extension("draft");
    let pem = authority.certificate_pem();
    std::fs::write(&draft, format!("{address}\n{pem}")).unwrap();
    std::fs::rename(draft, called).unwrap();
    let token = CancellationToken::new();
    serve::serve(listener, router, live, metrics, token)
        .await
        .unwrap();
}

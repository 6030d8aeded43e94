//! Years of rotations in seconds: two replicas behind real TLS servers on
//! loopback, and callers that trust exactly what the live configurations said
//! some time ago, as API servers do whose watch lags. No handshake may fail.
//!
//! The wall clock and the monotonic clock are the test's own. The driver moves
//! them, in leaps of days, forward and back; in between it waits until each
//! caller has come through once more, so that none misses a state of the whole.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::tests::START;
use super::*;
use crate::fake::{ENTRIES, NAMESPACE, Shared, client, cluster};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// The wall clock, in seconds.
static WALL: AtomicU64 = AtomicU64::new(START);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(WALL.load(Ordering::SeqCst))
}

/// How far the driver's monotonic clock moves between two looks. A handshake
/// that is under way may see two of these besides its lag, and all of it must
/// stay below [`PUBLISHED_FOR`](crate::schedule::PUBLISHED_FOR).
const STEP: Duration = Duration::from_secs(10);

/// How late the callers are.
const LAGS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(13),
    Duration::from_secs(35),
];

#[derive(Debug)]
struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = WALL.load(Ordering::SeqCst);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// What callers and driver share.
struct Stage {
    cluster: Shared,
    replicas: Vec<SocketAddr>,
    start: Instant,
    /// The monotonic clock, in seconds since `start`.
    elapsed: AtomicU64,
    /// Handshakes that each caller has had.
    done: Vec<AtomicU64>,
    failed: Mutex<Vec<String>>,
    over: AtomicBool,
}

/// A TLS server that answers each review with an echo, for as long as the test runs.
fn serve(live: Arc<LiveCertificate>) -> SocketAddr {
    let config = ServerConfig::builder_with_provider(crate::provider());
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_cert_resolver(live);
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, stream);
            let mut review = [0; 6];
            if stream.read_exact(&mut review).is_ok() {
                let _ = stream.write_all(&review);
            }
        }
    });
    address
}

impl Stage {
    /// What an API server that is `lag` behind trusts when it calls `entry`. Go
    /// asks that an authority is valid itself, which rustls does not.
    fn roots(&self, entry: &str, lag: Duration) -> RootCertStore {
        let at = Duration::from_secs(self.elapsed.load(Ordering::SeqCst)).saturating_sub(lag);
        let pem = {
            let cluster = self.cluster.lock().unwrap();
            let known = cluster.history.iter().rev();
            let mut known = known.skip_while(|(since, _)| *since > self.start + at);
            known
                .next()
                .map(|(_, carried)| carried[entry].pem())
                .unwrap_or_default()
        };
        let mut roots = RootCertStore::empty();
        for der in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let der = der.unwrap();
            if crate::bundle::validity(&der).unwrap().holds(now()) {
                roots.add(der).unwrap();
            }
        }
        roots
    }

    /// One call on a connection of its own.
    fn call(address: SocketAddr, roots: RootCertStore) -> std::io::Result<()> {
        let config = ClientConfig::builder_with_details(crate::provider(), Arc::new(WallClock));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(crate::server_name(NAMESPACE)).unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(tls, TcpStream::connect(address)?);
        stream.write_all(b"review")?;
        let mut answer = [0; 6];
        stream.read_exact(&mut answer)
    }

    /// Calls without end, entry by entry and replica by replica.
    fn call_on(&self, caller: usize, lag: Duration) {
        for turn in caller.. {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let entry = ENTRIES[turn % ENTRIES.len()].1;
            let replica = turn / ENTRIES.len() % self.replicas.len();
            if let Err(why) = Self::call(self.replicas[replica], self.roots(entry, lag)) {
                let days = (WALL.load(Ordering::SeqCst) - START) / DAY;
                let failure =
                    format!("day {days}, {entry} by replica {replica}, {lag:?} late: {why}");
                self.failed.lock().unwrap().push(failure);
            }
            self.done[caller].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until each caller has begun and ended a call.
    fn let_them_call(&self) {
        let done = || self.done.iter().map(|done| done.load(Ordering::SeqCst));
        let before: Vec<_> = done().collect();
        let begun = std::time::Instant::now();
        while done().zip(&before).any(|(now, before)| now < before + 2) {
            assert!(begun.elapsed() < Duration::from_secs(30), "a caller hangs");
            thread::sleep(Duration::from_micros(200));
        }
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
        self.elapsed.fetch_add(time.as_secs(), Ordering::SeqCst);
    }
}

/// Counts what happened.
#[derive(Default)]
struct Tally {
    served: u32,
    switched: u32,
    retired: u32,
    leaps_back: u32,
}

impl Tally {
    fn add(&mut self, report: &Report) {
        for event in &report.events {
            match event {
                Event::Served => self.served += 1,
                Event::Switched => self.switched += 1,
                Event::Retired => self.retired += 1,
                Event::Replaced => panic!("nothing here is an emergency"),
                _ => {}
            }
        }
    }
}

/// How old the youngest certificate is that anybody goes by: so far the clock may leap back.
fn age_of_the_youngest(replicas: &[Keeper]) -> Duration {
    let leaves = replicas.iter().filter_map(|r| r.served.as_ref());
    let held = replicas.iter().filter_map(|r| r.held.as_ref());
    let signing = held.map(|held| held.signing().validity().not_before);
    leaves
        .map(|leaf| leaf.validity().not_before)
        .chain(signing)
        .map(|since| now().duration_since(since).unwrap())
        .min()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn ten_authorities_and_a_hundred_leaves_pass_and_no_handshake_fails() {
    let (first, shared) = cluster(now);
    let lives = [(); 2].map(|()| Arc::new(LiveCertificate::default()));
    let [a, b] = [first, client(&shared)];
    let mut replicas = [
        Keeper::new(a, NAMESPACE, Arc::clone(&lives[0])),
        Keeper::new(b, NAMESPACE, Arc::clone(&lives[1])),
    ];
    let stage = Arc::new(Stage {
        cluster: shared,
        replicas: lives.map(serve).to_vec(),
        start: Instant::now(),
        elapsed: AtomicU64::new(0),
        done: LAGS.iter().map(|_| AtomicU64::new(0)).collect(),
        failed: Mutex::default(),
        over: AtomicBool::new(false),
    });
    // A fresh install: nobody calls before the chart's readiness lets him.
    let mut tally = Tally::default();
    for replica in &mut replicas {
        tally.add(&replica.look().await);
    }
    stage.pass(STEP * 6).await;
    let callers = LAGS.iter().enumerate().map(|(caller, lag)| {
        let (stage, lag) = (Arc::clone(&stage), *lag);
        thread::spawn(move || stage.call_on(caller, lag))
    });
    let callers: Vec<_> = callers.collect();

    let mut step = 0_u64;
    while tally.switched < 10 || tally.retired < 10 || tally.served < 110 {
        step += 1;
        assert!(step < 1000, "rotations do not come to their end");
        // Rotations by age are 243 days apart; these are asked for, and are the same from there on.
        if step % 20 == 1 {
            stage.cluster.lock().unwrap().ask_for_rotation();
        }
        let moving = !step.is_multiple_of(3);
        let room = age_of_the_youngest(&replicas);
        if step.is_multiple_of(5) && room > Duration::from_secs(DAY + HOUR) {
            WALL.fetch_sub(DAY, Ordering::SeqCst);
            tally.leaps_back += 1;
        } else if moving {
            // A leaf has more than two days left whenever it is looked at.
            WALL.fetch_add(2 * DAY, Ordering::SeqCst);
        } else {
            WALL.fetch_add(HOUR, Ordering::SeqCst);
        }
        stage.let_them_call();
        // Sometimes the one looks first, sometimes the other, and sometimes only one of them.
        let order = if step.is_multiple_of(2) {
            [0, 1]
        } else {
            [1, 0]
        };
        for replica in order {
            if step % 7 == 3 + replica as u64 && !moving {
                continue;
            }
            let report = replicas[replica].look().await;
            assert!(report.ready && report.troubles.is_empty(), "{report:?}");
            tally.add(&report);
        }
        stage.let_them_call();
        stage.pass(STEP).await;
    }
    stage.over.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.join().unwrap();
    }
    let calls: u64 = stage
        .done
        .iter()
        .map(|done| done.load(Ordering::SeqCst))
        .sum();
    let failed = stage.failed.lock().unwrap();
    assert!(
        failed.is_empty(),
        "{} of {calls}: {:#?}",
        failed.len(),
        &failed[..failed.len().min(10)]
    );
    assert!(
        calls > 2000 && tally.leaps_back > 10,
        "{calls} calls, {} leaps back",
        tally.leaps_back
    );
    println!(
        "{calls} handshakes, {} authorities, {} leaves, {} leaps back, {} days, {step} steps",
        tally.switched,
        tally.served,
        tally.leaps_back,
        (WALL.load(Ordering::SeqCst) - START) / DAY
    );
}

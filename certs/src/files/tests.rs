use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::pair::tests::{Made, make};

const NAMESPACE: &str = "mbcas-system";
const NAME: &str = "mbcas-webhook.mbcas-system.svc";

/// A Secret's volume, as the kubelet keeps it: every version in a directory of
/// its own, `..data` a link to the newest, and links to the files through it.
struct Volume {
    root: PathBuf,
    version: u64,
}

impl Volume {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let root = std::env::temp_dir().join(format!("mbcas-certs-{}-{count}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        for file in [CERTIFICATE_FILE, KEY_FILE] {
            symlink(Path::new("..data").join(file), root.join(file)).unwrap();
        }
        Self { root, version: 0 }
    }

    /// The kubelet's AtomicWriter: a new directory, a new link, a rename over the old link, and away with the old one.
    fn swap(&mut self, chain: &str, key: &str) {
        let old = fs::read_link(self.root.join("..data")).ok();
        self.version += 1;
        let new = format!("..2026_11_23_{:02}", self.version);
        fs::create_dir(self.root.join(&new)).unwrap();
        fs::write(self.root.join(&new).join(CERTIFICATE_FILE), chain).unwrap();
        fs::write(self.root.join(&new).join(KEY_FILE), key).unwrap();
        symlink(&new, self.root.join("..data_tmp")).unwrap();
        fs::rename(self.root.join("..data_tmp"), self.root.join("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(self.root.join(old)).unwrap();
        }
    }

    fn serve(&mut self, made: &Made) {
        self.swap(&made.chain, &made.key);
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn files(volume: &Volume, clock: fn() -> SystemTime) -> (Files, Arc<LiveCertificate>) {
    let live = Arc::new(LiveCertificate::default());
    let files = Files::with_clock(volume.root.clone(), NAMESPACE, Arc::clone(&live), clock);
    (files, live)
}

fn serves(live: &LiveCertificate, made: &Made) -> bool {
    live.current()
        .is_some_and(|served| served.cert[0] == made.leaf)
}

#[tokio::test]
async fn every_swap_of_the_volume_is_served_and_what_is_half_done_is_not() {
    let mut volume = Volume::new();
    let (mut files, live) = files(&volume, SystemTime::now);
    let report = files.look().await;
    assert_eq!((report.ready, report.leaf), (false, None));
    assert!(
        report.troubles[0].contains("/tls.crt: No such file"),
        "{report:?}"
    );
    assert!(report.troubles[0].contains("mount a Secret with tls.crt and tls.key at "));

    let now = SystemTime::now();
    let mut last: Option<Made> = None;
    for round in 0..8 {
        let made = make(NAME, now, Duration::from_hours(24));
        // What a writer without the kubelet's care leaves for a moment, and what a wrong Secret holds.
        if let Some(last) = &last {
            let half = &made.chain[..made.chain.len() / 2];
            let other = make("elsewhere.example.org", now, Duration::from_hours(24));
            for (chain, key, said) in [
                (
                    made.chain.as_str(),
                    last.key.as_str(),
                    "tls.key does not belong to the first certificate",
                ),
                (
                    &last.chain,
                    &made.key,
                    "tls.key does not belong to the first certificate",
                ),
                (half, &made.key, "tls.crt holds no certificate in PEM form"),
                (&made.chain, "", "tls.key holds no private key in PEM form"),
                ("", "", "tls.crt holds no certificate in PEM form"),
                (
                    &other.chain,
                    &other.key,
                    "tls.crt is for elsewhere.example.org, not for mbcas-webhook.mbcas-system.svc",
                ),
            ] {
                volume.swap(chain, key);
                let report = files.look().await;
                assert!(report.ready && serves(&live, last), "round {round}: {said}");
                assert_eq!(report.events, [Event::Refused]);
                assert_eq!(report.troubles.len(), 1);
                let told = &report.troubles[0];
                assert!(told.contains(said), "{told}");
                assert!(
                    told.ends_with("The last good certificate is served on"),
                    "{told}"
                );
                let again = files.look().await;
                assert_eq!((again.events, again.troubles), (vec![], report.troubles));
            }
            fs::rename(volume.root.join("..data"), volume.root.join("..gone")).unwrap();
            let report = files.look().await;
            assert!(report.ready && serves(&live, last));
            assert!(report.troubles[0].starts_with("cannot read the certificate: "));
            fs::rename(volume.root.join("..gone"), volume.root.join("..data")).unwrap();
        }
        volume.serve(&made);
        let report = files.look().await;
        assert_eq!(
            (report.ready, &report.events[..]),
            (true, &[Event::Served][..]),
            "round {round}"
        );
        assert!(
            report.troubles.is_empty() && serves(&live, &made),
            "round {round}"
        );
        assert_eq!(report.leaf, Some(bundle_validity(&made)));
        assert_eq!(files.look().await.events, [], "the same content is no news");
        last = Some(made);
    }
}

fn bundle_validity(made: &Made) -> crate::Validity {
    crate::bundle::validity(&made.leaf).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_loop_serves_a_swap_within_two_seconds() {
    let mut volume = Volume::new();
    let (files, live) = files(&volume, SystemTime::now);
    let running = tokio::spawn(files.run(|_| {}));
    for _ in 0..5 {
        let made = make(NAME, SystemTime::now(), Duration::from_hours(24));
        volume.serve(&made);
        sleep(PERIOD * 2).await;
        assert!(serves(&live, &made));
    }
    running.abort();
}

#[tokio::test]
async fn readiness_ends_an_hour_before_the_certificate_and_comes_back_with_the_next() {
    static CLOCK: AtomicU64 = AtomicU64::new(1_800_000_000);
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(CLOCK.load(Ordering::SeqCst))
    }
    let mut volume = Volume::new();
    let (mut files, live) = files(&volume, now);
    let first = make(NAME, now(), Duration::from_hours(8));
    volume.serve(&first);
    assert!(files.look().await.ready);
    CLOCK.fetch_add(7 * 3600 + 1, Ordering::SeqCst);
    let report = files.look().await;
    assert!(!report.ready && serves(&live, &first));
    assert!(report.troubles[0].contains("is about to end"), "{report:?}");
    // One whose time has not come is taken when it has.
    let next = make(
        NAME,
        now() + Duration::from_hours(2),
        Duration::from_hours(24),
    );
    volume.serve(&next);
    let report = files.look().await;
    assert!(!report.ready && report.troubles[0].contains("not valid yet; check this node's clock"));
    CLOCK.fetch_add(2 * 3600, Ordering::SeqCst);
    let report = files.look().await;
    assert_eq!((report.ready, report.events), (true, vec![Event::Served]));
    let ended = make(
        NAME,
        now() - Duration::from_hours(48),
        Duration::from_hours(1),
    );
    volume.serve(&ended);
    let report = files.look().await;
    assert!(report.ready && report.troubles[0].contains("has ended; renew it"));
}

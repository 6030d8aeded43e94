use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path as StdPath, PathBuf};
use std::process::{Child, Command};

use proptest::prelude::*;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn stat(periods: u64, throttled: u64) -> String {
    format!(
        "usage_usec 1\nuser_usec 1\nsystem_usec 0\nnr_periods {periods}\n\
         nr_throttled {throttled}\nthrottled_usec 5\n"
    )
}

fn directory(path: &StdPath) -> OwnedFd {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

#[test]
fn the_share_of_throttled_periods_needs_five() {
    let mut throttling = Throttling::default();
    let begin = Instant::now();
    let mut at = |second: u32, periods, throttled| {
        throttling
            .update(stat(periods, throttled).as_bytes(), begin + second * SECOND)
            .unwrap()
    };
    assert_eq!(at(0, 1_000, 500), None);
    assert_eq!(at(1, 1_004, 504), None);
    assert_eq!(at(2, 1_008, 504), Some(0.5));
    // Too few to say anything new, for ten seconds; and then there was nothing to stop, for the average's half-life.
    assert_eq!(at(3, 1_009, 505), Some(0.5));
    assert_eq!(at(12, 1_009, 505), Some(0.25));
    assert_eq!(at(22, 1_019, 515), Some(0.625));
    // A new cgroup under the old name.
    assert_eq!(at(23, 3, 2), None);
    assert_eq!(at(24, 13, 2), Some(0.0));
}

#[test]
fn version_1_is_read_too_and_the_root_s_has_no_periods() {
    let mut throttling = Throttling::default();
    let begin = Instant::now();
    let one =
        |periods: u64| format!("nr_periods {periods}\nnr_throttled {periods}\nthrottled_time 5\n");
    assert_eq!(throttling.update(one(1).as_bytes(), begin).unwrap(), None);
    let share = throttling
        .update(one(11).as_bytes(), begin + SECOND)
        .unwrap();
    assert_eq!(share, Some(1.0));
    let root = b"usage_usec 5\nuser_usec 3\nsystem_usec 2\n";
    assert_eq!(Throttling::default().update(root, begin).unwrap(), None);
    for bad in ["", "nr_periods 5\n", "nr_periods x\nnr_throttled 1\n"] {
        assert!(
            Throttling::default().update(bad.as_bytes(), begin).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn stalls_are_a_share_of_the_time() {
    let mut stalls = Stalls::default();
    let begin = Instant::now();
    let mut at = |second: u32, total: u64| {
        let text = format!("some avg10=0 total=9\nfull avg10=0 total={total}\n");
        stalls
            .update(text.as_bytes(), begin + second * SECOND)
            .unwrap()
    };
    assert_eq!(at(0, 100), None);
    assert_eq!(at(1, 500_100), Some(0.5));
    assert_eq!(at(2, 0), None);
    assert!(stalls.update(b"some total=1\n", begin).is_err());
}

/// A directory like `/proc`, in which the process of each number has a cgroup with these files.
struct Proc(PathBuf);

impl Proc {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mbcas-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, process: u32, file: &str, text: &str) {
        let path = self.0.join(format!("{process}/root/sys/fs/cgroup/{file}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_first_process_that_may_be_looked_at_is_shown_until_it_goes() {
    let proc = Proc::new("cgroups");
    proc.put(8, "cpu/cpu.stat", &stat(0, 0));
    proc.put(9, "cpu.stat", &stat(0, 0));
    proc.put(9, "cpu.pressure", "some total=1\nfull total=0\n");
    let root = directory(&proc.0);
    let mut cgroup = Cgroup::default();
    let begin = Instant::now();
    let mut at = |second: u32, processes: &[u32]| {
        cgroup.sample(root.as_fd(), processes, begin + second * SECOND)
    };
    assert_eq!(at(0, &[7, 8, 9]).unwrap(), Stops::default());
    proc.put(8, "cpu/cpu.stat", &stat(10, 3));
    let stops = Stops {
        throttled: Some(0.3),
        stalled: None,
    };
    assert_eq!(at(1, &[7, 8, 9]).unwrap(), stops);
    assert_eq!(at(2, &[9]).unwrap(), Stops::default());
    proc.put(9, "cpu.stat", &stat(10, 10));
    proc.put(9, "cpu.pressure", "some total=1\nfull total=500000\n");
    let stops = Stops {
        throttled: Some(1.0),
        stalled: Some(0.5),
    };
    assert_eq!(at(3, &[9]).unwrap(), stops);
    proc.put(9, "cpu.stat", "garbage");
    assert!(at(4, &[9]).is_err());
    // Begun anew.
    proc.put(9, "cpu.stat", &stat(20, 10));
    assert_eq!(at(5, &[9]).unwrap(), Stops::default());
    assert_eq!(at(6, &[7]).unwrap(), Stops::default());
    assert_eq!(at(7, &[]).unwrap(), Stops::default());
}

/// A cgroup of this kernel with a tenth of a core for each period; None where none may be made.
struct Limited {
    path: PathBuf,
    burner: Child,
}

impl Limited {
    fn new() -> Option<Self> {
        let name = format!("mbcas-agent-test-{}", std::process::id());
        let one = StdPath::new("/sys/fs/cgroup/cpu").join(&name);
        let two = StdPath::new("/sys/fs/cgroup").join(&name);
        let (path, limit, value) = if one.parent()?.join("cpu.cfs_quota_us").exists() {
            (one, "cpu.cfs_quota_us", "10000")
        } else {
            (two, "cpu.max", "10000 100000")
        };
        fs::create_dir(&path).ok()?;
        let burner = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        let limited = Self { path, burner };
        fs::write(limited.path.join(limit), value).ok()?;
        fs::write(
            limited.path.join("cgroup.procs"),
            limited.burner.id().to_string(),
        )
        .ok()?;
        Some(limited)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.burner.kill();
        let _ = self.burner.wait();
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_limit_of_this_kernel_s_throttles() {
    let Some(limited) = Limited::new() else {
        // Making a cgroup needs root; the files' forms are tested above for everyone.
        return assert!(!rustix::process::geteuid().is_root() || !is_writable());
    };
    let root = directory(&limited.path);
    let mut throttling = Throttling::default();
    let file = Held::open(root.as_fd(), "cpu.stat").unwrap();
    let mut buffer = [0; 1024];
    let text = file.read(&mut buffer).unwrap();
    assert_eq!(throttling.update(text, Instant::now()).unwrap(), None);
    std::thread::sleep(Duration::from_millis(1_500));
    let text = file.read(&mut buffer).unwrap();
    let share = throttling.update(text, Instant::now()).unwrap().unwrap();
    assert!(share > 0.5, "{share}: {}", String::from_utf8_lossy(text));
}

fn is_writable() -> bool {
    ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup"].iter().any(|path| {
        fs::create_dir(format!("{path}/mbcas-agent-test-{}", std::process::id())).is_ok()
    })
}

proptest! {
    #[test]
    fn whatever_the_counters_do_a_share_is_one(counters in prop::collection::vec((any::<u64>(), any::<u64>(), 0u64..20_000), 1..20)) {
        let (mut throttling, mut now) = (Throttling::default(), Instant::now());
        for (periods, throttled, ms) in counters {
            now += Duration::from_millis(ms);
            if let Some(share) = throttling.update(stat(periods, throttled).as_bytes(), now).unwrap() {
                prop_assert!((0.0..=1.0).contains(&share), "{share}");
            }
        }
    }
}

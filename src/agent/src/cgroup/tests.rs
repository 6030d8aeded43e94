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
        stalls.update(text.as_bytes(), begin + second * SECOND)
    };
    assert_eq!(at(0, 100), None);
    assert_eq!(at(1, 500_100), Some(0.5));
    assert_eq!(at(2, 0), None);
    assert_eq!(stalls.update(b"some total=1\n", begin), None);
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

#[test]
fn a_kernel_without_full_pressures_tells_of_its_limit_all_the_same() {
    let proc = Proc::new("some");
    proc.put(9, "cpu.stat", &stat(0, 0));
    proc.put(9, "cpu.pressure", "some avg10=0.00 total=7\n");
    let root = directory(&proc.0);
    let mut cgroup = Cgroup::default();
    let mut at = |second: u32, now| {
        proc.put(9, "cpu.stat", &stat((10 * second).into(), second.into()));
        cgroup.sample(root.as_fd(), &[9], now).unwrap()
    };
    let begin = Instant::now();
    assert_eq!(at(0, begin), Stops::default());
    for second in 1..5 {
        let stops = at(second, begin + second * SECOND);
        assert!(stops.throttled.is_some() && stops.stalled.is_none());
    }
}

#[test]
fn a_counter_goes_on_past_the_greatest_number_that_it_can_hold() {
    let mut throttling = Throttling::default();
    let begin = Instant::now();
    let mut at = |second: u32, periods: i32, throttled: i32| {
        let text = format!("nr_periods {periods}\nnr_throttled {throttled}\n");
        throttling.update(text.as_bytes(), begin + second * SECOND)
    };
    assert_eq!(at(0, i32::MAX - 2, -6).unwrap(), None);
    assert_eq!(at(1, i32::MIN + 7, -1).unwrap(), Some(0.5));
    assert_eq!(at(2, i32::MIN + 17, 4).unwrap(), Some(0.5));
}

/// Where this kernel keeps the limits of CPU, and where its pressures, with version 1 for the rest.
const ONE: &str = "/sys/fs/cgroup/cpu";
const TWO: &str = "/sys/fs/cgroup";
const BESIDE: &str = "/sys/fs/cgroup/unified";

/// A process in cgroups of this test's own, one with a tenth of a core for each period, and one beside it where
/// version 2 is there for pressures alone. It sees one of them as a container sees its own.
struct Limited {
    groups: Vec<PathBuf>,
    burner: Child,
}

impl Limited {
    /// None where no cgroup may be made, and where there are no pressures if those are `shown`.
    fn new(name: &str, is_pressure_shown: bool) -> Option<Self> {
        let name = format!("mbcas-agent-{name}-{}", std::process::id());
        let is_one = StdPath::new(ONE).join("cpu.cfs_quota_us").exists();
        let (place, file, limit) = if is_one {
            (ONE, "cpu.cfs_quota_us", "10000")
        } else {
            (TWO, "cpu.max", "10000 100000")
        };
        let mut groups = vec![StdPath::new(place).join(&name)];
        if is_one && is_pressure_shown {
            groups.push(StdPath::new(BESIDE).join(&name));
        }
        let shown = if is_pressure_shown { TWO } else { place };
        let script = "mount --bind $0 $1 && while :; do :; done";
        for group in &groups {
            fs::create_dir(group).ok()?;
        }
        let burner = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(groups.last()?)
            .arg(shown)
            .spawn()
            .unwrap();
        let limited = Self { groups, burner };
        fs::write(limited.groups[0].join(file), limit).ok()?;
        for group in &limited.groups {
            fs::write(group.join("cgroup.procs"), limited.burner.id().to_string()).ok()?;
        }
        let has_pressures = limited.groups.last()?.join("cpu.pressure").exists();
        (has_pressures || !is_pressure_shown).then_some(())?;
        let mounts = format!("/proc/{}/mountinfo", limited.burner.id());
        let begin = Instant::now();
        while !fs::read_to_string(&mounts).unwrap().contains(&name) {
            assert!(begin.elapsed() < 10 * SECOND, "nothing is mounted");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(limited)
    }

    /// What its cgroup says for a second and a half.
    fn stops(&self) -> Stops {
        let root = directory(StdPath::new("/proc"));
        let (mut cgroup, own) = (Cgroup::default(), [self.burner.id()]);
        let first = cgroup.sample(root.as_fd(), &own, Instant::now()).unwrap();
        assert_eq!((first, cgroup.process), (Stops::default(), Some(own[0])));
        std::thread::sleep(Duration::from_millis(1_500));
        cgroup.sample(root.as_fd(), &own, Instant::now()).unwrap()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.burner.kill();
        let _ = self.burner.wait();
        for group in &self.groups {
            for _ in 0..100 {
                if fs::remove_dir(group).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

#[test]
fn a_limit_of_this_kernel_s_throttles() {
    let Some(limited) = Limited::new("limit", false) else {
        // Making a cgroup needs root; the files' forms are tested above for everyone.
        return assert!(!rustix::process::geteuid().is_root() || !is_writable());
    };
    let stops = limited.stops();
    // Nine tenths, or less where the machine is busy and leaves it not even its limit.
    assert!(stops.throttled > Some(0.2), "{stops:?}");
}

#[test]
fn a_limit_of_this_kernel_s_makes_all_wait() {
    let Some(limited) = Limited::new("stalls", true) else {
        // A kernel may keep no pressures besides.
        let has_pressures = [TWO, BESIDE].map(|two| StdPath::new(two).join("cpu.pressure"));
        let has_pressures = has_pressures.iter().any(|file| file.exists());
        return assert!(!rustix::process::geteuid().is_root() || !is_writable() || !has_pressures);
    };
    let stops = limited.stops();
    // The kernel may add up the last moments later.
    assert!(stops.stalled > Some(0.2), "{stops:?}");
}

fn is_writable() -> bool {
    [ONE, TWO].iter().any(|place| {
        let group = format!("{place}/mbcas-agent-test-{}", std::process::id());
        fs::create_dir(&group).is_ok() && fs::remove_dir(group).is_ok()
    })
}

proptest! {
    #[test]
    fn whatever_the_counters_do_a_share_is_one(counters in prop::collection::vec((any::<i32>(), any::<i32>(), 0u64..20_000), 1..20)) {
        let (mut throttling, mut now) = (Throttling::default(), Instant::now());
        for (periods, throttled, ms) in counters {
            now += Duration::from_millis(ms);
            let text = format!("nr_periods {periods}\nnr_throttled {throttled}\n");
            if let Some(share) = throttling.update(text.as_bytes(), now).unwrap() {
                prop_assert!((0.0..=1.0).contains(&share), "{share}");
            }
        }
    }
}

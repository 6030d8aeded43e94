//! What the kernel says about a container. Nothing is written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const ROOT: &str = "/sys/fs/cgroup";

/// A running container's cgroups.
#[derive(Debug)]
pub(crate) struct Cgroup {
    /// Of the controller `cpu`: quotas and processes.
    cpu: PathBuf,
    /// Of the controller `cpuacct`: usage. The same one in version 2.
    usage: PathBuf,
    /// Of the controller `memory`. The same one in version 2.
    memory: PathBuf,
}

impl Cgroup {
    /// The container with the runtime's id `id`, from a pod's `containerID` or bare.
    pub(crate) fn of(id: &str) -> Option<Self> {
        let id = id.rsplit('/').next()?;
        let find = |controller: &str| {
            let mounted = Path::new(ROOT).join(controller);
            folders(&mounted)
                .into_iter()
                .filter(|path| name(path).starts_with("kubepods"))
                .find_map(|path| containing(&path, id, 4))
        };
        let unified = Path::new(ROOT).join("cgroup.controllers").exists();
        let folder = |controller| find(if unified { "" } else { controller });
        Some(Self {
            cpu: folder("cpu")?,
            usage: folder("cpuacct")?,
            memory: folder("memory")?,
        })
    }

    /// The most memory that it may have, in bytes; `None` where there is no such limit.
    pub(crate) fn most_memory(&self) -> Option<u64> {
        let text = fs::read_to_string(self.memory.join("memory.max"));
        let text = text.unwrap_or_else(|_| self.read(&self.memory, "memory.limit_in_bytes"));
        text.trim().parse().ok()
    }

    /// The quota in millicores; `None` where there is none.
    pub(crate) fn quota(&self) -> Option<u64> {
        let (quota, period) = match fs::read_to_string(self.cpu.join("cpu.max")) {
            Ok(text) => {
                let (quota, period) = text.trim().split_once(' ').unwrap();
                (quota.to_owned(), period.to_owned())
            }
            Err(_) => (
                self.read(&self.cpu, "cpu.cfs_quota_us"),
                self.read(&self.cpu, "cpu.cfs_period_us"),
            ),
        };
        let quota: u64 = quota.trim().parse().ok()?;
        Some(quota * 1000 / period.trim().parse::<u64>().unwrap())
    }

    /// CPU time used since the container started.
    pub(crate) fn used(&self) -> Duration {
        if let Ok(text) = fs::read_to_string(self.usage.join("cpuacct.usage")) {
            return Duration::from_nanos(text.trim().parse().unwrap());
        }
        let text = self.read(&self.usage, "cpu.stat");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        Duration::from_micros(line.unwrap().parse().unwrap())
    }

    /// CPU time that all pods of the node have used together.
    pub(crate) fn used_by_all_pods(&self) -> Duration {
        let pods = self.usage.ancestors();
        let pods = pods
            .filter(|path| name(path).starts_with("kubepods"))
            .last();
        let usage = pods.unwrap().to_owned();
        Self {
            cpu: usage.clone(),
            memory: usage.clone(),
            usage,
        }
        .used()
    }

    /// Its processes, as this machine numbers them.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let text = self.read(&self.cpu, "cgroup.procs");
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// What its processes have in memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory_of("Rss:")
    }

    /// The same without what is a file's, their program among it.
    pub(crate) fn anonymous(&self) -> u64 {
        self.memory_of("Anonymous:")
    }

    /// A line of `smaps_rollup` (`proc_pid_smaps(5)`), which is exact, all processes together.
    fn memory_of(&self, line: &str) -> u64 {
        let pids = self.processes();
        assert!(!pids.is_empty(), "{self:?} has no process");
        let of = |pid: &i32| {
            let rollup =
                fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = rollup.lines().find_map(|found| found.strip_prefix(line));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0) * 1024
        };
        pids.iter().map(of).sum()
    }

    /// Kills its processes and no other, and says how many there were.
    pub(crate) fn kill(&self) -> usize {
        self.signal(Signal::KILL)
    }

    /// Stops its processes until what it gives is dropped.
    pub(crate) fn stop(&self) -> Stopped<'_> {
        self.signal(Signal::STOP);
        Stopped(self)
    }

    /// Sends `signal` to its processes and no other, and says how many there were.
    pub(crate) fn signal(&self, signal: Signal) -> usize {
        let processes = self.processes();
        for number in &processes {
            let pid = Pid::from_raw(*number).expect("a process of another PID namespace");
            kill_process(pid, signal).unwrap();
        }
        processes.len()
    }

    fn read(&self, folder: &Path, file: &str) -> String {
        let text = fs::read_to_string(folder.join(file));
        text.unwrap_or_else(|why| panic!("{self:?}: {file}: {why}"))
    }
}

/// A container whose processes are stopped; dropped, they go on.
pub(crate) struct Stopped<'a>(&'a Cgroup);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default()
}

/// The folder at most `depth` below `path` that has `id` in its name.
fn containing(path: &Path, id: &str, depth: u32) -> Option<PathBuf> {
    if name(path).contains(id) {
        return Some(path.to_owned());
    }
    let deeper = depth.checked_sub(1)?;
    folders(path)
        .iter()
        .find_map(|folder| containing(folder, id, deeper))
}

/// Groups come and go meanwhile: what is gone is not there.
fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// CPU time that the whole machine has used since it started (`proc_stat(5)`,
/// all of the first line but idle, iowait and the guests, which count as user).
#[allow(clippy::cast_precision_loss)] // some 10^9 ticks
pub(crate) fn used_by_the_machine() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let fields = text.lines().next().unwrap().split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.map(|field| field.parse().unwrap()).collect();
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().map(|at| ticks[*at]).sum();
    Duration::from_secs_f64(busy as f64 / rustix::param::clock_ticks_per_second() as f64)
}

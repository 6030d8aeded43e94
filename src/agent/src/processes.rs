//! The application's processes, where the pod shares its process namespace.
//!
//! With `shareProcessNamespace: true` the agent sees the processes of every container of its pod.
//! The application's are those that are not in the agent's own container and are not the first,
//! which is the pause process. Which container a process is in is told by `/proc/PID/cgroup`: it
//! reads the same for all processes of one container, whatever cgroup namespace it is read from.
//! That of another user may be read too. Containers cannot be told apart by name: with several
//! beside the agent's, all of them are the application.
//!
//! A pod with `hostPID: true` sees the processes of the whole machine, and those are not its own.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, RawDir, SeekFrom, openat, readlinkat_raw, seek};
use rustix::io::Errno;
use thiserror::Error;

use crate::held::{Path, number, read_once};

/// Bytes of `/proc/PID/cgroup` that are compared: a path of Kubernetes' has some 200, and version 1
/// writes a line for each controller.
const CGROUP_MAX: usize = 4096;

/// Bytes of a directory that are read at a time.
const LISTING: usize = 4096;

/// The most processes and threads that are looked at; a pod has some hundreds.
pub const MOST: usize = 20_000;

/// The process namespace of the machine itself: `PROC_PID_INIT_INO` of `linux/proc_ns.h`.
const MACHINE: &[u8] = b"pid:[4026531836]";

/// Why the application's processes are unknown.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// `/proc` cannot be read.
    #[error("cannot read /proc ({0}); what the application's threads wait for is unknown")]
    Read(Errno),
    /// There are more than any pod has.
    #[error(
        "there are more than {MOST} processes or threads; what the application's wait for is unknown"
    )]
    TooMany,
}

/// A directory that is listed again and again, without allocation.
#[derive(Debug)]
pub(crate) struct Listing(Box<[MaybeUninit<u8>; LISTING]>);

impl Listing {
    pub(crate) fn new() -> Self {
        Self(Box::new([MaybeUninit::uninit(); LISTING]))
    }

    /// Shows `each` name in `dir`, from its beginning, that is a number.
    pub(crate) fn numbers(
        &mut self,
        dir: impl AsFd,
        mut each: impl FnMut(u32) -> Result<(), ProcessError>,
    ) -> Result<(), ProcessError> {
        seek(&dir, SeekFrom::Start(0)).map_err(ProcessError::Read)?;
        let mut entries = RawDir::new(dir, &mut self.0[..]);
        let digits = |name: &CStr| number(name.to_bytes()).and_then(|id| u32::try_from(id).ok());
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => {
                    if let Some(id) = digits(entry.file_name()) {
                        each(id)?;
                    }
                }
                Err(Errno::INTR) => {}
                Err(why) => return Err(ProcessError::Read(why)),
            }
        }
        Ok(())
    }
}

/// Finds the application's processes.
#[derive(Debug)]
pub struct Processes {
    root: OwnedFd,
    own: Vec<u8>,
    buffer: Box<[u8; CGROUP_MAX]>,
    listing: Listing,
    /// Whether each process of the last look is the application's, by its number.
    known: Vec<(u32, bool)>,
    seen: Vec<(u32, bool)>,
    found: Vec<u32>,
}

impl Processes {
    /// Looks into `/proc`. None in the machine's own process namespace.
    ///
    /// # Errors
    /// [`ProcessError::Read`].
    pub fn open() -> Result<Option<Self>, ProcessError> {
        let mut buffer = [MaybeUninit::uninit(); 64];
        let (namespace, _) =
            readlinkat_raw(CWD, "/proc/self/ns/pid", &mut buffer).map_err(ProcessError::Read)?;
        if *namespace == *MACHINE {
            return Ok(None);
        }
        Self::under("/proc").map(Some)
    }

    /// Looks into a directory like `/proc`.
    ///
    /// # Errors
    /// [`ProcessError::Read`].
    pub fn under(root: &str) -> Result<Self, ProcessError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, root, flags, Mode::empty()).map_err(ProcessError::Read)?;
        let mut buffer = Box::new([0; CGROUP_MAX]);
        let path = Path::of(format_args!("self/cgroup"));
        let own = read_once(&root, &path, &mut buffer[..]).map_err(ProcessError::Read)?;
        Ok(Self {
            own: own.to_vec(),
            root,
            buffer,
            listing: Listing::new(),
            known: Vec::new(),
            seen: Vec::new(),
            found: Vec::new(),
        })
    }

    /// Looks again. A process whose number another one of the pod's takes over between two looks
    /// is taken for the old one; numbers come again after some 30,000 at the soonest.
    ///
    /// # Errors
    /// [`ProcessError`]; then none is found.
    pub fn look(&mut self) -> Result<(), ProcessError> {
        let Self {
            root,
            own,
            buffer,
            listing,
            known,
            seen,
            found,
        } = self;
        seen.clear();
        found.clear();
        listing.numbers(&*root, |id| {
            let before = known.binary_search_by_key(&id, |(known, _)| *known);
            let counts = if let Ok(at) = before {
                known[at].1
            } else {
                let path = Path::of(format_args!("{id}/cgroup"));
                match read_once(&*root, &path, &mut buffer[..]) {
                    Ok(cgroup) => id != 1 && cgroup != own.as_slice(),
                    // It has vanished, or is none that we may know of.
                    Err(_) => return Ok(()),
                }
            };
            if seen.len() == MOST {
                return Err(ProcessError::TooMany);
            }
            seen.push((id, counts));
            Ok(())
        })?;
        seen.sort_unstable();
        std::mem::swap(known, seen);
        let ours = known.iter().filter(|(_, counts)| *counts);
        found.extend(ours.map(|(id, _)| *id));
        Ok(())
    }

    /// The application's processes as of the last look, in the order of their numbers.
    pub fn found(&self) -> &[u32] {
        &self.found
    }

    /// The directory that they were found in.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    const OWN: &str = "0::/\n";
    const APP: &str = "0::/../cri-containerd-0123.scope\n";

    /// A directory like the `/proc` of a pod, with the cgroup of each process.
    struct Proc(PathBuf);

    impl Proc {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mbcas-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            let proc = Self(path);
            proc.put("self", OWN);
            proc
        }

        fn put(&self, id: &str, cgroup: &str) {
            fs::create_dir_all(self.0.join(id)).unwrap();
            fs::write(self.0.join(id).join("cgroup"), cgroup).unwrap();
        }

        fn processes(&self) -> Processes {
            Processes::under(self.0.to_str().unwrap()).unwrap()
        }
    }

    impl Drop for Proc {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_application_s_are_neither_the_pause_process_nor_the_agent_s() {
        let proc = Proc::new("pod");
        proc.put("1", "0::/../cri-containerd-pause.scope\n");
        proc.put("7", OWN);
        proc.put("30", APP);
        proc.put("4", APP);
        proc.put("tty", APP);
        let mut processes = proc.processes();
        processes.look().unwrap();
        assert_eq!(processes.found(), [4, 30]);
        fs::remove_dir_all(proc.0.join("4")).unwrap();
        proc.put("31", APP);
        proc.put("32", OWN);
        // One that vanishes while it is looked at.
        fs::create_dir_all(proc.0.join("33")).unwrap();
        processes.look().unwrap();
        assert_eq!(processes.found(), [30, 31]);
    }

    #[test]
    fn a_pod_that_shares_nothing_has_none() {
        let proc = Proc::new("alone");
        proc.put("1", OWN);
        let mut processes = proc.processes();
        processes.look().unwrap();
        assert!(processes.found().is_empty());
    }

    #[test]
    fn this_kernel_s_own_processes_are_read() {
        let mut processes = Processes::under("/proc").unwrap();
        processes.look().unwrap();
        let own = std::process::id();
        assert!(processes.known.iter().any(|(id, ours)| *id == own && !ours));
        assert!(!processes.found().contains(&own));
        // Whether all of it may be looked at depends on where the tests run.
        let link = fs::read_link("/proc/self/ns/pid").unwrap();
        let machine = link.as_os_str().as_encoded_bytes() == MACHINE;
        assert_eq!(Processes::open().unwrap().is_none(), machine);
    }
}

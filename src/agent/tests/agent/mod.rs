//! The binary itself, as tests run it.

#![allow(dead_code)] // what one file of tests uses, another need not

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mbcas_core::DemandReport;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, geteuid, kill_process};

const BINARY: &str = env!("CARGO_BIN_EXE_mbcas-demand-agent");

/// An agent that runs, and is ended whatever happens.
pub(crate) struct Agent {
    pub(crate) child: Child,
    log: BufReader<PipeReader>,
    pub(crate) address: SocketAddr,
}

/// Starts one on a port of its own, with this environment and no other.
pub(crate) fn start(environment: &[(&str, &str)]) -> Agent {
    let (log, told) = pipe().unwrap();
    start_with(environment, log, told)
}

/// The same, with a log that is written to `told` and can be read from `log`.
pub(crate) fn start_with(environment: &[(&str, &str)], log: PipeReader, told: PipeWriter) -> Agent {
    run(Command::new(BINARY), environment, log, told)
}

/// The same, where there may be no more processes, nor threads. Root is told that nowhere, so it is somebody else, whom
/// nothing else is likely to be.
pub(crate) fn start_without_threads(environment: &[(&str, &str)]) -> Agent {
    let mut command = Command::new("prlimit");
    if geteuid().is_root() {
        command = Command::new("setpriv");
        let another = "--reuid=64242 --clear-groups --inh-caps=+dac_override --ambient-caps=+dac_override prlimit";
        command.args(another.split(' '));
    }
    command.args(["--nproc=1", BINARY]);
    let (log, told) = pipe().unwrap();
    run(command, environment, log, told)
}

fn run(
    mut command: Command,
    environment: &[(&str, &str)],
    log: PipeReader,
    told: PipeWriter,
) -> Agent {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let child = command
        .env_clear()
        .env("MBCAS_AGENT_ADDR", address.to_string())
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .stderr(told)
        .spawn()
        .unwrap();
    Agent {
        child,
        log: BufReader::new(log),
        address,
    }
}

impl Agent {
    /// Reads the log up to the line that holds `text`.
    pub(crate) fn says(&mut self, text: &str) -> String {
        let mut all = String::new();
        loop {
            let begin = all.len();
            self.wait_for_more(&all);
            assert_ne!(
                self.log.read_line(&mut all).unwrap(),
                0,
                "no {text:?} in {all}"
            );
            if all[begin..].contains(text) {
                return all;
            }
        }
    }

    /// Comes back when there is something to read, or the log has ended.
    fn wait_for_more(&self, all: &str) {
        let mut log = [PollFd::new(self.log.get_ref(), PollFlags::IN)];
        let most = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        let is_there = !self.log.buffer().is_empty() || poll(&mut log, Some(&most)).unwrap() > 0;
        assert!(is_there, "a minute after {all}");
    }

    /// The first line of the answer, and its body.
    pub(crate) fn ask(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    /// Asks until a sample has been taken.
    pub(crate) fn report(&self) -> DemandReport {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let (status, body) = self.ask("/demand");
            if status.contains("200") {
                return DemandReport::parse(body.as_bytes(), "shop", "web-1", "app")
                    .unwrap()
                    .0;
            }
            assert!(Instant::now() < deadline, "{status} {body}");
        }
    }

    /// A pressure as it is shown to people.
    pub(crate) fn pressure(&self, source: &str) -> Option<f64> {
        let name = format!("mbcas_agent_pressure{{source=\"{source}\"}} ");
        let (_, metrics) = self.ask("/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        value.map(|value| value.parse().unwrap())
    }

    /// A file of the kernel's about it.
    pub(crate) fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    /// The rest of the log of one that is ended here.
    pub(crate) fn rest(mut self) -> String {
        self.child.kill().unwrap();
        let mut all = String::new();
        self.log.read_to_string(&mut all).unwrap();
        all
    }

    /// The code that it ends with after a signal, and how long that took.
    pub(crate) fn told(mut self, signal: Signal) -> (Option<i32>, Duration) {
        let begin = Instant::now();
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        (self.child.wait().unwrap().code(), begin.elapsed())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whom an agent speaks for.
pub(crate) const SUBJECT: [(&str, &str); 3] = [
    ("MBCAS_NAMESPACE", "shop"),
    ("MBCAS_POD", "web-1"),
    ("MBCAS_CONTAINER", "app"),
];

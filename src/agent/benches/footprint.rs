//! What the agent costs a pod: memory, CPU, time to start and to end.
//!
//! ```text
//! cargo bench -p mbcas-agent --bench footprint -- AGENT [--scrapes N] [--idle SECONDS]
//!     [--beside PROGRAM [-- ARGUMENT...]]
//! ```
//!
//! AGENT is the static binary that the image holds, and `MBCAS_BENCH_TUNABLES` what the image sets as
//! `GLIBC_TUNABLES`. PROGRAM is measured in the same way, in turns with the agent; every `{}` in its
//! arguments becomes the address that it is to serve `/metrics` on, and without any argument it gets
//! `--web.listen-address={}`, as node_exporter wants it.
//!
//! One column is a node that is full of pods: [`CROWD`] agents at once, each in a network of its own where one other
//! socket listens. There most of what a look needs is in the caches. It takes `unshare` and `ip`, and the right to make
//! networks.
//!
//! The last column is what no program that wakes up ten times a second comes below on this
//! machine: a process that sleeps for 100 ms at a time and does nothing else.

#![allow(clippy::unwrap_used, clippy::panic)] // a bench that cannot go on says so and ends

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Scrapes on one connection: the agent closes it after half a minute anyway.
const KEPT_ALIVE: u32 = 500;

/// Starts and ends of which the best counts; the others show what else the machine does.
const STARTS: usize = 10;

/// The argument that makes this program the one that only sleeps.
const SLEEPER: &str = "--only-sleep";

/// The argument that makes it one that only listens, until its input ends.
const LISTENER: &str = "--only-listen";

/// Agents of a node that is full of pods.
const CROWD: usize = 40;

/// The variable with the image's settings of the C library.
const TUNABLES: &str = "MBCAS_BENCH_TUNABLES";

struct Options {
    agent: String,
    scrapes: u32,
    idle: Duration,
    beside: Option<(String, Vec<String>)>,
}

impl Options {
    fn read() -> Self {
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        let (mut agent, mut beside) = (None, None);
        let (mut scrapes, mut idle) = (10_000, Duration::from_secs(30));
        while let Some(word) = words.next() {
            let mut number = || -> u32 {
                let value = words.next().and_then(|value| value.parse().ok());
                value.unwrap_or_else(|| usage(&format!("{word} needs a number after it")))
            };
            match word.as_str() {
                "--scrapes" => scrapes = number(),
                "--idle" => idle = Duration::from_secs(number().into()),
                "--beside" => beside = words.next(),
                "--" => break,
                _ if word.starts_with('-') || agent.is_some() => {
                    usage(&format!("{word:?} is not known"))
                }
                _ => agent = Some(word),
            }
        }
        let mut arguments: Vec<_> = words.collect();
        if arguments.is_empty() {
            arguments.push("--web.listen-address={}".to_owned());
        }
        Self {
            agent: agent.unwrap_or_else(|| usage("which agent? its path is the first argument")),
            scrapes,
            idle,
            beside: beside.map(|program| (program, arguments)),
        }
    }
}

fn usage(why: &str) -> ! {
    eprintln!("footprint: {why}");
    eprintln!(
        "usage: footprint AGENT [--scrapes N] [--idle SECONDS] [--beside PROGRAM [-- ARGUMENT...]]"
    );
    std::process::exit(2)
}

/// A program that is measured, and is ended whatever happens.
struct Running(Child);

impl Running {
    fn start(program: &str, arguments: &[String], address: SocketAddr) -> Self {
        let arguments = arguments
            .iter()
            .map(|word| word.replace("{}", &address.to_string()));
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("MBCAS_NAMESPACE", "shop")
            .env("MBCAS_POD", "web-1")
            .env("MBCAS_CONTAINER", "app")
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("MBCAS_AGENT_ADDR", address.to_string())
            .envs(std::env::var(TUNABLES).map(|how| ("GLIBC_TUNABLES", how)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap_or_else(|why| panic!("cannot start {program}: {why}")))
    }

    fn wait_until_it_serves(&mut self, address: SocketAddr) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            let ended = self.0.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "it has ended instead of serving: {ended:?}"
            );
            assert!(Instant::now() < deadline, "it does not serve {address}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// A line of its `/proc/PID/status`, in kB.
    fn kilobytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_whitespace().next());
        value.and_then(|value| value.parse().ok()).unwrap()
    }

    /// CPU time of all its threads.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let of_one = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.flatten().filter_map(of_one).sum())
    }

    /// The share of a core that it takes, in percent, while nobody asks it anything.
    fn share(&self, time: Duration) -> f64 {
        let (begin, before) = (Instant::now(), self.cpu());
        std::thread::sleep(time);
        let used = self.cpu().saturating_sub(before);
        100.0 * used.as_secs_f64() / begin.elapsed().as_secs_f64()
    }

    fn end(mut self) -> Duration {
        let begin = Instant::now();
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap();
        begin.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Asks for `/metrics` so many times, on connections that are kept.
fn scrape(address: SocketAddr, mut times: u32) {
    while times > 0 {
        let mut reader = BufReader::new(TcpStream::connect(address).unwrap());
        for _ in 0..times.min(KEPT_ALIVE) {
            let question = b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n";
            reader.get_mut().write_all(question).unwrap();
            read_answer(&mut reader);
            times -= 1;
        }
    }
}

/// Reads one answer to its end, whichever way it says where that is.
fn read_answer(reader: &mut BufReader<TcpStream>) {
    let mut length = None;
    loop {
        let head = line(reader).to_ascii_lowercase();
        if head.is_empty() {
            break;
        }
        let value = head.strip_prefix("content-length:");
        length = value.map(|value| value.trim().parse().unwrap()).or(length);
    }
    if let Some(length) = length {
        return skip(reader, length);
    }
    loop {
        let chunk = usize::from_str_radix(&line(reader), 16).unwrap();
        skip(reader, chunk);
        line(reader);
        if chunk == 0 {
            return;
        }
    }
}

fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    assert_ne!(
        reader.read_line(&mut line).unwrap(),
        0,
        "the answer breaks off"
    );
    line.trim_end().to_owned()
}

fn skip(reader: &mut BufReader<TcpStream>, length: usize) {
    reader.read_exact(&mut vec![0; length]).unwrap();
}

/// The figures of one program, as they are printed.
fn measure(program: &str, arguments: &[String], options: &Options) -> Vec<String> {
    let milliseconds = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let (address, begin) = (free_address(), Instant::now());
        let mut running = Running::start(program, arguments, address);
        running.wait_until_it_serves(address);
        starts.push((begin.elapsed(), running.end()));
    }
    let ready = starts.iter().map(|(ready, _)| *ready).min().unwrap();
    let gone = starts.iter().map(|(_, gone)| *gone).min().unwrap();

    let address = free_address();
    let mut running = Running::start(program, arguments, address);
    running.wait_until_it_serves(address);
    std::thread::sleep(Duration::from_secs(2));
    let resident = running.kilobytes("VmRSS:");
    let share = running.share(options.idle);
    scrape(address, options.scrapes);
    let size = fs::metadata(program).unwrap().len();
    vec![
        size.div_ceil(1_000).to_string(),
        resident.to_string(),
        running.kilobytes("VmRSS:").to_string(),
        running.kilobytes("RssAnon:").to_string(),
        format!("{share:.3}"),
        milliseconds(ready),
        milliseconds(gone),
    ]
}

/// The share of a core that each of [`CROWD`] agents takes, in percent.
fn crowd_share(agent: &str, time: Duration) -> String {
    let ours = std::env::current_exe().unwrap();
    let script = r#"ip link set lo up && exec 3<&0 && { "$1" "$2" <&3 & exec "$3" 3<&-; }"#;
    let words = [
        "--net",
        "sh",
        "-c",
        script,
        "pod",
        ours.to_str().unwrap(),
        LISTENER,
        agent,
    ];
    let words = words.map(str::to_owned);
    let address = SocketAddr::from(([127, 0, 0, 1], 9_465));
    let agents: Vec<_> = (0..CROWD)
        .map(|_| Running::start("unshare", &words, address))
        .collect();
    std::thread::sleep(Duration::from_secs(10));
    let of_each = |agent: &Running| {
        let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", agent.0.id())).unwrap();
        let listening = sockets.matches(" 00000000:0000 0A ").count();
        assert_eq!(listening, 2, "not an agent and an application:\n{sockets}");
        agent.cpu()
    };
    let all = || -> Duration { agents.iter().map(of_each).sum() };
    let (begin, before) = (Instant::now(), all());
    std::thread::sleep(time);
    let used = all().saturating_sub(before) / u32::try_from(CROWD).unwrap();
    format!(
        "{:.3}",
        100.0 * used.as_secs_f64() / begin.elapsed().as_secs_f64()
    )
}

/// The share of a core that waking up takes by itself, in percent.
fn sleeper_share(time: Duration) -> String {
    let program = std::env::current_exe().unwrap();
    let arguments = [SLEEPER.to_owned()];
    let sleeper = Running::start(program.to_str().unwrap(), &arguments, free_address());
    std::thread::sleep(Duration::from_secs(1));
    format!("{:.3}", sleeper.share(time))
}

fn main() {
    if std::env::args().any(|word| word == SLEEPER) {
        loop {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    if std::env::args().any(|word| word == LISTENER) {
        let _app = TcpListener::bind("127.0.0.1:0").unwrap();
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
        return;
    }
    let options = Options::read();
    // What the agent looks at.
    let _app = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut columns = vec![("the agent", measure(&options.agent, &[], &options))];
    if let Some((program, arguments)) = &options.beside {
        let name = program.rsplit('/').next().unwrap_or(program);
        columns.push((name, measure(program, arguments, &options)));
        columns.push(("the agent again", measure(&options.agent, &[], &options)));
    }
    let mut one_of_many = vec![String::new(); columns[0].1.len()];
    one_of_many[4] = crowd_share(&options.agent, options.idle);
    let crowd = format!("each of {CROWD} agents");
    columns.push((&crowd, one_of_many));
    let mut only_sleeps = vec![String::new(); columns[0].1.len()];
    only_sleeps[4] = sleeper_share(options.idle);
    columns.push(("only sleeping", only_sleeps));

    let scrapes = format!("resident after {} scrapes, kB", options.scrapes);
    let anonymous = format!("anonymous after {} scrapes, kB", options.scrapes);
    let idle = format!("CPU over {} s idle, % of a core", options.idle.as_secs());
    let rows = [
        "binary, kB (1000 bytes)",
        "resident after 2 s, kB",
        &scrapes,
        &anonymous,
        &idle,
        "ready, ms (best of 10)",
        "ended by SIGTERM, ms (best of 10)",
    ];
    print!("{:36}", "");
    for (name, _) in &columns {
        print!("{name:>28}");
    }
    println!();
    for (row, name) in rows.iter().enumerate() {
        print!("{name:36}");
        for (_, values) in &columns {
            print!("{:>28}", values[row]);
        }
        println!();
    }
}

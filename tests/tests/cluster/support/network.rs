//! Programs in a pod's own network, and what networks put between the market and an agent.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::core::v1::Pod;
use mbcas_core::demand::AGENT_PORT;

use super::space::cgroup;

/// Where a mesh's proxy takes the connections to all ports of its pod: Istio's number.
const PROXY_PORT: u16 = 15006;

/// A process of the application in `pod`, by which its network is found.
fn process(pod: &Pod) -> i32 {
    cgroup(pod, "app").unwrap().processes()[0]
}

/// `program` in the network of `pod`.
pub(crate) fn inside(pod: &Pod, program: &str) -> Command {
    beside(process(pod), program)
}

/// `program` in the network that this process is in.
fn beside(process: i32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--net", "--target", &process.to_string(), program]);
    command
}

/// A rule for packets to the agent's port; taken out when it is dropped.
pub(crate) struct Rule {
    process: i32,
    table: &'static str,
    what: Vec<String>,
}

impl Rule {
    /// What comes gets no answer: how network policies deny.
    pub(crate) fn deny(pod: &Pod) -> Self {
        Self::put(pod, "filter", "INPUT", "DROP")
    }

    /// What comes is refused at once: how some deny instead.
    pub(crate) fn refuse(pod: &Pod) -> Self {
        Self::put(pod, "filter", "INPUT", "REJECT --reject-with tcp-reset")
    }

    fn put(pod: &Pod, table: &'static str, chain: &str, target: &str) -> Self {
        let what = format!("{chain} --protocol tcp --dport {AGENT_PORT} --jump {target}");
        let rule = Self {
            process: process(pod),
            table,
            what: what.split(' ').map(str::to_owned).collect(),
        };
        assert!(rule.iptables("--append"), "no rule {what:?}");
        rule
    }

    fn iptables(&self, act: &str) -> bool {
        let mut iptables = beside(self.process, "iptables");
        iptables.args(["--wait", "--table", self.table, act]);
        iptables.args(&self.what).status().unwrap().success()
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        // It goes with the pod anyway.
        self.iptables("--delete");
    }
}

/// A mesh's proxy, which takes the connections to the agent and wants TLS and a certificate of those who come:
/// strict mTLS. It ends when it is dropped.
pub(crate) struct Mesh {
    proxy: Child,
    keys: PathBuf,
    /// There once the proxy accepts.
    rule: Option<Rule>,
}

impl Mesh {
    pub(crate) fn before(pod: &Pod) -> Self {
        let keys = format!("mesh-{}.pem", std::process::id());
        let keys = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(keys);
        let made = rcgen::generate_simple_self_signed(["app".to_owned()]).unwrap();
        let both = made.cert.pem() + &made.signing_key.serialize_pem();
        fs::write(&keys, both).unwrap();
        let proxy = inside(pod, "openssl")
            .args(["s_server", "-www", "-Verify", "1", "-verify_return_error"])
            .args(["-accept", &PROXY_PORT.to_string(), "-cert"])
            .arg(&keys)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut mesh = Self {
            proxy,
            keys,
            rule: None,
        };
        let said = BufReader::new(mesh.proxy.stdout.as_mut().unwrap());
        let accepts = said
            .lines()
            .map_while(Result::ok)
            .any(|line| line == "ACCEPT");
        assert!(accepts, "the proxy did not start");
        let target = format!("REDIRECT --to-ports {PROXY_PORT}");
        mesh.rule = Some(Rule::put(pod, "nat", "PREROUTING", &target));
        mesh
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.rule = None;
        // It may have ended by itself.
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
        let _ = fs::remove_file(&self.keys);
    }
}

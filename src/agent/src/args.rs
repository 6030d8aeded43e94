//! The command line and the environment, as texts.
//!
//! Eight settings, each a flag and a variable. A parser of command lines is a tenth of a sidecar's
//! size, and of its memory, so this one is by hand.

use std::fmt::Write as _;

/// One setting.
struct Setting {
    flag: &'static str,
    variable: &'static str,
    value: &'static str,
    help: &'static str,
}

/// The settings, in the order of [`Args`].
const SETTINGS: [Setting; 8] = [
    Setting {
        flag: "--namespace",
        variable: "MBCAS_NAMESPACE",
        value: "NAME",
        help: "The pod's namespace",
    },
    Setting {
        flag: "--pod",
        variable: "MBCAS_POD",
        value: "NAME",
        help: "The pod's name",
    },
    Setting {
        flag: "--container",
        variable: "MBCAS_CONTAINER",
        value: "NAME",
        help: "The container that takes part in the market",
    },
    Setting {
        flag: "--app-metrics",
        variable: "MBCAS_APP_METRICS",
        value: "URL",
        help: "Where the application reports on itself: http://localhost:PORT/PATH#queue=METRIC&latency=METRIC",
    },
    Setting {
        flag: "--app-slo",
        variable: "MBCAS_APP_SLO",
        value: "TIME",
        help: "What 99 of 100 requests are to keep: 250ms, 2s",
    },
    Setting {
        flag: "--agent-addr",
        variable: "MBCAS_AGENT_ADDR",
        value: "IP:PORT",
        help: "Address to serve on (default: port 9465 on all addresses)",
    },
    Setting {
        flag: "--log-level",
        variable: "MBCAS_LOG",
        value: "FILTER",
        help: "What to log: error, warn, info (default), debug, trace, or levels per module, such as info,hyper=debug",
    },
    Setting {
        flag: "--log-format",
        variable: "MBCAS_LOG_FORMAT",
        value: "FORMAT",
        help: "The form of a log line: plain (default) or json",
    },
];

/// What the process was told, each empty where it was told nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Args([String; SETTINGS.len()]);

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// That the agent runs.
    Run(Args),
    /// An answer, and then the end.
    Answer(String),
}

impl Args {
    /// Reads a command line without the program's name. What it leaves out comes from
    /// `environment`, which knows a variable's value or an empty one.
    ///
    /// # Errors
    /// A sentence about the first word that is not known.
    pub(crate) fn read(
        line: impl IntoIterator<Item = String>,
        environment: impl Fn(&str) -> String,
    ) -> Result<Asked, String> {
        let mut args = Self::default();
        let mut words = line.into_iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => return Ok(Asked::Answer(help())),
                "--version" | "-V" => return Ok(Asked::Answer(version())),
                _ => {}
            }
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let known = SETTINGS.iter().position(|setting| setting.flag == flag);
            let at = known.ok_or_else(|| format!("{word:?} is no flag; --help lists them"))?;
            let value = value.or_else(|| words.next());
            args.0[at] = value.ok_or_else(|| format!("{flag} needs a value after it"))?;
        }
        args.fill(environment);
        Ok(Asked::Run(args))
    }

    /// What `environment` alone says.
    pub(crate) fn of(environment: impl Fn(&str) -> String) -> Self {
        let mut args = Self::default();
        args.fill(environment);
        args
    }

    fn fill(&mut self, environment: impl Fn(&str) -> String) {
        for (value, setting) in self.0.iter_mut().zip(&SETTINGS) {
            if value.is_empty() {
                *value = environment(setting.variable);
            }
        }
    }

    /// The values, in the order of the help.
    pub(crate) fn values(self) -> [String; SETTINGS.len()] {
        self.0
    }
}

/// What a variable of this process holds; empty if it is not text.
pub(crate) fn environment(variable: &str) -> String {
    std::env::var(variable).unwrap_or_default()
}

fn version() -> String {
    format!("mbcas-demand-agent {}\n", env!("CARGO_PKG_VERSION"))
}

fn help() -> String {
    let mut text = "Watches the queues and the threads of its pod and says how badly the pod needs CPU.\n\
        Serves /demand (JSON) and /metrics. Never exits by itself: it lives in other people's pods.\n\n\
        Usage: mbcas-demand-agent [OPTIONS]\n\nOptions:\n"
        .to_owned();
    for Setting {
        flag,
        variable,
        value,
        help,
    } in SETTINGS
    {
        let now = environment(variable);
        // Writing to a string never fails.
        let _ = writeln!(
            text,
            "  {flag} <{value}>\n      {help} [env: {variable}={now}]"
        );
    }
    text.push_str("  -h, --help\n      Print this\n  -V, --version\n      Print the version\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<[String; 8], String> {
        let environment = |variable: &str| match variable {
            "MBCAS_POD" => "web-1".to_owned(),
            "MBCAS_LOG" => "warn".to_owned(),
            _ => String::new(),
        };
        let words = line.split_whitespace().map(str::to_owned);
        match Args::read(words, environment)? {
            Asked::Run(args) => Ok(args.values()),
            Asked::Answer(text) => Err(text),
        }
    }

    #[test]
    fn a_flag_is_before_the_environment_and_the_last_of_two_counts() {
        let [namespace, pod, _, app, _, _, log, _] =
            read("--namespace a --namespace=b --log-level debug --app-metrics=x#queue=y").unwrap();
        assert_eq!([namespace, pod], ["b", "web-1"]);
        assert_eq!([app, log], ["x#queue=y", "debug"]);
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (line, why) in [
            ("--loud", "--loud"),
            ("--pod", "needs a value"),
            ("x", "\"x\""),
        ] {
            assert!(read(line).unwrap_err().contains(why), "{line}");
        }
    }

    #[test]
    fn help_names_every_flag_and_variable() {
        let help = read("--pod x --help").unwrap_err();
        for Setting { flag, variable, .. } in SETTINGS {
            assert!(
                help.contains(flag) && help.contains(&format!("[env: {variable}=")),
                "{help}"
            );
        }
        assert!(read("-V").unwrap_err().contains(env!("CARGO_PKG_VERSION")));
    }
}

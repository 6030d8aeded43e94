use std::ffi::OsString;

use clap::CommandFactory;
use mbcas_actuator::ResizePolicy;

use super::{Cli, Command, ResizeArgs, RestoreArgs};
use crate::output::Format;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    Cli::try_from_words(&words)
}

fn resize(line: &str) -> ResizeArgs {
    match parse(line).unwrap().command {
        Command::Resize(args) => args,
        other => panic!("{other:?}"),
    }
}

fn restore(line: &str) -> RestoreArgs {
    match parse(line).unwrap().command {
        Command::Restore(args) => args,
        other => panic!("{other:?}"),
    }
}

/// The message of a command line that ends the process with status 2.
fn refused(line: &str) -> String {
    let error = parse(line).expect_err(line);
    assert_eq!(error.exit_code(), 2, "{line}");
    error.to_string()
}

#[test]
fn the_command_line_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn a_resize_is_read_with_its_amounts_and_times() {
    let args = resize(
        "mbcas resize web -c app --cpu 0.25 --memory 64Mi --policy both --wait --timeout 2m -o json",
    );
    assert_eq!(
        (args.pod.as_str(), args.container.as_deref()),
        ("web", Some("app"))
    );
    assert_eq!(args.cpu.unwrap().canonical(), "250m");
    assert_eq!(args.memory.unwrap().canonical(), "64Mi");
    assert_eq!(args.policy, ResizePolicy::Both);
    assert_eq!(args.timeout.as_secs(), 120);
    assert!(args.wait && !args.dry_run && !args.force);
    assert_eq!(args.output, Format::Json);
}

#[test]
fn the_defaults_are_the_careful_ones() {
    let args = resize("mbcas resize web --cpu 1");
    assert_eq!(args.policy, ResizePolicy::Limits);
    assert_eq!(args.timeout.as_secs(), 60);
    assert!(!args.wait && !args.dry_run && !args.force);
    assert_eq!(
        (args.container, args.memory, args.output),
        (None, None, Format::Table)
    );
}

#[test]
fn the_cluster_may_be_named_before_and_after_the_command() {
    for line in [
        "mbcas --context c -n shop resize web --cpu 1",
        "mbcas resize web --cpu 1 --context c --namespace shop",
    ] {
        let connection = parse(line).unwrap().connection;
        assert_eq!(connection.context.as_deref(), Some("c"), "{line}");
        assert_eq!(connection.namespace.as_deref(), Some("shop"), "{line}");
    }
}

#[test]
fn amounts_that_are_none_are_refused_with_the_reason() {
    for (amount, reason) in [
        ("lots", "it is no quantity"),
        ("250mm", "\"mm\" is no suffix"),
        ("0", "above zero"),
        ("", "it is empty"),
    ] {
        let words = ["mbcas", "resize", "web", &format!("--cpu={amount}")].map(OsString::from);
        let error = Cli::try_from_words(&words).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        assert!(
            message.contains(reason) && message.contains("--cpu"),
            "{amount}: {message}"
        );
    }
    assert!(refused("mbcas resize web --memory=-1Mi").contains("above zero"));
}

#[test]
fn times_need_a_unit_and_a_length() {
    for time in ["60", "soon", "0s", "-5s"] {
        let message = refused(&format!("mbcas resize web --cpu 1 --timeout={time}"));
        assert!(message.contains("such as 60s or 2m"), "{time}: {message}");
    }
}

#[test]
fn what_is_missing_or_does_not_fit_together_is_named() {
    for (line, named) in [
        ("mbcas resize", "<POD>"),
        ("mbcas resize web", "--cpu"),
        (
            "mbcas resize web --cpu 1 --policy all",
            "use both, limits or requests",
        ),
        (
            "mbcas resize web --cpu 1 --dry-run --wait",
            "cannot be used with '--wait'",
        ),
        ("mbcas resize web --cpu 1 --now", "--now"),
        ("mbcas resize web --cpu 1 -o xml", "table, json"),
        ("mbcas restore", "--all"),
        ("mbcas restore web --all", "cannot be used with"),
        (
            "mbcas restore --all --stop-controller",
            "--controller-namespace",
        ),
        ("mbcas check --deep", "--deep"),
        ("mbcas check --metrics-of mbcas-system", "--admission"),
        ("mbcas grow", "grow"),
        ("mbcas", "Usage"),
    ] {
        let message = refused(line);
        assert!(message.contains(named), "{line}: {message}");
    }
}

#[test]
fn the_charts_hooks_are_understood() {
    let line =
        "/bin/mbcas check --admission --namespace mbcas-system-test --metrics-of mbcas-system";
    match parse(line).unwrap() {
        Cli {
            command: Command::Check(args),
            connection,
        } => {
            assert!(args.admission && !args.pre);
            assert_eq!(args.metrics_of.as_deref(), Some("mbcas-system"));
            assert_eq!(connection.namespace.as_deref(), Some("mbcas-system-test"));
        }
        other => panic!("{other:?}"),
    }
    let args =
        restore("/bin/mbcas restore --all --stop-controller --controller-namespace mbcas-system");
    assert!(args.all && args.stop_controller && args.pod.is_none() && !args.dry_run);
    assert_eq!(args.controller_namespace.as_deref(), Some("mbcas-system"));
}

#[test]
fn as_a_plugin_it_calls_itself_what_people_typed() {
    for (program, usage) in [
        ("/usr/bin/kubectl-mbcas", "Usage: kubectl mbcas resize"),
        ("/bin/mbcas", "Usage: mbcas resize"),
    ] {
        let message = refused(&format!("{program} resize"));
        assert!(message.contains(usage), "{message}");
    }
}

#[test]
fn help_is_no_failure_and_names_the_exit_statuses() {
    let help = parse("mbcas resize --help").unwrap_err();
    assert_eq!(help.exit_code(), 0);
    assert!(help.to_string().contains("Exit status: 0"));
}

//! `mbcas`, also installed as the kubectl plugin `kubectl-mbcas`.

use std::process::ExitCode;

use mbcas::args::Cli;

fn main() -> ExitCode {
    let cli = Cli::from_process();
    // Fails only if a provider is installed already, and then there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    mbcas::output::init_log();
    match mbcas::run_blocking(cli) {
        Ok(report) => report.finish(),
        Err(error) => {
            mbcas::output::progress(&format!("error: {}", mbcas::output::chain(&error)));
            ExitCode::FAILURE
        }
    }
}

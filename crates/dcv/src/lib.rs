//! The program `dcv`: proves control of domains to DigiCert CertCentral and brings OV/EV certificates home.
//!
//! This crate is the outermost layer: the command line, the configuration, the choice of providers, and how all of it is
//! shown. What is done, and in which order, is decided by `dcv-core`; nothing here knows how a proof is made visible or
//! what CertCentral says. [`run`] is the whole program; `main` calls it.

mod account;
mod args;
mod config;
mod doctor;
mod domains;
mod exit;
#[doc(hidden)]
pub mod fuzz;
mod journal;
mod keeper;
mod manual;
mod orders;
mod otel;
mod plugin;
mod providers;
mod quickstart;
mod request;
mod run;
mod sandbox;
mod show;
mod status;
mod supervisor;
mod webhook;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::Parser;
use dcv_core::Purpose;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use args::{Cli, Command, LogFormat};
use config::Config;
use exit::{Failure, Result};
use otel::Traces;
use show::Screen;

pub use exit::Code;

/// Runs the program with these arguments, the first being its name, and returns how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, arguments.iter().any(|argument| argument == "--json")),
    };
    // The one cryptography provider of the process. A second call finds it in place.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let screen = Screen::new(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            screen.failure(&Failure::new(Code::Unexpected, format!("no threads can be started: {error}")));
            return Code::Unexpected.into();
        }
    };
    let traces = trace(&cli.global, runtime.handle());
    let code = runtime.block_on(Box::pin(command(&cli, screen))).unwrap_or_else(|failure| {
        screen.failure(&failure);
        failure.code
    });
    traces.flush();
    // A question to a silent server must not hold the exit up.
    runtime.shutdown_background();
    code.into()
}

async fn command(cli: &Cli, screen: Screen) -> Result<Code> {
    let config = || Config::load(cli.global.config.as_deref().map(Path::new));
    match &cli.command {
        Command::Issue(args) => run::issue(&config()?, screen, args).await,
        Command::Status(args) => run::status(&config()?, screen, args).await,
        Command::Resume(args) => run::resume(&config()?, screen, args).await,
        Command::Cancel(args) => run::cancel(&config()?, screen, args).await,
        Command::Plan(args) => keeper::plan(&config()?, screen, args).await,
        Command::Run(args) => Box::pin(keeper::run(config, screen, args)).await,
        Command::Import(args) => keeper::import(&config()?, screen, args).await,
        Command::Renew(args) => run::renew(&config()?, screen, args).await,
        Command::Reissue(args) => {
            Box::pin(run::again(&config()?, screen, args, |order_id| Purpose::Reissue { order_id })).await
        }
        Command::Duplicate(args) => {
            Box::pin(run::again(&config()?, screen, args, |order_id| Purpose::Duplicate { order_id })).await
        }
        Command::Revoke(args) => orders::revoke(&config()?, screen, args).await,
        Command::Download(args) => orders::download(&config()?, screen, args).await,
        Command::Order(args) => orders::orders(&config()?, screen, args).await,
        Command::Domain(args) => domains::domains(&config()?, screen, args).await,
        Command::Organization(args) => account::organizations(&config()?, screen, args).await,
        Command::Request(args) => account::requests(&config()?, screen, args).await,
        Command::Product(args) => account::products(&config()?, screen, args).await,
        Command::Webhook(args) => webhook::webhooks(&config()?, screen, args).await,
        Command::Manual(args) => manual::manual(args),
        Command::Doctor(args) => doctor::doctor(&config()?, screen, args).await,
        Command::Providers => Ok(show::providers(screen)),
        Command::Plugin(args) => plugin::plugin(config, screen, args).await,
        Command::Quickstart(args) => Box::pin(quickstart::quickstart(screen, cli.global.verbose > 0, args)).await,
        Command::Sandbox(args) => sandbox::sandbox(screen, args).await,
    }
}

/// What clap has to say: help and version on stdout, mistakes on stderr with exit code 2.
fn refuse(error: &clap::Error, json: bool) -> ExitCode {
    if json && error.use_stderr() {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        eprintln!("{}", Failure::new(Code::Usage, message).json());
    } else {
        let _ = error.print();
    }
    if error.use_stderr() { Code::Usage.into() } else { Code::Done.into() }
}

/// Diagnostics to stderr: `RUST_LOG`, else by `-v`. Only our own crates say more; others might show headers.
fn trace(global: &args::Global, runtime: &tokio::runtime::Handle) -> Traces {
    let level = match global.verbose {
        0 => "error",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter(level)));
    let plain = std::env::var_os("NO_COLOR").is_some();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match global.log_format {
        LogFormat::Text => lines.with_ansi(!plain).boxed(),
        // Without escapes, which have no place in JSON; the spans are the run, with its order, and the step.
        LogFormat::Json => lines.with_ansi(false).json().flatten_event(true).with_current_span(false).boxed(),
    };
    let (layer, traces) = otel::traces(runtime);
    // Fails when a test has set one up already.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).with(layer).try_init();
    traces
}

/// Directives match the beginnings of targets, and all our crates are called `dcv…` or `certcentral…`. What makes us wait for long
/// is always said.
fn filter(level: &str) -> String {
    format!("error,dcv={level},certcentral={level},certcentral::wait=warn")
}

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled};

    use super::*;

    #[test]
    fn only_our_own_crates_say_more() {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(EnvFilter::new(filter("debug"))), || {
            assert!(enabled!(target: "dcv::keeper", Level::DEBUG) && enabled!(target: "dcv_rfc2136", Level::DEBUG));
            assert!(enabled!(target: "certcentral_sandbox::va", Level::DEBUG));
            assert!(!enabled!(target: "dcv_rfc2136", Level::TRACE));
            assert!(
                !enabled!(target: "hyper::client", Level::DEBUG) && enabled!(target: "hyper::client", Level::ERROR)
            );
        });
    }
}

//! `lbd`: the load balancer's daemon, and its demo.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use lbd::demo::story::{self, Form};

/// Layer-4 load balancer on AF_XDP that behaves like a Network Load Balancer.
#[derive(Parser)]
#[command(name = "lbd", version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Arguments {
    /// Configuration file (the same as `lbd run --config FILE`)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Balance load as a configuration file says, until SIGTERM
    Run {
        /// Configuration file; `lbctl check FILE` tells what is wrong with one
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Show the load balancer at work in network namespaces of its own (needs root)
    Demo {
        /// Instead walk packets through a Kubernetes cluster behind it: one scenario, or all; without a name, list them
        #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "list")]
        scenario: Option<String>,
        /// Tell it as a page of documentation, once all is over
        #[arg(long, requires = "scenario")]
        markdown: bool,
    },
}

fn main() -> ExitCode {
    let Arguments { config, command } = Arguments::parse();
    match (command, config) {
        (Some(Command::Demo { scenario: None, .. }), _) => lbd::demo::run(),
        (Some(Command::Demo { scenario: Some(name), markdown }), _) => {
            story::run(&name, if markdown { Form::Markdown } else { Form::Screen })
        }
        (Some(Command::Run { config }), _) | (None, Some(config)) => run(&config),
        (None, None) => unreachable!("clap asks for one of them"),
    }
}

fn run(config: &std::path::Path) -> ExitCode {
    match lbd::run::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lbd: {error}");
            ExitCode::from(CANNOT_RUN)
        }
    }
}

/// Exit code when the daemon cannot start; nothing is left behind.
const CANNOT_RUN: u8 = 2;

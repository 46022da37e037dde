//! `lbctl`: its verbs, as one table, and what each does.

mod doctor;
mod flows;
mod targets;
mod why;

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde::Serialize;

use crate::{
    client::{Client, ClientError},
    config::{self, CONTROL_SOCKET, Config, ConfigErrors},
    doctor::{Facts, Inquiry},
    hex, show,
    simulate::{self, AssumedState, Assumptions, MTU_DEFAULT, Neighbor, SimulateError},
    top::{self, TopError},
};
use doctor::DoctorArguments;
use flows::FlowsArguments;
use targets::TargetsArguments;
use why::WhyArguments;

/// Ask and steer the load balancer lbd.
#[derive(Debug, Parser)]
#[command(
    name = "lbctl",
    version,
    after_help = "Exit codes: 0 done; 1 refused by lbd, or (status) a listener without a healthy target, or (targets wait) \
                  targets that are not healthy, or (doctor) a warning or a fault; 2 wrong usage or configuration, or lbd \
                  cannot be reached."
)]
pub struct Arguments {
    /// Control socket of lbd
    #[arg(long, global = true, value_name = "PATH", default_value = CONTROL_SOCKET)]
    socket: PathBuf,

    /// How to print answers
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    output: Format,

    #[command(subcommand)]
    verb: Verb,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Load balancers, listeners, interfaces and workers at a glance
    Status,
    /// Every target with its health and traffic; register, deregister, wait
    Targets(TargetsArguments),
    /// Flows in the flow table
    Flows(FlowsArguments),
    /// Say in sentences what becomes of packets, and why
    Why(WhyArguments),
    /// What became of every frame, by reason
    Stats,
    /// What goes on, once a second, on the whole terminal; ? shows the keys
    Top {
        /// Seconds between two looks
        #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
        interval: u64,

        /// Print one frame of 80 columns and 24 lines, after one interval, and end
        #[arg(long)]
        once: bool,
    },
    /// Have lbd read its configuration again and apply it, or refuse it and keep the old one
    Reload,
    /// Check a configuration file; lbd need not run
    Check {
        /// Configuration file
        file: PathBuf,
    },
    /// Say what the load balancer would do with captured frames; lbd need not run
    ///
    /// One JSON line answers each frame: its number, the verdict and its reason, the listener, the target, and the frames
    /// that leave. Every target is healthy and every next hop is known, unless options say otherwise.
    Simulate(SimulateArguments),
    /// Look whether this host and its interfaces are fit for the load balancer, and say what to type where they are not
    Doctor(DoctorArguments),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, clap::Args)]
struct SimulateArguments {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// Capture of Ethernet frames, pcap or pcapng; "-": standard input, each frame answered before the next is read
    #[arg(long, value_name = "FILE")]
    r#in: PathBuf,

    /// Write the frames that leave into this capture
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// State of a target: healthy, unhealthy, unhealthy.draining, initial, draining or unused; may be given several times
    #[arg(long, value_name = "GROUP/IP:PORT=STATE")]
    state: Vec<AssumedState>,

    /// A target that is unhealthy in every group; may be given several times
    #[arg(long, value_name = "IP:PORT")]
    unhealthy: Vec<SocketAddr>,

    /// Secret of target selection, as 32 hex digits; by default the configuration's, else zeros
    #[arg(long, value_name = "HEX")]
    hash_key: Option<String>,

    /// Next hop of an address; may be given several times. Others get a made-up one on the first interface
    #[arg(long, value_name = "IP=MAC@INTERFACE")]
    neighbor: Vec<Neighbor>,

    /// Interface of frames whose capture names none; by default the first configured one
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,

    /// MTU of every interface, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = MTU_DEFAULT, value_parser = clap::value_parser!(u32).range(68..=65_535))]
    mtu: u32,
}

/// Why a verb failed.
enum Failure {
    /// The daemon refused, or is not healthy.
    Refused(String),
    /// Usage, configuration, or the daemon cannot be reached.
    Unusable(String),
}

/// Carries out what the command line asks for. `examine` collects what `doctor` judges.
pub fn run(arguments: Arguments, examine: fn(Inquiry) -> Result<Facts, String>) -> ExitCode {
    match carry_out(arguments, examine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Refused(message)) => fail(1, &message),
        Err(Failure::Unusable(message)) => fail(2, &message),
    }
}

fn carry_out(arguments: Arguments, examine: fn(Inquiry) -> Result<Facts, String>) -> Result<(), Failure> {
    let Arguments { socket, output, verb } = arguments;
    let client = Client::new(&socket);
    match verb {
        Verb::Status => {
            let status = client.status()?;
            print(output, &status, show::status)?;
            if status.is_healthy() {
                return Ok(());
            }
            Err(Failure::Refused(
                "a listener has no healthy target; its target group fails open, or is empty".into(),
            ))
        }
        Verb::Targets(arguments) => targets::run(&client, output, arguments),
        Verb::Flows(arguments) => flows::run(&client, output, arguments),
        Verb::Why(arguments) => why::run(&client, output, &arguments),
        Verb::Stats => print(output, &client.stats()?, show::stats),
        Verb::Top { interval, once } => show_top(client, Duration::from_secs(interval), once),
        Verb::Reload => print(output, &client.reload()?, show::reloaded),
        Verb::Check { file } => check(&file),
        Verb::Simulate(arguments) => simulate(arguments),
        Verb::Doctor(arguments) => doctor::run(output, arguments, examine),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "lbctl", &mut io::stdout());
            Ok(())
        }
    }
}

fn print<T: Serialize>(output: Format, answer: &T, show: impl FnOnce(&T) -> String) -> Result<(), Failure> {
    let text = match output {
        Format::Table => show(answer),
        Format::Json => serde_json::to_string_pretty(answer).map_err(|error| unusable(&error))?,
    };
    say(&text)
}

fn show_top(client: Client, interval: Duration, once: bool) -> Result<(), Failure> {
    if once {
        return say(&top::once(&client, interval)?);
    }
    Ok(top::run(client, interval)?)
}

fn check(file: &Path) -> Result<(), Failure> {
    let config = config::load(file)?;
    say(&format!("{}: valid: {}", file.display(), show::summary(&config)))
}

fn simulate(arguments: SimulateArguments) -> Result<(), Failure> {
    let config = config::load(&arguments.config)?;
    let assumptions = assumptions(&arguments, &config)?;
    let (name, input): (String, Box<dyn Read>) = match arguments.r#in.to_str() {
        Some("-") => ("standard input".into(), Box::new(io::stdin().lock())),
        _ => (arguments.r#in.display().to_string(), Box::new(open(&arguments.r#in)?)),
    };
    let mut outgoing = arguments.out.as_deref().map(create).transpose()?;
    let outgoing = outgoing.as_mut().map(|sink| sink as &mut dyn Write);
    let outcome = simulate::run(&config, &assumptions, input, io::stdout().lock(), outgoing);
    outcome.map_err(|error| match error {
        SimulateError::Capture(error) => Failure::Unusable(format!("{name} {error}")),
        error => unusable(&error),
    })
}

fn assumptions(arguments: &SimulateArguments, config: &Config) -> Result<Assumptions, Failure> {
    let secret = match arguments.hash_key.as_deref().map(hex::bytes) {
        Some(None) => return Err(Failure::Unusable("--hash-key: expected 32 hex digits".into())),
        Some(secret) => secret,
        None => config.selection.secret,
    };
    Ok(Assumptions {
        states: arguments.state.clone(),
        unhealthy: arguments.unhealthy.clone(),
        selection_secret: secret.unwrap_or_default(),
        neighbors: arguments.neighbor.clone(),
        interface: arguments.interface.clone().unwrap_or_else(|| config.interfaces[0].clone()),
        mtu: arguments.mtu,
    })
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::Unusable(format!("cannot open {}: {error}", path.display())))
}

fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    match File::create(path) {
        Ok(file) => Ok(BufWriter::new(file)),
        Err(error) => Err(Failure::Unusable(format!("cannot create {}: {error}", path.display()))),
    }
}

/// One line, or several, on standard output. A reader that has gone away is no failure.
fn say(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{}", text.trim_end_matches('\n')) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unusable(&error)),
        _ => Ok(()),
    }
}

fn fail(code: u8, message: &str) -> ExitCode {
    let prefix = if io::stderr().is_terminal() { "\x1b[31mlbctl:\x1b[0m" } else { "lbctl:" };
    eprintln!("{prefix} {message}");
    ExitCode::from(code)
}

fn unusable(error: &impl std::fmt::Display) -> Failure {
    Failure::Unusable(error.to_string())
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Refused(message) => Failure::Refused(message),
            error => unusable(&error),
        }
    }
}

impl From<TopError> for Failure {
    fn from(error: TopError) -> Failure {
        match error {
            TopError::Client(error) => error.into(),
            error => unusable(&error),
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Failure {
        unusable(&errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_verbs_is_sound() {
        Arguments::command().debug_assert();
    }
}

//! `lbctl`: its verbs, as one table, and what each does.

mod capture;
mod completions;
mod doctor;
mod drain;
mod events;
mod files;
mod flows;
mod health;
mod interrupt;
mod lbd;
mod listener;
mod load_balancer;
mod output;
mod progress;
mod rule;
mod simulate;
mod tag;
mod target_group;
mod targets;
mod top;
mod trace;
mod values;
mod watch;
mod why;

use std::{env, ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use crate::{
    api::RefusalCode,
    client::{Client, ClientError},
    config::{CONTROL_SOCKET, ConfigErrors},
    doctor::{Facts, Inquiry},
    show,
    top::TopError,
};
use lbd::Lbd;
use output::{Coloring, Format, print};

/// Ask and steer the load balancer lbd.
#[derive(Clone, Debug, Parser)]
#[command(name = "lbctl", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Arguments {
    // Of an option that a variable sets, clap's usage says that it is needed.
    #[arg(long, global = true, value_name = "PATH", help_heading = GLOBAL,
          help = format!("Control socket of lbd [env: {SOCKET_VARIABLE}] [default: {CONTROL_SOCKET}]"))]
    socket: Option<PathBuf>,

    /// How to print answers
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table", help_heading = GLOBAL)]
    output: Format,

    /// When to print in colours; automatically on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = GLOBAL)]
    color: Coloring,

    /// Look again and again, every 2 seconds or as many as given, until Ctrl-C; for verbs that change nothing
    #[arg(long, global = true, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = "2", value_parser = watch::interval, help_heading = GLOBAL)]
    watch: Option<Duration>,

    /// Change something only if the objects are of this generation, which `lbctl status` tells; else exit with 3
    #[arg(long, global = true, value_name = "N", help_heading = GLOBAL)]
    if_generation: Option<u64>,

    #[command(subcommand)]
    verb: Verb,
}

impl Arguments {
    /// Reads a command line, or says what is wrong with it and exits. An arrow that stands alone, as `why` has it, is left out:
    /// it would look like an option.
    pub fn read(words: impl Iterator<Item = OsString>) -> Arguments {
        Arguments::parse_from(without_arrow(words))
    }
}

fn without_arrow(words: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut explains = false;
    words.filter(move |word| {
        explains |= word == "why";
        !(explains && word == "->")
    })
}

/// The control socket: the first of what the command line and the environment name. An empty path, as of a variable set to nothing,
/// stands for the usual one.
fn socket(named: Option<PathBuf>, variable: Option<OsString>) -> PathBuf {
    let path = named.or(variable.map(PathBuf::from)).filter(|path| !path.as_os_str().is_empty());
    path.unwrap_or_else(|| CONTROL_SOCKET.into())
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Load balancers, listeners, interfaces and workers at a glance
    Status,
    /// Load balancers: their addresses and attributes
    #[command(visible_alias = "lb", subcommand)]
    LoadBalancer(load_balancer::Verb),
    /// Listeners of load balancers
    #[command(subcommand)]
    Listener(listener::Verb),
    /// Rules of listeners: where new flows of one address family go
    #[command(subcommand)]
    Rule(rule::Verb),
    /// Target groups, their health checks and attributes
    #[command(visible_alias = "tg", subcommand)]
    TargetGroup(target_group::Verb),
    /// Every target with its health and traffic; register, deregister, drain, wait
    Targets(targets::TargetsArguments),
    /// Whether targets are healthy, or wait until they are
    Health(health::HealthArguments),
    /// Deregister targets and wait until their flows have ended, or the deregistration delay is over
    Drain(drain::DrainArguments),
    /// Tags of load balancers, listeners, rules and target groups
    #[command(subcommand)]
    Tag(tag::Verb),
    /// What has happened: changes, target health, failing open, reloads, interfaces
    Events(events::EventsArguments),
    /// Flows in the flow table
    Flows(flows::FlowsArguments),
    /// Say in sentences what becomes of packets, and why
    Why(why::WhyArguments),
    /// Follow live packets through the stages of the load balancer, one line each, until Ctrl-C or a bound
    ///
    /// A flow's packets are followed both ways. At most 1,000 frames a second of each worker are told; what comes beyond is
    /// counted.
    Trace(trace::TraceArguments),
    /// Write live packets into a capture, as they come in and as they leave, with what became of each as a comment
    ///
    /// It shows what is in packets, so it takes the right to change, and is noted in the log of lbd.
    Capture(capture::CaptureArguments),
    /// What became of every frame, by reason
    Stats,
    /// What goes on, once a second, on the whole terminal; ? shows the keys
    Top(top::TopArguments),
    /// What applying a file would change
    Diff(files::DiffArguments),
    /// Put in force what a file declares, and print what that changed
    Apply(files::ApplyArguments),
    /// Write what is in force as a configuration file
    Export {
        /// The file; by default standard output
        file: Option<PathBuf>,
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
    ///
    /// Each frame is taken for one that has just come in. Source ports (full NAT, translation between families) are chosen anew, always the
    /// same for one --hash-key, so replies in a capture of a live lbd's traffic belong to no flow. Simulate what clients sent
    /// first, put the ports that the answers tell into the replies, and simulate both.
    Simulate(simulate::SimulateArguments),
    /// Look whether this host and its interfaces are fit for the load balancer, and say what to type where they are not
    Doctor(doctor::DoctorArguments),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one for each verb
    Man {
        /// Directory, such as /usr/local/share/man/man1
        directory: PathBuf,
    },
}

impl Verb {
    /// Whether it tells of what goes on until it is ended.
    fn is_following(&self) -> bool {
        matches!(self, Verb::Trace(_) | Verb::Capture(_))
    }

    /// Whether it only asks lbd, so that it may be asked again and again.
    fn is_reading(&self) -> bool {
        match self {
            Verb::Status | Verb::Flows(_) | Verb::Why(_) | Verb::Stats | Verb::Diff(_) | Verb::Doctor(_) => {
                true
            }
            Verb::LoadBalancer(verb) => verb.is_reading(),
            Verb::Listener(verb) => verb.is_reading(),
            Verb::Rule(verb) => verb.is_reading(),
            Verb::TargetGroup(verb) => verb.is_reading(),
            Verb::Targets(arguments) => arguments.is_reading(),
            Verb::Health(arguments) => arguments.is_reading(),
            Verb::Tag(verb) => verb.is_reading(),
            Verb::Events(arguments) => arguments.is_reading(),
            Verb::Top(_) | Verb::Drain(_) | Verb::Apply(_) | Verb::Export { .. } | Verb::Reload => false,
            Verb::Trace(_) | Verb::Capture(_) => false,
            Verb::Check { .. } | Verb::Simulate(_) | Verb::Completions { .. } | Verb::Man { .. } => false,
        }
    }
}

/// Why a verb failed.
enum Failure {
    /// The daemon refused, or is not healthy.
    Refused(String),
    /// Usage, configuration, or the daemon cannot be reached.
    Unusable(String),
    /// The daemon cannot be reached: it may come back.
    Away(String),
    /// The objects are of another generation than the caller said.
    Outdated(String),
    /// Nobody reads what is printed any more: no failure for anybody.
    Unread,
}

/// Carries out what the command line asks for. `examine` collects what `doctor` judges.
pub fn run(arguments: Arguments, examine: fn(Inquiry) -> Result<Facts, String>) -> ExitCode {
    arguments.color.choose();
    let outcome = match arguments.watch {
        _ if arguments.verb.is_following() && arguments.if_generation.is_some() => {
            Err(Failure::Unusable("--if-generation is for verbs that change something".into()))
        }
        Some(_) if arguments.verb.is_following() => {
            Err(Failure::Unusable("--watch is for verbs that look once: this one goes on by itself".into()))
        }
        None => carry_out(arguments, examine),
        Some(_) if !arguments.verb.is_reading() => {
            Err(Failure::Unusable("--watch is for verbs that show something and change nothing".into()))
        }
        Some(interval) => watch::repeat(interval, || carry_out(arguments.clone(), examine)),
    };
    match outcome {
        Ok(()) | Err(Failure::Unread) => ExitCode::SUCCESS,
        Err(Failure::Refused(message)) => output::fail(1, &message),
        Err(Failure::Unusable(message) | Failure::Away(message)) => output::fail(2, &message),
        Err(Failure::Outdated(message)) => output::fail(3, &message),
    }
}

fn carry_out(arguments: Arguments, examine: fn(Inquiry) -> Result<Facts, String>) -> Result<(), Failure> {
    let Arguments { socket, output, if_generation, verb, .. } = arguments;
    let client = Client::new(&self::socket(socket, env::var_os(SOCKET_VARIABLE)));
    let lbd = Lbd { client: &client, output, if_generation };
    match verb {
        Verb::Status => status(&lbd),
        Verb::LoadBalancer(verb) => load_balancer::run(&lbd, verb),
        Verb::Listener(verb) => listener::run(&lbd, verb),
        Verb::Rule(verb) => rule::run(&lbd, verb),
        Verb::TargetGroup(verb) => target_group::run(&lbd, verb),
        Verb::Targets(arguments) => targets::run(&lbd, arguments),
        Verb::Health(arguments) => health::run(&lbd, &arguments),
        Verb::Drain(arguments) => drain::run(&lbd, arguments),
        Verb::Tag(verb) => tag::run(&lbd, verb),
        Verb::Events(arguments) => events::run(&lbd, &arguments),
        Verb::Flows(arguments) => flows::run(&client, output, arguments),
        Verb::Why(arguments) => why::run(&client, output, &arguments),
        Verb::Trace(arguments) => trace::run(&client, output, &arguments),
        Verb::Capture(arguments) => capture::run(&client, &arguments),
        Verb::Stats => print(output, &client.stats()?, |stats| show::stats(stats, output.columns())),
        Verb::Top(arguments) => top::run(client, &arguments),
        Verb::Diff(arguments) => files::diff(&lbd, &arguments),
        Verb::Apply(arguments) => files::apply(&lbd, &arguments),
        Verb::Export { file } => files::export(&lbd, file.as_deref()),
        Verb::Reload => print(output, &client.reload()?, show::reloaded),
        Verb::Check { file } => files::check(&file),
        Verb::Simulate(arguments) => simulate::run(arguments),
        Verb::Doctor(arguments) => doctor::run(output, arguments, examine),
        Verb::Completions { shell } => completions::print(shell),
        Verb::Man { directory } => completions::write_manual(&directory),
    }
}

fn status(lbd: &Lbd<'_>) -> Result<(), Failure> {
    let status = lbd.client.status()?;
    print(lbd.output, &status, |status| show::status(status, lbd.output.columns()))?;
    if status.is_healthy() {
        return Ok(());
    }
    Err(Failure::Refused("a listener has no healthy target; its target group fails open, or is empty".into()))
}

fn unusable(error: &impl std::fmt::Display) -> Failure {
    Failure::Unusable(error.to_string())
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Refused(refusal) if refusal.code == Some(RefusalCode::GenerationMismatch) => {
                Failure::Outdated(refusal.to_string())
            }
            ClientError::Refused(refusal) => Failure::Refused(refusal.to_string()),
            ClientError::Unreachable(..) | ClientError::Stopped => Failure::Away(error.to_string()),
            ClientError::Garbled(_) | ClientError::CutOff => unusable(&error),
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

/// Names the control socket where the command line does not.
const SOCKET_VARIABLE: &str = "LBCTL_SOCKET";

/// Heading of the options that every verb has.
const GLOBAL: &str = "Global options";

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 refused by lbd, or not so: targets that are not healthy (health, targets wait), a listener without a \
healthy target (status), differences (diff --exit-code), flows left (drain --timeout), a warning or a fault (doctor); \
2 wrong usage or configuration, or lbd cannot be reached; 3 the objects are of another generation than --if-generation \
says, or changed while a file was applied.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_table_of_verbs_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_may_stand_anywhere_among_the_words_of_why() {
        let read = |line: &str| {
            let words = line.split_whitespace().map(OsString::from);
            Arguments::try_parse_from(without_arrow(words)).unwrap_or_else(|error| panic!("{line}: {error}"))
        };
        for line in [
            "lbctl why 198.18.0.2:4 198.18.100.1:80 -o json",
            "lbctl why 198.18.0.2:4 -> 198.18.100.1:80 -o json",
            "lbctl why -o json 198.18.0.2:4 -> 198.18.100.1:80 tcp",
            "lbctl why 198.18.0.2:4 -o json 198.18.100.1:80",
            "lbctl -o json why 198.18.0.2:4->198.18.100.1:80",
        ] {
            assert_eq!(read(line).output, Format::Json, "{line}");
        }
    }

    #[test]
    fn an_empty_path_stands_for_the_usual_one() {
        let other = || PathBuf::from("/run/other.sock");
        assert_eq!(socket(None, None), PathBuf::from(CONTROL_SOCKET));
        assert_eq!(socket(None, Some("".into())), PathBuf::from(CONTROL_SOCKET));
        assert_eq!(socket(Some("".into()), Some(other().into())), PathBuf::from(CONTROL_SOCKET));
        assert_eq!(socket(None, Some(other().into())), other());
        assert_eq!(socket(Some(other()), Some("/run/another.sock".into())), other());
    }
}

//! The testbed's cluster, kept up to be tried by hand: `./ci.sh cluster up` and `./ci.sh cluster down`.
//!
//! `up` starts this program once more as `hold`, which makes the cluster, runs `lbd` in it, starts `lbd` again when SIGUSR1 asks for it,
//! and takes all away when it is told to end. `up` and `down` hold a lock, and remove only what carries the mark of this program.

use std::{
    error::Error,
    fs,
    io::{Write as _, stdout},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use lb_ctl::client::Client;
use lbd::testbed::{
    self, cleanup,
    cluster::{Cluster, PROGRAMS, configuration},
    daemon::{is_serving, wait_until},
    namespace::path_of,
    process::Process,
};
use signal_hook::{consts::SIGUSR1, iterator::Signals};

use files::{Files, Lock};
use map::map;
use name::Name;
use processes::{OwnProcess, signal};

mod files;
mod map;
mod name;
mod processes;

/// A Kubernetes cluster in network namespaces, with lbd in front of it.
#[derive(Parser)]
struct Arguments {
    /// Namespaces are called NAME-client and so on, files are in /tmp/NAME; letters, digits and -
    #[arg(long, default_value = "lbd-cluster", global = true)]
    name: Name,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make it, or start its lbd again, and say what is where
    Up,
    /// Remove it, whatever is left of it
    Down,
    /// Make it, and hold it until SIGTERM
    #[command(hide = true)]
    Hold,
}

fn main() -> ExitCode {
    let Arguments { name, verb } = Arguments::parse();
    let files = Files::of(&name);
    let done = match verb {
        _ if !testbed::is_privileged() => Err("it needs root, because it makes network namespaces".into()),
        Verb::Up => up(&name, &files),
        Verb::Down => down(&name, &files),
        Verb::Hold => hold(&name, &files),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

fn up(name: &Name, files: &Files) -> Result<(), Box<dyn Error>> {
    let lbctl = built("lbctl")?;
    built(OwnProcess::daemon(files).program())?;
    if let Some(missing) = PROGRAMS.iter().find(|program| !program.is_installed()) {
        return Err(missing.to_string().into());
    }
    let _lock = lock(name)?;
    let holder = OwnProcess::holder(name).pid().filter(|_| files.ready().exists());
    if holder.is_some() {
        refuse_incomplete(name)?;
    }
    match (holder, OwnProcess::daemon(files).pid()) {
        (Some(holder), Some(_)) => say(&format!("{name} is up already, held by process {holder}.\n")),
        (Some(holder), None) => {
            say(&format!("lbd of {name} has ended; it is started again."));
            start_again(holder, (name, files))?;
            say(&format!("{name} is up.\n"));
        }
        (None, _) => {
            remove(name, files)?;
            files.create()?;
            start_holder(name, files)?;
            say(&format!("{name} is up.\n"));
        }
    }
    say(&map(name, files, &lbctl));
    Ok(())
}

/// Refuses a cluster that others have taken something away from.
fn refuse_incomplete(name: &Name) -> Result<(), String> {
    let gone: Vec<String> = name.namespaces().filter(|namespace| !path_of(namespace).exists()).collect();
    match gone[..] {
        [] => Ok(()),
        _ => Err(format!(
            "{name} is up, but not whole any more: network namespace {} is gone; make it anew: \
             `./ci.sh cluster --name {name} down`, then `./ci.sh cluster --name {name} up`",
            gone.join(", ")
        )),
    }
}

/// Starts the holder, in a process group of its own, and waits until it has made everything.
fn start_holder(name: &Name, files: &Files) -> Result<(), Box<dyn Error>> {
    let log = fs::File::create(files.log())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(OwnProcess::holder(name).arguments()).process_group(0);
    let mut holder = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    let made = await_serving(name, files);
    if made.is_err() {
        signal(holder.id(), libc::SIGTERM);
        holder.wait()?;
    }
    made
}

/// Has the holder start the daemon once more.
fn start_again(holder: u32, (name, files): (&Name, &Files)) -> Result<(), Box<dyn Error>> {
    fs::remove_file(files.ready())?;
    signal(holder, libc::SIGUSR1);
    await_serving(name, files)
}

/// Waits until the holder says that the daemon serves.
fn await_serving(name: &Name, files: &Files) -> Result<(), Box<dyn Error>> {
    let holder = OwnProcess::holder(name);
    let deadline = Instant::now() + PATIENCE;
    while !files.ready().exists() {
        let has_ended = holder.pid().is_none();
        if has_ended || Instant::now() > deadline {
            let how = if has_ended { "has ended" } else { "is not done" };
            let said = fs::read_to_string(files.log())?;
            return Err(format!("it cannot be made: its holder {how}, and has said:\n{said}").into());
        }
        thread::sleep(LOOKING_INTERVAL);
    }
    Ok(())
}

fn down(name: &Name, files: &Files) -> Result<(), Box<dyn Error>> {
    let _lock = lock(name)?;
    if !remove(name, files)? {
        say(&format!("{name} is not up."));
    }
    Ok(())
}

/// Ends the holder, which removes everything; then removes what a crash has left. Returns whether there was anything.
fn remove(name: &Name, files: &Files) -> Result<bool, Box<dyn Error>> {
    let mut is_own = files.are_own();
    // A daemon without its holder has been told to end, and may still be writing its state.
    for process in [OwnProcess::holder(name), OwnProcess::daemon(files)] {
        let Some(pid) = process.end()? else { continue };
        say(&format!("{}, process {pid}, has ended", process.program()));
        is_own = true;
    }
    if is_own {
        for left in cleanup::remove_namespaces(name.namespaces())? {
            say(&format!("removed {left}"));
        }
        if files.remove()? {
            say(&format!("removed {}", files.directory.display()));
        }
    }
    match left_by_others(name, files) {
        None => Ok(is_own),
        Some(what) => {
            Err(format!("{what} is there, and not known to be made by this program: it is left alone").into())
        }
    }
}

/// Something that has a name of this cluster's, though there is no such cluster.
fn left_by_others(name: &Name, files: &Files) -> Option<String> {
    if fs::symlink_metadata(&files.directory).is_ok() {
        return Some(files.directory.display().to_string());
    }
    let namespace = name.namespaces().find(|namespace| path_of(namespace).exists())?;
    Some(format!("network namespace {namespace}"))
}

fn hold(name: &Name, files: &Files) -> Result<(), Box<dyn Error>> {
    cleanup::on_signals()?;
    let mut asked = Signals::new([SIGUSR1])?;
    let cluster = Cluster::build_named(name.as_str())?;
    fs::write(files.configuration(), configuration(&files.directory))?;
    let mut daemon = serve(&cluster, files)?;
    fs::write(files.ready(), "")?;
    for _ in asked.forever() {
        // It has ended, or is about to: one that was killed can be waited for only once all its threads are gone.
        drop(daemon);
        daemon = serve(&cluster, files)?;
        fs::write(files.ready(), "")?;
    }
    Ok(())
}

/// Starts the daemon, and waits until all targets are served.
fn serve(cluster: &Cluster, files: &Files) -> Result<Process, Box<dyn Error>> {
    let own = OwnProcess::daemon(files);
    let mut command = cluster.lb.command(&built(own.program())?);
    command.args(own.arguments());
    let mut daemon = Process::start(&mut command, &files.daemon_log())?;
    let control = Client::new(&files.socket());
    if wait_until((&control, &mut daemon), PATIENCE, |targets| targets.iter().all(is_serving)) {
        Ok(daemon)
    } else {
        Err(format!("lbd does not serve:\n{}", daemon.printed()).into())
    }
}

fn lock(name: &Name) -> std::io::Result<Lock> {
    Lock::take(name, || eprintln!("cluster: another process makes or removes {name}; this one waits for it"))
}

/// Prints lines. A reader that went away is no failure of what is done.
fn say(lines: &str) {
    drop(writeln!(stdout(), "{lines}"));
}

/// A program beside this one, or a directory above it, where Cargo puts it.
fn built(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let mut places = own.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    if let Some(program) = places.find(|program| program.is_file()) {
        return Ok(program);
    }
    let how =
        "`./ci.sh cluster up` builds all that is needed, and so does `cargo build --bins --example cluster`";
    Err(format!("there is no {name} beside {} or a directory above it; {how}", own.display()).into())
}

/// How long making and removing may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOKING_INTERVAL: Duration = Duration::from_millis(50);

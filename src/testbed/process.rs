//! A program as a child process, usually inside a namespace: the load balancer's daemon, a web server.

use std::{
    fs::{self, File},
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use super::{
    Doing, TestbedError,
    cleanup::{self, Debt, Owed},
};

/// A running program. Dropping it ends the program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pidfd: OwnedFd,
    log: PathBuf,
    _owed: Owed,
}

impl Process {
    /// Starts `command` with what it prints appended to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program not started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Process, TestbedError> {
        let output = File::options().create(true).append(true).open(log);
        let output = output.doing(|| format!("open {}", log.display()))?;
        let errors = output.try_clone().doing(|| format!("open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let mut child = command.spawn().doing(|| format!("start {}", command.get_program().display()))?;
        let held = cleanup::pidfd(child.id()).and_then(|pidfd| Ok((pidfd.try_clone()?, pidfd)));
        match held {
            Ok((owed, pidfd)) => {
                Ok(Process { child, pidfd, log: log.to_owned(), _owed: Owed::new(Debt::Process(owed)) })
            }
            Err(error) => {
                // Without a handle it could be lost sight of.
                drop(child.kill());
                Err(error).doing(|| "hold on to the process".into())
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, SIGHUP for instance.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: libc::c_int) -> io::Result<()> {
        cleanup::signal_process(&self.pidfd, signal)
    }

    /// Whether it has ended by itself, and how.
    ///
    /// # Errors
    /// When the kernel cannot tell.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Ends it as a crash would: `kill -9`.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Stops it by SIGTERM and returns how it ended; by force when it takes longer than `patience`.
    ///
    /// # Errors
    /// When it was gone already or had to be forced.
    pub fn stop(mut self, patience: Duration) -> io::Result<ExitStatus> {
        self.signal(libc::SIGTERM)?;
        if !cleanup::has_ended_within(&self.pidfd, patience) {
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        match status.signal() {
            Some(signal) => Err(io::Error::other(format!("it ended by signal {signal}, not by itself"))),
            None => Ok(status),
        }
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended when it was stopped; otherwise a failure is under way and nothing better can be done.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            drop(self.signal(libc::SIGTERM));
            if !cleanup::has_ended_within(&self.pidfd, Duration::from_secs(3)) {
                drop(self.child.kill());
            }
            drop(self.child.wait());
        }
    }
}

//! Has a thread of the daemon stand still.

use std::{
    fs, ptr, thread,
    time::{Duration, Instant},
};

use libtest_mimic::Failed;

use crate::harness::{PATIENCE, Rig};

/// A thread of another process that does not run, for as long as this is there. Held by the thread that made it.
pub struct StoppedThread {
    thread: libc::pid_t,
}

impl StoppedThread {
    /// The daemon's thread of that name, once there is only one.
    pub fn of(rig: &Rig, name: &str) -> Result<StoppedThread, Failed> {
        let process = rig.daemon.as_ref().ok_or("no daemon was started")?.pid();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match threads(process, name)?[..] {
                [only] => return StoppedThread::seize(only),
                ref others if Instant::now() > deadline => {
                    return Err(
                        format!("process {process} has {} threads called {name}", others.len()).into()
                    );
                }
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn seize(thread: libc::pid_t) -> Result<StoppedThread, Failed> {
        let nothing = ptr::null_mut::<libc::c_void>();
        let stopped = StoppedThread { thread };
        for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
            // SAFETY: these requests read and write no memory of either process.
            if unsafe { libc::ptrace(request, thread, nothing, nothing) } != 0 {
                return Err(std::io::Error::last_os_error().into());
            }
        }
        let mut status = 0;
        // SAFETY: the status lives as long as the call.
        match unsafe { libc::waitpid(thread, &mut status, libc::__WALL) } {
            -1 => Err(std::io::Error::last_os_error().into()),
            _ => Ok(stopped),
        }
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        let nothing = ptr::null_mut::<libc::c_void>();
        // SAFETY: lets the thread go on; touches no memory. One that was not held is none of ours.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.thread, nothing, nothing) };
    }
}

/// The threads of a process that have that name.
fn threads(process: u32, name: &str) -> Result<Vec<libc::pid_t>, Failed> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let entry = entry?;
        // One that ends meanwhile has no name any more.
        let has_name =
            fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        if has_name {
            threads.push(entry.file_name().to_string_lossy().parse()?);
        }
    }
    Ok(threads)
}

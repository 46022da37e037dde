//! Has a thread of the daemon stand still.

use std::{fs, ptr};

use libtest_mimic::Failed;

use crate::harness::Rig;

/// A thread of another process that does not run, for as long as this is there. Held by the thread that made it.
pub struct StoppedThread {
    thread: libc::pid_t,
}

impl StoppedThread {
    /// The daemon's thread of that name.
    pub fn of(rig: &Rig, name: &str) -> Result<StoppedThread, Failed> {
        let process = rig.daemon.as_ref().ok_or("no daemon was started")?.pid();
        for entry in fs::read_dir(format!("/proc/{process}/task"))? {
            let directory = entry?.path();
            if fs::read_to_string(directory.join("comm"))?.trim_end() == name {
                let thread = directory.file_name().and_then(|name| name.to_str()).ok_or("no thread id")?;
                return StoppedThread::seize(thread.parse()?);
            }
        }
        Err(format!("process {process} has no thread called {name}").into())
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

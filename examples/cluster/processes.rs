//! The cluster's own processes, known by what they were started with: no file says which they are, so none can be lost, or be wrong.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::Path,
    thread,
    time::Instant,
};

use crate::{LOOKING_INTERVAL, PATIENCE, files::Files, name::Name};

/// A process that a cluster has at most one of.
pub struct OwnProcess {
    program: &'static str,
    arguments: Vec<OsString>,
}

impl OwnProcess {
    /// What holds the cluster: this program.
    pub fn holder(name: &Name) -> OwnProcess {
        OwnProcess {
            program: "cluster",
            arguments: ["--name", name.as_str(), "hold"].map(OsString::from).into(),
        }
    }

    /// The load balancer in it.
    pub fn daemon(files: &Files) -> OwnProcess {
        let arguments = ["run".into(), "--config".into(), files.configuration().into_os_string()];
        OwnProcess { program: "lbd", arguments: arguments.into() }
    }

    /// What the program is called by.
    pub fn program(&self) -> &'static str {
        self.program
    }

    /// What it is started with.
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// Its id, if it runs.
    pub fn pid(&self) -> Option<u32> {
        let entries = fs::read_dir("/proc").ok()?.flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|&pid| self.is(pid))
    }

    /// Has it end, if it runs. Returns which process it was.
    ///
    /// # Errors
    /// When it does not.
    pub fn end(&self) -> Result<Option<u32>, String> {
        let Some(pid) = self.pid() else { return Ok(None) };
        signal(pid, libc::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while self.is(pid) {
            if Instant::now() > deadline {
                return Err(format!("process {pid} ({}) does not end", self.program));
            }
            thread::sleep(LOOKING_INTERVAL);
        }
        Ok(Some(pid))
    }

    /// Whether a process is root's, of this program, and was started so. One that has ended has no arguments any more.
    fn is(&self, pid: u32) -> bool {
        let directory = Path::new("/proc").join(pid.to_string());
        let is_roots = fs::metadata(&directory).is_ok_and(|data| data.uid() == 0);
        let has_name =
            fs::read_to_string(directory.join("comm")).is_ok_and(|name| name.trim_end() == self.program);
        is_roots
            && has_name
            && fs::read(directory.join("cmdline")).is_ok_and(|line| self.has_arguments(&line))
    }

    /// Whether a command line, each word of which ends with a zero, has these arguments behind its first word.
    fn has_arguments(&self, command_line: &[u8]) -> bool {
        let words = command_line.strip_suffix(b"\0").unwrap_or_default().split(|&byte| byte == 0);
        words.skip(1).map(|word| OsString::from_vec(word.into())).eq(self.arguments.iter().cloned())
    }
}

/// Sends a signal to a process of root's. One that is gone needs none.
pub fn signal(pid: u32, signal: libc::c_int) {
    // SAFETY: kill takes two integers.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}

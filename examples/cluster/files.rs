//! What a cluster keeps outside of its namespaces: a directory in /tmp, which is removed only if this program made it, and a lock.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{HOLDER, name::Name};

/// Where things are kept.
pub struct Files {
    pub directory: PathBuf,
}

impl Files {
    pub fn of(name: &Name) -> Files {
        Files { directory: Path::new("/tmp").join(name.as_str()) }
    }

    /// Makes the directory, with the mark that it is this program's.
    ///
    /// # Errors
    /// When it is there already, or cannot be made.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir(&self.directory)?;
        fs::write(self.pid_of(HOLDER), "")
    }

    /// Whether there is such a directory and this program has made it: it is root's own, and has the file of the holder's pid.
    pub fn are_own(&self) -> bool {
        let is_roots = |path: &Path, is_kind: fn(&fs::Metadata) -> bool| {
            fs::symlink_metadata(path).is_ok_and(|data| is_kind(&data) && data.uid() == 0)
        };
        is_roots(&self.directory, fs::Metadata::is_dir)
            && is_roots(&self.pid_of(HOLDER), fs::Metadata::is_file)
    }

    pub fn pid_of(&self, program: &str) -> PathBuf {
        self.directory.join(program).with_extension("pid")
    }

    /// It is there while the daemon that was started last has come to serve.
    pub fn ready(&self) -> PathBuf {
        self.directory.join("ready")
    }

    /// What the holder says.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub fn daemon_log(&self) -> PathBuf {
        self.directory.join("lbd.log")
    }

    pub fn configuration(&self) -> PathBuf {
        self.directory.join("lbd.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("control/lbd.sock")
    }

    /// The process of a program, if it runs and its pid was not given to another program.
    pub fn running(&self, program: &str) -> Option<u32> {
        let pid = fs::read_to_string(self.pid_of(program)).ok()?.parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        // One that has ended, but whose parent has not heard of it, has no file any more.
        let has_file = fs::read_link(format!("/proc/{pid}/exe")).is_ok();
        (name.trim_end() == program && has_file).then_some(pid)
    }
}

/// The right to make or remove a cluster of a name: one process at a time has it.
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits for it as long as another has it, after `waiting`.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn take(name: &Name, waiting: impl Fn()) -> io::Result<Lock> {
        let path = Path::new("/run").join(format!("lbd-cluster.{name}.lock"));
        loop {
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).custom_flags(libc::O_NOFOLLOW).open(&path)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    waiting();
                    file.lock()?;
                }
                tried => tried?,
            }
            // Who had it has removed its file, and a third may have made a new one.
            let is_the_one = fs::metadata(&path)
                .is_ok_and(|data| file.metadata().is_ok_and(|own| own.ino() == data.ino()));
            if is_the_one {
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // One that stays is locked by nobody, and taken by the next.
        drop(fs::remove_file(&self.path));
    }
}

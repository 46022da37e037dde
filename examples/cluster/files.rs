//! What a cluster keeps outside of its namespaces: a directory in /tmp, which is removed only if this program made it, and a lock.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::name::Name;

/// Where things are kept.
pub struct Files {
    pub directory: PathBuf,
    /// What the mark says.
    mark: String,
}

impl Files {
    pub fn of(name: &Name) -> Files {
        Files {
            directory: Path::new("/tmp").join(name.as_str()),
            mark: format!(
                "Files of lbd's test cluster {name}: `cluster --name {name} down` removes this directory.\n"
            ),
        }
    }

    /// Makes the directory, with the mark that it is this program's.
    ///
    /// # Errors
    /// When it is there already, or cannot be made.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir(&self.directory)?;
        fs::write(self.directory.join(MARK), &self.mark)
    }

    /// Whether there is such a directory and this program has made it for a cluster of this name: both it and the mark are root's own,
    /// and the mark says so.
    pub fn are_own(&self) -> bool {
        let mark = self.directory.join(MARK);
        let is_roots = |path: &Path, is_kind: fn(&fs::Metadata) -> bool| {
            fs::symlink_metadata(path).is_ok_and(|data| is_kind(&data) && data.uid() == 0)
        };
        is_roots(&self.directory, fs::Metadata::is_dir)
            && is_roots(&mark, fs::Metadata::is_file)
            && fs::read_to_string(mark).is_ok_and(|text| text == self.mark)
    }

    /// Removes the directory, if it is this program's. Returns whether it was.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(&self) -> io::Result<bool> {
        if self.are_own() {
            return fs::remove_dir_all(&self.directory).map(|()| true);
        }
        // A daemon whose files somebody has removed makes its socket's directory again. What is not empty is not its own.
        self.socket().ancestors().skip(1).take(2).for_each(|directory| drop(fs::remove_dir(directory)));
        Ok(false)
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

/// The file that marks a directory as one of a cluster's.
const MARK: &str = "lbd-cluster";

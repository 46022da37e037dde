//! Keeps two instances off one interface: a locked file, which the kernel unlocks when its process ends, however it ends.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::device::Device;

/// The right to use an interface. Its file is removed on drop.
#[derive(Debug)]
pub(crate) struct InterfaceLock {
    path: PathBuf,
    _file: File,
}

/// Why an interface cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another instance has it.
    #[error("interface {interface} is in use by another instance (process {process}); stop that one first")]
    Held {
        /// The interface.
        interface: String,
        /// The other's process id, as it wrote it down.
        process: String,
    },
    /// The file cannot be used.
    #[error("cannot lock {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
}

impl InterfaceLock {
    /// Locks the interface by a file in `directory`, which is made if need be.
    pub(crate) fn acquire(directory: &Path, device: &Device) -> Result<InterfaceLock, LockError> {
        let path = path(directory, &device.name);
        let failed = |source| LockError::File { path: path.clone(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        loop {
            let mut file = open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut process = String::new();
                    let _ = file.read_to_string(&mut process);
                    let process = process.trim().to_owned();
                    return Err(LockError::Held { interface: device.name.clone(), process });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            // Whoever held it may have removed the file after we opened it: then this lock is worth nothing.
            if is_same_file(&file, &path) {
                file.set_len(0).map_err(failed)?;
                writeln!(file, "{}", std::process::id()).map_err(failed)?;
                return Ok(InterfaceLock { path, _file: file });
            }
        }
    }
}

impl Drop for InterfaceLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The file that locks an interface. Interfaces of different network namespaces can have one name.
pub(crate) fn path(directory: &Path, interface: &str) -> PathBuf {
    let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |metadata| metadata.ino());
    directory.join(format!("{interface}-{namespace}.lock"))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(opened), Ok(named)) => (opened.dev(), opened.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use lb_core::tables::Mac;

    use super::*;

    /// Locks an interface of this name.
    pub(crate) fn acquire(directory: &Path, interface: &str) -> InterfaceLock {
        InterfaceLock::acquire(directory, &device(interface)).unwrap()
    }

    fn device(name: &str) -> Device {
        Device {
            name: name.to_owned(),
            index: 1,
            mac: Mac::default(),
            mtu: 1500,
            queues: 1,
            transmit_queues: 1,
            driver: String::new(),
            is_veth: true,
            receive_hash: None,
        }
    }

    #[test]
    fn an_interface_is_locked_once_and_the_file_goes_with_the_lock() {
        let directory = std::env::temp_dir().join(format!("lb-io-lock-{}", std::process::id()));
        let first = InterfaceLock::acquire(&directory, &device("a")).unwrap();
        match InterfaceLock::acquire(&directory, &device("a")) {
            Err(LockError::Held { interface, process }) => {
                assert_eq!((interface, process), ("a".to_owned(), std::process::id().to_string()));
            }
            other => panic!("locked twice: {other:?}"),
        }
        let other = InterfaceLock::acquire(&directory, &device("b")).unwrap();
        drop(first);
        drop(InterfaceLock::acquire(&directory, &device("a")).unwrap());
        drop(other);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn a_leftover_file_is_no_lock() {
        let directory = std::env::temp_dir().join(format!("lb-io-leftover-{}", std::process::id()));
        let path = InterfaceLock::acquire(&directory, &device("a")).unwrap().path.clone();
        fs::write(&path, "4294967295\n").unwrap();
        drop(InterfaceLock::acquire(&directory, &device("a")).unwrap());
        fs::remove_dir(&directory).unwrap();
    }
}

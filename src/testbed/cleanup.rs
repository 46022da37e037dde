//! What is owed to the machine: everything that the testbed made and must take away again, whatever ends the program.
//!
//! Each thing is written into one list before it is made, and its owner takes it away on drop. A signal takes away all that is
//! still on the list; a later run sweeps what a `kill -9` left, by the owner's pid in the name.

use std::{
    collections::BTreeMap,
    fs, io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{Doing, TestbedError, checked, namespace};

/// A name for something new: `lbd-PID-N`, unique on this machine while the process lives.
pub fn unique_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A directory of this run's own, removed with everything in it when dropped.
#[derive(Debug)]
pub struct OwnDirectory {
    path: PathBuf,
    _owed: Owed,
}

impl OwnDirectory {
    /// Makes an empty directory under the system's directory for temporary files.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create() -> Result<OwnDirectory, TestbedError> {
        let path = std::env::temp_dir().join(unique_name());
        let owed = Owed::new(Debt::Directory(path.clone()));
        fs::create_dir(&path).doing(|| format!("create the directory {}", path.display()))?;
        Ok(OwnDirectory { path, _owed: owed })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A setting of the whole machine's kernel, changed for as long as this lives. Only a `kill -9` leaves it changed.
#[derive(Debug)]
pub struct Setting {
    _owed: Owed,
}

impl Setting {
    /// Writes `value` into the file `path` below /proc/sys, as `vm/nr_hugepages`.
    ///
    /// # Errors
    /// When the setting does not exist or does not take the value.
    pub fn change(path: &str, value: &str) -> Result<Setting, TestbedError> {
        let path = Path::new("/proc/sys").join(path);
        let before = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
        let owed = Owed::new(Debt::Setting { path: path.clone(), before });
        fs::write(&path, value).doing(|| format!("write {value} to {}", path.display()))?;
        Ok(Setting { _owed: owed })
    }
}

/// From now on Ctrl-C and SIGTERM take away all that is owed and end the program with exit code 130 or 143.
///
/// # Errors
/// When the signal handlers cannot be set.
pub fn on_signals() -> Result<(), TestbedError> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).doing(|| "set signal handlers".into())?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end_by(signal);
        }
    });
    Ok(())
}

/// Removes what earlier runs left behind whose process is gone. Returns the names of what was removed.
pub fn sweep() -> Vec<String> {
    let leftovers = |directory: &Path, debt: fn(PathBuf) -> Debt| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let orphans = entries.filter(is_orphan);
        orphans.map(|entry| debt(entry.path())).collect::<Vec<_>>()
    };
    let mut debts = leftovers(Path::new(namespace::DIRECTORY), Debt::Namespace);
    debts.extend(leftovers(&std::env::temp_dir(), Debt::Directory));
    debts.into_iter().filter_map(|debt| debt.pay().ok()).collect()
}

/// Removes those of the network namespaces called `names` that there are, whoever made them. Returns what was removed.
///
/// # Errors
/// The first that cannot be removed.
pub fn remove_namespaces(names: impl Iterator<Item = String>) -> io::Result<Vec<String>> {
    let there = names.map(|name| namespace::path_of(&name)).filter(|path| path.exists());
    there.map(|path| Debt::Namespace(path).pay()).collect()
}

/// One thing that is taken away when this is dropped.
#[derive(Debug)]
pub(super) struct Owed(u64);

impl Owed {
    pub(super) fn new(debt: Debt) -> Owed {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        debts().insert(id, debt);
        Owed(id)
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        let debt = debts().remove(&self.0);
        // Nobody can be told while a panic may be under way; a later sweep tries again.
        drop(debt.map(Debt::pay));
    }
}

/// What can be owed.
#[derive(Debug)]
pub(super) enum Debt {
    /// A named namespace: the file it is mounted on.
    Namespace(PathBuf),
    /// A directory with everything in it.
    Directory(PathBuf),
    /// A process that is still to be ended: its pidfd.
    Process(OwnedFd),
    /// A setting that was changed: its file, and what stood there.
    Setting { path: PathBuf, before: String },
}

impl Debt {
    /// Takes the thing away and returns its name.
    fn pay(self) -> io::Result<String> {
        match self {
            Debt::Namespace(path) => {
                unmount(&path)?;
                fs::remove_file(&path)?;
                Ok(format!("network namespace {}", file_name(&path)))
            }
            Debt::Directory(path) => {
                fs::remove_dir_all(&path)?;
                Ok(format!("directory {}", path.display()))
            }
            Debt::Process(pidfd) => {
                end_process(&pidfd);
                Ok("a process".to_owned())
            }
            Debt::Setting { path, before } => {
                fs::write(&path, before)?;
                Ok(format!("the change of {}", path.display()))
            }
        }
    }
}

/// A descriptor of process `pid`, which must be a child that was not waited for yet.
pub(super) fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid.cast_signed()), 0) };
    let fd = checked(libc::c_int::try_from(fd).unwrap_or(-1))?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process of a pidfd, and to no other even when its pid was given away meanwhile.
pub(super) fn signal_process(pidfd: &OwnedFd, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no siginfo is given; the other arguments are integers.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until the process has ended, also as a zombie. Returns whether it has.
pub(super) fn has_ended_within(pidfd: &OwnedFd, patience: Duration) -> bool {
    let mut poll = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout_ms = libc::c_int::try_from(patience.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `poll` is one valid pollfd.
    unsafe { libc::poll(&mut poll, 1, timeout_ms) == 1 }
}

/// Asks the process to end, and ends it when it does not.
fn end_process(pidfd: &OwnedFd) {
    // A failure means that the process is gone already, which is what is wanted.
    drop(signal_process(pidfd, libc::SIGTERM));
    if !has_ended_within(pidfd, PATIENCE) {
        drop(signal_process(pidfd, libc::SIGKILL));
        has_ended_within(pidfd, PATIENCE);
    }
}

/// Takes away all that is owed and exits. Holding the standard streams keeps other threads from reporting the ruins.
fn end_by(signal: libc::c_int) -> ! {
    let _out = io::stdout().lock();
    eprintln!("\ninterrupted: cleaning up");
    let _err = io::stderr().lock();
    let mut debts = debts();
    while let Some((_, debt)) = debts.pop_last() {
        drop(debt.pay());
    }
    std::process::exit(128 + signal)
}

/// All that is owed, in the order in which it was made.
fn debts() -> MutexGuard<'static, BTreeMap<u64, Debt>> {
    static DEBTS: Mutex<BTreeMap<u64, Debt>> = Mutex::new(BTreeMap::new());
    DEBTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a file is one of ours (name and user) and its owner's process is gone.
fn is_orphan(entry: &fs::DirEntry) -> bool {
    let owner = entry.file_name().to_str().and_then(owner_of);
    // SAFETY: geteuid only reads the process's own credentials.
    let ours = entry.metadata().is_ok_and(|data| data.uid() == unsafe { libc::geteuid() });
    owner.is_some_and(|pid| ours && !Path::new("/proc").join(pid.to_string()).exists())
}

/// The pid in a name made by [`unique_name`], with or without a suffix.
fn owner_of(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

fn unmount(path: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `path` is a valid C string.
    let answer = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    match checked(answer) {
        // A file that never became a mount point is as good.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other.map(drop),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// First part of every name that the testbed gives.
const PREFIX: &str = "lbd-";
/// How long a process may take to end when asked, and again when forced.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_owner() {
        assert_eq!(owner_of(&unique_name()), Some(std::process::id()));
        assert_eq!(owner_of("lbd-12-0-client"), Some(12));
    }

    #[test]
    fn names_of_others_are_left_alone() {
        for name in ["lbd", "lbd-", "lbd-x-0", "lbd-12", "blbd-12-0", "client"] {
            assert_eq!(owner_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_directory_goes_with_its_owner() {
        let directory = OwnDirectory::create().expect("a temporary directory");
        let path = directory.path().to_owned();
        fs::write(path.join("file"), "text").expect("a file in it");
        drop(directory);
        assert!(!path.exists());
    }
}

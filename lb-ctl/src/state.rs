//! What must outlive the daemon: the selection secret, the run marker, ports taken from the host, the objects, and
//! the last known health of targets.
//!
//! One directory, used by one process at a time. Every write is whole or absent (a new file, synced, renamed over the old
//! one). What cannot be read is an error with the file's name; the daemon goes on without it where it can.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use lb_core::hash;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    health::{TargetHealth, TargetKey},
    hex,
    store::Kept,
};

/// The state directory, locked for as long as this lives.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    /// Locked; the kernel frees it however the process ends.
    lock: File,
}

impl Drop for StateDirectory {
    /// A child that is being started has a copy of the file for a moment, which would keep the lock.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

/// Says that a process runs, or ran and did not stop cleanly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMarker {
    /// Process id.
    pub pid: u32,
    /// Addresses that the process put on interfaces, to be taken off at a clean stop.
    pub assigned: Vec<AssignedAddress>,
}

/// An address that the daemon put on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignedAddress {
    /// Interface.
    pub interface: String,
    /// Address.
    pub address: IpAddr,
}

impl RunMarker {
    /// The marker in a state directory that another process may have locked. One that cannot be understood still is one.
    pub fn read(directory: &Path) -> Result<Option<RunMarker>, StateError> {
        let bytes = read(directory, RUN)?;
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes).unwrap_or_default()))
    }
}

/// Ports that the daemon has reserved in the kernel's settings, to be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortNote {
    /// Which settings: those of this boot and network namespace.
    pub place: String,
    /// The ports, as in `net.ipv4.ip_local_reserved_ports`.
    pub ports: String,
}

/// Why state could not be read or written.
#[derive(Debug)]
pub struct StateError {
    path: PathBuf,
    what: String,
}

impl StateDirectory {
    /// Makes the directory if need be (mode 0700) and locks it: fails when another process has it.
    pub fn open(path: &Path) -> Result<StateDirectory, StateError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| fault(path, format!("cannot be made as the state directory: {error}")))?;
        let lock_path = path.join(LOCK);
        let options =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = options.map_err(|error| fault(&lock_path, format!("cannot be opened: {error}")))?;
        match lock.try_lock() {
            Ok(()) => Ok(StateDirectory { path: path.into(), lock }),
            Err(TryLockError::WouldBlock) => {
                Err(fault(path, "is in use: another lbd runs with this state directory".into()))
            }
            Err(TryLockError::Error(error)) => Err(fault(&lock_path, format!("cannot be locked: {error}"))),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret of target selection: drawn at the first call ever (mode 0600), the same ever after. A damaged file is an
    /// error, not a reason to draw another: existing flows would not find their targets again.
    pub fn selection_secret(&self) -> Result<[u8; 16], StateError> {
        let path = self.path.join(SECRET);
        match self.read(SECRET)? {
            Some(bytes) => {
                let secret = std::str::from_utf8(&bytes).ok().and_then(|text| hex::bytes(text.trim_end()));
                let advice = "holds something other than 32 hex digits: restore it, or remove it to have a new secret drawn";
                secret.ok_or_else(|| fault(&path, advice.into()))
            }
            None => {
                let mut secret = [0; 16];
                let drawn = getrandom::fill(&mut secret);
                drawn.map_err(|error| fault(&path, format!("cannot be drawn: {error}")))?;
                self.write(SECRET, format!("{}\n", hex::digits(&secret)).as_bytes())?;
                Ok(secret)
            }
        }
    }

    /// The marker of an earlier run that did not stop cleanly.
    pub fn unclean_run(&self) -> Result<Option<RunMarker>, StateError> {
        RunMarker::read(&self.path)
    }

    /// Notes that this process runs, or that what it has assigned changed.
    pub fn mark_run(&self, marker: &RunMarker) -> Result<(), StateError> {
        self.write_json(RUN, marker)
    }

    /// Notes a clean stop.
    pub fn mark_stopped(&self) -> Result<(), StateError> {
        self.remove(RUN)
    }

    /// The ports that were noted last.
    pub fn reserved_ports(&self) -> Result<Option<PortNote>, StateError> {
        self.read_json(PORTS)
    }

    /// Notes reserved ports, or that there are none.
    pub fn note_reserved_ports(&self, note: Option<&PortNote>) -> Result<(), StateError> {
        note.map_or_else(|| self.remove(PORTS), |note| self.write_json(PORTS, note))
    }

    /// The states saved last; none when there are none.
    pub fn health(&self) -> Result<Vec<(TargetKey, TargetHealth)>, StateError> {
        Ok(self.read_json(HEALTH)?.unwrap_or_default())
    }

    /// Saves the states of targets.
    pub fn save_health(&self, states: &[(TargetKey, TargetHealth)]) -> Result<(), StateError> {
        self.write_json(HEALTH, &states)
    }

    /// The objects that were kept last; `None` at the first start. A damaged file is an error, not a reason to begin without: what was
    /// made by call would be lost.
    pub fn objects(&self) -> Result<Option<Kept>, StateError> {
        let Some(bytes) = self.read(OBJECTS)? else { return Ok(None) };
        let wrong = |what: String| fault(&self.path.join(OBJECTS), what);
        let damaged = |error: serde_json::Error| wrong(format!("is damaged: {error}: {OBJECTS_ADVICE}"));
        let Sealed { checksum, content } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if checksum != seal(content.get()) {
            return Err(wrong(format!("is damaged: its checksum is wrong: {OBJECTS_ADVICE}")));
        }
        let version = serde_json::from_str::<Versioned>(content.get()).map_err(damaged)?.version;
        if !Kept::is_understood(version) {
            return Err(wrong(format!("is of another version of lbd, {version}: {VERSION_ADVICE}")));
        }
        serde_json::from_str(content.get()).map(Some).map_err(damaged)
    }

    /// Keeps objects: when this returns, they outlive a power cut.
    pub fn save_objects(&self, kept: &Kept) -> Result<(), StateError> {
        let sealed = || {
            let content = serde_json::value::to_raw_value(kept)?;
            serde_json::to_vec(&Sealed { checksum: seal(content.get()), content: &content })
        };
        let bytes = sealed();
        let bytes =
            bytes.map_err(|error| fault(&self.path.join(OBJECTS), format!("cannot be written: {error}")));
        self.write(OBJECTS, &bytes?)
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let Some(bytes) = self.read(name)? else { return Ok(None) };
        let value = serde_json::from_slice(&bytes);
        value.map(Some).map_err(|error| fault(&self.path.join(name), format!("is damaged: {error}")))
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(value);
        let bytes =
            bytes.map_err(|error| fault(&self.path.join(name), format!("cannot be written: {error}")))?;
        self.write(name, &bytes)
    }

    fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.path.join(name);
        match fs::remove_file(&path).and_then(|()| sync_directory(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(fault(&path, format!("cannot be removed: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        read(&self.path, name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.path.join(name);
        let new = self.path.join(format!(".{name}.new"));
        let written = replace_file(&self.path, &path, &new, bytes);
        if written.is_err() {
            drop(fs::remove_file(&new)); // Of a disk that is full, not even this leaves something behind.
        }
        written.map_err(|error| fault(&path, format!("cannot be written: {error}")))
    }
}

fn read(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, StateError> {
    let path = directory.join(name);
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(FILE_BYTES).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault(&path, format!("cannot be read: {error}"))),
    }
}

/// What stands in the file of the objects: a content, and what tells whether it is whole.
#[derive(Serialize, Deserialize)]
struct Sealed<'c> {
    checksum: String,
    #[serde(borrow)]
    content: &'c RawValue,
}

/// As much of every version's content.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn seal(content: &str) -> String {
    format!("{:016x}", hash::name(content))
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.what)
    }
}

impl std::error::Error for StateError {}

fn replace_file(directory: &Path, path: &Path, new: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    sync_directory(directory)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn fault(path: &Path, what: String) -> StateError {
    StateError { path: path.into(), what }
}

const LOCK: &str = "lock";
const SECRET: &str = "selection.secret";
const RUN: &str = "run.json";
const PORTS: &str = "reserved_ports.json";
const HEALTH: &str = "health.json";
const OBJECTS: &str = "objects.json";
const OBJECTS_ADVICE: &str =
    "restore it, or remove it to start with what the configuration file declares alone";
const VERSION_ADVICE: &str = "start the lbd that wrote it, and move by lbctl export; removing the file loses all that was made by call";

/// No state file is longer, in bytes.
const FILE_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::health::Cause;

    #[test]
    fn the_secret_is_drawn_once_and_kept_private() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/b");
        let secret = StateDirectory::open(&path).unwrap().selection_secret().unwrap();
        assert_ne!(secret, [0; 16]);
        assert_eq!(StateDirectory::open(&path).unwrap().selection_secret().unwrap(), secret);
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode(SECRET)), (0o700, 0o600));
    }

    #[test]
    fn a_damaged_secret_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(scratch.path()).unwrap();
        for damaged in ["", "0011", "\0\0", "zz112233445566778899aabbccddeeff"] {
            fs::write(scratch.path().join(SECRET), damaged).unwrap();
            let message = state.selection_secret().unwrap_err().to_string();
            assert!(
                message.contains("selection.secret holds something other than 32 hex digits"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_second_process_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let first = StateDirectory::open(scratch.path()).unwrap();
        assert!(StateDirectory::open(scratch.path()).unwrap_err().to_string().contains("another lbd runs"));
        drop(first);
        StateDirectory::open(scratch.path()).unwrap();
    }

    #[test]
    fn a_run_that_was_not_stopped_is_seen() {
        let scratch = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(scratch.path()).unwrap();
        assert_eq!(state.unclean_run().unwrap(), None);
        let assigned = AssignedAddress { interface: "eth0".into(), address: "198.18.100.1".parse().unwrap() };
        let marker = RunMarker { pid: 7, assigned: vec![assigned] };
        state.mark_run(&marker).unwrap();
        assert_eq!(state.unclean_run().unwrap(), Some(marker));
        fs::write(scratch.path().join(RUN), "{").unwrap();
        assert_eq!(state.unclean_run().unwrap(), Some(RunMarker::default()));
        state.mark_stopped().unwrap();
        state.mark_stopped().unwrap();
        assert_eq!(state.unclean_run().unwrap(), None);
    }

    #[test]
    fn objects_are_kept_and_damage_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(scratch.path()).unwrap();
        assert_eq!(state.objects().unwrap(), None);
        let kept = Kept::new(7, "interfaces = []".into(), Default::default());
        state.save_objects(&kept).unwrap();
        assert_eq!(state.objects().unwrap(), Some(kept));
        let text = fs::read_to_string(scratch.path().join(OBJECTS)).unwrap();
        let other = r#"{"version":2,"objects":"compressed"}"#;
        for (text, what) in [
            (text[..20].to_owned(), "is damaged: "),
            (text.replace("\"generation\":7", "\"generation\":8"), "is damaged: its checksum is wrong"),
            (
                format!(r#"{{"checksum":"{}","content":{other}}}"#, seal(other)),
                "is of another version of lbd, 2",
            ),
        ] {
            fs::write(scratch.path().join(OBJECTS), text).unwrap();
            let message = state.objects().unwrap_err().to_string();
            assert!(message.contains(&format!("objects.json {what}")), "{message}");
        }
    }

    #[test]
    fn health_is_kept_and_damage_is_said() {
        let scratch = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(scratch.path()).unwrap();
        assert_eq!(state.health().unwrap(), []);
        let key = TargetKey { group: "web".into(), address: "198.19.1.2".parse().unwrap(), port: 80 };
        let rows = [(key, TargetHealth::Unhealthy(Cause::Refused))];
        state.save_health(&rows).unwrap();
        assert_eq!(state.health().unwrap(), rows);
        fs::write(scratch.path().join(HEALTH), "[{]").unwrap();
        assert!(state.health().unwrap_err().to_string().contains("health.json is damaged"));
    }
}

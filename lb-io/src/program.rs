//! The XDP program and its maps: read from the committed object, loaded, filled.
//!
//! One pair of maps, `addresses` and `endpoints`, serves every interface; each interface has a program and a map of
//! sockets by queue of its own. `bpf/redirect.bpf.c` is the source; `attach` puts the program on an interface.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use lb_core::steer::Steering;
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, RelocationTarget,
    read::elf::{ElfFile64, ElfSymbol64},
};

use crate::bpf::{self, Map, MapDefinition};

/// Why the XDP program or its maps cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// bpf(2) is not allowed.
    #[error(
        "not allowed to {0}: root, or the capabilities CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_NET_RAW and, to take over what a crash left, CAP_SYS_ADMIN, are needed"
    )]
    NotPermitted(&'static str),
    /// The kernel refused.
    #[error("the kernel refused to {action}: {source}{}", log_lines(log))]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
        /// The verifier's words, empty when it had none.
        log: String,
    },
    /// The object inside this binary is not as its loader expects it: a defect of the build.
    #[error("the XDP program inside this binary is damaged: {0}")]
    Damaged(&'static str),
}

/// The maps that say what is ours, shared by the programs of all interfaces.
#[derive(Debug)]
pub struct SteeringMaps {
    addresses: Map,
    endpoints: Map,
    applied: Steering,
}

impl SteeringMaps {
    /// Makes the maps, empty: everything is the kernel's.
    pub fn create() -> Result<SteeringMaps, ProgramError> {
        let object = SteeringObject::parse()?;
        Ok(SteeringMaps {
            addresses: object.create_map("addresses")?,
            endpoints: object.create_map("endpoints")?,
            applied: Steering::default(),
        })
    }

    /// Changes the maps to hold `steering`: adds before it removes, so that nothing which stays ours is ever passed.
    /// After an error the maps hold a part of the change; applying again goes on from there.
    pub fn apply(&mut self, steering: &Steering) -> Result<(), ProgramError> {
        let SteeringMaps { addresses, endpoints, applied } = self;
        insert_missing(&mut applied.endpoints, &steering.endpoints, |key, roles| {
            endpoints.insert(&key.0, &roles.to_ne_bytes())
        })?;
        insert_missing(&mut applied.addresses, &steering.addresses, |key, entry| {
            addresses.insert(&key.0, &entry.to_bytes())
        })?;
        remove_extra(&mut applied.addresses, &steering.addresses, |key| addresses.remove(&key.0))?;
        remove_extra(&mut applied.endpoints, &steering.endpoints, |key| endpoints.remove(&key.0))
    }
}

/// The program of one interface, loaded, with its map of sockets.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    id: u32,
    sockets: Map,
}

impl Program {
    /// Loads the program over `maps`, with no socket yet: what is ours is dropped.
    pub fn load(maps: &SteeringMaps) -> Result<Program, ProgramError> {
        let object = SteeringObject::parse()?;
        let sockets = object.create_map("xsks")?;
        let instructions = object.instructions(|name| match name {
            "addresses" => Some(maps.addresses.as_raw_fd()),
            "endpoints" => Some(maps.endpoints.as_raw_fd()),
            "xsks" => Some(sockets.as_raw_fd()),
            _ => None,
        })?;
        let mut log = String::new();
        let fd = bpf::load_xdp(NAME, &instructions, object.section("license")?, &mut log)
            .map_err(|source| refused("load the XDP program", source, log))?;
        let (id, _) = bpf::program_identity(fd.as_fd())
            .map_err(|source| refused("describe the XDP program", source, String::new()))?;
        Ok(Program { fd, id, sockets })
    }

    /// Gives frames of receive queue `queue` to an AF_XDP socket.
    pub(crate) fn serve(&self, queue: u32, socket: RawFd) -> Result<(), ProgramError> {
        self.sockets
            .insert(&queue.to_ne_bytes(), &socket.to_ne_bytes())
            .map_err(|source| refused("give a queue's frames to its socket", source, String::new()))
    }

    /// The kernel's number for the program.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Runs the program on a copy of `frame`, which must be at least 14 bytes long.
    pub fn test_run(&self, frame: &[u8]) -> io::Result<XdpAction> {
        match bpf::test_run(self.fd.as_fd(), frame)? {
            1 => Ok(XdpAction::Drop),
            2 => Ok(XdpAction::Pass),
            4 => Ok(XdpAction::Redirect),
            other => Err(io::Error::other(format!("the program returned {other}"))),
        }
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What the program does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpAction {
    /// Ours, and the queue has no socket.
    Drop,
    /// The kernel's.
    Pass,
    /// Ours, given to the queue's socket.
    Redirect,
}

/// Name of the program in the kernel, by which a later process knows it for ours.
pub(crate) const NAME: &str = "lbd_steer";

/// Sets the keys that are not in the map yet, or with another value.
fn insert_missing<K: Copy + Ord, V: Copy + PartialEq>(
    applied: &mut BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    insert: impl Fn(&K, V) -> io::Result<()>,
) -> Result<(), ProgramError> {
    for (key, &value) in wanted {
        if applied.get(key) != Some(&value) {
            insert(key, value)
                .map_err(|source| refused("add to the XDP program's maps", source, String::new()))?;
            applied.insert(*key, value);
        }
    }
    Ok(())
}

/// Takes out the keys that are no longer wanted.
fn remove_extra<K: Copy + Ord, V>(
    applied: &mut BTreeMap<K, V>,
    wanted: &BTreeMap<K, V>,
    remove: impl Fn(&K) -> io::Result<()>,
) -> Result<(), ProgramError> {
    let extra: Vec<K> = applied.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
    for key in extra {
        remove(&key)
            .map_err(|source| refused("remove from the XDP program's maps", source, String::new()))?;
        applied.remove(&key);
    }
    Ok(())
}

/// The object file that `bpf/build.sh` makes.
struct SteeringObject {
    file: ElfFile64<'static, Endianness>,
}

impl SteeringObject {
    fn parse() -> Result<SteeringObject, ProgramError> {
        let file = ElfFile64::parse(&OBJECT.0[..]).map_err(|_| ProgramError::Damaged("not an ELF file"))?;
        Ok(SteeringObject { file })
    }

    fn section(&self, name: &str) -> Result<&'static [u8], ProgramError> {
        let section = self.file.section_by_name(name).ok_or(ProgramError::Damaged("a section is missing"))?;
        section.data().map_err(|_| ProgramError::Damaged("a section is cut short"))
    }

    fn create_map(&self, name: &'static str) -> Result<Map, ProgramError> {
        let definition = self.map_definition(name)?;
        Map::create(&definition, name)
            .map_err(|source| refused("make the XDP program's maps", source, String::new()))
    }

    fn map_definition(&self, name: &str) -> Result<MapDefinition, ProgramError> {
        let symbol = self.file.symbol_by_name(name).ok_or(ProgramError::Damaged("a map is missing"))?;
        let start = symbol.address() as usize;
        let bytes = self
            .section("maps")?
            .get(start..start + 16)
            .ok_or(ProgramError::Damaged("a map's definition is cut short"))?;
        let word = |index: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[index * 4 + byte]));
        Ok(MapDefinition { kind: word(0), key_bytes: word(1), value_bytes: word(2), entries: word(3) })
    }

    /// The program's instructions, with every reference to a map replaced by the map's descriptor.
    fn instructions(&self, map_fd: impl Fn(&str) -> Option<RawFd>) -> Result<Vec<u8>, ProgramError> {
        let damaged = ProgramError::Damaged;
        let section = self.file.section_by_name("xdp").ok_or(damaged("there is no program"))?;
        let mut code = self.section("xdp")?.to_vec();
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                return Err(damaged("a reference is of an unknown kind"));
            };
            let symbol: ElfSymbol64<'_, '_, Endianness> =
                self.file.symbol_by_index(index).map_err(|_| damaged("a reference points nowhere"))?;
            let name = symbol.name().map_err(|_| damaged("a symbol has no name"))?;
            let fd = map_fd(name).ok_or(damaged("a reference is to an unknown map"))?;
            let at = offset as usize;
            let instruction =
                code.get_mut(at..at + 8).ok_or(damaged("a reference is outside of the program"))?;
            instruction[1] = (instruction[1] & 0x0f) | (BPF_PSEUDO_MAP_FD << 4);
            instruction[4..8].copy_from_slice(&fd.to_ne_bytes());
        }
        Ok(code)
    }
}

fn refused(action: &'static str, source: io::Error, log: String) -> ProgramError {
    match source.raw_os_error() {
        // Without CAP_PERFMON the verifier says that something is prohibited for others than root.
        Some(libc::EPERM | libc::EACCES) if log.is_empty() || log.contains("!root") => {
            ProgramError::NotPermitted(action)
        }
        _ => ProgramError::Refused { action, source, log },
    }
}

/// The end of the verifier's log, which is where the reason stands.
fn log_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| format!("\n  {line}")).collect()
}

/// The object, aligned as an ELF reader wants it.
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!("../bpf/redirect.bpf.o"));

#[repr(C, align(8))]
struct Aligned<B: ?Sized>(B);

const BPF_PSEUDO_MAP_FD: u8 = 1;
const LOG_LINES: usize = 8;

#[cfg(test)]
mod tests {
    use lb_core::limits;

    use super::*;

    #[test]
    fn the_maps_hold_every_key_that_the_limits_allow() {
        let object = SteeringObject::parse().unwrap();
        let addresses = object.map_definition("addresses").unwrap();
        let endpoints = object.map_definition("endpoints").unwrap();
        let sockets = object.map_definition("xsks").unwrap();
        assert_eq!((addresses.key_bytes, addresses.value_bytes), (16, 8));
        assert_eq!((endpoints.key_bytes, endpoints.value_bytes), (20, 4));
        assert!(addresses.entries as usize > limits::TARGETS + limits::LISTENERS + limits::SOURCES);
        assert!(endpoints.entries as usize > 2 * limits::TARGETS + limits::LISTENERS);
        assert_eq!(sockets.entries as usize, limits::WORKERS);
    }

    #[test]
    fn every_map_reference_is_replaced() {
        let object = SteeringObject::parse().unwrap();
        let code = object.instructions(|_| Some(77)).unwrap();
        // A reference loads a 64-bit value that is 0 until it is replaced.
        let is_load = |instruction: &[u8]| instruction[0] == 0x18;
        let unreplaced = object.section("xdp").unwrap();
        let references = unreplaced
            .chunks_exact(8)
            .filter(|&instruction| is_load(instruction) && instruction[4..] == [0; 4])
            .count();
        let replaced = code
            .chunks_exact(8)
            .filter(|&instruction| is_load(instruction) && instruction[1] >> 4 == 1 && instruction[4] == 77)
            .count();
        assert!(references >= 3);
        assert_eq!(replaced, references);
        assert!(object.instructions(|_| None).is_err());
    }

    #[test]
    fn only_the_end_of_a_log_is_told() {
        let log = (0..20).map(|line| format!("{line}\n")).collect::<String>();
        assert_eq!(log_lines(&log).lines().count(), LOG_LINES + 1);
        assert!(log_lines("").is_empty());
    }
}

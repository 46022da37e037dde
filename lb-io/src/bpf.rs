//! bpf(2), the few commands that are needed: maps, loading a program, attaching one for a while, finding a loaded one,
//! running one on a frame.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use crate::sys;

/// A BPF map.
#[derive(Debug)]
pub(crate) struct Map {
    fd: OwnedFd,
    key_bytes: usize,
    value_bytes: usize,
}

/// What a map is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapDefinition {
    /// `BPF_MAP_TYPE_...`.
    pub(crate) kind: u32,
    /// Size of a key.
    pub(crate) key_bytes: u32,
    /// Size of a value.
    pub(crate) value_bytes: u32,
    /// Most entries.
    pub(crate) entries: u32,
}

impl Map {
    /// Makes an empty map.
    pub(crate) fn create(definition: &MapDefinition, name: &str) -> io::Result<Map> {
        let mut attributes = MapCreate {
            kind: definition.kind,
            key_bytes: definition.key_bytes,
            value_bytes: definition.value_bytes,
            entries: definition.entries,
            name: object_name(name),
            ..MapCreate::default()
        };
        Ok(Map {
            fd: call_for_fd(BPF_MAP_CREATE, &mut attributes)?,
            key_bytes: definition.key_bytes as usize,
            value_bytes: definition.value_bytes as usize,
        })
    }

    /// Sets the value of a key.
    pub(crate) fn insert(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert_eq!((key.len(), value.len()), (self.key_bytes, self.value_bytes), "sizes of this map");
        let mut attributes = self.element(key);
        attributes.value = value.as_ptr() as u64;
        call(BPF_MAP_UPDATE_ELEM, &mut attributes)?;
        Ok(())
    }

    /// Takes a key out. One that is not there is no error.
    pub(crate) fn remove(&self, key: &[u8]) -> io::Result<()> {
        assert_eq!(key.len(), self.key_bytes, "size of this map's keys");
        match call(BPF_MAP_DELETE_ELEM, &mut self.element(key)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    fn element(&self, key: &[u8]) -> MapElement {
        MapElement { fd: self.fd.as_raw_fd() as u32, key: key.as_ptr() as u64, ..MapElement::default() }
    }
}

impl AsRawFd for Map {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// Loads an XDP program under `name`. On refusal, the verifier's last words are in `log`.
pub(crate) fn load_xdp(
    name: &str,
    instructions: &[u8],
    license: &[u8],
    log: &mut String,
) -> io::Result<OwnedFd> {
    let mut attributes = ProgramLoad {
        kind: BPF_PROG_TYPE_XDP,
        instruction_count: (instructions.len() / INSTRUCTION_BYTES) as u32,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        name: object_name(name),
        ..ProgramLoad::default()
    };
    let refusal = match call_for_fd(BPF_PROG_LOAD, &mut attributes) {
        Err(error) if error.raw_os_error() != Some(libc::EPERM) => error,
        answer => return answer,
    };
    let mut text = vec![0; VERIFIER_LOG_BYTES];
    attributes.log_level = 1;
    attributes.log_bytes = text.len() as u32;
    attributes.log = text.as_mut_ptr() as u64;
    let answer = call_for_fd(BPF_PROG_LOAD, &mut attributes).map_err(|_| refusal);
    *log = sys::text(&text);
    answer
}

/// Opens the loaded program with the number `id`.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    call_for_fd(BPF_PROG_GET_FD_BY_ID, &mut ById { id, ..ById::default() })
}

/// Number and name of a loaded program.
pub(crate) fn program_identity(program: BorrowedFd<'_>) -> io::Result<(u32, String)> {
    let mut info = ProgramInfo::default();
    let mut attributes = InfoByFd {
        fd: program.as_raw_fd() as u32,
        info_bytes: mem::size_of::<ProgramInfo>() as u32,
        info: ptr::from_mut(&mut info) as u64,
    };
    call(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok((info.id, sys::text(&info.name)))
}

/// Attaches an XDP program to an interface in the driver, for as long as the link that is returned lives. EBUSY when another is
/// there. The kernel says nothing more about a refusal.
pub(crate) fn link_in_driver(program: BorrowedFd<'_>, interface: u32) -> io::Result<OwnedFd> {
    let program = program.as_raw_fd() as u32;
    call_for_fd(
        BPF_LINK_CREATE,
        &mut LinkCreate { program, interface, kind: BPF_XDP, flags: XDP_FLAGS_DRV_MODE },
    )
}

/// Runs a program once on a copy of `frame`; returns what it returned.
pub(crate) fn test_run(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<u32> {
    let mut attributes = TestRun {
        fd: program.as_raw_fd() as u32,
        data_bytes: frame.len() as u32,
        data: frame.as_ptr() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    call(BPF_PROG_TEST_RUN, &mut attributes)?;
    Ok(attributes.returned)
}

fn call_for_fd<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks the kernel, and asks again when a signal, even one that only stopped this process, broke off its work: the verifier says EAGAIN
/// then, a test run EINTR.
fn call<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    for _ in 0..REPEATS {
        match call_once(command, attributes) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            answer => return answer,
        }
    }
    call_once(command, attributes)
}

fn call_once<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    let size = mem::size_of::<T>() as libc::c_uint;
    // SAFETY: `T` is one of the structures below, a prefix of `union bpf_attr` as the command reads it, without padding.
    // The addresses in it were taken from slices that live through the call, with sizes as the kernel expects.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attributes), size) };
    sys::checked(answer as libc::c_int)
}

/// A name as the kernel keeps it: at most 15 bytes and a zero.
fn object_name(name: &str) -> [u8; OBJECT_NAME_BYTES] {
    let mut bytes = [0; OBJECT_NAME_BYTES];
    let len = name.len().min(OBJECT_NAME_BYTES - 1);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    bytes
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; OBJECT_NAME_BYTES],
}

#[repr(C)]
#[derive(Default)]
struct MapElement {
    fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; OBJECT_NAME_BYTES],
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
struct InfoByFd {
    fd: u32,
    info_bytes: u32,
    info: u64,
}

/// The first part of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    /// Lengths and places of code that we do not ask for.
    code: [u64; 3],
    load_time: u64,
    created_by_uid: u32,
    map_id_count: u32,
    map_ids: u64,
    name: [u8; OBJECT_NAME_BYTES],
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    fd: u32,
    returned: u32,
    data_bytes: u32,
    data_out_bytes: u32,
    data: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
}

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
/// Kind of a link: to an interface's XDP hook.
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 4;
const BPF_PROG_TYPE_XDP: u32 = 6;
const OBJECT_NAME_BYTES: usize = 16;
const INSTRUCTION_BYTES: usize = 8;
const VERIFIER_LOG_BYTES: usize = 256 * 1024;
/// Times that the kernel is asked again. It works for milliseconds at most, and signals do not come as often for long.
const REPEATS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_kernels_layout() {
        assert_eq!(mem::size_of::<MapCreate>(), 44);
        assert_eq!(mem::size_of::<MapElement>(), 32);
        assert_eq!(mem::size_of::<ProgramLoad>(), 64);
        assert_eq!(mem::size_of::<InfoByFd>(), 16);
        assert_eq!(mem::offset_of!(ProgramInfo, name), 64);
        assert_eq!(mem::offset_of!(TestRun, repeat), 32);
    }

    #[test]
    fn long_names_are_cut_and_end_in_zero() {
        assert_eq!(&object_name("a_name_of_twenty_byte")[..], b"a_name_of_twent\0");
    }
}

//! The BPF programs of `bpf/udp.bpf.c`, loaded: a sender of small UDP frames in any number of flows, and a counter of what arrives.
//!
//! The product's own loader knows one program and fills its maps; this one runs live frames (BPF_F_TEST_XDP_LIVE_FRAMES, Linux
//! 5.18) and attaches at tc ingress (tcx, Linux 6.6), so they share nothing but bpf(2).

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use lb_core::wire::checksum::sum;
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, RelocationTarget,
    read::elf::{ElfFile64, ElfSymbol64},
};

use crate::topology::{Failure, UDP_PORT};

/// What frames look like and how often they come.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    /// Whom the first flow is from; more than 50,000 flows take the following addresses, too.
    pub source: Ipv4Addr,
    /// Whom they go to, at [`UDP_PORT`].
    pub destination: Ipv4Addr,
    /// Link addresses: destination, then source.
    pub macs: [[u8; 6]; 2],
    /// Flows that follow each other frame by frame.
    pub flows: u32,
    /// Nanoseconds from frame to frame; 0 is as fast as can be.
    pub interval_ns: u64,
}

/// Sends frames.
pub struct Sender {
    program: OwnedFd,
    frame: [u8; FRAME_BYTES],
    batch: u32,
    _maps: Vec<OwnedFd>,
}

impl Sender {
    /// Loads the program that sends by the link with this index in the calling thread's namespace.
    pub fn load(frames: &Frames, interface: u32) -> Result<Sender, Failure> {
        let object = ProgramObject::parse()?;
        let (settings, progress) = (object.create_map("settings")?, object.create_map("progress")?);
        let frame = frames.template();
        update(&settings, &frames.settings(&frame, interface))?;
        let code = object.instructions("xdp", &[("settings", &settings), ("progress", &progress)])?;
        let program = load(BPF_PROG_TYPE_XDP, &code)?;
        let batch = if frames.interval_ns == 0 { FAST_BATCH } else { PACED_BATCH };
        Ok(Sender { program, frame, batch, _maps: vec![settings, progress] })
    }

    /// Sends until told to stop and interrupted by a signal: the kernel waits for a while at the end of each call, so there is one.
    pub fn run(&self, stopping: &AtomicBool) -> io::Result<()> {
        while !stopping.load(Relaxed) {
            let mut attributes = TestRun {
                program: self.program.as_raw_fd() as u32,
                data_bytes: FRAME_BYTES as u32,
                data: self.frame.as_ptr() as u64,
                repeat: FRAMES_PER_CALL,
                flags: BPF_F_TEST_XDP_LIVE_FRAMES,
                batch_size: self.batch,
                ..TestRun::default()
            };
            match call(BPF_PROG_TEST_RUN, &mut attributes) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Counts UDP frames to [`UDP_PORT`] where they arrive, and drops them, for as long as this lives.
pub struct Counter {
    counters: OwnedFd,
    _attached: OwnedFd,
}

impl Counter {
    /// Attaches it to the link with this index in the calling thread's namespace.
    pub fn attach(interface: u32) -> Result<Counter, Failure> {
        let object = ProgramObject::parse()?;
        let counters = object.create_map("counters")?;
        let code = object.instructions("tcx", &[("counters", &counters)])?;
        let program = load(BPF_PROG_TYPE_SCHED_CLS, &code)?;
        let mut attributes = LinkCreate {
            program: program.as_raw_fd() as u32,
            interface,
            attach_type: BPF_TCX_INGRESS,
            ..LinkCreate::default()
        };
        let attached = call_for_fd(BPF_LINK_CREATE, &mut attributes)
            .map_err(|error| format!("cannot count at tc ingress, which needs Linux 6.6: {error}"))?;
        Ok(Counter { counters, _attached: attached })
    }

    /// Frames so far.
    pub fn frames(&self) -> io::Result<u64> {
        let mut by_cpu = [CpuCounter { frames: 0, pad: [0; 7] }; CPUS];
        let key = 0u32;
        let mut attributes = MapElement {
            map: self.counters.as_raw_fd() as u32,
            key: &raw const key as u64,
            value: by_cpu.as_mut_ptr() as u64,
            ..MapElement::default()
        };
        call(BPF_MAP_LOOKUP_ELEM, &mut attributes)?;
        Ok(by_cpu.iter().map(|counter| counter.frames).sum())
    }
}

/// One CPU's part of the value of the map `counters`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CpuCounter {
    frames: u64,
    pad: [u64; 7],
}

/// `struct settings` of bpf/udp.bpf.c.
#[repr(C)]
#[derive(Debug)]
struct Settings {
    template: [u8; TEMPLATE_BYTES],
    interval_ns: u64,
    flows: u32,
    interface: u32,
    ipv4_sum: u32,
    udp_sum: u32,
    source_low: u32,
    pad: u32,
}

impl Frames {
    /// A frame without source port, lower half of the source address, and checksums.
    fn template(&self) -> [u8; FRAME_BYTES] {
        let mut frame = [0; FRAME_BYTES];
        frame[0..6].copy_from_slice(&self.macs[0]);
        frame[6..12].copy_from_slice(&self.macs[1]);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        let ipv4 = &mut frame[ETHERNET_BYTES..];
        ipv4[0] = 0x45;
        ipv4[2..4].copy_from_slice(&((FRAME_BYTES - ETHERNET_BYTES) as u16).to_be_bytes());
        ipv4[8] = TIME_TO_LIVE;
        ipv4[9] = UDP;
        ipv4[12..14].copy_from_slice(&self.source.octets()[..2]);
        ipv4[16..20].copy_from_slice(&self.destination.octets());
        let udp = &mut ipv4[IPV4_BYTES..];
        udp[2..4].copy_from_slice(&UDP_PORT.to_be_bytes());
        udp[4..6].copy_from_slice(&UDP_BYTES.to_be_bytes());
        frame
    }

    fn settings(&self, frame: &[u8; FRAME_BYTES], interface: u32) -> Settings {
        let (ipv4, udp) = frame[ETHERNET_BYTES..].split_at(IPV4_BYTES);
        let pseudo_header = sum(&ipv4[12..20], u32::from(UDP) + u32::from(UDP_BYTES));
        let [.., high, low] = self.source.octets();
        Settings {
            template: std::array::from_fn(|index| frame[index]),
            interval_ns: self.interval_ns,
            flows: self.flows,
            interface,
            ipv4_sum: sum(ipv4, 0),
            udp_sum: sum(udp, pseudo_header),
            source_low: u16::from_be_bytes([high, low]).into(),
            pad: 0,
        }
    }
}

/// The object file that lb-io/bpf/build.sh makes.
struct ProgramObject(ElfFile64<'static, Endianness>);

impl ProgramObject {
    fn parse() -> Result<ProgramObject, Failure> {
        Ok(ProgramObject(ElfFile64::parse(&OBJECT.0[..])?))
    }

    fn section(&self, name: &str) -> Result<&'static [u8], Failure> {
        Ok(self.0.section_by_name(name).ok_or("a section is missing")?.data()?)
    }

    fn create_map(&self, name: &str) -> Result<OwnedFd, Failure> {
        let start = self.0.symbol_by_name(name).ok_or("a map is missing")?.address() as usize;
        let definition = self.section("maps")?.get(start..start + 16).ok_or("a map is cut short")?;
        let word = |index: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| definition[index * 4 + byte]));
        let mut attributes =
            MapCreate { kind: word(0), key_bytes: word(1), value_bytes: word(2), entries: word(3) };
        Ok(call_for_fd(BPF_MAP_CREATE, &mut attributes)?)
    }

    /// A program's instructions, with every reference to a map replaced by the map's descriptor.
    fn instructions(&self, section: &str, maps: &[(&str, &OwnedFd)]) -> Result<Vec<u8>, Failure> {
        let mut code = self.section(section)?.to_vec();
        let relocations = self.0.section_by_name(section).ok_or("a section is missing")?.relocations();
        for (offset, relocation) in relocations {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                return Err("a reference is of an unknown kind".into());
            };
            let symbol: ElfSymbol64<'_, '_, Endianness> = self.0.symbol_by_index(index)?;
            let name = symbol.name()?;
            let (_, map) =
                maps.iter().find(|(map, _)| *map == name).ok_or("a reference to an unknown map")?;
            let instruction = code.get_mut(offset as usize..).ok_or("a reference is outside")?;
            instruction[1] = (instruction[1] & 0x0f) | (BPF_PSEUDO_MAP_FD << 4);
            instruction[4..8].copy_from_slice(&map.as_raw_fd().to_ne_bytes());
        }
        Ok(code)
    }
}

fn update(map: &OwnedFd, value: &Settings) -> io::Result<()> {
    let key = 0u32;
    let mut attributes = MapElement {
        map: map.as_raw_fd() as u32,
        key: &raw const key as u64,
        value: std::ptr::from_ref(value) as u64,
        ..MapElement::default()
    };
    call(BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

fn load(kind: u32, code: &[u8]) -> Result<OwnedFd, Failure> {
    let mut log = vec![0u8; 64 * 1024];
    let mut attributes = ProgramLoad {
        kind,
        instruction_count: (code.len() / INSTRUCTION_BYTES) as u32,
        instructions: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 1,
        log_bytes: log.len() as u32,
        log: log.as_mut_ptr() as u64,
    };
    call_for_fd(BPF_PROG_LOAD, &mut attributes).map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        format!("cannot load a BPF program: {error}\n{}", String::from_utf8_lossy(&log[..end])).into()
    })
}

fn call_for_fd<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    let attributes_bytes = size_of::<T>() as libc::c_uint;
    // SAFETY: `T` is one of the structures below, a prefix of `union bpf_attr` as the command reads it, without padding.
    // The addresses in it were taken from values that live through the call, with sizes as the kernel expects.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), attributes_bytes) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as libc::c_int) }
}

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
}

#[repr(C)]
#[derive(Default)]
struct MapElement {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    returned: u32,
    data_bytes: u32,
    data_out_bytes: u32,
    data: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
    context_bytes: u32,
    context_out_bytes: u32,
    context: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// The object, aligned as an ELF reader wants it.
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!("bpf/udp.bpf.o"));

#[repr(C, align(8))]
struct Aligned<B: ?Sized>(B);

/// Without the frame check sequence, which veth does not have.
const FRAME_BYTES: usize = 60;
const TEMPLATE_BYTES: usize = 48;
const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const UDP_BYTES: u16 = (FRAME_BYTES - ETHERNET_BYTES - IPV4_BYTES) as u16;
const TIME_TO_LIVE: u8 = 64;
const UDP: u8 = 17;
/// Parts of the map `counters`.
const CPUS: usize = 64;
/// Frames, due or not: minutes at full speed.
const FRAMES_PER_CALL: u32 = 1 << 30;
/// Frames that are sent together.
const FAST_BATCH: u32 = 64;
/// Frames, due or not, that are looked at together.
const PACED_BATCH: u32 = 8;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 2;
const BPF_PSEUDO_MAP_FD: u8 = 1;
const INSTRUCTION_BYTES: usize = 8;

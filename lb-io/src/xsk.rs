//! An AF_XDP socket: its four rings, bound to one receive queue of one device, with memory of its own or another's.

use std::{
    io, mem,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::{Arc, atomic::AtomicU32},
    thread,
    time::Duration,
};

use crate::{
    device::Device,
    ring::{Consumer, Producer, Ring},
    status::RingStatistics,
    sys::{self, Mapping},
    umem::Umem,
};

/// How frames get between the driver and the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyMode {
    /// The driver receives into and sends from the memory.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

/// Sizes of a socket's rings, in entries, each a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingSizes {
    /// Fill ring and rx ring.
    pub(crate) receive: u32,
    /// Tx ring.
    pub(crate) transmit: u32,
    /// Completion ring.
    pub(crate) completion: u32,
}

/// Whose memory a socket uses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory<'m> {
    /// Registers this memory, in this mode.
    Own(&'m Umem, CopyMode),
    /// That of another socket, with the other's mode.
    SharedWith(&'m Socket),
}

/// A bound socket. The rings are unmapped before the descriptor is closed: while a mapping lives, the queue stays busy.
pub(crate) struct Socket {
    /// Empty frames for the kernel to receive into.
    pub(crate) fill: Producer<u64>,
    /// Frames that were sent.
    pub(crate) completion: Consumer<u64>,
    /// Frames that were received.
    pub(crate) rx: Consumer<libc::xdp_desc>,
    /// Frames to send.
    pub(crate) tx: Producer<libc::xdp_desc>,
    fd: Arc<OwnedFd>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("fd", &self.fd.as_raw_fd()).finish_non_exhaustive()
    }
}

impl Socket {
    /// Opens a socket and binds it to a queue. A queue that is busy is tried again for a second: the kernel frees the queue
    /// of a socket that was closed only some time later.
    pub(crate) fn bind(
        device: &Device,
        queue: u32,
        memory: Memory<'_>,
        sizes: RingSizes,
    ) -> io::Result<Socket> {
        for _ in 0..BUSY_PAUSES {
            match Socket::try_bind(device, queue, memory, sizes) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => thread::sleep(BUSY_PAUSE),
                answer => return answer,
            }
        }
        Socket::try_bind(device, queue, memory, sizes)
    }

    fn try_bind(device: &Device, queue: u32, memory: Memory<'_>, sizes: RingSizes) -> io::Result<Socket> {
        let fd = sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0)?;
        if let Memory::Own(umem, _) = memory {
            register(fd.as_raw_fd(), umem)?;
        }
        let rings = Rings::make(fd.as_raw_fd(), sizes)?;
        // These only make sending smoother, so a kernel that does not know them is no reason to stop.
        let _ = sys::set_option(fd.as_raw_fd(), libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &TX_BUDGET_FRAMES);
        let _ = sys::set_option(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER_BYTES);

        // SAFETY: all zero is a valid address.
        let mut address: libc::sockaddr_xdp = unsafe { mem::zeroed() };
        address.sxdp_family = libc::AF_XDP as u16;
        address.sxdp_ifindex = device.index;
        address.sxdp_queue_id = queue;
        match memory {
            Memory::Own(_, CopyMode::ZeroCopy) => {
                address.sxdp_flags = libc::XDP_USE_NEED_WAKEUP | libc::XDP_ZEROCOPY;
            }
            Memory::Own(_, CopyMode::Copy) => {
                address.sxdp_flags = libc::XDP_USE_NEED_WAKEUP | libc::XDP_COPY;
            }
            // No other flag may stand beside this one.
            Memory::SharedWith(first) => {
                address.sxdp_flags = libc::XDP_SHARED_UMEM;
                address.sxdp_shared_umem_fd = first.fd.as_raw_fd() as u32;
            }
        }
        let (pointer, len) = sys::address_bytes(&address);
        // SAFETY: `address` lives through the call and `len` is its size.
        sys::checked(unsafe { libc::bind(fd.as_raw_fd(), pointer, len) })?;
        Ok(Socket::over(rings, fd))
    }

    /// The socket `fd` with its rings.
    pub(crate) fn over(rings: Rings, fd: OwnedFd) -> Socket {
        let Rings { fill, completion, rx, tx } = rings;
        Socket { fill, completion, rx, tx, fd: Arc::new(fd) }
    }

    /// Whether the kernel copies frames.
    pub(crate) fn copy_mode(&self) -> CopyMode {
        let mut options = libc::xdp_options { flags: 0 };
        match sys::read_option(self.fd.as_raw_fd(), libc::SOL_XDP, libc::XDP_OPTIONS, &mut options) {
            Ok(_) if options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0 => CopyMode::ZeroCopy,
            _ => CopyMode::Copy,
        }
    }

    /// Shows the kernel the frames that were pushed on the tx ring, and wakes it where it asks for that. What it does not
    /// take now (out of memory, send buffer full) stays on the ring for the next call.
    #[inline]
    pub(crate) fn send(&mut self) {
        self.tx.publish();
        if self.tx.outstanding() > 0 && self.tx.needs_wakeup() {
            // SAFETY: an empty message: no memory of ours is read.
            unsafe {
                libc::sendto(
                    self.fd.as_raw_fd(),
                    std::ptr::null(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null(),
                    0,
                )
            };
        }
    }

    /// Wakes the kernel where it asks for that because the fill ring was empty.
    #[inline]
    pub(crate) fn wake_receiver(&self) {
        if self.fill.needs_wakeup() {
            // SAFETY: an empty buffer: no memory of ours is written.
            unsafe {
                libc::recvfrom(
                    self.fd.as_raw_fd(),
                    std::ptr::null_mut(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                )
            };
        }
    }

    /// The socket's descriptor, for reading statistics while a worker owns the socket. Closed when the last owner is gone.
    pub(crate) fn descriptor(&self) -> Arc<OwnedFd> {
        self.fd.clone()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The kernel's counters of a socket.
pub(crate) fn statistics(socket: &OwnedFd) -> RingStatistics {
    // SAFETY: all zero is valid: it is a structure of integers.
    let mut counted: libc::xdp_statistics = unsafe { mem::zeroed() };
    // Counters that an older kernel does not have stay 0.
    let _ = sys::read_option(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_STATISTICS, &mut counted);
    RingStatistics {
        rx_dropped: counted.rx_dropped,
        rx_invalid: counted.rx_invalid_descs,
        tx_invalid: counted.tx_invalid_descs,
        rx_ring_full: counted.rx_ring_full,
        rx_fill_ring_empty: counted.rx_fill_ring_empty_descs,
        tx_ring_empty: counted.tx_ring_empty_descs,
    }
}

/// Tells the kernel about the memory.
fn register(socket: RawFd, umem: &Umem) -> io::Result<()> {
    // SAFETY: all zero is valid: it is a structure of integers.
    let mut registration: libc::xdp_umem_reg = unsafe { mem::zeroed() };
    registration.addr = umem.address();
    registration.len = umem.len();
    registration.chunk_size = umem.chunk_bytes();
    sys::set_option(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
}

/// Our ends of a socket's rings.
pub(crate) struct Rings {
    pub(crate) fill: Producer<u64>,
    pub(crate) completion: Consumer<u64>,
    pub(crate) rx: Consumer<libc::xdp_desc>,
    pub(crate) tx: Producer<libc::xdp_desc>,
}

impl Rings {
    fn make(socket: RawFd, sizes: RingSizes) -> io::Result<Rings> {
        for (option, size) in [
            (libc::XDP_UMEM_FILL_RING, sizes.receive),
            (libc::XDP_UMEM_COMPLETION_RING, sizes.completion),
            (libc::XDP_RX_RING, sizes.receive),
            (libc::XDP_TX_RING, sizes.transmit),
        ] {
            sys::set_option(socket, libc::SOL_XDP, option, &size)?;
        }
        // SAFETY: all zero is valid: it is a structure of integers.
        let mut offsets: libc::xdp_mmap_offsets = unsafe { mem::zeroed() };
        let len = sys::read_option(socket, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
        if len != mem::size_of_val(&offsets) {
            return Err(io::Error::other("the kernel is too old for AF_XDP wake-up flags (5.4 is needed)"));
        }
        let fill_offset = libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t;
        let completion_offset = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
        Ok(Rings {
            fill: map(socket, fill_offset, &offsets.fr, sizes.receive)?.into_producer(),
            completion: map(socket, completion_offset, &offsets.cr, sizes.completion)?.into_consumer(),
            rx: map(socket, libc::XDP_PGOFF_RX_RING, &offsets.rx, sizes.receive)?.into_consumer(),
            tx: map(socket, libc::XDP_PGOFF_TX_RING, &offsets.tx, sizes.transmit)?.into_producer(),
        })
    }
}

fn map<T>(
    socket: RawFd,
    page_offset: libc::off_t,
    offsets: &libc::xdp_ring_offset,
    size: u32,
) -> io::Result<Ring<T>> {
    let len = offsets.desc as usize + size as usize * mem::size_of::<T>();
    let mapping = Arc::new(Mapping::shared(socket, len, page_offset)?);
    let at = |offset: u64| {
        assert!(offset < len as u64, "the kernel's offset {offset} is outside of its ring");
        // SAFETY: inside of the mapping, as just checked.
        unsafe { mapping.start().add(offset as usize) }
    };
    let words =
        [offsets.producer, offsets.consumer, offsets.flags].map(|offset| at(offset).cast::<AtomicU32>());
    // SAFETY: the places are those that the kernel gives for this mapping, which it aligns; `len` covers all slots; `T` is
    // u64 or xdp_desc, valid for any bytes; the kernel is the other end, and this is the only ring made of the mapping.
    Ok(unsafe { Ring::new(words, at(offsets.desc).cast(), size, mapping.clone()) })
}

/// Pauses, not time: a process that was stopped meanwhile has given the kernel no time to free the queue.
const BUSY_PAUSES: u32 = 150;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Since Linux 6.17; not in libc yet.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// Frames that one wake-up sends at most, instead of 32.
const TX_BUDGET_FRAMES: u32 = 256;
/// Room for a tx ring full of frames in flight: each is charged with its overhead.
const SEND_BUFFER_BYTES: libc::c_int = 16 << 20;

//! The few system-call shapes that several files share: results as `io::Result`, memory mappings, wake-ups, options.

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr::{self, NonNull},
    slice,
};

/// The system call's result, or `errno` when it is negative.
pub(crate) fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Opens a socket that is closed on exec.
pub(crate) fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: `socket` reads no memory of ours.
    let fd = checked(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option to the bytes of `value`.
pub(crate) fn set_option<T: Copy>(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is valid for `len` bytes, and the kernel only reads it.
    checked(unsafe { libc::setsockopt(fd, level, name, ptr::from_ref(value).cast(), len) })?;
    Ok(())
}

/// Reads a socket option into `value`; returns how many bytes the kernel wrote. `T` must be valid for any bytes.
pub(crate) fn read_option<T: Copy>(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut T,
) -> io::Result<usize> {
    let mut len = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is valid for `len` bytes of writing; its type is a plain structure of integers.
    checked(unsafe { libc::getsockopt(fd, level, name, ptr::from_mut(value).cast(), &mut len) })?;
    Ok(len as usize)
}

/// Binds or sends to an address given as a C structure: its bytes as the kernel reads them.
pub(crate) fn address_bytes<T: Copy>(address: &T) -> (*const libc::sockaddr, libc::socklen_t) {
    (ptr::from_ref(address).cast(), mem::size_of::<T>() as libc::socklen_t)
}

/// Pages mapped into this process; unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is plain memory, valid in every thread; who may touch which bytes is for its users to order.
unsafe impl Send for Mapping {}
// SAFETY: as above; `Mapping` itself has no interior state.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` zeroed bytes of anonymous memory, asking for huge pages.
    pub(crate) fn anonymous(len: usize) -> io::Result<Mapping> {
        let mapping = Mapping::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
        // SAFETY: the range was just mapped. Failure means small pages, which work too.
        unsafe { libc::madvise(mapping.start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        Ok(mapping)
    }

    /// Maps `len` bytes of a file or socket from `offset` on, shared with the kernel and filled in at once.
    pub(crate) fn shared(fd: RawFd, len: usize, offset: libc::off_t) -> io::Result<Mapping> {
        Mapping::map(len, libc::MAP_SHARED | libc::MAP_POPULATE, fd, offset)
    }

    fn map(len: usize, flags: libc::c_int, fd: RawFd, offset: libc::off_t) -> io::Result<Mapping> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses a free range; no memory of ours is replaced.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Mapping { start, len })
    }

    /// First byte.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes, for an owner that shares them with nobody.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the range is mapped readable and writable for `self`'s life, and `&mut self` makes this the only view.
        // Callers use it for anonymous memory that no other thread and no device was told about.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by us and nothing borrows it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Wakes a thread that sleeps in `poll`.
#[derive(Debug)]
pub(crate) struct Wakeup(OwnedFd);

impl Wakeup {
    /// A wake-up that nobody has asked for yet.
    pub(crate) fn new() -> io::Result<Wakeup> {
        // SAFETY: `eventfd` reads no memory of ours.
        let fd = checked(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        Ok(Wakeup(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Wakes the sleeper, now or when it next polls.
    pub(crate) fn wake(&self) {
        let one = 1_u64;
        // SAFETY: eight valid bytes are read. It fails only when the counter is full, and then the sleeper wakes anyway.
        unsafe { libc::write(self.0.as_raw_fd(), ptr::from_ref(&one).cast(), mem::size_of::<u64>()) };
    }

    /// Forgets the wake-ups asked for so far.
    pub(crate) fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: eight bytes are valid for writing. It fails only when there was nothing to forget.
        unsafe { libc::read(self.0.as_raw_fd(), ptr::from_mut(&mut count).cast(), mem::size_of::<u64>()) };
    }
}

impl AsRawFd for Wakeup {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Wakeup> for OwnedFd {
    fn from(wakeup: Wakeup) -> OwnedFd {
        wakeup.0
    }
}

/// Waits until a descriptor is ready or `timeout_ms` is over; a signal ends the wait too.
pub(crate) fn poll(descriptors: &mut [libc::pollfd], timeout_ms: i32) {
    // SAFETY: the slice is valid for reading and writing. Failure (a signal) only ends the wait early.
    unsafe { libc::poll(descriptors.as_mut_ptr(), descriptors.len() as libc::nfds_t, timeout_ms) };
}

/// Asks `poll` about input on a descriptor.
pub(crate) fn poll_input(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Has the calling thread run on core `cpu` alone.
pub(crate) fn pin_to_core(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: all zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `cpu` is inside of the set, as just checked.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` is valid for reading with the size given; 0 means the calling thread.
    checked(unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) })?;
    Ok(())
}

/// The cores that the calling thread may run on, ascending.
pub(crate) fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: all zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is valid for writing with the size given; 0 means the calling thread.
    checked(unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set) })?;
    // SAFETY: every number asked for is inside of the set.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Raises the limit of locked memory as far as this process is allowed to.
pub(crate) fn raise_locked_memory_limit() {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is valid for reading and writing.
    unsafe {
        if libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) != 0
            && libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) == 0
        {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit);
        }
    }
}

/// Most memory that this process may lock, as far as it may raise the limit itself, in bytes; `None`: no limit.
pub(crate) fn locked_memory_limit() -> io::Result<Option<u64>> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writing.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) })?;
    Ok((limit.rlim_max != libc::RLIM_INFINITY).then_some(limit.rlim_max))
}

/// Text of a fixed C array, up to its first zero.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_zero_and_writable() {
        let mut mapping = Mapping::anonymous(8192).unwrap();
        assert!(mapping.bytes_mut().iter().all(|&byte| byte == 0));
        mapping.bytes_mut()[8191] = 1;
        assert_eq!(mapping.len(), 8192);
    }

    #[test]
    fn a_wakeup_ends_poll_until_cleared() {
        let wakeup = Wakeup::new().unwrap();
        wakeup.wake();
        wakeup.wake();
        let mut descriptors = [poll_input(wakeup.as_raw_fd())];
        poll(&mut descriptors, 0);
        assert_ne!(descriptors[0].revents, 0);
        wakeup.clear();
        poll(&mut descriptors, 0);
        assert_eq!(descriptors[0].revents, 0);
    }

    #[test]
    fn text_stops_at_the_first_zero() {
        assert_eq!(text(b"veth\0junk"), "veth");
        assert_eq!(text(b"full"), "full");
    }
}

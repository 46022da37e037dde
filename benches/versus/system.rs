//! Where threads run and who goes first, by system calls that std lacks.

use std::{
    fs, io,
    sync::{Arc, LazyLock},
};

use signal_hook::{SigId, consts::SIGUSR1};

/// The calling thread's number, by which others can [`pin`] it.
pub fn own_task() -> libc::pid_t {
    // SAFETY: gettid takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Ends the system call that another thread of this process is in.
pub fn interrupt(task: libc::pid_t) -> io::Result<()> {
    static HANDLER: LazyLock<io::Result<SigId>> =
        LazyLock::new(|| signal_hook::flag::register(SIGUSR1, Arc::default()));
    if let Err(error) = &*HANDLER {
        return Err(io::Error::new(error.kind(), error.to_string()));
    }
    // SAFETY: getpid takes nothing and cannot fail; tgkill takes integers.
    let answer = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), task, SIGUSR1) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets a thread run on these CPUs only; 0 is the calling thread.
pub fn pin(task: libc::pid_t, cpus: &[usize]) -> io::Result<()> {
    // SAFETY: all-zero bytes are an empty `cpu_set_t`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus {
        // SAFETY: CPU_SET checks its index against the size of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` is valid for its size, and the kernel only reads it.
    checked(unsafe { libc::sched_setaffinity(task, size_of_val(&set), &set) })
}

/// Lets a kernel thread or process go before all ordinary ones; 0 is the calling process.
pub fn go_first(process: u32) -> io::Result<()> {
    // SAFETY: setpriority takes integers.
    checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, process, HIGHEST_PRIORITY) })
}

/// Lets the calling thread run only when nobody else wants its CPU.
pub fn go_last() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` is valid, and the kernel only reads it.
    checked(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) })
}

/// Lets a socket that is bound to an address without a port find its port when it connects, when it may share it with others.
pub fn bind_port_late(socket: &impl std::os::fd::AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `on` is valid for its size, and the kernel only reads it.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    })
}

/// The processes, kernel threads among them, whose name begins so.
pub fn processes_called(beginning: &str) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ends meanwhile is none of those.
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.starts_with(beginning)) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn checked(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const HIGHEST_PRIORITY: libc::c_int = -20;

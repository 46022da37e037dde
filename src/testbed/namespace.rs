//! A named network namespace: made, entered by threads and processes, removed on drop.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
};

use super::{
    Doing, TestbedError, checked,
    cleanup::{Debt, Owed},
    netlink::RouteSocket,
};

/// Where named namespaces are, by convention of `ip netns`.
pub(super) const DIRECTORY: &str = "/run/netns";

/// A network namespace with a name. The kernel keeps it while this value or anything inside it lives.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: Arc<File>,
    routes: RouteSocket,
    _owed: Owed,
}

impl Namespace {
    /// Makes a namespace with loopback up, in which as few frames as possible move unasked.
    ///
    /// # Errors
    /// When there is one of this name, which is left alone, or the kernel refuses, for lack of privileges above all.
    pub fn create(name: String) -> Result<Namespace, TestbedError> {
        let path = Path::new(DIRECTORY).join(&name);
        let owed = pin_new_namespace(&path).doing(|| format!("create the network namespace {name}"))?;
        let file = File::open(&path).doing(|| format!("open {}", path.display()))?;
        let routes = within(&file, RouteSocket::open).doing(|| format!("open a netlink socket in {name}"))?;
        let namespace = Namespace { name, file: Arc::new(file), routes, _owed: owed };
        for (key, value) in QUIET {
            namespace.set_sysctl(key, value)?;
        }
        namespace.routes.set_up(LOOPBACK_INDEX).doing(|| "set loopback up".into())?;
        Ok(namespace)
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` inside, on a thread of its own; sockets that it opens stay inside for ever. A panic in `work` goes on here.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.file, work)
    }

    /// A command that will run inside, with the `/sys` of this namespace, in a process group of its own, and that is asked to
    /// end when the thread that started it ends.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let namespace = self.file.clone();
        command.process_group(0);
        // SAFETY: between fork and exec only system calls are made, on constants and a descriptor that the closure keeps open.
        unsafe { command.pre_exec(move || enter_as_process(namespace.as_raw_fd())) };
        command
    }

    /// Sets a key under /proc/sys, as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When the key does not exist or does not take the value.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<(), TestbedError> {
        self.within(|| fs::write(Path::new("/proc/sys").join(key), value))
            .doing(|| format!("set {key} to {value} in {}", self.name))
    }

    /// The value of a key under /proc/sys, by one read(2): of a list of ports the kernel gives nothing to a second.
    ///
    /// # Errors
    /// When the key does not exist or cannot be read.
    pub fn sysctl(&self, key: &str) -> Result<String, TestbedError> {
        let read = || {
            let mut text = vec![0; SYSCTL_BYTES];
            let length = File::open(Path::new("/proc/sys").join(key))?.read(&mut text)?;
            text.truncate(length);
            String::from_utf8(text).map_err(io::Error::other)
        };
        Ok(self.within(read).doing(|| format!("read {key} in {}", self.name))?.trim().to_owned())
    }

    /// The netlink socket that speaks for this namespace.
    pub(super) fn routes(&self) -> &RouteSocket {
        &self.routes
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Makes a namespace and mounts it on a new file `path`, so that it has a name.
fn pin_new_namespace(path: &Path) -> io::Result<Owed> {
    fs::create_dir_all(DIRECTORY)?;
    // Owed only once it is known to be new: one of this name that was there already is somebody else's.
    File::create_new(path)?;
    let owed = Owed::new(Debt::Namespace(path.to_owned()));
    let target = c_string(path)?;
    let pin = || {
        // SAFETY: unshare changes this thread only, which ends right after.
        checked(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
        // SAFETY: the strings are valid C strings; a bind mount takes neither type nor data.
        checked(unsafe {
            libc::mount(
                c"/proc/thread-self/ns/net".as_ptr(),
                target.as_ptr(),
                std::ptr::null(),
                libc::MS_BIND,
                std::ptr::null(),
            )
        })
    };
    thread::scope(|scope| scope.spawn(pin).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(owed)
}

/// Runs `work` on a new thread inside the namespace.
fn within<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> T {
    let work = || {
        enter(namespace.as_raw_fd()).expect("the kernel lets a thread enter a namespace that it let us make");
        work()
    };
    let done = thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn enter(namespace: libc::c_int) -> io::Result<()> {
    // SAFETY: setns takes two integers and changes the calling thread only.
    checked(unsafe { libc::setns(namespace, libc::CLONE_NEWNET) }).map(drop)
}

/// What `ip netns exec` does: enters the namespace and shows its own `/sys`, which a mount namespace of its own hides from others.
/// Runs between fork and exec: system calls only.
fn enter_as_process(namespace: libc::c_int) -> io::Result<()> {
    enter(namespace)?;
    // SAFETY: prctl and unshare take integers and change this new process only.
    unsafe {
        checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM))?;
        checked(libc::unshare(libc::CLONE_NEWNS))?;
    }
    let mount = |kind: *const libc::c_char, at: &std::ffi::CStr, flags| {
        // SAFETY: every pointer is null or a valid C string.
        checked(unsafe { libc::mount(kind, at.as_ptr(), kind, flags, std::ptr::null()) })
    };
    mount(std::ptr::null(), c"/", libc::MS_SLAVE | libc::MS_REC)?;
    mount(c"sysfs".as_ptr(), c"/sys", 0).map(drop)
}

fn c_string(path: &Path) -> io::Result<std::ffi::CString> {
    Ok(std::ffi::CString::new(path.as_os_str().as_bytes())?)
}

/// The file that a namespace of this name is mounted on.
pub fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// The link of every namespace to itself.
pub(super) const LOOPBACK: &str = "lo";
/// It is the first.
const LOOPBACK_INDEX: u32 = 1;

/// More than any setting here is long, in bytes.
const SYSCTL_BYTES: usize = 65_536;

/// No forwarding, no filtering by the return path, no redirects; IPv6 addresses that are usable at once and come from nobody else.
const QUIET: [(&str, &str); 8] = [
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/all/forwarding", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
];

//! Other programs on the machine: what they use is missing to those who are measured.

use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

/// Watches what other programs use from its beginning on.
pub struct Watch {
    begun: Instant,
    ticks: u64,
}

impl Watch {
    /// Begins.
    pub fn begin() -> io::Result<Watch> {
        Ok(Watch { begun: Instant::now(), ticks: ticks_of_others()? })
    }

    /// What others have used since, in CPUs.
    pub fn used(&self) -> io::Result<f64> {
        let ticks = ticks_of_others()?.saturating_sub(self.ticks);
        Ok(ticks as f64 / TICKS_PER_SECOND / self.begun.elapsed().as_secs_f64())
    }
}

/// Waits until other programs use no more than so many CPUs, or until the time is over.
pub fn wait_until_quiet(cpus: f64, time: Duration) -> io::Result<()> {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        let watch = Watch::begin()?;
        thread::sleep(LOOKED_AT);
        if watch.used()? <= cpus {
            break;
        }
    }
    Ok(())
}

/// Ticks that all processes had so far that are neither the kernel's nor come from this one.
fn ticks_of_others() -> io::Result<u64> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // What is no process has no such file, nor has a process that ends meanwhile.
        let stat = fs::read_to_string(entry?.path().join("stat"));
        processes.extend(stat.ok().as_deref().and_then(Process::parse));
    }
    let mut known = vec![std::process::id(), KERNEL_THREADS];
    // A child has a higher number than its parent, but for the rare time when numbers begin anew.
    processes.sort_unstable_by_key(|process: &Process| process.pid);
    let mut ticks = 0;
    for process in processes {
        if known.contains(&process.parent) || known.contains(&process.pid) {
            known.push(process.pid);
        } else {
            ticks += process.ticks;
        }
    }
    Ok(ticks)
}

/// What is of interest in a line of /proc/PID/stat.
struct Process {
    pid: u32,
    parent: u32,
    ticks: u64,
}

impl Process {
    fn parse(stat: &str) -> Option<Process> {
        // The name stands in parentheses and may have any characters, these among them.
        let (pid, rest) = stat.split_once(" (")?;
        let fields: Vec<&str> = rest.rsplit_once(") ")?.1.split(' ').collect();
        let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Process {
            pid: pid.parse().ok()?,
            parent: u32::try_from(field(1)?).ok()?,
            ticks: field(11)? + field(12)?,
        })
    }
}

const LOOKED_AT: Duration = Duration::from_millis(300);
const KERNEL_THREADS: u32 = 2;
/// USER_HZ, which is 100 on all architectures but Alpha.
const TICKS_PER_SECOND: f64 = 100.0;

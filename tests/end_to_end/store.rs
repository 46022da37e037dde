//! What the daemon keeps: a confirmed change survives any end of the process, and a disk that takes no more refuses changes and
//! nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU16, Ordering},
    thread,
    time::Duration,
};

use lb_ctl::{
    api::{NewTarget, TargetAddress, TargetChanges},
    client::Client,
};
use lbd::testbed::network::{Family, Layout, Offload, Plan};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Registered, Service},
    harness::{PATIENCE, PORTS, Rig, wait_until},
    web::output_of,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("store::what_was_confirmed_survives_kill_9", survives_kill),
    ("store::a_full_disk_refuses_changes_alone", full_disk),
];

/// Each change takes a pair of targets away and brings the next one. After each kill there is exactly one pair: the last that was
/// confirmed, or the one that was asked for when the end came.
fn survives_kill() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    let config = Config::only(&PLAN, LINES);
    let mut last = 0;
    let mut generation = 0;
    for round in 0..KILLS {
        rig.launch_daemon(&config)?;
        let (asked, confirmed, stop) = (AtomicU16::new(last), AtomicU16::new(last), AtomicBool::new(false));
        thread::scope(|scope| -> Result<(), Failed> {
            let control = rig.control.clone();
            let changing = scope.spawn(|| change_until_refused(control, (&asked, &confirmed), &stop));
            let has_changed = wait_until("a change", || Ok(confirmed.load(Ordering::Relaxed) > last));
            thread::sleep(Duration::from_millis(40 + 37 * round));
            rig.daemon.take().ok_or("no daemon was started")?.kill()?;
            stop.store(true, Ordering::Relaxed);
            changing.join().map_err(|_| "the calls panicked")?;
            has_changed
        })?;
        // What a power cut leaves of a file that was being written.
        fs::write(rig.directory.path().join("state/.objects.json.new"), "{\"version\":1,\"gener")?;
        let (asked, confirmed) = (asked.into_inner(), confirmed.into_inner());

        rig.launch_daemon(&config)?;
        let ports: Vec<u16> =
            rig.control.targets_of(LINES.name)?.iter().map(|row| row.target.port()).collect();
        let pair = |number: u16| vec![2 * number, 2 * number + 1];
        let found = [confirmed, asked].into_iter().find(|number| pair(*number) == ports);
        last = found.ok_or_else(|| format!("after {confirmed} of {asked} there are {ports:?}"))?;
        let status = rig.control.status()?;
        assert!(status.generation > generation, "generations go back");
        generation = status.generation;
        rig.daemon.take().ok_or("no daemon was started")?.kill()?;
    }
    rig.launch_daemon(&config)?;
    rig.finish().map(drop)
}

/// Changes pair by pair, until there is no answer any more.
fn change_until_refused(control: Client, (asked, confirmed): (&AtomicU16, &AtomicU16), stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let before = asked.load(Ordering::Relaxed);
        let next = before + 1;
        asked.store(next, Ordering::Relaxed);
        let leaving = if before == 0 { vec![] } else { vec![at(2 * before), at(2 * before + 1)] };
        let changes = TargetChanges { register: vec![new(2 * next), new(2 * next + 1)], deregister: leaving };
        match control.change_targets(LINES.name, &changes) {
            Ok(_) => confirmed.store(next, Ordering::Relaxed),
            Err(_) => return,
        }
    }
}

fn full_disk() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    let disk = SmallDisk::mount(rig.directory.path().join("state"))?;
    rig.start_targets()?;
    rig.launch_daemon(&Config::only(&PLAN, LINES))?;
    let register = |port| TargetChanges { register: vec![new(port)], deregister: vec![] };
    rig.control.change_targets(LINES.name, &register(PORTS.tcp))?;
    rig.wait_for("the target healthy", |rows| rows.iter().all(lbd::testbed::daemon::is_serving))?;
    let mut crowd = rig.crowd(20)?;
    let before = rig.control.status()?.generation;

    // What replaces a file while the disk is full makes room.
    wait_until("the state of health kept", || Ok(disk.has_health("healthy")?))?;
    disk.fill()?;
    let refusal = rig.control.change_targets(LINES.name, &register(PORTS.tcp + 1));
    let refusal = refusal.err().ok_or("a change was confirmed that cannot be kept")?.to_string();
    assert!(refusal.contains("nothing has changed") && refusal.contains("objects.json"), "{refusal}");
    assert_eq!(rig.control.status()?.generation, before);
    assert_eq!(rig.control.targets_of(LINES.name)?.len(), 1);
    assert_eq!(crowd.ask_all("with a full disk", PATIENCE).len(), 0);
    assert_eq!(rig.crowd(20)?.members().len(), 20);

    disk.empty()?;
    rig.control.change_targets(LINES.name, &register(PORTS.tcp + 1))?;
    assert_eq!(rig.control.targets_of(LINES.name)?.len(), 2);
    drop(crowd);
    rig.finish().map(drop)
}

/// A file system of 1 MiB, unmounted when this is dropped.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: PathBuf) -> Result<SmallDisk, Failed> {
        fs::create_dir(&path)?;
        let mut mount = Command::new("mount");
        output_of(mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&path))?;
        Ok(SmallDisk { path })
    }

    /// Whether the file of health states has a word.
    fn has_health(&self, word: &str) -> std::io::Result<bool> {
        match fs::read_to_string(self.path.join("health.json")) {
            Ok(text) => Ok(text.to_lowercase().contains(&format!("\"{word}\""))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn fill(&self) -> Result<(), Failed> {
        match fs::write(self.filler(), vec![0; 2 << 20]) {
            Ok(()) => Err("the disk is not full".into()),
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn empty(&self) -> std::io::Result<()> {
        fs::remove_file(self.filler())
    }

    fn filler(&self) -> PathBuf {
        self.path.join(Path::new("filler"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the daemon may still have it open. Nothing is left that another error could help.
        drop(Command::new("umount").arg("--lazy").arg(&self.path).output());
    }
}

fn at(port: u16) -> TargetAddress {
    TargetAddress { address: Family::V4.target(1), port: Some(port) }
}

fn new(port: u16) -> NewTarget {
    NewTarget { address: Family::V4.target(1), port: Some(port), weight: None, zone: None }
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 1, queues: 1, offload: Offload::Off };
const LINES: Service = Service { registered: Registered::ByCalls, ..Service::LINES };
const KILLS: u64 = 5;

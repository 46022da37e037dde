//! What is reserved, given back, refused and warned of.

use std::{io, path::PathBuf, process::Command, thread};

use super::*;

/// The kernel's settings and a state directory, in a directory for one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, reserved: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("lbd-reserved-ports-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let scratch = Scratch(path);
        scratch.set(reserved);
        fs::write(scratch.0.join("ephemeral"), "32768\t60999\n").unwrap();
        scratch
    }

    fn state(&self) -> StateDirectory {
        StateDirectory::open(&self.0.join("state")).unwrap()
    }

    fn start(&self, state: &StateDirectory, place: &str) -> ReservedPorts {
        let kernel = Settings { reserved: self.0.join("reserved"), ephemeral: self.0.join("ephemeral") };
        ReservedPorts::noted(state, kernel, place.into()).unwrap()
    }

    fn set(&self, reserved: &str) {
        fs::write(self.0.join("reserved"), reserved).unwrap();
    }

    fn reserved(&self) -> String {
        fs::read_to_string(self.0.join("reserved")).unwrap().trim().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn sources(ranges: &[(u16, u16)]) -> SharedSources {
    let address = "198.18.0.2".parse().unwrap();
    let source = |&(first_port, last_port): &(u16, u16)| Source { address, first_port, last_port };
    SharedSources { configured: ranges.iter().map(source).collect(), kept: BTreeSet::new() }
}

fn added(ports: &mut ReservedPorts, ranges: &[(u16, u16)], state: &StateDirectory) -> PortSet {
    ports.reserve(&sources(ranges), state).unwrap().unwrap().added
}

#[test]
fn what_others_reserved_stays() {
    let scratch = Scratch::new("others", "8080,9000-9010\n");
    let state = scratch.state();
    let mut ports = scratch.start(&state, "here");
    let added = self::added(&mut ports, &[(9_005, 9_020)], &state);
    assert_eq!((added.to_string(), scratch.reserved()), ("9011-9020".into(), "8080,9000-9020".into()));
    scratch.set("7,8080,9000-9020"); // Somebody adds another.
    let added = self::added(&mut ports, &[(9_005, 9_015), (100, 101)], &state);
    assert_eq!(
        (added.to_string(), scratch.reserved()),
        ("100-101".into(), "7,100-101,8080,9000-9015".into())
    );
    ports.release(&state).unwrap();
    assert_eq!(scratch.reserved(), "7,8080,9000-9010");
    assert_eq!(state.reserved_ports().unwrap(), None);
}

#[test]
fn a_later_start_takes_back_what_a_crash_left() {
    let scratch = Scratch::new("crash", "8080");
    let state = scratch.state();
    scratch.start(&state, "here").reserve(&sources(&[(2_000, 2_999)]), &state).unwrap();
    let mut later = scratch.start(&state, "here");
    later.reserve(&sources(&[(2_500, 3_500)]), &state).unwrap();
    assert_eq!(scratch.reserved(), "2500-3500,8080");
    let mut last = scratch.start(&state, "here");
    last.reserve(&sources(&[]), &state).unwrap();
    assert_eq!(scratch.reserved(), "8080");
}

#[test]
fn a_reboot_has_forgotten_ours() {
    let scratch = Scratch::new("reboot", "");
    let state = scratch.state();
    scratch.start(&state, "here").reserve(&sources(&[(2_000, 2_999)]), &state).unwrap();
    scratch.set("2000-2100"); // The new boot's own.
    let mut later = scratch.start(&state, "elsewhere");
    later.reserve(&sources(&[(2_000, 2_999)]), &state).unwrap();
    later.release(&state).unwrap();
    assert_eq!(scratch.reserved(), "2000-2100");
}

#[test]
fn the_host_keeps_ephemeral_ports() {
    let scratch = Scratch::new("ephemeral", "60000-60999");
    let state = scratch.state();
    let mut ports = scratch.start(&state, "here");
    for whole in [(1_024, 65_535), (32_768, 59_999), (32_768, 58_976)] {
        let refusal = ports.reserve(&sources(&[whole]), &state).unwrap_err().to_string();
        let expected = format!("ports {}-{} on the host's own address 198.18.0.2", whole.0, whole.1);
        assert!(refusal.contains(&expected), "{refusal}");
        assert!(refusal.contains("set source_nat.ports, for example to \"1024-32767\""), "{refusal}");
    }
    assert!(ports.reserve(&sources(&[(1_024, 65_535)]), &state).is_err(), "asking again does not help");
    assert_eq!(scratch.reserved(), "60000-60999");
    assert_eq!(state.reserved_ports().unwrap(), None);
    for (last, few_left) in [(58_975, Some(1_024)), (55_904, Some(4_095)), (55_903, None), (32_767, None)] {
        let reservation = ports.reserve(&sources(&[(1_024, last)]), &state).unwrap().unwrap();
        assert_eq!(reservation.few_left.map(|few_left| few_left.count), few_left, "{last}");
    }
    scratch.set("32768-60999"); // Whoever leaves the host nothing, it is not lbd.
    ports.reserve(&sources(&[(1_024, 32_766)]), &state).unwrap();
}

#[test]
fn older_sources_refuse_nothing() {
    let scratch = Scratch::new("older", "");
    let state = scratch.state();
    let mut ports = scratch.start(&state, "here");
    let SharedSources { configured: kept, .. } = sources(&[(32_768, 46_000)]);
    let mut shared = SharedSources { kept, ..sources(&[(46_001, 60_999)]) };
    let few_left = ports.reserve(&shared, &state).unwrap().unwrap().few_left.unwrap();
    let kept = PortSet::of(32_768..=46_000);
    assert_eq!(few_left, FewLeft { count: 0, beside_configured: kept.count(), kept });
    assert!(few_left.to_string().contains("32768-46000, of the source_nat.ports of before"), "{few_left}");
    assert_eq!(scratch.reserved(), "32768-60999");
    shared.kept.clear();
    assert_eq!(ports.reserve(&shared, &state).unwrap().unwrap().few_left, None);
    assert_eq!(scratch.reserved(), "46001-60999");
}

#[test]
fn a_setting_that_cannot_be_written_says_what_to_do() {
    let scratch = Scratch::new("unwritable", "8080");
    let state = scratch.state();
    let mut ports = scratch.start(&state, "here");
    let text = fs::read_to_string(scratch.0.join("reserved")).unwrap();
    fs::remove_file(scratch.0.join("reserved")).unwrap();
    fs::create_dir(scratch.0.join("reserved")).unwrap();
    assert!(ports.reserve(&sources(&[(2_000, 2_999)]), &state).is_err());
    let refusal =
        ports.kernel.change_reserved(&PortSet::default(), &text.parse().unwrap()).unwrap_err().to_string();
    assert!(refusal.contains("sysctl -w net.ipv4.ip_local_reserved_ports=8080"), "{refusal}");
    fs::remove_dir(scratch.0.join("reserved")).unwrap();
}

/// The disk is full, say, when the kernel has them already.
#[test]
fn ports_that_cannot_be_noted_are_ours_all_the_same() {
    let scratch = Scratch::new("unnoted", "");
    let state = scratch.state();
    let mut ports = scratch.start(&state, "here");
    let setting = scratch.0.join("reserved");
    fs::remove_file(&setting).unwrap();
    assert!(Command::new("mkfifo").arg(&setting).status().unwrap().success());
    let kernel = thread::spawn({
        let (setting, state) = (setting.clone(), scratch.0.join("state"));
        move || -> io::Result<()> {
            fs::write(&setting, "8080")?;
            let taken = fs::read(&setting)?;
            fs::remove_dir_all(state)?;
            fs::write(&setting, taken)
        }
    });
    assert!(ports.reserve(&sources(&[(2_000, 2_999)]), &state).is_err());
    kernel.join().unwrap().unwrap();
    fs::create_dir(scratch.0.join("state")).unwrap();
    fs::remove_file(&setting).unwrap();
    scratch.set("2000-2999,8080");
    ports.reserve(&sources(&[]), &state).unwrap();
    assert_eq!(scratch.reserved(), "8080");
}

//! `lbctl` and a daemon whose file declares nothing but an address pool: the README's tour as it stands, files, and what outlives the
//! daemon.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Output,
};

use lbd::testbed::{
    client::{Crowd, Seen},
    daemon::is_serving,
    network::{Layout, Offload, Plan},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    harness::{LBCTL, PATIENCE, Rig, SOCKET, wait_until},
    readme,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[("lbctl::the_tour_of_the_readme_and_what_it_made", tour)];

fn tour() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    let file = rig.write_text(&config(&rig))?;
    rig.launch_daemon_by(&file)?;
    let said = done(&rig, &readme::tour(&readme::text()?)?)?;
    for sentence in ["load balancer shop created", "198.19.2.2:8080: deregistered, no flow left"] {
        assert!(said.contains(sentence), "{sentence}: {said}");
    }
    assert!(rig.network.lb_has(NEW_VIP));
    assert_eq!(targets_of(&crowd(&rig)?), ["target1"]);

    drains_without_haste(&rig)?;
    applies_once(&rig)?;
    outlives_the_daemon(&mut rig, &file)?;
    rig.finish()?;
    Ok(())
}

/// The flows of a target that drains go on, and `drain` waits for them no longer than it was told to.
fn drains_without_haste(rig: &Rig) -> Result<(), Failed> {
    done(rig, "lbctl targets register web 198.19.2.2 && lbctl health web --wait")?;
    wait_until("both targets in the tables", || Ok(rig.control.targets_of("web")?.iter().all(is_serving)))?;
    rig.wait_until_applied()?;
    let mut crowd = crowd(rig)?;
    assert_eq!(targets_of(&crowd), ["target1", "target2"]);
    let said = fails(rig, "lbctl drain web 198.19.2.2 --timeout 1", 1)?;
    assert!(said.contains("still draining"), "{said}");
    assert_eq!(crowd.ask_all("still there", PATIENCE).len(), 0);
    Ok(())
}

/// A file takes over what calls have made, gives it back, and changes nothing the second time.
fn applies_once(rig: &Rig) -> Result<(), Failed> {
    let exported = done(rig, "lbctl export | tee shop.toml")?;
    assert!(exported.contains("name = \"shop\"") && exported.contains("198.19.1.2"), "{exported}");
    done(rig, "lbctl apply shop.toml && lbctl diff --exit-code shop.toml")?;
    done(rig, "sed 's/idle_timeout.seconds\" = .*/idle_timeout.seconds\" = 700/' shop.toml > new.toml")?;
    fails(rig, "lbctl diff --exit-code new.toml", 1)?;
    fails(rig, "lbctl apply new.toml --if-generation 1", 3)?;
    let first = done(rig, "lbctl apply new.toml")?;
    assert!(first.contains("tcp.idle_timeout.seconds") && first.contains("700"), "{first}");
    let generation = rig.control.status()?.generation;
    let second = done(rig, "lbctl apply new.toml")?;
    assert_eq!(second, format!("nothing to change: generation {generation}\n"));
    assert_eq!(rig.control.status()?.generation, generation);
    Ok(())
}

/// A clean restart and a crash: the same objects, and clients are served.
fn outlives_the_daemon(rig: &mut Rig, file: &Path) -> Result<(), Failed> {
    let before = done(rig, OBJECTS)?;
    rig.stop()?;
    assert!(!rig.network.lb_has(NEW_VIP), "the load balancer's address was left behind");
    rig.launch_daemon_by(file)?;
    assert_eq!(done(rig, OBJECTS)?, before);
    rig.daemon.take().ok_or("no daemon was started")?.kill()?;
    rig.launch_daemon_by(file)?;
    assert_eq!(done(rig, OBJECTS)?, before);
    done(rig, "lbctl health web --wait")?;
    rig.wait_until_applied()?;
    assert_eq!(targets_of(&crowd(rig)?), ["target1"]);
    Ok(())
}

/// Connections of clients whose addresses are hidden from targets, by default for a TCP group of addresses.
fn crowd(rig: &Rig) -> Result<Crowd, Failed> {
    let vip = SocketAddr::from((NEW_VIP, 80));
    Ok(Crowd::open_seen(&rig.network.client, vip, CONNECTIONS, Seen::Source(IpAddr::from(NEW_VIP)))?)
}

/// Names of the targets that a crowd is with, each once.
fn targets_of(crowd: &Crowd) -> Vec<&str> {
    let mut names: Vec<&str> = crowd.members().iter().map(|member| member.target.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What commands print that must all succeed.
fn done(rig: &Rig, script: &str) -> Result<String, Failed> {
    let (output, said) = typed(rig, script)?;
    assert!(output.status.success(), "{script}: {}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// What a command says that must fail with an exit code.
fn fails(rig: &Rig, script: &str, exit_code: i32) -> Result<String, Failed> {
    let (output, said) = typed(rig, script)?;
    assert_eq!(output.status.code(), Some(exit_code), "{script}: {said}");
    Ok(said)
}

/// Types commands into a shell on the load balancer's host, in the directory of the test.
fn typed(rig: &Rig, script: &str) -> Result<(Output, String), Failed> {
    let programs = Path::new(LBCTL).parent().ok_or("lbctl is in a directory")?.to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&path)))?;
    let mut shell = rig.network.lb.command(Path::new("sh"));
    shell.args(["-ec", script]).current_dir(rig.directory.path());
    let output = shell.env("PATH", path).env("LBCTL_SOCKET", socket(rig)).output()?;
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    Ok((output, said))
}

fn socket(rig: &Rig) -> PathBuf {
    rig.directory.path().join(SOCKET)
}

fn config(rig: &Rig) -> String {
    let directory = rig.directory.path().display();
    format!(
        r#"
interfaces = {:?}
state_directory = "{directory}/state"
control_socket = "{directory}/{SOCKET}"
workers = {{ count = 1 }}
flow_table = {{ capacity = 65536 }}

[[address_pools]]
name = "subnet-a"
addresses = ["198.18.100.16-198.18.100.31"]
"#,
        rig.network.interfaces
    )
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 2, queues: 1, offload: Offload::Off };
/// More than ever go to one of two targets.
const CONNECTIONS: usize = 40;
/// The first address of the pool.
const NEW_VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 100, 16);
/// Everything that was made, without counters.
const OBJECTS: &str = "lbctl load-balancer show shop && lbctl target-group show web && lbctl export";

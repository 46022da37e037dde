//! `lbd demo --scenario`, and the page that it has written.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use libtest_mimic::Failed;

use crate::{
    Test,
    demo::left_by,
    harness::{LBD, heavy, unprivileged},
    readme,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("story::one_scenario_holds", one_holds),
    ("story::the_page_is_what_is_captured", page_is_current),
    ("story::the_readme_shows_a_part_of_the_page", readme_shows_the_page),
    ("story::without_nginx_the_ingress_is_left_out", without_nginx),
    ("story::names_are_listed", names_are_listed),
    ("story::without_root_it_says_so", without_root),
];

/// On the screen: within 120 columns, without colours where there is no terminal, and nothing is left.
fn one_holds() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let child =
        Command::new(LBD).args(["demo", "--scenario", "ip"]).stdout(std::process::Stdio::piped()).spawn()?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    let said = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{said}");
    assert!(said.contains("checks held") && said.contains("lb: source 198.18.0.2:"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= COLUMNS) && !said.contains('\x1b'), "{said}");
    assert_eq!(left_by(pid), [""; 0]);
    Ok(())
}

/// What the README shows of a way is a part of the page.
fn readme_shows_the_page() -> Result<(), Failed> {
    let readme = readme::text()?;
    let (_, section) = readme.split_once("### Learn by watching packets").ok_or("no section")?;
    let shown = section.split("```").nth(1).and_then(|block| block.strip_prefix("text")).ok_or("no block")?;
    assert!(page()?.contains(shown), "it is not in the page: {shown}");
    Ok(())
}

/// All scenarios hold, and the page in docs tells of the same addresses, ports, MAC addresses and reasons at every link. What
/// programs of others print (`ip`) is not compared: their versions differ.
fn page_is_current() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let output = demo(&["--scenario", "all", "--markdown"])?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let fresh = String::from_utf8(output.stdout)?;
    let page = page()?;
    let (page, fresh) = (without_programs(&page), without_programs(&fresh));
    let differs = page.iter().zip(&fresh).find(|(old, new)| old != new);
    assert_eq!(differs, None, "the page is not current; ./ci.sh story renews it");
    assert_eq!(page.len(), fresh.len(), "the page is not current; ./ci.sh story renews it");
    Ok(())
}

/// Of all scenarios that is no failure, but asked for by name it is one, and a page has to be whole. Without `nft` nothing can be played.
fn without_nginx() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let programs = tempfile::tempdir()?;
    let demo = |arguments: &[&str]| {
        Command::new(LBD).args(["demo", "--scenario"]).args(arguments).env("PATH", programs.path()).output()
    };
    let has_said = |output: &Output, exit_code, package: &str| {
        let said = [&output.stdout[..], &output.stderr].concat();
        output.status.code() == Some(exit_code) && String::from_utf8_lossy(&said).contains(package)
    };
    symlink(program("ip")?, programs.path().join("ip"))?;
    let output = demo(&["ingress"])?;
    assert!(has_said(&output, 2, "nftables"), "{output:?}");
    symlink(program("nft")?, programs.path().join("nft"))?;
    for (arguments, exit_code) in [(&["ingress"][..], 2), (&["all"], 0), (&["all", "--markdown"], 1)] {
        let output = demo(arguments)?;
        assert!(has_said(&output, exit_code, "nginx-light"), "{arguments:?}: {output:?}");
    }
    Ok(())
}

/// Where a program is.
fn program(name: &str) -> Result<PathBuf, Failed> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(name));
    Ok(places.find(|place| place.exists()).ok_or(format!("there is no {name}"))?)
}

fn names_are_listed() -> Result<(), Failed> {
    for (arguments, exit_code) in
        [(&["--scenario"][..], 0), (&["--scenario", "list"], 0), (&["--scenario", "no-such"], 2)]
    {
        let output = demo(arguments)?;
        let said = String::from_utf8_lossy(if exit_code == 0 { &output.stdout } else { &output.stderr });
        assert_eq!(output.status.code(), Some(exit_code), "{said}");
        assert!(said.contains("ip-preserved") && said.contains("Hairpin"), "{said}");
    }
    Ok(())
}

fn without_root() -> Result<(), Failed> {
    let output = unprivileged(Command::new(LBD).args(["demo", "--scenario", "ip"])).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("root") && !said.trim().contains('\n'), "{said}");
    Ok(())
}

fn page() -> Result<String, Failed> {
    Ok(fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/life-of-a-packet.md"))?)
}

fn demo(arguments: &[&str]) -> Result<Output, Failed> {
    Ok(Command::new(LBD).arg("demo").args(arguments).output()?)
}

/// The lines of a page but for those that follow a command `ip` in a block.
fn without_programs(page: &str) -> Vec<&str> {
    let mut is_said = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        is_said &= line != "```";
        if !is_said {
            lines.push(line);
        }
        is_said |= line.contains("# ip ");
    }
    lines
}

const COLUMNS: usize = 120;

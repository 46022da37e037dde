//! Completions are accepted by their shells, manual pages by groff.

use std::{fs, io::Write, process::Command, process::Stdio};

use crate::lbctl;

#[test]
fn completions_are_accepted_by_their_shells() {
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = lbctl(&format!("completions {shell}")).done();
        for verb in ["load-balancer", "set-attributes", "drain", "export", "doctor"] {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(script.as_bytes()).unwrap();
        match Command::new(shell).arg(check).arg(file.path()).output() {
            Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}"),
            Err(error) => eprintln!("not checked: completions for {shell}: {error}"),
        }
    }
}

#[test]
fn there_is_a_manual_page_of_each_verb() {
    let scratch = tempfile::tempdir().unwrap();
    lbctl(&format!("man {}", scratch.path().display())).done();
    let pages: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let has = |name: &str| pages.iter().any(|page| page.ends_with(name));
    for name in ["lbctl.1", "lbctl-status.1", "lbctl-load-balancer-set-attributes.1", "lbctl-targets-drain.1"]
    {
        assert!(has(name), "{name}: {pages:?}");
    }
    let main = fs::read_to_string(scratch.path().join("lbctl.1")).unwrap();
    assert!(main.contains("Exit codes: 0 done"), "{main}");
    for page in pages {
        let groff = Command::new("groff")
            .args(["-mandoc", "-ww", "-Tutf8"])
            .arg(&page)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output();
        match groff {
            Ok(output) => {
                assert!(output.status.success() && output.stderr.is_empty(), "{page:?}: {output:?}");
            }
            Err(error) => {
                eprintln!("not checked: manual pages: {error}");
                break;
            }
        }
    }
}

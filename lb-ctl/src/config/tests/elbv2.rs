//! Section `elbv2`: who may speak to the endpoint, and from where.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

#[test]
fn there_is_no_endpoint_unless_one_is_configured() {
    assert_eq!(parse(BASE, "f").unwrap().elbv2, None);
    let elbv2 = read("listen = \"127.0.0.1:9180\"\nunsigned = true");
    assert_eq!(elbv2.access, Access::Unsigned);
    assert_eq!((elbv2.region.as_str(), elbv2.account.as_str()), ("local", "000000000000"));
    assert_eq!(elbv2.dns_suffix, "lbd.internal");
}

#[test]
fn keys_come_from_the_section_and_from_a_private_file() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("keys.toml");
    fs::write(&file, "[[keys]]\nid = \"AKIDLOOKS\"\nsecret = \"0123456789abcdef\"\nread_only = true\n")
        .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let section = format!(
        "listen = \"198.18.0.1:9180\"\nkeys = [{{ id = \"AKIDWRITES\", secret = \"fedcba9876543210\" }}]\nkeys_file = {file:?}"
    );
    let elbv2 = read(&section);
    let Access::Signed(keys) = &elbv2.access else { panic!("{elbv2:?}") };
    let keys: Vec<_> =
        keys.iter().map(|key| (key.id.as_str(), key.secret.reveal(), key.is_read_only)).collect();
    assert_eq!(keys, [("AKIDWRITES", "fedcba9876543210", false), ("AKIDLOOKS", "0123456789abcdef", true)]);
    assert!(!format!("{elbv2:?}").contains("0123456789abcdef"));

    for mode in [0o640, 0o604] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused(&section).contains("lets others in: chmod 600 it"), "{mode:o}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "[[keys]]\nid = \"AKIDWRITES\"\nsecret = \"0123456789abcdef\"\n").unwrap();
    assert!(refused(&section).contains("without the key \"AKIDWRITES\""));
    for wrong in ["", "keys = 1", "[[keys]]\nid = \"AKID\"\nsecret = \"short\"\n", "= [["] {
        fs::write(&file, wrong).unwrap();
        assert!(refused(&section).contains("that only its owner can read"), "{wrong}");
    }
    fs::remove_file(&file).unwrap();
    assert!(refused(&section).contains("No such file"));
}

#[test]
fn an_endpoint_without_signatures_is_for_loopback_alone() {
    for (section, error) in [
        ("listen = \"127.0.0.1:9180\"", "expected keys ="),
        ("listen = \"198.18.0.1:9180\"\nunsigned = true", "only a loopback address can be listened on"),
        ("listen = \"[::]:9180\"\nunsigned = true", "only a loopback address can be listened on"),
        ("listen = \"9180\"\nunsigned = true", "expected an address and a port"),
        (
            "listen = \"[::1]:9180\"\nunsigned = true\nkeys = [{ id = \"AKID\", secret = \"0123456789abcdef\" }]",
            "expected keys, or unsigned = true, not both",
        ),
        ("unsigned = true", "elbv2.listen: found nothing"),
        ("listen = \"[::1]:9180\"\nunsigned = true\nregion = \"Mars!\"", "elbv2.region: found \"Mars!\""),
        ("listen = \"[::1]:9180\"\nunsigned = true\naccount = \"12\"", "expected 12 digits"),
        ("listen = \"[::1]:9180\"\nunsigned = true\ndns_suffix = \"a..b\"", "elbv2.dns_suffix"),
        ("listen = \"[::1]:9180\"\nkeys = [{ id = \"A-B\", secret = \"0123456789abcdef\" }]", "keys[0].id"),
        ("listen = \"[::1]:9180\"\nkeys = [{ id = \"AKID\", secret = 7 }]", "something else (not shown)"),
    ] {
        let found = refused(section);
        assert!(found.contains(error), "{section}\n{found}");
    }
}

fn text(section: &str) -> String {
    BASE.replace("[[target_groups]]", &format!("[elbv2]\n{section}\n\n[[target_groups]]"))
}

#[track_caller]
fn read(section: &str) -> Elbv2 {
    parse(&text(section), "f").unwrap().elbv2.unwrap()
}

#[track_caller]
fn refused(section: &str) -> String {
    parse(&text(section), "f").expect_err(section).to_string()
}

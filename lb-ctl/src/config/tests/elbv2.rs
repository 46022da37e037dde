//! Section `elbv2`: who may speak to the endpoint, and from where.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

#[test]
fn there_is_no_endpoint_unless_one_is_configured() {
    assert_eq!(parse(BASE, "f").unwrap().elbv2, None);
    let elbv2 = read("listen = \"127.0.0.1:9180\"\nunsigned = true");
    assert_eq!(elbv2.access, Access::Unsigned);
    assert_eq!((elbv2.region.as_str(), elbv2.account.as_str()), ("us-east-1", "000000000000"));
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
    let access = read(&section).access;
    let keys = access.keys().unwrap().unwrap();
    let shown: Vec<_> =
        keys.iter().map(|key| (key.id.as_str(), key.secret.reveal(), key.is_read_only)).collect();
    assert_eq!(shown, [("AKIDWRITES", "fedcba9876543210", false), ("AKIDLOOKS", "0123456789abcdef", true)]);
    assert!(!format!("{access:?}{keys:?}").contains("0123456789abcdef"));

    let refused = || access.keys().unwrap_err().to_string();
    for mode in [0o640, 0o604] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused().contains("lets others in: chmod 600 it"), "{mode:o}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for (wrong, error) in [
        (
            "[[keys]]\nid = \"AKIDWRITES\"\nsecret = \"0123456789abcdef\"\n",
            ":2: keys[0].id: found \"AKIDWRITES\"",
        ),
        ("[[keys]]\nid = \"AKIDLOOKS\"\nsecret = \"short\"\n", "something else (not shown)"),
        ("", "keys: found nothing"),
        ("keys = 1", "keys: found 1"),
        ("[elbv2]", "elbv2: found an unknown key"),
        ("= [[", "text that is not TOML"),
    ] {
        fs::write(&file, wrong).unwrap();
        assert!(refused().contains(error), "{wrong}: {}", refused());
    }
    fs::remove_file(&file).unwrap();
    assert!(refused().contains("No such file"));
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
        ("listen = \"[::1]:9180\"\nkeys_file = \"keys\"", "elbv2.keys_file"),
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

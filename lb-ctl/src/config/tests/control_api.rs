//! Section `control_api`.

use super::*;
use crate::server::Limits;

#[test]
fn nobody_is_named_by_default() {
    assert_eq!(parse(BASE, "f").unwrap().control_api, ControlApi::default());
}

#[test]
fn groups_are_named_or_numbered() {
    let section = "[control_api]\nread_write_groups = [\"root\"]\nread_only_groups = [12, 4294967294]\nconnections = 9\n";
    let config = parse(&format!("{BASE}{section}"), "f").unwrap();
    let expected = ControlApi {
        read_write_groups: vec![0],
        read_only_groups: vec![12, 4_294_967_294],
        limits: Limits { connections: 9, ..Limits::default() },
        tcp: None,
    };
    assert_eq!(config.control_api, expected);
}

#[test]
fn a_group_that_is_unknown_is_an_error() {
    let section =
        "[control_api]\nread_write_groups = [\"no such group\"]\nread_only_groups = [-1]\nbody_bytes = 1\n";
    let expected = [
        "22: control_api.read_write_groups[0]: found \"no such group\", expected a group that /etc/group has, or the number of one",
        "23: control_api.read_only_groups[0]: found -1, expected an integer from 0 to 4294967294",
        "24: control_api.body_bytes: found 1, expected an integer from 4096 to 67108864",
    ];
    assert_errors(&format!("{BASE}{section}"), &expected);
}

//! Section `metrics`.

use super::*;

fn with(section: &str) -> String {
    format!("{BASE}\n[metrics]\n{section}\n")
}

#[test]
fn metrics_are_on_the_control_socket_alone_unless_an_address_is_named() {
    assert_eq!(parse(BASE, "f").unwrap().metrics, Metrics { listen: None, targets_max: 1_000 });
    for listen in ["127.0.0.1:9464", "[::1]:9464"] {
        let config = parse(&with(&format!("listen = {listen:?}\ntargets_max = 0")), "f").unwrap();
        assert_eq!(config.metrics, Metrics { listen: listen.parse().ok(), targets_max: 0 });
    }
}

#[test]
fn what_cannot_be_listened_on_is_refused() {
    let line = BASE.lines().count() + 3;
    for listen in ["127.0.0.1", "127.0.0.1:0", "localhost:9464"] {
        let error = format!(
            "{line}: metrics.listen: found {listen:?}, expected an address and a port to listen on, such as \"127.0.0.1:9464\" or \
             \"[::1]:9464\""
        );
        assert_errors(&with(&format!("listen = {listen:?}")), &[&error]);
    }
    let error = format!("{line}: metrics.targets_max: found -1, expected an integer from 0 to 16384");
    assert_errors(&with("targets_max = -1"), &[&error]);
}

//! Names of objects, and their parts.

use super::*;

#[test]
fn arns_are_taken_apart_as_they_were_made() {
    let arns = Arns::default();
    let lb: LoadBalancer = serde_json::from_value(serde_json::json!({
        "name": "edge", "id": "00000000000000aa", "addresses": [],
        "listeners": [{
            "id": "00000000000000bb", "protocol": "TCP", "port": 80, "forward": { "target_groups": [] },
            "rules": [{ "id": "00000000000000cc", "priority": 1, "source": "ipv6", "forward": { "target_groups": [] } }],
        }],
    }))
    .unwrap();
    let group = serde_json::json!({ "name": "web", "id": "00000000000000dd", "protocol": "TCP", "port": 80 });
    let group: TargetGroup = serde_json::from_value(group).unwrap();
    let listener = &lb.listeners[0];
    let prefix = "arn:aws:elasticloadbalancing:us-east-1:000000000000:";
    for (arn, tail) in [
        (arns.load_balancer(&lb), "loadbalancer/net/edge/00000000000000aa"),
        (arns.listener(&lb, listener), "listener/net/edge/00000000000000aa/00000000000000bb"),
        (
            arns.rule(&lb, listener, listener.rules.first()),
            "listener-rule/net/edge/00000000000000aa/00000000000000bb/00000000000000cc",
        ),
        (
            arns.rule(&lb, listener, None),
            "listener-rule/net/edge/00000000000000aa/00000000000000bb/00000000000000bb",
        ),
        (arns.target_group(&group), "targetgroup/web/00000000000000dd"),
    ] {
        assert_eq!(arn.to_string(), format!("{prefix}{tail}"));
        assert_eq!(arn.to_string().parse(), Ok(arn));
    }
    for bad in [
        "",
        "loadbalancer/app/edge/00000000000000aa",
        "listener/net/edge/00000000000000aa",
        "targetgroup/web/dd",
    ] {
        assert!(format!("{prefix}{bad}").parse::<Arn>().is_err(), "{bad}");
    }
    assert!(format!("{prefix}targetgroup/web/+0000000000000dd").parse::<Arn>().is_err());
}

//! Who is let in, and what is no request of this API.

use super::*;

#[test]
fn an_unsigned_request_of_a_program_is_taken_and_a_browsers_is_not() {
    let world = World::new();
    let form = "Action=DescribeLoadBalancers&Version=2015-12-01";
    assert!(world.send(&post(form, "")).0.starts_with("HTTP/1.1 200"));
    for header in ["origin: http://example.com\r\n", "sec-fetch-site: cross-site\r\n"] {
        let (head, body) = world.send(&post(form, header));
        assert!(head.starts_with("HTTP/1.1 403"), "{head}");
        assert!(body.contains("<Code>AccessDenied</Code>"), "{body}");
    }
}

#[test]
fn get_is_for_looking() {
    let world = World::new();
    let get = |query: &str| {
        world.send(&format!("GET /?{query} HTTP/1.1\r\nhost: lbd\r\nconnection: close\r\n\r\n"))
    };
    assert!(get("Action=DescribeLoadBalancers").0.starts_with("HTTP/1.1 200"));
    assert!(get("Action=CreateLoadBalancer&Name=x").1.contains("<Code>AccessDenied</Code>"));
}

#[test]
fn keys_are_needed_where_there_are_keys() {
    let secret = Secret::new("0123456789abcdef".into());
    let key = AccessKey { id: "AKIDLOOKS".into(), secret, is_read_only: true };
    let world = World::with(Access::Signed { keys: vec![key], file: None });
    assert_eq!(world.post("Action=DescribeLoadBalancers").0, 403);
    assert_eq!(world.refused("Action=DescribeLoadBalancers"), "MissingAuthenticationToken");
    world.endpoint.renew(Keys::load(&Access::Unsigned).unwrap());
    world.ok("Action=DescribeLoadBalancers");
}

#[test]
fn what_is_no_request_of_this_api_is_said_so() {
    let world = World::new();
    for (form, code) in [
        ("Action=DeleteEverything", "InvalidAction"),
        ("Action=DescribeLoadBalancers&Version=2012-06-01", "InvalidAction"),
        ("", "InvalidAction"),
        ("Action=DescribeLoadBalancers&LoadBalancerName=x", "ValidationError"),
        ("Action=DescribeLoadBalancers&Names..member=x", "MalformedQueryString"),
    ] {
        assert_eq!(world.refused(form), code, "{form}");
    }
    let elsewhere = "POST /v1/status HTTP/1.1\r\nhost: lbd\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert!(world.send(elsewhere).1.contains("<Code>InvalidAction</Code>"));
    let put = "PUT / HTTP/1.1\r\nhost: lbd\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert!(world.send(put).1.contains("<Code>InvalidAction</Code>"));
    let long = format!("Action=DescribeLoadBalancers&x={}", "x".repeat(1 << 20));
    assert_eq!(world.post(&long).0, 413);
}

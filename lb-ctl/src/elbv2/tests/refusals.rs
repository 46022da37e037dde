//! What is refused, by which code.

use super::*;

#[test]
fn parameters_that_do_not_fit_are_refused() {
    let world = World::new();
    let (lb, group) = (world.load_balancer("edge"), world.target_group("web"));
    let other = world
        .arn("Action=CreateLoadBalancer&Type=network&Subnets.member.1=pool-b&Name=other", "LoadBalancerArn");
    let udp =
        world.arn("Action=CreateTargetGroup&Protocol=UDP&Port=53&TargetType=ip&Name=dns", "TargetGroupArn");
    let listener = world.listener(&lb, 80, &group);
    let gone = |arn: &str| format!("{}0123456789abcdef", &arn[..arn.len() - 16]);
    let (no_lb, no_group, no_listener) = (gone(&lb), gone(&group), gone(&listener));
    let no_rule = format!("{}/0123456789abcdef", listener.replace("listener/", "listener-rule/"));

    let new = "Action=CreateLoadBalancer&Name=new&Type=network";
    let forward =
        format!("DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={group}");
    let listen = format!("Action=CreateListener&LoadBalancerArn={lb}&Port=81&Protocol=TCP");
    let attribute =
        |key: &str, value: &str| format!("Attributes.member.1.Key={key}&Attributes.member.1.Value={value}");
    for (form, code) in [
        ("Action=CreateLoadBalancer&Name=new&Subnets.member.1=pool-a".into(), "InvalidConfigurationRequest"),
        (format!("{new}&Subnets.member.1=pool-z"), "SubnetNotFound"),
        (new.into(), "ValidationError"),
        (format!("{new}&Subnets.member.1=pool-a&Scheme=public"), "ValidationError"),
        (format!("{new}&Subnets.member.1=pool-a&SecurityGroups.member.1=sg-1"), "InvalidSecurityGroup"),
        (
            format!(
                "{new}&SubnetMappings.member.1.SubnetId=pool-a&SubnetMappings.member.1.AllocationId=eipalloc-1"
            ),
            "AllocationIdNotFound",
        ),
        (format!("{new}&Subnets.member.1=pool-b&IpAddressType=dualstack"), "InvalidSubnet"),
        (
            "Action=CreateLoadBalancer&Type=network&Subnets.member.1=pool-a&Name=-bad-".into(),
            "ValidationError",
        ),
        (
            "Action=CreateLoadBalancer&Type=network&Subnets.member.1=pool-a&Name=internal-x".into(),
            "ValidationError",
        ),
        (
            format!("Action=SetSubnets&LoadBalancerArn={no_lb}&Subnets.member.1=pool-a"),
            "LoadBalancerNotFound",
        ),
        ("Action=DescribeLoadBalancers&LoadBalancerArns.member.1=edge".into(), "ValidationError"),
        (format!("Action=DescribeTargetHealth&TargetGroupArn={no_group}"), "TargetGroupNotFound"),
        (format!("Action=DescribeListeners&ListenerArns.member.1={no_listener}"), "ListenerNotFound"),
        (format!("Action=DeleteRule&RuleArn={no_rule}"), "RuleNotFound"),
        ("Action=DescribeListeners".into(), "ValidationError"),
        ("Action=DescribeRules".into(), "ValidationError"),
        ("Action=DescribeTargetGroups&PageSize=401".into(), "ValidationError"),
        (
            format!("{listen}&{forward}").replace("Port=81", "Port=80").replace("TCP", "TCP_UDP"),
            "IncompatibleProtocols",
        ),
        (format!("{listen}&{forward}").replace("Port=81", "Port=0"), "ValidationError"),
        (format!("{listen}&{forward}").replace("Protocol=TCP", "Protocol=HTTP"), "UnsupportedProtocol"),
        (format!("{listen}&{forward}").replace(&group, &udp), "IncompatibleProtocols"),
        (format!("{listen}&{forward}").replace(&lb, &other), "TargetGroupAssociationLimit"),
        (format!("{listen}&{forward}").replace(&group, &no_group), "TargetGroupNotFound"),
        (format!("{listen}&{forward}&Certificates.member.1.CertificateArn=x"), "InvalidConfigurationRequest"),
        (format!("{listen}&{forward}&DefaultActions.member.2.Type=forward"), "TooManyActions"),
        (format!("{listen}&DefaultActions.member.1.Type=redirect"), "InvalidLoadBalancerAction"),
        (format!("{listen}&DefaultActions.member.1.Type=forward"), "InvalidLoadBalancerAction"),
        (listen, "ValidationError"),
        (
            format!(
                "Action=CreateRule&ListenerArn={listener}&Priority=1&Conditions.member.1.Field=source-ip&\
                 Conditions.member.1.SourceIpConfig.IpAddressType=ipv4&Actions.member.1.Type=forward&\
                 Actions.member.1.TargetGroupArn={group}"
            ),
            "InvalidConfigurationRequest",
        ),
        (
            format!("Action=RegisterTargets&TargetGroupArn={group}&Targets.member.1.Id=i-0123"),
            "InvalidTarget",
        ),
        (
            format!("Action=RegisterTargets&TargetGroupArn={group}&Targets.member.1.Id=127.0.0.1"),
            "InvalidTarget",
        ),
        (format!("Action=RegisterTargets&TargetGroupArn={group}"), "ValidationError"),
        ("Action=CreateTargetGroup&Name=x&Port=80".into(), "ValidationError"),
        ("Action=CreateTargetGroup&Name=x&Protocol=TCP".into(), "ValidationError"),
        ("Action=CreateTargetGroup&Name=x&Protocol=HTTP&Port=80".into(), "InvalidConfigurationRequest"),
        (
            "Action=CreateTargetGroup&Name=x&Protocol=TCP&Port=80&TargetType=alb".into(),
            "InvalidConfigurationRequest",
        ),
        (
            "Action=CreateTargetGroup&Name=x&Protocol=TCP&Port=80&HealthCheckIntervalSeconds=4".into(),
            "ValidationError",
        ),
        (
            format!(
                "Action=ModifyTargetGroupAttributes&TargetGroupArn={group}&{}",
                attribute("slow_start.duration_seconds", "30")
            ),
            "InvalidConfigurationRequest",
        ),
        (
            format!(
                "Action=ModifyTargetGroupAttributes&TargetGroupArn={group}&{}",
                attribute("proxy_protocol_v2.client_to_server.header_placement", "on_syn")
            ),
            "InvalidConfigurationRequest",
        ),
        (
            format!(
                "Action=ModifyLoadBalancerAttributes&LoadBalancerArn={lb}&{}",
                attribute("deletion_protection.enabled", "maybe")
            ),
            "InvalidConfigurationRequest",
        ),
        (
            format!(
                "Action=ModifyListenerAttributes&ListenerArn={listener}&{}",
                attribute("tcp.idle_timeout.seconds", "59")
            ),
            "InvalidConfigurationRequest",
        ),
        (
            format!(
                "Action=ModifyListenerAttributes&ListenerArn={listener}&{}",
                attribute("udp.idle_timeout.seconds", "30")
            ),
            "InvalidConfigurationRequest",
        ),
        (
            format!("Action=AddTags&ResourceArns.member.1={lb}&Tags.member.1.Key=a&Tags.member.2.Key=a"),
            "DuplicateTagKeys",
        ),
        ("Action=DescribeTags&ResourceArns.member.1=x".into(), "ValidationError"),
        ("Action=DescribeTargetGroups&Marker=garbage".into(), "ValidationError"),
        (
            format!(
                "{new}&SubnetMappings.member.1.SubnetId=pool-a&SubnetMappings.member.1.IPv6Address=2001:db8:100::11"
            ),
            "InvalidConfigurationRequest",
        ),
    ] {
        assert_eq!(world.refused(&form), code, "{form}");
    }
}

#[test]
fn a_forward_action_has_a_few_different_groups_of_one_family() {
    let world = World::new();
    let four = world.load_balancer("four");
    let both = world.arn(
        "Action=CreateLoadBalancer&Name=both&Type=network&IpAddressType=dualstack&Subnets.member.1=pool-a",
        "LoadBalancerArn",
    );
    let groups: Vec<String> = (0..6).map(|number| world.target_group(&format!("web-{number}"))).collect();
    let six = world.arn(
        "Action=CreateTargetGroup&Protocol=TCP&Port=80&TargetType=ip&IpAddressType=ipv6&Name=six",
        "TargetGroupArn",
    );
    let listen = |lb: &str, groups: &[&String]| {
        let row = |(number, arn): (usize, &&String)| {
            let place = "DefaultActions.member.1.ForwardConfig.TargetGroups.member";
            format!("&{place}.{}.TargetGroupArn={arn}", number + 1)
        };
        let rows: String = groups.iter().enumerate().map(row).collect();
        format!(
            "Action=CreateListener&LoadBalancerArn={lb}&Port=80&Protocol=TCP&DefaultActions.member.1.Type=forward{rows}"
        )
    };
    for form in [
        listen(&four, &groups.iter().collect::<Vec<_>>()),
        listen(&four, &[&groups[0], &groups[0]]),
        listen(&four, &[&six]),
        listen(&both, &[&groups[0], &six]),
    ] {
        let (_, document) = world.post(&form);
        assert!(document.contains("<Code>InvalidConfigurationRequest</Code>"), "{document}");
    }
    world.ok(&listen(&four, &groups[..5].iter().collect::<Vec<_>>()));
    world.ok(&listen(&both, &[&six]));
}

#[test]
fn texts_name_no_place_in_a_file() {
    let world = World::new();
    let (_, document) =
        world.post("Action=CreateLoadBalancer&Type=network&Subnets.member.1=pool-a&Name=-bad-");
    let message = between(&document, "<Message>", "</Message>");
    assert!(message.starts_with("name: found "), "{message}");
}

#[test]
fn an_internal_load_balancer_denies_the_internet_gateway() {
    let world = World::new();
    let internal = world.arn(
        "Action=CreateLoadBalancer&Name=in&Type=network&Scheme=internal&Subnets.member.1=pool-a",
        "LoadBalancerArn",
    );
    let facing = world.load_balancer("out");
    let deny = |arn: &str| {
        format!(
            "Action=ModifyLoadBalancerAttributes&LoadBalancerArn={arn}&\
             Attributes.member.1.Key=ipv6.deny_all_igw_traffic&Attributes.member.1.Value=true"
        )
    };
    let told = |arn: &str| {
        let all = world.ok(&format!("Action=DescribeLoadBalancerAttributes&LoadBalancerArn={arn}"));
        between(&all, "<Key>ipv6.deny_all_igw_traffic</Key><Value>", "</Value>").to_owned()
    };
    assert_eq!((told(&internal), told(&facing)), ("true".into(), "false".into()));
    world.ok(&deny(&internal));
    assert_eq!(world.refused(&deny(&facing)), "InvalidConfigurationRequest");
}

#[test]
fn a_port_has_one_listener() {
    let world = World::new();
    let (lb, group) = (world.load_balancer("edge"), world.target_group("web"));
    let both = world.target_group("both");
    world.listener(&lb, 80, &group);
    let again = format!(
        "Action=CreateListener&LoadBalancerArn={lb}&Protocol=TCP&Port=80&DefaultActions.member.1.Type=forward&\
         DefaultActions.member.1.TargetGroupArn={both}"
    );
    assert_eq!(world.refused(&again), "DuplicateListener");
}

#[test]
fn more_than_there_may_be_is_refused() {
    let world = World::new();
    let lb = world.arn(
        "Action=CreateLoadBalancer&Name=edge&Type=network&IpAddressType=dualstack&Subnets.member.1=pool-a",
        "LoadBalancerArn",
    );
    let group = world.target_group("web");
    let listeners: Vec<String> = (1..=50).map(|port| world.listener(&lb, port, &group)).collect();
    let one_more = format!(
        "Action=CreateListener&LoadBalancerArn={lb}&Protocol=TCP&Port=51&DefaultActions.member.1.Type=forward&\
         DefaultActions.member.1.TargetGroupArn={group}"
    );
    assert_eq!(world.refused(&one_more), "TooManyListeners");
    let rule = |priority: u16| {
        format!(
            "Action=CreateRule&ListenerArn={}&Priority={priority}&Conditions.member.1.Field=source-ip&\
             Conditions.member.1.SourceIpConfig.IpAddressType=ipv4&Actions.member.1.Type=forward&\
             Actions.member.1.TargetGroupArn={group}",
            listeners[0]
        )
    };
    for priority in 1..=100 {
        world.ok(&rule(priority));
    }
    assert_eq!(world.refused(&rule(101)), "TooManyRules");
    let tags: String = (0..51).map(|number| format!("&Tags.member.{}.Key=k{number}", number + 1)).collect();
    assert_eq!(world.refused(&format!("Action=AddTags&ResourceArns.member.1={lb}{tags}")), "TooManyTags");
}

#[test]
fn what_there_cannot_be_is_refused_by_the_operations_own_errors() {
    let world = World::new();
    let (lb, group) = (world.load_balancer("edge"), world.target_group("web"));
    let listener = world.listener(&lb, 80, &group);
    let store = "arn:aws:elasticloadbalancing:us-east-1:000000000000:truststore/x/0123456789abcdef";
    for (form, code) in [
        (
            format!(
                "Action=AddListenerCertificates&ListenerArn={listener}&Certificates.member.1.CertificateArn=x"
            ),
            "CertificateNotFound",
        ),
        (
            format!(
                "Action=RemoveListenerCertificates&ListenerArn={listener}&Certificates.member.1.CertificateArn=x"
            ),
            "OperationNotPermitted",
        ),
        (
            "Action=CreateTrustStore&Name=x&CaCertificatesBundleS3Bucket=b&CaCertificatesBundleS3Key=k"
                .into(),
            "TooManyTrustStores",
        ),
        (format!("Action=DeleteTrustStore&TrustStoreArn={store}"), "TrustStoreNotFound"),
        (format!("Action=DescribeTrustStores&TrustStoreArns.member.1={store}"), "TrustStoreNotFound"),
        (format!("Action=DescribeTags&ResourceArns.member.1={store}"), "TrustStoreNotFound"),
        (format!("Action=GetResourcePolicy&ResourceArn={store}"), "ResourceNotFound"),
        (format!("Action=ModifyCapacityReservation&LoadBalancerArn={lb}"), "OperationNotPermitted"),
        (format!("Action=ModifyIpPools&LoadBalancerArn={lb}"), "ValidationError"),
        (
            format!("Action=SetSecurityGroups&LoadBalancerArn={lb}&SecurityGroups.member.1=sg-1"),
            "InvalidConfigurationRequest",
        ),
        ("Action=DescribeSSLPolicies&Names.member.1=x".into(), "SSLPolicyNotFound"),
    ] {
        assert_eq!(world.refused(&form), code, "{form}");
    }
    for (form, result) in [
        ("Action=DescribeTrustStores".into(), "<TrustStores></TrustStores>"),
        ("Action=DescribeSSLPolicies".into(), "<SslPolicies></SslPolicies>"),
        (
            format!("Action=DescribeListenerCertificates&ListenerArn={listener}"),
            "<Certificates></Certificates>",
        ),
        (format!("Action=DescribeCapacityReservation&LoadBalancerArn={lb}"), ""),
    ] {
        assert_eq!(world.ok(&form), result, "{form}");
    }
}

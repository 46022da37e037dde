//! What operations do and tell, over the life of each object.

use super::*;

#[test]
fn a_load_balancer_has_addresses_of_its_subnets() {
    let world = World::new();
    let create = "Action=CreateLoadBalancer&Name=edge&Type=network&Scheme=internal&\
                  SubnetMappings.member.1.SubnetId=pool-a&SubnetMappings.member.1.PrivateIPv4Address=198.18.100.20&\
                  SubnetMappings.member.2.SubnetId=pool-b&Tags.member.1.Key=team&Tags.member.1.Value=net";
    let made = world.ok(create);
    for part in [
        "<LoadBalancerName>edge</LoadBalancerName>",
        "<Scheme>internal</Scheme>",
        "<State><Code>active</Code></State><Type>network</Type>",
        "<CreatedTime>2026-11-23T10:43:09Z</CreatedTime>",
        "<ZoneName>a</ZoneName><SubnetId>pool-a</SubnetId><LoadBalancerAddresses><member>\
         <PrivateIPv4Address>198.18.100.20</PrivateIPv4Address></member></LoadBalancerAddresses>",
        "<PrivateIPv4Address>198.18.100.32</PrivateIPv4Address>",
        "<IpAddressType>ipv4</IpAddressType>",
        ".elb.us-east-1.lbd.internal</DNSName>",
    ] {
        assert!(made.contains(part), "{part}\n{made}");
    }
    assert_eq!(world.ok(create), made, "twice is as good as once");
    assert_eq!(world.refused(&create.replace("internal", "internet-facing")), "DuplicateLoadBalancerName");

    let arn = between(&made, "<LoadBalancerArn>", "</LoadBalancerArn>").to_owned();
    assert!(arn.starts_with("arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/net/edge/"));
    let by_arn = world.ok(&format!("Action=DescribeLoadBalancers&LoadBalancerArns.member.1={arn}"));
    assert_eq!(by_arn, world.ok("Action=DescribeLoadBalancers&Names.member.1=edge"));
    assert!(made.contains(between(&by_arn, "<member>", "</member>")));

    let tags = world.ok(&format!("Action=DescribeTags&ResourceArns.member.1={arn}"));
    assert!(tags.contains("<Key>team</Key><Value>net</Value>"), "{tags}");

    let set = format!("Action=SetIpAddressType&LoadBalancerArn={arn}&IpAddressType=dualstack");
    assert_eq!(world.refused(&set), "InvalidSubnet", "pool-b has no IPv6 addresses");
    let subnets = format!("Action=SetSubnets&LoadBalancerArn={arn}&Subnets.member.1=pool-a");
    let zones = world.ok(&subnets);
    assert!(zones.contains("198.18.100.20") && !zones.contains("pool-b"), "{zones}");
    assert_eq!(world.ok(&set), "<IpAddressType>dualstack</IpAddressType>");
    let shown = world.ok("Action=DescribeLoadBalancers");
    assert!(shown.contains("<IPv6Address>2001:db8:100::10</IPv6Address>"), "{shown}");

    let protect = |value| {
        format!(
            "Action=ModifyLoadBalancerAttributes&LoadBalancerArn={arn}&\
             Attributes.member.1.Key=deletion_protection.enabled&Attributes.member.1.Value={value}"
        )
    };
    let attributes = world.ok(&protect("true"));
    assert!(attributes.contains("<Key>deletion_protection.enabled</Key><Value>true</Value>"), "{attributes}");
    assert_eq!(attributes, world.ok(&format!("Action=DescribeLoadBalancerAttributes&LoadBalancerArn={arn}")));
    let delete = format!("Action=DeleteLoadBalancer&LoadBalancerArn={arn}");
    assert_eq!(world.refused(&delete), "OperationNotPermitted");
    world.ok(&protect("false"));
    world.ok(&delete);
    world.ok(&delete); // What is gone may be deleted again.
    assert_eq!(world.refused("Action=DescribeLoadBalancers&Names.member.1=edge"), "LoadBalancerNotFound");
}

#[test]
fn a_target_group_tells_its_defaults() {
    let world = World::new();
    let create = "Action=CreateTargetGroup&Name=web&Protocol=TCP&Port=80&VpcId=vpc-1";
    let made = world.ok(create);
    assert!(made.contains("<TargetType>instance</TargetType><IpAddressType>ipv4</IpAddressType>"), "{made}");
    assert!(
        made.contains(
            "<HealthCheckProtocol>TCP</HealthCheckProtocol><HealthCheckPort>traffic-port</HealthCheckPort>\
             <HealthCheckEnabled>true</HealthCheckEnabled><HealthCheckIntervalSeconds>30</HealthCheckIntervalSeconds>\
             <HealthCheckTimeoutSeconds>10</HealthCheckTimeoutSeconds><HealthyThresholdCount>5</HealthyThresholdCount>\
             <UnhealthyThresholdCount>2</UnhealthyThresholdCount><LoadBalancerArns></LoadBalancerArns>"
        ),
        "{made}"
    );
    assert_eq!(world.ok(create), made, "twice is as good as once");
    assert_eq!(world.refused(&create.replace("80", "81")), "DuplicateTargetGroupName");

    let arn = between(&made, "<TargetGroupArn>", "</TargetGroupArn>").to_owned();
    let modified = world.ok(&format!(
        "Action=ModifyTargetGroup&TargetGroupArn={arn}&HealthCheckProtocol=HTTP&HealthCheckPath=/ok&\
         HealthCheckIntervalSeconds=5&HealthCheckTimeoutSeconds=2&Matcher.HttpCode=200-299"
    ));
    assert!(modified.contains("<HealthCheckIntervalSeconds>5</HealthCheckIntervalSeconds>"), "{modified}");
    assert!(
        modified.contains(
            "<HealthCheckPath>/ok</HealthCheckPath><Matcher><HttpCode>200-299</HttpCode></Matcher>"
        ),
        "{modified}"
    );
    let attributes = world.ok(&format!("Action=DescribeTargetGroupAttributes&TargetGroupArn={arn}"));
    for attribute in [
        "<Key>deregistration_delay.timeout_seconds</Key><Value>300</Value>",
        "<Key>preserve_client_ip.enabled</Key><Value>true</Value>",
        "<Key>deregistration_delay.connection_termination.enabled</Key><Value>false</Value>",
        "<Key>target_health_state.unhealthy.connection_termination.enabled</Key><Value>true</Value>",
    ] {
        assert!(attributes.contains(attribute), "{attributes}");
    }
    for (key, default, value) in [
        ("stickiness.enabled", "false", "true"),
        ("proxy_protocol_v2.enabled", "false", "true"),
        ("proxy_protocol_v2.client_to_server.header_placement", "on_first_ack_with_payload", "on_first_ack"),
    ] {
        let row = |value| format!("<Key>{key}</Key><Value>{value}</Value>");
        assert!(attributes.contains(&row(default)), "{attributes}");
        let modified = world.ok(&format!(
            "Action=ModifyTargetGroupAttributes&TargetGroupArn={arn}&Attributes.member.1.Key={key}&\
             Attributes.member.1.Value={value}"
        ));
        assert!(modified.contains(&row(value)), "{modified}");
    }

    world.ok(&format!("Action=DeleteTargetGroup&TargetGroupArn={arn}"));
    world.ok(&format!("Action=DeleteTargetGroup&TargetGroupArn={arn}"));
    assert_eq!(
        world.refused(&format!("Action=DescribeTargetGroups&TargetGroupArns.member.1={arn}")),
        "TargetGroupNotFound"
    );
}

#[test]
fn targets_come_drain_and_go() {
    let world = World::new();
    let group = world.target_group("web");
    let targets = "Targets.member.1.Id=198.19.1.2&Targets.member.2.Id=198.19.1.3&Targets.member.2.Port=9&\
                   Targets.member.2.AvailabilityZone=a";
    assert_eq!(world.ok(&format!("Action=RegisterTargets&TargetGroupArn={group}&{targets}")), "");
    let health = format!("Action=DescribeTargetHealth&TargetGroupArn={group}");
    let all = world.ok(&health);
    assert!(
        all.contains("<Id>198.19.1.2</Id><Port>8080</Port></Target><HealthCheckPort>8080</HealthCheckPort>")
    );
    assert!(all.contains("<State>healthy</State></TargetHealth>"), "{all}");
    assert!(all.contains("<Port>9</Port><AvailabilityZone>a</AvailabilityZone>"), "{all}");
    assert!(all.contains("<State>draining</State><Reason>Target.DeregistrationInProgress</Reason>"), "{all}");
    assert!(!all.contains("AnomalyDetection"), "{all}");
    assert!(world.ok(&format!("{health}&Include.member.1=All")).contains("<AnomalyDetection>"));

    let deregister =
        format!("Action=DeregisterTargets&TargetGroupArn={group}&Targets.member.1.Id=198.19.1.2");
    world.ok(&deregister);
    world.ok(&deregister); // Who is not registered may be deregistered.
    let one = world.ok(&format!("{health}&Targets.member.1.Id=198.19.1.2"));
    assert!(one.contains("<State>unused</State><Reason>Target.NotRegistered</Reason>"), "{one}");
}

#[test]
fn a_listener_forwards_by_weight() {
    let world = World::new();
    let (lb, blue, green) =
        (world.load_balancer("edge"), world.target_group("blue"), world.target_group("green"));
    let listener = world.listener(&lb, 80, &blue);
    assert_eq!(world.listener(&lb, 80, &blue), listener, "twice is as good as once");
    let weighted = format!(
        "Action=ModifyListener&ListenerArn={listener}&DefaultActions.member.1.Type=forward&\
         DefaultActions.member.1.ForwardConfig.TargetGroups.member.1.TargetGroupArn={blue}&\
         DefaultActions.member.1.ForwardConfig.TargetGroups.member.1.Weight=90&\
         DefaultActions.member.1.ForwardConfig.TargetGroups.member.2.TargetGroupArn={green}&\
         DefaultActions.member.1.ForwardConfig.TargetGroups.member.2.Weight=10&\
         DefaultActions.member.1.ForwardConfig.TargetGroupStickinessConfig.Enabled=true"
    );
    let modified = world.ok(&weighted);
    assert!(
        modified.contains(&format!(
            "<Type>forward</Type><Order>1</Order><ForwardConfig><TargetGroups><member><TargetGroupArn>{blue}</TargetGroupArn>\
             <Weight>90</Weight></member><member><TargetGroupArn>{green}</TargetGroupArn><Weight>10</Weight></member>\
             </TargetGroups><TargetGroupStickinessConfig><Enabled>true</Enabled></TargetGroupStickinessConfig>"
        )),
        "{modified}"
    );
    assert_eq!(world.ok(&format!("Action=DescribeListeners&LoadBalancerArn={lb}")), modified);
    assert_eq!(world.ok(&format!("Action=DescribeListeners&ListenerArns.member.1={listener}")), modified);
    assert_eq!(world.refused(&format!("Action=DeleteTargetGroup&TargetGroupArn={green}")), "ResourceInUse");
    let used = world.ok(&format!("Action=DescribeTargetGroups&LoadBalancerArn={lb}"));
    assert!(used.contains(&blue) && used.contains(&green), "{used}");

    let idle = world.ok(&format!(
        "Action=ModifyListenerAttributes&ListenerArn={listener}&Attributes.member.1.Key=tcp.idle_timeout.seconds&\
         Attributes.member.1.Value=60"
    ));
    assert!(idle.contains("<Key>tcp.idle_timeout.seconds</Key><Value>60</Value>"), "{idle}");
    world.ok(&format!("Action=DeleteListener&ListenerArn={listener}"));
    assert_eq!(world.refused(&format!("Action=DeleteListener&ListenerArn={listener}")), "ListenerNotFound");
}

/// An attribute of our own is set and told as NLB's are.
#[test]
fn a_udp_listener_has_an_idle_timeout_of_its_own() {
    let world = World::new();
    let lb = world.load_balancer("edge");
    let group =
        world.arn("Action=CreateTargetGroup&Protocol=UDP&Port=53&TargetType=ip&Name=dns", "TargetGroupArn");
    let listener = world.arn(
        &format!(
            "Action=CreateListener&LoadBalancerArn={lb}&Protocol=UDP&Port=53&DefaultActions.member.1.Type=forward&\
             DefaultActions.member.1.TargetGroupArn={group}"
        ),
        "ListenerArn",
    );
    let told = |seconds| format!("<Key>udp.idle_timeout.seconds</Key><Value>{seconds}</Value>");
    let describe = format!("Action=DescribeListenerAttributes&ListenerArn={listener}");
    let attributes = world.ok(&describe);
    assert!(attributes.contains(&told(120)) && !attributes.contains("tcp."), "{attributes}");
    let modify = |key: &str, value: &str| {
        format!(
            "Action=ModifyListenerAttributes&ListenerArn={listener}&Attributes.member.1.Key={key}&\
             Attributes.member.1.Value={value}"
        )
    };
    let attributes = world.ok(&modify("udp.idle_timeout.seconds", "30"));
    assert!(attributes.contains(&told(30)), "{attributes}");
    assert_eq!(attributes, world.ok(&describe));
    for (key, value) in [("udp.idle_timeout.seconds", "9"), ("tcp.idle_timeout.seconds", "60")] {
        assert_eq!(world.refused(&modify(key, value)), "InvalidConfigurationRequest", "{key}={value}");
    }
}

#[test]
fn rules_are_for_a_family_and_in_order() {
    let world = World::new();
    let lb = world.arn(
        "Action=CreateLoadBalancer&Name=edge&Type=network&IpAddressType=dualstack&Subnets.member.1=pool-a",
        "LoadBalancerArn",
    );
    let group = world.target_group("web");
    let listener = world.listener(&lb, 80, &group);
    let rule = |family: &str, priority: u16| {
        format!(
            "Action=CreateRule&ListenerArn={listener}&Priority={priority}&Conditions.member.1.Field=source-ip&\
             Conditions.member.1.SourceIpConfig.IpAddressType={family}&Actions.member.1.Type=forward&\
             Actions.member.1.TargetGroupArn={group}"
        )
    };
    let first = world.arn(&rule("ipv4", 20), "RuleArn");
    let second = world.arn(&rule("ipv6", 10), "RuleArn");
    assert_eq!(world.refused(&rule("ipv6", 10)), "PriorityInUse");
    let all = world.ok(&format!("Action=DescribeRules&ListenerArn={listener}"));
    let priorities: Vec<&str> =
        all.split("<Priority>").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
    assert_eq!(priorities, ["10", "20", "default"]);
    let default = all.rsplit_once("<RuleArn>").unwrap().1.split('<').next().unwrap();
    assert_eq!(world.refused(&format!("Action=DeleteRule&RuleArn={default}")), "OperationNotPermitted");

    let swapped = world.ok(&format!(
        "Action=SetRulePriorities&RulePriorities.member.1.RuleArn={first}&RulePriorities.member.1.Priority=10&\
         RulePriorities.member.2.RuleArn={second}&RulePriorities.member.2.Priority=20"
    ));
    assert!(swapped.contains(&format!("<RuleArn>{first}</RuleArn><Priority>10</Priority>")), "{swapped}");
    let tag = format!("ResourceArns.member.1={first}&ResourceArns.member.2={lb}");
    world.ok(&format!("Action=AddTags&{tag}&Tags.member.1.Key=a&Tags.member.1.Value=1"));
    world.ok(&format!("Action=RemoveTags&ResourceArns.member.1={lb}&TagKeys.member.1=a"));
    let tags = world.ok(&format!("Action=DescribeTags&{tag}"));
    assert_eq!(tags.matches("<Key>a</Key>").count(), 1, "{tags}");
    world.ok(&format!("Action=DeleteRule&RuleArn={first}"));
    assert_eq!(world.refused(&format!("Action=DescribeRules&RuleArns.member.1={first}")), "RuleNotFound");
}

#[test]
fn long_answers_come_in_pages() {
    let world = World::new();
    for name in ["c", "a", "b"] {
        world.target_group(name);
    }
    let first = world.ok("Action=DescribeTargetGroups&PageSize=2");
    let marker = between(&first, "<NextMarker>", "</NextMarker>");
    let second = world.ok(&format!("Action=DescribeTargetGroups&PageSize=2&Marker={marker}"));
    assert!(first.contains("<TargetGroupName>a</TargetGroupName>"), "{first}");
    assert!(second.contains("<TargetGroupName>c</TargetGroupName>"), "{second}");
    assert!(!second.contains("NextMarker") && !second.contains("Name>a<"), "{second}");
    let limits = world.ok("Action=DescribeAccountLimits");
    assert!(limits.contains("<Name>targets-per-target-group</Name><Max>1000</Max>"), "{limits}");
}

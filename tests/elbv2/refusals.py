"""Wrong calls, one for each error code; and every operation of the model, which none may be unknown to lbd."""

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

import model

STORE = "arn:aws:elasticloadbalancing:us-east-1:000000000000:truststore/x/0123456789abcdef"


def check(elbv2, lb, group, listener):
    # Else botocore itself refuses what is out of range.
    unchecked = boto3.client("elbv2", config=Config(parameter_validation=False, retries={"total_max_attempts": 1}))
    model.watch(unchecked)
    by_code(unchecked, lb, group, listener)
    by_access()
    by_operation(unchecked)


def by_code(elbv2, lb, group, listener):
    forward = [{"Type": "forward", "TargetGroupArn": group}]
    other = elbv2.create_load_balancer(Name="other", Type="network", Subnets=["subnet-b"])
    other = other["LoadBalancers"][0]["LoadBalancerArn"]
    udp = elbv2.create_target_group(Name="udp", Protocol="UDP", Port=53, TargetType="ip")
    udp = udp["TargetGroups"][0]["TargetGroupArn"]
    rule = gone(listener.replace("listener/", "listener-rule/") + "/" + "0" * 16)
    condition = [{"Field": "source-ip", "SourceIpConfig": {"IpAddressType": "ipv4"}}]
    tcp = {"LoadBalancerArn": lb, "Protocol": "TCP", "Port": 81, "DefaultActions": forward}
    new = {"Name": "new", "Type": "network", "Subnets": ["subnet-a"]}
    for code, operation, arguments in [
        ("LoadBalancerNotFound", "describe_load_balancers", {"Names": ["nobody"]}),
        ("LoadBalancerNotFound", "describe_load_balancer_attributes", {"LoadBalancerArn": gone(lb)}),
        ("TargetGroupNotFound", "describe_target_health", {"TargetGroupArn": gone(group)}),
        ("ListenerNotFound", "delete_listener", {"ListenerArn": gone(listener)}),
        ("RuleNotFound", "delete_rule", {"RuleArn": rule}),
        ("SubnetNotFound", "create_load_balancer", new | {"Subnets": ["subnet-z"]}),
        ("InvalidSubnet", "create_load_balancer", new | {"Subnets": ["subnet-b"], "IpAddressType": "dualstack"}),
        ("InvalidSecurityGroup", "create_load_balancer", new | {"SecurityGroups": ["sg-1"]}),
        ("InvalidConfigurationRequest", "create_load_balancer", new | {"Type": "application"}),
        ("DuplicateLoadBalancerName", "create_load_balancer", new | {"Name": "edge", "Scheme": "internal"}),
        (
            "AllocationIdNotFound",
            "set_subnets",
            {"LoadBalancerArn": lb, "SubnetMappings": [{"SubnetId": "subnet-a", "AllocationId": "eipalloc-1"}]},
        ),
        ("DuplicateTargetGroupName", "create_target_group", {"Name": "udp", "Protocol": "UDP", "Port": 54}),
        ("InvalidConfigurationRequest", "create_target_group", {"Name": "x", "Protocol": "HTTP", "Port": 80}),
        ("DuplicateListener", "create_listener", tcp | {"Port": 80}),
        ("IncompatibleProtocols", "create_listener", tcp | {"Protocol": "UDP"}),
        ("UnsupportedProtocol", "create_listener", tcp | {"Protocol": "TLS"}),
        ("TargetGroupAssociationLimit", "create_listener", tcp | {"LoadBalancerArn": other}),
        ("TooManyActions", "create_listener", tcp | {"DefaultActions": forward * 2}),
        ("InvalidLoadBalancerAction", "create_listener", tcp | {"DefaultActions": [{"Type": "redirect"}]}),
        ("InvalidConfigurationRequest", "create_listener", tcp | {"Certificates": [{"CertificateArn": "x"}]}),
        ("ValidationError", "create_listener", tcp | {"Port": 65_536}),
        (
            "InvalidConfigurationRequest",
            "create_rule",
            {"ListenerArn": listener, "Priority": 1, "Conditions": condition, "Actions": forward},
        ),
        ("InvalidTarget", "register_targets", {"TargetGroupArn": group, "Targets": [{"Id": "i-0123456789"}]}),
        ("InvalidTarget", "register_targets", {"TargetGroupArn": group, "Targets": [{"Id": "2001:db8::9"}]}),
        (
            "TooManyTargets",
            "register_targets",
            {"TargetGroupArn": udp, "Targets": [{"Id": "198.19.7.7", "Port": port} for port in range(1, 1_002)]},
        ),
        ("ResourceInUse", "delete_target_group", {"TargetGroupArn": group}),
        (
            "OperationNotPermitted",
            "delete_rule",
            {"RuleArn": listener.replace("listener/", "listener-rule/") + "/" + listener[-16:]},
        ),
        (
            "InvalidConfigurationRequest",
            "modify_target_group_attributes",
            {"TargetGroupArn": group, "Attributes": [{"Key": "stickiness.type", "Value": "lb_cookie"}]},
        ),
        ("ValidationError", "describe_target_groups", {"PageSize": 500}),
        ("ValidationError", "describe_rules", {}),
        ("DuplicateTagKeys", "add_tags", {"ResourceArns": [lb], "Tags": [{"Key": "a"}, {"Key": "a"}]}),
        (
            "TooManyTags",
            "add_tags",
            {"ResourceArns": [lb], "Tags": [{"Key": f"k{number}", "Value": ""} for number in range(51)]},
        ),
        ("TrustStoreNotFound", "describe_trust_stores", {"TrustStoreArns": [STORE]}),
        ("SSLPolicyNotFound", "describe_ssl_policies", {"Names": ["ELBSecurityPolicy-2016-08"]}),
        ("OperationNotPermitted", "modify_capacity_reservation", {"LoadBalancerArn": lb}),
        ("CertificateNotFound", "add_listener_certificates", {"ListenerArn": listener, "Certificates": [{"CertificateArn": "x"}]}),
        ("ResourceNotFound", "get_resource_policy", {"ResourceArn": STORE}),
    ]:
        refused(elbv2, code, operation, arguments)
    elbv2.delete_load_balancer(LoadBalancerArn=other)
    elbv2.delete_target_group(TargetGroupArn=udp)


def by_access():
    reader = with_key("AKIDREADER", "secret-of-the-reader")
    reader.describe_load_balancers()
    refused(reader, "AccessDenied", "delete_target_group", {"TargetGroupArn": "x"})
    refused(with_key("AKIDREADER", "another-secret"), "SignatureDoesNotMatch", "describe_load_balancers", {})
    refused(with_key("AKIDNOBODY", "another-secret"), "InvalidClientTokenId", "describe_load_balancers", {})
    elsewhere = with_key("AKIDREADER", "secret-of-the-reader", region_name="eu-west-1")
    refused(elsewhere, "SignatureDoesNotMatch", "describe_load_balancers", {})


def by_operation(elbv2):
    """Nothing is there by these arguments, but the operation is known, and refuses as the model says."""
    for name in elbv2.meta.service_model.operation_names:
        shape = elbv2.meta.service_model.operation_model(name).input_shape
        if not shape.required_members:
            continue
        try:
            getattr(elbv2, xform_name(name))(**{member: example(shape.members[member]) for member in shape.required_members})
        except ClientError as error:
            assert error.response["Error"]["Code"] != "InvalidAction", name
        else:
            raise AssertionError(f"{name} succeeded")


def example(shape):
    return {"list": [], "integer": 1, "long": 1, "structure": {}}.get(shape.type_name, "x")


def with_key(key, secret, **more):
    client = boto3.client("elbv2", aws_access_key_id=key, aws_secret_access_key=secret, **more)
    model.watch(client)
    return client


def refused(elbv2, code, operation, arguments):
    try:
        answer = getattr(elbv2, operation)(**arguments)
    except ClientError as error:
        found = error.response["Error"]
        assert found["Code"] == code, f"{operation}: expected {code}, found {found}"
    else:
        raise AssertionError(f"{operation} was not refused with {code}: {answer}")


def gone(arn):
    """The ARN of nothing."""
    return arn[:-16] + "0123456789abcdef"

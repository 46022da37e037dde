"""The whole life of load balancers, driven by the stock `aws` command line and boto3 against a running lbd.

Run by the end-to-end test `elbv2` inside the namespace of the load balancer's host, with in the environment what the tools read
anyway (AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2, AWS_DEFAULT_REGION, keys) and CLIENT, the namespace of the client.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import boto3
from botocore import xform_name

import model
import refusals

AWS = Path(sys.executable).with_name("aws")
README = Path(__file__).parents[2] / "README.md"
CLIENT = os.environ["CLIENT"]
# An nginx listens on port 8080 of each, and names itself in the header `server-number`.
TARGETS = ["198.19.1.2", "198.19.2.2"]
PATIENCE = 60
# Seconds that a target drains: longer than the command line takes to end on a busy machine, most times.
DELAY = 4

elbv2 = boto3.client("elbv2")
seen = model.watch(elbv2)
operations = {xform_name(name, "-"): name for name in elbv2.meta.service_model.operation_names}


def main():
    edge = Edge()
    edge.serves()
    edge.follows_weights()
    edge.drains()
    dual_stack()
    edge.is_told_of()
    refusals.check(elbv2, edge.lb, edge.blue, edge.listener)
    edge.ends()
    print("answered and as the model says:", ", ".join(sorted(seen)))


class Edge:
    """A load balancer with two target groups of one target each."""

    def __init__(self):
        begin = time.monotonic()
        self.lb, self.blue, self.listener = readme()
        [self.made] = aws("describe-load-balancers", "--load-balancer-arns", self.lb)["LoadBalancers"]
        again = elbv2.create_load_balancer(Name="edge", Type="network", Subnets=["subnet-a"])
        assert again["LoadBalancers"] == elbv2.describe_load_balancers()["LoadBalancers"], "there is one, not two"
        [zone] = self.made["AvailabilityZones"]
        assert (zone["ZoneName"], zone["SubnetId"]) == ("a", "subnet-a"), zone
        self.vip = zone["LoadBalancerAddresses"][0]["IpAddress"]
        until("the first answer", lambda: visit(self.vip) == ["1"])
        print(f"from nothing to an answer in {time.monotonic() - begin:.1f} s, most of it the command line's")
        self.green = group("green")

    def serves(self):
        aws("wait", "load-balancer-available", "--names", "edge")
        health = aws("describe-target-health", "--target-group-arn", self.blue)
        [row] = health["TargetHealthDescriptions"]
        assert row["TargetHealth"] == {"State": "healthy"}, row
        assert row["Target"] == {"Id": TARGETS[0], "Port": 8080}, row
        assert visit(self.vip, 5) == ["1"] * 5

    def follows_weights(self):
        elbv2.register_targets(TargetGroupArn=self.green, Targets=[{"Id": TARGETS[1], "Port": 8080}])
        self.weigh(1, 1)
        elbv2.get_waiter("target_in_service").wait(
            TargetGroupArn=self.green, WaiterConfig={"Delay": 1, "MaxAttempts": PATIENCE}
        )
        assert set(visit(self.vip, 40)) == {"1", "2"}, "either group is visited"
        forward = {"Type": "forward", "ForwardConfig": {"TargetGroups": self.weights(0, 100)}}
        weighted = aws(
            "modify-listener", "--listener-arn", self.listener, "--default-actions", json.dumps([forward])
        )
        shown = weighted["Listeners"][0]["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]
        assert shown == self.weights(0, 100), shown
        assert visit(self.vip, 10) == ["2"] * 10, "a group without weight is not visited"
        self.weigh(1, 1)

    def drains(self):
        short = {"Key": "deregistration_delay.timeout_seconds", "Value": str(DELAY)}
        modified = aws(
            "modify-target-group-attributes", "--target-group-arn", self.blue, "--attributes", json.dumps([short])
        )
        assert short in modified["Attributes"], modified
        begin = time.monotonic()
        aws("deregister-targets", "--target-group-arn", self.blue, "--targets", f"Id={TARGETS[0]}")
        target = {"Id": TARGETS[0], "Port": 8080}
        elbv2.deregister_targets(TargetGroupArn=self.blue, Targets=[{"Id": "198.19.77.7"}])

        def state():
            rows = elbv2.describe_target_health(TargetGroupArn=self.blue, Targets=[target])
            return rows["TargetHealthDescriptions"][0]["TargetHealth"]

        draining = state()
        is_it = (draining["State"], draining["Reason"]) == ("draining", "Target.DeregistrationInProgress")
        assert is_it or time.monotonic() - begin > DELAY, draining
        assert set(visit(self.vip, 10)) <= {"2", None}, "who drains is not visited"
        until("the end of the delay", lambda: state()["State"] == "unused")
        assert state()["Reason"] == "Target.NotRegistered", state()
        aws("wait", "target-deregistered", "--target-group-arn", self.blue, "--targets", f"Id={TARGETS[0]}")
        assert elbv2.describe_target_health(TargetGroupArn=self.blue)["TargetHealthDescriptions"] == []
        elbv2.register_targets(TargetGroupArn=self.blue, Targets=[{"Id": TARGETS[0]}])
        until("the target's return", lambda: state()["State"] == "healthy")

    def is_told_of(self):
        """Every way to ask."""
        [by_name] = aws("describe-load-balancers", "--names", "edge")["LoadBalancers"]
        assert by_name == self.made, by_name
        [by_arn] = elbv2.describe_load_balancers(LoadBalancerArns=[self.lb])["LoadBalancers"]
        assert by_arn["DNSName"].endswith(".elb.us-east-1.lbd.internal"), by_arn
        pages = elbv2.get_paginator("describe_target_groups").paginate(PaginationConfig={"PageSize": 1})
        names = [group["TargetGroupName"] for page in pages for group in page["TargetGroups"]]
        assert names == ["blue", "green"], names
        used = elbv2.describe_target_groups(LoadBalancerArn=self.lb)["TargetGroups"]
        assert [group["LoadBalancerArns"] for group in used] == [[self.lb]] * 2, used
        [listener] = aws("describe-listeners", "--load-balancer-arn", self.lb)["Listeners"]
        assert (listener["Port"], listener["Protocol"]) == (80, "TCP"), listener
        elbv2.describe_listeners(ListenerArns=[self.listener])
        [rule] = elbv2.describe_rules(ListenerArn=self.listener)["Rules"]
        assert rule["IsDefault"] and rule["Priority"] == "default", rule
        elbv2.modify_listener_attributes(
            ListenerArn=self.listener, Attributes=[{"Key": "tcp.idle_timeout.seconds", "Value": "60"}]
        )
        told = elbv2.describe_listener_attributes(ListenerArn=self.listener)["Attributes"]
        assert {"Key": "tcp.idle_timeout.seconds", "Value": "60"} in told, told
        cross = {"Key": "load_balancing.cross_zone.enabled", "Value": "true"}
        elbv2.modify_load_balancer_attributes(LoadBalancerArn=self.lb, Attributes=[cross])
        assert cross in elbv2.describe_load_balancer_attributes(LoadBalancerArn=self.lb)["Attributes"]
        elbv2.describe_target_group_attributes(TargetGroupArn=self.blue)
        slower = elbv2.modify_target_group(
            TargetGroupArn=self.blue, HealthCheckIntervalSeconds=300, HealthCheckTimeoutSeconds=120
        )
        assert slower["TargetGroups"][0]["HealthCheckIntervalSeconds"] == 300, slower
        aws("add-tags", "--resource-arns", self.lb, "--tags", "Key=team,Value=net")
        elbv2.add_tags(ResourceArns=[self.lb, self.blue, self.listener], Tags=[{"Key": "a/b", "Value": "1 2"}])
        elbv2.remove_tags(ResourceArns=[self.blue], TagKeys=["a/b"])
        described = elbv2.describe_tags(ResourceArns=[self.lb, self.blue, self.listener])["TagDescriptions"]
        assert [len(row["Tags"]) for row in described] == [2, 0, 1], described
        everything = {"TargetGroupArn": self.green, "Include": ["All"]}
        [row] = elbv2.describe_target_health(**everything)["TargetHealthDescriptions"]
        assert row["AnomalyDetection"]["Result"] == "normal", row
        for ask in ("account_limits", "ssl_policies", "trust_stores"):
            getattr(elbv2, f"describe_{ask}")()
        elbv2.describe_listener_certificates(ListenerArn=self.listener)
        elbv2.describe_capacity_reservation(LoadBalancerArn=self.lb)

    def ends(self):
        protection = {"Key": "deletion_protection.enabled", "Value": "true"}
        elbv2.modify_load_balancer_attributes(LoadBalancerArn=self.lb, Attributes=[protection])
        refused = subprocess.run(
            [AWS, "elbv2", "delete-load-balancer", "--load-balancer-arn", self.lb], capture_output=True, text=True
        )
        assert "(OperationNotPermitted)" in refused.stderr, refused
        elbv2.modify_load_balancer_attributes(LoadBalancerArn=self.lb, Attributes=[protection | {"Value": "false"}])
        aws("delete-listener", "--listener-arn", self.listener)
        assert visit(self.vip, patience=1) == [None], "without its listener nothing answers"
        aws("delete-load-balancer", "--load-balancer-arn", self.lb)
        elbv2.delete_load_balancer(LoadBalancerArn=self.lb)
        elbv2.get_waiter("load_balancers_deleted").wait(LoadBalancerArns=[self.lb])
        for arn in (self.blue, self.green):
            elbv2.delete_target_group(TargetGroupArn=arn)
        assert elbv2.describe_target_groups()["TargetGroups"] == []

    def weights(self, blue, green):
        return [
            {"TargetGroupArn": self.blue, "Weight": blue},
            {"TargetGroupArn": self.green, "Weight": green},
        ]

    def weigh(self, blue, green):
        action = {"Type": "forward", "ForwardConfig": {"TargetGroups": self.weights(blue, green)}}
        elbv2.modify_listener(ListenerArn=self.listener, DefaultActions=[action])


def dual_stack():
    """A second load balancer, with addresses of both families, whose rules choose by the client's."""
    begin = time.monotonic()
    [made] = elbv2.create_load_balancer(
        Name="dual", Type="network", Subnets=["subnet-a"], IpAddressType="dualstack", Scheme="internal"
    )["LoadBalancers"]
    lb = made["LoadBalancerArn"]
    addresses = {}
    for address in made["AvailabilityZones"][0]["LoadBalancerAddresses"]:
        addresses |= address
    four, six = group("four"), group("six")
    elbv2.register_targets(TargetGroupArn=four, Targets=[{"Id": TARGETS[0]}])
    elbv2.register_targets(TargetGroupArn=six, Targets=[{"Id": TARGETS[1]}])
    [listener] = elbv2.create_listener(
        LoadBalancerArn=lb, Protocol="TCP", Port=80, DefaultActions=[forward(four)]
    )["Listeners"]
    listener = listener["ListenerArn"]
    condition = {"Field": "source-ip", "SourceIpConfig": {"IpAddressType": "ipv6"}}
    [rule] = elbv2.create_rule(
        ListenerArn=listener, Priority=10, Conditions=[condition], Actions=[forward(six)]
    )["Rules"]
    until("an answer by IPv6", lambda: visit(f"[{addresses['IPv6Address']}]") == ["2"])
    until("an answer by IPv4", lambda: visit(addresses["PrivateIPv4Address"]) == ["1"])
    print(f"by boto3 from nothing to answers by IPv6 and IPv4 in {time.monotonic() - begin:.2f} s")
    [moved] = elbv2.set_rule_priorities(RulePriorities=[{"RuleArn": rule["RuleArn"], "Priority": 20}])["Rules"]
    assert moved["Priority"] == "20" and moved["Conditions"] == [condition], moved
    elbv2.modify_rule(RuleArn=rule["RuleArn"], Actions=[forward(four)])
    until("the other group by IPv6", lambda: visit(f"[{addresses['IPv6Address']}]") == ["1"])
    elbv2.delete_rule(RuleArn=rule["RuleArn"])
    assert len(elbv2.describe_rules(ListenerArn=listener)["Rules"]) == 1
    assert elbv2.set_ip_address_type(LoadBalancerArn=lb, IpAddressType="ipv4")["IpAddressType"] == "ipv4"
    both = [{"SubnetId": "subnet-a"}, {"SubnetId": "subnet-b", "PrivateIPv4Address": "198.18.100.40"}]
    zones = elbv2.set_subnets(LoadBalancerArn=lb, SubnetMappings=both)["AvailabilityZones"]
    assert [zone["ZoneName"] for zone in zones] == ["a", "b"], zones
    elbv2.delete_load_balancer(LoadBalancerArn=lb)
    for arn in (four, six):
        elbv2.delete_target_group(TargetGroupArn=arn)


def readme():
    """The commands of the README's section, as they stand there. Returns the ARNs of what they make."""
    section = README.read_text().split("\n### The stock aws CLI\n")[1].split("\n### ")[0]
    commands = re.search(r"```sh\n(lb=.*?)```", section, re.DOTALL)[1] + 'echo "$lb $blue $listener"\n'
    path = f"{AWS.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", commands], capture_output=True, text=True, env=os.environ | {"PATH": path}
    )
    assert done.returncode == 0, done
    printed, arns = done.stdout.strip().rsplit("\n", 1)
    states = [row["TargetHealth"]["State"] for row in json.loads(printed)["TargetHealthDescriptions"]]
    assert states == ["healthy"], printed
    return arns.split()


def group(name):
    made = elbv2.create_target_group(
        Name=name,
        Protocol="TCP",
        Port=8080,
        VpcId="vpc-1",
        TargetType="ip",
        HealthCheckProtocol="HTTP",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        HealthyThresholdCount=2,
    )
    return made["TargetGroups"][0]["TargetGroupArn"]


def forward(group):
    return {"Type": "forward", "TargetGroupArn": group}


def aws(*arguments):
    """What the command line prints, held against the model."""
    done = subprocess.run([AWS, "elbv2", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"aws elbv2 {' '.join(arguments)}: {done.stderr}"
    if not done.stdout.strip():
        return None
    printed = json.loads(done.stdout)
    name = operations[arguments[0]]
    model.check_parsed(printed, elbv2.meta.service_model.operation_model(name).output_shape, name)
    return printed


def visit(host, times=1, patience=20):
    """The numbers of the servers that answer the client's requests, each on a connection of its own; None: no answer."""
    command = ["ip", "netns", "exec", CLIENT, "curl", "-gsi", "--max-time", str(patience)]
    command += ["-H", "connection: close"] + [f"http://{host}/"] * times
    answers = subprocess.run(command, capture_output=True, text=True).stdout.split("HTTP/1.1 ")
    numbers = [re.search(r"server-number: (\d)", answer) for answer in answers[1:]]
    return [number and number[1] for number in numbers] or [None]


def until(what, is_so):
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.1)


if __name__ == "__main__":
    main()

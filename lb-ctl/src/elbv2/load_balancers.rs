//! Operations on load balancers. Subnets are the configured address pools.

use std::net::IpAddr;

use super::{
    fault::Fault,
    form::Parameters,
    paging::{Item, page},
    tags,
    view::View,
    xml::Element,
};
use crate::{
    change::{AddressRequest, Change, IpAddressType, NewLoadBalancer, Ref},
    config::Family,
    objects::{Address, Id, LoadBalancer, Scheme},
};

pub(super) fn create(parameters: &Parameters<'_>, _: &View<'_>) -> Result<Option<Change>, Fault> {
    let name = parameters.required_text("Name")?;
    if name.starts_with("internal-") {
        return Err(Fault::validation(format!(
            "The load balancer name '{name}' cannot start with 'internal-'"
        )));
    }
    match parameters.choice("Type", &TYPES)? {
        Some(Type::Network) => {}
        Some(Type::Other) | None => {
            let message = "Only network load balancers are available: Type must be 'network', and 'application' is its default";
            return Err(Fault::configuration(message));
        }
    }
    refuse_foreign(parameters)?;
    Ok(Some(Change::CreateLoadBalancer(NewLoadBalancer {
        name: name.into(),
        scheme: parameters.choice("Scheme", &SCHEMES)?.unwrap_or_default(),
        addresses: addresses(parameters)?,
        ip_address_type: ip_address_type(parameters)?.unwrap_or_default(),
        attributes: Default::default(),
        tags: tags::read(parameters)?,
    })))
}

pub(super) fn created(_: &Parameters<'_>, view: &View<'_>, id: Option<Id>) -> Result<Element, Fault> {
    let made = view.objects.load_balancers.iter().filter(|lb| Some(lb.id) == id);
    Ok(Element::new("Result").with(Element::of_members("LoadBalancers", made.map(|lb| element(lb, view)))))
}

pub(super) fn describe(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    let (arns, names) = (parameters.texts("LoadBalancerArns")?, parameters.texts("Names")?);
    if !arns.is_empty() && !names.is_empty() {
        return Err(Fault::validation(
            "Load balancer names and load balancer ARNs cannot be specified at the same time",
        ));
    }
    let named = |name: &&str| {
        let missing = || Fault::new("LoadBalancerNotFound", format!("Load balancers '[{name}]' not found"));
        view.objects.load_balancer(name).ok_or_else(missing)
    };
    let found: Vec<&LoadBalancer> = match (arns.as_slice(), names.as_slice()) {
        ([], []) => view.objects.load_balancers.iter().collect(),
        ([], names) => names.iter().map(named).collect::<Result<_, _>>()?,
        (arns, _) => arns.iter().map(|arn| view.load_balancer(arn)).collect::<Result<_, _>>()?,
    };
    let item = |lb: &LoadBalancer| Item { order: lb.name.clone(), element: element(lb, view) };
    page(found.into_iter().map(item).collect(), "LoadBalancers", parameters)
}

pub(super) fn set_subnets(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let lb = of(parameters, view)?;
    refuse_foreign(parameters)?;
    Ok(Some(Change::SetAddresses {
        load_balancer: Ref::Id(lb.id),
        addresses: addresses(parameters)?,
        ip_address_type: ip_address_type(parameters)?,
    }))
}

pub(super) fn subnets_set(
    parameters: &Parameters<'_>,
    view: &View<'_>,
    _: Option<Id>,
) -> Result<Element, Fault> {
    let lb = of(parameters, view)?;
    Ok(Element::new("Result")
        .with(zones(lb))
        .with_text("IpAddressType", ip_address_type_of(lb))
        .with_text("EnablePrefixForIpv6SourceNat", "off"))
}

pub(super) fn set_ip_address_type(
    parameters: &Parameters<'_>,
    view: &View<'_>,
) -> Result<Option<Change>, Fault> {
    let lb = of(parameters, view)?;
    let wanted = ip_address_type(parameters)?.ok_or_else(|| parameters.missing("IpAddressType"))?;
    Ok(Some(Change::SetIpAddressType { load_balancer: Ref::Id(lb.id), ip_address_type: wanted }))
}

pub(super) fn ip_address_type_set(
    parameters: &Parameters<'_>,
    view: &View<'_>,
    _: Option<Id>,
) -> Result<Element, Fault> {
    Ok(Element::new("Result").with_text("IpAddressType", ip_address_type_of(of(parameters, view)?)))
}

/// Deleting what is not there succeeds.
pub(super) fn delete(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    match of(parameters, view) {
        Ok(lb) => Ok(Some(Change::DeleteLoadBalancer(Ref::Id(lb.id)))),
        Err(fault) if fault.code == "LoadBalancerNotFound" => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The load balancer that a request names by parameter `LoadBalancerArn`.
pub(super) fn of<'v>(parameters: &Parameters<'_>, view: &View<'v>) -> Result<&'v LoadBalancer, Fault> {
    view.load_balancer(parameters.required_text("LoadBalancerArn")?)
}

fn element(lb: &LoadBalancer, view: &View<'_>) -> Element {
    Element::new("LoadBalancer")
        .with_text("LoadBalancerArn", view.arns.load_balancer(lb))
        .with_text("DNSName", view.dns_name(lb))
        .with_text("CanonicalHostedZoneId", HOSTED_ZONE)
        .with_text("CreatedTime", &lb.created)
        .with_text("LoadBalancerName", &lb.name)
        .with_text("Scheme", scheme(lb))
        .with_text("VpcId", VPC)
        .with(Element::new("State").with_text("Code", "active"))
        .with_text("Type", "network")
        .with(zones(lb))
        .with_text("IpAddressType", ip_address_type_of(lb))
        .with_text("EnablePrefixForIpv6SourceNat", "off")
}

fn scheme(lb: &LoadBalancer) -> &'static str {
    SCHEMES.iter().find(|(_, scheme)| *scheme == lb.scheme).map_or("", |(name, _)| name)
}

fn ip_address_type_of(lb: &LoadBalancer) -> &'static str {
    let has = |family| lb.addresses.iter().any(|row| Family::of(row.address) == family);
    match (has(Family::V4), has(Family::V6)) {
        (_, false) => "ipv4",
        (true, true) => "dualstack",
        (false, true) => "dualstack-without-public-ipv4",
    }
}

/// Addresses by zone and pool.
fn zones(lb: &LoadBalancer) -> Element {
    let mut places: Vec<(&Option<String>, &Option<String>)> = Vec::new();
    for row in &lb.addresses {
        if !places.contains(&(&row.zone, &row.pool)) {
            places.push((&row.zone, &row.pool));
        }
    }
    let zone = |(zone, pool): (&Option<String>, &Option<String>)| {
        let here = lb.addresses.iter().filter(|row| (&row.zone, &row.pool) == (zone, pool));
        // A pool without a zone is one, as far as clients of this API can tell.
        Element::new("AvailabilityZone")
            .with_optional("ZoneName", zone.as_ref().or(pool.as_ref()))
            .with_optional("SubnetId", pool.as_ref())
            .with(Element::of_members("LoadBalancerAddresses", here.map(|row| address(row, lb.scheme))))
    };
    Element::of_members("AvailabilityZones", places.into_iter().map(zone))
}

fn address(row: &Address, scheme: Scheme) -> Element {
    let name = match (row.address, scheme) {
        (IpAddr::V6(_), _) => "IPv6Address",
        (IpAddr::V4(_), Scheme::Internal) => "PrivateIPv4Address",
        (IpAddr::V4(_), Scheme::InternetFacing) => "IpAddress",
    };
    Element::new("LoadBalancerAddress").with_text(name, row.address)
}

/// Parameters `Subnets` or `SubnetMappings`.
fn addresses(parameters: &Parameters<'_>) -> Result<Vec<AddressRequest>, Fault> {
    let (subnets, mappings) = (parameters.texts("Subnets")?, parameters.list("SubnetMappings")?);
    match (subnets.is_empty(), mappings.is_empty()) {
        (false, false) => {
            Err(Fault::validation("Either subnets or subnet mappings can be specified, not both"))
        }
        (true, true) => Err(Fault::validation("At least one subnet must be specified")),
        (false, true) => Ok(subnets.into_iter().map(of_pool).collect()),
        (true, false) => mappings.iter().map(mapping).collect(),
    }
}

fn of_pool(name: &str) -> AddressRequest {
    AddressRequest { pool: Some(name.into()), ..AddressRequest::default() }
}

fn mapping(mapping: &Parameters<'_>) -> Result<AddressRequest, Fault> {
    mapping.allow_only(&[
        "SubnetId",
        "AllocationId",
        "PrivateIPv4Address",
        "IPv6Address",
        "SourceNatIpv6Prefix",
    ])?;
    if let Some(id) = mapping.text("AllocationId") {
        let message = format!(
            "The allocation ID '{id}' does not exist: name an address of the pool by PrivateIPv4Address"
        );
        return Err(Fault::new("AllocationIdNotFound", message));
    }
    if mapping.has("SourceNatIpv6Prefix") {
        return Err(Fault::configuration("Source NAT addresses are configured in the section source_nat"));
    }
    let address = |name, family| match mapping.text(name).map(str::parse::<IpAddr>) {
        None => Ok(None),
        Some(Ok(address)) if Family::of(address) == family => Ok(Some(address)),
        Some(_) => Err(mapping.refuse(name, &format!("Member must be an {} address", family.name()))),
    };
    Ok(AddressRequest {
        ipv4: address("PrivateIPv4Address", Family::V4)?,
        ipv6: address("IPv6Address", Family::V6)?,
        ..of_pool(mapping.required_text("SubnetId")?)
    })
}

fn ip_address_type(parameters: &Parameters<'_>) -> Result<Option<IpAddressType>, Fault> {
    let types = [
        ("ipv4", Some(IpAddressType::Ipv4)),
        ("dualstack", Some(IpAddressType::Dualstack)),
        ("dualstack-without-public-ipv4", None),
    ];
    match parameters.choice("IpAddressType", &types)? {
        Some(None) => Err(Fault::configuration(
            "The IP address type 'dualstack-without-public-ipv4' is for application load balancers",
        )),
        found => Ok(found.flatten()),
    }
}

/// What exists in a cloud alone.
fn refuse_foreign(parameters: &Parameters<'_>) -> Result<(), Fault> {
    if let [group, ..] = parameters.texts("SecurityGroups")?.as_slice() {
        let message = format!("The security group '{group}' does not exist: filter on the hosts and routers");
        return Err(Fault::new("InvalidSecurityGroup", message));
    }
    if parameters.choice("EnablePrefixForIpv6SourceNat", &[("on", true), ("off", false)])? == Some(true) {
        return Err(Fault::configuration("Source NAT addresses are configured in the section source_nat"));
    }
    for name in ["CustomerOwnedIpv4Pool", "IpamPools"] {
        if parameters.has(name) {
            return Err(Fault::configuration(format!(
                "{name} is not available: subnets are the address pools"
            )));
        }
    }
    Ok(())
}

/// Kinds of load balancers.
#[derive(Clone, Copy)]
enum Type {
    Network,
    Other,
}

const TYPES: [(&str, Type); 3] =
    [("network", Type::Network), ("application", Type::Other), ("gateway", Type::Other)];

const SCHEMES: [(&str, Scheme); 2] =
    [("internet-facing", Scheme::InternetFacing), ("internal", Scheme::Internal)];

/// What stands for the one network that there is, and for the zone of its DNS names.
pub(super) const VPC: &str = "vpc-local";
const HOSTED_ZONE: &str = "Z000000000LBD";

//! Operations on targets, and what is known of their health.

use std::net::{IpAddr, SocketAddr};

use super::{fault::Fault, form::Parameters, health_checks, target_groups, view::View, xml::Element};
use crate::{
    api::{NewTarget, TargetAddress, TargetChanges, TargetRow},
    change::{Change, Ref},
    health::TargetHealth,
    objects::TargetGroup,
};

pub(super) fn register(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let group = target_groups::of(parameters, view)?;
    let target = |target: &Parameters<'_>| {
        if target.has("QuicServerId") {
            return Err(Fault::configuration("QuicServerId is for QUIC and TCP_QUIC target groups"));
        }
        let TargetAddress { address, port } = named(target)?;
        let zone = target.text("AvailabilityZone").map(Into::into);
        Ok(NewTarget { address, port, weight: None, zone })
    };
    let register = parameters.required_list("Targets")?.iter().map(target).collect::<Result<_, _>>()?;
    let changes = TargetChanges { register, deregister: Vec::new() };
    Ok(Some(Change::ChangeTargets { target_group: Ref::Id(group.id), changes }))
}

/// Deregistering what is not registered succeeds.
pub(super) fn deregister(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let group = target_groups::of(parameters, view)?;
    let targets = parameters.required_list("Targets")?;
    let mut deregister = targets.iter().map(named).collect::<Result<Vec<_>, _>>()?;
    deregister.retain(|target| {
        let endpoint = endpoint(target, group);
        group.targets.iter().any(|known| SocketAddr::new(known.address, known.port) == endpoint)
    });
    let changes = TargetChanges { register: Vec::new(), deregister };
    let is_needed = !changes.deregister.is_empty();
    Ok(is_needed.then_some(Change::ChangeTargets { target_group: Ref::Id(group.id), changes }))
}

/// What is known of the group's targets, or of those that the request names.
pub(super) fn health(
    parameters: &Parameters<'_>,
    group: &TargetGroup,
    rows: &[TargetRow],
) -> Result<Element, Fault> {
    let include = parameters.texts("Include")?;
    if let Some(unknown) = include.iter().find(|option| !INCLUDED.contains(option)) {
        let constraint = "Member must satisfy enum value set: [AnomalyDetection, All]";
        return Err(Fault::constraint("include", Some(unknown), constraint));
    }
    let teller = Teller { group, has_anomaly_detection: !include.is_empty() };
    let wanted = parameters.list("Targets")?;
    let elements: Vec<Element> = match wanted.as_slice() {
        // Who is neither registered nor draining is told of by name alone.
        [] => rows.iter().filter(|row| !is_gone(row)).map(|row| teller.known(row)).collect(),
        wanted => wanted.iter().map(|target| teller.named(target, rows)).collect::<Result<_, _>>()?,
    };
    Ok(Element::new("Result").with(Element::of_members("TargetHealthDescriptions", elements)))
}

/// Makes the descriptions of one group's targets.
struct Teller<'g> {
    group: &'g TargetGroup,
    has_anomaly_detection: bool,
}

impl Teller<'_> {
    fn named(&self, target: &Parameters<'_>, rows: &[TargetRow]) -> Result<Element, Fault> {
        let endpoint = endpoint(&named(target)?, self.group);
        Ok(match rows.iter().find(|row| row.target == endpoint) {
            Some(row) => self.known(row),
            None => {
                let health = TargetHealth::NotRegistered;
                let health = health_element(health.state(), health.reason(), health.description());
                self.description(endpoint, None, health)
            }
        })
    }

    fn known(&self, row: &TargetRow) -> Element {
        let health = health_element(&row.state, row.reason.as_deref(), row.description.clone());
        self.description(row.target, row.zone.as_deref(), health)
    }

    fn description(&self, endpoint: SocketAddr, zone: Option<&str>, health: Element) -> Element {
        let check_port = match health_checks::port(&self.group.health_check) {
            port if port == health_checks::TRAFFIC_PORT => endpoint.port().to_string(),
            port => port,
        };
        let target = Element::new("Target")
            .with_text("Id", endpoint.ip())
            .with_text("Port", endpoint.port())
            .with_optional("AvailabilityZone", zone);
        let description = Element::new("TargetHealthDescription")
            .with(target)
            .with_text("HealthCheckPort", check_port)
            .with(health)
            .with(
                Element::new("AdministrativeOverride")
                    .with_text("State", "no_override")
                    .with_text("Reason", "AdministrativeOverride.NoOverride")
                    .with_text("Description", "No override is currently active on target"),
            );
        if !self.has_anomaly_detection {
            return description;
        }
        // Nothing here looks for anomalies, so nothing is ever found to be one.
        let anomaly = Element::new("AnomalyDetection");
        description.with(anomaly.with_text("Result", "normal").with_text("MitigationInEffect", "no"))
    }
}

fn health_element(state: &str, reason: Option<&str>, description: Option<String>) -> Element {
    Element::new("TargetHealth")
        .with_text("State", state)
        .with_optional("Reason", reason)
        .with_optional("Description", description)
}

fn is_gone(row: &TargetRow) -> bool {
    row.reason.as_deref() == TargetHealth::NotRegistered.reason()
}

fn endpoint(target: &TargetAddress, group: &TargetGroup) -> SocketAddr {
    SocketAddr::new(target.address, target.port.unwrap_or(group.port))
}

/// A target as a request names it.
fn named(target: &Parameters<'_>) -> Result<TargetAddress, Fault> {
    target.allow_only(&["Id", "Port", "AvailabilityZone", "QuicServerId"])?;
    let id = target.required_text("Id")?;
    let address: IpAddr = id.parse().map_err(|_| {
        Fault::new(
            "InvalidTarget",
            format!("The target ID '{id}' is not a valid IPv4 or IPv6 address: targets are addresses"),
        )
    })?;
    Ok(TargetAddress { address, port: target.number("Port", 1..=u16::MAX)? })
}

const INCLUDED: [&str; 2] = ["AnomalyDetection", "All"];

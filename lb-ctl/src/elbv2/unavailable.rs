//! Operations on what there cannot be here: TLS certificates, trust stores, reserved capacity, security groups, address pools of
//! a cloud. Each is refused as the API refuses it of what does not exist.

use super::{
    fault::Fault, form::Parameters, listeners, load_balancers, paging::page, view::View, xml::Element,
};

pub(super) fn add_certificates(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    listeners::of(parameters, view)?;
    let certificates = parameters.required_list("Certificates")?;
    let arn = certificates[0].text("CertificateArn").unwrap_or_default();
    Err(Fault::new("CertificateNotFound", format!("Certificate '{arn}' not found: {NO_TLS}")))
}

pub(super) fn remove_certificates(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    listeners::of(parameters, view)?;
    parameters.required_list("Certificates")?;
    Err(Fault::new("OperationNotPermitted", format!("The listener has no certificates: {NO_TLS}")))
}

pub(super) fn certificates(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    listeners::of(parameters, view)?;
    page(Vec::new(), "Certificates", parameters)
}

pub(super) fn trust_stores(parameters: &Parameters<'_>, _: &View<'_>) -> Result<Element, Fault> {
    let wanted = [parameters.texts("TrustStoreArns")?, parameters.texts("Names")?].concat();
    match wanted.first() {
        Some(wanted) => Err(no_trust_store(wanted)),
        None => page(Vec::new(), "TrustStores", parameters),
    }
}

pub(super) fn create_trust_store(parameters: &Parameters<'_>, _: &View<'_>) -> Result<Element, Fault> {
    for name in ["Name", "CaCertificatesBundleS3Bucket", "CaCertificatesBundleS3Key"] {
        parameters.required_text(name)?;
    }
    Err(Fault::new("TooManyTrustStores", format!("There can be no trust stores: {NO_TLS}")))
}

/// Every other operation on a trust store: there is none.
pub(super) fn trust_store(parameters: &Parameters<'_>, _: &View<'_>) -> Result<Element, Fault> {
    Err(no_trust_store(parameters.required_text("TrustStoreArn")?))
}

pub(super) fn resource_policy(parameters: &Parameters<'_>, _: &View<'_>) -> Result<Element, Fault> {
    let arn = parameters.required_text("ResourceArn")?;
    Err(Fault::new("ResourceNotFound", format!("Resource '{arn}' has no policy: nothing here is shared")))
}

pub(super) fn capacity(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    load_balancers::of(parameters, view)?;
    Ok(Element::new("Result"))
}

pub(super) fn modify_capacity(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    load_balancers::of(parameters, view)?;
    let message = "Capacity cannot be reserved: workers and flow_table are configured, and are all there is";
    Err(Fault::new("OperationNotPermitted", message))
}

pub(super) fn modify_ip_pools(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    load_balancers::of(parameters, view)?;
    Err(Fault::validation(
        "There are no IPAM pools: addresses are from the configured address pools, by SetSubnets",
    ))
}

pub(super) fn set_security_groups(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    load_balancers::of(parameters, view)?;
    if !parameters.has("SecurityGroups") {
        return Err(parameters.missing("SecurityGroups"));
    }
    let message = "Security groups cannot be set: the load balancer was created without any";
    Err(Fault::configuration(message))
}

fn no_trust_store(wanted: &str) -> Fault {
    Fault::new("TrustStoreNotFound", format!("Trust store '{wanted}' not found: {NO_TLS}"))
}

const NO_TLS: &str = "TLS ends at the targets, there are no TLS listeners";

//! What this load balancer has of what an account has in a cloud: limits, and no TLS policies.

use lb_core::limits;

use super::{
    fault::Fault,
    form::Parameters,
    paging::{Item, page},
    view::View,
    xml::Element,
};
use crate::change::{LISTENERS, LOAD_BALANCERS, RULES};

pub(super) fn limits(parameters: &Parameters<'_>, _: &View<'_>) -> Result<Element, Fault> {
    let item = |(name, most): &(&str, usize)| Item {
        order: (*name).into(),
        element: Element::new("Limit").with_text("Name", name).with_text("Max", most),
    };
    page(LIMITS.iter().map(item).collect(), "Limits", parameters)
}

/// TLS ends at the targets, so there are no policies for it.
pub(super) fn ssl_policies(parameters: &Parameters<'_>, _: &View<'_>) -> Result<Element, Fault> {
    if let [name, ..] = parameters.texts("Names")?.as_slice() {
        return Err(Fault::new(
            "SSLPolicyNotFound",
            format!("SSL policy '{name}' not found: there are no TLS listeners"),
        ));
    }
    page(Vec::new(), "SslPolicies", parameters)
}

const LIMITS: [(&str, usize); 13] = [
    ("network-load-balancers", LOAD_BALANCERS),
    ("listeners-per-network-load-balancer", LISTENERS),
    ("rules-per-network-load-balancer-listener", RULES),
    ("target-groups", limits::TARGET_GROUPS),
    ("targets-per-target-group", limits::TARGETS_PER_GROUP),
    ("targets-per-network-load-balancer", limits::TARGETS),
    ("targets-per-availability-zone-per-network-load-balancer", limits::TARGETS),
    ("certificates-per-network-load-balancer", 0),
    ("application-load-balancers", 0),
    ("listeners-per-application-load-balancer", 0),
    ("rules-per-application-load-balancer", 0),
    ("gateway-load-balancers", 0),
    ("trust-stores", 0),
];

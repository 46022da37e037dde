//! Operations on listeners.

use super::{
    actions,
    fault::Fault,
    form::Parameters,
    load_balancers,
    paging::{Item, page},
    tags,
    view::View,
    xml::Element,
};
use crate::{
    change::{Change, ListenerRef, NewListener, Ref},
    config::Protocols,
    objects::{Id, Listener, LoadBalancer},
};

pub(super) fn create(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let lb = load_balancers::of(parameters, view)?;
    let protocol = protocol(parameters)?.ok_or_else(|| Fault::validation("A protocol must be specified"))?;
    let port = port(parameters)?.ok_or_else(|| Fault::validation("A port must be specified"))?;
    refuse_tls(parameters)?;
    Ok(Some(Change::CreateListener(NewListener {
        load_balancer: Ref::Id(lb.id),
        protocol,
        port,
        forward: actions::required("DefaultActions", parameters, view)?,
        attributes: Default::default(),
        tags: tags::read(parameters)?,
    })))
}

pub(super) fn modify(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let (_, listener) = of(parameters, view)?;
    refuse_tls(parameters)?;
    Ok(Some(Change::ModifyListener {
        listener: ListenerRef::Id(listener.id),
        protocol: protocol(parameters)?,
        port: port(parameters)?,
        forward: actions::optional("DefaultActions", parameters, view)?,
    }))
}

/// The answer to `CreateListener` and `ModifyListener`.
pub(super) fn changed(_: &Parameters<'_>, view: &View<'_>, id: Option<Id>) -> Result<Element, Fault> {
    let listeners = view.objects.listeners().filter(|(_, listener)| Some(listener.id) == id);
    let elements = listeners.map(|(lb, listener)| element(lb, listener, view));
    Ok(Element::new("Result").with(Element::of_members("Listeners", elements)))
}

pub(super) fn describe(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    let arns = parameters.texts("ListenerArns")?;
    let found: Vec<(&LoadBalancer, &Listener)> = match (parameters.text("LoadBalancerArn"), arns.as_slice()) {
        (None, []) => {
            return Err(Fault::validation("You must specify either listener ARNs or a load balancer ARN"));
        }
        (Some(_), [_, ..]) => {
            return Err(Fault::validation(
                "Listener ARNs and a load balancer ARN cannot be specified together",
            ));
        }
        (Some(arn), []) => {
            let lb = view.load_balancer(arn)?;
            lb.listeners.iter().map(|listener| (lb, listener)).collect()
        }
        (None, arns) => arns.iter().map(|arn| view.listener(arn)).collect::<Result<_, _>>()?,
    };
    let item = |(lb, listener): (&LoadBalancer, &Listener)| Item {
        order: view.arns.listener(lb, listener).to_string(),
        element: element(lb, listener, view),
    };
    page(found.into_iter().map(item).collect(), "Listeners", parameters)
}

pub(super) fn delete(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let (_, listener) = of(parameters, view)?;
    Ok(Some(Change::DeleteListener(ListenerRef::Id(listener.id))))
}

/// The listener that a request names by parameter `ListenerArn`.
pub(super) fn of<'v>(
    parameters: &Parameters<'_>,
    view: &View<'v>,
) -> Result<(&'v LoadBalancer, &'v Listener), Fault> {
    view.listener(parameters.required_text("ListenerArn")?)
}

fn element(lb: &LoadBalancer, listener: &Listener, view: &View<'_>) -> Element {
    Element::new("Listener")
        .with_text("ListenerArn", view.arns.listener(lb, listener))
        .with_text("LoadBalancerArn", view.arns.load_balancer(lb))
        .with_text("Port", listener.port)
        .with_text("Protocol", listener.protocol.name())
        .with(actions::element("DefaultActions", &listener.forward, view))
}

fn protocol(parameters: &Parameters<'_>) -> Result<Option<Protocols>, Fault> {
    match parameters.choice("Protocol", &PROTOCOLS)? {
        Some(None) => {
            let found = parameters.text("Protocol").unwrap_or_default();
            let message = format!("Protocol '{found}' must be one of 'TCP, UDP, TCP_UDP'");
            Err(Fault::new("UnsupportedProtocol", message))
        }
        found => Ok(found.flatten()),
    }
}

fn port(parameters: &Parameters<'_>) -> Result<Option<u16>, Fault> {
    parameters.number("Port", 1..=u16::MAX)
}

/// What TLS listeners alone have.
fn refuse_tls(parameters: &Parameters<'_>) -> Result<(), Fault> {
    for name in ["Certificates", "SslPolicy", "AlpnPolicy", "MutualAuthentication"] {
        if parameters.has(name) {
            let message =
                format!("{name} cannot be specified for a listener of protocol TCP, UDP or TCP_UDP");
            return Err(Fault::configuration(message));
        }
    }
    Ok(())
}

/// Every protocol of the API, those of other load balancers and those that are not supported included.
pub(super) const PROTOCOLS: [(&str, Option<Protocols>); 9] = [
    ("TCP", Some(Protocols::Tcp)),
    ("UDP", Some(Protocols::Udp)),
    ("TCP_UDP", Some(Protocols::TcpUdp)),
    ("TLS", None),
    ("QUIC", None),
    ("TCP_QUIC", None),
    ("HTTP", None),
    ("HTTPS", None),
    ("GENEVE", None),
];

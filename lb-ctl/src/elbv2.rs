//! The Elastic Load Balancing API (version 2015-12-01) of this load balancer, for the stock `aws` command line and the SDKs:
//! forms in, XML out, on a thread of its own.
//!
//! It decides nothing. Objects are read as the control thread has them and changed by [`crate::change`], as by every front end;
//! what is here turns the API's words into changes, and objects and refusals into the API's words.

mod account;
mod actions;
mod attributes;
mod control;
mod endpoint;
mod fault;
mod form;
mod health_checks;
mod listeners;
mod load_balancers;
mod operation;
mod paging;
mod rules;
mod service;
mod sigv4;
mod tags;
mod target_groups;
mod targets;
mod unavailable;
mod view;
mod xml;

use std::sync::Arc;

pub use endpoint::{Endpoint, EndpointError};

use crate::{config::Elbv2, server::Call};
use control::Control;
use service::Service;

/// Starts the endpoint. `deliver` hands a call to the control thread, and must not block.
///
/// # Errors
/// When the file of keys is not as it must be, or the address cannot be listened on.
pub fn start(
    settings: &Elbv2,
    deliver: impl Fn(Call) + Send + Sync + 'static,
) -> Result<Endpoint, Box<dyn std::error::Error>> {
    let keys = settings.access.keys()?;
    let service = Arc::new(Service { settings: settings.clone(), keys, control: Control::new(deliver) });
    Ok(Endpoint::start(settings.listen, move |request, client| service.clone().answer(request, client))?)
}

#[cfg(test)]
mod tests;

//! The Elastic Load Balancing API (version 2015-12-01) of this load balancer, for the stock `aws` command line and the SDKs:
//! forms in, XML out, on a thread of its own.
//!
//! It decides nothing. Objects are read as the control thread has them and changed by [`crate::change`], as by every front end;
//! what is here turns the API's words into changes, and objects and refusals into the API's words.

mod account;
mod actions;
mod attributes;
mod control;
mod fault;
mod form;
mod health_checks;
mod http_server;
mod keys;
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

use std::{error::Error, net::SocketAddr, sync::Arc};

use crate::{config::Elbv2, server::Call};
use control::Control;
use http_server::HttpServer;
pub use keys::Keys;
use service::Service;

/// The running endpoint. Dropping it ends it.
#[derive(Debug)]
pub struct Endpoint {
    server: HttpServer,
    keys: Arc<Keys>,
}

impl Endpoint {
    /// Listens, and serves whoever [`Keys`] let in. `deliver` hands a call to the control thread, and must not block.
    ///
    /// # Errors
    /// When the address cannot be listened on, or a thread not be started.
    pub fn start(
        settings: &Elbv2,
        keys: Keys,
        deliver: impl Fn(Call) + Send + Sync + 'static,
    ) -> Result<Endpoint, Box<dyn Error>> {
        let keys = Arc::new(keys);
        let control = Control::new(deliver);
        let service = Arc::new(Service { settings: settings.clone(), keys: keys.clone(), control });
        let answer = move |request, client| service.clone().answer(request, client);
        Ok(Endpoint { server: HttpServer::start(settings.listen, answer)?, keys })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Lets in whom these keys let in, from the next request on.
    pub fn renew(&self, keys: Keys) {
        self.keys.renew(keys);
    }
}

#[cfg(test)]
mod tests;

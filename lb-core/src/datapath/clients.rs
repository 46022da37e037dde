//! How many source ports each client has, where that is limited (RFC 6888 section 3, REQ-4 and REQ-5): nobody can take those of
//! all others.

use std::{collections::HashMap, net::IpAddr};

/// Source ports in use, or at rest, by client. Room for every client is there from the start.
#[derive(Debug)]
pub(super) struct Clients {
    most: u32,
    ports: HashMap<IpAddr, u32>,
}

impl Clients {
    /// For at most `flows` flows, and `most` ports of each client.
    pub(super) fn new(most: u32, flows: u32) -> Clients {
        // Twice the room: what is removed leaves traces, which are cleared without new memory only then.
        Clients { most, ports: HashMap::with_capacity(flows as usize * 2) }
    }

    /// Whether a client may have one more port.
    pub(super) fn may_take(&self, client: IpAddr) -> bool {
        self.ports.get(&client).is_none_or(|&ports| ports < self.most)
    }

    pub(super) fn take(&mut self, client: IpAddr) {
        *self.ports.entry(client).or_default() += 1;
    }

    pub(super) fn give_back(&mut self, client: IpAddr) {
        if let Some(ports) = self.ports.get_mut(&client) {
            *ports -= 1;
            if *ports == 0 {
                self.ports.remove(&client);
            }
        }
    }
}

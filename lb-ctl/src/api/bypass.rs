//! Replies that go past the load balancer: what shows it, and what to do.

use std::{fmt, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a target's replies to clients go past the load balancer, which has kept the clients' addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bypass {
    /// What shows it.
    pub sign: BypassSign,
    /// One of the clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// The load balancer's own address towards the target: what the target's route to its clients has to lead to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Whether that client is an address of the target's own node, or of one behind it: no route leads its replies here.
    #[serde(default)]
    pub is_client_at_target: bool,
}

/// What shows that replies go past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BypassSign {
    /// Clients acknowledge answers that have not come by here.
    AnsweredElsewhere,
    /// Clients repeat their SYNs, the target passes its checks, and none of its replies comes by here.
    Silence,
}

impl fmt::Display for Bypass {
    /// Sentences without the target, which they are said of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.sign {
            BypassSign::AnsweredElsewhere => {
                "replies go past the load balancer: clients acknowledge answers that have not come by here."
            }
            BypassSign::Silence => {
                "no reply comes by the load balancer, though checks pass: replies go another way, or a firewall there \
                 drops what clients send."
            }
        })?;
        match self.client.filter(|_| self.is_client_at_target) {
            Some(client) => write!(
                f,
                " The client {client} is on the target's own node, or behind it, which answers itself, or drops what comes \
                 with its own address: no route mends that. Set \"preserve_client_ip.enabled\" to false."
            ),
            None => write!(
                f,
                " On the target, or a pod's node, in the table that routes its replies, {} (on a router it takes a rule); \
                 or set \"preserve_client_ip.enabled\" to false, where that can be.",
                self.route()
            ),
        }
    }
}

impl Bypass {
    /// The route that is missing.
    fn route(&self) -> String {
        let gateway = self.gateway.map_or("the load balancer".into(), |gateway| gateway.to_string());
        match self.client {
            Some(client) => {
                let bits = if client.is_ipv4() { 32 } else { 128 };
                format!("run `ip route add {client}/{bits} via {gateway}`, or with the client's network")
            }
            None => format!("add a route to its clients via {gateway}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_route_is_named() {
        let told = Bypass {
            sign: BypassSign::AnsweredElsewhere,
            client: Some([198, 18, 0, 2].into()),
            gateway: Some([198, 19, 1, 1].into()),
            is_client_at_target: false,
        };
        assert!(told.to_string().contains("`ip route add 198.18.0.2/32 via 198.19.1.1`"), "{told}");
        let vague =
            Bypass { sign: BypassSign::Silence, client: None, gateway: None, is_client_at_target: false };
        assert!(vague.to_string().contains("add a route to its clients via the load balancer"), "{vague}");
    }

    #[test]
    fn no_route_is_named_to_a_client_on_the_targets_own_node() {
        let told = Bypass {
            sign: BypassSign::Silence,
            client: Some([198, 19, 1, 50].into()),
            gateway: Some([198, 19, 1, 1].into()),
            is_client_at_target: true,
        };
        let told = told.to_string();
        assert!(told.contains("The client 198.19.1.50 is on the target's own node"), "{told}");
        assert!(told.contains("Set \"preserve_client_ip.enabled\" to false"), "{told}");
        assert!(!told.contains("ip route add"), "{told}");
    }
}

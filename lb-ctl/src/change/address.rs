//! Which addresses a load balancer is asked to have.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::Family;

/// An address of a pool, a certain one or a free one; or an address of no pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Row")]
pub struct AddressRequest {
    /// Name of the pool (`SubnetId`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The IPv4 address; `None`: a free one of the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<IpAddr>,
    /// The IPv6 address; `None`: for a dualstack load balancer a free one of the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<IpAddr>,
    /// Zone of an address of no pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// The same as it is read: an address may also stand as answers and files have it.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "AddressRequest")]
struct Row {
    /// Name of the pool (`SubnetId`).
    pool: Option<String>,
    /// The IPv4 address; by default a free one of the pool.
    ipv4: Option<IpAddr>,
    /// The IPv6 address; by default, for a dualstack load balancer, a free one of the pool.
    ipv6: Option<IpAddr>,
    /// An address of either family, in place of `ipv4` or `ipv6`.
    address: Option<IpAddr>,
    /// Zone of an address of no pool.
    zone: Option<String>,
}

impl TryFrom<Row> for AddressRequest {
    type Error = &'static str;

    fn try_from(row: Row) -> Result<AddressRequest, &'static str> {
        let Row { pool, mut ipv4, mut ipv6, address, zone } = row;
        if let Some(address) = address {
            let named = if Family::of(address) == Family::V4 { &mut ipv4 } else { &mut ipv6 };
            if named.replace(address).is_some() {
                return Err("found address beside ipv4 or ipv6 of the same family, expected one of them");
            }
        }
        Ok(AddressRequest { pool, ipv4, ipv6, zone })
    }
}

/// Requests, of which those that name an address of either family of the same pool are one: so answers have them.
pub(crate) fn requests<'d, D: Deserializer<'d>>(source: D) -> Result<Vec<AddressRequest>, D::Error> {
    let mut requests: Vec<AddressRequest> = Vec::new();
    for row in Vec::<AddressRequest>::deserialize(source)? {
        match requests.iter_mut().find(|known| known.is_other_family_of(&row)) {
            Some(known) => {
                known.ipv4 = known.ipv4.or(row.ipv4);
                known.ipv6 = known.ipv6.or(row.ipv6);
            }
            None => requests.push(row),
        }
    }
    Ok(requests)
}

/// The same of requests that need not be there.
pub(crate) fn optional_requests<'d, D: Deserializer<'d>>(
    source: D,
) -> Result<Option<Vec<AddressRequest>>, D::Error> {
    requests(source).map(Some)
}

impl AddressRequest {
    fn is_other_family_of(&self, other: &AddressRequest) -> bool {
        let families = |request: &AddressRequest| (request.ipv4.is_some(), request.ipv6.is_some());
        self.pool.is_some()
            && self.pool == other.pool
            && matches!(
                (families(self), families(other)),
                ((true, false), (false, true)) | ((false, true), (true, false))
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_tell_is_understood_as_a_request() {
        let text = r#"[
            {"address": "198.18.100.16", "zone": "a", "pool": "subnet-a"},
            {"address": "198.18.101.16", "zone": "b", "pool": "subnet-b"},
            {"address": "2001:db8:100::10", "zone": "a", "pool": "subnet-a"},
            {"address": "198.18.102.1"},
            {"address": "2001:db8::1"}
        ]"#;
        let asked = requests(&mut serde_json::Deserializer::from_str(text)).unwrap();
        let families: Vec<(bool, bool)> =
            asked.iter().map(|row| (row.ipv4.is_some(), row.ipv6.is_some())).collect();
        assert_eq!(families, [(true, true), (true, false), (true, false), (false, true)]);
        let both = r#"{"address": "198.18.100.16", "ipv4": "198.18.100.17"}"#;
        assert!(serde_json::from_str::<AddressRequest>(both).is_err());
    }
}

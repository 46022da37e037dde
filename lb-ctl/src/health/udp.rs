//! UDP check: one datagram, and what comes back.

use std::net::SocketAddr;

use super::{
    Cause, UdpProbe,
    socket::{Datagrams, Place},
};

impl UdpProbe {
    /// Decides by the first answer, be it a datagram or an ICMP error. What silence means, [`super::Probe::silence`] says.
    pub(super) async fn check(&self, endpoint: SocketAddr, place: &Place) -> Result<(), Cause> {
        let datagrams = Datagrams::connect(endpoint, place)?;
        datagrams.send(&self.send).await?;
        let mut buffer = vec![0; ANSWER_BYTES];
        let length = datagrams.receive(&mut buffer).await?;
        match &self.expect {
            Some(expected) if !contains(&buffer[..length], expected) => Err(Cause::WrongAnswer),
            _ => Ok(()),
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

/// The largest datagram's payload.
const ANSWER_BYTES: usize = 65_535;

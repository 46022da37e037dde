//! The way of one packet, out of what was seen of all.

use super::{Direction, Hop};

/// The hops of one packet from the first on that `is_first`. Its addresses, ports and time to live may change underway; its
/// sequence number and payload may not, as they do at SYN cookies and where a PROXY header is inserted. What is seen a
/// second time at one end of a link, going the same way with the same time to live, was sent again, and is left out.
pub fn follow<'a>(hops: &'a [Hop], is_first: impl Fn(&Hop) -> bool) -> Vec<&'a Hop> {
    let Some(first) = hops.iter().find(|hop| is_first(hop)) else { return Vec::new() };
    let mut path: Vec<&'a Hop> = Vec::new();
    for hop in hops.iter().skip_while(|hop| *hop != first).filter(|hop| hop.is_same_packet(first)) {
        let at = |hop: &'a Hop| (&hop.place, hop.direction, hop.ttl);
        if !path.iter().any(|seen| at(seen) == at(hop)) {
            path.push(hop);
        }
    }
    path
}

/// A frame's way over one link, or over several that a switch joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing<'a> {
    /// The place that it left, where that is tapped.
    pub from: Option<&'a str>,
    /// The place that it came to, where that is tapped.
    pub to: Option<&'a str>,
    /// What it was.
    pub hop: &'a Hop,
}

/// The hops of one packet with each link's two ends as one: a frame that leaves one place and comes to another as it was.
pub fn crossings<'a>(path: &[&'a Hop]) -> Vec<Crossing<'a>> {
    let mut crossings: Vec<Crossing<'a>> = Vec::new();
    for &hop in path {
        let place = Some(hop.place.as_str());
        match (hop.direction, crossings.last_mut()) {
            (Direction::In, Some(last)) if last.to.is_none() && last.hop.frame == hop.frame => {
                last.to = place
            }
            (Direction::In, _) => crossings.push(Crossing { from: None, to: place, hop }),
            (Direction::Out, _) => crossings.push(Crossing { from: place, to: None, hop }),
        }
    }
    crossings
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: [u8; 4] = [10, 0, 1, 1];

    fn ends<'a>(crossings: &[Crossing<'a>]) -> Vec<(Option<&'a str>, Option<&'a str>)> {
        crossings.iter().map(|crossing| (crossing.from, crossing.to)).collect()
    }

    #[test]
    fn a_way_that_comes_by_a_place_twice_is_whole_and_repetitions_are_left_out() {
        let way = [
            Hop::sample("client", Direction::Out, VIP, 64),
            Hop::sample("router", Direction::In, VIP, 64),
            Hop::sample("router", Direction::Out, VIP, 63),
            Hop::sample("router", Direction::In, VIP, 62),
        ];
        let again = way.iter().chain([&way[0], &way[1]]).cloned().collect::<Vec<_>>();
        let path = follow(&again, Hop::is_syn);
        assert_eq!(path, way.iter().collect::<Vec<_>>());
        let wanted = [(Some("client"), Some("router")), (Some("router"), None), (None, Some("router"))];
        assert_eq!(ends(&crossings(&path)), wanted);
    }

    #[test]
    fn another_packet_is_not_followed() {
        let mut other = Hop::sample("router", Direction::In, VIP, 64);
        other.segment.as_mut().expect("a segment").sequence += 1;
        let hops = [Hop::sample("client", Direction::Out, VIP, 64), other];
        assert_eq!(follow(&hops, Hop::is_syn).len(), 1);
        assert!(follow(&hops, Hop::is_syn_ack).is_empty());
    }
}

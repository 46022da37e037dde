//! `lbctl why`.

use std::net::SocketAddr;

use super::{Failure, Format, print};
use crate::{
    api::{ProtocolName, WhyQuery},
    client::Client,
    show,
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct WhyArguments {
    /// Who sends the packets and who gets them, such as "198.18.0.2:40000 -> 198.18.100.1:80", IPv6 addresses in brackets; then
    /// tcp or udp, by default tcp. The arrow may be left out, and must be quoted. A target and what it sees as its client will
    /// do, too
    #[arg(required = true, num_args = 1..=4, value_name = "IP:PORT -> VIP:PORT [PROTOCOL]")]
    packets: Vec<String>,
}

pub(super) fn run(client: &Client, output: Format, arguments: &WhyArguments) -> Result<(), Failure> {
    let query = query(&arguments.packets).map_err(Failure::Unusable)?;
    print(output, &client.why(&query)?, show::why)
}

/// `FROM [->] TO [PROTOCOL]`; the arrow may also stand in the middle of one word.
fn query(words: &[String]) -> Result<WhyQuery, String> {
    let words = words.iter().flat_map(|word| word.split("->")).flat_map(str::split_whitespace);
    let words: Vec<&str> = words.collect();
    let (from, to, protocol) = match words[..] {
        [_, "-"] => return Err("the shell has taken the arrow for its own: quote it, or leave it out".into()),
        [from, to] => (from, to, None),
        [from, to, protocol] => (from, to, Some(protocol.parse::<ProtocolName>()?)),
        _ => return Err(EXPECTED.into()),
    };
    let endpoint = |text: &str| text.parse::<SocketAddr>().map_err(|_| format!("{text}: {EXPECTED}"));
    let query = WhyQuery { client: endpoint(from)?, vip: endpoint(to)?, protocol };
    query.key()?;
    Ok(query)
}

const EXPECTED: &str = "expected IP:PORT -> VIP:PORT [tcp|udp], such as \"198.18.0.2:40000 -> 198.18.100.1:80\", IPv6 addresses in brackets";

#[cfg(test)]
mod tests {
    use super::*;
    use lb_core::tables::Protocol;

    fn read(words: &[&str]) -> Result<WhyQuery, String> {
        query(&words.iter().map(|word| word.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn the_arrow_may_stand_anywhere_or_nowhere() {
        let client = "198.18.0.2:40000".parse().unwrap();
        let vip = "198.18.100.1:80".parse().unwrap();
        for words in [
            &["198.18.0.2:40000", "->", "198.18.100.1:80"][..],
            &["198.18.0.2:40000", "198.18.100.1:80"],
            &["198.18.0.2:40000->198.18.100.1:80"],
            &["198.18.0.2:40000 -> 198.18.100.1:80"],
        ] {
            assert_eq!(read(words), Ok(WhyQuery { client, vip, protocol: None }), "{words:?}");
            let with_protocol = [words, &["udp"]].concat();
            assert_eq!(read(&with_protocol).unwrap().protocol(), Protocol::Udp, "{words:?}");
        }
        assert!(read(&["[2001:db8::2]:1", "[2001:db8::1]:80", "TCP"]).is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (words, said) in [
            (&["198.18.0.2:40000"][..], "expected IP:PORT"),
            (&["198.18.0.2:40000", "-"], "quote it"),
            (&["198.18.0.2", "198.18.100.1:80"], "198.18.0.2: expected IP:PORT"),
            (&["2001:db8::2:1", "[2001:db8::1]:80"], "2001:db8::2:1: expected"),
            (&["198.18.0.2:1", "198.18.100.1:80", "icmp"], "expected tcp or udp"),
            (&["198.18.0.2:0", "198.18.100.1:80"], "expected ports from 1"),
            (&["198.18.0.2:1", "[2001:db8::1]:80"], "expected two addresses of one family"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.contains(said), "{words:?}: {error}");
        }
    }
}

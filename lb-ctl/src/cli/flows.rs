//! `lbctl flows`.

use super::{Failure, Format, print};
use crate::{
    api::{AddressFilter, FLOWS_LISTED, FLOWS_LISTED_DEFAULT, FlowsQuery, ProtocolName, StateName},
    client::Client,
    show,
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct FlowsArguments {
    /// Only flows of this protocol: tcp or udp
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<ProtocolName>,

    /// Only flows of these clients
    #[arg(long, value_name = "ADDRESS[:PORT|/LENGTH]")]
    client: Option<AddressFilter>,

    /// Only flows to these listeners
    #[arg(long, value_name = "ADDRESS[:PORT|/LENGTH]")]
    vip: Option<AddressFilter>,

    /// Only flows to these targets
    #[arg(long, value_name = "ADDRESS[:PORT|/LENGTH]")]
    target: Option<AddressFilter>,

    /// Only flows in this state, such as established
    #[arg(long, value_name = "STATE")]
    state: Option<StateName>,

    /// Only flows of this worker
    #[arg(long, value_name = "N")]
    worker: Option<u8>,

    /// List at most this many
    #[arg(long, value_name = "N", default_value_t = FLOWS_LISTED_DEFAULT, value_parser = limit)]
    limit: usize,

    /// Say only how many there are
    #[arg(long)]
    count: bool,
}

pub(super) fn run(client: &Client, output: Format, arguments: FlowsArguments) -> Result<(), Failure> {
    let FlowsArguments { protocol, client: clients, vip, target, state, worker, limit, count } = arguments;
    let query =
        FlowsQuery { protocol, client: clients, vip, target, state, worker, limit: Some(limit), count };
    print(output, &client.flows(&query)?, if count { show::flow_count } else { show::flows })
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=FLOWS_LISTED).contains(limit));
    limit.ok_or_else(|| format!("expected a number from 1 to {FLOWS_LISTED}"))
}

//! `lbctl flows`.

use super::{Failure, Format, print};
use crate::{
    api::{
        AddressFilter, FLOWS_LISTED, FLOWS_LISTED_DEFAULT, FlowList, FlowsQuery, ProtocolName, StateName,
        WorkerRow,
    },
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
    if let Some(worker) = arguments.worker {
        refuse_stranger(worker, &client.status()?.workers)?;
    }
    let FlowsArguments { protocol, client: clients, vip, target, state, worker, limit, count } = arguments;
    let query =
        FlowsQuery { protocol, client: clients, vip, target, state, worker, limit: Some(limit), count };
    let show =
        |list: &FlowList| if count { show::flow_count(list) } else { show::flows(list, output.columns()) };
    print(output, &client.flows(&query)?, show)
}

/// Refuses the number of a worker that there is none of.
fn refuse_stranger(wanted: u8, workers: &[WorkerRow]) -> Result<(), Failure> {
    if workers.iter().any(|row| row.worker == u32::from(wanted)) {
        return Ok(());
    }
    let known: Vec<String> = workers.iter().map(|row| row.worker.to_string()).collect();
    let known =
        if known.is_empty() { "there are none".into() } else { format!("there are: {}", known.join(", ")) };
    Err(Failure::Refused(format!("there is no worker {wanted}; {known}")))
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=FLOWS_LISTED).contains(limit));
    limit.ok_or_else(|| format!("expected a number from 1 to {FLOWS_LISTED}"))
}

//! `lbctl trace`, and what it has in common with `lbctl capture`: which frames are meant.

use clap::builder::RangedU64ValueParser;

use super::{
    Failure, interrupt,
    output::{Format, note, say},
    unusable,
    values::ListenerName,
};
use crate::{
    api::{AddressFilter, ProtocolName, ReasonName, TRACE_SECONDS, TRACED_FRAMES, TraceLine, TraceQuery},
    client::{Client, Lines},
    show,
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TraceArguments {
    #[command(flatten)]
    frames: FrameArguments,
}

/// Which frames, and how many.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct FrameArguments {
    /// Only packets of these clients, and those to them
    #[arg(long, value_name = "ADDRESS[:PORT|/LENGTH]")]
    client: Option<AddressFilter>,

    /// Only packets to these listeners, and from them
    #[arg(long, value_name = "ADDRESS[:PORT|/LENGTH]")]
    vip: Option<AddressFilter>,

    /// Only packets to these targets, and from them
    #[arg(long, value_name = "ADDRESS[:PORT|/LENGTH]")]
    target: Option<AddressFilter>,

    /// Only packets of this protocol: tcp or udp
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<ProtocolName>,

    /// Only packets of this listener, such as edge/TCP:80
    #[arg(long, value_name = "NAME")]
    listener: Option<ListenerName>,

    /// Only frames that are counted under this reason, such as new_flow or no_listener: see `lbctl stats`
    #[arg(long, value_name = "REASON")]
    reason: Option<ReasonName>,

    /// Only one in so many of these frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,

    /// End after so many frames, up to 1,000,000 [default: 1000, of a capture 100000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(TRACED_FRAMES))]
    count: Option<u64>,

    /// End after so many seconds, up to 3,600 [default: 60]
    #[arg(long, value_name = "S", value_parser = RangedU64ValueParser::<u32>::new().range(TRACE_SECONDS))]
    seconds: Option<u32>,
}

impl FrameArguments {
    /// As lbd is asked.
    pub(super) fn query(&self, snap: Option<u32>) -> Result<TraceQuery, Failure> {
        let query = TraceQuery {
            protocol: self.protocol,
            client: self.client,
            vip: self.vip,
            target: self.target,
            listener: self.listener.as_ref().map(ToString::to_string),
            reason: self.reason,
            sample: self.sample,
            count: self.count,
            seconds: self.seconds,
            snap,
        };
        query.check().map_err(|refusal| Failure::Unusable(format!("--{}", refusal.error)))?;
        Ok(query)
    }
}

pub(super) fn run(client: &Client, output: Format, arguments: &TraceArguments) -> Result<(), Failure> {
    let query = arguments.frames.query(None)?;
    let lines = client.trace(&query)?;
    let stopper = lines.stopper();
    interrupt::ends(stopper.clone())?;
    let mut sum = Sum::default();
    match follow(output, lines, &mut sum) {
        Ok(true) => return Ok(()),
        Err(Failure::Unread) => return Err(Failure::Unread),
        outcome => {
            note(&show::trace_sum(sum.frames, sum.missed));
            outcome?;
        }
    }
    match stopper.is_stopped() {
        true => Ok(()),
        false => Err(Failure::Unusable("lbd has stopped, and so has its trace".into())),
    }
}

/// What a trace has told so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    frames: u64,
    missed: u64,
}

impl Sum {
    fn add(&mut self, told: &TraceLine) {
        match told {
            TraceLine::Frame(_) => self.frames += 1,
            TraceLine::Missed { over_rate, unread } => self.missed += over_rate + unread,
            TraceLine::Heartbeat | TraceLine::End { .. } => {}
        }
    }
}

/// Tells what comes. Whether lbd has said the end, with the sum.
fn follow(output: Format, lines: Lines, sum: &mut Sum) -> Result<bool, Failure> {
    for line in lines {
        let line = line?;
        let told: TraceLine = serde_json::from_str(&line).map_err(|error| unusable(&error))?;
        tell(output, &line, &told)?;
        sum.add(&told);
        if matches!(told, TraceLine::End { .. }) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn tell(output: Format, line: &str, told: &TraceLine) -> Result<(), Failure> {
    match (output, told) {
        (_, TraceLine::Heartbeat) => Ok(()),
        (Format::Json, _) => say(line),
        (Format::Yaml, _) => {
            let text = serde_saphyr::to_string(told).map_err(|error| unusable(&error))?;
            say(&format!("---\n{text}"))
        }
        (Format::Table | Format::Wide, TraceLine::Frame(_)) => say(&show::trace(told)),
        (Format::Table | Format::Wide, _) => {
            note(&show::trace(told));
            Ok(())
        }
    }
}

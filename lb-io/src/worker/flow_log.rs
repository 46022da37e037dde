//! Flows that have ended, on their way to the flow log: through a bounded channel that a worker never waits for, until it stops.

use std::{num::NonZeroU32, time::Duration};

use crossbeam_channel::Sender;
use lb_core::flow_log::EndedFlow;

use super::Worker;

/// Where workers tell of flows that have ended.
#[derive(Clone, Debug)]
pub struct FlowLogSink {
    /// Of so many flows, one is told of.
    pub sample: NonZeroU32,
    /// What the channel has no room for is counted, and lost.
    pub flows: Sender<EndedFlow>,
}

impl Worker<'_, '_> {
    /// Tells the flow log of flows that end from now on, or nobody.
    pub(super) fn log_flows(&mut self, sink: Option<FlowLogSink>) {
        self.datapath.log_flows(sink.as_ref().map(|sink| sink.sample), self.now);
        self.flow_log = sink;
    }

    /// Passes on which flows have ended in this turn.
    #[cold]
    pub(super) fn tell_ended(&mut self) {
        let mut lost = 0;
        for flow in self.datapath.take_ended() {
            let is_told = self.flow_log.as_ref().is_some_and(|sink| sink.flows.try_send(flow).is_ok());
            lost += u64::from(!is_told);
        }
        self.datapath.counters().ended_flows_lost.add(lost);
    }

    /// Passes on which flows end because the daemon stops. Nothing else is left to do, so this waits for room, but not for long.
    pub(super) fn tell_stopped(&mut self) {
        let Some(sink) = self.flow_log.take() else { return };
        let deadline = std::time::Instant::now() + PATIENCE;
        let (mut cursor, mut lost) = (Some(0), 0);
        while let Some(from) = cursor {
            cursor = self.datapath.tell_stopped(from, self.now);
            for flow in self.datapath.take_ended() {
                lost += u64::from(sink.flows.send_deadline(flow, deadline).is_err());
            }
        }
        self.datapath.counters().ended_flows_lost.add(lost);
    }
}

/// How long the end of a worker waits for the flow log.
const PATIENCE: Duration = Duration::from_secs(3);

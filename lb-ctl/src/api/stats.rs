//! Counters: of everything, and of one listener or one target.

use lb_core::{
    counters::{Counter, TrafficCounters, WorkerCounters},
    target::CutCause,
    verdict::{Action, Reason},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::WorkerFrames;

/// Counters over all workers since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// Frames taken from receive rings. With `made` equal to transmitted + replied + dropped, but for frames still on their way.
    pub received: u64,
    /// Frames that the load balancer made beside those that it received.
    pub made: u64,
    /// Frames sent on.
    pub transmitted: u64,
    /// Frames answered by the load balancer itself.
    pub replied: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// Frames that changed worker on the way; each is also in one of the other sums.
    pub handed_over: u64,
    /// Fragments that were kept until the first of their datagram came; each is also in one of the other sums, once it is over.
    pub held: u64,
    /// Frames that never got to a worker, because it had no buffer or no place for them: not in `received`.
    pub missed: u64,
    /// Every reason that was counted, or all of them.
    pub reasons: Vec<ReasonRow>,
    /// Flows in the table.
    pub flows: u64,
    /// Of these, flows whose handshake is not complete.
    pub half_open: u64,
    /// Half-open flows that made room for others.
    pub half_open_evicted: u64,
    /// Flows that ended by idle timeout.
    pub expired: u64,
    /// Flows that were cut.
    pub cut: u64,
    /// The same by cause.
    #[serde(default)]
    pub cut_by_cause: Vec<CutRow>,
    /// Flows made while too few targets were healthy, so that all got flows (NLB `UnhealthyRoutingFlowCount`).
    #[serde(default)]
    pub unhealthy_routing_flows: u64,
    /// Flows refused because the target group had no target (NLB `RejectedFlowCount`).
    #[serde(default)]
    pub rejected_flows: u64,
    /// Flows of a target to itself, or to another behind the same next hop.
    pub hairpins: u64,
    /// Connections to the control API.
    #[serde(default)]
    pub control_api: ApiTraffic,
}

/// Connections to the control API since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiTraffic {
    /// Let in.
    pub accepted: u64,
    /// Refused, because their user has no role.
    pub refused_access: u64,
    /// Refused, because there were too many.
    pub refused_busy: u64,
    /// Changes, and captures of packets, that were refused, because their user may only read.
    pub refused_changes: u64,
    /// Lost, because the system refused something; for want of file descriptors, for instance.
    pub accept_errors: u64,
}

/// How many flows were cut for one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CutRow {
    /// `unhealthy`, `deregistered`, `weight_zero` or `unused`.
    pub cause: String,
    /// Flows.
    pub flows: u64,
}

/// How many frames met their fate for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReasonRow {
    /// Name of the reason.
    pub reason: String,
    /// What was done: `transmit`, `reply`, `hand_over`, `hold` or `drop`.
    pub verdict: String,
    /// The reason in a sentence.
    pub help: String,
    /// Frames.
    pub frames: u64,
}

/// Traffic of one listener or one target since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Flows made.
    pub new_flows: u64,
    /// Flows now.
    pub active_flows: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, from the IP header on.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients, from the IP header on.
    pub bytes_out: u64,
    /// Resets that the load balancer made.
    pub resets: u64,
    /// Flows refused because no source port was free (NLB `PortAllocationErrorCount`).
    pub port_allocation_errors: u64,
    /// Flows made while too few targets were healthy, so that all got flows (NLB `UnhealthyRoutingFlowCount`).
    pub unhealthy_routing_flows: u64,
    /// Flows refused because the target group had no target (NLB `RejectedFlowCount`).
    pub rejected_flows: u64,
    /// Flows that were cut.
    pub cut_flows: u64,
    /// SYNs repeated by clients whose target had not answered the first.
    pub repeated_syns: u64,
    /// SYNs that the target refused.
    pub refused_syns: u64,
    /// Flows whose client acknowledged an answer of the target that has not come by here.
    #[serde(default)]
    pub bypassed_flows: u64,
    /// Resets from clients that were sent on (NLB `TCP_Client_Reset_Count`).
    #[serde(default)]
    pub client_resets: u64,
    /// Resets from targets that were sent on (NLB `TCP_Target_Reset_Count`).
    #[serde(default)]
    pub target_resets: u64,
}

impl Traffic {
    /// The sum over workers.
    pub fn sum<'a>(workers: impl IntoIterator<Item = &'a TrafficCounters>) -> Traffic {
        workers.into_iter().map(Traffic::from).fold(Traffic::default(), Traffic::and)
    }

    /// This and that.
    pub fn and(self, other: Traffic) -> Traffic {
        self.with(other, u64::wrapping_add)
    }

    /// What has come since `earlier`. Flows of now are not of then: their number stays.
    pub fn since(self, earlier: Traffic) -> Traffic {
        self.with(Traffic { active_flows: 0, ..earlier }, u64::wrapping_sub)
    }

    fn with(self, other: Traffic, join: impl Fn(u64, u64) -> u64) -> Traffic {
        Traffic {
            new_flows: join(self.new_flows, other.new_flows),
            active_flows: join(self.active_flows, other.active_flows),
            packets_in: join(self.packets_in, other.packets_in),
            bytes_in: join(self.bytes_in, other.bytes_in),
            packets_out: join(self.packets_out, other.packets_out),
            bytes_out: join(self.bytes_out, other.bytes_out),
            resets: join(self.resets, other.resets),
            port_allocation_errors: join(self.port_allocation_errors, other.port_allocation_errors),
            unhealthy_routing_flows: join(self.unhealthy_routing_flows, other.unhealthy_routing_flows),
            rejected_flows: join(self.rejected_flows, other.rejected_flows),
            cut_flows: join(self.cut_flows, other.cut_flows),
            repeated_syns: join(self.repeated_syns, other.repeated_syns),
            refused_syns: join(self.refused_syns, other.refused_syns),
            bypassed_flows: join(self.bypassed_flows, other.bypassed_flows),
            client_resets: join(self.client_resets, other.client_resets),
            target_resets: join(self.target_resets, other.target_resets),
        }
    }
}

impl From<&TrafficCounters> for Traffic {
    fn from(counters: &TrafficCounters) -> Traffic {
        Traffic {
            new_flows: counters.new_flows.value(),
            active_flows: counters.active_flows.value(),
            packets_in: counters.packets_in.value(),
            bytes_in: counters.bytes_in.value(),
            packets_out: counters.packets_out.value(),
            bytes_out: counters.bytes_out.value(),
            resets: counters.resets.value(),
            port_allocation_errors: counters.port_allocation_errors.value(),
            unhealthy_routing_flows: counters.unhealthy_routing_flows.value(),
            rejected_flows: counters.rejected_flows.value(),
            cut_flows: counters.cut_flows.value(),
            repeated_syns: counters.repeated_syns.value(),
            refused_syns: counters.refused_syns.value(),
            bypassed_flows: counters.bypassed_flows.value(),
            client_resets: counters.client_resets.value(),
            target_resets: counters.target_resets.value(),
        }
    }
}

impl Stats {
    /// Whether every frame has exactly one fate. True of a daemon through which nothing moves.
    pub fn balance(&self) -> bool {
        self.received + self.made == self.transmitted + self.replied + self.dropped
    }

    /// The sums over workers.
    pub fn sum(workers: &[impl AsRef<WorkerCounters>]) -> Stats {
        let total = |counter: fn(&WorkerCounters) -> &Counter| -> u64 {
            workers.iter().map(|worker| counter(worker.as_ref()).value()).sum()
        };
        let listeners = Traffic::sum(workers.iter().flat_map(|worker| worker.as_ref().listeners.iter()));
        let mut stats = Stats {
            received: total(|worker| &worker.received),
            made: total(|worker| &worker.made),
            flows: total(|worker| &worker.flows),
            half_open: total(|worker| &worker.half_open),
            half_open_evicted: total(|worker| &worker.half_open_evicted),
            expired: total(|worker| &worker.expired),
            cut: workers.iter().map(|worker| worker.as_ref().all_cut()).sum(),
            cut_by_cause: CutCause::ALL.map(|cause| cut_by(workers, cause)).into(),
            unhealthy_routing_flows: listeners.unhealthy_routing_flows,
            rejected_flows: listeners.rejected_flows,
            hairpins: total(|worker| &worker.hairpins),
            ..Stats::default()
        };
        for &reason in Reason::ALL.iter().filter(|reason| reason.action() != Action::Pass) {
            let frames = workers.iter().map(|worker| worker.as_ref().reasons[reason as usize].value()).sum();
            match reason.action() {
                Action::Transmit => stats.transmitted += frames,
                Action::Reply => stats.replied += frames,
                Action::HandOver => stats.handed_over += frames,
                Action::Hold => stats.held += frames,
                Action::Drop => stats.dropped += frames,
                Action::Pass => {}
            }
            let (name, verdict) = (reason.name().into(), reason.action().name().into());
            stats.reasons.push(ReasonRow { reason: name, verdict, help: reason.help().into(), frames });
        }
        stats
    }
}

impl WorkerFrames {
    /// What one worker has counted.
    pub fn of(worker: &WorkerCounters) -> WorkerFrames {
        let frames = |reason: Reason| worker.reasons[reason as usize].value();
        let mut sum = WorkerFrames {
            received: worker.received.value(),
            made: worker.made.value(),
            handover_full: frames(Reason::HandoverFull),
            tx_ring_full: frames(Reason::TxRingFull),
            ..WorkerFrames::default()
        };
        for &reason in Reason::ALL {
            match reason.action() {
                Action::Transmit => sum.transmitted += frames(reason),
                Action::Reply => sum.replied += frames(reason),
                Action::HandOver => sum.handed_over += frames(reason),
                Action::Hold => sum.held += frames(reason),
                Action::Drop => sum.dropped += frames(reason),
                Action::Pass => {}
            }
        }
        sum
    }
}

fn cut_by(workers: &[impl AsRef<WorkerCounters>], cause: CutCause) -> CutRow {
    let flows = workers.iter().map(|worker| worker.as_ref().cut[cause as usize].value()).sum();
    CutRow { cause: cause.name().into(), flows }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn every_settled_frame_is_in_one_sum() {
        let workers = [Arc::new(WorkerCounters::new()), Arc::new(WorkerCounters::new())];
        let settled = Reason::ALL.iter().filter(|reason| reason.action() != Action::Pass);
        for (index, &reason) in settled.enumerate() {
            workers[index % 2].settle(reason);
            match reason.action() {
                Action::HandOver | Action::Hold => {}
                Action::Drop => workers[1].made.add(1),
                _ => workers[0].received.add(1),
            }
        }
        let stats = Stats::sum(&workers);
        assert!(stats.balance());
        assert_eq!((stats.transmitted > 0, stats.replied > 0), (true, true));
        assert_eq!((stats.handed_over, stats.held), (1, 1));
        assert!(stats.reasons.iter().all(|row| row.frames == 1));
    }
}

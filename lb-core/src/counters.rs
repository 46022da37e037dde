//! Counters that one worker writes and anyone reads. One writer per counter, so adding is a load and a store, no lock prefix.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    flow::{Direction, Flow},
    limits,
    listener::ListenerId,
    target::{CutCause, TargetId},
    verdict::Reason,
    wire::l4::tcp::RST,
};

/// A counter or gauge with a single writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker calls this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes `n` off, for gauges. Only the owning worker calls this.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Sets a gauge. Only the owning worker calls this.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The value now.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker counts.
#[derive(Debug)]
pub struct WorkerCounters {
    /// Frames taken from receive rings.
    pub received: Counter,
    /// Frames whose fate was settled, by reason. `received` = the sum of all but `HandedOver`, over all workers.
    pub reasons: [Counter; Reason::COUNT],
    /// Flows in the table.
    pub flows: Counter,
    /// Flows whose handshake is not complete.
    pub half_open: Counter,
    /// Half-open flows evicted because their budget was used up.
    pub half_open_evicted: Counter,
    /// Flows that ended by idle timeout.
    pub expired: Counter,
    /// Flows that were cut, by [`CutCause`].
    pub cut: [Counter; CutCause::ALL.len()],
    /// Frames that the load balancer made beside those that it received. `received` + `made` = the sum of all reasons but
    /// `HandedOver` and `FragmentHeld`, over all workers, once no fragment is held.
    pub made: Counter,
    /// Flows of a target to itself, or to another behind the same next hop, whose source address was translated for that.
    pub hairpins: Counter,
    /// Ended flows that the flow log had no room for.
    pub ended_flows_lost: Counter,
    /// Per listener, by `ListenerId`.
    pub listeners: Box<[TrafficCounters]>,
    /// Per target, by `TargetId`.
    pub targets: Box<[TrafficCounters]>,
}

/// Traffic of one listener or one target: in the first cache line what packets and flows change, in the second what is rare.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct TrafficCounters {
    /// Flows made.
    pub new_flows: Counter,
    /// Flows that are not over: with a handshake under way, or established (NLB `ActiveFlowCount`).
    pub active_flows: Counter,
    /// Packets from clients.
    pub packets_in: Counter,
    /// Bytes from clients, from the IP header on.
    pub bytes_in: Counter,
    /// Packets to clients.
    pub packets_out: Counter,
    /// Bytes to clients, from the IP header on.
    pub bytes_out: Counter,
    /// Resets that the load balancer made (NLB `TCP_ELB_Reset_Count`).
    pub resets: Counter,
    /// Flows refused because no source port was free (NLB `PortAllocationErrorCount`).
    pub port_allocation_errors: Counter,
    /// Flows made while too few targets were healthy, so that all got flows (NLB `UnhealthyRoutingFlowCount`).
    pub unhealthy_routing_flows: Counter,
    /// Flows refused because the target group had no target (NLB `RejectedFlowCount`).
    pub rejected_flows: Counter,
    /// Flows that were cut.
    pub cut_flows: Counter,
    /// SYNs repeated by clients whose target had not answered the first.
    pub repeated_syns: Counter,
    /// SYNs that the target refused.
    pub refused_syns: Counter,
    /// Flows whose client acknowledged an answer of the target that has not come by here.
    pub bypassed_flows: Counter,
    /// Resets from clients that were sent on (NLB `TCP_Client_Reset_Count`).
    pub client_resets: Counter,
    /// Resets from targets that were sent on (NLB `TCP_Target_Reset_Count`).
    pub target_resets: Counter,
}

impl WorkerCounters {
    /// All zero.
    pub fn new() -> WorkerCounters {
        WorkerCounters {
            received: Counter::default(),
            reasons: [const { Counter(AtomicU64::new(0)) }; Reason::COUNT],
            flows: Counter::default(),
            half_open: Counter::default(),
            half_open_evicted: Counter::default(),
            expired: Counter::default(),
            cut: Default::default(),
            made: Counter::default(),
            hairpins: Counter::default(),
            ended_flows_lost: Counter::default(),
            listeners: (0..limits::LISTENERS).map(|_| TrafficCounters::default()).collect(),
            targets: (0..limits::TARGETS).map(|_| TrafficCounters::default()).collect(),
        }
    }

    /// Counts one frame whose fate is settled.
    #[inline]
    pub fn settle(&self, reason: Reason) {
        self.reasons[reason as usize].add(1);
    }
}

/// What a flow adds to its listener and to its target.
impl WorkerCounters {
    /// A packet was sent on.
    #[inline]
    pub(crate) fn count_packet(&self, flow: &Flow, direction: Direction, bytes: u16) {
        for traffic in self.traffic(flow) {
            match direction {
                Direction::Forward => {
                    traffic.packets_in.add(1);
                    traffic.bytes_in.add(u64::from(bytes));
                }
                Direction::Reverse => {
                    traffic.packets_out.add(1);
                    traffic.bytes_out.add(u64::from(bytes));
                }
            }
        }
    }

    /// A packet with these TCP flags was sent on; of UDP there are none.
    #[inline]
    pub(crate) fn count_segment(&self, flow: &Flow, direction: Direction, bytes: u16, flags: u8) {
        self.count_packet(flow, direction, bytes);
        if flags & RST != 0 {
            self.count_reset(flow, direction);
        }
    }

    #[cold]
    fn count_reset(&self, flow: &Flow, direction: Direction) {
        for traffic in self.traffic(flow) {
            match direction {
                Direction::Forward => traffic.client_resets.add(1),
                Direction::Reverse => traffic.target_resets.add(1),
            }
        }
    }

    /// The load balancer made a reset for a listener.
    pub(crate) fn count_own_reset(&self, listener: ListenerId) {
        if let Some(traffic) = self.listeners.get(usize::from(listener.0)) {
            traffic.resets.add(1);
        }
    }

    /// A flow went into the table.
    pub(crate) fn count_start(&self, flow: &Flow) {
        for traffic in self.traffic(flow) {
            traffic.new_flows.add(1);
            traffic.active_flows.add(u64::from(flow.state().is_active()));
        }
    }

    /// A flow was made without regard to its target's health.
    pub(crate) fn count_unhealthy_routing(&self, listener: ListenerId, target: TargetId) {
        let listener = self.listeners.get(usize::from(listener.0));
        for traffic in listener.into_iter().chain(self.targets.get(target.0 as usize)) {
            traffic.unhealthy_routing_flows.add(1);
        }
    }

    /// Flows that were cut, for any cause.
    pub fn all_cut(&self) -> u64 {
        self.cut.iter().map(Counter::value).sum()
    }

    /// A flow was cut.
    pub(crate) fn count_cut(&self, flow: &Flow, cause: CutCause) {
        self.cut[cause as usize].add(1);
        for traffic in self.traffic(flow) {
            traffic.cut_flows.add(1);
        }
    }

    /// A client has repeated the SYN of a flow that its target has not answered.
    pub(crate) fn count_repeated_syn(&self, flow: &Flow) {
        for traffic in self.traffic(flow) {
            traffic.repeated_syns.add(1);
        }
    }

    /// A target has refused a flow.
    pub(crate) fn count_refused_syn(&self, flow: &Flow) {
        for traffic in self.traffic(flow) {
            traffic.refused_syns.add(1);
        }
    }

    /// A client acknowledges an answer that has not come by here.
    pub(crate) fn count_bypassed(&self, flow: &Flow) {
        for traffic in self.traffic(flow) {
            traffic.bypassed_flows.add(1);
        }
    }

    /// A flow that was thought to be over goes on.
    pub(crate) fn count_return(&self, flow: &Flow) {
        for traffic in self.traffic(flow) {
            traffic.active_flows.add(1);
        }
    }

    /// A flow is over.
    pub(crate) fn count_end(&self, flow: &Flow) {
        for traffic in self.traffic(flow) {
            traffic.active_flows.sub(1);
        }
    }

    #[inline]
    fn traffic(&self, flow: &Flow) -> impl Iterator<Item = &TrafficCounters> + use<'_> {
        let listener = self.listeners.get(usize::from(flow.listener_id));
        let target = self.targets.get(flow.target_id as usize);
        listener.into_iter().chain(target)
    }
}

impl Default for WorkerCounters {
    fn default() -> Self {
        WorkerCounters::new()
    }
}

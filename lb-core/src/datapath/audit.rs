//! What must hold of a packet path between bursts. Slow; for tests.

use super::{Datapath, Pipeline};
use crate::{
    counters::{Counter, TrafficCounters},
    limits,
};

impl Datapath<'_> {
    /// The number of pieces that are held for their first one; or, where the flow table, its counters or the spare frames
    /// are not what the flows make them, what is wrong.
    #[doc(hidden)]
    pub fn audit(&self) -> Result<usize, String> {
        let pipeline = &self.pipeline;
        pipeline.flows.audit()?;
        agrees("flows", &pipeline.counters.flows, u64::from(pipeline.flows.len()))?;
        agrees("half-open flows", &pipeline.counters.half_open, u64::from(pipeline.flows.half_open()))?;
        pipeline.audit_active_flows()?;
        let held = pipeline.fragments.held();
        match pipeline.extras.buffers() + held {
            limits::EXTRA_FRAMES => Ok(held),
            buffers => Err(format!("{buffers} buffers of {}", limits::EXTRA_FRAMES)),
        }
    }
}

impl Pipeline<'_> {
    /// Listeners and targets count the active flows in the table.
    fn audit_active_flows(&self) -> Result<(), String> {
        let mut listeners = vec![0; self.counters.listeners.len()];
        let mut targets = vec![0; self.counters.targets.len()];
        for record in 0..self.flows.used_records() {
            let flow = self.flows.flow(record);
            if flow.state().is_active() {
                listeners[usize::from(flow.listener_id)] += 1;
                targets[usize::from(flow.target_id)] += 1;
            }
        }
        agree("flows of listener", &self.counters.listeners, &listeners)?;
        agree("flows of target", &self.counters.targets, &targets)
    }
}

fn agree(what: &str, traffic: &[TrafficCounters], counted: &[u64]) -> Result<(), String> {
    for (id, (traffic, &counted)) in traffic.iter().zip(counted).enumerate() {
        agrees(what, &traffic.active_flows, counted).map_err(|error| format!("{id}: {error}"))?;
    }
    Ok(())
}

fn agrees(what: &str, counter: &Counter, counted: u64) -> Result<(), String> {
    match counter.value() {
        value if value == counted => Ok(()),
        value => Err(format!("{what}: {value} said, {counted} counted")),
    }
}

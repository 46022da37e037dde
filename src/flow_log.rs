//! The flow log's part in the daemon: switched on, changed and switched off by the configuration, told of at each change of who there
//! is, and reported on.

use std::sync::Arc;

use lb_core::tables::Tables;
use lb_ctl::{
    api::{FlowLogStatus, Happening},
    config,
    flow_log::{Fate, FlowLog, LogFile, Outcomes, Surroundings},
    server::Events,
};
use lb_io::{
    clock,
    engine::{Engine, FlowLogSink},
};

use crate::{
    control::Control,
    log::{complain, say},
};

/// The flow log, while there is one, and what has become of records since the daemon started.
#[derive(Default)]
pub struct FlowLogging {
    on: Option<FlowLog>,
    outcomes: Arc<Outcomes>,
}

impl FlowLogging {
    /// Notes who there is by new tables, before workers go by them.
    pub(crate) fn note(&self, before: &Tables, after: &Tables) {
        if let Some(log) = self.on.as_ref().filter(|_| !before.are_steered_like(after)) {
            log.note(after);
        }
    }

    /// Waits, but not for long, for the last records, once the workers have stopped.
    pub(crate) fn finish(self) {
        if let Some(log) = self.on {
            log.finish();
        }
    }

    /// Switches it on.
    fn start(&mut self, settings: &config::FlowLog, file: Option<LogFile>, events: Events) {
        let tell = move |fate| {
            let error = match fate {
                Fate::Lost { error } => {
                    complain!("WARNING: flow log: records are lost, for they cannot be written: {error}");
                    Some(error)
                }
                Fate::Written => {
                    say!("flow log: records are written again");
                    None
                }
            };
            events.publish(Happening::FlowLog { error });
        };
        let outcomes = self.outcomes.clone();
        let surroundings = Surroundings { outcomes, clock: clock::now, tell: Box::new(tell) };
        match FlowLog::start(settings, file, surroundings) {
            Ok(log) => self.on = Some(log),
            Err(error) => complain!("WARNING: there is no flow log: {error}"),
        }
    }

    /// Has workers tell of flows, or nobody.
    fn tell_workers(&self, settings: Option<&config::FlowLog>, engine: &Engine) {
        let sink = self.on.as_ref().zip(settings);
        let sink = sink.map(|(log, settings)| FlowLogSink { sample: settings.sample, flows: log.flows() });
        engine.log_flows(sink.as_ref());
    }
}

impl Control {
    /// Switches the flow log on, if one is configured, before the first flow. A file that cannot be opened keeps no load balancer from
    /// its start: it is tried again.
    pub(crate) fn begin_flow_log(&mut self) {
        let Some(settings) = self.store.config.flow_log.clone() else { return };
        let file =
            LogFile::open(&settings).map_err(|error| complain!("WARNING: {}", unopened(&settings, &error)));
        self.flow_log.start(&settings, file.ok(), self.server.events());
        if let Some(log) = &self.flow_log.on {
            log.note(&self.tables);
        }
        self.flow_log.tell_workers(Some(&settings), &self.engine);
    }

    /// Goes by the configuration in force, with the file that it names.
    pub(crate) fn change_flow_log(&mut self, file: Option<LogFile>) {
        let settings = self.store.config.flow_log.clone();
        // The thread of one that is dropped ends when it has written what workers have told.
        match (self.flow_log.on.take(), settings.as_ref().zip(file)) {
            (Some(log), Some((settings, file))) if log.queue_records() == Some(settings.queue_records) => {
                log.change(settings, file);
                self.flow_log.on = Some(log);
            }
            (_, Some((settings, file))) => {
                self.flow_log.start(settings, Some(file), self.server.events());
                if let Some(log) = &self.flow_log.on {
                    log.note(&self.tables);
                }
            }
            (_, None) => {}
        }
        self.flow_log.tell_workers(settings.as_ref(), &self.engine);
    }

    /// What is told of the flow log, if it is on.
    pub(crate) fn flow_log_status(&self) -> Option<FlowLogStatus> {
        let settings = self.store.config.flow_log.as_ref()?;
        let outcomes = &self.flow_log.outcomes;
        let lost = self.engine.counters().iter().map(|worker| worker.ended_flows_lost.value()).sum();
        Some(FlowLogStatus {
            file: settings.file.display().to_string(),
            records: outcomes.written(),
            dropped_by_queue: lost,
            dropped_by_file: outcomes.lost(),
            error: outcomes.trouble(),
        })
    }
}

/// Opens the file that a configuration names, if it names one.
///
/// # Errors
/// In words that name the key.
pub(crate) fn open(settings: Option<&config::FlowLog>) -> Result<Option<LogFile>, String> {
    settings.map(|settings| LogFile::open(settings).map_err(|error| unopened(settings, &error))).transpose()
}

fn unopened(settings: &config::FlowLog, error: &std::io::Error) -> String {
    format!("flow_log.file: cannot open {}: {error}", settings.file.display())
}

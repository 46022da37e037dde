//! What a worker does otherwise while somebody follows frames. None of it is called while nobody does.

use lb_core::{frame::Frame, verdict::Verdict};

use super::{Origin, Parcel, Worker};

impl Worker<'_, '_> {
    /// As [`Worker::process`].
    #[cold]
    pub(super) fn process_traced(&mut self, origin: Origin) {
        let Worker { tracing, datapath, frames, verdicts, .. } = self;
        let Some(mut tracing) = tracing.take() else { return };
        let count = frames.len();
        tracing.process(datapath, frames, origin, self.now, &mut verdicts[..count]);
        self.give_up_frames();
        for at in 0..count {
            let reason = self.finish(self.places[at], self.verdicts[at]);
            tracing.settle(at, reason, &self.datapath, self.now);
        }
        self.tracing = Some(tracing);
        self.end_burst();
    }

    /// As [`Worker::finish`], of a frame that the packet path has made or kept. Takes the frame, for it must be gone when its
    /// verdict is carried out.
    #[cold]
    pub(super) fn finish_extra_traced(&mut self, place: Parcel, frame: Frame<'_>, verdict: Verdict) {
        let Some(mut tracing) = self.tracing.take() else { return };
        tracing.look_at_own(&self.datapath, &frame, verdict, self.now);
        let reason = self.finish(place, verdict);
        tracing.settle(0, reason, &self.datapath, self.now);
        self.tracing = Some(tracing);
    }

    /// Forgets traces that are over.
    #[cold]
    pub(super) fn prune_traces(&mut self) {
        if self.tracing.as_mut().is_some_and(|tracing| !tracing.prune(self.now)) {
            self.tracing = None;
        }
    }
}

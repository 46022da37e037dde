//! Several workers of one load balancer, and the hand-overs between them.

use std::collections::VecDeque;

use lb_core::{
    datapath::{Arrival, Datapath, Settings},
    tables::{InterfaceId, Protocol},
    verdict::{Action, Reason, Verdict},
};

use super::{
    Scene, Seen, books, leaked_datapath, process_arrived, read, read_ip, settings, take_extras_with_ingress,
};

/// The workers of one load balancer.
pub struct Fleet {
    pub workers: Vec<Datapath<'static>>,
    /// Frames handed over, in all.
    pub hand_overs: u64,
}

/// What became of a frame, and of what was kept or made beside it.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Each fate that is no hand-over, in order: worker, verdict, and the frame if it leaves.
    pub fates: Vec<(u8, Verdict, Option<Vec<u8>>)>,
    pub hand_overs: u64,
}

impl Delivery {
    /// The one fate; panics when there are others.
    pub fn only(mut self) -> (Reason, Option<Vec<u8>>) {
        assert_eq!(self.fates.len(), 1, "{:?}", self.fates);
        let (_, verdict, frame) = self.fates.remove(0);
        (verdict.reason, frame)
    }

    pub fn reasons(&self) -> Vec<Reason> {
        self.fates.iter().map(|(_, verdict, _)| verdict.reason).collect()
    }
}

impl Fleet {
    pub fn new(workers: u8, capacity: u32, scene: &Scene) -> Fleet {
        Fleet::with(Settings { workers, ..settings() }, capacity, scene)
    }

    /// As many workers as the settings say, each with its number.
    pub fn with(settings: Settings, capacity: u32, scene: &Scene) -> Fleet {
        let worker = |worker| leaked_datapath(capacity, Settings { worker, ..settings.clone() }, scene);
        Fleet { workers: (0..settings.workers).map(worker).collect(), hand_overs: 0 }
    }

    pub fn install(&mut self, scene: &Scene) {
        for worker in &mut self.workers {
            worker.install(scene.tables());
        }
    }

    /// Puts a frame through that comes in by a queue of worker `at`, and carries out all hand-overs.
    pub fn send(&mut self, at: u8, ingress: InterfaceId, frame: &[u8], now_ms: u64) -> Delivery {
        let mut delivery = Delivery::default();
        let mut open = VecDeque::from([(at, ingress, frame.to_vec(), Arrival::Ring)]);
        while let Some((at, ingress, frame, arrival)) = open.pop_front() {
            assert!(delivery.hand_overs < 16, "frames are handed round in circles");
            let worker = &mut self.workers[usize::from(at)];
            let (verdict, out) = process_arrived(worker, ingress, &frame, arrival, now_ms);
            let extras = take_extras_with_ingress(worker);
            let main = (verdict, ingress, out.unwrap_or(frame));
            for (verdict, ingress, bytes) in std::iter::once(main).chain(extras) {
                match verdict.reason.action() {
                    Action::HandOver => {
                        delivery.hand_overs += 1;
                        open.push_back((verdict.port, ingress, bytes, Arrival::HandedOver));
                    }
                    action => {
                        let leaves = matches!(action, Action::Transmit | Action::Reply);
                        delivery.fates.push((at, verdict, leaves.then_some(bytes)));
                    }
                }
            }
        }
        self.hand_overs += delivery.hand_overs;
        delivery
    }

    /// The same for a frame that comes in by the queue that the scene's receive hash says.
    pub fn send_by_hash(
        &mut self,
        scene: &Scene,
        ingress: InterfaceId,
        frame: &[u8],
        now_ms: u64,
    ) -> Delivery {
        let hash = scene.receive_hash.as_ref().expect("a receive hash");
        let Seen { source, destination, .. } = read(frame);
        let protocol = Protocol::from_number(read_ip(frame).protocol).unwrap();
        let queue =
            hash.queue((source.ip(), source.port()), (destination.ip(), destination.port()), protocol);
        self.send((usize::from(queue) % self.workers.len()) as u8, ingress, frame, now_ms)
    }

    /// Flows of all workers.
    pub fn flows(&self) -> u64 {
        self.workers.iter().map(|worker| worker.counters().flows.value()).sum()
    }

    /// Frames settled under a reason.
    pub fn settled(&self, reason: Reason) -> u64 {
        self.workers.iter().map(|worker| worker.counters().reasons[reason as usize].value()).sum()
    }

    /// Asserts that over all workers every frame received or made was settled under exactly one reason, and that their
    /// flow tables are sound.
    pub fn assert_books_balance(&self) {
        for worker in &self.workers {
            assert_eq!(worker.audit(), Ok(0));
        }
        let (open, over) = self
            .workers
            .iter()
            .map(|worker| books(worker.counters()))
            .fold((0, 0), |(open, over), (more, less)| (open + more, over + less));
        assert_eq!(open, over);
    }
}

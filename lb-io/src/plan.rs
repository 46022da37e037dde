//! How many workers there are, which queues each serves, and how its memory is shared out. Pure: devices and cores in,
//! numbers out.

use lb_core::limits;

use crate::{device::Device, engine::EngineSettings, umem::HEADROOM_BYTES, xsk::RingSizes};

/// The shape of the data path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// By worker.
    pub(crate) workers: Vec<WorkerPlan>,
    /// Size of a UMEM chunk, in bytes.
    pub(crate) chunk_bytes: u32,
    /// Flows that one worker's table can hold.
    pub(crate) flow_capacity: u32,
    /// Frames that one worker can have on their way to one other.
    pub(crate) handoff_frames: usize,
}

/// One worker's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerPlan {
    /// Its core. When there are more workers than cores, they take the cores in turn.
    pub(crate) cpu: usize,
    /// Its sockets: index of the device, and queue. The first of each device is the one to send by.
    pub(crate) sockets: Vec<(usize, u32)>,
    /// Sizes of each socket's rings.
    pub(crate) rings: RingSizes,
}

/// Why the settings do not fit the machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No interface, or too many.
    #[error("{0} interfaces are configured; expected 1 to {most}", most = limits::INTERFACES)]
    Interfaces(usize),
    /// The same interface twice.
    #[error("interface {0} is configured twice")]
    Duplicate(String),
    /// More workers than an interface has queues for.
    #[error(
        "{workers} workers are configured, but interface {interface} has queues for {queues}; configure fewer workers or give it more queues with `ethtool -L`"
    )]
    Queues {
        /// Workers asked for.
        workers: usize,
        /// The interface.
        interface: String,
        /// What it has queues for.
        queues: u32,
    },
    /// More queues than the program can tell apart.
    #[error(
        "interface {interface} has {queues} receive queues; at most {most} can be used: reduce them with `ethtool -L`",
        most = limits::WORKERS
    )]
    ManyQueues {
        /// The interface.
        interface: String,
        /// Its queues.
        queues: u32,
    },
    /// A number of workers that is not possible.
    #[error("{0} workers are configured; expected 1 to {most}", most = limits::WORKERS)]
    Workers(usize),
    /// A core that is not there, or that this process may not use.
    #[error(
        "core {core} is configured for a worker, but this process may use only {}; change `workers.cpus`",
        list(allowed)
    )]
    NoSuchCore {
        /// The core.
        core: usize,
        /// Those that this process may use.
        allowed: Vec<usize>,
    },
    /// Too little memory for the sockets.
    #[error(
        "{frames} frames per worker are too few for {sockets} sockets; expected at least {least}",
        least = sockets * FRAMES_PER_SOCKET as usize
    )]
    Frames {
        /// Frames asked for.
        frames: u32,
        /// Sockets of one worker.
        sockets: usize,
    },
}

impl Plan {
    /// Shares out `devices` (never none) and the cores that this process may use.
    pub(crate) fn new(
        settings: &EngineSettings,
        devices: &[Device],
        cores: &[usize],
    ) -> Result<Plan, PlanError> {
        for device in devices {
            if device.queues as usize > limits::WORKERS {
                return Err(PlanError::ManyQueues { interface: device.name.clone(), queues: device.queues });
            }
        }
        if let Some(&core) = settings.cpus.iter().find(|core| !cores.contains(core)) {
            return Err(PlanError::NoSuchCore { core, allowed: cores.to_vec() });
        }
        let cpus = if settings.cpus.is_empty() { cores } else { &settings.cpus };
        let workers = worker_count(settings, devices, cpus.len())?;
        let longest = devices.iter().map(|device| device.mtu).max().unwrap_or(0) + LINK_HEADER_BYTES;
        Ok(Plan {
            workers: (0..workers)
                .map(|worker| WorkerPlan::new(worker, workers, cpus[worker % cpus.len()], settings, devices))
                .collect::<Result<_, _>>()?,
            chunk_bytes: if longest + HEADROOM_BYTES <= 2_048 { 2_048 } else { LARGE_CHUNK_BYTES },
            flow_capacity: (settings.flow_capacity / workers as u32).max(limits::FLOWS_MINIMUM),
            handoff_frames: handoff_frames(settings.frames_per_worker, workers),
        })
    }

    /// Longest frame that fits a buffer, in bytes from the Ethernet header on.
    pub(crate) fn longest_frame(&self) -> u32 {
        self.chunk_bytes - HEADROOM_BYTES
    }
}

impl WorkerPlan {
    fn new(
        worker: usize,
        workers: usize,
        cpu: usize,
        settings: &EngineSettings,
        devices: &[Device],
    ) -> Result<WorkerPlan, PlanError> {
        let sockets: Vec<(usize, u32)> = devices
            .iter()
            .enumerate()
            .flat_map(|(index, device)| {
                (worker as u32..device.queues).step_by(workers).map(move |queue| (index, queue))
            })
            .collect();
        let frames = settings.frames_per_worker;
        if (frames as usize) < sockets.len() * FRAMES_PER_SOCKET as usize {
            return Err(PlanError::Frames { frames, sockets: sockets.len() });
        }
        let rings = ring_sizes(frames, sockets.len(), devices.len());
        Ok(WorkerPlan { cpu, sockets, rings })
    }
}

/// Sizes of the rings of a worker with so many frames and sockets. Half of the frames wait on fill rings; the other half is
/// enough for full tx rings. One socket of each device sends.
pub(crate) fn ring_sizes(frames: u32, sockets: usize, devices: usize) -> RingSizes {
    let receive = 1 << (frames / 2 / sockets as u32).ilog2();
    let transmit = 1 << (frames / 2 / devices as u32).ilog2();
    RingSizes { receive, transmit, completion: transmit * 2 }
}

/// Frames that a worker may have on their way to each of the others.
pub(crate) fn handoff_frames(frames: u32, workers: usize) -> usize {
    let peers = workers.saturating_sub(1).max(1);
    (frames as usize / 4 / peers).clamp(16, 2_048)
}

/// Checks the list of interfaces before any of them is opened.
pub(crate) fn check_interfaces(names: &[String]) -> Result<(), PlanError> {
    if names.is_empty() || names.len() > limits::INTERFACES {
        return Err(PlanError::Interfaces(names.len()));
    }
    match names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        Some((_, name)) => Err(PlanError::Duplicate(name.clone())),
        None => Ok(()),
    }
}

fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

fn worker_count(settings: &EngineSettings, devices: &[Device], cores: usize) -> Result<usize, PlanError> {
    // A worker must be able to receive from and send by every interface.
    let pairs = |device: &Device| device.queues.min(device.transmit_queues);
    let queues = devices.iter().map(pairs).min().unwrap_or(1);
    let workers = match settings.workers {
        Some(workers) => usize::from(workers),
        None => (queues as usize).min(cores).min(limits::WORKERS),
    };
    if !(1..=limits::WORKERS).contains(&workers) {
        return Err(PlanError::Workers(workers));
    }
    if let Some(device) = devices.iter().find(|device| (pairs(device) as usize) < workers) {
        let (interface, queues) = (device.name.clone(), pairs(device));
        return Err(PlanError::Queues { workers, interface, queues });
    }
    Ok(workers)
}

/// Longest frame that fits a buffer of any interface, in bytes from the Ethernet header on.
pub const LONGEST_FRAME_BYTES: u32 = LARGE_CHUNK_BYTES - HEADROOM_BYTES;
/// Where an interface's MTU asks for more than 2,048.
const LARGE_CHUNK_BYTES: u32 = 4_096;
/// Ethernet header and one VLAN tag.
const LINK_HEADER_BYTES: u32 = 18;
/// Fewest frames for one socket: a burst on the fill ring and one on the tx ring.
const FRAMES_PER_SOCKET: u32 = 2 * limits::BURST_FRAMES as u32;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use lb_core::tables::Mac;

    use super::*;
    use crate::engine::Polling;

    fn settings() -> EngineSettings {
        EngineSettings {
            interfaces: Vec::new(),
            workers: None,
            cpus: Vec::new(),
            polling: Polling::Adaptive,
            frames_per_worker: 4_096,
            flow_capacity: 1 << 20,
            flow_hash_key: [0; 16],
            selection_secret: [0; 16],
            adopt_until: None,
            ports_per_client: None,
            lock_directory: PathBuf::new(),
        }
    }

    fn device(name: &str, queues: u32) -> Device {
        Device {
            name: name.to_owned(),
            index: 1,
            mac: Mac::default(),
            mtu: 1_500,
            queues,
            transmit_queues: queues,
            driver: String::new(),
            is_veth: false,
            receive_hash: None,
        }
    }

    #[test]
    fn every_queue_has_one_worker_and_every_worker_every_interface() {
        for (first, second, cores) in [(1, 1, 8), (2, 2, 2), (4, 2, 8), (8, 3, 2), (64, 64, 64)] {
            let devices = [device("a", first), device("b", second)];
            let cores: Vec<usize> = (0..cores).collect();
            let mut settings = settings();
            settings.frames_per_worker = 65_536;
            let plan = Plan::new(&settings, &devices, &cores).unwrap();
            assert_eq!(plan.workers.len(), (first.min(second) as usize).min(cores.len()));
            let mut served: Vec<(usize, u32)> =
                plan.workers.iter().flat_map(|worker| worker.sockets.clone()).collect();
            served.sort_unstable();
            let wanted: Vec<(usize, u32)> =
                (0..first).map(|queue| (0, queue)).chain((0..second).map(|queue| (1, queue))).collect();
            assert_eq!(served, wanted);
            for worker in &plan.workers {
                assert!([0, 1].iter().all(|index| worker.sockets.iter().any(|socket| socket.0 == *index)));
            }
        }
    }

    #[test]
    fn only_a_configured_count_makes_workers_share_cores() {
        let cpus_of = |count, cpus: &[usize], cores: &[usize]| {
            let mut settings = settings();
            (settings.workers, settings.cpus) = (count, cpus.to_vec());
            let plan = Plan::new(&settings, &[device("a", 8), device("b", 8)], cores).unwrap();
            plan.workers.iter().map(|worker| worker.cpu).collect::<Vec<_>>()
        };
        assert_eq!(cpus_of(None, &[], &[0, 1]), [0, 1]);
        assert_eq!(cpus_of(None, &[3], &[0, 3]), [3]);
        assert_eq!(cpus_of(Some(4), &[], &[0, 1]), [0, 1, 0, 1]);
        assert_eq!(cpus_of(Some(8), &[5, 2, 3], &[1, 2, 3, 5]), [5, 2, 3, 5, 2, 3, 5, 2]);
        assert_eq!(cpus_of(Some(1), &[5, 2], &[2, 5]), [5]);
    }

    #[test]
    fn rings_never_need_more_frames_than_there_are() {
        for frames in [256, 1_024, 4_096, 65_536] {
            let mut settings = settings();
            settings.frames_per_worker = frames;
            let plan = Plan::new(&settings, &[device("a", 1), device("b", 1)], &[0]).unwrap();
            let rings = plan.workers[0].rings;
            assert!(rings.receive.is_power_of_two() && rings.receive >= 64);
            assert!(2 * (rings.receive + rings.transmit) <= frames);
            assert!(plan.handoff_frames as u32 <= frames / 4);
        }
    }

    #[test]
    fn chunks_fit_the_largest_mtu() {
        let mut large = device("b", 1);
        for (mtu, chunk_bytes) in
            [(1_500, 2_048), (1_774, 2_048), (1_775, 4_096), (3_498, 4_096), (9_000, 4_096)]
        {
            large.mtu = mtu;
            let plan = Plan::new(&settings(), &[device("a", 1), large.clone()], &[0]).unwrap();
            assert_eq!(plan.chunk_bytes, chunk_bytes, "mtu {mtu}");
        }
    }

    #[test]
    fn settings_that_do_not_fit_are_refused() {
        let devices = [device("a", 4), device("b", 2)];
        let refusal = |change: &dyn Fn(&mut EngineSettings)| {
            let mut settings = settings();
            change(&mut settings);
            Plan::new(&settings, &devices, &[0, 1]).unwrap_err()
        };
        let queues = PlanError::Queues { workers: 3, interface: "b".to_owned(), queues: 2 };
        assert_eq!(refusal(&|settings| settings.workers = Some(3)), queues);
        assert_eq!(refusal(&|settings| settings.workers = Some(0)), PlanError::Workers(0));
        let frames = PlanError::Frames { frames: 256, sockets: 3 };
        assert_eq!(refusal(&|settings| settings.frames_per_worker = 256), frames);
        let many = Plan::new(&settings(), &[device("a", 65)], &[0]).unwrap_err();
        assert_eq!(many, PlanError::ManyQueues { interface: "a".to_owned(), queues: 65 });
        assert_eq!(check_interfaces(&[]), Err(PlanError::Interfaces(0)));
        let twice = ["a".to_owned(), "b".to_owned(), "a".to_owned()];
        assert_eq!(check_interfaces(&twice), Err(PlanError::Duplicate("a".to_owned())));
    }
}

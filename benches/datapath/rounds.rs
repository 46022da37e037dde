//! What the rows put through: rounds of packets, or of flows. A round is [`ROUND`] of either; each returns its time.

use std::time::Duration;

use lb_core::{flow::Direction, limits};

use crate::{
    bench::{BURST, Bench, ROUND},
    support::{ACK, FIN, RST, SYN},
};

impl Bench<'_> {
    /// Opens the live flows, unless they are there.
    pub fn open_live(&mut self) {
        while self.traffic.live() < self.flows {
            self.shake_hands(ROUND.min((self.flows - self.traffic.live()) as usize), STILL);
            self.opened.iter().for_each(|&opened| self.traffic.note_live(opened));
        }
    }

    /// Packets of live flows from their clients, in random order.
    pub fn hits(&mut self, size: usize) -> Duration {
        self.fill(ROUND, |traffic| {
            let flow = traffic.any_live();
            traffic.request(flow, ACK, size)
        });
        self.process(STILL)
    }

    /// The same from their targets.
    pub fn replies(&mut self, size: usize) -> Duration {
        self.fill(ROUND, |traffic| {
            let flow = traffic.any_live();
            traffic.reply(flow, ACK, size)
        });
        self.process(STILL)
    }

    /// First packets of new flows. Targets refuse them all, off the clock, so that none pushes out another.
    pub fn new_flows(&mut self) -> Duration {
        let taken = self.open(ROUND, STILL);
        self.refuse_opened();
        taken
    }

    /// Has targets refuse the connections that were opened last, which ends them at once.
    pub fn refuse_opened(&mut self) {
        self.send_opened(Direction::Reverse, RST, STILL);
        assert_eq!(self.evicted(), 0);
    }

    /// Opens the live flows, and others until the budget of half-open ones is used up.
    pub fn prepare_flood(&mut self) {
        self.open_live();
        while self.evicted() == 0 {
            self.open(ROUND, STILL);
        }
    }

    /// First packets of flows, each of which pushes out the oldest half-open one.
    pub fn flood(&mut self) -> Duration {
        let evicted = self.evicted();
        let taken = self.open(ROUND, STILL);
        assert_eq!(self.evicted() - evicted, ROUND as u64);
        taken
    }

    /// Lets datagrams open flows until as many expire.
    pub fn prepare_datagrams(&mut self) {
        for _ in 0..=self.flows as usize * 11 / 10 / ROUND {
            self.open_by_datagrams();
        }
    }

    /// Datagrams that open a flow each, so fast that `flows` live at a time; with the expiry of as many.
    pub fn datagrams(&mut self) -> Duration {
        let taken = self.open_by_datagrams();
        let flows = u64::from(self.flows);
        assert!((flows..flows * 11 / 10 + ROUND as u64).contains(&self.table_len()));
        taken
    }

    fn open_by_datagrams(&mut self) -> Duration {
        self.fill(ROUND, |traffic| {
            let flow = traffic.fresh();
            traffic.datagram(flow)
        });
        self.process(u64::from(limits::UDP_IDLE_S) * SECOND_NS * BURST as u64 / u64::from(self.flows))
    }

    /// Opens and closes connections until as many expire.
    pub fn prepare_connections(&mut self) {
        let until_swept_ns = u64::from(limits::CLOSED_S) * SECOND_NS + limits::EXPIRY_ROUND_MS * 1_500_000;
        for _ in 0..=until_swept_ns / (self.connection_ns() * ROUND as u64) {
            self.open_and_close();
        }
    }

    /// Connections opened and closed, so fast that as many as [`Bench::closed`] wait for their expiry; with the expiry of as many.
    pub fn connections(&mut self) -> Duration {
        let taken = self.open_and_close();
        let closed = u64::from(self.closed());
        assert!((closed..closed * 5 / 4 + 2 * ROUND as u64).contains(&self.table_len()));
        taken
    }

    fn open_and_close(&mut self) -> Duration {
        let segments = 6;
        let step_ns = self.connection_ns() * BURST as u64 / segments;
        let mut taken = self.shake_hands(ROUND, step_ns);
        for (direction, flags) in
            [(Direction::Forward, FIN | ACK), (Direction::Reverse, FIN | ACK), (Direction::Forward, ACK)]
        {
            taken += self.send_opened(direction, flags, step_ns);
        }
        taken
    }

    /// Connections that are closed and not yet forgotten: no fewer than a round has time to close.
    fn closed(&self) -> u32 {
        self.flows.max(4 * ROUND as u32)
    }

    /// The packet path's time from one connection to the next.
    fn connection_ns(&self) -> u64 {
        u64::from(limits::CLOSED_S) * SECOND_NS / u64::from(self.closed())
    }

    fn shake_hands(&mut self, count: usize, step_ns: u64) -> Duration {
        self.open(count, step_ns)
            + self.send_opened(Direction::Reverse, SYN | ACK, step_ns)
            + self.send_opened(Direction::Forward, ACK, step_ns)
    }

    fn open(&mut self, count: usize, step_ns: u64) -> Duration {
        self.fill(count, |traffic| {
            let flow = traffic.fresh();
            traffic.request(flow, SYN, traffic.least_size())
        });
        self.process(step_ns)
    }

    /// A segment of each connection that was opened last.
    fn send_opened(&mut self, direction: Direction, flags: u8, step_ns: u64) -> Duration {
        let opened = std::mem::take(&mut self.opened);
        let mut next = opened.iter();
        self.fill(opened.len(), |traffic| {
            let &(flow, end) = next.next().expect("one for each frame");
            match direction {
                Direction::Forward => traffic.request(flow, flags, traffic.least_size()),
                Direction::Reverse => traffic.reply_from((flow, end), flags, traffic.least_size()),
            }
        });
        self.opened = opened;
        self.process(step_ns)
    }
}

/// No time passes between bursts.
pub const STILL: u64 = 0;
const SECOND_NS: u64 = 1_000_000_000;

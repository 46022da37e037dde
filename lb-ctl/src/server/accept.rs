//! Connections as they come: each is judged by its credentials, seated or sent away, and never waited for.

use std::{io, sync::Arc};

use axum::Router;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
    time::{sleep, timeout},
};

use super::{
    Caller, ServerError, Settings,
    access::{self, Proof, Role},
    answer::Farewell,
    connection::{self, Client},
    counts::Counts,
    limits::{ACCEPT_PAUSE, FAREWELL_TIME, FAREWELLS, WATCH_INTERVAL},
    seats::{Holder, Seats},
    socket::Place,
    tcp::Door,
};
use crate::{api::ApiTraffic, show::text::counted};

/// What all connections share.
pub(super) struct House {
    pub(super) settings: Settings,
    pub(super) router: Router,
    pub(super) seats: Arc<Seats>,
    pub(super) counts: Arc<Counts>,
    farewells: Arc<Semaphore>,
}

impl House {
    pub(super) fn new(settings: Settings, router: Router, counts: Arc<Counts>) -> Arc<House> {
        let seats = Seats::new(settings.limits);
        let farewells = Arc::new(Semaphore::new(FAREWELLS));
        Arc::new(House { settings, router, seats, counts, farewells })
    }

    /// Accepts for ever, and listens anew where the socket's file gets lost.
    pub(super) async fn keep(self: Arc<House>, mut place: Place, mut listener: UnixListener) {
        let mut watch = Watch { told: ApiTraffic::default(), complaint: String::new() };
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        loop {
            tokio::select! {
                () = self.accept_all(&listener) => {}
                _ = ticks.tick() => {
                    if let Some(fresh) = watch.look_at(&mut place, &self) {
                        listener = fresh;
                    }
                    watch.sum_up(&self);
                }
            }
        }
    }

    /// Accepts by TCP for ever, if that is wanted.
    pub(super) async fn keep_door(self: Arc<House>, door: Option<Door>) {
        if let Some(door) = door
            && let Err(error) = door.keep(self.clone()).await
        {
            (self.settings.log)(format!("WARNING: nobody can reach the control API by TCP: {error}"));
        }
        std::future::pending().await
    }

    async fn accept_all(self: &Arc<House>, listener: &UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.admit(stream),
                Err(_) => {
                    self.counts.failed.note("somebody");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
            yield_now().await; // Whoever came first shall be read first.
        }
    }

    fn admit(self: &Arc<House>, stream: UnixStream) {
        match self.judge(&stream) {
            Ok((holder, caller, Some(role))) => {
                self.seat(stream, holder, Client { caller, role, proof: Proof::Process })
            }
            Ok((_, caller, None)) => {
                self.counts.strangers.note(&caller);
                self.turn_away(stream, Farewell::Stranger);
            }
            // A client that is gone already has no credentials.
            Err(_) => self.counts.failed.note("somebody"),
        }
    }

    fn judge(&self, stream: &UnixStream) -> io::Result<(Holder, Caller, Option<Role>)> {
        let peer = stream.peer_cred()?;
        let role = self.settings.access.role(stream, peer)?;
        Ok((Holder::Uid(peer.uid()), access::caller(peer), role))
    }

    fn seat(self: &Arc<House>, stream: UnixStream, holder: Holder, client: Client) {
        match self.seats.take(holder) {
            Some(seat) => {
                self.counts.accepted.note("");
                drop(tokio::spawn(connection::serve(stream, client, seat, self.router.clone())));
            }
            None => {
                self.counts.crowded.note(&client.caller);
                self.turn_away(stream, Farewell::Crowd);
            }
        }
    }

    /// Tells a client why, if there are not too many to tell.
    fn turn_away(&self, stream: UnixStream, farewell: Farewell) {
        if let Ok(permit) = self.farewells.clone().try_acquire_owned() {
            drop(tokio::spawn(part(stream, farewell, permit)));
        }
    }
}

/// Answers without a look at the request. What has come of it is thrown away: a socket that is closed with bytes unread would
/// take the answer with it.
async fn part(mut stream: UnixStream, farewell: Farewell, _permit: OwnedSemaphorePermit) {
    let told = async {
        timeout(FAREWELL_TIME, stream.readable()).await.ok(); // Clients expect no answer before they have asked.
        stream.write_all(&farewell.bytes()).await?;
        stream.shutdown().await?;
        let mut unread = [0; 4096];
        for _ in 0..UNREAD_READS {
            if stream.read(&mut unread).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // Whoever does not take the answer does not need it.
    drop(timeout(2 * FAREWELL_TIME, told).await);
}

/// What is looked at once in a while.
struct Watch {
    told: ApiTraffic,
    complaint: String,
}

impl Watch {
    /// A new listener, if the old one's file is lost.
    fn look_at(&mut self, place: &mut Place, house: &House) -> Option<UnixListener> {
        if place.is_ours() {
            return None;
        }
        let path = place.path().display().to_string();
        let system = |error| ServerError::System(path.clone().into(), error);
        match place.rebind().and_then(|listener| UnixListener::from_std(listener).map_err(system)) {
            Ok(listener) => {
                self.complaint.clear();
                (house.settings.log)(format!("WARNING: {path} was removed; lbd listens there again"));
                Some(listener)
            }
            Err(error) => {
                let complaint =
                    format!("WARNING: {path} was removed, and nobody can reach lbd there: {error}");
                if complaint != self.complaint {
                    (house.settings.log)(complaint.clone());
                    self.complaint = complaint;
                }
                None
            }
        }
    }

    /// One line for all who were refused for one reason since the last one.
    fn sum_up(&mut self, house: &House) {
        let now = house.counts.read();
        let told = std::mem::replace(&mut self.told, now.clone());
        let Counts { strangers, crowded, forbidden, failed, .. } = &*house.counts;
        for (count, last, noun, whose) in [
            (
                now.refused_access - told.refused_access,
                strangers.last(),
                "connection",
                "of users without a role",
            ),
            (
                now.refused_busy - told.refused_busy,
                crowded.last(),
                "connection",
                "because there were too many",
            ),
            (
                now.refused_changes - told.refused_changes,
                forbidden.last(),
                "request",
                "to change something or to capture packets, by users who may only read",
            ),
            (
                now.accept_errors - told.accept_errors,
                failed.last(),
                "connection",
                "that the system could not accept",
            ),
        ] {
            if count > 0 {
                let refused = counted(count, noun);
                (house.settings.log)(format!("audit: {last}: refused: {refused} {whose}"));
            }
        }
    }
}

/// Reads of at most 4,096 bytes of what a client that is turned away has sent.
const UNREAD_READS: usize = 64;

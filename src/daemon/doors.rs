//! Which connection gets which slot, and who has to give his up (decisions 15, threats 10).
//!
//! Slots are for strangers up to the key `sessions`; beyond those, [`LOCAL_SLOTS`] are only for
//! loopback and Unix sockets, and one is spare. A stranger who comes when all are taken goes into
//! the spare slot, ungreeted, and is looked for another: the stranger who has done nothing useful
//! for longest, if that is `IDLE_MIN`, or `IDLE_MIN_CROWD` when one address holds more than
//! half, gets 421. If nobody gives way within `SPARE_MAX`, the newcomer gets it.

use crate::base::slots::{Handle, Slots};
use crate::base::time::Instant;
use crate::config::Config;
use crate::intake::peer::Peer;
use crate::intake::session::{Session, Stand};
use crate::limits::{LOCAL_SLOTS, SPARE_SLOTS};
use crate::queue::Queue;
use crate::smtp::reply::Reply;
use core::net::IpAddr;
use core::time::Duration;

/// Without anything useful for this long, a stranger may have to go.
const IDLE_MIN: Duration = Duration::from_secs(5);
/// The same for those of an address that holds more than half of the slots.
const IDLE_MIN_CROWD: Duration = Duration::from_secs(1);
/// How long the newcomer waits for a slot.
const SPARE_MAX: Duration = Duration::from_secs(2);

/// See the module's head.
pub struct Doors {
    strangers_max: usize,
    /// Who waits ungreeted, and until when.
    spare: Option<(Handle, Instant)>,
}

impl Doors {
    /// All slots of a daemon with this config.
    pub fn slots_max(config: &Config) -> u16 {
        config.sessions.saturating_add(LOCAL_SLOTS).saturating_add(SPARE_SLOTS)
    }

    /// Nobody waits.
    pub fn new(config: &Config) -> Doors {
        Doors { strangers_max: config.sessions.into(), spare: None }
    }

    /// True while another connection may be taken: somebody who has to wait is one at a time.
    pub fn is_open(&self) -> bool {
        self.spare.is_none()
    }

    /// A connection has been taken: greets it, or lets it wait for a slot.
    pub fn enter(
        &mut self,
        handle: Handle,
        sessions: &mut Slots<Session>,
        config: &Config,
        now: Instant,
    ) {
        let strangers = sessions.iter().filter(|(_, session)| is_stranger(session)).count();
        let Some(session) = sessions.get(handle) else { return };
        if is_stranger(session) && strangers > self.strangers_max {
            self.spare = Some((handle, now + SPARE_MAX));
        } else {
            session.greet(config, now);
        }
    }

    /// Looks for a slot for the one who waits.
    pub fn attend(
        &mut self,
        sessions: &mut Slots<Session>,
        queue: &mut Queue,
        config: &Config,
        now: Instant,
    ) {
        let Some((spare, until)) = self.spare else { return };
        if sessions.get(spare).is_none() {
            self.spare = None;
            return;
        }
        let strangers = sessions.iter().filter(|(_, session)| is_stranger(session)).count();
        if strangers <= self.strangers_max {
            self.spare = None;
            if let Some(session) = sessions.get(spare) {
                session.greet(config, now);
            }
            return;
        }
        let victim = slowest(spare.index, sessions, self.strangers_max, now);
        if let Some((_, session)) = victim.and_then(|victim| sessions.at(victim)) {
            session.dismiss(Reply::BUSY, queue);
        } else if now >= until {
            self.spare = None;
            if let Some(session) = sessions.get(spare) {
                session.dismiss(Reply::BUSY, queue);
            }
        }
    }

    /// When to call [`Doors::attend`] though nothing has happened.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let (_, until) = self.spare?;
        Some(until.min(now + Duration::from_millis(250)))
    }
}

fn is_stranger(session: &Session) -> bool {
    !session.peer().is_local()
}

fn address(session: &Session) -> Option<IpAddr> {
    match session.peer() {
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Unix { .. } => None,
    }
}

/// The stranger who has done nothing useful for longest, if that is too long.
fn slowest(
    spare: u16,
    sessions: &Slots<Session>,
    strangers_max: usize,
    now: Instant,
) -> Option<u16> {
    let is_crowd = |session: &Session| {
        let same = sessions.iter().filter(|(_, other)| address(other) == address(session));
        same.count() > strangers_max / 2
    };
    let candidates = sessions.iter().filter(|(index, session)| {
        let may_go = session.stand() == Stand::Open && is_stranger(session);
        may_go && *index != spare
    });
    let (index, session) = candidates.min_by_key(|(_, session)| session.last_useful())?;
    let least = if is_crowd(session) { IDLE_MIN_CROWD } else { IDLE_MIN };
    (now.since(session.last_useful()) >= least).then_some(index)
}

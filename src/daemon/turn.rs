//! One turn of the loop: events in, one commit, replies out, the next deadline.
//!
//! Order matters and is always the same: what came in is taken as far as it goes, what is due is
//! started, then everything that ended is made durable by one sync, and only then its replies leave
//! (LAW 1). The clock is read again after the sync, and sessions that could go on are served before
//! any deadline is judged, so a slow disk makes nobody late.
//!
//! Tokens: sessions first, then control connections, then sending slots; a token is its slot's
//! number for ever. Readiness is remembered here, since the world tells each change once.
//!
//! When a sync has failed the queue is recovered, with a back-off, while committed mail goes on
//! being delivered (I11).

use super::control::{Confinement, Control};
use super::doors::{Doors, is_beyond_its_number};
use super::service::Routes;
use super::world::{Accepted, Event, Peer, Resolver, Token, World};
use crate::base::slots::{Handle, Slots};
use crate::base::time::{Instant, Now, earliest};
use crate::config::Config;
use crate::intake::access::mechanisms;
use crate::intake::admission::Admission;
use crate::intake::import::Import;
use crate::intake::session::{self, Session, Stand};
use crate::intake::visitors::Visitors;
use crate::limits::CONTROL_SLOTS;
use crate::queue::recovery::{Found, RecoverError, recover};
use crate::queue::{NotDurable, Queue, Receipt};
use crate::relay::forwarder::{self, Forwarder};
use core::time::Duration;

const OWNER_IMPORT: u32 = 1 << 30;
const OWNER_REPORTS: u32 = 2 << 30;
/// How long TERM lets go on what is under way.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// First and longest wait before a broken queue is recovered.
const RECOVER_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long to wait for descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Connections taken in a turn before the others get theirs.
const ACCEPT_MAX: u32 = 64;

/// What a listener leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// SMTP over TCP, by the config's listener of that number.
    Smtp(u8),
    /// SMTP for local programs.
    Submit,
    /// The administrator.
    Control,
}

/// What is known of a socket's readiness since it was last used up.
#[derive(Clone, Copy, Default)]
pub(super) struct Readiness {
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) closed: bool,
}

/// See the module's head.
pub struct Daemon {
    pub(super) config: Config,
    pub(super) queue: Queue,
    pub(super) sessions: Slots<Session>,
    pub(super) controls: Slots<Control>,
    import: Import,
    pub(super) forwarder: Forwarder,
    pub(super) doors: Doors,
    pub(super) visitors: Visitors,
    listeners: Vec<(Door, bool)>,
    pub(super) readiness: Vec<Readiness>,
    verdicts: Vec<(u32, Result<Receipt, NotDurable>)>,
    recover_at: Option<Instant>,
    recover_wait: Duration,
    pub(super) drain_until: Option<Instant>,
    /// The system has no descriptors left: not before that time.
    accept_again: Option<Instant>,
    /// The spool does not survive a reboot.
    pub(super) is_volatile: bool,
    pub(super) confinement: Confinement,
    owner: Option<u32>,
    /// Somebody could go on at once.
    pub(super) is_busy: bool,
    /// The session that is served first: another one each turn while they wait for each other.
    pub(super) first_served: u16,
}

/// How many tokens a daemon with this config uses.
pub fn tokens(config: &Config) -> u16 {
    Doors::slots_max(config) + CONTROL_SLOTS + config.senders.max(1)
}

/// The most messages that ever wait for one commit.
pub fn batch_max(config: &Config) -> usize {
    usize::from(tokens(config)) + 3
}

impl Daemon {
    /// A daemon on a recovered queue, with everything due. `doors` are the world's listeners in
    /// their order.
    pub fn new<W: World>(config: Config, queue: Queue, doors: &[Door], world: &mut W) -> Daemon {
        let mut daemon = Daemon {
            sessions: Slots::new(Doors::slots_max(&config), Session::new),
            controls: Slots::new(CONTROL_SLOTS, Control::new),
            import: Import::new(OWNER_IMPORT),
            forwarder: Forwarder::new(&config, OWNER_REPORTS),
            doors: Doors::new(&config),
            visitors: Visitors::default(),
            listeners: doors.iter().map(|door| (*door, true)).collect(),
            readiness: vec![Readiness::default(); tokens(&config).into()],
            verdicts: Vec::with_capacity(batch_max(&config)),
            recover_at: None,
            recover_wait: RECOVER_WAIT.0,
            drain_until: None,
            accept_again: None,
            is_volatile: false,
            confinement: Confinement::default(),
            owner: None,
            is_busy: true,
            first_served: 0,
            queue,
            config,
        };
        let now = world.now().instant;
        daemon.import.resume(&mut daemon.queue, world, now);
        daemon
    }

    /// The spool lies in memory: `status` says so.
    pub fn set_volatile(&mut self) {
        self.is_volatile = true;
    }

    /// What it has given up: `status` says so.
    pub fn set_confinement(&mut self, confinement: Confinement) {
        self.confinement = confinement;
    }

    /// The user it runs as, who may do what root may.
    pub fn set_owner(&mut self, uid: u32) {
        self.owner = Some(uid);
    }

    /// The queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The config in effect.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// HUP: routes, limits and times change at once. What is sized at the start stays as it was.
    pub fn reload(&mut self, mut config: Config) {
        config.sessions = self.config.sessions;
        config.senders = self.config.senders;
        config.spool.clone_from(&self.config.spool);
        config.run.clone_from(&self.config.run);
        config.keep_listeners(&self.config);
        if config.relays != self.config.relays || config.ca != self.config.ca {
            self.forwarder.outdate();
        }
        self.config = config;
        for index in 0..self.sessions.capacity() {
            if let Some((_, session)) = self.sessions.at(index) {
                session.reloaded();
            }
        }
        self.import.reloaded();
        self.queue.forget_batch_plans();
        self.forwarder.reload(&self.config, &mut self.queue);
        self.is_busy = true;
    }

    /// True when a drain is over: nothing is under way, or it has taken too long.
    pub fn is_finished(&self, now: Instant) -> bool {
        let Some(until) = self.drain_until else { return false };
        let is_answered = self.controls.iter().all(|(_, control)| control.is_quiet());
        let is_quiet = self.sessions.taken() == 0 && self.forwarder.is_quiet() && is_answered;
        (is_quiet && !self.queue.has_marks_waiting()) || now >= until
    }

    /// One turn. Gives the time of the next one, if nothing happens before.
    pub fn turn<W: World>(&mut self, world: &mut W, events: &[Event]) -> Option<Instant> {
        self.take(world, events);
        self.settle(world)
    }

    /// The first half of a turn: what came in is taken as far as it goes, what is due is started.
    pub fn take<W: World>(&mut self, world: &mut W, events: &[Event]) {
        let now = world.now();
        self.is_busy = false;
        self.take_events(world, events, now);
        self.accept(world, now);
        self.doors.attend(&mut self.sessions, &mut self.queue, &self.config, now.instant);
        self.serve_sessions(world, now);
        self.import(world, now);
        self.serve_controls(world, now);
        self.serve_senders(world, now);
        self.forward(world, now);
    }

    /// True when somebody who is served now might end a mail before the sync that is due, and so
    /// share it: then [`Daemon::take`] what has come meanwhile, a few times at most. Nobody who is
    /// alone is kept waiting for that.
    pub fn may_gather(&self) -> bool {
        let waiting = self.queue.batch_len();
        waiting > 0 && self.sessions.taken() > waiting
    }

    /// The second half of a turn: one sync for everything that has ended, and its replies. Gives
    /// the time of the next turn, if nothing happens before.
    pub fn settle<W: World>(&mut self, world: &mut W) -> Option<Instant> {
        let mut now = world.now();
        if self.commit(world, now) {
            now = world.now();
            self.deliver_verdicts(world, now);
            // Receipts are fresh mail: its senders need not wait for another turn.
            self.forward(world, now);
            // What has ended since, a pipelined message or a report, waits for the next commit.
            self.is_busy |= self.queue.batch_len() > 0;
        }
        self.recover(world, now);
        self.deadline(now.instant)
    }

    fn take_events<W: World>(&mut self, world: &mut W, events: &[Event], now: Now) {
        for event in events {
            match *event {
                Event::Listener(number) => {
                    if let Some((_, ready)) = self.listeners.get_mut(usize::from(number)) {
                        *ready = true;
                    }
                }
                Event::Socket { token, readable, writable, closed } => {
                    if let Some(known) = self.readiness.get_mut(usize::from(token.0)) {
                        known.readable |= readable || closed;
                        known.writable |= writable;
                        known.closed |= closed;
                    }
                }
                Event::Resolved { ticket, answer } => {
                    let Daemon { config, queue, forwarder, .. } = self;
                    let mut context = forwarder::Context { config, queue, world, now };
                    forwarder.resolved(ticket, answer, &mut context);
                }
                Event::MailResolved { ticket } => {
                    if let Some(answer) = world.mail_hosts(ticket) {
                        let Daemon { config, queue, forwarder, .. } = self;
                        let mut context = forwarder::Context { config, queue, world, now };
                        forwarder.mail_resolved(ticket, answer, &mut context);
                    }
                }
                Event::Unlocked { ticket } => self.forwarder.ask_again(ticket),
                Event::Network => self.forwarder.network_changed(now.instant),
                Event::Drop => self.import.look(),
                Event::Drain => {
                    self.drain_until.get_or_insert(now.instant + DRAIN_MAX);
                    self.forwarder.drain();
                    self.queue.hurry();
                }
                Event::Flush => self.forwarder.flush(&mut self.queue),
                // The caller reads the file and calls `reload`.
                Event::Reload => {}
            }
        }
    }

    fn accept<W: World>(&mut self, world: &mut W, now: Now) {
        if self.drain_until.is_some() {
            // Nobody shall wait in a backlog that will not be looked at again. The administrator
            // is answered until the end.
            let is_control = |(door, _): &(Door, bool)| *door == Door::Control;
            world.stop_listening(self.listeners.iter().position(is_control).map(|at| at as u8));
        }
        if self.accept_again.is_some_and(|again| now.instant < again) {
            return;
        }
        self.accept_again = None;
        let mut left = ACCEPT_MAX;
        for number in 0..self.listeners.len() {
            while let Some((door, true)) = self.listeners.get(number).copied() {
                if left == 0 {
                    self.is_busy = true;
                    return;
                }
                left -= 1;
                let token = match door {
                    Door::Control => self.free_control(),
                    _ if self.drain_until.is_some() => None,
                    Door::Smtp(_) if !self.doors.is_open() => None,
                    Door::Smtp(_) | Door::Submit => self.free_session(door),
                };
                let Some(token) = token else { break };
                if !self.accept_one(world, number as u8, door, token, now) {
                    if self.accept_again.is_some() {
                        return;
                    }
                    if let Some((_, ready)) = self.listeners.get_mut(number) {
                        *ready = false;
                    }
                }
            }
        }
    }

    /// The token of a session slot that may be taken through `door`.
    fn free_session(&mut self, door: Door) -> Option<Token> {
        // The spare slot is for a stranger; a local program finds the kept ones.
        let spare = u16::from(door == Door::Submit);
        let taken = self.sessions.taken() as u16;
        (taken + spare < self.sessions.capacity()).then_some(())?;
        // Whoever has an account here must not be able to shut out the network.
        let is_local = |(_, session): &(u16, &Session)| matches!(session.peer(), Peer::Unix { .. });
        let most = usize::from(self.sessions.capacity() / 2);
        if door == Door::Submit && self.sessions.iter().filter(is_local).count() >= most {
            return None;
        }
        let index = (0..self.sessions.capacity()).find(|at| self.sessions.at(*at).is_none())?;
        Some(Token(index))
    }

    fn free_control(&mut self) -> Option<Token> {
        let index = (0..self.controls.capacity()).find(|at| self.controls.at(*at).is_none())?;
        Some(Token(self.sessions.capacity() + index))
    }

    /// False: nobody waits any more.
    fn accept_one<W: World>(
        &mut self,
        world: &mut W,
        listener: u8,
        door: Door,
        token: Token,
        now: Now,
    ) -> bool {
        let peer = match world.accept(listener, token) {
            Accepted::Peer(peer) => peer,
            Accepted::Nothing => return false,
            Accepted::Exhausted => {
                // A freed slot, or time, will help; the listener stays marked as ready.
                log::warn!("no descriptors left to take a connection with");
                self.accept_again = Some(now.instant + ACCEPT_PAUSE);
                return false;
            }
        };
        if let Some(known) = self.readiness.get_mut(usize::from(token.0)) {
            // A device that does not wait for the greeting may have spoken already.
            *known = Readiness { readable: true, writable: true, closed: false };
        }
        if door == Door::Control {
            let first = self.sessions.capacity();
            if let Some((_, control)) = self.controls.take(|index| first + index == token.0) {
                control.open(now.instant);
            }
            return true;
        }
        let admission = match peer {
            Peer::Tcp(address) => Admission::new(&self.config, self.config.client(address.ip())),
            Peer::Unix { uid } => {
                let runs_this = uid == 0 || self.owner == Some(uid);
                Admission::local(&self.config, runs_this)
            }
        };
        let Some((handle, session)) = self.sessions.take(|index| index == token.0) else {
            return true;
        };
        let admission = admission.within(&self.queue);
        let listener = if let Door::Smtp(listener) = door { listener } else { 0 };
        session.open(peer, listener, admission, owner(handle), now.instant);
        if let Peer::Tcp(_) = peer {
            session.offer_login(mechanisms(&self.config, listener, world));
        }
        if is_beyond_its_number(handle.index, &self.sessions) {
            // Who has just hung up and comes again shall not be counted twice.
            for index in 0..self.sessions.capacity() {
                if self.readiness.get(usize::from(index)).is_some_and(|known| known.closed) {
                    self.serve_session(index, world, now);
                }
            }
        }
        let Daemon { config, queue, sessions, .. } = self;
        self.doors.enter(handle, sessions, queue, config, now.instant);
        if self.sessions.get(handle).is_some_and(|session| session.stand() == Stand::Closing) {
            // Who is turned away goes at once: others stand behind him.
            self.serve_session(handle.index, world, now);
        }
        true
    }

    fn import<W: World>(&mut self, world: &mut W, now: Now) {
        if self.drain_until.is_some() || self.queue.is_broken() {
            return;
        }
        let Daemon { config, queue, forwarder, import, visitors, .. } = self;
        let lookout = Routes { config, forwarder };
        let disk = world;
        let mut context =
            session::Context { config, queue, disk, lookout: &lookout, visitors, now };
        import.proceed(&mut context);
        if import.take_released() {
            self.forwarder.look();
        }
    }

    /// Starts what is due, and serves the slots that it concerns.
    fn forward<W: World>(&mut self, world: &mut W, now: Now) {
        let Daemon { config, queue, forwarder, .. } = self;
        if forwarder.looks_at_network(now.instant) && Resolver::has_changed(world) {
            forwarder.network_changed(now.instant);
        }
        let mut context = forwarder::Context { config, queue, world, now };
        forwarder.schedule(&mut context);
        for slot in 0..self.forwarder.slots() {
            self.serve_sender(slot, world, now);
        }
    }

    /// The turn's one sync; true if it has brought verdicts.
    fn commit<W: World>(&mut self, world: &mut W, now: Now) -> bool {
        let Daemon { queue, verdicts, .. } = self;
        if self.drain_until.is_some() {
            queue.hurry();
        }
        if now.unix.trusted {
            queue.note_wall(now.unix.seconds);
        }
        queue.commit(world, now.instant, |owner, verdict| verdicts.push((owner, verdict)));
        !self.verdicts.is_empty()
    }

    fn deliver_verdicts<W: World>(&mut self, world: &mut W, now: Now) {
        let mut verdicts = core::mem::take(&mut self.verdicts);
        for (owner, verdict) in verdicts.drain(..) {
            let Daemon { config, queue, forwarder, import, sessions, .. } = self;
            if owner >= OWNER_REPORTS {
                let mut context = forwarder::Context { config, queue, world, now };
                forwarder.committed(owner, verdict, &mut context);
                continue;
            }
            if owner == OWNER_IMPORT {
                import.committed(verdict, queue, world, now);
            } else if let Some(session) = sessions.get(handle(owner)) {
                session.committed(verdict, now.instant);
            }
            if let Ok(receipt) = verdict {
                let mut context = forwarder::Context { config, queue, world, now };
                forwarder.fresh(receipt.ticket(), &mut context);
            }
            if owner < OWNER_IMPORT {
                self.serve_session(handle(owner).index, world, now);
            }
        }
        // The vector's memory is kept: nothing is allocated in the next turn.
        self.verdicts = verdicts;
    }

    /// After a failed sync: everything that was open is over, and the queue is read from the medium
    /// again.
    fn recover<W: World>(&mut self, world: &mut W, now: Now) {
        if !self.queue.is_broken() {
            return;
        }
        let Some(at) = self.recover_at else {
            log::error!("the spool cannot be written; mail is answered 451 until it can");
            for index in 0..self.sessions.capacity() {
                if let Some((_, session)) = self.sessions.at(index) {
                    session.queue_broke();
                }
            }
            self.import.queue_broke(now.instant);
            self.recover_at = Some(now.instant + self.recover_wait);
            return;
        };
        if now.instant < at {
            return;
        }
        match recover(world, now.instant, batch_max(&self.config), Some(&self.queue)) {
            Ok((queue, found)) => {
                self.queue = queue;
                self.recover_at = None;
                self.recover_wait = RECOVER_WAIT.0;
                self.import.resume(&mut self.queue, world, now.instant);
                self.forwarder.flush(&mut self.queue);
                log_found(&found);
                log::warn!("the spool can be written again");
            }
            Err(error) => {
                self.recover_wait = (self.recover_wait * 2).min(RECOVER_WAIT.1);
                self.recover_at = Some(now.instant + self.recover_wait);
                log_unrecovered(error);
            }
        }
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.is_busy {
            return Some(now);
        }
        let sessions = self.sessions.iter();
        let sessions = sessions.filter_map(|(_, session)| session.deadline(&self.config)).min();
        let controls = self.controls.iter().filter_map(|(_, control)| control.deadline()).min();
        let queue = earliest(self.queue.deadline(), self.recover_at);
        let import = if self.queue.is_broken() { None } else { self.import.deadline(now) };
        let import = if self.drain_until.is_some() { self.drain_until } else { import };
        let own = earliest(earliest(sessions, controls), earliest(queue, import));
        let doors = earliest(self.doors.deadline(now), self.accept_again);
        earliest(earliest(own, doors), self.forwarder.deadline(&self.queue, now))
    }
}

/// What the batch knows a session by; below [`OWNER_IMPORT`].
fn owner(handle: Handle) -> u32 {
    u32::from(handle.generation) << 16 | u32::from(handle.index)
}

fn handle(owner: u32) -> Handle {
    Handle { index: owner as u16, generation: (owner >> 16) as u16 }
}

/// What a recovery found: a line, and one more for each thing that somebody should know.
pub fn log_found(found: &Found) {
    let Found { messages, damaged, dropped, blind_groups, epoch, .. } = *found;
    log::info!("spool: {messages} messages are whole, epoch {epoch}");
    if dropped > 0 {
        log::info!("spool: dropped {dropped} that nobody had been told 250 for, or that were over");
    }
    if damaged > 0 {
        log::error!(
            "spool: {damaged} messages are damaged or cannot be read; they are kept: 'mote queue \
             ls' has their ids, 'queue rm' removes them"
        );
    }
    if blind_groups > 0 {
        log::error!(
            "spool: {blind_groups} times both copies of a state page are lost: the messages they \
             spoke of are on hold, and may have been delivered; 'mote queue release' sends them"
        );
    }
}

fn log_unrecovered(error: RecoverError) {
    log::error!("the spool cannot be read back: {error:?}");
}

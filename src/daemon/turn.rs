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
//! When a sync has failed the queue is recovered, with a back-off, while committed mail goes on being
//! delivered (I11).

use super::control::{Admin, Control};
use super::doors::Doors;
use super::world::{Accepted, Event, Peer, Token, Transfer, World};
use crate::base::slots::{Handle, Slots};
use crate::base::time::{Instant, Now, earliest};
use crate::config::Config;
use crate::intake::Lookout;
use crate::intake::admission::Admission;
use crate::intake::import::Import;
use crate::intake::session::{self, Session};
use crate::limits::{CONTROL_SLOTS, REPLY_BYTES_MAX, TURN_BYTES_MAX};
use crate::mail::address::Address;
use crate::queue::recovery::{Found, RecoverError, recover};
use crate::queue::{NotDurable, Queue, Receipt};
use crate::relay::forwarder::{self, Forwarder, Request};
use crate::relay::sender;
use crate::smtp::reply::Reply;
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
    /// SMTP over TCP.
    Smtp,
    /// SMTP for local programs.
    Submit,
    /// The administrator.
    Control,
}

/// What is known of a socket's readiness since it was last used up.
#[derive(Clone, Copy, Default)]
struct Readiness {
    readable: bool,
    writable: bool,
    closed: bool,
}

/// See the module's head.
pub struct Daemon {
    config: Config,
    queue: Queue,
    sessions: Slots<Session>,
    controls: Slots<Control>,
    import: Import,
    forwarder: Forwarder,
    doors: Doors,
    listeners: Vec<(Door, bool)>,
    readiness: Vec<Readiness>,
    verdicts: Vec<(u32, Result<Receipt, NotDurable>)>,
    recover_at: Option<Instant>,
    recover_wait: Duration,
    drain_until: Option<Instant>,
    /// The system has no descriptors left: not before that time.
    accept_again: Option<Instant>,
    /// Somebody could go on at once.
    is_busy: bool,
}

/// How many tokens a daemon with this config uses.
pub fn tokens(config: &Config) -> u16 {
    Doors::slots_max(config) + CONTROL_SLOTS + config.senders.max(1)
}

/// The most messages that ever wait for one commit.
pub fn batch_max(config: &Config) -> usize {
    usize::from(tokens(config)) + 2
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
            listeners: doors.iter().map(|door| (*door, true)).collect(),
            readiness: vec![Readiness::default(); tokens(&config).into()],
            verdicts: Vec::with_capacity(batch_max(&config)),
            recover_at: None,
            recover_wait: RECOVER_WAIT.0,
            drain_until: None,
            accept_again: None,
            is_busy: true,
            queue,
            config,
        };
        let now = world.now().instant;
        daemon.import.resume(&mut daemon.queue, world, now);
        daemon
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
        config.listen.clone_from(&self.config.listen);
        self.config = config;
        self.forwarder.reload(&self.config, &mut self.queue);
        self.is_busy = true;
    }

    /// True when a drain is over: nothing is under way, or it has taken too long.
    pub fn is_finished(&self, now: Instant) -> bool {
        let Some(until) = self.drain_until else { return false };
        let is_quiet = self.sessions.taken() == 0 && self.forwarder.is_quiet();
        (is_quiet && self.queue.deadline().is_none()) || now >= until
    }

    /// One turn. Gives the time of the next one, if nothing happens before.
    pub fn turn<W: World>(&mut self, world: &mut W, events: &[Event]) -> Option<Instant> {
        let mut now = world.now();
        self.is_busy = false;
        self.take_events(events, now);
        self.accept(world, now);
        self.doors.attend(&mut self.sessions, &mut self.queue, &self.config, now.instant);
        self.serve_sessions(world, now);
        self.import(world, now);
        self.serve_controls(world, now);
        self.serve_senders(world, now);
        self.forward(world, now);
        if self.commit(world, now) {
            now = world.now();
            self.deliver_verdicts(world, now);
            // Receipts are fresh mail: its senders need not wait for another turn.
            self.forward(world, now);
        }
        self.recover(world, now);
        self.deadline(now.instant)
    }

    fn take_events(&mut self, events: &[Event], now: Now) {
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
                    self.forwarder.resolved(ticket, answer, &self.config, now.instant);
                }
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
        let is_pause = self.accept_again.is_some_and(|again| now.instant < again);
        if self.drain_until.is_some() || is_pause {
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
                    Door::Smtp if !self.doors.is_open() => None,
                    Door::Smtp | Door::Submit => self.free_session(door),
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
        let config = &self.config;
        if door == Door::Control {
            let first = self.sessions.capacity();
            if let Some((_, control)) = self.controls.take(|index| first + index == token.0) {
                control.open(now.instant);
            }
            return true;
        }
        let admission = match peer {
            Peer::Tcp(address) => Admission::new(config, config.client(address.ip())),
            Peer::Unix { .. } => Admission::local(config),
        };
        let Some((handle, session)) = self.sessions.take(|index| index == token.0) else {
            return true;
        };
        session.open(peer, admission, owner(handle), now.instant);
        self.doors.enter(handle, &mut self.sessions, config, now.instant);
        true
    }

    fn serve_sessions<W: World>(&mut self, world: &mut W, now: Now) {
        for index in 0..self.sessions.capacity() {
            let Some((_, session)) = self.sessions.at(index) else { continue };
            if self.drain_until.is_some() && session.is_between_mails() {
                session.dismiss(Reply::SHUTTING_DOWN, &mut self.queue);
            }
            let deadline = session.deadline(&self.config);
            if deadline.is_some_and(|deadline| now.instant >= deadline) {
                // What has come meanwhile counts: it is looked at before the deadline is judged.
                self.serve_session(index, world, now);
                if let Some((_, session)) = self.sessions.at(index) {
                    session.timed_out(&self.config, &mut self.queue, now.instant);
                }
            }
            self.serve_session(index, world, now);
        }
    }

    /// Moves bytes both ways until one side has no more to give.
    fn serve_session<W: World>(&mut self, index: u16, world: &mut W, now: Now) {
        let Daemon { sessions, readiness, queue, config, forwarder, .. } = self;
        let Some((_, session)) = sessions.at(index) else { return };
        let Some(known) = readiness.get_mut(usize::from(index)) else { return };
        let token = Token(index);
        let mut budget = TURN_BYTES_MAX;
        loop {
            let mut has_moved = false;
            if known.readable && session.wants_read() {
                if budget == 0 {
                    self.is_busy = true;
                    break;
                }
                has_moved = true;
                let room = session.input_mut();
                let size = room.len();
                match world.receive(token, room) {
                    Transfer::Bytes(count) => {
                        session.received(count, now.instant);
                        budget = budget.saturating_sub(count);
                        // A short read has used up what was there; the next bytes are an event.
                        known.readable = count == size || known.closed;
                    }
                    Transfer::NotReady => known.readable = false,
                    Transfer::Closed | Transfer::Failed(_) => {
                        session.deserted();
                        known.readable = false;
                    }
                }
            }
            let lookout = Routes { config, forwarder };
            let mut context =
                session::Context { config, queue, disk: world, lookout: &lookout, now };
            session.proceed(&mut context);
            let more_to_read = known.readable && session.wants_read();
            let is_full = session.output().len() >= REPLY_BYTES_MAX;
            let has_output = !session.output().is_empty();
            // One write a batch of replies: not while more commands of it are at hand.
            if has_output && known.writable && (is_full || !more_to_read) {
                match world.send(token, session.output()) {
                    Transfer::Bytes(count) => {
                        has_moved = true;
                        known.writable = count == session.output().len();
                        session.sent(count, now.instant);
                    }
                    Transfer::NotReady => {
                        known.writable = false;
                        session.sent(0, now.instant);
                    }
                    Transfer::Closed | Transfer::Failed(_) => {
                        known.writable = false;
                        session.deserted();
                    }
                }
            }
            if !has_moved {
                break;
            }
        }
        if session.is_over() {
            session.close(queue);
            world.close(token);
            sessions.free(index);
            // Whoever waits outside may come in at once.
            self.is_busy = true;
        }
    }

    fn import<W: World>(&mut self, world: &mut W, now: Now) {
        if self.drain_until.is_some() || self.queue.is_broken() {
            return;
        }
        let Daemon { config, queue, forwarder, import, .. } = self;
        let lookout = Routes { config, forwarder };
        let mut context = session::Context { config, queue, disk: world, lookout: &lookout, now };
        import.proceed(&mut context);
        if import.take_released() {
            self.forwarder.look();
        }
    }

    fn serve_controls<W: World>(&mut self, world: &mut W, now: Now) {
        let first = self.sessions.capacity();
        for index in 0..self.controls.capacity() {
            let Some((_, control)) = self.controls.at(index) else { continue };
            let token = Token(first + index);
            let Some(known) = self.readiness.get_mut(usize::from(token.0)) else { continue };
            loop {
                let mut has_moved = false;
                if known.readable && control.wants_read() {
                    match world.receive(token, control.input_mut()) {
                        Transfer::Bytes(count) => {
                            control.received(count);
                            has_moved = true;
                        }
                        Transfer::NotReady => known.readable = false,
                        Transfer::Closed | Transfer::Failed(_) => {
                            control.deserted();
                            known.readable = false;
                        }
                    }
                }
                let mut admin = Admin {
                    config: &self.config,
                    queue: &mut self.queue,
                    forwarder: &mut self.forwarder,
                    disk: world,
                    now,
                    sessions: (self.sessions.taken() as u16, self.config.sessions),
                };
                has_moved |= control.proceed(&mut admin);
                if known.writable && !control.output().is_empty() {
                    match world.send(token, control.output()) {
                        Transfer::Bytes(count) => {
                            control.sent(count, now.instant);
                            has_moved = true;
                        }
                        Transfer::NotReady => known.writable = false,
                        Transfer::Closed | Transfer::Failed(_) => control.deserted(),
                    }
                }
                if !has_moved {
                    break;
                }
            }
            if control.is_over(now.instant) {
                world.close(token);
                self.controls.free(index);
            }
        }
    }

    fn serve_senders<W: World>(&mut self, world: &mut W, now: Now) {
        for slot in 0..self.forwarder.slots() {
            self.serve_sender(slot, world, now);
        }
    }

    /// Carries out what the slot asks for, then moves bytes both ways.
    fn serve_sender<W: World>(&mut self, slot: usize, world: &mut W, now: Now) {
        let token = self.sender_token(slot);
        self.carry_out(slot, token, world, now);
        let Daemon { config, queue, forwarder, readiness, .. } = self;
        let Some(known) = readiness.get_mut(usize::from(token.0)) else { return };
        let mut budget = TURN_BYTES_MAX;
        loop {
            let Some(sender) = forwarder.sender(slot) else { return };
            if sender.state == sender::State::AwaitConnection && known.writable {
                // Writable: the connect is over, and reading tells how it went.
                match world.receive(token, sender.input_mut()) {
                    Transfer::Failed(error) => {
                        forwarder.connect_failed(slot, error, config, now.instant);
                        self.is_busy = true;
                        return;
                    }
                    Transfer::Bytes(count) => {
                        forwarder.connected(slot, config, now.instant);
                        if let Some(sender) = forwarder.sender(slot) {
                            sender.received(count);
                        }
                    }
                    Transfer::NotReady => {
                        known.readable = false;
                        forwarder.connected(slot, config, now.instant);
                    }
                    Transfer::Closed => {
                        forwarder.connected(slot, config, now.instant);
                        if let Some(sender) = forwarder.sender(slot) {
                            sender.closed();
                        }
                    }
                }
                continue;
            }
            let mut has_moved = false;
            if known.readable && sender.wants_read() {
                let room = sender.input_mut();
                let size = room.len();
                has_moved = true;
                match world.receive(token, room) {
                    Transfer::Bytes(count) => {
                        sender.received(count);
                        known.readable = count == size || known.closed;
                    }
                    Transfer::NotReady => known.readable = false,
                    Transfer::Closed | Transfer::Failed(_) => {
                        sender.closed();
                        known.readable = false;
                    }
                }
            }
            let mut context = forwarder::Context { config, queue, world, now };
            forwarder.proceed(slot, &mut context);
            let Some(sender) = forwarder.sender(slot) else { return };
            if known.writable && sender.state == sender::State::Talking {
                let output = sender.output();
                if !output.is_empty() {
                    if budget == 0 {
                        self.is_busy = true;
                        break;
                    }
                    match world.send(token, output) {
                        Transfer::Bytes(count) => {
                            has_moved = true;
                            known.writable = count == output.len();
                            budget = budget.saturating_sub(count);
                            sender.sent(count, now.instant);
                        }
                        Transfer::NotReady => known.writable = false,
                        Transfer::Closed | Transfer::Failed(_) => {
                            known.writable = false;
                            sender.closed();
                            has_moved = true;
                        }
                    }
                }
            }
            if !has_moved {
                break;
            }
        }
        self.carry_out(slot, token, world, now);
    }

    fn sender_token(&self, slot: usize) -> Token {
        Token(self.sessions.capacity() + CONTROL_SLOTS + slot as u16)
    }

    /// Does what a sending slot has asked for.
    fn carry_out<W: World>(&mut self, slot: usize, token: Token, world: &mut W, now: Now) {
        while let Some(request) = self.forwarder.take_request(slot) {
            match request {
                Request::Resolve { ticket } => {
                    let Some((host, _)) = self.forwarder.host(slot) else { return };
                    if !world.resolve(ticket, host) {
                        self.forwarder.postpone(slot, request);
                        return;
                    }
                }
                Request::Connect(address) => {
                    world.close(token);
                    if let Some(known) = self.readiness.get_mut(usize::from(token.0)) {
                        *known = Readiness::default();
                    }
                    if let Err(error) = world.connect(token, address) {
                        let config = &self.config;
                        self.forwarder.connect_failed(slot, error, config, now.instant);
                    }
                }
                Request::Close => world.close(token),
            }
        }
    }

    /// Starts what is due, and serves the slots that it concerns.
    fn forward<W: World>(&mut self, world: &mut W, now: Now) {
        let Daemon { config, queue, forwarder, .. } = self;
        let mut context = forwarder::Context { config, queue, world, now };
        forwarder.schedule(&mut context);
        for slot in 0..self.forwarder.slots() {
            self.serve_sender(slot, world, now);
        }
    }

    /// The turn's one sync; true if it has brought verdicts.
    fn commit<W: World>(&mut self, world: &mut W, now: Now) -> bool {
        let Daemon { queue, verdicts, .. } = self;
        if now.unix.trusted {
            queue.note_wall(now.unix.seconds);
        }
        queue.commit(world, now.instant, |owner, verdict| verdicts.push((owner, verdict)));
        !self.verdicts.is_empty()
    }

    fn deliver_verdicts<W: World>(&mut self, world: &mut W, now: Now) {
        let mut verdicts = core::mem::take(&mut self.verdicts);
        for (owner, verdict) in verdicts.drain(..) {
            let expire = self.config.expire.as_secs();
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
                forwarder.fresh(receipt.ticket(), expire, &mut context);
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
        // What was finished after the turn's commit is for the next one, which is due at once.
        if self.is_busy || self.queue.batch_len() > 0 {
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

/// Where a recipient's mail will go, for the intake.
struct Routes<'a> {
    config: &'a Config,
    forwarder: &'a Forwarder,
}

impl Lookout for Routes<'_> {
    fn lanes(&self, recipient: Address<'_>) -> u32 {
        self.forwarder.lanes_of(self.config, recipient)
    }
}

/// What the batch knows a session by; below [`OWNER_IMPORT`].
fn owner(handle: Handle) -> u32 {
    u32::from(handle.generation) << 16 | u32::from(handle.index)
}

fn handle(owner: u32) -> Handle {
    Handle { index: owner as u16, generation: (owner >> 16) as u16 }
}

/// What a recovery found, one line.
pub fn log_found(found: &Found) {
    let Found { messages, damaged, dropped, blind_groups, epoch, .. } = *found;
    log::info!("spool: {messages} messages, opened for the {epoch}. time");
    if dropped > 0 {
        log::info!("spool: dropped {dropped} messages that had not been acknowledged");
    }
    if damaged > 0 || blind_groups > 0 {
        log::error!(
            "spool: {damaged} messages damaged, {blind_groups} groups without their state; held"
        );
    }
}

fn log_unrecovered(error: RecoverError) {
    log::error!("the spool cannot be read back: {error:?}");
}

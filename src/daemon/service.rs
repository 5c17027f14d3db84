//! Moving bytes: between each socket and the machine behind it, until one side has no more to give.
//!
//! Part of the daemon's turn. A read that was not full has used up what was there, the next bytes
//! are an event; a batch of replies is one write; nobody moves more than
//! [`TURN_BYTES_MAX`] before the others get their turn.

use super::control::{Admin, Circumstances};
use super::turn::{Daemon, Readiness};
use super::world::{NetError, NetWords, NextHop, Side, Token, Transfer, World};
use crate::base::buffer::Emptiness;
use crate::base::time::Now;
use crate::config::{Config, ListenerTls, Scheme};
use crate::intake::Lookout;
use crate::intake::peer::Peer;
use crate::intake::session::{self, Session};
use crate::limits::{CONTROL_SLOTS, REPLY_BYTES_MAX, TURN_BYTES_MAX};
use crate::mail::aliases::Addressee;
use crate::queue::Queue;
use crate::relay::forwarder::{self, Forwarder, Request};
use crate::relay::keyring::Unlock;
use crate::relay::network::TlsPeer;
use crate::relay::sender::{self, Sender};
use crate::smtp::reply::Reply;
use core::net::{IpAddr, Ipv4Addr};

impl Daemon {
    pub(super) fn serve_sessions<W: World>(&mut self, world: &mut W, now: Now) {
        let capacity = self.sessions.capacity();
        for index in (self.first_served..capacity).chain(0..self.first_served) {
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
        // A password waits to be checked, and shall not wait for ever behind those of others.
        let is_awaited = self.visitors.throttle.end_turn();
        self.is_busy |= is_awaited;
        self.first_served = if is_awaited { (self.first_served + 1) % capacity.max(1) } else { 0 };
    }

    /// Moves bytes both ways until one side has no more to give.
    pub(super) fn serve_session<W: World>(&mut self, index: u16, world: &mut W, now: Now) {
        let Daemon { sessions, readiness, queue, config, forwarder, visitors, doors, .. } = self;
        let Some((handle, session)) = sessions.at(index) else { return };
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
                budget = budget.saturating_sub(read(session, token, known, world, now));
                advance_tls(session, token, known, config, world, now);
            }
            let lookout = Routes { config, forwarder };
            let mut context =
                session::Context { config, queue, disk: world, lookout: &lookout, visitors, now };
            session.proceed(&mut context);
            let more_to_read = known.readable && session.wants_read();
            let is_full = session.output().len() >= REPLY_BYTES_MAX;
            let has_output = !session.output().is_empty();
            // One write a batch of replies: not while more commands of it are at hand.
            if has_output && known.writable && (is_full || !more_to_read) {
                has_moved |= write(session, token, known, world, now);
            }
            if let Some(proof) = session.begins_tls() {
                begin_tls(session, token, proof, config, world);
                has_moved = true;
            }
            if !has_moved {
                break;
            }
        }
        session.tell(&mut visitors.devices, now.instant);
        if doors.is_open_to(handle) && session.take_new_face() {
            doors.enter(handle, sessions, queue, config, now.instant);
            // What stands behind the words that told is looked at in the next turn.
            self.is_busy = true;
            return;
        }
        if self.drain_until.is_some() && session.is_between_mails() {
            // Its mail has just ended: the next turn takes leave of it.
            self.is_busy = true;
        }
        if session.is_over() {
            session.close(queue);
            world.close(token);
            sessions.free(index);
            // Whoever waits outside may come in at once.
            self.is_busy = true;
        }
    }

    pub(super) fn serve_controls<W: World>(&mut self, world: &mut W, now: Now) {
        let first = self.sessions.capacity();
        for index in 0..self.controls.capacity() {
            let Some((_, control)) = self.controls.at(index) else { continue };
            let token = Token(first + index);
            let Some(known) = self.readiness.get_mut(usize::from(token.0)) else { continue };
            let mut budget = TURN_BYTES_MAX;
            loop {
                let mut has_moved = false;
                let mut rejected = 0;
                if known.readable && control.wants_read() {
                    match world.receive(token, control.input_mut()) {
                        Transfer::Bytes(count) => {
                            control.received(count);
                            has_moved = true;
                            rejected = world.rejected_drops();
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
                    circumstances: Circumstances {
                        is_volatile: self.is_volatile,
                        is_stopping: self.drain_until.is_some(),
                        rejected,
                        confinement: self.confinement,
                    },
                    devices: &self.visitors.devices,
                };
                has_moved |= control.proceed(&mut admin);
                if known.writable && !control.output().is_empty() {
                    if budget == 0 {
                        self.is_busy = true;
                        break;
                    }
                    match world.send(token, control.output()) {
                        Transfer::Bytes(count) => {
                            budget = budget.saturating_sub(count);
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
            // This turn's commit decides; the next one tells.
            self.is_busy |= control.awaits_commit();
            if control.is_over(now.instant) {
                world.close(token);
                self.controls.free(index);
                // Whoever waits outside may come in at once.
                self.is_busy = true;
            }
        }
    }

    pub(super) fn serve_senders<W: World>(&mut self, world: &mut W, now: Now) {
        for slot in 0..self.forwarder.slots() {
            self.serve_sender(slot, world, now);
        }
    }

    /// Carries out what the slot asks for, then moves bytes both ways.
    pub(super) fn serve_sender<W: World>(&mut self, slot: usize, world: &mut W, now: Now) {
        let token = self.sender_token(slot);
        self.carry_out(slot, token, world, now);
        self.finish_connect(slot, token, world, now);
        let Daemon { config, queue, forwarder, readiness, .. } = self;
        let Some(known) = readiness.get_mut(usize::from(token.0)) else { return };
        let mut budget = TURN_BYTES_MAX;
        loop {
            // A next hop that talks without end has its share like everybody else (threats 25).
            if budget == 0 {
                self.is_busy = true;
                break;
            }
            let Some(sender) = forwarder.sender(slot) else { return };
            let mut has_moved = false;
            if known.readable && sender.wants_read() {
                let room = sender.input_mut();
                let size = room.len();
                has_moved = true;
                match world.receive(token, room) {
                    Transfer::Bytes(count) => {
                        budget = budget.saturating_sub(count);
                        sender.received(count);
                        known.readable = count == size || known.closed;
                    }
                    Transfer::NotReady => known.readable = false,
                    Transfer::Closed | Transfer::Failed(_) => {
                        lose(sender, token, world);
                        known.readable = false;
                    }
                }
                if sender.is_securing()
                    && let Some(protection) = world.protection(token)
                {
                    forwarder.secured(slot, protection, config, now.instant);
                    // What came behind the handshake was read off the socket, and is no event.
                    (known.readable, known.writable) = (true, true);
                }
            }
            let mut context = forwarder::Context { config, queue, world, now };
            forwarder.proceed(slot, &mut context);
            has_moved |= begin_next_hops_tls(slot, token, forwarder, config, queue, world, now);
            let Some(sender) = forwarder.sender(slot) else { return };
            if known.writable && sender.state == sender::State::Talking {
                let output = sender.output();
                if !output.is_empty() {
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
                            lose(sender, token, world);
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

    /// Writable for the first time: the connect is over, and reading tells how it went.
    fn finish_connect<W: World>(&mut self, slot: usize, token: Token, world: &mut W, now: Now) {
        let Daemon { config, queue, forwarder, readiness, .. } = self;
        let Some(known) = readiness.get_mut(usize::from(token.0)) else { return };
        let Some(sender) = forwarder.sender(slot) else { return };
        if sender.state != sender::State::AwaitConnection || !known.writable {
            return;
        }
        let room = sender.connecting_mut();
        let size = room.len();
        let transfer = world.receive(token, room);
        if let Transfer::Failed(error) = transfer {
            let mut context = forwarder::Context { config, queue, world, now };
            forwarder.connect_failed(slot, error, &mut context);
            self.is_busy = true;
            return;
        }
        forwarder.connected(slot, config, now.instant);
        let Some(sender) = forwarder.sender(slot) else { return };
        match transfer {
            Transfer::Bytes(count) => {
                sender.received(count);
                known.readable = count == size || known.closed;
            }
            Transfer::Closed => sender.closed(),
            Transfer::NotReady | Transfer::Failed(_) => known.readable = false,
        }
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
                Request::ResolveMail { ticket } => {
                    let Some((domain, _)) = self.forwarder.host(slot) else { return };
                    if !world.resolve_mail(ticket, domain) {
                        self.forwarder.postpone(slot, request);
                        return;
                    }
                }
                Request::Unlock { ticket } => {
                    let Daemon { config, queue, forwarder, .. } = self;
                    let unlocked = match forwarder.key(slot, config) {
                        Some(source) => world.unlock(ticket, source),
                        None => Unlock::Ready,
                    };
                    let mut context = forwarder::Context { config, queue, world, now };
                    match unlocked {
                        Unlock::Ready => forwarder.unlocked(slot),
                        Unlock::Pending => return,
                        Unlock::Failed(words) => {
                            forwarder.locked(slot, words.as_str(), &mut context)
                        }
                    }
                }
                Request::Connect(address) => {
                    world.close(token);
                    if let Some(known) = self.readiness.get_mut(usize::from(token.0)) {
                        *known = Readiness::default();
                    }
                    if let Err(error) = world.connect(token, address) {
                        let Daemon { config, queue, forwarder, .. } = self;
                        let mut context = forwarder::Context { config, queue, world, now };
                        forwarder.connect_failed(slot, error, &mut context);
                    }
                }
                Request::Close => world.close(token),
            }
        }
    }
}

/// The next hop has closed, or the connection is broken.
fn lose<W: World>(sender: &mut Sender, token: Token, world: &mut W) {
    match world.tls_trouble(token) {
        Some(words) => sender.tls_failed(words),
        None => sender.closed(),
    }
}

/// Begins TLS with a next hop, if it is time; true if so.
fn begin_next_hops_tls<W: World>(
    slot: usize,
    token: Token,
    forwarder: &mut Forwarder,
    config: &Config,
    queue: &Queue,
    world: &mut W,
    now: Now,
) -> bool {
    let Some(proof) = forwarder.sender(slot).and_then(Sender::begins_tls) else { return false };
    let begun = match forwarder.peer(slot, config) {
        Some(TlsPeer { name, address, relay }) => {
            let next_hop = NextHop {
                name,
                address,
                is_implicit: relay.is_some_and(|relay| relay.scheme == Scheme::Smtps),
                terms: relay.map(|relay| &relay.tls),
                ca: config.ca.as_deref(),
                time: queue.not_before(now.unix),
            };
            world.secure(token, Side::Client(next_hop), proof)
        }
        None => Err(NetWords::from("is no longer in the config")),
    };
    if let (Err(words), Some(sender)) = (begun, forwarder.sender(slot)) {
        sender.tls_failed(words);
    }
    true
}

/// Reads once; how many bytes it gave.
fn read<W: World>(
    session: &mut Session,
    token: Token,
    known: &mut Readiness,
    world: &mut W,
    now: Now,
) -> usize {
    let room = session.input_mut();
    let size = room.len();
    match world.receive(token, room) {
        Transfer::Bytes(count) => {
            session.received(count, now.instant);
            // A short read has used up what was there; the next bytes are an event.
            known.readable = count == size || known.closed;
            return count;
        }
        Transfer::NotReady => known.readable = false,
        Transfer::Failed(NetError::NotTls) => session.missed_tls(),
        Transfer::Closed | Transfer::Failed(_) => {
            session.deserted();
            known.readable = false;
        }
    }
    0
}

fn begin_tls<W: World>(
    session: &mut Session,
    token: Token,
    proof: Emptiness,
    config: &Config,
    world: &mut W,
) {
    let listener = session.listener();
    let is_implicit = matches!(config.listener(listener).tls, ListenerTls::Implicit(_));
    let address = match session.peer() {
        Peer::Tcp(address) => address.ip(),
        Peer::Unix { .. } => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    match world.secure(token, Side::Server { listener, is_implicit, address }, proof) {
        Ok(()) => session.securing(),
        Err(_) => session.deserted(),
    }
}

/// After a read inside the handshake: is it over?
fn advance_tls<W: World>(
    session: &mut Session,
    token: Token,
    known: &mut Readiness,
    config: &Config,
    world: &mut W,
    now: Now,
) {
    if !session.is_securing() {
        return;
    }
    if let Some(secured) = world.secured(token) {
        session.secured(secured, config, now.instant);
        // What came behind the handshake has been read off the socket, and is no event.
        (known.readable, known.writable) = (true, true);
    }
}

/// Writes once; true if anything could be written.
fn write<W: World>(
    session: &mut Session,
    token: Token,
    known: &mut Readiness,
    world: &mut W,
    now: Now,
) -> bool {
    match world.send(token, session.output()) {
        Transfer::Bytes(count) => {
            known.writable = count == session.output().len();
            session.sent(count, now.instant);
            return true;
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
    false
}

/// Where a recipient's mail will go, for the intake.
pub(super) struct Routes<'a> {
    pub(super) config: &'a Config,
    pub(super) forwarder: &'a Forwarder,
}

impl Lookout for Routes<'_> {
    fn lanes(&self, recipient: Addressee<'_>) -> u32 {
        self.forwarder.lanes_of(self.config, recipient)
    }
}

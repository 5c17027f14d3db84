//! Sockets: pipes between the daemon's tokens and the actors, cut into segments that take time.
//!
//! Readiness is edge-triggered: each change is told once. A read or write that is short though more
//! could have been moved is followed by another event.

use super::rng::Rng;
use super::shadow::Delivery;
use super::world::{Happening, World, note};
use mote::base::buffer::Emptiness;
use mote::daemon::world::{
    Accepted, Event, NetError, NetWords, Peer, Protection, Secured, Side, Token, Transfer,
};
use std::collections::{BTreeMap, VecDeque};

pub type ConnId = u32;

/// How the daemon's side of a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// Being made; nobody knows how it will end.
    Connecting,
    Up,
    /// Gone, and reading tells why.
    Down(NetError),
}

pub struct Conn {
    pub actor: u32,
    token: Option<u16>,
    peer: Peer,
    link: Link,
    /// Arrived, not read by the daemon.
    inbound: VecDeque<u8>,
    is_fin: bool,
    /// Bytes that the daemon has read, and that the actor has written.
    read: u64,
    written: u64,
    last_arrival: u64,
    accepted: u64,
    /// Sent by the daemon, not taken by the actor.
    outbound: VecDeque<u8>,
    window: usize,
    is_taking: bool,
    is_starved: bool,
    is_daemon_gone: bool,
    is_actor_gone: bool,
    /// Takes nothing, says nothing, never closes.
    is_mute: bool,
    /// Gone after so many more bytes, either way.
    reset_after: Option<u64>,
    /// At most so many bytes a segment.
    segment: u64,
    /// Milliseconds between two of them.
    gap: u64,
    latency: u64,
    confirms: VecDeque<(u64, Delivery)>,
}

#[derive(Default)]
pub struct Net {
    pub conns: BTreeMap<ConnId, Conn>,
    tokens: BTreeMap<u16, ConnId>,
    pub backlog: [VecDeque<ConnId>; 3],
    next: ConnId,
    is_well: bool,
}

impl World {
    fn new_conn(&mut self, actor: u32, peer: Peer, link: Link) -> ConnId {
        self.net.next += 1;
        let id = self.net.next;
        let window = match self.rng.below(4) {
            _ if self.net.is_well => 65_536,
            0 => self.rng.range(1, 64),
            1 => self.rng.range(64, 2048),
            _ => 65_536,
        };
        let segment = match self.rng.below(4) {
            0 => self.rng.range(1, 40),
            _ => 1460,
        };
        let conn = Conn {
            actor,
            token: None,
            peer,
            link,
            inbound: VecDeque::new(),
            is_fin: false,
            read: 0,
            written: 0,
            last_arrival: 0,
            accepted: 0,
            outbound: VecDeque::new(),
            window: window as usize,
            is_taking: false,
            is_starved: false,
            is_daemon_gone: false,
            is_actor_gone: false,
            is_mute: false,
            reset_after: None,
            segment,
            gap: 0,
            latency: self.rng.range(0, 30),
            confirms: VecDeque::new(),
        };
        self.net.conns.insert(id, conn);
        id
    }

    /// An actor connects to a listener of the daemon.
    pub fn knock(&mut self, actor: u32, listener: u8, peer: Peer) -> ConnId {
        let id = self.new_conn(actor, peer, Link::Up);
        if self.rng.permille(self.weather.reset) {
            self.net.conns.get_mut(&id).unwrap().reset_after = Some(self.rng.below(3000));
        }
        self.net.backlog[usize::from(listener)].push_back(id);
        self.events.push_back(Event::Listener(listener));
        id
    }

    /// An actor writes; the bytes arrive later, in segments.
    pub fn say(&mut self, id: ConnId, bytes: &[u8]) -> u64 {
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(&id) else { return 0 };
        if conn.is_actor_gone || conn.is_mute {
            return conn.written;
        }
        conn.written += bytes.len() as u64;
        let written = conn.written;
        let (segment, latency, gap) = (conn.segment, conn.latency, conn.gap);
        let mut at = conn.last_arrival.max(now + latency);
        let mut rest = bytes;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let count = (self.rng.range(1, segment) as usize).min(rest.len());
            let count = if segment == 1460 { rest.len().min(1460) } else { count };
            let (piece, later) = rest.split_at(count);
            pieces.push((at, piece.to_vec()));
            at += gap + u64::from(self.rng.permille(200));
            rest = later;
        }
        conn.last_arrival = at;
        for (at, piece) in pieces {
            self.plan(at - now, Happening::Arrive(id, piece));
        }
        written
    }

    /// The actor has no more to say; `read`: it goes on reading.
    pub fn hang_up(&mut self, id: ConnId, read: bool) {
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        conn.is_actor_gone |= !read;
        let after = conn.last_arrival.max(now) - now;
        self.plan(after, Happening::Fin(id));
    }

    /// The actor's machine resets the connection.
    pub fn tear(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        conn.is_actor_gone = true;
        let latency = conn.latency;
        self.plan(latency, Happening::Reset(id));
    }

    /// The actor's bytes come one by one.
    pub fn trickle(&mut self, id: ConnId, gap: u64) {
        if let Some(conn) = self.net.conns.get_mut(&id) {
            (conn.segment, conn.gap) = (1, gap);
        }
    }

    pub fn mute(&mut self, id: ConnId) {
        if let Some(conn) = self.net.conns.get_mut(&id) {
            conn.is_mute = true;
        }
    }

    /// When the daemon has read all that was written until now, `delivery` is known to it.
    pub fn confirm(&mut self, id: ConnId, delivery: Delivery) {
        if let Some(conn) = self.net.conns.get_mut(&id) {
            conn.confirms.push_back((conn.written, delivery));
        }
    }

    /// True while the daemon has everything that the actor wrote, and nothing on the way back.
    pub fn is_daemons_turn(&self, id: ConnId, since: u64) -> bool {
        self.net.conns.get(&id).is_some_and(|conn| {
            conn.token.is_some()
                && conn.link == Link::Up
                && !conn.is_fin
                && !conn.is_daemon_gone
                && conn.last_arrival.max(conn.accepted) + since < self.now
                && conn.outbound.is_empty()
        })
    }

    /// True while nobody has accepted it.
    pub fn is_outside(&self, id: ConnId) -> bool {
        self.net.backlog.iter().flatten().any(|waiting| *waiting == id)
    }

    fn ready(&mut self, id: ConnId, readable: bool, writable: bool, closed: bool) {
        let token = self.net.conns.get(&id).and_then(|conn| conn.token);
        if let Some(token) = token {
            let token = Token(token);
            self.events.push_back(Event::Socket { token, readable, writable, closed });
        }
    }

    fn down(&mut self, id: ConnId, error: NetError) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        conn.link = Link::Down(error);
        conn.outbound.clear();
        if self.rng.permille(500) {
            conn.inbound.clear();
        }
        self.ready(id, true, true, true);
        self.plan(0, Happening::Closed(id));
    }

    /// Something on the agenda that concerns connections.
    pub fn net_happens(&mut self, what: Happening) -> Option<(u32, Heard)> {
        match what {
            Happening::Arrive(id, bytes) => {
                let conn = self.net.conns.get_mut(&id)?;
                if conn.link == Link::Up && !conn.is_daemon_gone {
                    conn.inbound.extend(bytes);
                    self.ready(id, true, false, false);
                }
                None
            }
            Happening::Ready(id) => {
                let conn = self.net.conns.get(&id)?;
                let can_read = !conn.inbound.is_empty();
                let can_write = conn.outbound.len() < conn.window;
                self.ready(id, can_read, can_write, false);
                None
            }
            Happening::Fin(id) => {
                self.net.conns.get_mut(&id)?.is_fin = true;
                self.ready(id, true, false, true);
                None
            }
            Happening::Reset(id) => {
                self.net.conns.get(&id)?;
                self.down(id, NetError::Reset);
                None
            }
            Happening::Connected(id) => {
                let conn = self.net.conns.get_mut(&id)?;
                if conn.link != Link::Connecting || conn.is_daemon_gone {
                    return None;
                }
                conn.link = Link::Up;
                let actor = conn.actor;
                self.ready(id, false, true, false);
                Some((actor, Heard::Connected(id)))
            }
            Happening::Refused(id) => {
                let error = self.rng.pick(&[
                    NetError::Refused,
                    NetError::Unreachable,
                    NetError::TimedOut,
                    NetError::Other,
                ]);
                self.down(id, error);
                None
            }
            Happening::Take(id) => self.take(id),
            Happening::Closed(id) => {
                let conn = self.net.conns.get(&id)?;
                let actor = conn.actor;
                if conn.is_daemon_gone || conn.token.is_none() {
                    self.forget(id);
                }
                Some((actor, Heard::Closed))
            }
            _ => None,
        }
    }

    fn take(&mut self, id: ConnId) -> Option<(u32, Heard)> {
        let conn = self.net.conns.get_mut(&id)?;
        conn.is_taking = false;
        if conn.is_mute {
            return None;
        }
        let count = conn.outbound.len().min(conn.window.max(1));
        let bytes: Vec<u8> = conn.outbound.drain(..count).collect();
        let actor = conn.actor;
        let is_starved = std::mem::take(&mut conn.is_starved);
        let is_actor_gone = conn.is_actor_gone;
        let is_over = conn.is_daemon_gone && conn.outbound.is_empty();
        let has_more = !conn.outbound.is_empty();
        let latency = conn.latency;
        if is_starved {
            self.ready(id, false, true, false);
        }
        if has_more {
            self.net.conns.get_mut(&id)?.is_taking = true;
            self.plan(latency + 1, Happening::Take(id));
        }
        if is_over {
            self.plan(0, Happening::Closed(id));
        }
        (!bytes.is_empty() && !is_actor_gone).then_some((actor, Heard::Bytes(bytes)))
    }

    fn forget(&mut self, id: ConnId) {
        self.net.conns.remove(&id);
        for backlog in &mut self.net.backlog {
            backlog.retain(|waiting| *waiting != id);
        }
    }

    fn countdown(&mut self, id: ConnId, count: usize) {
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        let Some(left) = conn.reset_after else { return };
        conn.reset_after = left.checked_sub(count as u64);
        if conn.reset_after.is_none() {
            note(|| format!("{:>10} net: #{id} is reset on the way", self.now));
            self.down(id, NetError::Reset);
        }
    }

    /// Slow peers become quick, lest mail grow old behind them.
    pub fn net_heal(&mut self) {
        for conn in self.net.conns.values_mut() {
            (conn.window, conn.segment, conn.gap) = (65_536, 1460, 0);
        }
        self.net.is_well = true;
    }

    /// Readiness that means nothing.
    pub fn spurious(&mut self, tokens: u16) {
        if self.rng.permille(self.weather.spurious) {
            let token = Token(self.rng.below(tokens.into()) as u16);
            let (readable, writable) = (self.rng.permille(500), self.rng.permille(500));
            self.events.push_back(Event::Socket { token, readable, writable, closed: false });
        }
    }

    /// The daemon's machine is off.
    pub fn net_power_off(&mut self) {
        self.net.tokens.clear();
        self.net.backlog = Default::default();
        let ids: Vec<ConnId> = self.net.conns.keys().copied().collect();
        for id in ids {
            let Some(conn) = self.net.conns.get_mut(&id) else { continue };
            conn.token = None;
            conn.is_daemon_gone = true;
            if self.rng.permille(500) {
                self.net.conns.get_mut(&id).unwrap().outbound.clear();
            }
            let is_empty = self.net.conns[&id].outbound.is_empty();
            let what = if is_empty { Happening::Closed(id) } else { Happening::Take(id) };
            self.plan(self.net.conns[&id].latency, what);
        }
    }
}

/// What an actor notices.
#[derive(Debug)]
pub enum Heard {
    Connected(ConnId),
    Bytes(Vec<u8>),
    Closed,
    Wake(u32),
}

impl mote::daemon::world::Net for World {
    fn stop_listening(&mut self, keep: Option<u8>) {
        self.op(15, 0);
        for (number, queue) in self.net.backlog.iter_mut().enumerate() {
            if keep.is_none_or(|keep| usize::from(keep) != number) {
                queue.clear();
            }
        }
    }

    fn accept(&mut self, listener: u8, token: Token) -> Accepted {
        self.op(10, token.0.into());
        if self.rng.permille(self.weather.accept_exhausted) {
            return Accepted::Exhausted;
        }
        assert!(!self.net.tokens.contains_key(&token.0), "accept into a token that is taken");
        let Some(id) = self.net.backlog[usize::from(listener)].pop_front() else {
            return Accepted::Nothing;
        };
        self.net.tokens.insert(token.0, id);
        let conn = self.net.conns.get_mut(&id).unwrap();
        conn.token = Some(token.0);
        conn.accepted = self.now;
        note(|| format!("{:>10} net: #{id} accepted as {}, {}", self.now, token.0, conn.peer));
        Accepted::Peer(conn.peer)
    }

    fn connect(&mut self, token: Token, to: core::net::SocketAddr) -> Result<(), NetError> {
        self.op(11, token.0.into());
        assert!(!self.net.tokens.contains_key(&token.0), "connect with a token that is taken");
        let is_error = self.rng.permille(self.weather.connect_error);
        if is_error && self.rng.permille(300) {
            return Err(self.rng.pick(&[NetError::Unreachable, NetError::Exhausted]));
        }
        let actor = if is_error { None } else { self.answer(to.ip()) };
        let id = self.new_conn(actor.unwrap_or(u32::MAX), Peer::Tcp(to), Link::Connecting);
        self.net.tokens.insert(token.0, id);
        let latency = self.rng.range(1, 80);
        let conn = self.net.conns.get_mut(&id).unwrap();
        conn.token = Some(token.0);
        let is_reset = self.rng.permille(self.weather.reset * 4);
        conn.reset_after = is_reset.then(|| self.rng.below(4000));
        note(|| format!("{:>10} net: #{id} connects from {} to {to}", self.now, token.0));
        match actor {
            Some(_) => self.plan(latency, Happening::Connected(id)),
            // Half of those who do not answer do not even refuse.
            None if self.rng.permille(500) => self.plan(latency, Happening::Refused(id)),
            None => {}
        }
        Ok(())
    }

    fn receive(&mut self, token: Token, into: &mut [u8]) -> Transfer {
        self.op(12, token.0.into());
        assert!(!into.is_empty(), "an empty read");
        let Some(id) = self.net.tokens.get(&token.0).copied() else {
            return Transfer::Failed(NetError::Other);
        };
        let is_short = self.rng.permille(self.weather.short);
        let World { net, rng, shadow, .. } = self;
        let conn = net.conns.get_mut(&id).unwrap();
        if conn.inbound.is_empty() {
            return match conn.link {
                Link::Connecting => Transfer::NotReady,
                Link::Down(error) => Transfer::Failed(error),
                Link::Up if conn.is_fin => Transfer::Closed,
                Link::Up => Transfer::NotReady,
            };
        }
        let mut count = into.len().min(conn.inbound.len());
        if is_short {
            count = Rng::range(rng, 1, count as u64) as usize;
        }
        for (to, byte) in into.iter_mut().zip(conn.inbound.drain(..count)) {
            *to = byte;
        }
        conn.read += count as u64;
        while let Some((at, delivery)) = conn.confirms.front().copied() {
            if at > conn.read {
                break;
            }
            conn.confirms.pop_front();
            shadow.confirmed(delivery);
        }
        let has_more = !conn.inbound.is_empty();
        note(|| {
            let text = String::from_utf8_lossy(&into[..count.min(60)]).into_owned();
            format!("{:>10} net: #{id} read {count}: {text:?}", self.now)
        });
        self.mix(count as u64);
        if has_more {
            self.plan(u64::from(is_short), Happening::Ready(id));
        }
        self.countdown(id, count);
        Transfer::Bytes(count)
    }

    fn send(&mut self, token: Token, from: &[u8]) -> Transfer {
        self.op(13, token.0.into());
        assert!(!from.is_empty(), "an empty write");
        let Some(id) = self.net.tokens.get(&token.0).copied() else {
            return Transfer::Failed(NetError::Other);
        };
        let is_short = self.rng.permille(self.weather.short);
        let World { net, rng, .. } = self;
        let conn = net.conns.get_mut(&id).unwrap();
        match conn.link {
            Link::Connecting => return Transfer::NotReady,
            Link::Down(error) => return Transfer::Failed(error),
            Link::Up => {}
        }
        let room = conn.window.saturating_sub(conn.outbound.len());
        if room == 0 && !conn.is_actor_gone {
            conn.is_starved = true;
            return Transfer::NotReady;
        }
        let mut count = room.min(from.len());
        if conn.is_actor_gone {
            // Into the void, which answers with a reset.
            count = from.len();
            self.plan(1, Happening::Reset(id));
        } else {
            if is_short {
                count = Rng::range(rng, 1, count as u64) as usize;
            }
            conn.outbound.extend(&from[..count]);
            conn.is_starved = count < from.len() && conn.outbound.len() >= conn.window;
            let ready_again = count < from.len() && !conn.is_starved;
            let latency = conn.latency;
            let begins = !std::mem::replace(&mut conn.is_taking, true);
            if begins {
                self.plan(latency.max(1), Happening::Take(id));
            }
            if ready_again {
                self.plan(1, Happening::Ready(id));
            }
        }
        note(|| {
            let text = String::from_utf8_lossy(&from[..count.min(60)]).into_owned();
            format!("{:>10} net: #{id} sent {count} of {}: {text:?}", self.now, from.len())
        });
        self.mix(count as u64);
        self.countdown(id, count);
        Transfer::Bytes(count)
    }

    /// Nobody speaks TLS here.
    fn secure(&mut self, _: Token, _: Side<'_>, _: Emptiness) -> Result<(), NetWords> {
        Err("has no TLS".into())
    }

    fn secured(&mut self, _: Token) -> Option<Secured> {
        None
    }

    fn protection(&mut self, _: Token) -> Option<Protection> {
        None
    }

    fn tls_trouble(&mut self, _: Token) -> Option<NetWords> {
        None
    }

    fn close(&mut self, token: Token) {
        self.op(14, token.0.into());
        let Some(id) = self.net.tokens.remove(&token.0) else { return };
        note(|| format!("{:>10} net: #{id} closed by us", self.now));
        let Some(conn) = self.net.conns.get_mut(&id) else { return };
        conn.token = None;
        conn.is_daemon_gone = true;
        let conn = self.net.conns.get_mut(&id).unwrap();
        // The kernel answers unread bytes with a reset, which may overtake what was sent.
        if !conn.inbound.is_empty() && self.rng.permille(300) {
            conn.outbound.clear();
        }
        if conn.outbound.is_empty() || conn.is_mute {
            let latency = conn.latency;
            self.plan(latency, Happening::Closed(id));
        }
    }
}

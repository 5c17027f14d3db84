//! TLS: the only room that names rustls. What all connections share is `Tls`, one of them is a
//! `Connection`, which lies between a socket and whoever holds its token.
//!
//! rustls keeps no buffers here (its unbuffered API): records are put together in a few buffers
//! that all connections share (`pool`), so an idle connection costs what its keys cost. What a
//! socket cannot tell, because it is about these buffers, is told as an event of our own
//! (`Tls::next_event`): a buffer has become free for somebody who waits, or a connection was
//! ended by the rules of the pool.
//!
//! `progress` goes through rustls's states, `cramped` is about reading while no buffer is free,
//! `certificate` reads and watches the files of a listener, `outgoing` is our side as a client,
//! `judge` says whether a next hop is who it should be, `trouble` has words for what goes wrong.

mod certificate;
mod connection;
mod cramped;
mod judge;
mod outbox;
mod outgoing;
mod pool;
mod progress;
#[cfg(test)]
mod tests;
mod trouble;

pub use certificate::{Files, Unusable, examine};
pub use connection::Connection;
pub use judge::examine_ca;

use crate::daemon::world::{NetError, NetWords, NextHop, Token};
use certificate::Identity;
use connection::{Role, Session};
use core::net::IpAddr;
use pool::{Pools, Record};
use rustls::server::UnbufferedServerConnection;
use std::io::{self, Read, Write};
use std::time::Instant;
use trouble::Trouble;

/// Fewest and most record buffers; between them, one for four connections.
const BUFFERS: (usize, usize) = (4, 16);

/// A socket.
pub trait Wire: Read + Write {
    /// Reads what is there and leaves it there.
    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize>;
}

/// See the module's head.
pub struct Tls {
    identities: Vec<Option<Identity>>,
    pools: Pools,
    /// For records that have come as a whole while no buffer is free.
    spare: Record,
    /// Where records are sealed before the socket takes them.
    scratch: Box<[u8]>,
    /// The time of this turn.
    now: Instant,
    /// Who is to be told, and whether that it is over.
    events: Vec<(Token, bool)>,
}

impl Tls {
    /// For listeners with these certificates, by their numbers, and at most `tokens` connections;
    /// none, if none has one.
    pub fn open(
        files: &[Option<Files>],
        tokens: u16,
        now: Instant,
    ) -> Result<Option<Tls>, (String, Unusable)> {
        if files.iter().all(Option::is_none) {
            return Ok(None);
        }
        let buffers = (usize::from(tokens) / 4).clamp(BUFFERS.0, BUFFERS.1);
        let open = |files: &Option<Files>| match files {
            None => Ok(None),
            Some(files) => match Identity::open(files, now) {
                Ok(identity) => Ok(Some(identity)),
                Err(unusable) => Err((files.listener.clone(), unusable)),
            },
        };
        let identities = files.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Some(Tls::new(identities, buffers, tokens, now)))
    }

    /// For next hops, where no listener has a certificate.
    pub fn for_next_hops(tokens: u16, now: Instant) -> Option<Tls> {
        Some(Tls::new(Vec::new(), 0, tokens, now))
    }

    fn new(identities: Vec<Option<Identity>>, buffers: usize, tokens: u16, now: Instant) -> Tls {
        let tokens = usize::from(tokens);
        Tls {
            identities,
            pools: Pools::new(buffers, tokens),
            spare: Record::new(),
            scratch: vec![0; pool::RECORD_BYTES_MAX].into_boxed_slice(),
            now,
            // Each may be told both in one turn.
            events: Vec::with_capacity(2 * tokens),
        }
    }

    /// The config was read again, and names these certificates.
    pub fn reload(&mut self, files: &[Option<Files>]) {
        for (identity, files) in self.identities.iter_mut().zip(files) {
            if let (Some(identity), Some(files)) = (identity, files) {
                identity.replace(files);
            }
        }
    }

    /// The server's side of a connection that came in through a listener.
    pub fn serve(
        &mut self,
        listener: u8,
        is_implicit: bool,
        token: Token,
        address: IpAddr,
    ) -> Result<Connection, NetError> {
        let identity = self.identities.get_mut(usize::from(listener)).and_then(Option::as_mut);
        let config = identity.ok_or(NetError::Tls)?.config(self.now);
        let session = UnbufferedServerConnection::new(config).map_err(|_| NetError::Tls)?;
        let (session, role) = (Session::Server(session), Role::Client { listener });
        Ok(Connection::new(session, token, address, role, is_implicit))
    }

    /// The client's side of a connection to a next hop, which has been greeted.
    pub fn call<S: Wire>(
        &mut self,
        next_hop: &NextHop<'_>,
        token: Token,
        socket: &mut S,
    ) -> Result<Connection, NetWords> {
        let (session, outgoing) = outgoing::open(next_hop)?;
        let (session, role) = (Session::Client(session), Role::NextHop(Box::new(outgoing)));
        let is_implicit = next_hop.is_implicit;
        let mut connection = Connection::new(session, token, next_hop.address, role, is_implicit);
        connection
            .greet(socket, self)
            .map_err(|trouble| NetWords::from(trouble.text_of_next_hop(is_implicit)))?;
        Ok(connection)
    }

    /// A turn begins at `now`.
    pub fn begin_turn(&mut self, now: Instant) {
        self.now = now;
        self.pools.begin_turn();
    }

    /// Somebody who holds a buffer too long: to be ended by [`Tls::end`].
    pub fn overdue(&self) -> Option<Token> {
        self.pools.overdue(self.now).map(|(token, _)| token)
    }

    /// Ends the connection, which is [`Tls::overdue`].
    pub fn end<S: Write>(&mut self, connection: &mut Connection, socket: &mut S) {
        if let Some((token, why)) = self.pools.overdue(self.now) {
            connection.fail(Trouble::Overdue(why), socket, self);
            self.tell(token, true);
        }
    }

    /// Buffers that are free go to those who wait.
    pub fn serve_waiting(&mut self) {
        while let Some(token) = self.pools.promise() {
            self.tell(token, false);
        }
    }

    /// Who is to be told next: read again, or, if that is true, that it is over.
    pub fn next_event(&mut self) -> Option<(Token, bool)> {
        self.events.pop()
    }

    /// When the next turn must begin, though nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        if self.has_events() { Some(self.now) } else { self.pools.deadline(self.now) }
    }

    /// True while somebody is to be told.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Somebody is to be told that he may go on, or that it is over.
    fn tell(&mut self, token: Token, is_over: bool) {
        let event = (token, is_over);
        if !self.events.contains(&event) && self.events.len() < self.events.capacity() {
            self.events.push(event);
        }
    }

    /// The connection is gone: nothing that was meant for it shall reach who comes next.
    fn forget(&mut self, token: Token) {
        self.pools.forget(token);
        self.events.retain(|(told, _)| *told != token);
    }

    fn listener(&self, number: u8) -> &str {
        let identity = self.identities.get(usize::from(number)).and_then(Option::as_ref);
        identity.map_or("?", Identity::listener)
    }
}

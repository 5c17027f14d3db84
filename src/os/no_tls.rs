//! What stands in for `tls` in a build without it: nothing of it can ever exist.
//!
//! The config refuses the keys that would ask for it, so nothing here is reached.

use crate::daemon::world::{NetError, NetWords, NextHop, Protection, Token, Transfer};
use crate::intake::peer;
use core::fmt;
use core::net::IpAddr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where a listener's certificate lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// What the log calls the listener.
    pub listener: String,
    /// The certificates.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A file that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unusable {}

impl Unusable {
    /// Whether it is that file.
    pub fn is_about(&self, _: &Path) -> bool {
        match *self {}
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// Whether the files can be used.
pub fn examine(_: &Files) -> Result<(), Unusable> {
    Ok(())
}

/// Whether a file of CAs can be used; none: the system's.
pub fn examine_ca(_: Option<&Path>) -> Result<(), String> {
    Ok(())
}

/// A socket.
pub(crate) trait Wire: Read + Write {
    /// Reads what is there and leaves it there.
    #[expect(dead_code, reason = "sockets are the same with TLS and without")]
    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize>;
}

/// What all connections share.
pub(crate) enum Tls {}

/// One connection.
pub(crate) enum Connection {}

impl Tls {
    pub(crate) fn open(
        _: &[Option<Files>],
        _: u16,
        _: Instant,
    ) -> Result<Option<Tls>, (String, Unusable)> {
        Ok(None)
    }

    /// None: there is no TLS.
    pub(crate) fn for_next_hops(_: u16, _: Instant) -> Option<Tls> {
        None
    }

    pub(crate) fn reload(&mut self, _: &[Option<Files>]) {
        match *self {}
    }

    pub(crate) fn serve(
        &mut self,
        _: u8,
        _: bool,
        _: Token,
        _: IpAddr,
    ) -> Result<Connection, NetError> {
        match *self {}
    }

    pub(crate) fn call<S: Wire>(
        &mut self,
        _: &NextHop<'_>,
        _: Token,
        _: &mut S,
    ) -> Result<Connection, NetWords> {
        match *self {}
    }

    pub(crate) fn begin_turn(&mut self, _: Instant) {
        match *self {}
    }

    pub(crate) fn overdue(&self) -> Option<Token> {
        match *self {}
    }

    pub(crate) fn end<S: Write>(&mut self, _: &mut Connection, _: &mut S) {
        match *self {}
    }

    pub(crate) fn serve_waiting(&mut self) {
        match *self {}
    }

    pub(crate) fn next_event(&mut self) -> Option<(Token, bool)> {
        match *self {}
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match *self {}
    }

    pub(crate) fn has_events(&self) -> bool {
        match *self {}
    }
}

impl Connection {
    pub(crate) fn secured(&self) -> Option<peer::Secured> {
        match *self {}
    }

    pub(crate) fn protection(&self) -> Option<Protection> {
        match *self {}
    }

    pub(crate) fn trouble(&self) -> Option<NetWords> {
        match *self {}
    }

    pub(crate) fn is_plain(&self) -> bool {
        match *self {}
    }

    pub(crate) fn receive<S: Wire>(&mut self, _: &mut S, _: &mut [u8], _: &mut Tls) -> Transfer {
        match *self {}
    }

    pub(crate) fn send<S: Write>(&mut self, _: &mut S, _: &[u8], _: &mut Tls) -> Transfer {
        match *self {}
    }

    pub(crate) fn flush<S: Write>(&mut self, _: &mut S) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn close<S: Write>(&mut self, _: &mut S, _: &mut Tls) {
        match *self {}
    }
}

//! Sealed records that the socket would not take: rare, and bounded.
//!
//! A record is sealed once and in order, so what the socket did not take must go before anything
//! else does. Memory is held only while there is something.

use super::trouble::Trouble;
use std::io::{self, Write};

/// A handshake's answer with the longest chain.
const BYTES_MAX: usize = 24 * 1024;

/// See the module's head.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
}

impl Outbox {
    /// True when the socket has taken everything.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Gives `bytes` to the socket, and keeps what it does not take.
    pub(super) fn put<S: Write>(
        &mut self,
        socket: &mut S,
        bytes: Option<&[u8]>,
    ) -> Result<(), Trouble> {
        let mut rest = bytes.unwrap_or_default();
        if self.is_empty() {
            // If it broke, the next read or write tells.
            let count = write(socket, rest).unwrap_or_else(|(count, _)| count);
            rest = rest.get(count..).unwrap_or_default();
        }
        if self.bytes.len() + rest.len() > BYTES_MAX {
            return Err(Trouble::Protocol("it does not read what it is sent"));
        }
        self.bytes.extend_from_slice(rest);
        Ok(())
    }

    /// Gives the socket what it would not take before; false: it still does not take it all.
    pub(super) fn flush<S: Write>(&mut self, socket: &mut S) -> io::Result<bool> {
        let (count, result) = match write(socket, &self.bytes) {
            Ok(count) => (count, Ok(())),
            Err((count, error)) => (count, Err(error)),
        };
        if count == self.bytes.len() {
            // Its memory is given back: this is rare.
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..count);
        }
        result.map(|()| self.is_empty())
    }
}

/// Writes as much as the socket takes; how much, also if it breaks.
fn write<S: Write>(socket: &mut S, bytes: &[u8]) -> Result<usize, (usize, io::Error)> {
    let mut done = 0;
    loop {
        let rest = bytes.get(done..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(done);
        }
        match socket.write(rest) {
            Ok(0) => return Ok(done),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(done),
            Err(error) => return Err((done, error)),
        }
    }
}

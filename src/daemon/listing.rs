//! What the control socket tells: messages and the state of the whole, as JSON, one object a line.
//!
//! A message is told in pieces, so that one with a hundred recipients needs no more memory than one
//! with one. Strings are addresses and cleaned words: printable, and escaped all the same.

use super::control::Admin;
use crate::base::ascii::Base62;
use crate::base::buffer::Buffer;
use crate::queue::Ticket;
use crate::queue::disk::{Block, Disk};
use crate::queue::envelope::Record;
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::waiting::Waiting;
use crate::relay::forwarder::Forwarder;
use crate::relay::lane::Lane;
use crate::relay::route::{Destination, HOLD};
use core::fmt::{self, Write as _};

/// What a piece came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// There is more.
    More,
    /// All is told.
    Over,
}

/// A listing under way.
#[derive(Default)]
pub struct Listing {
    from: u32,
    only: Option<Ticket>,
    open: Option<Open>,
}

/// A message of which the recipients are being told.
struct Open {
    message: Message,
    number: u8,
}

/// What is told of a lane's name.
const NAME_BYTES_MAX: usize = 80;
/// Recipients told in one piece.
const RECIPIENTS_A_PIECE: u8 = 4;

impl Listing {
    /// Every message.
    pub fn all() -> Listing {
        Listing::default()
    }

    /// One.
    pub fn one(ticket: Ticket) -> Listing {
        Listing { from: ticket.slot, only: Some(ticket), open: None }
    }

    /// Writes the next piece.
    pub fn step<W: Disk>(
        &mut self,
        out: &mut Buffer,
        block: &mut Block,
        admin: &mut Admin<'_, W>,
    ) -> Step {
        // Writing cannot fail: a piece is shorter than the room that the caller keeps for it.
        if let Some(open) = self.open.take() {
            self.open = recipients(open, out, block, admin);
            return Step::More;
        }
        let Some(waiting) = admin.queue.next_waiting(self.from) else { return Step::Over };
        if self.only.is_some_and(|only| only != waiting.ticket) {
            return Step::Over;
        }
        self.from = waiting.ticket.slot + 1;
        if self.only.is_some() {
            self.from = u32::MAX;
        }
        self.open = head(&waiting, out, block, admin);
        Step::More
    }
}

fn head<W: Disk>(
    waiting: &Waiting,
    out: &mut Buffer,
    block: &mut Block,
    admin: &mut Admin<'_, W>,
) -> Option<Open> {
    let run = admin.queue.run(admin.now.instant);
    let next = next(waiting, run, admin);
    let _ = write!(
        out,
        "{{\"id\":\"{}\",\"age\":{},\"state\":\"{}\",\"next\":",
        Base62(waiting.ticket.seq),
        run.saturating_sub(waiting.arrival),
        state(waiting, next)
    );
    let _ = match next {
        Some(seconds) => write!(out, "{seconds}"),
        None => write!(out, "null"),
    };
    match open(waiting.ticket, out, block, admin) {
        Ok(open) => Some(open),
        Err(_) => {
            let _ = out.write_str(",\"from\":\"\",\"size\":0,\"arrival\":0,\"recipients\":[]}\n");
            None
        }
    }
}

/// Tells sender, size and arrival, and leaves the message at its recipients.
fn open<W: Disk>(
    ticket: Ticket,
    out: &mut Buffer,
    block: &mut Block,
    admin: &mut Admin<'_, W>,
) -> Result<Open, ReadError> {
    let mut message = Message::open(admin.queue, admin.disk, ticket, block)?;
    let (size, arrival) = (message.header().message_len, message.header().arrival);
    match message.record(admin.queue, admin.disk, block)? {
        Some(Record::Sender(sender)) => {
            let from = Quoted(sender);
            let _ = write!(out, ",\"from\":{from},\"size\":{size},\"arrival\":{arrival}");
            let _ = write!(out, ",\"recipients\":[");
            Ok(Open { message, number: 0 })
        }
        _ => Err(ReadError::Unreadable),
    }
}

fn recipients<W: Disk>(
    mut open: Open,
    out: &mut Buffer,
    block: &mut Block,
    admin: &mut Admin<'_, W>,
) -> Option<Open> {
    let ticket = open.message.ticket();
    let waiting = admin.queue.waiting(ticket);
    let words = waiting.and_then(|waiting| last_words(&waiting, admin.forwarder.lanes()));
    for _ in 0..RECIPIENTS_A_PIECE {
        let to = loop {
            // A message that went away meanwhile ends here.
            match open.message.record(admin.queue, admin.disk, block).ok().flatten() {
                Some(Record::Recipient(to)) => break to,
                Some(_) => {}
                None => {
                    let _ = out.write_str("]}\n");
                    return None;
                }
            }
        };
        let bit = 1u128.checked_shl(open.number.into()).unwrap_or(0);
        let is_done = waiting.is_none_or(|waiting| waiting.done & bit != 0);
        let comma = if open.number > 0 { "," } else { "" };
        let state = if is_done { "done" } else { "pending" };
        let words = if is_done { "" } else { words.unwrap_or_default() };
        let _ = write!(
            out,
            "{comma}{{\"to\":{},\"state\":\"{state}\",\"reply\":{}}}",
            Quoted(to),
            Quoted(words.as_bytes())
        );
        open.number += 1;
    }
    Some(open)
}

fn state(waiting: &Waiting, next: Option<u64>) -> &'static str {
    if waiting.damaged {
        "damaged"
    } else if waiting.held || waiting.needs == HOLD {
        "held"
    } else if waiting.importing {
        "importing"
    } else if next == Some(0) {
        "active"
    } else {
        "waiting"
    }
}

/// Seconds until something is tried.
fn next<W>(waiting: &Waiting, run: u64, admin: &Admin<'_, W>) -> Option<u64> {
    if waiting.held || !waiting.readable || waiting.importing || waiting.needs == HOLD {
        return None;
    }
    if waiting.ready == 0 {
        return Some(waiting.due.saturating_sub(run));
    }
    let lanes = admin.forwarder.lanes().iter().filter(|lane| waiting.ready & lane.bit() != 0);
    let now = admin.now.instant;
    lanes.map(|lane| lane.until.map_or(0, |until| until.since(now).as_secs())).min()
}

fn last_words<'a>(waiting: &Waiting, lanes: &'a [Lane]) -> Option<&'a str> {
    let lane = lanes.iter().find(|lane| waiting.needs & lane.bit() != 0)?;
    Some(lane.last_error.as_str())
}

/// The whole in one line.
pub struct StatusLine<'a> {
    config: &'a crate::config::Config,
    space: (u32, u32),
    messages: u32,
    waiting: u32,
    held: u32,
    damaged: u32,
    oldest_age: u64,
    sessions: (u16, u16),
    is_volatile: bool,
    committed: u64,
    syncs: u64,
    forwarder: &'a Forwarder,
    now: crate::base::time::Now,
}

impl<'a> StatusLine<'a> {
    /// Looks at everything once.
    pub fn new<W>(admin: &'a Admin<'_, W>) -> StatusLine<'a> {
        let queue = &*admin.queue;
        let run = queue.run(admin.now.instant);
        let mut line = StatusLine {
            config: admin.config,
            space: queue.space(),
            messages: queue.messages(),
            waiting: 0,
            held: 0,
            damaged: 0,
            oldest_age: 0,
            sessions: admin.sessions,
            is_volatile: admin.is_volatile,
            committed: queue.counters().committed,
            syncs: queue.counters().syncs,
            forwarder: admin.forwarder,
            now: admin.now,
        };
        let mut from = 0;
        while let Some(waiting) = queue.next_waiting(from) {
            from = waiting.ticket.slot + 1;
            match state(&waiting, None) {
                "damaged" => line.damaged += 1,
                "held" => line.held += 1,
                _ => line.waiting += 1,
            }
            line.oldest_age = line.oldest_age.max(run.saturating_sub(waiting.arrival));
        }
        line
    }
}

impl fmt::Display for StatusLine<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = self.forwarder.counters();
        write!(
            out,
            "{{\"version\":\"{}\",\"hostname\":{},\"spool\":{},\"blocks\":{},\"free\":{}",
            env!("CARGO_PKG_VERSION"),
            Quoted(self.config.hostname.as_bytes()),
            Quoted(self.config.spool.as_bytes()),
            self.space.0,
            self.space.1
        )?;
        write!(
            out,
            ",\"messages\":{},\"waiting\":{},\"held\":{},\"damaged\":{},\"oldest_age\":{}",
            self.messages, self.waiting, self.held, self.damaged, self.oldest_age
        )?;
        write!(
            out,
            ",\"sessions\":{},\"sessions_max\":{},\"accepted\":{},\"delivered\":{},\"deferred\":{}",
            self.sessions.0, self.sessions.1, self.committed, counters.delivered, counters.deferred
        )?;
        write!(
            out,
            ",\"bounced\":{},\"clock_trusted\":{},\"syncs\":{},\"volatile\":{},\"relays\":[",
            counters.failed, self.now.unix.trusted, self.syncs, self.is_volatile
        )?;
        for (number, lane) in self.forwarder.lanes().iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let state = match (&lane.destination, lane.until) {
                (_, Some(until)) if until > self.now.instant => "waiting",
                (Destination::Relay { .. }, _) if lane.connections > 0 => "connected",
                _ => "idle",
            };
            let name = lane.destination.name().as_bytes();
            let name = Quoted(name.get(..NAME_BYTES_MAX).unwrap_or(name));
            write!(out, "{comma}{{\"name\":{name},\"state\":\"{state}\",\"last_success\":")?;
            match lane.last_success {
                Some(when) => write!(out, "{}", self.now.unix.seconds - when.seconds)?,
                None => write!(out, "null")?,
            }
            write!(out, ",\"last_error\":{}}}", Quoted(lane.last_error.as_str().as_bytes()))?;
        }
        out.write_str("]}\n")
    }
}

/// A JSON string (RFC 8259 §7); what is not printable ASCII becomes a question mark.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_char('"')?;
        for byte in self.0 {
            match byte {
                b'"' | b'\\' => {
                    out.write_char('\\')?;
                    out.write_char(char::from(*byte))?;
                }
                b' '..=b'~' => out.write_char(char::from(*byte))?,
                _ => out.write_char('?')?,
            }
        }
        out.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(Quoted(b"a\"b\\c\n\xff").to_string(), r#""a\"b\\c??""#);
    }
}

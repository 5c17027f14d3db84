//! What the control socket tells: messages and the state of the whole, as JSON, one object a line.
//!
//! A message is told in pieces, so that one with a hundred recipients needs no more memory than one
//! with one. Strings are addresses and cleaned words: printable, and escaped all the same. `show`
//! also tells who handed it in, and the head of its header; `export` has the bytes as they are
//! stored, in lines of `{"data":"…"}` in which a character below U+0100 is a byte.

use super::control::{Admin, Circumstances, Confinement};
use crate::base::ascii::Base62;
use crate::base::buffer::{Buffer, Text};
use crate::base::time::Instant;
use crate::intake::devices::Device;
use crate::limits::LOGIN_NAME_BYTES_MAX;
use crate::queue::Ticket;
use crate::queue::disk::Block;
use crate::queue::envelope::Record;
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::waiting::Waiting;
use crate::relay::forwarder::Forwarder;
use crate::relay::route::HOLD;
use core::fmt::{self, Write as _};

/// What a piece came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// There is more.
    More,
    /// All is told.
    Over,
    /// The message cannot be read on: what was told of its bytes is not all of them.
    Damaged,
}

/// How much is told of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Depth {
    /// A line of `ls`.
    #[default]
    Brief,
    /// `show`.
    Full,
    /// `export`: the same without the header, and then all bytes.
    Whole,
}

/// A listing under way.
#[derive(Default)]
pub struct Listing {
    from: u32,
    only: Option<Ticket>,
    depth: Depth,
    open: Option<Open>,
    is_damaged: bool,
}

/// A message that is being told.
struct Open {
    message: Message,
    depth: Depth,
    part: Part,
    number: u8,
    client: Text<CLIENT_BYTES_MAX>,
    login: Option<u32>,
    account: Text<LOGIN_NAME_BYTES_MAX>,
}

/// What of it comes next.
#[derive(Clone, Copy)]
enum Part {
    Recipients,
    /// So much of the header may still be told; the last line so far has so many bytes.
    Header {
        left: usize,
        line: usize,
    },
    Bytes,
}

/// An address, and the name given with HELO.
const CLIENT_BYTES_MAX: usize = 512;
/// Bytes of a header that `show` tells.
const HEADER_BYTES_MAX: usize = 2048;
/// Bytes of a message told in one piece; each may become six.
const BYTES_A_PIECE: usize = 1024;

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
    pub fn one(ticket: Ticket, depth: Depth) -> Listing {
        Listing { from: ticket.slot, only: Some(ticket), depth, ..Listing::default() }
    }

    /// Writes the next piece.
    pub fn step(&mut self, out: &mut Buffer, block: &mut Block, admin: &mut Admin<'_>) -> Step {
        // Writing cannot fail: a piece is shorter than the room that the caller keeps for it.
        if let Some(open) = self.open.take() {
            let told = match open.part {
                Part::Recipients => recipients(open, out, block, admin),
                Part::Header { .. } => Ok(header(open, out, block, admin)),
                Part::Bytes => bytes(open, out, block, admin),
            };
            self.is_damaged |= told.is_err() && self.depth == Depth::Whole;
            self.open = told.ok().flatten();
            return Step::More;
        }
        if self.is_damaged {
            return Step::Damaged;
        }
        let Some(waiting) = admin.queue.next_waiting(self.from) else { return Step::Over };
        if self.only.is_some_and(|only| only != waiting.ticket) {
            return Step::Over;
        }
        self.from = waiting.ticket.slot + 1;
        if self.only.is_some() {
            self.from = u32::MAX;
        }
        self.open = head(&waiting, self.depth, out, block, admin);
        self.is_damaged = self.depth == Depth::Whole && self.open.is_none();
        Step::More
    }
}

fn head(
    waiting: &Waiting,
    depth: Depth,
    out: &mut Buffer,
    block: &mut Block,
    admin: &mut Admin<'_>,
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
    if let Some(left) = left_to_wait(waiting, run).filter(|_| admin.now.unix.trusted) {
        let until = admin.now.unix.seconds.saturating_add_unsigned(left);
        let _ = write!(out, ",\"until\":{until}");
    }
    match open(waiting.ticket, depth, out, block, admin) {
        Ok(open) => Some(open),
        Err(_) => {
            let _ = out.write_str(",\"from\":\"\",\"size\":0,\"arrival\":0,\"recipients\":[]}\n");
            None
        }
    }
}

/// Tells sender, size and arrival, and leaves the message at its recipients.
fn open(
    ticket: Ticket,
    depth: Depth,
    out: &mut Buffer,
    block: &mut Block,
    admin: &mut Admin<'_>,
) -> Result<Open, ReadError> {
    let mut message = Message::open(admin.queue, admin.disk, ticket, block)?;
    let (size, arrival) = (message.header().message_len, message.header().arrival);
    match message.record(admin.queue, admin.disk, block)? {
        Some(Record::Sender(sender)) => {
            let from = Quoted(sender);
            let _ = write!(out, ",\"from\":{from},\"size\":{size},\"arrival\":{arrival}");
            let _ = write!(out, ",\"recipients\":[");
            let (client, login, account) = (Text::new(), None, Text::new());
            Ok(Open { message, depth, part: Part::Recipients, number: 0, client, login, account })
        }
        _ => Err(ReadError::Unreadable),
    }
}

fn recipients(
    mut open: Open,
    out: &mut Buffer,
    block: &mut Block,
    admin: &mut Admin<'_>,
) -> Result<Option<Open>, ReadError> {
    let ticket = open.message.ticket();
    let waiting = admin.queue.waiting(ticket);
    let words = waiting.and_then(|waiting| last_words(&waiting, admin.forwarder));
    for _ in 0..RECIPIENTS_A_PIECE {
        let to = loop {
            match open.message.record(admin.queue, admin.disk, block) {
                // One that went away meanwhile ends here too.
                Err(error) => {
                    let _ = out.write_str("]}\n");
                    return Err(error);
                }
                Ok(Some(Record::Recipient(to))) => break to,
                Ok(Some(Record::Client(client))) => {
                    let client = core::str::from_utf8(client).unwrap_or("?");
                    open.client = Text::from(client);
                }
                Ok(Some(Record::Login(uid))) => open.login = Some(uid),
                Ok(Some(Record::Account(name))) => {
                    open.account = Text::from(core::str::from_utf8(name).unwrap_or("?"));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(after_recipients(open, out)),
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
    Ok(Some(open))
}

fn state(waiting: &Waiting, next: Option<u64>) -> &'static str {
    if waiting.damaged {
        "damaged"
    } else if waiting.held || waiting.needs == HOLD {
        "held"
    } else if waiting.later.is_some() {
        "later"
    } else if waiting.importing {
        "importing"
    } else if next == Some(0) {
        "active"
    } else {
        "waiting"
    }
}

/// Seconds that its sender wants it held yet.
fn left_to_wait(waiting: &Waiting, run: u64) -> Option<u64> {
    waiting.later.filter(|_| !waiting.held).map(|later| later.saturating_sub(run))
}

/// Seconds until something is tried.
fn next(waiting: &Waiting, run: u64, admin: &Admin<'_>) -> Option<u64> {
    if waiting.held || !waiting.readable || waiting.importing || waiting.needs == HOLD {
        return None;
    }
    let run_left = left_to_wait(waiting, run);
    if run_left.is_some() {
        return run_left;
    }
    if admin.forwarder.is_asleep() {
        return None;
    }
    if waiting.ready == 0 {
        return Some(waiting.due.saturating_sub(run));
    }
    let lanes = admin.forwarder.lanes().iter().filter(|lane| waiting.ready & lane.bit() != 0);
    let now = admin.now.instant;
    lanes.map(|lane| lane.until.map_or(0, |until| until.since(now).as_secs())).min()
}

/// What its last attempt was told, or else what is wrong with its destination.
fn last_words<'a>(waiting: &Waiting, forwarder: &'a Forwarder) -> Option<&'a str> {
    let of_lane = || {
        let lane = forwarder.lanes().iter().find(|lane| waiting.needs & lane.bit() != 0)?;
        Some(lane.last_error.as_str())
    };
    forwarder.last_words().of(waiting.ticket).or_else(of_lane)
}

/// Ends the list of recipients, and the object with it if nothing more is asked for.
fn after_recipients(mut open: Open, out: &mut Buffer) -> Option<Open> {
    let _ = out.write_str("]");
    if open.depth == Depth::Brief {
        let _ = out.write_str("}\n");
        return None;
    }
    let _ = write!(out, ",\"client\":{}", Quoted(open.client.as_str().as_bytes()));
    if let Some(uid) = open.login {
        let _ = write!(out, ",\"login\":{uid}");
    }
    if !open.account.is_empty() {
        let _ = write!(out, ",\"account\":{}", Quoted(open.account.as_str().as_bytes()));
    }
    if open.depth == Depth::Full {
        let _ = out.write_str(",\"header\":\"");
        open.part = Part::Header { left: HEADER_BYTES_MAX, line: 0 };
    } else {
        let _ = out.write_str("}\n");
        open.part = Part::Bytes;
    }
    Some(open)
}

/// The next bytes of the header, until its empty line or its allowance is reached.
fn header(
    mut open: Open,
    out: &mut Buffer,
    block: &mut Block,
    admin: &mut Admin<'_>,
) -> Option<Open> {
    let Part::Header { mut left, mut line } = open.part else { return None };
    let piece = open.message.bytes(admin.queue, admin.disk, block).ok().flatten();
    let piece = piece.unwrap_or_default();
    let piece = piece.get(..BYTES_A_PIECE.min(left)).unwrap_or(piece);
    left -= piece.len();
    for byte in piece {
        match byte {
            b'\r' => {}
            // RFC 5322 §2.1: the first empty line.
            b'\n' if line == 0 => {
                left = 0;
                break;
            }
            b'\n' => {
                let _ = out.write_str("\\n");
                line = 0;
            }
            _ => {
                let _ = write!(out, "{}", Escaped(core::slice::from_ref(byte)));
                line += 1;
            }
        }
    }
    let count = piece.len();
    if left == 0 || count == 0 {
        let _ = out.write_str("\"}\n");
        return None;
    }
    open.message.consume(count);
    open.part = Part::Header { left, line };
    Some(open)
}

/// The next bytes of the message, as they are stored.
fn bytes(
    mut open: Open,
    out: &mut Buffer,
    block: &mut Block,
    admin: &mut Admin<'_>,
) -> Result<Option<Open>, ReadError> {
    let Some(piece) = open.message.bytes(admin.queue, admin.disk, block)? else {
        return Ok(None);
    };
    let piece = piece.get(..BYTES_A_PIECE).unwrap_or(piece);
    let _ = writeln!(out, "{{\"data\":\"{}\"}}", Escaped(piece));
    let count = piece.len();
    open.message.consume(count);
    Ok(Some(open))
}

/// The whole in one line, which ends with the list of devices, still open.
pub struct StatusLine<'a> {
    config: &'a crate::config::Config,
    space: (u32, u32),
    messages: u32,
    waiting: u32,
    held: u32,
    damaged: u32,
    oldest_age: u64,
    sessions: (u16, u16),
    circumstances: Circumstances,
    committed: u64,
    syncs: u64,
    forwarder: &'a Forwarder,
    now: crate::base::time::Now,
}

impl<'a> StatusLine<'a> {
    /// Looks at everything once.
    pub fn new(admin: &'a Admin<'_>) -> StatusLine<'a> {
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
            circumstances: admin.circumstances,
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
            ",\"bounced\":{},\"clock_trusted\":{},\"syncs\":{},\"volatile\":{}",
            counters.failed, self.now.unix.trusted, self.syncs, self.circumstances.is_volatile
        )?;
        let Circumstances { is_stopping, rejected, confinement, .. } = self.circumstances;
        let Confinement { uid, no_new_privileges, landlock, seccomp } = confinement;
        write!(
            out,
            ",\"uid\":{uid},\"no_new_privs\":{no_new_privileges},\"landlock\":{landlock},\
             \"seccomp\":{seccomp}"
        )?;
        write!(out, ",\"stopping\":{is_stopping},\"rejected\":{rejected},\"relays\":[")?;
        for (number, lane) in self.forwarder.lanes().iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            let state = match (&lane.destination, lane.until) {
                (_, Some(until)) if until > self.now.instant => "waiting",
                (destination, _) if destination.is_remote() && lane.connections > 0 => "connected",
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
        out.write_str("],\"devices\":[")
    }
}

/// A device in the list behind the status; `number` is its place there.
pub fn write_device(out: &mut Buffer, number: usize, device: &Device, admin: &Admin<'_>) {
    let ago = |when: Instant| admin.now.instant.since(when).as_secs();
    let seconds = |when: Option<Instant>| Optional(when.map(ago));
    let last_error = device.complaint.map(|(complaint, _)| complaint);
    let change = device.advice(admin.config).filter(|_| device.trouble().is_some());
    // Writing cannot fail: a piece is shorter than the room that the caller keeps for it.
    let _ = write!(
        out,
        "{}{{\"address\":\"{}\",\"hello\":{},\"mails\":{},\"last_mail\":{},\"last_error\":",
        if number > 0 { "," } else { "" },
        device.address,
        Quoted(device.hello.as_str().as_bytes()),
        device.mails,
        seconds(device.last_mail)
    );
    let _ = write!(
        out,
        "{},\"last_error_age\":{},\"change\":{}}}",
        Optional(last_error.map(InQuotes)),
        seconds(device.complaint.map(|(_, when)| when)),
        Optional(change.map(InQuotes))
    );
}

/// A value, or null.
struct Optional<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Optional<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(out),
            None => out.write_str("null"),
        }
    }
}

/// Words of our own, which need no escape.
struct InQuotes<T>(T);

impl<T: fmt::Display> fmt::Display for InQuotes<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.0)
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

/// The inside of a JSON string that loses no byte: one beyond printable ASCII is the character of
/// its number.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(out, "\\{}", char::from(*byte))?,
                b'\r' => out.write_str("\\r")?,
                b'\n' => out.write_str("\\n")?,
                b' '..=b'~' => out.write_char(char::from(*byte))?,
                _ => write!(out, "\\u{:04x}", byte)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(Quoted(b"a\"b\\c\n\xff").to_string(), r#""a\"b\\c??""#);
        assert_eq!(Escaped(b"a\"\r\n\0\xff").to_string(), r#"a\"\r\n\u0000\u00ff"#);
    }
}

//! The dialogue with the daemon's submit socket: SMTP, as from any other client.
//!
//! One connection carries the transactions of one call, one after the other. The envelope goes out
//! in one write with DATA behind it, the body in large ones, and QUIT with the last dot (RFC 2920:
//! the daemon lists PIPELINING; whoever else might listen there is refused before). Until the 354
//! nothing has been promised, so whatever goes wrong is [`Verdict::NotNow`], and the mail can still
//! be left in the drop directory; the connection is given up with it. After the 354 there is no way
//! back: what then goes wrong is [`Verdict::Lost`], for the caller to try again.
//!
//! Limits: [`PATIENCE`] for connecting and for each reply up to the 354, however slowly its bytes
//! come; `PATIENCE_FINAL` for the body and the daemon's sync. Two buffers of fixed size.

use crate::base::buffer::Buffer;
use crate::os::local;
use crate::os::process::is_trusted_owner;
use crate::smtp::data::{DotWriter, FINISH_BYTES_MAX};
use crate::smtp::parameter::{Notify, Return};
use crate::smtp::reply::{Parsed, RemoteReply, ReplyParser};
use std::fmt::Write as _;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::arguments::Body;

/// For connecting, and for each reply before the body.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// For the body and the word on it: flash may take its time for a sync.
const PATIENCE_FINAL: Duration = Duration::from_secs(300);
const INPUT_BYTES: usize = 4096;
const OUTPUT_BYTES: usize = 64 * 1024;
const QUIT: &[u8] = b"QUIT\r\n";

/// What the envelope says besides the recipients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Terms<'a> {
    /// Empty for the null path.
    pub sender: &'a str,
    /// Of the whole message, if it is known.
    pub size: Option<usize>,
    /// -B.
    pub body: Option<Body>,
    /// -N.
    pub notify: Option<Notify>,
    /// -R.
    pub returns: Option<Return>,
    /// -V, in xtext; empty for none.
    pub envelope_id: &'a str,
}

/// A recipient that was refused for good, by its place in the list, and the words.
pub type Refusal = (usize, RemoteReply);

/// What became of a transaction.
#[derive(Debug)]
pub enum Verdict {
    /// It is on disk, for all recipients but these.
    Queued(RemoteReply, Vec<Refusal>),
    /// No recipient was accepted.
    NoRecipients(Vec<Refusal>),
    /// The sender or the message was refused for good.
    Refused(RemoteReply),
    /// Nothing was taken, but may be later.
    NotNow(String),
    /// The body was under way: nobody knows.
    Lost(String),
    /// The caller's own input failed.
    Unreadable(io::Error),
}

/// A connection to the daemon, greeted and ready for a transaction.
pub struct Session {
    stream: UnixStream,
    input: Buffer,
    output: Buffer,
    parser: ReplyParser,
}

impl From<String> for Box<Verdict> {
    /// While the envelope goes back and forth, whatever goes wrong may be better later.
    fn from(reason: String) -> Box<Verdict> {
        Box::new(Verdict::NotNow(reason))
    }
}

enum Trouble {
    Input(io::Error),
    Connection(String),
}

impl Session {
    /// Connects to the first daemon that greets, and gives its greeting. Err: why none does.
    pub fn first(paths: &[PathBuf]) -> Result<(Session, RemoteReply), String> {
        let mut reason = None;
        for path in paths {
            match Session::greeted(path) {
                Ok(found) => return Ok(found),
                Err(Some(why)) => {
                    reason.get_or_insert_with(|| format!("{}: {why}", path.display()));
                }
                Err(None) => {}
            }
        }
        Err(reason.unwrap_or_else(|| "daemon is not running".to_owned()))
    }

    /// Err: why not; None: there is nothing at that path.
    fn greeted(path: &Path) -> Result<(Session, RemoteReply), Option<String>> {
        let owner = match std::fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(None),
            result => result.map_err(|error| error.to_string())?.uid(),
        };
        if !is_trusted_owner(owner) {
            return Err(Some(format!("belongs to user {owner}, who is not trusted")));
        }
        let stream = local::connect(path, PATIENCE).map_err(|error| describe(&error))?;
        // The file's owner may have changed since; who listens cannot.
        if !local::peer_uid(&stream).is_ok_and(is_trusted_owner) {
            return Err(Some("somebody who is not trusted listens there".to_owned()));
        }
        let mut session = Session {
            stream,
            input: Buffer::new(INPUT_BYTES),
            output: Buffer::new(OUTPUT_BYTES),
            parser: ReplyParser::new(),
        };
        let greeting = session.expect(220)?;
        Ok((session, greeting))
    }

    /// Says EHLO.
    pub fn hello(&mut self) -> Result<(), String> {
        // RFC 5321 §4.1.1.1; the daemon knows by the socket who this is.
        self.write(b"EHLO localhost\r\n")?;
        self.expect(250).map(drop)
    }

    /// Tells whose conversation this is, which begins anew with it.
    pub fn introduce(&mut self, client: SocketAddr) -> Result<(), String> {
        let tag = if client.is_ipv6() { "IPV6:" } else { "" };
        let (address, port) = (client.ip(), client.port());
        self.write(format!("XCLIENT ADDR={tag}{address} PORT={port}\r\n").as_bytes())?;
        self.expect(220).map(drop)
    }

    /// The connection, on which nothing waits to be read.
    pub fn into_stream(self) -> UnixStream {
        debug_assert!(self.input.is_empty(), "it has spoken without being asked");
        self.stream
    }

    /// One transaction; `is_last` if none will follow.
    pub fn submit<R: BufRead>(
        &mut self,
        terms: &Terms,
        recipients: &[String],
        message: &mut R,
        is_last: bool,
    ) -> Verdict {
        let refusals = match self.agree(terms, recipients) {
            Ok(refusals) => refusals,
            Err(verdict) => return *verdict,
        };
        let waited = self.stream.set_write_timeout(Some(PATIENCE_FINAL));
        if let Err(error) = waited.and_then(|()| self.stream.set_read_timeout(Some(PATIENCE_FINAL)))
        {
            return Verdict::NotNow(error.to_string());
        }
        match self.send_body(message, is_last) {
            Ok(()) => {}
            Err(Trouble::Input(error)) => return Verdict::Unreadable(error),
            // It may have said why before it hung up.
            Err(Trouble::Connection(reason)) => {
                return match self.reply(PATIENCE) {
                    Ok(reply) if reply.class() == 5 => Verdict::Refused(reply),
                    Ok(reply) => Verdict::Lost(reply.to_string()),
                    Err(_) => Verdict::Lost(reason),
                };
            }
        }
        match self.reply(PATIENCE_FINAL) {
            Ok(reply) if reply.class() == 2 => {
                if !is_last {
                    // For the next one; if it fails, its first write or read will tell.
                    let _ = self.stream.set_read_timeout(Some(PATIENCE));
                    let _ = self.stream.set_write_timeout(Some(PATIENCE));
                }
                Verdict::Queued(reply, refusals)
            }
            Ok(reply) if reply.class() == 5 => Verdict::Refused(reply),
            Ok(reply) => Verdict::Lost(reply.to_string()),
            Err(reason) => Verdict::Lost(reason),
        }
    }

    /// Envelope and DATA up to the 354.
    fn agree(
        &mut self,
        terms: &Terms,
        recipients: &[String],
    ) -> Result<Vec<Refusal>, Box<Verdict>> {
        let mut text = format!("MAIL FROM:<{}>", terms.sender);
        // Writing to a String does not fail.
        if let Some(size) = terms.size {
            let _ = write!(text, " SIZE={size}");
        }
        text.push_str(match terms.body {
            Some(Body::SevenBit) => " BODY=7BIT",
            Some(Body::EightBitMime) => " BODY=8BITMIME",
            None => "",
        });
        if let Some(returns) = terms.returns {
            let _ = write!(text, " RET={}", returns.word());
        }
        if !terms.envelope_id.is_empty() {
            let _ = write!(text, " ENVID={}", terms.envelope_id);
        }
        text.push_str("\r\n");
        for recipient in recipients {
            let _ = write!(text, "RCPT TO:<{recipient}>");
            if let Some(notify) = terms.notify {
                let _ = write!(text, " NOTIFY={notify}");
            }
            text.push_str("\r\n");
        }
        text.push_str("DATA\r\n");
        self.write(text.as_bytes())?;

        // Every reply is read, in order, even when the first has decided.
        let sender = self.reply(PATIENCE)?;
        match sender.class() {
            2 => {}
            5 => return Err(Box::new(Verdict::Refused(sender))),
            _ => return Err(sender.to_string().into()),
        }
        let mut refusals = Vec::new();
        for place in 0..recipients.len() {
            let reply = self.reply(PATIENCE)?;
            match reply.class() {
                2 => {}
                5 => refusals.push((place, reply)),
                // One is to be tried later, so all are: the mail is read only once. Hanging up
                // before the first byte of the body leaves nothing behind.
                _ => return Err(reply.to_string().into()),
            }
        }
        if refusals.len() == recipients.len() {
            return Err(Box::new(Verdict::NoRecipients(refusals)));
        }
        let go = self.reply(PATIENCE)?;
        match go.class() {
            3 => Ok(refusals),
            5 => Err(Box::new(Verdict::Refused(go))),
            _ => Err(go.to_string().into()),
        }
    }

    fn send_body<R: BufRead>(&mut self, message: &mut R, is_last: bool) -> Result<(), Trouble> {
        let mut dots = DotWriter::new();
        self.output.clear();
        loop {
            let bytes = message.fill_buf().map_err(Trouble::Input)?;
            if bytes.is_empty() {
                break;
            }
            let (consumed, produced) = dots.push(bytes, self.output.writable());
            message.consume(consumed);
            self.output.produced(produced);
            self.make_room(OUTPUT_BYTES / 64)?;
        }
        self.make_room(FINISH_BYTES_MAX + QUIT.len())?;
        let produced = dots.finish(self.output.writable());
        self.output.produced(produced);
        if is_last {
            // RFC 2920 §3.1: QUIT may go with the dot. There was room made for it.
            let _ = self.output.push(QUIT);
        }
        self.make_room(OUTPUT_BYTES)
    }

    /// Writes all that waits, if less than `room` is free.
    fn make_room(&mut self, room: usize) -> Result<(), Trouble> {
        if self.output.space() < room {
            let written = (&self.stream).write_all(self.output.readable());
            written.map_err(|error| Trouble::Connection(describe(&error)))?;
            self.output.clear();
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), String> {
        (&self.stream).write_all(bytes).map_err(|error| describe(&error))
    }

    fn expect(&mut self, code: u16) -> Result<RemoteReply, String> {
        let reply = self.reply(PATIENCE)?;
        if reply.code == code { Ok(reply) } else { Err(reply.to_string()) }
    }

    /// The next reply, whole within `patience`, which is also the socket's time-out at first.
    fn reply(&mut self, patience: Duration) -> Result<RemoteReply, String> {
        let start = Instant::now();
        let mut reads = 0u32;
        let result = loop {
            let (consumed, parsed) = self.parser.step(self.input.readable());
            let is_last = match parsed {
                Parsed::Line { is_last, .. } => Some(is_last),
                Parsed::More => None,
                Parsed::Garbage => break Err("what it says is not SMTP".to_owned()),
            };
            self.input.consume(consumed);
            match is_last {
                Some(true) => break Ok(self.parser.take()),
                Some(false) => continue,
                None => {}
            }
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                break Err("does not answer in time".to_owned());
            }
            // A reply nearly always comes in one piece, and needs no other time-out.
            reads += 1;
            if reads > 1 {
                self.stream.set_read_timeout(Some(left)).map_err(|error| describe(&error))?;
            }
            match (&self.stream).read(self.input.writable()) {
                Ok(0) => break Err("closed the connection".to_owned()),
                Ok(count) => self.input.produced(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(describe(&error)),
            }
        };
        if reads > 1 {
            self.stream.set_read_timeout(Some(patience)).map_err(|error| describe(&error))?;
        }
        result
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "does not answer in time".to_owned(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => "closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

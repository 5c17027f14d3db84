//! `sendmail -bs` while there is no daemon: the server machine answers here, and each mail is left
//! in the drop directory before it gets its 250.
//!
//! What it offers is what a drop file can hold: no TLS, no logins, no chunks, no DSN. The caller is
//! a user of this machine and may send to anyone. Deadlines are those of a daemon that has no
//! config.
//!
//! Stdin is read by a thread, because nothing else waits for a pipe with a deadline; it ends with
//! the process. One message is held in the file that it is written to, and nowhere else.

use super::conversation::Codes;
use super::ends::Ends;
use super::submission::Terms as Said;
use super::{Exit, Failure, records};
use crate::base::buffer::Buffer;
use crate::base::time::Instant;
use crate::limits::{INPUT_BYTES, REPLIES_BYTES};
use crate::mail::address::ReversePath;
use crate::os::drops::{self, LeaveError};
use crate::os::process;
use crate::smtp::offer::Offers;
use crate::smtp::reply::Reply;
use crate::smtp::server::{Event, Server, Terms};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);
const DATA_TIMEOUT: Duration = Duration::from_secs(180);

/// One conversation.
pub struct Deputy<W> {
    server: Server,
    input: Buffer,
    out: Buffer,
    pieces: Receiver<Vec<u8>>,
    /// Of the last piece, what there was no room for.
    held: Vec<u8>,
    caller: W,
    hostname: String,
    bytes_max: u64,
    sender: String,
    recipients: Vec<String>,
    /// Of the message, what was not written yet.
    body: Vec<u8>,
    codes: Codes,
    began: std::time::Instant,
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Wait,
    Again,
    Data,
    End { bare: bool },
    Close,
}

/// What waiting came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    Bytes,
    TimedOut,
    /// The caller has no more to say.
    Over,
}

impl<W: Write> Deputy<W> {
    /// Speaks with whoever writes to `input` and reads `caller`, on mails of so many bytes.
    pub fn new(mut input: impl Read + Send + 'static, caller: W, bytes_max: u64) -> Deputy<W> {
        let (sender, pieces) = sync_channel(1);
        std::thread::spawn(move || {
            let (mut room, mut ends) = (vec![0; INPUT_BYTES], Ends::new());
            loop {
                let mut piece = Vec::new();
                match input.read(&mut room) {
                    Ok(count) => ends.mend(room.get(..count).unwrap_or_default(), &mut piece),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    // As if that were all.
                    Err(_) => {}
                }
                let is_last = piece.is_empty();
                if sender.send(piece).is_err() || is_last {
                    return;
                }
            }
        });
        Deputy {
            server: Server::new(true),
            input: Buffer::new(INPUT_BYTES),
            out: Buffer::new(REPLIES_BYTES),
            pieces,
            held: Vec::new(),
            caller,
            hostname: process::hostname(),
            bytes_max,
            sender: String::new(),
            recipients: Vec::new(),
            body: Vec::new(),
            codes: Codes::default(),
            began: std::time::Instant::now(),
        }
    }

    /// Until the caller has said QUIT, or is gone.
    pub fn serve(mut self, directory: &Path) -> Result<Exit, Failure> {
        let now = self.now();
        let Deputy { server, out, hostname, bytes_max, .. } = &mut self;
        server.greet(&terms(hostname, *bytes_max), out, now);
        let unwritable = |error: io::Error| {
            Failure::new(Exit::SYSTEM, format!("cannot write to stdout: {error}"))
        };
        let slow = || Failure::new(Exit::TEMPORARY, "the caller took too long");
        let mut is_late = false;
        loop {
            match self.step() {
                Step::Again => {}
                Step::Wait => match self.wait().map_err(unwritable)? {
                    Wait::Bytes => {}
                    Wait::Over => return self.codes.parting(),
                    Wait::TimedOut => is_late = self.time_out(),
                },
                Step::Data => {
                    let now = self.now();
                    self.server.answer(Reply::START_DATA, &mut self.out, now);
                    if !self.take_message(directory) {
                        self.flush().map_err(unwritable)?;
                        return if is_late { Err(slow()) } else { self.codes.parting() };
                    }
                }
                // Of what was not announced by Data nothing is taken.
                Step::End { .. } => self.refuse(Reply::LOCAL_ERROR),
                Step::Close => {
                    self.flush().map_err(unwritable)?;
                    return if is_late { Err(slow()) } else { Ok(Exit::OK) };
                }
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.began.elapsed().as_millis() as u64)
    }

    fn step(&mut self) -> Step {
        let now = self.now();
        let Deputy { server, input, out, hostname, bytes_max, sender, recipients, body, .. } = self;
        let terms = terms(hostname, *bytes_max);
        let (consumed, event) = server.step(input.readable(), out, &terms, now);
        let step = match event {
            Event::Wait => Step::Wait,
            Event::Again | Event::Hello { .. } | Event::Reset | Event::EarlyTls => Step::Again,
            Event::Mail { path, .. } => {
                recipients.clear();
                sender.clear();
                if let ReversePath::Address(address) = path {
                    sender.push_str(address.as_str());
                }
                server.answer(Reply::SENDER_OK, out, now);
                Step::Again
            }
            Event::Recipient { path, .. } => {
                recipients.push(path.as_str().to_owned());
                server.answer(Reply::RECIPIENT_OK, out, now);
                Step::Again
            }
            Event::Data => Step::Data,
            Event::Body(bytes) => {
                body.extend_from_slice(bytes);
                Step::Again
            }
            Event::End { bare } => Step::End { bare },
            // None of these is offered.
            Event::Chunk { .. } | Event::Auth(_) | Event::Xclient(_) | Event::StartTls => {
                Step::Close
            }
            Event::Close => Step::Close,
        };
        input.consume(consumed);
        step
    }

    fn flush(&mut self) -> io::Result<()> {
        self.codes.see(self.out.readable());
        self.caller.write_all(self.out.readable())?;
        self.caller.flush()?;
        self.out.clear();
        Ok(())
    }

    /// Says what there is to say, and waits for more.
    fn wait(&mut self) -> io::Result<Wait> {
        self.flush()?;
        if self.held.is_empty() {
            let left = self.server.deadline().map(|deadline| deadline.since(self.now()));
            let piece = match left {
                Some(left) => self.pieces.recv_timeout(left),
                None => self.pieces.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match piece {
                Ok(piece) if !piece.is_empty() => self.held = piece,
                Err(RecvTimeoutError::Timeout) => return Ok(Wait::TimedOut),
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return Ok(Wait::Over),
            }
        }
        let room = self.input.writable();
        let count = room.len().min(self.held.len());
        for (to, from) in room.iter_mut().zip(self.held.drain(..count)) {
            *to = from;
        }
        self.input.produced(count);
        Ok(Wait::Bytes)
    }

    /// True if that was the end of it.
    fn time_out(&mut self) -> bool {
        let now = self.now();
        self.server.timed_out(&mut self.out, now) == Event::Close
    }

    fn refuse(&mut self, reply: Reply) {
        let now = self.now();
        self.server.refused(reply, &mut self.out, now);
    }

    /// Leaves the message and says so, or why not; false: the caller is gone before its end.
    fn take_message(&mut self, directory: &Path) -> bool {
        let terms = Said { sender: &self.sender, ..Said::default() };
        let envelope = records(&terms, &self.recipients);
        let bytes_max = self.bytes_max;
        let mut message = Message { deputy: self, end: None, is_cut: false };
        let left = drops::leave(directory, bytes_max, &envelope, &mut message);
        // What is not kept is read to its end all the same, to be back in step.
        let mut rest = [0; 1024];
        while message.end.is_none() && !message.is_cut {
            let _ = message.read(&mut rest);
        }
        let Message { end: Some(bare), .. } = message else { return false };
        let now = self.now();
        match left {
            Ok(_) => self.server.left(&mut self.out, now),
            Err(_) if bare => self.refuse(Reply::BARE_IN_MESSAGE),
            Err(LeaveError::Full) => self.refuse(Reply::NO_ROOM),
            Err(_) => self.refuse(Reply::LOCAL_ERROR),
        }
        true
    }
}

/// What is offered.
fn terms(hostname: &str, bytes_max: u64) -> Terms<'_> {
    Terms {
        hostname,
        size_max: bytes_max,
        recipients_max: super::TRANSACTION_RECIPIENTS_MAX as u8,
        command_timeout: COMMAND_TIMEOUT,
        data_timeout: DATA_TIMEOUT,
        offers: Offers::BASIC,
        lenient: false,
    }
}

/// The message that comes, for who writes it down.
struct Message<'a, W> {
    deputy: &'a mut Deputy<W>,
    /// The end has come; a bare CR or LF, which nobody may pass on, was in it or not.
    end: Option<bool>,
    is_cut: bool,
}

impl<W: Write> Read for Message<'_, W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_cut {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            match self.end {
                Some(true) => return Err(ErrorKind::InvalidData.into()),
                Some(false) if self.deputy.body.is_empty() => return Ok(0),
                _ => {}
            }
            let count = into.len().min(self.deputy.body.len());
            if count > 0 {
                for (to, from) in into.iter_mut().zip(self.deputy.body.drain(..count)) {
                    *to = from;
                }
                return Ok(count);
            }
            match self.deputy.step() {
                Step::Wait => match self.deputy.wait() {
                    Ok(Wait::Bytes) => {}
                    Ok(Wait::TimedOut) => self.is_cut = self.deputy.time_out(),
                    Ok(Wait::Over) | Err(_) => self.is_cut = true,
                },
                Step::End { bare } => self.end = Some(bare),
                Step::Close => self.is_cut = true,
                Step::Again | Step::Data => {}
            }
        }
    }
}

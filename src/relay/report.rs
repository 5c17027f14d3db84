//! A report of failed delivery, written straight into the queue (RFC 3464).
//!
//! `mail::report` has the words; here the message that failed is read once more, its recipients and
//! its header are told, and the report becomes a message of its own, from `<>` to the sender. None
//! is made for a message from `<>` or for a report (threats 14), nor for a stranger's: his sender
//! address may be anybody's. The failed recipients are marked done only when the report is durable
//! (I7); if there is no room for it they stay queued and fail again later.

use super::additions::arrival;
use super::ledger::{Ledger, Outcome};
use super::route::Qualified;
use crate::base::buffer::Text;
use crate::base::time::Now;
use crate::config::Config;
use crate::mail::address::Address;
use crate::mail::report::{self, Cause, FailedRecipient, Report, ReturnedHeader};
use crate::queue::block::Header;
use crate::queue::disk::{Block, Disk};
use crate::queue::draft::{Draft, Origin, QueueError, Summary};
use crate::queue::envelope::Record;
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::{Queue, Ticket};
use core::fmt;

/// Recipients that a report explains in full; every one of them has its status.
const EXPLAINED_MAX: u32 = 8;
/// Bytes of the failed message's header that go back.
const RETURNED_BYTES_MAX: usize = 2048;

/// What came of writing a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is on the batch: when it is durable the failed recipients are done.
    Waiting,
    /// Nobody is to have one: they are done now.
    None,
}

/// Why there is none though there should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unwritten {
    /// The queue does not take it now.
    Queue(QueueError),
    /// The failed message cannot be read.
    Read(ReadError),
}

impl From<ReadError> for Unwritten {
    fn from(error: ReadError) -> Self {
        Unwritten::Read(error)
    }
}

impl From<QueueError> for Unwritten {
    fn from(error: QueueError) -> Self {
        Unwritten::Queue(error)
    }
}

/// What a report is made from.
pub struct Failure<'a> {
    /// The message.
    pub ticket: Ticket,
    /// Who failed, and in which words.
    pub ledger: &'a Ledger,
    /// The next hop's name, if one said so.
    pub remote: Option<&'a str>,
    /// Why they are not tried any more.
    pub cause: Cause,
    /// What the destination said last, or who has decided, for those whom nobody has refused.
    pub last_words: &'a str,
}

/// Where a report is written.
pub struct Desk<'a, D> {
    /// Settings.
    pub config: &'a Config,
    /// The queue.
    pub queue: &'a mut Queue,
    /// What it lies on.
    pub disk: &'a mut D,
    /// Both clocks.
    pub now: Now,
    /// A block buffer to read the message with.
    pub reading: &'a mut Block,
    /// Another to write the report with.
    pub writing: &'a mut Block,
}

impl<D: Disk> Desk<'_, D> {
    /// Writes the report of `failure` for `owner` on the batch.
    pub fn write(&mut self, failure: &Failure<'_>, owner: u32) -> Result<Written, Unwritten> {
        let mut message = self.open(failure.ticket)?;
        let header = *message.header();
        if header.flags & (Header::REPORT | Header::STRANGER) != 0 {
            return Ok(Written::None);
        }
        let sender = loop {
            match message.record(self.queue, self.disk, self.reading)? {
                Some(Record::Sender(sender)) => {
                    break Text::<254>::from(core::str::from_utf8(sender).unwrap_or_default());
                }
                Some(_) => {}
                None => return Err(ReadError::Unreadable.into()),
            }
        };
        if sender.is_empty() {
            return Ok(Written::None);
        }
        let address =
            Address::parse_utf8(sender.as_str().as_bytes()).or(Err(ReadError::Unreadable))?;
        let to = Qualified::new(address, &self.config.hostname);
        let to = to.address().ok_or(ReadError::Unreadable)?;
        let mut draft = self.queue.begin(self.disk, Origin::Report, None)?;
        let written = self.write_all(failure, address, to, &header, &mut draft);
        if let Err(error) = written {
            self.queue.abandon(draft);
            return Err(error);
        }
        let flags = Header::REPORT;
        let arrival = self.now.unix.seconds;
        let summary = Summary { flags, arrival, needs: 0 };
        let now = self.now.instant;
        self.queue.finish(self.disk, draft, self.writing, owner, summary, now)?;
        Ok(Written::Waiting)
    }

    fn open(&mut self, ticket: Ticket) -> Result<Message, ReadError> {
        Message::open(self.queue, self.disk, ticket, self.reading)
    }

    fn write_all(
        &mut self,
        failure: &Failure<'_>,
        sender: Address<'_>,
        to: Address<'_>,
        header: &Header,
        draft: &mut Draft,
    ) -> Result<(), Unwritten> {
        let report = Report {
            hostname: &self.config.hostname,
            to,
            // The report's own number is not taken yet; this one is as good as unique.
            id: self.queue.seal().scatter(header.seq, self.queue.run(self.now.instant)),
            original_id: header.seq,
            image: self.queue.image(),
            arrival: arrival(header, self.queue, self.now),
            now: self.now,
            cause: failure.cause,
            envid: None,
        };
        for record in [Record::Sender(b""), Record::Recipient(sender.as_str().as_bytes())] {
            self.queue.record(self.disk, draft, self.writing, &record)?;
        }
        self.put(draft, |out| report::write_head(out, &report))?;
        self.each_failed(failure, draft, EXPLAINED_MAX, report::write_explanation)?;
        self.put(draft, |out| report::write_status_head(out, &report))?;
        let mut message = self.each_failed(failure, draft, u32::MAX, report::write_status)?;
        self.put(draft, |out| report::write_headers_head(out, &report))?;
        let mut returned = ReturnedHeader::new(RETURNED_BYTES_MAX);
        while let Some(bytes) = message.bytes(self.queue, self.disk, self.reading)? {
            let mut piece = [0u8; 256];
            let count = bytes.len().min(piece.len());
            for (to, from) in piece.iter_mut().zip(bytes) {
                *to = *from;
            }
            message.consume(count);
            let piece = piece.get(..count).unwrap_or_default();
            let mut is_over = false;
            self.put(draft, |out| {
                is_over = returned.push(out, piece)?;
                Ok(())
            })?;
            if is_over {
                break;
            }
        }
        self.put(draft, |out| returned.finish(out))?;
        self.put(draft, |out| report::write_tail(out, &report))
    }

    /// Calls `write` for the first `most` failed recipients; leaves the message at its first byte.
    fn each_failed(
        &mut self,
        failure: &Failure<'_>,
        draft: &mut Draft,
        most: u32,
        write: fn(&mut dyn fmt::Write, &FailedRecipient<'_>) -> fmt::Result,
    ) -> Result<Message, Unwritten> {
        let mut message = self.open(failure.ticket)?;
        let mut number = 0u8;
        let mut told = 0;
        while let Some(record) = message.record(self.queue, self.disk, self.reading)? {
            let Record::Recipient(text) = record else { continue };
            let is_failed = failure.ledger.outcome(number) == Some(Outcome::Failed);
            if is_failed && told < most {
                told += 1;
                let address = Text::<254>::from(core::str::from_utf8(text).unwrap_or_default());
                let is_refused = failure.cause == Cause::Refused;
                let reply = failure.ledger.reply(number).filter(|_| is_refused);
                let mut words = Text::<256>::from(failure.last_words);
                if let Some(reply) = reply {
                    words.clear();
                    // A Text cuts what is too long, it never fails.
                    let _ = fmt::Write::write_fmt(&mut words, format_args!("{reply}"));
                }
                let status = match reply.and_then(|reply| reply.status) {
                    Some(status) => (status.class, status.subject, status.detail),
                    // RFC 3463 §3.5: delivery time expired; otherwise nothing more is known.
                    None if failure.cause == Cause::Expired => (4, 4, 7),
                    None => (5, 0, 0),
                };
                let recipient = FailedRecipient {
                    address: address.as_str(),
                    original: None,
                    status,
                    remote: failure.remote,
                    text: words.as_str(),
                };
                self.put(draft, |out| write(out, &recipient))?;
            }
            number += 1;
        }
        Ok(message)
    }

    fn put(
        &mut self,
        draft: &mut Draft,
        write: impl FnOnce(&mut dyn fmt::Write) -> fmt::Result,
    ) -> Result<(), Unwritten> {
        let Desk { queue, disk, writing, .. } = self;
        let mut paper = Paper { queue, disk: *disk, draft, block: writing, error: None };
        let written = write(&mut paper);
        match (paper.error, written) {
            (Some(error), _) => Err(error.into()),
            // Nothing else in a report can fail; if it does, the report is not made now.
            (None, Err(fmt::Error)) => Err(QueueError::Full.into()),
            (None, Ok(())) => Ok(()),
        }
    }
}

/// A draft as something to write text on.
struct Paper<'a, D> {
    queue: &'a mut Queue,
    disk: &'a mut D,
    draft: &'a mut Draft,
    block: &'a mut Block,
    error: Option<QueueError>,
}

impl<D: Disk> fmt::Write for Paper<'_, D> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Paper { queue, disk, draft, block, error } = self;
        queue.append(*disk, draft, block, text.as_bytes()).map_err(|why| {
            *error = Some(why);
            fmt::Error
        })
    }
}

//! A report of what became of a mail, written straight into the queue (RFC 3464).
//!
//! `mail::report` has the words; here the message is read once more, its recipients and its header
//! are told, and the report becomes a message of its own, from `<>` to the sender. None is made for
//! a message from `<>` or for a report (threats 14), nor for a stranger's: his sender address may
//! be anybody's. Who is told of is decided by what the sender asked (NOTIFY, RFC 3461 §5.2):
//! failures, unless he said otherwise; successes of which nobody else will tell.
//!
//! RET=FULL returns the whole message with a failure, if it is small and plain text; else its
//! header comes back, cut at a limit, as RFC 3461 §6.2 allows.
//!
//! Those of whom a report tells are marked done only when it is durable (I7); if there is no room
//! for it, those who failed stay queued and fail again later.

use super::additions::{arrival, traits};
use super::late;
use super::ledger::{Ledger, Outcome};
use super::route::Qualified;
use super::wishes::{RecipientWishes, Wishes};
use crate::base::buffer::Text;
use crate::base::time::{Now, UnixTime};
use crate::config::Config;
use crate::mail::address::Address;
use crate::mail::header::Traits;
use crate::mail::report::{
    self, Action, Cause, Enclosure, Report, ReportedRecipient, ReturnedHeader, Tidings,
};
use crate::queue::block::Header;
use crate::queue::disk::{Block, Disk};
use crate::queue::draft::{Draft, Origin, QueueError, Summary};
use crate::queue::envelope::{By, Record};
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::{Queue, Ticket};
use crate::smtp::parameter::{Notify, Return};
use crate::smtp::reply::RemoteReply;
use core::fmt;

/// Recipients that a report explains in full; every one of them has its status.
const EXPLAINED_MAX: u32 = 8;
/// What is copied at one time.
const PIECE_BYTES: usize = 256;
/// Bytes of the message's header that go back.
const RETURNED_BYTES_MAX: usize = 2048;
/// The largest message that goes back whole.
const WHOLE_BYTES_MAX: u64 = 4096;

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
pub struct Tale<'a> {
    /// The message.
    pub ticket: Ticket,
    /// Who failed and who did not, and in which words.
    pub ledger: &'a Ledger,
    /// The next hop's name, if one said so.
    pub remote: Option<&'a str>,
    /// Why they are not tried any more.
    pub cause: Cause,
    /// It is not about an end: it takes long.
    pub notice: Option<Notice>,
    /// What the destination said last, or who has decided, for those whom nobody has refused.
    pub last_words: &'a str,
}

/// Why somebody is told that it takes long.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// The time in which it was to be delivered is over.
    pub is_late: bool,
    /// The time of the key `delay-notice` is.
    pub is_slow: bool,
    /// How long it is tried yet.
    pub seconds_left: u64,
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
    /// Writes the report of `tale` for `owner` on the batch.
    pub fn write(&mut self, tale: &Tale<'_>, owner: u32) -> Result<Written, Unwritten> {
        let mut message = self.open(tale.ticket)?;
        let header = *message.header();
        if header.flags & (Header::REPORT | Header::STRANGER) != 0 {
            return Ok(Written::None);
        }
        let outline = self.outline(tale, &mut message)?;
        let Some(tidings) = outline.tidings.filter(|_| !outline.sender.is_empty()) else {
            return Ok(Written::None);
        };
        let sender = outline.sender.as_str().as_bytes();
        let address = Address::parse_utf8(sender).or(Err(ReadError::Unreadable))?;
        let to = Qualified::new(address, &self.config.origin);
        let to = to.address().ok_or(ReadError::Unreadable)?;
        let envid = outline.wishes.envid;
        let report = Report {
            hostname: &self.config.hostname,
            to,
            // The report's own number is not taken yet; this one is as good as unique.
            id: self.queue.seal().scatter(header.seq, self.queue.run(self.now.instant)),
            original_id: header.seq,
            image: self.queue.image(),
            arrival: arrival(&header, self.queue, self.now),
            now: self.now,
            tidings,
            cause: tale.cause,
            enclosure: enclosure(&outline, &header),
            envid: (!envid.is_empty()).then(|| envid.as_str()),
            hold: outline.wishes.hold.map(|hold| (hold.seconds, known_time(hold.until))),
            deliver_by: outline.wishes.by.map(|by| self.end_of(tale.ticket, by)),
        };
        let mut draft = self.queue.begin(self.disk, Origin::Report, None)?;
        let written = self.write_all(tale, address, &report, &mut draft);
        if let Err(error) = written {
            self.queue.abandon(draft);
            return Err(error);
        }
        let traits = if to.is_ascii() { 0 } else { Traits::EIGHT_BIT_HEADER };
        let flags = Header::REPORT | u32::from(traits);
        let arrival = self.now.unix.seconds;
        let summary = Summary { flags, arrival, needs: 0 };
        let now = self.now.instant;
        self.queue.finish(self.disk, draft, self.writing, owner, summary, now)?;
        Ok(Written::Waiting)
    }

    fn open(&mut self, ticket: Ticket) -> Result<Message, ReadError> {
        Message::open(self.queue, self.disk, ticket, self.reading)
    }

    /// When it was to be delivered, by the clock of now.
    fn end_of(&self, ticket: Ticket, by: By) -> UnixTime {
        let since = self.queue.waiting(ticket).map_or(0, |waiting| waiting.arrival);
        let age = self.queue.run(self.now.instant).saturating_sub(since);
        let UnixTime { seconds, trusted } = self.now.unix;
        UnixTime { seconds: seconds.saturating_add(late::left(by, age)), trusted }
    }

    /// Reads the envelope: to whom, whether at all, and what is asked.
    fn outline(&mut self, tale: &Tale<'_>, message: &mut Message) -> Result<Outline, ReadError> {
        let mut outline = Outline { sender: Text::new(), wishes: Wishes::default(), tidings: None };
        let mut number = 0u8;
        while let Some(record) = message.record(self.queue, self.disk, self.reading)? {
            match record {
                Record::Sender(sender) => {
                    let sender = core::str::from_utf8(sender).unwrap_or_default();
                    outline.sender = Text::from(sender);
                }
                Record::Recipient(_) => {
                    let wishes = outline.wishes.take_recipient();
                    outline.tidings = match (tale.action(number, &wishes), outline.tidings) {
                        (None, tidings) => tidings,
                        (Some(Action::Delayed), _) => Some(Tidings::Delay),
                        (Some(Action::Failed), None | Some(Tidings::Failure)) => {
                            Some(Tidings::Failure)
                        }
                        (Some(Action::Failed), Some(_)) => Some(Tidings::Both),
                        (Some(_), None | Some(Tidings::Success)) => Some(Tidings::Success),
                        (Some(_), Some(_)) => Some(Tidings::Both),
                    };
                    number = number.saturating_add(1);
                }
                other => outline.wishes.note(&other),
            }
        }
        Ok(outline)
    }

    fn write_all(
        &mut self,
        tale: &Tale<'_>,
        sender: Address<'_>,
        report: &Report<'_>,
        draft: &mut Draft,
    ) -> Result<(), Unwritten> {
        let utf8 = (!sender.is_ascii()).then_some(Record::Utf8);
        let recipient = Record::Recipient(sender.as_str().as_bytes());
        for record in [Some(Record::Sender(b"")), utf8, Some(recipient)].into_iter().flatten() {
            self.queue.record(self.disk, draft, self.writing, &record)?;
        }
        self.put(draft, |out| report::write_head(out, report))?;
        self.each_told(tale, draft, EXPLAINED_MAX, report::write_explanation)?;
        self.put(draft, |out| report::write_status_head(out, report))?;
        let mut message = self.each_told(tale, draft, u32::MAX, report::write_status)?;
        self.put(draft, |out| report::write_enclosure_head(out, report))?;
        match report.enclosure {
            Enclosure::Header => self.enclose_header(&mut message, draft)?,
            Enclosure::Message => self.enclose_message(&mut message, draft)?,
        }
        self.put(draft, |out| report::write_tail(out, report))
    }

    fn enclose_header(
        &mut self,
        message: &mut Message,
        draft: &mut Draft,
    ) -> Result<(), Unwritten> {
        let mut returned = ReturnedHeader::new(RETURNED_BYTES_MAX);
        let mut piece = [0u8; PIECE_BYTES];
        loop {
            let count = self.piece(message, &mut piece)?;
            let bytes = piece.get(..count).unwrap_or_default();
            let mut is_over = count == 0;
            self.put(draft, |out| {
                is_over |= returned.push(out, bytes)?;
                Ok(())
            })?;
            if is_over {
                return self.put(draft, |out| returned.finish(out));
            }
        }
    }

    fn enclose_message(
        &mut self,
        message: &mut Message,
        draft: &mut Draft,
    ) -> Result<(), Unwritten> {
        let mut piece = [0u8; PIECE_BYTES];
        loop {
            let count = self.piece(message, &mut piece)?;
            let Some(bytes) = piece.get(..count).filter(|bytes| !bytes.is_empty()) else {
                return Ok(());
            };
            let Desk { queue, disk, writing, .. } = self;
            queue.append(*disk, draft, writing, bytes)?;
        }
    }

    /// The next bytes of the message, out of the buffer that they are read with; 0 at its end.
    fn piece(&mut self, message: &mut Message, into: &mut [u8]) -> Result<usize, ReadError> {
        let Some(bytes) = message.bytes(self.queue, self.disk, self.reading)? else {
            return Ok(0);
        };
        let count = bytes.len().min(into.len());
        for (to, from) in into.iter_mut().zip(bytes) {
            *to = *from;
        }
        message.consume(count);
        Ok(count)
    }

    /// Calls `write` for the first `most` recipients of whom is told; leaves the message at its
    /// first byte.
    fn each_told(
        &mut self,
        tale: &Tale<'_>,
        draft: &mut Draft,
        most: u32,
        write: fn(&mut dyn fmt::Write, &ReportedRecipient<'_>) -> fmt::Result,
    ) -> Result<Message, Unwritten> {
        let mut message = self.open(tale.ticket)?;
        let mut wishes = Wishes::default();
        let (mut number, mut told) = (0u8, 0);
        while let Some(record) = message.record(self.queue, self.disk, self.reading)? {
            let Record::Recipient(text) = record else {
                wishes.note(&record);
                continue;
            };
            let recipient = wishes.take_recipient();
            if let Some(action) = tale.action(number, &recipient).filter(|_| told < most) {
                told += 1;
                let address = Text::<254>::from(core::str::from_utf8(text).unwrap_or_default());
                let original = recipient.original;
                let words = tale.words(number, action);
                let recipient = ReportedRecipient {
                    address: address.as_str(),
                    action,
                    original: (!original.is_empty()).then(|| original.as_str()),
                    status: tale.status(number, action),
                    remote: tale.remote.filter(|_| !tale.ledger.is_own(number)),
                    text: words.as_str(),
                    retry_until: tale.notice.map(|notice| UnixTime {
                        seconds: self.now.unix.seconds.saturating_add_unsigned(notice.seconds_left),
                        ..self.now.unix
                    }),
                };
                self.put(draft, |out| write(out, &recipient))?;
            }
            number = number.saturating_add(1);
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

/// The time of a hold, unless the clock was not set.
fn known_time(seconds: i64) -> Option<UnixTime> {
    (seconds != i64::MAX).then_some(UnixTime { seconds, trusted: true })
}

/// What is known of a report before it is written.
struct Outline {
    sender: Text<254>,
    wishes: Wishes,
    /// None: nobody is to be told of.
    tidings: Option<Tidings>,
}

/// RFC 3461 §4.3 and §6.2: the whole message only with a failure, and only if asked for.
fn enclosure(outline: &Outline, header: &Header) -> Enclosure {
    let traits = traits(header);
    let is_plain = !outline.wishes.is_binary
        && !traits.has(
            Traits::EIGHT_BIT_HEADER
                | Traits::EIGHT_BIT_BODY
                | Traits::NUL
                | Traits::LONG_LINE
                | Traits::NO_HEADER,
        );
    let is_small = header.message_len <= WHOLE_BYTES_MAX;
    let is_asked = outline.wishes.ret == Some(Return::Full);
    let has_failed = matches!(outline.tidings, Some(Tidings::Failure | Tidings::Both));
    match is_plain && is_small && is_asked && has_failed {
        true => Enclosure::Message,
        false => Enclosure::Header,
    }
}

impl Tale<'_> {
    /// What is to be told of recipient `number`, if anything is.
    fn action(&self, number: u8, wishes: &RecipientWishes) -> Option<Action> {
        match self.ledger.outcome(number)? {
            Outcome::Failed => wishes.wants_failure().then_some(Action::Failed),
            Outcome::Delivered if !self.ledger.is_told(number) => None,
            Outcome::Delivered if self.remote.is_some() => Some(Action::Relayed),
            Outcome::Delivered => Some(Action::Delivered),
            Outcome::Deferred => self.notice.and_then(|notice| {
                let is_never = wishes.notify == Some(Notify::NEVER);
                let is_wanted = notice.is_slow && wishes.wants_delay();
                (is_wanted || notice.is_late && !is_never).then_some(Action::Delayed)
            }),
        }
    }

    /// The reply that concerns recipient `number`, unless something else has decided.
    fn reply(&self, number: u8, action: Action) -> Option<&RemoteReply> {
        let is_theirs = action != Action::Failed || self.cause == Cause::Refused;
        self.ledger.reply(number).filter(|_| is_theirs)
    }

    fn words(&self, number: u8, action: Action) -> Text<256> {
        let mut words = Text::from(self.last_words);
        if let Some(reply) = self.reply(number, action) {
            words.clear();
            // A Text cuts what is too long, it never fails.
            let _ = fmt::Write::write_fmt(&mut words, format_args!("{reply}"));
        }
        words
    }

    fn status(&self, number: u8, action: Action) -> (u8, u16, u16) {
        match self.reply(number, action).and_then(|reply| reply.status) {
            Some(status) => (status.class, status.subject, status.detail),
            // RFC 2852 §4: delivery time expired. A delay has no other reason that is known here.
            None if action == Action::Delayed => (4, 4, 7),
            None if action != Action::Failed => (2, 0, 0),
            None if self.cause == Cause::Late => (5, 4, 7),
            // RFC 3463 §3.5: delivery time expired; otherwise nothing more is known.
            None if self.cause == Cause::Expired => (4, 4, 7),
            None => (5, 0, 0),
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

//! One message × one lane: the envelope's recipients that belong there, then the body, as streams.
//!
//! An attempt holds numbers and one line of fields; the message's bytes stand in the sending slot's
//! block buffer, one block at a time. What the next hop gets is the bytes as submitted, behind
//! fields made now (decisions 1): Received, which names the queue id, and Date, Message-ID and From
//! where the sender left them out; without Bcc where a local program handed it in. All of it is the
//! same on every attempt but for the corrected clock.
//!
//! Received is made here and not stored at the beginning of the message, as decisions 1 has it: the
//! queue id that it must name is taken when the header block is built, after the body
//! (`queue/FORMAT.md`).

use super::ledger::Ledger;
use super::route::{self, Qualified, leads_to};
use crate::base::buffer::{Buffer, Text};
use crate::base::time::{Now, UnixTime};
use crate::config::Config;
use crate::limits::{ADDRESS_BYTES_MAX, RECIPIENTS_MAX};
use crate::mail::address::Address;
use crate::mail::edit::Edit;
use crate::mail::header::Traits;
use crate::mail::stamp::{self, Received, ReceivedFrom};
use crate::queue::block::Header;
use crate::queue::disk::{Block, Disk};
use crate::queue::envelope::Record;
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::{Queue, Ticket};
use crate::relay::route::Destination;
use crate::smtp::client::Client;
use crate::smtp::data::{DotWriter, FINISH_BYTES_MAX};
use core::fmt::Write as _;
use core::time::Duration;

/// Bytes of the fields that are put before a message: Received with a long HELO, Date, Message-ID,
/// From.
const ADDITIONS_BYTES_MAX: usize = 1536;

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Envelope,
    AwaitGo,
    Body,
    /// All of the message is out, the dot may not be.
    End,
    AwaitFinal,
}

/// See the module's head.
pub struct Attempt {
    message: Message,
    phase: Phase,
    /// How it goes.
    pub ledger: Ledger,
    number: u8,
    edit: Edit,
    dots: DotWriter,
    client: Text<128>,
    /// For a mailbox: who it is from, and the first of its recipients there.
    sender: Text<ADDRESS_BYTES_MAX>,
    /// See `sender`.
    recipient: Text<ADDRESS_BYTES_MAX>,
    additions: Text<ADDITIONS_BYTES_MAX>,
    /// A recipient that waits until it may be asked.
    pending: Option<Text<ADDRESS_BYTES_MAX>>,
}

/// What an attempt needs of its surroundings for the length of a call.
pub struct Scope<'a, D> {
    /// Settings.
    pub config: &'a Config,
    /// Where the message lies.
    pub queue: &'a Queue,
    /// What that lies on.
    pub disk: &'a mut D,
    /// Both clocks.
    pub now: Now,
    /// The lane's destination.
    pub destination: &'a Destination,
}

impl Attempt {
    /// Opens `ticket`'s message in `block`.
    pub fn open<D: Disk>(
        ticket: Ticket,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<Attempt, ReadError> {
        let message = Message::open(scope.queue, scope.disk, ticket, block)?;
        let traits = traits(message.header());
        let remove_bcc =
            message.header().flags & Header::SUBMITTED != 0 && traits.has(Traits::HAS_BCC);
        Ok(Attempt {
            message,
            phase: Phase::Envelope,
            ledger: Ledger::default(),
            number: 0,
            edit: Edit::new(remove_bcc, traits.has(Traits::NO_HEADER)),
            dots: DotWriter::new(),
            client: Text::new(),
            sender: Text::new(),
            recipient: Text::new(),
            additions: Text::new(),
            pending: None,
        })
    }

    /// The message.
    pub fn ticket(&self) -> Ticket {
        self.message.ticket()
    }

    /// Sends as much of the envelope as may be sent. The first record begins the mail.
    pub fn send_envelope<D: Disk>(
        &mut self,
        client: &mut Client,
        out: &mut Buffer,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<(), ReadError> {
        while self.phase == Phase::Envelope {
            if let Some(text) = &self.pending {
                if !client.may_ask(out) {
                    return Ok(());
                }
                if let Ok(address) = Address::parse(text.as_str().as_bytes()) {
                    client.ask_recipient(out, address);
                }
                self.pending = None;
            }
            if !self.next_recipient(Some((client, out)), block, scope)? {
                client.end_envelope(out, scope.now.instant);
                self.phase = Phase::AwaitGo;
            }
        }
        Ok(())
    }

    /// Reads the whole envelope, for a lane that is not a next hop.
    pub fn read_envelope<D: Disk>(
        &mut self,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<(), ReadError> {
        while self.next_recipient(None, block, scope)? {
            self.pending = None;
        }
        self.phase = Phase::Body;
        Ok(())
    }

    /// MAIL was refused: reads who else it was for, asking nobody.
    pub fn read_refused<D: Disk>(
        &mut self,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<(), ReadError> {
        self.read_envelope(block, scope)?;
        self.phase = Phase::AwaitGo;
        Ok(())
    }

    /// The sender and who else there is; false at the end of the envelope. A recipient of ours is
    /// `pending` afterwards.
    fn next_recipient<D: Disk>(
        &mut self,
        mut client: Option<(&mut Client, &mut Buffer)>,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<bool, ReadError> {
        let header = *self.message.header();
        loop {
            let Scope { config, queue, disk, now, .. } = scope;
            let Some(record) = self.message.record(queue, *disk, block)? else {
                return Ok(false);
            };
            match record {
                Record::Sender(sender) => {
                    let sender = outgoing_sender(sender, config)?;
                    let sender = sender.as_ref().and_then(Qualified::address);
                    self.sender = Text::from(sender.map_or("", |address| address.as_str()));
                    let traits = traits(&header);
                    let when = arrival(&header, queue, *now);
                    write_additions(
                        &mut self.additions,
                        &header,
                        traits,
                        sender,
                        when,
                        config,
                        queue,
                    );
                    if let Some((client, out)) = &mut client {
                        let size = header.message_len + self.additions.as_str().len() as u64 + 400;
                        let eight_bit = traits.has(Traits::EIGHT_BIT_BODY);
                        client.begin_mail(out, sender, Some(size), eight_bit, now.instant);
                    }
                }
                Record::Client(text) => {
                    self.client = Text::from(core::str::from_utf8(text).unwrap_or_default());
                }
                Record::Login(_) | Record::DropName(_) | Record::Account(_) => {}
                Record::Recipient(text) => {
                    let text = core::str::from_utf8(text).or(Err(ReadError::Unreadable))?;
                    let text = Text::<ADDRESS_BYTES_MAX>::from(text);
                    if self.concerns(text.as_str(), scope)? {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// True if the next recipient, `text`, is one of ours who must be named: it is `pending` then.
    fn concerns<D>(&mut self, text: &str, scope: &Scope<'_, D>) -> Result<bool, ReadError> {
        let Scope { config, queue, destination, .. } = scope;
        let number = self.number;
        self.number += 1;
        if usize::from(number) >= RECIPIENTS_MAX || number >= self.message.header().recipients {
            return Err(ReadError::Unreadable);
        }
        let recipient = Address::parse(text.as_bytes()).map_err(|_| ReadError::Unreadable)?;
        let bit = 1u128 << number;
        let is_done = queue.is_done(self.message.ticket(), bit);
        if is_done || !leads_to(config, route::via(config, recipient), destination) {
            return Ok(false);
        }
        let replaced = route::replaced(config, recipient);
        let is_replaced = replaced.as_str() != recipient.as_str();
        self.ledger.mine |= bit;
        if is_replaced && self.ledger.shared.is_some() {
            self.ledger.twins |= bit;
            return Ok(false);
        }
        if is_replaced {
            self.ledger.shared = Some(number);
        }
        self.ledger.asked |= bit;
        let qualified = Qualified::new(replaced, &config.hostname);
        let address = qualified.address().ok_or(ReadError::Unreadable)?;
        if self.recipient.is_empty() {
            self.recipient = Text::from(address.as_str());
        }
        self.pending = Some(Text::from(address.as_str()));
        Ok(true)
    }

    /// The next hop wants the message.
    pub fn go(&mut self, scope_now: Now, config: &Config, queue: &Queue) {
        debug_assert!(self.phase == Phase::AwaitGo);
        self.stamp(scope_now, config, queue);
        self.phase = Phase::Body;
    }

    /// Puts Received before the other additions: now its `by`, `for` and `from` are known.
    pub fn stamp(&mut self, now: Now, config: &Config, queue: &Queue) {
        let header = self.message.header();
        let rest = self.additions;
        self.additions.clear();
        let mut words = self.client.as_str().splitn(3, ' ');
        let protocol = words.next().unwrap_or("SMTP");
        let origin = words.next().unwrap_or_default();
        let helo = words.next().unwrap_or_default();
        let uid = origin.strip_prefix("uid=").and_then(|uid| uid.parse().ok());
        let peer = match (uid, origin.parse()) {
            (Some(uid), _) => ReceivedFrom::Local { uid },
            (None, Ok(address)) => ReceivedFrom::Tcp(address),
            // A report has no client.
            (None, Err(_)) => ReceivedFrom::Here,
        };
        let received = Received {
            helo,
            peer,
            by: &config.hostname,
            protocol,
            id: header.seq,
            recipient: None,
            now: Now { unix: arrival(header, queue, now), ..now },
        };
        // A Text cuts what is too long; a Received cannot be.
        let _ = stamp::write_received(&mut self.additions, &received);
        let _ = self.additions.write_str(rest.as_str());
    }

    /// Wall time of its arrival, as it was told then.
    pub fn arrival(&self) -> i64 {
        self.message.header().arrival
    }

    /// What a mailbox's copy begins with, lines ended by LF (RFC 5321 §4.4; Delivered-To as every
    /// MTA has it).
    pub fn write_top<const N: usize>(&self, out: &mut Text<N>) {
        // A Text cuts what is too long, it never fails.
        let _ = writeln!(out, "Return-Path: <{}>", self.sender.as_str());
        let _ = writeln!(out, "Delivered-To: {}", self.recipient.as_str());
    }

    /// True from [`Attempt::go`] until the final dot is in `out`.
    pub fn is_streaming(&self) -> bool {
        matches!(self.phase, Phase::Body | Phase::End)
    }

    /// Fills `out` with message bytes, dots stuffed; true when the final dot is in it. On an error
    /// the connection must be closed without it (I18).
    pub fn send_body<D: Disk>(
        &mut self,
        out: &mut Buffer,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<bool, ReadError> {
        let mut staged = [0; 1024];
        while self.phase == Phase::Body {
            if out.space() < 2 * staged.len() {
                return Ok(false);
            }
            if self.edit.is_body() {
                // Nothing is left to edit: straight from the block into the output.
                let Some(bytes) = self.message.bytes(scope.queue, scope.disk, block)? else {
                    self.phase = Phase::End;
                    break;
                };
                let (taken, made) = self.dots.push(bytes, out.writable());
                out.produced(made);
                self.message.consume(taken);
                continue;
            }
            let made = self.edited(&mut staged, block, scope)?;
            let Some(made) = made else {
                self.phase = Phase::End;
                break;
            };
            let bytes = staged.get(..made).unwrap_or_default();
            let (_, made) = self.dots.push(bytes, out.writable());
            out.produced(made);
        }
        if self.phase == Phase::End && out.space() >= FINISH_BYTES_MAX {
            let made = self.dots.finish(out.writable());
            out.produced(made);
            self.phase = Phase::AwaitFinal;
            return Ok(true);
        }
        Ok(false)
    }

    /// Fills `output` with edited message bytes without dot-stuffing; none at the end.
    pub fn edited<D: Disk>(
        &mut self,
        output: &mut [u8],
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<Option<usize>, ReadError> {
        let additions = self.additions.as_str();
        let input = self.message.bytes(scope.queue, scope.disk, block)?;
        let made = match input {
            Some(input) => {
                let (taken, made) = self.edit.push(input, additions, output);
                self.message.consume(taken);
                return Ok(Some(made));
            }
            None => self.edit.finish(additions, output),
        };
        Ok((made > 0).then_some(made))
    }
}

/// The scan's traits, as the header keeps them.
fn traits(header: &Header) -> Traits {
    Traits { bits: header.flags as u16, received: 0 }
}

/// The envelope sender towards the next hop: the key `from`, but never in place of `<>`.
fn outgoing_sender(sender: &[u8], config: &Config) -> Result<Option<Qualified>, ReadError> {
    if sender.is_empty() {
        return Ok(None);
    }
    let sender = Address::parse(sender).map_err(|_| ReadError::Unreadable)?;
    let from = config.from.as_ref().and_then(|from| Address::parse(from.as_bytes()).ok());
    Ok(Some(Qualified::new(from.unwrap_or(sender), &config.hostname)))
}

/// When the message came, by a clock that may have been set right since: now less its age.
pub fn arrival(header: &Header, queue: &Queue, now: Now) -> UnixTime {
    if !now.unix.trusted {
        return UnixTime { seconds: header.arrival, trusted: false };
    }
    let age = queue.run(now.instant).saturating_sub(header.run);
    let age = i64::try_from(age).unwrap_or(i64::MAX);
    let by_age = now.unix.seconds.saturating_sub(age);
    // The clock of that time is better than the age, which stands still while mote does not run,
    // unless it was plainly wrong.
    let plausible = header.arrival <= now.unix.seconds
        && now.unix.seconds - header.arrival < age.saturating_add(PLAUSIBLE.as_secs() as i64);
    UnixTime { seconds: if plausible { header.arrival } else { by_age }, trusted: true }
}

/// A message is not taken for older than its age by more than this.
const PLAUSIBLE: Duration = Duration::from_secs(366 * 24 * 3600);

fn write_additions(
    out: &mut Text<ADDITIONS_BYTES_MAX>,
    header: &Header,
    traits: Traits,
    sender: Option<Address<'_>>,
    when: UnixTime,
    config: &Config,
    queue: &Queue,
) {
    out.clear();
    if header.flags & Header::STRANGER != 0 {
        return;
    }
    // None of this can fail: a Text cuts, and all together is shorter than it.
    if traits.has(Traits::NO_DATE) {
        let _ = out.write_str("Date: ");
        let _ = stamp::write_date(out, when, 0);
        let _ = out.write_str("\r\n");
    }
    if traits.has(Traits::NO_MESSAGE_ID) {
        let _ = out.write_str("Message-ID: ");
        let _ = stamp::write_message_id(out, header.seq, queue.image(), &config.hostname);
        let _ = out.write_str("\r\n");
    }
    if traits.has(Traits::NO_FROM) {
        let _ = match sender {
            Some(sender) => write!(out, "From: {}\r\n", sender.as_str()),
            None => write!(out, "From: MAILER-DAEMON@{}\r\n", config.hostname),
        };
    }
}

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
//!
//! A next hop that cannot have the message (binary, or international, and it does not know how) is
//! not asked: it fails here, in our words. A binary message is read twice: a chunk's length is told
//! before its bytes.

use super::additions::{ADDITIONS_BYTES_MAX, arrival, traits, write_additions};
use super::hop::{Hop, own_reply};
use super::late;
use super::ledger::Ledger;
use super::rewriting::Rewriting;
use super::route::{self, By, Qualified, Stead, goes_to};
use super::wishes::{RecipientWishes, Wishes};
use crate::base::buffer::{Buffer, Text};
use crate::base::time::Now;
use crate::config::Config;
use crate::limits::{ADDRESS_BYTES_MAX, RECIPIENTS_MAX};
use crate::mail::address::Address;
use crate::mail::aliases::Addressee;
use crate::mail::edit::{Edit, With};
use crate::mail::header::Traits;
use crate::mail::stamp::{self, Received, ReceivedFrom};
use crate::queue::disk::{Block, Disk};
use crate::queue::envelope::Record;
use crate::queue::message::Message;
use crate::queue::reader::ReadError;
use crate::queue::{Queue, Ticket};
use crate::relay::route::Destination;
use crate::smtp::client::{Client, Particulars};
use crate::smtp::data::{DotWriter, FINISH_BYTES_MAX};
use crate::smtp::peer_offer::PeerOffer;
use crate::smtp::reply::RemoteReply;
use core::fmt::Write as _;

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Envelope,
    /// It cannot be handed to this next hop.
    Refused,
    AwaitGo,
    Body,
    /// All of the message is out, the dot may not be.
    End,
    AwaitFinal,
}

/// A recipient that waits until it may be asked.
struct Pending {
    address: Text<ADDRESS_BYTES_MAX>,
    wishes: RecipientWishes,
}

/// See the module's head.
pub struct Attempt {
    pub(super) message: Message,
    phase: Phase,
    /// How it goes.
    pub ledger: Ledger,
    number: u8,
    pub(super) edit: Edit,
    dots: DotWriter,
    client: Text<128>,
    /// The sender's record has been read.
    has_sender: bool,
    /// For a mailbox: who it is from, and the first of its recipients there.
    sender: Text<ADDRESS_BYTES_MAX>,
    /// See `sender`.
    recipient: Text<ADDRESS_BYTES_MAX>,
    pub(super) additions: Text<ADDITIONS_BYTES_MAX>,
    pub(super) wishes: Wishes,
    pub(super) hop: Hop,
    /// How long it is as it goes out, where that is known before MAIL.
    pub(super) size: Option<u64>,
    /// MAIL has been sent.
    is_begun: bool,
    pending: Option<Pending>,
    /// Recipients to be passed over: the next hop takes only so many in a mail.
    pub(super) skip: u32,
    /// Of a binary message: bytes that have been announced and not been given.
    owed: u64,
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
        let plan = Rewriting::new(scope.config, scope.destination).plan(message.header());
        Ok(Attempt {
            message,
            phase: Phase::Envelope,
            ledger: Ledger::default(),
            number: 0,
            edit: Edit::new(plan),
            dots: DotWriter::new(),
            client: Text::new(),
            has_sender: false,
            sender: Text::new(),
            recipient: Text::new(),
            additions: Text::new(),
            wishes: Wishes::default(),
            hop: Hop::MAILBOX,
            size: None,
            is_begun: false,
            pending: None,
            skip: 0,
            owed: 0,
        })
    }

    /// The message.
    pub fn ticket(&self) -> Ticket {
        self.message.ticket()
    }

    /// Sends as much of the envelope as may be sent. The first recipient begins the mail.
    pub fn send_envelope<D: Disk>(
        &mut self,
        client: &mut Client,
        out: &mut Buffer,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<(), ReadError> {
        if self.number == 0 {
            let offer = client.offer();
            self.hop = Hop::of(offer);
            let is_asked = offer.size.is_some();
            self.choose(offer.recipients_max, block, scope)?;
            if is_asked {
                self.survey(block, scope)?;
            }
        }
        while self.phase == Phase::Envelope {
            if let Some(pending) = &self.pending {
                if !self.is_begun {
                    let age = age(self.ticket(), scope);
                    if let Some(reply) = self.obstacle(client.offer(), age) {
                        self.read_refused(block, scope)?;
                        self.ledger.all_refused_here(reply);
                        self.phase = Phase::Refused;
                        return Ok(());
                    }
                    self.begin(client, out, age, scope);
                    continue;
                }
                if client.is_full() {
                    self.ledger.leave_over(self.number.saturating_sub(1));
                    return self.end_envelope(client, out, block, scope);
                }
                if !client.may_ask(out) {
                    return Ok(());
                }
                if let Ok(address) = Address::parse_utf8(pending.address.as_str().as_bytes()) {
                    let RecipientWishes { notify, original, .. } = &pending.wishes;
                    client.ask_recipient(out, address, *notify, original.as_str());
                }
                self.pending = None;
            }
            if !self.next_recipient(block, scope)? {
                return self.end_envelope(client, out, block, scope);
            }
        }
        Ok(())
    }

    /// Where a next hop takes only so many recipients in a mail (RFC 9422), chooses where to begin:
    /// not always with the first ones, who may be the ones that are put off each time.
    fn choose<D: Disk>(
        &mut self,
        most: Option<u32>,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<(), ReadError> {
        let recipients = u32::from(self.message.header().recipients);
        let Some(most) = most.filter(|most| recipients > *most) else { return Ok(()) };
        while self.next_recipient(block, scope)? {}
        let asked = self.ledger.asked.count_ones();
        let seq = self.ticket().seq;
        let chance = scope.queue.seal().scatter(seq, scope.queue.run(scope.now.instant));
        let fresh = Attempt::open(self.ticket(), block, scope)?;
        let hop = self.hop;
        *self = Attempt { hop, ..fresh };
        if let Some(left) = asked.checked_sub(most).filter(|left| *left > 0) {
            self.skip = (chance % u64::from(left + 1)) as u32;
        }
        Ok(())
    }

    fn begin<D>(&mut self, client: &mut Client, out: &mut Buffer, age: u64, scope: &Scope<'_, D>) {
        let now = scope.now.instant;
        // Now its `by`, `for` and `from` are known.
        self.stamp(scope.now, scope.config, scope.queue);
        if self.edit.is_plain() {
            self.size = Some(
                self.message.header().message_len + self.edit.bytes_ahead(self.additions.as_str()),
            );
        }
        let header = self.message.header();
        let from = Address::parse_utf8(self.sender.as_str().as_bytes()).ok();
        let particulars = Particulars {
            size: self.size,
            eight_bit: traits(header).has(Traits::EIGHT_BIT_BODY),
            binary: self.wishes.is_binary,
            utf8: self.wishes.is_utf8,
            ret: self.wishes.ret,
            envid: self.wishes.envid.as_str(),
            by: self.wishes.by.map(|by| late::remaining(by, age)),
        };
        client.begin_mail(out, from, &particulars, now);
        self.is_begun = true;
    }

    /// Why this next hop cannot have the message, if it cannot.
    fn obstacle(&self, offer: &PeerOffer, age: u64) -> Option<RemoteReply> {
        let has_utf8 = traits(self.message.header()).has(Traits::EIGHT_BIT_HEADER)
            || !self.sender.as_str().is_ascii();
        if self.wishes.is_binary && !offer.binary {
            Some(own_reply((6, 1), "The next server takes no binary mail (BINARYMIME)"))
        } else if self.wishes.is_utf8 && has_utf8 && !offer.utf8 {
            Some(own_reply((6, 7), "The next server takes no international mail (SMTPUTF8)"))
        } else {
            // RFC 2852 §4: 5.4.7.
            let words = self.wishes.by.and_then(|by| late::obstacle(by, age, offer.deliver_by));
            words.map(|words| own_reply((4, 7), words))
        }
    }

    fn end_envelope<D: Disk>(
        &mut self,
        client: &mut Client,
        out: &mut Buffer,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<(), ReadError> {
        self.pending = None;
        if !self.is_begun {
            // Nobody is to be asked, so neither is the next hop.
            self.phase = Phase::Refused;
            return Ok(());
        }
        // Whoever is left over is left over.
        while self.message.record(scope.queue, scope.disk, block)?.is_some() {}
        let now = scope.now.instant;
        if self.wishes.is_binary {
            self.owed = self.measure(block, scope)?;
            client.end_envelope_with_chunk(out, self.owed, now);
        } else {
            client.end_envelope(out, now);
        }
        self.phase = Phase::AwaitGo;
        Ok(())
    }

    /// Reads the whole envelope, for a lane that is not a next hop.
    pub fn read_envelope<D: Disk>(
        &mut self,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<(), ReadError> {
        while self.next_recipient(block, scope)? {
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
    pub(super) fn next_recipient<D: Disk>(
        &mut self,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<bool, ReadError> {
        let header = *self.message.header();
        loop {
            let Scope { config, queue, disk, now, destination } = scope;
            let Some(record) = self.message.record(queue, *disk, block)? else {
                return Ok(false);
            };
            // FORMAT.md: the sender comes first, and there is one; or it is no envelope.
            if matches!(record, Record::Sender(_)) == self.has_sender {
                return Err(ReadError::Unreadable);
            }
            self.has_sender = true;
            match record {
                Record::Sender(sender) => {
                    let rewriting = Rewriting::new(config, destination);
                    let sender = match sender {
                        // Nothing stands in place of `<>`, or a report would be answered.
                        b"" => None,
                        text => Some(Address::parse_utf8(text).or(Err(ReadError::Unreadable))?),
                    };
                    let named = sender.and_then(|sender| rewriting.sender(sender));
                    let named = named.as_ref().and_then(Qualified::address);
                    self.sender = Text::from(named.map_or("", |address| address.as_str()));
                    let when = arrival(&header, queue, *now);
                    write_additions(
                        &mut self.additions,
                        &header,
                        sender,
                        when,
                        &rewriting,
                        config,
                        queue,
                    );
                }
                Record::Client(text) => {
                    self.client = Text::from(core::str::from_utf8(text).unwrap_or_default());
                }
                Record::Recipient(text) => {
                    let text = core::str::from_utf8(text).or(Err(ReadError::Unreadable))?;
                    let text = Text::<ADDRESS_BYTES_MAX>::from(text);
                    if self.concerns(text.as_str(), scope)? {
                        return Ok(true);
                    }
                }
                other => self.wishes.note(&other),
            }
        }
    }

    /// True if the next recipient, `text`, is one of ours who must be named: it is `pending` then.
    fn concerns<D>(&mut self, text: &str, scope: &Scope<'_, D>) -> Result<bool, ReadError> {
        let Scope { config, queue, destination, .. } = scope;
        let mut wishes = self.wishes.take_recipient();
        let number = self.number;
        self.number += 1;
        let recipients = self.message.header().recipients;
        if usize::from(number) >= RECIPIENTS_MAX || number >= recipients {
            return Err(ReadError::Unreadable);
        }
        let recipient = Address::parse_utf8(text.as_bytes()).map_err(|_| ReadError::Unreadable)?;
        let bit = 1u128 << number;
        let is_done = queue.is_done(self.message.ticket(), bit);
        let addressee = Addressee { address: recipient, is_final: wishes.is_final };
        if is_done || !goes_to(config, addressee, destination) {
            return Ok(false);
        }
        let Stead::One { mailbox, by } = route::stead(config, addressee) else {
            return Ok(false);
        };
        let replaced = mailbox.as_str().as_bytes();
        let replaced = Address::parse_utf8(replaced).map_err(|_| ReadError::Unreadable)?;
        let is_replaced = by == By::To && replaced.as_str() != recipient.as_str();
        // RFC 3461 §5.2.7: where several become one, nobody can answer for each of them.
        let is_merged = is_replaced && recipients > 1;
        let is_told = wishes.wants_success() && (!self.hop.dsn || is_merged);
        let knows = self.hop.deliver_by;
        let is_traced = self.wishes.by.is_some_and(|by| late::is_told(by, knows, &wishes));
        let is_told = is_told || is_traced && destination.is_remote();
        if is_told && !matches!(destination, Destination::Discard) {
            self.ledger.success |= bit;
        }
        if is_merged {
            wishes = RecipientWishes::default();
        }
        let is_twin = is_replaced && self.ledger.shared.is_some();
        if self.skip > 0 && !is_twin {
            self.skip -= 1;
            self.ledger.is_partial = true;
            return Ok(false);
        }
        self.ledger.mine |= bit;
        if is_twin {
            self.ledger.twins |= bit;
            return Ok(false);
        }
        let qualified = Qualified::new(replaced, &config.origin);
        let address = qualified.address().ok_or(ReadError::Unreadable)?;
        if !address.is_ascii() && !self.hop.utf8 {
            let words = "The next server takes no international addresses (SMTPUTF8)";
            self.ledger.refused_here(number, own_reply((6, 7), words));
            return Ok(false);
        }
        if is_replaced {
            self.ledger.shared = Some(number);
        }
        self.ledger.asked |= bit;
        if self.recipient.is_empty() {
            self.recipient = Text::from(address.as_str());
        }
        self.pending = Some(Pending { address: Text::from(address.as_str()), wishes });
        Ok(true)
    }

    /// The next hop wants the message.
    pub fn go(&mut self) {
        debug_assert!(self.phase == Phase::AwaitGo);
        self.phase = Phase::Body;
    }

    /// Puts Received before the other additions.
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

    /// True when it is over without the next hop: it has been asked nothing, and shall not be.
    pub fn is_refused(&self) -> bool {
        self.phase == Phase::Refused
    }

    /// True if its bytes are to be kept as they are.
    pub fn is_binary(&self) -> bool {
        self.wishes.is_binary
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
            if self.wishes.is_binary {
                self.send_binary(&mut staged, out, block, scope)?;
                continue;
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
        if self.phase == Phase::End && self.wishes.is_binary {
            self.phase = Phase::AwaitFinal;
            return Ok(true);
        }
        if self.phase == Phase::End && out.space() >= FINISH_BYTES_MAX {
            let made = self.dots.finish(out.writable());
            out.produced(made);
            self.phase = Phase::AwaitFinal;
            return Ok(true);
        }
        Ok(false)
    }

    /// The next piece of a chunk; what was announced must come out, no more and no less.
    fn send_binary<D: Disk>(
        &mut self,
        staged: &mut [u8],
        out: &mut Buffer,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<(), ReadError> {
        let Some(made) = self.edited(staged, block, scope)? else {
            self.phase = Phase::End;
            return if self.owed == 0 { Ok(()) } else { Err(ReadError::Damaged) };
        };
        let bytes = staged.get(..made).unwrap_or_default();
        self.owed = self.owed.checked_sub(made as u64).ok_or(ReadError::Damaged)?;
        // There is room: twice as much as was staged.
        out.push(bytes).map_err(|_| ReadError::Damaged)
    }

    /// Fills `output` with edited message bytes without dot-stuffing; none at the end.
    pub fn edited<D: Disk>(
        &mut self,
        output: &mut [u8],
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<Option<usize>, ReadError> {
        let rewriting = Rewriting::new(scope.config, scope.destination);
        let with = With { additions: self.additions.as_str(), rules: &rewriting };
        let input = self.message.bytes(scope.queue, scope.disk, block)?;
        let made = match input {
            Some(input) => {
                let (taken, made) = self.edit.push(input, with, output);
                self.message.consume(taken);
                return Ok(Some(made));
            }
            None => self.edit.finish(with, output),
        };
        Ok((made > 0).then_some(made))
    }
}

/// Seconds of running since it came, or since a hold was over.
fn age<D>(ticket: Ticket, scope: &Scope<'_, D>) -> u64 {
    let since = scope.queue.waiting(ticket).map_or(0, |waiting| waiting.arrival);
    scope.queue.run(scope.now.instant).saturating_sub(since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Instant;
    use crate::config::{Host, parse};
    use crate::queue::disk::new_block;
    use crate::queue::draft::{Origin, Summary};
    use crate::queue::memory_disk::MemoryDisk;
    use crate::queue::recovery::{format, recover};

    /// What an image holds was not always written by this program.
    #[test]
    fn an_envelope_begins_with_its_one_sender() {
        let host = Host { hostname: "pi.test", home: "/home", is_embedded: false, run: None };
        let config = parse(b"relay = hold\n[route *]\nvia = discard\n", &host).unwrap();
        let (sender, recipient) = (Record::Sender(b"a@b"), Record::Recipient(b"c@d"));
        let start = Instant::default();
        for (records, expected) in [
            (&[sender, recipient][..], Ok(())),
            (&[sender, Record::Login(7), recipient], Ok(())),
            (&[recipient], Err(ReadError::Unreadable)),
            (&[recipient, sender], Err(ReadError::Unreadable)),
            (&[Record::Login(7), sender, recipient], Err(ReadError::Unreadable)),
            (&[sender, sender, recipient], Err(ReadError::Unreadable)),
        ] {
            let mut disk = MemoryDisk::new(64);
            format(&mut disk, [9; 24], 0).unwrap();
            let (mut queue, _) = recover(&mut disk, start, 16, None).unwrap();
            let mut block = new_block();
            let mut draft = queue.begin(&mut disk, Origin::Client, None).unwrap();
            for record in records {
                queue.record(&mut disk, &mut draft, &mut block, record).unwrap();
            }
            let summary = Summary::default();
            let ticket = queue.finish(&mut disk, draft, &mut block, 1, summary, start).unwrap();
            queue.commit(&mut disk, start, |_, _| {});
            let (queue, disk, config) = (&queue, &mut disk, &config);
            let destination = &Destination::Discard;
            let mut scope = Scope { config, queue, disk, now: Now::default(), destination };
            let mut attempt = Attempt::open(ticket, &mut block, &mut scope).unwrap();
            assert_eq!(attempt.read_envelope(&mut block, &mut scope), expected, "{records:?}");
        }
    }
}

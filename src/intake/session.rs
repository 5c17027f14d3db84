//! One conversation with a peer that hands in mail: the server machine, the draft, and the buffers
//! between them and the socket.
//!
//! Data's way: the daemon reads the socket into [`Session::input_mut`] and says how much it was;
//! [`Session::proceed`] steps the machine over it, asks `admission`, streams envelope and body into
//! the draft, and leaves replies in [`Session::output`]. After the final dot the message is on the
//! queue's batch and the session waits, parsing nothing (decisions 4), until the daemon brings the
//! verdict of the sync: [`Session::committed`] says 250 only against a [`Receipt`] (LAW 1).
//!
//! A session's memory is taken once, when its slot is made, and lives through all its tenants. It
//! stores the bytes as submitted and nothing else: Received and whatever is missing are added at
//! each attempt, since the queue's number, which Received names, is not known before the end.
//!
//! A refusal that comes in the middle of a body (too large, no room, disk trouble, a bare CR or LF)
//! frees the draft at once, reads on to the real end, and is answered there.

use super::Lookout;
use super::admission::{Admission, Telling, queue_reply};
use super::devices::News;
use super::envelope::{add_recipient, mail_records, said_of};
use super::later::Times;
use super::login::Login;
use super::peer::{Peer, Secured};
use super::users::Vault;
use super::visitors::Visitors;
use crate::base::ascii::Base62;
use crate::base::buffer::{Buffer, Text};
use crate::base::time::{Instant, Now, earliest};
use crate::config::Config;
use crate::limits::{INPUT_BYTES, REPLIES_BYTES};
use crate::mail::address::{Address, ReversePath};
use crate::mail::header::{Scan, Traits};
use crate::queue::block::Header;
use crate::queue::disk::{Block, Disk, new_block};
use crate::queue::draft::{Draft, QueueError, Summary};
use crate::queue::envelope::Record;
use crate::queue::{NotDurable, Queue, Receipt};
use crate::smtp::parameter::{MailParameters, RcptParameters};
use crate::smtp::reply::Reply;
use crate::smtp::sasl::Mechanisms;
use crate::smtp::server::{Event, Server};
use core::fmt::Write as _;

/// What a session needs of its surroundings for the length of a call.
pub struct Context<'a, D> {
    /// Settings.
    pub config: &'a Config,
    /// Where mail goes.
    pub queue: &'a mut Queue,
    /// What that lies on.
    pub disk: &'a mut D,
    /// Where recipients' mail will go from there.
    pub lookout: &'a dyn Lookout,
    /// What is remembered of peers.
    pub visitors: &'a mut Visitors,
    /// Both clocks.
    pub now: Now,
}

/// Where a session stands, for the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stand {
    /// It has to tell first whom it speaks for.
    AwaitHeader,
    /// Not greeted: nothing is read for it.
    AtDoor,
    /// Goes on with more input, or when output has been written.
    Open,
    /// TLS is to begin, or begins.
    AwaitTls,
    /// Its message is on the batch: the verdict of the next commit is for it.
    AwaitCommit,
    /// To be closed as soon as its output is written.
    Closing,
}

/// See the module's head.
pub struct Session {
    pub(super) server: Server,
    pub(super) input: Buffer,
    pub(super) replies: Buffer,
    pub(super) work: Work,
    pub(super) stand: Stand,
    /// Until when its PROXY header must have come.
    pub(super) header_until: Option<Instant>,
    /// It was told who this is, and nobody has looked yet whether he may come in.
    pub(super) is_new_face: bool,
    /// The handshake has begun.
    pub(super) is_securing: bool,
    /// The peer has gone, or has no more to say.
    pub(super) is_deserted: bool,
    /// Somebody else waits for the slot: whoever does not take the last word goes without it.
    pub(super) is_dismissed: bool,
    /// Since when output has waited for a peer that does not read.
    pub(super) stalled_since: Option<Instant>,
    /// The last time that the peer did something worth a slot (decisions 15).
    pub(crate) last_useful: Instant,
    /// What is to be remembered of the peer, and was not yet told.
    pub(super) news: News,
}

/// What the machine's questions are answered from, apart from the machine and its buffers.
pub(super) struct Work {
    pub(super) peer: Peer,
    /// The number of the listener that it came in by.
    pub(super) listener: u8,
    pub(super) secured: Option<Secured>,
    /// Whom it speaks for was told in the clear, where others may have said it.
    pub(super) is_hearsay: bool,
    pub(super) admission: Admission,
    owner: u32,
    pub(super) hello: Text<64>,
    pub(super) is_extended: bool,
    /// How the peer may log in, once it may.
    pub(super) mechanisms: Mechanisms,
    pub(super) login: Login,
    block: Box<Block>,
    pub(super) transaction: Option<Transaction>,
    sender: Text<254>,
}

/// From MAIL to the verdict on the message. RSET frees exactly this.
pub(super) struct Transaction {
    /// None once the message is sure to be refused.
    draft: Option<Draft>,
    refusal: Option<Reply>,
    scan: Scan,
    is_utf8: bool,
    /// Recipients that were taken, each of them once, whatever his alias leads to.
    named: u8,
    needs: u32,
    /// The lanes of some recipient are not known yet.
    is_open_ended: bool,
    /// Bytes and recipients, when it is on the batch.
    measure: (u64, u8),
}

impl Session {
    /// The memory of a slot, with nobody in it.
    pub fn new() -> Session {
        Session {
            server: Server::new(false),
            input: Buffer::new(INPUT_BYTES),
            replies: Buffer::new(REPLIES_BYTES),
            work: Work {
                peer: Peer::Unix { uid: 0 },
                listener: 0,
                secured: None,
                is_hearsay: false,
                admission: Admission::NOBODY,
                owner: 0,
                hello: Text::new(),
                is_extended: false,
                mechanisms: Mechanisms::NONE,
                login: Login::new(),
                block: new_block(),
                transaction: None,
                sender: Text::new(),
            },
            stand: Stand::AtDoor,
            header_until: None,
            is_new_face: false,
            is_securing: false,
            is_deserted: false,
            is_dismissed: false,
            stalled_since: None,
            last_useful: Instant::default(),
            news: News::default(),
        }
    }

    /// A new tenant, who is not greeted yet, and came in by the config's listener of that number.
    /// `owner` is what the batch shall know the session by.
    pub fn open(
        &mut self,
        peer: Peer,
        listener: u8,
        admission: Admission,
        owner: u32,
        now: Instant,
    ) {
        debug_assert!(self.work.transaction.is_none(), "the last tenant's draft was not freed");
        self.server = Server::new(peer.is_local());
        self.input.clear();
        self.replies.clear();
        self.work.peer = peer;
        self.work.listener = listener;
        (self.work.secured, self.work.is_hearsay) = (None, false);
        self.work.admission = admission;
        self.work.owner = owner;
        self.work.hello.clear();
        self.work.mechanisms = Mechanisms::NONE;
        self.work.login.clear();
        self.arrive(now);
        self.is_new_face = false;
        self.is_securing = false;
        (self.is_deserted, self.is_dismissed) = (false, false);
        self.stalled_since = None;
        self.last_useful = now;
        self.news = News::default();
    }

    /// Says `reply`, a 421, and closes; at once, or after the verdict that is due.
    pub fn dismiss(&mut self, reply: Reply, queue: &mut Queue) {
        if self.server.dismiss(reply, &mut self.replies) {
            self.work.give_up(queue);
            self.stand = Stand::Closing;
            self.is_dismissed = true;
            // This one has not even read what was said before.
            self.is_deserted |= self.stalled_since.is_some();
        }
    }

    /// Who it is.
    pub fn peer(&self) -> Peer {
        self.work.peer
    }

    /// What it may do.
    pub fn admission(&self) -> &Admission {
        &self.work.admission
    }

    /// True when leaving now would interrupt no mail.
    pub fn is_between_mails(&self) -> bool {
        self.is_open() && self.work.transaction.is_none()
    }

    /// True when it neither waits for a verdict nor is over.
    pub fn is_open(&self) -> bool {
        !matches!(self.stand, Stand::AwaitCommit | Stand::Closing)
    }

    /// Where it stands.
    pub fn stand(&self) -> Stand {
        self.stand
    }

    /// True when nothing more can come of it: close the socket, call [`Session::close`].
    pub fn is_over(&self) -> bool {
        match self.stand {
            Stand::AwaitCommit => false,
            Stand::Closing => self.replies.is_empty() || self.is_deserted,
            // What was read before the peer left has been looked at by now.
            Stand::AwaitHeader | Stand::AtDoor | Stand::Open | Stand::AwaitTls => self.is_deserted,
        }
    }

    /// Frees what the tenant held.
    pub fn close(&mut self, queue: &mut Queue) {
        debug_assert!(self.stand != Stand::AwaitCommit, "a verdict is due");
        self.work.give_up(queue);
        self.stand = Stand::Closing;
        // What was sent too early, too long, to be cancelled, or in vain, was a password too.
        self.input.wipe();
        self.work.login.clear();
    }

    /// When to call [`Session::timed_out`].
    pub fn deadline(&self, config: &Config) -> Option<Instant> {
        let stalled = self.stalled_since.map(|since| since + config.command_timeout);
        let held = self.work.login.deadline().filter(|_| self.stand == Stand::Open);
        let header = self.header_until.filter(|_| self.stand == Stand::AwaitHeader);
        earliest(earliest(self.server.deadline(), held), earliest(stalled, header))
    }

    /// A deadline has passed: says 421, or gives up on a peer that does not read.
    pub fn timed_out(&mut self, config: &Config, queue: &mut Queue, now: Instant) {
        let is_stalled = |since: Instant| now >= since + config.command_timeout;
        if self.stalled_since.is_some_and(is_stalled) {
            self.replies.clear();
            self.is_deserted = true;
        }
        self.await_header(now);
        if let Event::Close = self.server.timed_out(&mut self.replies, now) {
            self.work.give_up(queue);
            self.stand = Stand::Closing;
        }
    }

    /// Takes what has been read as far as it goes.
    pub fn proceed<D: Disk + Vault>(&mut self, context: &mut Context<'_, D>) {
        let now = context.now.instant;
        self.take_header(context.config, context.queue);
        let Session { server, input, replies, work, stand, last_useful, news, is_new_face, .. } =
            self;
        if let Some(reply) = work.login.due(now).filter(|_| *stand == Stand::Open) {
            server.answer(reply, replies, now);
        }
        let mut terms = work.terms(context.config);
        work.offer_times(&mut terms.offers, context.config, context.now.unix);
        while matches!(stand, Stand::Open | Stand::AwaitTls) {
            terms.offers.auth.is_held = context.visitors.throttle.is_spent();
            let (consumed, event) = server.step(input.readable(), replies, &terms, now);
            match event {
                Event::Wait => {
                    input.consume(consumed);
                    work.wait(input, context.visitors);
                    return;
                }
                // NOOP and the like are worth no slot.
                Event::Again => (),
                Event::Hello { name, extended } => {
                    work.hello(name, extended);
                    news.is_named = true;
                }
                Event::Mail { path, parameters } => {
                    server.answer(work.mail(path, &parameters, context), replies, now);
                    *last_useful = now;
                }
                Event::Recipient { path, parameters } => {
                    let reply = work.recipient(path, &parameters, context);
                    *last_useful = if reply.code == 250 { now } else { *last_useful };
                    server.answer(reply, replies, now);
                }
                Event::Auth(auth) => {
                    work.log_in(auth, server, replies, context);
                    input.consume(consumed);
                    input.wipe_consumed();
                    *last_useful = now;
                    continue;
                }
                Event::Data => server.answer(work.data(), replies, now),
                Event::Body(bytes) => work.body(bytes, context),
                Event::Chunk { bare } => {
                    server.answer(work.chunk(bare, context.queue), replies, now);
                    *last_useful = now;
                }
                Event::End { bare } => match work.end(bare, context) {
                    Ok(()) => *stand = Stand::AwaitCommit,
                    Err(reply) => server.refused(reply, replies, now),
                },
                Event::Xclient(told) => {
                    (*server, *news) = work.begin_anew(&told, server, context);
                    (*stand, *is_new_face) = (Stand::AtDoor, true);
                }
                Event::Reset => work.give_up(context.queue),
                Event::StartTls => *stand = Stand::AwaitTls,
                Event::EarlyTls => work.began_with_tls(),
                Event::Close => {
                    work.give_up(context.queue);
                    *stand = Stand::Closing;
                }
            }
            input.consume(consumed);
        }
    }

    /// The verdict of the commit that the session's message was in.
    pub fn committed(&mut self, verdict: Result<Receipt, NotDurable>, now: Instant) {
        debug_assert!(self.stand == Stand::AwaitCommit);
        self.stand = Stand::Open;
        self.last_useful = now;
        let Some(transaction) = self.work.transaction.take() else { return };
        match verdict {
            Ok(receipt) => {
                let id = Base62(receipt.ticket().seq);
                self.server.accepted(id, &mut self.replies, now);
                self.news.mails += 1;
                let (size, count) = transaction.measure;
                log::info!(
                    "{id}: from=<{}>, client={}{}, size={size}, nrcpt={count}, msgid={}",
                    self.work.sender.as_str(),
                    self.work.peer,
                    self.work.manner(),
                    transaction.scan.message_id()
                );
            }
            Err(NotDurable) => self.server.refused(Reply::LOCAL_ERROR, &mut self.replies, now),
        }
    }

    /// The config has changed: where the mail goes is to be found anew.
    pub fn reloaded(&mut self) {
        if let Some(transaction) = &mut self.work.transaction {
            transaction.is_open_ended = true;
        }
    }

    /// The queue is broken: what is open now will not be taken (I11).
    pub fn queue_broke(&mut self) {
        if let Some(transaction) = &mut self.work.transaction {
            transaction.draft = None;
            transaction.refusal = Some(Reply::LOCAL_ERROR);
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Work {
    fn mail<D: Disk + Vault>(
        &mut self,
        path: ReversePath<'_>,
        parameters: &MailParameters<'_>,
        context: &mut Context<'_, D>,
    ) -> Reply {
        let size = parameters.size;
        if size.is_some_and(|size| size > self.admission.size_max) {
            return Reply::TOO_BIG;
        }
        if self.admission.xclient == Telling::Must {
            return Reply::XCLIENT_FIRST;
        }
        if let Err(reply) = self.check_sender(path, context) {
            return reply;
        }
        let times = match self.times(parameters, context.config, context.now.unix) {
            Ok(times) => times,
            Err(reply) => return reply,
        };
        let now = context.now.instant;
        let rated = self.rated();
        if rated.is_some_and(|(source, rate)| !context.visitors.rates.allows(source, rate, now)) {
            return Reply::TOO_MANY_MESSAGES;
        }
        let origin = self.granted().origin();
        let mut draft = match context.queue.begin(context.disk, origin, size) {
            Ok(draft) => draft,
            Err(error) => return queue_reply(error),
        };
        let sender = match path {
            ReversePath::Null => "",
            ReversePath::Address(address) => address.as_str(),
        };
        self.sender = Text::from(sender);
        match self.open_envelope(parameters, &times, &mut draft, context) {
            Ok(()) => {
                if let Some((source, rate)) = rated {
                    context.visitors.rates.count(source, rate, now);
                }
                self.transaction = Some(Transaction {
                    draft: Some(draft),
                    refusal: None,
                    scan: Scan::new(),
                    is_utf8: parameters.utf8,
                    named: 0,
                    needs: 0,
                    is_open_ended: times.are_any(),
                    measure: (0, 0),
                });
                Reply::SENDER_OK
            }
            Err(error) => {
                context.queue.abandon(draft);
                queue_reply(error)
            }
        }
    }

    fn open_envelope<D: Disk>(
        &mut self,
        parameters: &MailParameters<'_>,
        times: &Times,
        draft: &mut Draft,
        context: &mut Context<'_, D>,
    ) -> Result<(), QueueError> {
        let protocol = self.protocol(parameters.utf8);
        let Work { block, sender, peer, hello, login, .. } = self;
        let mut client = Text::<128>::new();
        // A Text cuts what is too long, it never fails.
        let _ = match peer {
            Peer::Tcp(address) => write!(client, "{protocol} {} {}", address.ip(), hello.as_str()),
            Peer::Unix { uid } => write!(client, "{protocol} uid={uid} {}", hello.as_str()),
        };
        let records = [
            Some(Record::Sender(sender.as_str().as_bytes())),
            Some(Record::Client(client.as_str().as_bytes())),
            match *peer {
                Peer::Unix { uid } => Some(Record::Login(uid)),
                Peer::Tcp(_) => login.name().map(|name| Record::Account(name.as_bytes())),
            },
        ];
        for record in records.iter().flatten() {
            context.queue.record(context.disk, draft, block, record)?;
        }
        mail_records(parameters, times, |record| {
            context.queue.record(context.disk, draft, block, record)
        })
    }

    fn recipient<D: Disk>(
        &mut self,
        recipient: Address<'_>,
        parameters: &RcptParameters<'_>,
        context: &mut Context<'_, D>,
    ) -> Reply {
        let admission = self.granted();
        let Some(transaction) = &mut self.transaction else { return Reply::LOCAL_ERROR };
        let Some(draft) = &mut transaction.draft else {
            return transaction.refusal.unwrap_or(Reply::LOCAL_ERROR);
        };
        let named = &mut transaction.named;
        if let Err(reply) = admission.recipient(context.config, recipient, *named) {
            return reply;
        }
        let said = said_of(parameters);
        let recorded = add_recipient(draft, named, recipient, &said, &mut self.block, context);
        match recorded {
            Ok(lanes) => {
                transaction.needs |= lanes.unwrap_or(0);
                transaction.is_open_ended |= lanes.is_none();
                Reply::RECIPIENT_OK
            }
            Err(error) => {
                // Part of the record may be in the draft: nothing can be added to it any more.
                self.refuse(queue_reply(error), context.queue);
                queue_reply(error)
            }
        }
    }

    fn data(&self) -> Reply {
        let refusal = self.transaction.as_ref().and_then(|transaction| transaction.refusal);
        refusal.unwrap_or(Reply::START_DATA)
    }

    /// A 250 to a chunk says that it came, not that it is durable (decisions 4).
    fn chunk(&mut self, bare: bool, queue: &mut Queue) -> Reply {
        if bare {
            self.refuse(Reply::BARE_IN_MESSAGE, queue);
        }
        let refusal = self.transaction.as_ref().and_then(|transaction| transaction.refusal);
        refusal.unwrap_or(Reply::CHUNK_OK)
    }

    fn body<D: Disk>(&mut self, bytes: &[u8], context: &mut Context<'_, D>) {
        let Some(transaction) = &mut self.transaction else { return };
        let Some(draft) = &mut transaction.draft else { return };
        if draft.message_len() + bytes.len() as u64 > self.admission.size_max {
            return self.refuse(Reply::TOO_BIG, context.queue);
        }
        transaction.scan.feed(bytes);
        if let Err(error) = context.queue.append(context.disk, draft, &mut self.block, bytes) {
            self.refuse(queue_reply(error), context.queue);
        }
    }

    /// Puts the message on the batch, or says why not.
    fn end<D: Disk>(&mut self, bare: bool, context: &mut Context<'_, D>) -> Result<(), Reply> {
        let Some(mut transaction) = self.transaction.take() else {
            return Err(Reply::LOCAL_ERROR);
        };
        let traits = transaction.scan.traits();
        let refusal = match transaction.refusal {
            Some(refusal) => Some(refusal),
            None if bare => Some(Reply::BARE_IN_MESSAGE),
            // RFC 6531 §3.1, RFC 6532 §3.
            None if transaction.is_utf8 && traits.has(Traits::BAD_UTF8_HEADER) => {
                Some(Reply::BAD_UTF8)
            }
            // RFC 5321 §6.3: a loop is told by counting.
            None if traits.received > context.config.hops => Some(Reply::LOOP),
            None => None,
        };
        let Some(draft) = transaction.draft.take() else {
            return Err(refusal.unwrap_or(Reply::LOCAL_ERROR));
        };
        if let Some(reply) = refusal {
            context.queue.abandon(draft);
            return Err(reply);
        }
        transaction.measure = (draft.message_len(), draft.recipients());
        let mut flags = u32::from(traits.bits);
        if matches!(self.peer, Peer::Unix { .. }) {
            flags |= Header::SUBMITTED;
        }
        if !self.granted().relay {
            flags |= Header::STRANGER;
        }
        let needs = if transaction.is_open_ended { 0 } else { transaction.needs };
        let summary = Summary { flags, arrival: context.now.unix.seconds, needs };
        let now = context.now.instant;
        let Context { queue, disk, .. } = context;
        queue
            .finish(*disk, draft, &mut self.block, self.owner, summary, now)
            .map_err(queue_reply)?;
        self.transaction = Some(transaction);
        Ok(())
    }

    fn refuse(&mut self, reply: Reply, queue: &mut Queue) {
        let Some(transaction) = &mut self.transaction else { return };
        transaction.refusal = Some(reply);
        if let Some(draft) = transaction.draft.take() {
            queue.abandon(draft);
        }
    }

    fn give_up(&mut self, queue: &mut Queue) {
        let transaction = self.transaction.take();
        if let Some(draft) = transaction.and_then(|transaction| transaction.draft) {
            queue.abandon(draft);
        }
    }
}

//! The receiving machine: one peer's session, from the greeting to QUIT.
//!
//! It is fed with [`Server::step`], which takes a prefix of the input, writes replies into `out`
//! and gives one [`Event`]; call it until it says [`Event::Wait`] or [`Event::Close`]. What the
//! protocol alone decides it answers itself; what needs policy or room it asks, and then stands
//! still until [`Server::answer`]. After the final dot it parses nothing, however much lies in the
//! input, until [`Server::accepted`] or [`Server::refused`] (decisions 4, RFC 2920 §3.2).
//!
//! Behind STARTTLS it parses nothing either, until [`Server::secured`]; what comes all the same in
//! the clear ends the session, and what was said before TLS is forgotten (threats 2).
//!
//! Not here: who may send where, the draft, the queue, the socket, TLS itself. Nothing is copied:
//! events lend slices of the input. Replies never echo the peer (threats 3, 20).
//!
//! Invariants ([`Server::check_invariants`]): a transaction exists exactly while the state says so;
//! DATA and BDAT need an accepted recipient; a command is taken only while `out` has room for
//! [`REPLY_BYTES_MAX`], which no answer to it exceeds. Session and transaction are two things, so
//! RSET frees exactly one.
//!
//! Limits: a line by [`super::line`]; [`BAD_COMMANDS_MAX`]; [`IDLE_COMMANDS_MAX`]; a deadline for
//! each command, armed anew only by a whole one, and none while the peer waits for us; in a message
//! those of `pace`; [`SESSION_TIMEOUT`] for strangers (threats 10).
//!
//! When a limit is met the peer gets 421 and [`Event::Close`]; whatever the input, nothing panics.
//!
//! Read first: RFC 5321 §3, §4.1.4, §4.3; RFC 2920; RFC 1870; RFC 2034; RFC 3030; RFC 3207.

use super::command::{self, Command, CommandError};
use super::data::Piece;
use super::lenient::Manners;
use super::line::{Line, is_http, is_proxy, is_tls};
use super::login::Auth;
use super::offer::{Offers, write_hello};
use super::pace::Pace;
use super::parameter::{Body, MailParameters, RcptParameters};
use super::reply::Reply;
use super::state::{Question, State, Transaction};
use super::xclient::ToldClient;
use crate::base::ascii::Base62;
use crate::base::buffer::Buffer;
use crate::base::time::Instant;
use crate::limits::{BAD_COMMANDS_MAX, IDLE_COMMANDS_MAX, REPLY_BYTES_MAX, SESSION_TIMEOUT};
use crate::mail::address::{Address, ReversePath};
use core::fmt::{self, Write as _};
use core::time::Duration;

/// What a session is held to. Lent on each call; the time-outs are taken at the greeting.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// What this machine calls itself; at most 255 bytes.
    pub hostname: &'a str,
    /// The largest message, offered with SIZE.
    pub size_max: u64,
    /// The most recipients of one message.
    pub recipients_max: u8,
    /// From one whole command to the next.
    pub command_timeout: Duration,
    /// Without any byte of a message.
    pub data_timeout: Duration,
    /// Extensions.
    pub offers: Offers,
    /// What can be mended is mended.
    pub lenient: bool,
}

/// What one step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// Nothing can be done before there is more input, more room in `out`, an answer, or a verdict
    /// on the message.
    Wait,
    /// Something was taken, and answered if it wanted an answer; step again.
    Again,
    /// The peer said who it is, and was answered.
    Hello {
        /// Its word for itself: printable ASCII, not to be trusted.
        name: &'a [u8],
        /// EHLO, so ESMTP.
        extended: bool,
    },
    /// May this sender begin a transaction? [`Server::answer`]; 250 begins it.
    Mail {
        /// Where reports go.
        path: ReversePath<'a>,
        /// What is said of the message; its size is never more than [`Terms::size_max`].
        parameters: MailParameters<'a>,
    },
    /// May the mail go to there? [`Server::answer`]; 250 adds it.
    Recipient {
        /// Where it goes.
        path: Address<'a>,
        /// What is said of the recipient.
        parameters: RcptParameters<'a>,
    },
    /// May the data come? [`Server::answer`]; 354 lets it.
    Data,
    /// Bytes of the message, never none. Nothing more of it comes once it is to be refused.
    Body(&'a [u8]),
    /// A chunk that is not the last has come. [`Server::answer`]: 250, or why the message is not
    /// wanted.
    Chunk {
        /// What came so far holds a CR or LF on its own ([`Reply::BARE_IN_MESSAGE`]).
        bare: bool,
    },
    /// The final dot, or the last chunk is over. The verdict is [`Server::accepted`] or
    /// [`Server::refused`].
    End {
        /// It held a CR or LF on its own, so it must be refused ([`Reply::BARE_IN_MESSAGE`]).
        bare: bool,
    },
    /// Somebody logs in, step by step. [`Server::challenge`], or [`Server::answer`]: 235 if he is
    /// who he says.
    Auth(Auth<'a>),
    /// A proxy tells whom it speaks for. The session begins anew: [`Server::anew`].
    Xclient(ToldClient<'a>),
    /// The transaction is over without a message: free the draft.
    Reset,
    /// STARTTLS was answered. Write out what is in `out`, begin TLS if no input is left, then
    /// [`Server::secured`].
    StartTls,
    /// The peer began with TLS where none is spoken. It was told; the next step closes.
    EarlyTls,
    /// Write out what is in `out`, then close. A transaction that was open is over.
    Close,
}

/// One session.
pub struct Server {
    pub(super) state: State,
    /// True for loopback and the submit socket: the session as a whole may take any time.
    is_local: bool,
    /// 220 was said.
    pub(super) is_welcome: bool,
    /// TLS is on.
    pub(super) is_secure: bool,
    /// No line with anything in it has come yet, so the peer may still turn out not to speak SMTP
    /// at all.
    is_fresh: bool,
    /// The rest of a flawed line is being thrown away.
    is_skipping: bool,
    manners: Manners,
    /// HELO or EHLO was said; HELO was said last: no extensions.
    pub(super) is_greeted: bool,
    pub(super) is_plain: bool,
    pub(super) is_logged_in: bool,
    pub(super) bad_commands: u8,
    idle_commands: u16,
    pub(super) command_timeout: Duration,
    pub(super) data_timeout: Duration,
    pub(super) command_deadline: Instant,
    pub(super) session_deadline: Option<Instant>,
    /// The last refusal that nobody was told of yet.
    complaint: Option<Reply>,
    pub(super) transaction: Option<Transaction>,
}

impl Server {
    /// A session that has not begun.
    pub const fn new(is_local: bool) -> Server {
        Server {
            state: State::AwaitConnection,
            is_local,
            is_welcome: false,
            is_secure: false,
            is_fresh: true,
            is_skipping: false,
            manners: Manners::new(),
            is_greeted: false,
            is_plain: false,
            is_logged_in: false,
            bad_commands: 0,
            idle_commands: 0,
            command_timeout: Duration::ZERO,
            data_timeout: Duration::ZERO,
            command_deadline: Instant::from_millis(0),
            session_deadline: None,
            complaint: None,
            transaction: None,
        }
    }

    /// Begins the session: says 220, starts the clocks. Once, on a new machine.
    pub fn greet(&mut self, terms: &Terms<'_>, out: &mut Buffer, now: Instant) {
        self.start_clocks(terms, now);
        self.say_greeting(terms, out);
        self.enter(State::AwaitHello);
    }

    pub(super) fn start_clocks(&mut self, terms: &Terms<'_>, now: Instant) {
        debug_assert!(self.state == State::AwaitConnection);
        self.command_timeout = terms.command_timeout;
        self.data_timeout = terms.data_timeout;
        self.command_deadline = now + self.command_timeout;
        self.session_deadline = (!self.is_local).then(|| now + SESSION_TIMEOUT);
    }

    pub(super) fn say_greeting(&mut self, terms: &Terms<'_>, out: &mut Buffer) {
        self.is_welcome = true;
        say(out, format_args!("220 {} ESMTP mote\r\n", terms.hostname));
    }

    /// Takes a prefix of `input`; gives how much, and what it came to.
    pub fn step<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Buffer,
        terms: &Terms<'_>,
        now: Instant,
    ) -> (usize, Event<'a>) {
        match &mut self.state {
            State::AwaitConnection | State::AwaitAnswer(_) | State::AwaitCommit => (0, Event::Wait),
            State::AwaitTls => self.take_injection(input, out),
            State::AwaitClose => (0, Event::Close),
            State::AwaitDot(reader, pace) => {
                let (consumed, piece) = reader.step(input);
                if consumed > 0 {
                    pace.take(consumed, now, self.data_timeout);
                }
                if piece == Piece::End {
                    self.manners.learn(reader);
                }
                let bare = reader.is_bare();
                (consumed, self.take_piece(piece, bare))
            }
            State::AwaitChunk(chunk) => {
                let (consumed, piece) = chunk.reader.step(input);
                if consumed > 0 {
                    chunk.pace.take(consumed, now, self.data_timeout);
                }
                let chunk = *chunk;
                (consumed, self.take_chunk_piece(chunk, piece, out, now))
            }
            State::AwaitHello | State::AwaitMail | State::AwaitRecipient | State::AwaitResponse => {
                if out.space() < REPLY_BYTES_MAX {
                    return (0, Event::Wait);
                }
                self.take_line(input, out, terms, now)
            }
        }
    }

    /// Answers what the last event asked: [`Event::Mail`], [`Event::Recipient`], [`Event::Data`],
    /// [`Event::Chunk`], [`Event::Auth`].
    pub fn answer(&mut self, reply: Reply, out: &mut Buffer, now: Instant) {
        let State::AwaitAnswer(question) = self.state else {
            debug_assert!(false, "nothing was asked");
            return;
        };
        self.tell(reply, out);
        self.command_deadline = now + self.command_timeout;
        match (question, reply.code) {
            (_, 421) => return self.close(),
            (Question::Mail { is_binary, is_utf8 }, 250) => {
                let transaction = Transaction { is_binary, is_utf8, ..Transaction::default() };
                self.transaction = Some(transaction);
            }
            (Question::Recipient, 250) => {
                let transaction = self.transaction.get_or_insert_default();
                transaction.recipients = transaction.recipients.saturating_add(1);
            }
            (Question::Data, 354) => {
                let pace = Pace::new(now, self.data_timeout);
                return self.enter(State::AwaitDot(self.manners.reader(), pace));
            }
            (Question::Auth, 235) => self.is_logged_in = true,
            (Question::Chunk, _) => (),
            _ => self.idle_commands = self.idle_commands.saturating_add(1),
        }
        self.enter_ready();
    }

    /// The message is on the disk: says so. Ends the transaction.
    pub fn accepted(&mut self, id: Base62, out: &mut Buffer, now: Instant) {
        say(out, format_args!("250 2.0.0 Ok: queued as {id}\r\n"));
        self.idle_commands = 0;
        self.end_message(now);
    }

    /// The message is on the disk, for others to queue it: it has no id yet. Ends the transaction.
    pub fn left(&mut self, out: &mut Buffer, now: Instant) {
        Reply::LEFT.write(out);
        self.idle_commands = 0;
        self.end_message(now);
    }

    /// The message was not taken: says why. Ends the transaction.
    pub fn refused(&mut self, reply: Reply, out: &mut Buffer, now: Instant) {
        self.tell(reply, out);
        self.end_message(now);
        if reply.code == 421 {
            self.close();
        }
    }

    pub(super) fn take_piece<'a>(&mut self, piece: Piece<'a>, bare: bool) -> Event<'a> {
        match piece {
            Piece::More => Event::Wait,
            Piece::Bytes(bytes) if !bare => Event::Body(bytes),
            // The message will be refused, but only its end brings both sides back in step.
            Piece::Bytes(_) | Piece::Bare => Event::Again,
            Piece::End => {
                self.enter(State::AwaitCommit);
                Event::End { bare }
            }
        }
    }

    fn take_line<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut Buffer,
        terms: &Terms<'_>,
        now: Instant,
    ) -> (usize, Event<'a>) {
        self.manners.set_lenient(terms.lenient);
        if self.is_skipping {
            let (consumed, ended) = self.manners.skip_line(input);
            return (consumed, self.skip(ended, now));
        }
        if self.is_fresh && is_http(input) {
            return (input.len(), self.give_up(Reply::NOT_SMTP, out));
        }
        if self.is_fresh && is_proxy(input) {
            return (input.len(), self.give_up(Reply::NO_PROXY, out));
        }
        if self.is_fresh && is_tls(input) {
            self.give_up(Reply::NO_TLS_YET, out);
            return (input.len(), Event::EarlyTls);
        }
        match self.manners.find_line(input) {
            Line::Partial => (0, Event::Wait),
            Line::Flawed { flaw, consumed, ended } => {
                let reply = self.flaw_reply(flaw, input, terms);
                let event = self.blame(reply, out);
                self.is_fresh = false;
                self.is_skipping = !ended;
                (consumed, event)
            }
            Line::Complete { text, .. } if self.holds(text, terms) => (0, Event::Wait),
            Line::Complete { text, consumed } if self.state == State::AwaitResponse => {
                (consumed, self.take_response(text, out, now))
            }
            Line::Complete { text, consumed } => {
                let command = command::parse(text, &self.offers(terms), terms.lenient);
                if self.begins_anew(command.ok()) {
                    // RFC 5321 §4.1.4: a hello resets, which is an event of its own; then the same
                    // line is read again. So it is with STARTTLS.
                    self.end_transaction();
                    return (0, Event::Reset);
                }
                self.is_fresh &= text.is_empty();
                self.command_deadline = now + self.command_timeout;
                let event = match command {
                    Ok(command) => self.obey(command, out, terms, now),
                    Err(error @ CommandError::Chunk) => self.give_up(error.reply(), out),
                    Err(error) => self.blame(error.reply(), out),
                };
                (consumed, event)
            }
        }
    }

    fn skip(&mut self, ended: bool, now: Instant) -> Event<'static> {
        if !ended {
            return Event::Wait;
        }
        self.is_skipping = false;
        self.command_deadline = now + self.command_timeout;
        Event::Again
    }

    const fn begins_anew(&self, command: Option<Command<'_>>) -> bool {
        let begins = match command {
            Some(Command::Helo(_) | Command::Ehlo(_)) => true,
            Some(Command::StartTls) => !self.is_secure,
            _ => false,
        };
        begins && self.transaction.is_some()
    }

    /// The check of each command: may it come now? RFC 5321 §4.1.4.
    fn obey<'a>(
        &mut self,
        command: Command<'a>,
        out: &mut Buffer,
        terms: &Terms<'_>,
        now: Instant,
    ) -> Event<'a> {
        let is_idle = self.idle_commands >= IDLE_COMMANDS_MAX;
        match command {
            Command::Quit => self.give_up(Reply::BYE, out),
            _ if is_idle => self.give_up(Reply::TOO_MANY_IDLE, out),
            Command::Helo(name) => self.hello(name, false, out, terms),
            Command::Ehlo(name) => self.hello(name, true, out, terms),
            Command::Mail { path, parameters } => match self.state {
                State::AwaitHello => self.blame(Reply::HELLO_FIRST, out),
                State::AwaitRecipient => self.blame(Reply::NESTED_MAIL, out),
                _ if terms.offers.auth.is_required && !self.is_logged_in => {
                    self.idle(Reply::LOGIN_FIRST, out)
                }
                // RFC 1870 §6.1: too large for ever, so there is no need to ask.
                _ if parameters.size > Some(terms.size_max) => self.idle(Reply::TOO_BIG, out),
                _ => {
                    let is_binary = parameters.body == Some(Body::BinaryMime);
                    let is_utf8 = parameters.utf8;
                    self.enter(State::AwaitAnswer(Question::Mail { is_binary, is_utf8 }));
                    Event::Mail { path, parameters }
                }
            },
            Command::Rcpt { path, parameters } => match self.transaction {
                None => self.blame(self.mail_first(), out),
                Some(mail) if mail.has_chunks() => self.blame(Reply::WITHIN_CHUNKS, out),
                // RFC 5321 §4.5.3.1.10: 452, so that the rest comes in another transaction.
                Some(transaction) if transaction.recipients >= terms.recipients_max => {
                    self.idle(Reply::TOO_MANY_RECIPIENTS, out)
                }
                Some(Transaction { is_utf8: false, .. })
                    if !path.is_ascii() || !parameters.is_ascii() =>
                {
                    self.blame(Reply::NEEDS_UTF8, out)
                }
                Some(_) => {
                    self.enter(State::AwaitAnswer(Question::Recipient));
                    Event::Recipient { path, parameters }
                }
            },
            Command::Data => match self.transaction {
                None => self.blame(self.mail_first(), out),
                // RFC 3030 §2 and §3.
                Some(mail) if mail.has_chunks() => self.blame(Reply::WITHIN_CHUNKS, out),
                Some(Transaction { is_binary: true, .. }) => self.blame(Reply::NEEDS_CHUNKS, out),
                // RFC 5321 §3.3. A pipelining client cannot know better, so it is no error.
                Some(Transaction { recipients: 0, .. }) => self.idle(Reply::NO_RECIPIENTS, out),
                Some(_) => {
                    self.enter(State::AwaitAnswer(Question::Data));
                    Event::Data
                }
            },
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial, out, terms),
            Command::Bdat(size) => self.chunk(size, terms, now),
            Command::Rset => self.reset(out),
            Command::Noop => self.idle(Reply::OK, out),
            Command::Vrfy => self.idle(Reply::CANNOT_VERIFY, out),
            Command::Expn => self.idle(Reply::NO_EXPANSION, out),
            Command::Help => self.idle(Reply::HELP, out),
            Command::Xclient(told) => self.hear_of(told, out),
            Command::StartTls => self.start_tls(out),
        }
    }

    fn hello<'a>(
        &mut self,
        name: &'a [u8],
        extended: bool,
        out: &mut Buffer,
        terms: &Terms<'_>,
    ) -> Event<'a> {
        self.idle_commands = self.idle_commands.saturating_add(1);
        (self.is_greeted, self.is_plain) = (true, !extended);
        let Terms { hostname, size_max, recipients_max, mut offers, .. } = *terms;
        offers.starttls &= !self.is_secure;
        if extended {
            write_hello(out, hostname, size_max, recipients_max, &offers);
        } else {
            say(out, format_args!("250 {hostname}\r\n"));
        }
        self.enter(State::AwaitMail);
        Event::Hello { name, extended }
    }

    /// What the peer may use now.
    pub(super) const fn offers(&self, terms: &Terms<'_>) -> Offers {
        if self.is_plain { Offers::NONE } else { terms.offers }
    }

    fn reset(&mut self, out: &mut Buffer) -> Event<'static> {
        let had_transaction = self.transaction.is_some();
        self.end_transaction();
        let event = self.idle(Reply::OK, out);
        if had_transaction { Event::Reset } else { event }
    }

    pub(super) fn mail_first(&self) -> Reply {
        if self.state == State::AwaitHello { Reply::HELLO_FIRST } else { Reply::MAIL_FIRST }
    }

    /// Says `reply`, and remembers a refusal.
    pub(super) fn tell(&mut self, reply: Reply, out: &mut Buffer) {
        if reply.code >= 400 {
            self.complaint = Some(reply);
        }
        reply.write(out);
    }

    /// What was refused last since the last call.
    pub const fn take_complaint(&mut self) -> Option<Reply> {
        self.complaint.take()
    }

    /// Answers a command that moves nothing.
    pub(super) fn idle(&mut self, reply: Reply, out: &mut Buffer) -> Event<'static> {
        self.idle_commands = self.idle_commands.saturating_add(1);
        self.tell(reply, out);
        Event::Again
    }

    /// Answers a command that the peer should not have sent.
    pub(super) fn blame(&mut self, reply: Reply, out: &mut Buffer) -> Event<'static> {
        self.bad_commands = self.bad_commands.saturating_add(1);
        if self.bad_commands >= BAD_COMMANDS_MAX {
            return self.give_up(Reply::TOO_MANY_ERRORS, out);
        }
        self.tell(reply, out);
        Event::Again
    }

    pub(super) fn give_up(&mut self, reply: Reply, out: &mut Buffer) -> Event<'static> {
        self.tell(reply, out);
        self.close();
        Event::Close
    }

    pub(super) fn close(&mut self) {
        self.transaction = None;
        self.enter(State::AwaitClose);
    }

    fn end_message(&mut self, now: Instant) {
        debug_assert!(self.state == State::AwaitCommit, "no verdict is due");
        self.command_deadline = now + self.command_timeout;
        self.transaction = None;
        self.enter(State::AwaitMail);
    }

    pub(super) fn end_transaction(&mut self) {
        if self.transaction.take().is_some() {
            self.enter(State::AwaitMail);
        }
    }

    /// Enters the state between two commands.
    fn enter_ready(&mut self) {
        match self.transaction {
            Some(_) => self.enter(State::AwaitRecipient),
            None => self.enter(State::AwaitMail),
        }
    }

    pub(super) fn enter(&mut self, state: State) {
        log::trace!("server: {} -> {}", self.state.name(), state.name());
        self.state = state;
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// Asserts what must always hold.
    pub fn check_invariants(&self) {
        self.state.check(self.transaction.map(|transaction| transaction.recipients));
        assert!(!self.is_skipping || !self.is_in_data());
    }
}

pub(super) fn say(out: &mut Buffer, text: fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "room for a reply was kept");
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms<'_> = Terms {
        hostname: "mx.example",
        size_max: 1000,
        recipients_max: 100,
        command_timeout: Duration::from_secs(300),
        data_timeout: Duration::from_secs(180),
        offers: Offers { starttls: true, ..Offers::BASIC },
        lenient: false,
    };
    const NOW: Instant = Instant::from_millis(0);

    /// A session that has come to where the message may come.
    fn server_in_data(out: &mut Buffer) -> Server {
        let mut server = Server::new(false);
        server.greet(&TERMS, out, NOW);
        run(&mut server, b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n", out);
        assert!(server.is_in_data() && server.transaction.is_some());
        server
    }

    /// Feeds `input` until the machine wants no more of it; says yes to everything.
    fn run(server: &mut Server, input: &[u8], out: &mut Buffer) -> Vec<String> {
        let mut events = Vec::new();
        let mut rest = input;
        loop {
            let (consumed, event) = server.step(rest, out, &TERMS, NOW);
            server.check_invariants();
            rest = &rest[consumed..];
            match event {
                Event::Wait if out.is_empty() => return events,
                Event::Close => return events,
                Event::StartTls if rest.is_empty() => server.secured(&TERMS, out, NOW),
                Event::Wait => out.clear(),
                Event::Mail { .. } => server.answer(Reply::SENDER_OK, out, NOW),
                Event::Recipient { .. } => server.answer(Reply::RECIPIENT_OK, out, NOW),
                Event::Data => server.answer(Reply::START_DATA, out, NOW),
                Event::Chunk { .. } => server.answer(Reply::CHUNK_OK, out, NOW),
                Event::End { bare: true } => server.refused(Reply::BARE_IN_MESSAGE, out, NOW),
                Event::End { bare: false } => server.accepted(Base62(1), out, NOW),
                _ => (),
            }
            if event != Event::Wait {
                events.push(format!("{event:?}"));
            }
        }
    }

    #[test]
    fn a_body_is_lent_not_copied() {
        let mut out = Buffer::new(1024);
        let mut server = server_in_data(&mut out);
        let text = b"Plain text in lines of an ordinary length, as in most mails.\r\n".repeat(64);
        let (consumed, event) = server.step(&text, &mut out, &TERMS, NOW);
        let Event::Body(bytes) = event else { panic!("{event:?}") };
        assert_eq!(consumed, text.len());
        assert_eq!(bytes.as_ptr_range(), text.as_ptr_range());
    }

    #[test]
    fn nothing_more_of_a_message_that_will_be_refused() {
        let mut out = Buffer::new(1024);
        let mut server = server_in_data(&mut out);
        let events = run(&mut server, b"one\ntwo\r\nthree\r\n.\r\n", &mut out);
        let mut bodies = events.iter().filter(|event| event.starts_with("Body"));
        assert_eq!(bodies.next(), Some(&format!("{:?}", Event::Body(b"one"))));
        assert_eq!(bodies.next(), None);
    }

    /// RFC 2920 and decisions about room: no command is taken while its answer may not fit.
    #[test]
    fn no_room_no_command() {
        let mut out = Buffer::new(1024);
        let mut server = Server::new(false);
        server.greet(&TERMS, &mut out, NOW);
        while out.space() >= REPLY_BYTES_MAX {
            out.push(b"x").unwrap();
        }
        let taken = server.step(b"QUIT\r\n", &mut out, &TERMS, NOW);
        assert_eq!(taken, (0, Event::Wait));
        out.consume(1);
        let taken = server.step(b"QUIT\r\n", &mut out, &TERMS, NOW);
        assert_eq!(taken, (6, Event::Close));
    }

    /// Threats 4: every byte at every place of every command that holds a name or an address.
    #[test]
    fn no_control_byte_gets_through() {
        let lines: [&[u8]; 3] = [
            b"EHLO client\r\n",
            b"MAIL FROM:<a@b.example> SIZE=9\r\n",
            b"RCPT TO:<a@b.example>\r\n",
        ];
        let (last, before) = lines.split_last().unwrap();
        for (line, before) in lines[..2]
            .iter()
            .enumerate()
            .map(|(at, line)| (line, &lines[..at]))
            .chain([(last, before)])
        {
            for at in 0..line.len() {
                for byte in 0..=255 {
                    let mut input = line.to_vec();
                    input[at] = byte;
                    let mut out = Buffer::new(1024);
                    let mut server = Server::new(true);
                    server.greet(&TERMS, &mut out, NOW);
                    run(&mut server, &before.concat(), &mut out);
                    let (_, event) = server.step(&input, &mut out, &TERMS, NOW);
                    let seen: &[u8] = match &event {
                        Event::Hello { name, .. } => name,
                        Event::Mail { path: ReversePath::Address(address), .. } => {
                            address.as_str().as_bytes()
                        }
                        Event::Recipient { path, .. } => path.as_str().as_bytes(),
                        _ => b"",
                    };
                    assert!(seen.iter().all(|byte| (b' '..=b'~').contains(byte)), "{event:?}");
                }
            }
        }
    }

    /// Whatever comes, nothing panics.
    #[test]
    fn any_bytes_at_all() {
        let words: [&[u8]; 13] = [
            b"STARTTLS\r\n",
            b"EHLO x\r\n",
            b"MAIL FROM:<>\r\n",
            b"RCPT TO:<a>\r\n",
            b"DATA\r\n",
            b"\r\n.\r\n",
            b"\r",
            b"\n",
            b".",
            b"RSET\r\n",
            b"BDAT 9\r\n",
            b"BDAT 2 LAST\r\n",
            b"\x16\x03",
        ];
        for number in 0..words.len().pow(5) {
            let word = |place: u32| words[number / words.len().pow(place) % words.len()];
            let input: Vec<u8> = (0..5).flat_map(|place| word(place).to_vec()).collect();
            let mut out = Buffer::new(1024);
            let mut server = Server::new(false);
            server.greet(&TERMS, &mut out, NOW);
            run(&mut server, &input, &mut out);
        }
    }
}

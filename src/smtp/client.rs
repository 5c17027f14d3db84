//! The sending machine: one connection to a next hop, and the mails that go over it one by one.
//!
//! It is fed with [`Client::step`], which takes a prefix of the input, writes commands into `out`
//! and gives one [`ClientEvent`]; call it until it says [`ClientEvent::Wait`]. A mail is
//! [`Client::begin_mail`], [`Client::ask_recipient`] while [`Client::may_ask`],
//! [`Client::end_envelope`]; after [`ClientEvent::Go`] the caller writes the message through
//! [`super::data::DotWriter`] into `out` itself, and then calls [`Client::end_data`]. A binary mail
//! goes as it is, in one chunk: [`Client::end_envelope_with_chunk`]. What is said of mail and
//! recipients is said as far as the peer knows the words. With PIPELINING commands go out without
//! waiting for replies, which still come as events in the order asked. The owner is told when to
//! begin TLS, and tells when it stands (`client_tls`). Who has to log in is asked
//! for each step of that by [`ClientEvent::Login`], before [`ClientEvent::Greeted`]; without it no
//! mail goes out (`client_login`).
//!
//! Not here: which mail goes to which host, what a refusal means for a recipient, the socket. Every
//! reply is handed up as it came; the machine only keeps in step.
//!
//! Invariants ([`Client::check_invariants`]): what is outstanding is known exactly, so a reply that
//! nobody asked for is garbage. RSET is sent by the machine itself when an envelope came to
//! nothing, so that [`ClientEvent::Ready`] or [`ClientEvent::Final`] ends every mail on a good
//! connection.
//!
//! Limits: replies by [`super::reply`]; a deadline in every state that awaits the peer, armed anew
//! only by a whole reply, or by [`Client::progressed`] while the message goes out (threats 10, 25).
//!
//! Failure: [`ClientEvent::Lost`], after which nothing more happens here. It tells how far the mail
//! had come, which decides whether another host may be tried now (decisions 6).
//!
//! Read first: RFC 5321 §3, §4.5.3.2; RFC 2920 §3.1; RFC 1870; RFC 6152; RFC 3030; RFC 3207;
//! RFC 3461 §5.2; RFC 6531 §3.6; RFC 9422.

pub use super::client_event::{
    ClientEvent, ClientTerms, LoginLoss, LoginTerms, Loss, Particulars, Stage, TlsTerms,
};
use super::client_login::Steps;
use super::client_state::{End, Envelope, State};
use super::parameter::{ENVELOPE_ID_BYTES_MAX, InXtext, Notify, ORIGINAL_BYTES_MAX};
use super::peer_offer::PeerOffer;
use super::reply::{Parsed, RemoteReply, ReplyParser};
use super::sasl::client::Login;
use super::sasl::{Crypto, Mechanism};
use crate::base::buffer::Buffer;
use crate::base::time::Instant;
use crate::limits::{ADDRESS_BYTES_MAX, DOMAIN_BYTES_MAX};
use crate::mail::address::Address;
use core::fmt::{self, Write as _};
use core::time::Duration;

/// Room in `out` that is enough for any one command.
pub const COMMAND_BYTES_MAX: usize = 1024;

/// How long a handshake of TLS may take, all of it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the answer to QUIT is waited for.
const BYE_TIMEOUT: Duration = Duration::from_secs(5);

const _: () = assert!(ADDRESS_BYTES_MAX + ORIGINAL_BYTES_MAX + 64 <= COMMAND_BYTES_MAX);
const _: () = assert!(ADDRESS_BYTES_MAX + ENVELOPE_ID_BYTES_MAX + 128 <= COMMAND_BYTES_MAX);
const _: () = assert!(DOMAIN_BYTES_MAX + 64 <= COMMAND_BYTES_MAX);

/// One connection.
pub struct Client {
    pub(super) state: State,
    pub(super) parser: ReplyParser,
    pub(super) offer: PeerOffer,
    /// TLS stands.
    pub(super) is_secured: bool,
    /// TLS is to be begun, and the owner is to be told.
    pub(super) begins_tls: bool,
    pub(super) login: Steps,
    pub(super) is_logged_in: bool,
    /// Mails that have begun.
    mails: u32,
    /// The chunk is announced, and the owner is to be told.
    is_going: bool,
    /// When the last reply was taken, there was more behind it.
    pub(super) is_ahead: bool,
    reply_timeout: Duration,
    deadline: Option<Instant>,
}

impl Client {
    /// A connection that has not been made.
    pub fn new() -> Client {
        Client {
            state: State::AwaitConnection,
            parser: ReplyParser::new(),
            offer: PeerOffer::default(),
            is_secured: false,
            begins_tls: false,
            login: Steps::new(),
            is_logged_in: false,
            mails: 0,
            is_going: false,
            is_ahead: false,
            reply_timeout: Duration::ZERO,
            deadline: None,
        }
    }

    /// The connection stands: awaits the greeting, or TLS. Once, on a new machine.
    pub fn start(&mut self, terms: &ClientTerms<'_>, now: Instant) {
        debug_assert!(self.state == State::AwaitConnection);
        self.reply_timeout = terms.reply_timeout;
        match terms.tls {
            TlsTerms::Implicit => self.begin_tls(now),
            _ => self.enter(State::AwaitGreeting, now),
        }
    }

    /// Takes a prefix of `input`; gives how much, and what it came to. `input` must be able to hold
    /// a whole reply line ([`crate::limits::REMOTE_LINE_BYTES_MAX`]).
    pub fn step(
        &mut self,
        input: &[u8],
        out: &mut Buffer,
        terms: &ClientTerms<'_>,
        now: Instant,
    ) -> (usize, ClientEvent) {
        self.proceed(out, now);
        if core::mem::take(&mut self.is_going) {
            return (0, ClientEvent::Go);
        }
        match self.state {
            State::AwaitConnection => return (0, ClientEvent::Wait),
            State::AwaitClose => return (0, ClientEvent::Bye),
            State::AwaitTls if core::mem::take(&mut self.begins_tls) => {
                return (0, ClientEvent::BeginTls);
            }
            State::AwaitTls if input.is_empty() => return (0, ClientEvent::Wait),
            State::AwaitTls => return (0, self.lose(Loss::Injected, now)),
            // A step of a login may need all the room there is.
            State::AwaitKey if out.is_empty() => return (0, ClientEvent::Login),
            State::AwaitKey => return (0, ClientEvent::Wait),
            _ if self.may_speak() && out.space() < COMMAND_BYTES_MAX => {
                return (0, ClientEvent::Wait);
            }
            _ => (),
        }
        match self.parser.step(input) {
            // Half a line that nobody asked for: no mail may begin behind it, and this state has no
            // deadline in which the other half would have to come.
            (_, Parsed::More) if self.state == State::AwaitMail && self.is_ahead => {
                (0, self.lose(Loss::Garbage, now))
            }
            (_, Parsed::More) => (0, ClientEvent::Wait),
            (_, Parsed::Garbage) => (0, self.lose(Loss::Garbage, now)),
            (consumed, Parsed::Line { text, is_last }) => {
                if self.state == State::AwaitEhlo {
                    self.offer.read(text);
                }
                if self.state == State::AwaitAuth {
                    self.login.hear(text);
                }
                self.is_ahead = consumed < input.len();
                let event = match is_last {
                    true => self.take_reply(out, terms, now),
                    false => ClientEvent::Again,
                };
                (consumed, event)
            }
        }
    }

    /// Says the next step of the login, after [`ClientEvent::Login`]. What is written into `out` is
    /// a secret: wipe it when it has gone out.
    pub fn log_in(
        &mut self,
        out: &mut Buffer,
        login: &Login<'_>,
        crypto: &dyn Crypto,
        now: Instant,
    ) -> ClientEvent {
        debug_assert!(self.state == State::AwaitKey);
        match self.login.speak(out, login, crypto) {
            true => self.enter_with(State::AwaitAuth, ClientEvent::Again, now),
            false => self.lose(Loss::Login(self.login.loss(None)), now),
        }
    }

    /// How we have logged in.
    pub fn mechanism(&self) -> Option<Mechanism> {
        self.is_logged_in.then(|| self.login.mechanism())
    }

    /// Begins a mail: [`Client::is_ready`], and room in `out` for [`COMMAND_BYTES_MAX`]. No `from`
    /// is the null path.
    pub fn begin_mail(
        &mut self,
        out: &mut Buffer,
        from: Option<Address<'_>>,
        particulars: &Particulars<'_>,
        now: Instant,
    ) {
        debug_assert!(self.is_ready());
        let from = from.map_or("", |address| address.as_str());
        say(out, format_args!("MAIL FROM:<{from}>"));
        self.say_particulars(out, particulars);
        say(out, format_args!("\r\n"));
        self.mails = self.mails.saturating_add(1);
        let envelope = Envelope {
            sender_accepted: None,
            asked: 0,
            answered: 0,
            accepted: 0,
            end: End::Open,
            chunk: None,
        };
        self.enter(State::AwaitEnvelope(envelope), now);
    }

    fn say_particulars(&self, out: &mut Buffer, particulars: &Particulars<'_>) {
        let Particulars { size, eight_bit, binary, utf8, ret, envid, by } = *particulars;
        debug_assert!(!binary || self.offer.binary, "such a peer does not get this mail");
        if let (Some(size), Some(_)) = (size, self.offer.size) {
            say(out, format_args!(" SIZE={size}"));
        }
        if binary {
            say(out, format_args!(" BODY=BINARYMIME"));
        } else if eight_bit && self.offer.eight_bit_mime {
            say(out, format_args!(" BODY=8BITMIME"));
        }
        if utf8 && self.offer.utf8 {
            say(out, format_args!(" SMTPUTF8"));
        }
        if let Some(ret) = ret.filter(|_| self.offer.dsn) {
            say(out, format_args!(" RET={}", ret.word()));
        }
        if self.offer.dsn && fits_in_xtext(envid, ENVELOPE_ID_BYTES_MAX) {
            say(out, format_args!(" ENVID={}", InXtext(envid)));
        }
        if let Some(by) = by.filter(|_| self.offer.deliver_by.is_some()) {
            say(out, format_args!(" BY={by}"));
        }
    }

    /// True when [`Client::ask_recipient`] may be called: there is room, and with PIPELINING, or
    /// when all before is answered, it is the turn.
    pub fn may_ask(&self, out: &Buffer) -> bool {
        let State::AwaitEnvelope(envelope) = &self.state else { return false };
        envelope.end == End::Open
            && envelope.sender_accepted != Some(false)
            && (self.offer.pipelining || envelope.is_settled())
            && !self.is_full()
            && out.space() >= COMMAND_BYTES_MAX
    }

    /// True when the peer takes no more recipients of this mail (RFC 9422 §4.2).
    pub fn is_full(&self) -> bool {
        let State::AwaitEnvelope(envelope) = &self.state else { return false };
        self.offer.recipients_max.is_some_and(|most| u32::from(envelope.asked) >= most)
    }

    /// Names a recipient, while [`Client::may_ask`]; `notify` and `original` (`type;address`, empty
    /// for none) are RFC 3461's.
    pub fn ask_recipient(
        &mut self,
        out: &mut Buffer,
        to: Address<'_>,
        notify: Option<Notify>,
        original: &str,
    ) {
        debug_assert!(self.may_ask(out));
        let State::AwaitEnvelope(envelope) = &mut self.state else { return };
        envelope.asked += 1;
        say(out, format_args!("RCPT TO:<{}>", to.as_str()));
        if let Some(notify) = notify.filter(|_| self.offer.dsn) {
            say(out, format_args!(" NOTIFY={notify}"));
        }
        let address = original.split_once(';').filter(|_| self.offer.dsn);
        if let Some((kind, address)) = address
            // With its type and the semicolon (RFC 3461 §4.2).
            && fits_in_xtext(address, ORIGINAL_BYTES_MAX.saturating_sub(kind.len() + 1))
        {
            say(out, format_args!(" ORCPT={kind};{}", InXtext(address)));
        }
        say(out, format_args!("\r\n"));
    }

    /// There are no more recipients. DATA follows at once, or when all is answered; if then nobody
    /// is left to get the message, RSET.
    pub fn end_envelope(&mut self, out: &mut Buffer, now: Instant) {
        self.end(End::Wanted, out, now);
    }

    /// There are no more recipients, and the message goes as it is, in one chunk of so many bytes.
    /// It is announced when all is answered; if then nobody is left to get it, RSET.
    pub fn end_envelope_with_chunk(&mut self, out: &mut Buffer, bytes: u64, now: Instant) {
        if let State::AwaitEnvelope(envelope) = &mut self.state {
            envelope.chunk = Some(bytes);
        }
        self.end(End::Wanted, out, now);
    }

    /// Gives the mail up before its data: RSET as soon as all is answered, then
    /// [`ClientEvent::Ready`]. Nothing happens when there is no envelope, or DATA was sent already.
    pub fn reset(&mut self, out: &mut Buffer, now: Instant) {
        self.end(End::Reset, out, now);
    }

    /// Part of the message was taken by the peer.
    pub fn progressed(&mut self, now: Instant) {
        if self.state == State::AwaitData {
            self.deadline = Some(now + self.reply_timeout);
        }
    }

    /// The final dot stands in `out`.
    pub fn end_data(&mut self, now: Instant) {
        debug_assert!(self.state == State::AwaitData);
        self.enter(State::AwaitFinal, now);
    }

    /// Takes leave. Inside a message, and before its verdict, that is closing at once.
    pub fn quit(&mut self, out: &mut Buffer, now: Instant) {
        match self.state {
            State::AwaitClose | State::AwaitBye => (),
            State::AwaitConnection | State::AwaitTls | State::AwaitData | State::AwaitFinal => {
                self.enter(State::AwaitClose, now);
            }
            // A peer that does not even take what was said before.
            _ if out.space() < COMMAND_BYTES_MAX => self.enter(State::AwaitClose, now),
            _ => {
                say(out, format_args!("QUIT\r\n"));
                self.enter(State::AwaitBye, now);
            }
        }
    }

    /// The peer has closed its side, and all input that came before was shown.
    pub fn closed(&mut self, now: Instant) -> ClientEvent {
        let loss = if self.state == State::AwaitTls { Loss::Tls } else { Loss::Closed };
        self.lose(loss, now)
    }

    /// Gives the connection up if its deadline has passed.
    pub fn timed_out(&mut self, now: Instant) -> ClientEvent {
        match self.deadline {
            Some(deadline) if deadline <= now => {
                let loss = match self.state {
                    State::AwaitTls => Loss::TlsTooSlow,
                    State::AwaitGreeting if !self.is_secured => Loss::Silent,
                    _ => Loss::TimedOut,
                };
                self.lose(loss, now)
            }
            _ => ClientEvent::Wait,
        }
    }

    /// When to call [`Client::timed_out`]; none while the peer waits for us.
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// True when a mail may begin. Not when there is input already that nobody asked for: it would
    /// pass for the answer to MAIL.
    pub fn is_ready(&self) -> bool {
        self.state == State::AwaitMail && !self.is_ahead && !self.is_spent()
    }

    /// What the peer offers.
    pub const fn offer(&self) -> &PeerOffer {
        &self.offer
    }

    /// True when the peer takes no more mails on this connection (RFC 9422 §4.1).
    pub fn is_spent(&self) -> bool {
        self.offer.mails_max.is_some_and(|most| self.mails >= most)
    }

    /// How far the mail has come.
    pub const fn stage(&self) -> Stage {
        match self.state {
            State::AwaitEnvelope(_) => Stage::Envelope,
            State::AwaitData => Stage::Data,
            State::AwaitFinal => Stage::Final,
            // A lone dot cannot have been taken for a message: nobody was to get it.
            State::AwaitNothing => Stage::Envelope,
            _ => Stage::BeforeMail,
        }
    }

    fn end(&mut self, end: End, out: &mut Buffer, now: Instant) {
        match &mut self.state {
            State::AwaitEnvelope(envelope) if matches!(envelope.end, End::Open | End::Wanted) => {
                envelope.end = end;
            }
            _ => return,
        }
        self.proceed(out, now);
    }

    /// Sends what the envelope's end wants, once it may.
    fn proceed(&mut self, out: &mut Buffer, now: Instant) {
        let State::AwaitEnvelope(mut envelope) = self.state else { return };
        if out.space() < COMMAND_BYTES_MAX {
            return;
        }
        let is_settled = envelope.is_settled();
        // RFC 2920 §3.1: DATA may end a group; whether anybody is left is then seen later.
        let is_hopeful = envelope.sender_accepted != Some(false) && envelope.asked > 0;
        let may_data = match is_settled {
            true => envelope.is_worth_data(),
            // Who announces a chunk must send it.
            false => self.offer.pipelining && is_hopeful && envelope.chunk.is_none(),
        };
        match (envelope.end, envelope.chunk) {
            (End::Wanted, Some(bytes)) if may_data => {
                say(out, format_args!("BDAT {bytes} LAST\r\n"));
                self.is_going = true;
                self.enter(State::AwaitData, now);
            }
            (End::Wanted, None) if may_data => {
                say(out, format_args!("DATA\r\n"));
                envelope.end = End::Asked;
                self.enter(State::AwaitEnvelope(envelope), now);
            }
            (End::Wanted | End::Reset, _) if is_settled => {
                say(out, format_args!("RSET\r\n"));
                self.enter(State::AwaitReset, now);
            }
            _ => (),
        }
    }

    /// True when the next reply may have to be answered with a command at once.
    fn may_speak(&self) -> bool {
        match &self.state {
            State::AwaitGreeting | State::AwaitEhlo | State::AwaitNothing => true,
            State::AwaitEnvelope(envelope) => envelope.end == End::Asked,
            _ => false,
        }
    }

    fn take_reply(
        &mut self,
        out: &mut Buffer,
        terms: &ClientTerms<'_>,
        now: Instant,
    ) -> ClientEvent {
        let reply = self.parser.take();
        match (self.state, reply.class()) {
            (State::AwaitBye, _) if reply.code != 221 && reply.code != 421 => ClientEvent::Again,
            (State::AwaitBye, _) => self.enter_with(State::AwaitClose, ClientEvent::Bye, now),
            (_, 4) if reply.code == 421 => self.lose(Loss::ServiceClosing(reply), now),
            (State::AwaitGreeting, 2) => {
                say(out, format_args!("EHLO {}\r\n", terms.hostname));
                self.enter_with(State::AwaitEhlo, ClientEvent::Again, now)
            }
            // Without extensions there is no STARTTLS.
            (State::AwaitEhlo, 5) if self.needs_tls(terms) => {
                self.lose(Loss::NoTls(Some(reply)), now)
            }
            // RFC 5321 §3.2: a server without extensions refuses EHLO, and gets HELO.
            (State::AwaitEhlo, 5) => {
                self.offer = PeerOffer::default();
                say(out, format_args!("HELO {}\r\n", terms.hostname));
                self.enter_with(State::AwaitHelo, ClientEvent::Again, now)
            }
            (State::AwaitEhlo | State::AwaitHelo, 2) => self.greeted(out, terms, now),
            (State::AwaitStarttls, _) => self.take_starttls_reply(reply, terms, now),
            (State::AwaitAuth, _) => self.take_login_reply(reply, now),
            (State::AwaitGreeting | State::AwaitEhlo | State::AwaitHelo, 4 | 5) => {
                self.lose(Loss::Greeting(reply), now)
            }
            (State::AwaitEnvelope(envelope), _) => {
                self.take_envelope_reply(envelope, reply, out, now)
            }
            // A refusal in the middle is one of this message; but what follows is not defined.
            (State::AwaitData, 4 | 5) => {
                self.enter_with(State::AwaitClose, ClientEvent::Final(reply), now)
            }
            (State::AwaitFinal, 2 | 4 | 5) => {
                self.enter_with(State::AwaitMail, ClientEvent::Final(reply), now)
            }
            (State::AwaitNothing, 2 | 4 | 5) => {
                say(out, format_args!("RSET\r\n"));
                self.enter_with(State::AwaitReset, ClientEvent::NoData(reply), now)
            }
            (State::AwaitReset, 2) => self.enter_with(State::AwaitMail, ClientEvent::Ready, now),
            _ => self.lose(Loss::Garbage, now),
        }
    }

    /// Whose answer it is follows from the order asked: MAIL, each RCPT, DATA.
    fn take_envelope_reply(
        &mut self,
        mut envelope: Envelope,
        reply: RemoteReply,
        out: &mut Buffer,
        now: Instant,
    ) -> ClientEvent {
        let class = reply.class();
        let event = if envelope.sender_accepted.is_none() && class != 3 {
            envelope.sender_accepted = Some(class == 2);
            ClientEvent::Sender(reply)
        } else if envelope.answered < envelope.asked && class != 3 {
            envelope.answered += 1;
            envelope.accepted += u16::from(class == 2);
            ClientEvent::Recipient(reply)
        } else if envelope.end != End::Asked || envelope.answered < envelope.asked || class == 2 {
            // An answer of the wrong kind, or to nothing.
            return self.lose(Loss::Garbage, now);
        } else if class != 3 {
            envelope.end = End::Reset;
            ClientEvent::NoData(reply)
        } else if envelope.is_worth_data() {
            return self.enter_with(State::AwaitData, ClientEvent::Go, now);
        } else {
            // RFC 2920 §3.1: nobody is to get it, so the message is an empty one.
            say(out, format_args!(".\r\n"));
            return self.enter_with(State::AwaitNothing, ClientEvent::Again, now);
        };
        self.enter_with(State::AwaitEnvelope(envelope), event, now)
    }

    pub(super) fn lose(&mut self, loss: Loss, now: Instant) -> ClientEvent {
        let event = match self.state {
            // Nothing is lost behind QUIT.
            State::AwaitBye | State::AwaitClose => ClientEvent::Bye,
            _ => ClientEvent::Lost(loss, self.stage()),
        };
        self.enter_with(State::AwaitClose, event, now)
    }

    pub(super) fn enter_with(
        &mut self,
        state: State,
        event: ClientEvent,
        now: Instant,
    ) -> ClientEvent {
        self.enter(state, now);
        event
    }

    /// Every way into a state arms its deadline; an envelope enters itself with each reply.
    pub(super) fn enter(&mut self, state: State, now: Instant) {
        log::trace!("client: {} -> {}", self.state.name(), state.name());
        self.state = state;
        self.deadline = match state {
            State::AwaitConnection | State::AwaitMail | State::AwaitClose => None,
            State::AwaitTls => Some(now + self.reply_timeout.min(HANDSHAKE_TIMEOUT)),
            // Nothing hangs on it, and a slot is kept by it.
            State::AwaitBye => Some(now + self.reply_timeout.min(BYE_TIMEOUT)),
            // RFC 5321 §4.5.3.2.6: the peer may be storing the message.
            State::AwaitFinal | State::AwaitNothing => Some(now + 2 * self.reply_timeout),
            _ => Some(now + self.reply_timeout),
        };
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// Asserts what must always hold.
    pub fn check_invariants(&self) {
        if let State::AwaitEnvelope(envelope) = &self.state {
            assert!(envelope.accepted <= envelope.answered && envelope.answered <= envelope.asked);
            assert!(envelope.answered == 0 || envelope.sender_accepted.is_some());
            assert!(envelope.end != End::Asked || envelope.asked > 0);
        }
        let is_idle =
            matches!(self.state, State::AwaitConnection | State::AwaitMail | State::AwaitClose);
        assert_eq!(is_idle, self.deadline.is_none());
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// True if `text` is not empty and within so many bytes when it is coded.
fn fits_in_xtext(text: &str, most: usize) -> bool {
    let coded =
        |byte: u8| if matches!(byte, b'!'..=b'~') && !matches!(byte, b'+' | b'=') { 1 } else { 3 };
    !text.is_empty() && text.bytes().map(coded).sum::<usize>() <= most
}

pub(super) fn say(out: &mut Buffer, text: fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "room for a command was kept");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::deliver_by::DeliverBy;
    use crate::smtp::parameter::Return;

    #[test]
    fn nobody_waits_long_for_the_answer_to_quit() {
        let (now, mut out) = (Instant::from_millis(0), Buffer::new(4096));
        let minutes = Duration::from_secs(300);
        let mut client = Client::new();
        client.start(
            &ClientTerms {
                hostname: "a",
                reply_timeout: minutes,
                tls: TlsTerms::None,
                login: LoginTerms::None,
            },
            now,
        );
        assert_eq!(client.deadline(), Some(now + minutes));
        client.quit(&mut out, now);
        assert_eq!(client.deadline(), Some(now + BYE_TIMEOUT));
    }

    const TERMS: ClientTerms<'_> = ClientTerms {
        hostname: "relay.example",
        reply_timeout: Duration::from_secs(300),
        tls: TlsTerms::None,
        login: LoginTerms::None,
    };
    const NOW: Instant = Instant::from_millis(0);

    /// A client that has read `input` and taken all of it that it wanted.
    fn client_after(input: &[u8], out: &mut Buffer) -> (Client, Vec<String>) {
        let mut client = Client::new();
        client.start(&TERMS, NOW);
        let events = run(&mut client, input, out);
        (client, events)
    }

    fn run(client: &mut Client, input: &[u8], out: &mut Buffer) -> Vec<String> {
        run_by(client, input, out, &TERMS)
    }

    fn run_by(
        client: &mut Client,
        input: &[u8],
        out: &mut Buffer,
        terms: &ClientTerms<'_>,
    ) -> Vec<String> {
        let mut events = Vec::new();
        let mut rest = input;
        loop {
            let (consumed, event) = client.step(rest, out, terms, NOW);
            client.check_invariants();
            rest = &rest[consumed..];
            match event {
                ClientEvent::Again => (),
                ClientEvent::Wait => return events,
                ClientEvent::Lost(..) | ClientEvent::Bye => {
                    events.push(format!("{event:?}"));
                    return events;
                }
                event => events.push(format!("{event:?}")),
            }
        }
    }

    /// Nothing would have ended that wait: its lane's mail stood still until it expired.
    #[test]
    fn half_a_line_behind_a_reply_was_waited_on_for_ever() {
        let mut out = Buffer::new(4096);
        for half in ["2", "250", "421 clos"] {
            let input = format!("220 mx.example\r\n250 mx.example\r\n{half}");
            let (client, events) = client_after(input.as_bytes(), &mut out);
            assert!(events.last().is_some_and(|event| event.starts_with("Lost(")), "{events:?}");
            assert!(!client.is_ready());
            out.clear();
        }
    }

    /// RFC 3461 §4.2: 500 characters with the type before it and the semicolon.
    #[test]
    fn an_original_recipient_of_a_byte_too_much() {
        let greeting = b"220 mx.example\r\n250-mx.example\r\n250-PIPELINING\r\n250 DSN\r\n";
        for (length, is_said) in [(493, true), (494, false)] {
            let mut out = Buffer::new(4096);
            let (mut client, _) = client_after(greeting, &mut out);
            let particulars = Particulars::default();
            client.begin_mail(&mut out, None, &particulars, NOW);
            out.clear();
            let original = format!("rfc822;{}", "a".repeat(length));
            let to = Address::parse(b"b@c.example").unwrap();
            client.ask_recipient(&mut out, to, None, &original);
            let said = String::from_utf8(out.readable().to_vec()).unwrap();
            assert_eq!(said.contains("ORCPT="), is_said, "{length}");
        }
    }

    #[test]
    fn a_reply_that_comes_before_its_command_is_garbage() {
        let mut out = Buffer::new(4096);
        let mut client = Client::new();
        client.start(&TERMS, NOW);
        let input = b"220 mx\r\n250 mx\r\n250 2.1.0 Ok\r\n";
        assert!(matches!(client.step(input, &mut out, &TERMS, NOW), (8, ClientEvent::Again)));
        assert!(matches!(
            client.step(&input[8..], &mut out, &TERMS, NOW),
            (8, ClientEvent::Greeted)
        ));
        assert!(!client.is_ready());
        assert_eq!(run(&mut client, &input[16..], &mut out), ["Lost(Garbage, BeforeMail)"]);
    }

    /// Threats 2: whatever stands behind the answer to STARTTLS, or before the question.
    #[test]
    fn nothing_comes_with_the_answer_to_starttls() {
        let terms = ClientTerms { tls: TlsTerms::Starttls, ..TERMS };
        let hello = "220 mx\r\n250-mx\r\n250 STARTTLS\r\n";
        for (input, is_injected) in [
            (format!("{hello}220 go\r\n"), true),
            (format!("{hello}250 x\r\n"), true),
            (hello.to_owned(), false),
        ] {
            let (mut out, mut client) = (Buffer::new(4096), Client::new());
            client.start(&terms, NOW);
            let events = run_by(&mut client, input.as_bytes(), &mut out, &terms);
            let lost = if is_injected { &["Lost(Injected, BeforeMail)"][..] } else { &[] };
            assert_eq!(events, lost, "{input}");
        }
        for behind in ["\r", "250 x\r\n", "220 go\r\n", "\x16\x03\x03"] {
            let (mut out, mut client) = (Buffer::new(4096), Client::new());
            client.start(&terms, NOW);
            assert!(run_by(&mut client, hello.as_bytes(), &mut out, &terms).is_empty());
            let answer = format!("220 go\r\n{behind}");
            let events = run_by(&mut client, answer.as_bytes(), &mut out, &terms);
            assert_eq!(events, ["Lost(Injected, BeforeMail)"], "{behind:?}");
        }
    }

    #[test]
    fn only_what_is_offered_is_used() {
        let mut out = Buffer::new(4096);
        let (mut client, _) = client_after(b"220 mx\r\n", &mut out);
        run(&mut client, b"250-mx SIZE 5\r\n250-size\r\n250 XPIPELINING\r\n", &mut out);
        assert_eq!(client.offer().size, Some(0));
        assert!(!client.offer().pipelining && client.is_ready());
        out.clear();
        let from = Address::parse(b"a@b.example").unwrap();
        let particulars = Particulars {
            size: Some(7),
            eight_bit: true,
            utf8: true,
            ret: Some(Return::Full),
            envid: "QQ",
            ..Particulars::default()
        };
        client.begin_mail(&mut out, Some(from), &particulars, NOW);
        assert_eq!(out.readable(), b"MAIL FROM:<a@b.example> SIZE=7\r\n");
        assert!(!client.may_ask(&out));
        run(&mut client, b"250 Ok\r\n", &mut out);
        assert!(client.may_ask(&out));
        out.clear();
        client.ask_recipient(&mut out, from, Some(Notify::NEVER), "rfc822;a@b");
        assert_eq!(out.readable(), b"RCPT TO:<a@b.example>\r\n");
    }

    /// A command of the greatest length fits where one was promised room.
    #[test]
    fn the_longest_commands() {
        let mut out = Buffer::new(COMMAND_BYTES_MAX);
        let (mut client, _) = client_after(b"220 mx\r\n", &mut out);
        let hello = b"250-mx\r\n250-SIZE 1\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-DELIVERBY\r\n\
            250-BINARYMIME\r\n250 DSN\r\n";
        out.clear();
        run(&mut client, hello, &mut out);
        let address = format!("{}@{}", "l".repeat(192), "d".repeat(61));
        let address = Address::parse(address.as_bytes()).unwrap();
        let envid = "+".repeat(ENVELOPE_ID_BYTES_MAX / 3);
        let particulars = Particulars {
            size: Some(u64::MAX),
            binary: true,
            utf8: true,
            ret: Some(Return::Headers),
            envid: &envid,
            by: DeliverBy::parse(b"-999999999;NT"),
            ..Particulars::default()
        };
        client.begin_mail(&mut out, Some(address), &particulars, NOW);
        let said = String::from_utf8(out.readable().to_vec()).unwrap();
        let end = format!("RET=HDRS ENVID={} BY=-999999999;NT\r\n", "+2B".repeat(33));
        assert!(said.ends_with(&end), "{said}");
        out.clear();
        run(&mut client, b"250 Ok\r\n", &mut out);
        let all = Notify::from_bits(7);
        let original = format!("rfc822;{}", "=".repeat((ORIGINAL_BYTES_MAX - 6) / 3));
        client.ask_recipient(&mut out, address, Some(all), &original);
        assert!(out.readable().ends_with(b"+3D+3D\r\n"));
        out.clear();
        run(&mut client, b"250 Ok\r\n", &mut out);
        client.ask_recipient(&mut out, address, Some(all), &format!("{original}=="));
        assert!(out.readable().ends_with(b" NOTIFY=SUCCESS,FAILURE,DELAY\r\n"));
    }

    #[test]
    fn an_envelope_without_recipients_is_reset() {
        let mut out = Buffer::new(4096);
        let (mut client, _) = client_after(b"220 mx\r\n", &mut out);
        run(&mut client, b"250-mx\r\n250 PIPELINING\r\n", &mut out);
        client.begin_mail(&mut out, None, &Particulars::default(), NOW);
        client.end_envelope(&mut out, NOW);
        out.clear();
        assert_eq!(run(&mut client, b"250 Ok\r\n", &mut out), ["Sender(250 Ok)"]);
        assert_eq!(out.readable(), b"RSET\r\n");
        assert_eq!(run(&mut client, b"250 Ok\r\n", &mut out), ["Ready"]);
        assert!(client.is_ready() && client.deadline().is_none());
    }

    #[test]
    fn leaving_inside_a_message_is_closing() {
        let mut out = Buffer::new(4096);
        let (mut client, _) = client_after(b"220 mx\r\n", &mut out);
        run(&mut client, b"250-mx\r\n250 PIPELINING\r\n", &mut out);
        client.begin_mail(&mut out, None, &Particulars::default(), NOW);
        client.ask_recipient(&mut out, Address::parse(b"c@d.example").unwrap(), None, "");
        client.end_envelope(&mut out, NOW);
        run(&mut client, b"250 Ok\r\n250 Ok\r\n354 Go\r\n", &mut out);
        assert_eq!(client.stage(), Stage::Data);
        out.clear();
        client.quit(&mut out, NOW);
        assert!(out.is_empty());
        assert_eq!(run(&mut client, b"", &mut out), ["Bye"]);
    }

    /// Whatever comes, nothing panics, and the machine ends or waits.
    #[test]
    fn any_bytes_at_all() {
        let words: [&[u8]; 9] = [
            b"220 a\r\n",
            b"250-",
            b"SIZE 9\r\n",
            b"250 b\r\n",
            b"354 \r\n",
            b"\n",
            b"5",
            b"421",
            b"\xff",
        ];
        for number in 0..words.len().pow(5) {
            let word = |place: u32| words[number / words.len().pow(place) % words.len()];
            let input: Vec<u8> = (0..5).flat_map(|place| word(place).to_vec()).collect();
            let mut out = Buffer::new(4096);
            let (mut client, _) = client_after(&input, &mut out);
            if client.is_ready() {
                client.begin_mail(&mut out, None, &Particulars::default(), NOW);
                run(&mut client, &input, &mut out);
            }
        }
    }
}

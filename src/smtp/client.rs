//! The sending machine: one connection to a next hop, and the mails that go over it one by one.
//!
//! It is fed with [`Client::step`], which takes a prefix of the input, writes commands into `out`
//! and gives one [`ClientEvent`]; call it until it says [`ClientEvent::Wait`]. A mail is
//! [`Client::begin_mail`], [`Client::ask_recipient`] while [`Client::may_ask`],
//! [`Client::end_envelope`]; after [`ClientEvent::Go`] the caller writes the message through
//! [`super::data::DotWriter`] into `out` itself, and then calls [`Client::end_data`]. With
//! PIPELINING commands go out without waiting for replies, which still come as events in the order
//! asked.
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
//! Read first: RFC 5321 §3, §4.5.3.2; RFC 2920 §3.1; RFC 1870; RFC 6152.

use super::reply::{Parsed, RemoteReply, ReplyParser};
use crate::base::ascii::parse_decimal;
use crate::base::buffer::Buffer;
use crate::base::time::Instant;
use crate::limits::{ADDRESS_BYTES_MAX, DOMAIN_BYTES_MAX};
use crate::mail::address::Address;
use core::fmt::{self, Write as _};
use core::time::Duration;

/// Room in `out` that is enough for any one command.
pub const COMMAND_BYTES_MAX: usize = 384;

/// How long the answer to QUIT is waited for.
const BYE_TIMEOUT: Duration = Duration::from_secs(5);

const _: () = assert!(ADDRESS_BYTES_MAX + 64 <= COMMAND_BYTES_MAX);
const _: () = assert!(DOMAIN_BYTES_MAX + 64 <= COMMAND_BYTES_MAX);

/// What a connection is held to.
#[derive(Clone, Copy, Debug)]
pub struct ClientTerms<'a> {
    /// What this machine calls itself.
    pub hostname: &'a str,
    /// From a command to its reply, and between two bytes of a message that the peer takes; twice
    /// as long after the final dot (RFC 5321 §4.5.3.2: five and ten minutes).
    pub reply_timeout: Duration,
}

/// What one step came to.
#[derive(Clone, Copy, Debug)]
pub enum ClientEvent {
    /// Nothing can be done before there is more input, more room in `out`, or a call from above.
    Wait,
    /// Something was taken; step again.
    Again,
    /// EHLO or HELO is accepted: the first mail may begin, if [`Client::is_ready`].
    Greeted,
    /// The answer to MAIL. When it is a refusal, end the envelope; what is still answered to
    /// recipients asked before it came means nothing.
    Sender(RemoteReply),
    /// The answer to the next recipient in the order asked.
    Recipient(RemoteReply),
    /// The message may go out.
    Go,
    /// The message may not go out: the answer to DATA, or to the lone dot that was sent when DATA
    /// was allowed though no recipient was. [`ClientEvent::Ready`] follows.
    NoData(RemoteReply),
    /// The verdict on the message: the next mail may begin, if [`Client::is_ready`]. If not, step
    /// on; the peer said this before the final dot, or has said more than it was asked.
    Final(RemoteReply),
    /// A mail that came to nothing is reset: the next one may begin, if [`Client::is_ready`].
    Ready,
    /// Close: QUIT was answered, or never will be, or the connection was lost.
    Bye,
    /// Close: the connection is of no more use.
    Lost(Loss, Stage),
}

/// How a connection was lost.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// The peer refused the connection, or both EHLO and HELO.
    Greeting(RemoteReply),
    /// 421, which may come at any time (RFC 5321 §3.8).
    ServiceClosing(RemoteReply),
    /// What came is not SMTP, beyond the limits, or not an answer to anything.
    Garbage,
    /// The peer closed the connection.
    Closed,
    /// The deadline passed.
    TimedOut,
}

/// How far the mail had come when the connection was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// No mail was under way.
    BeforeMail,
    /// MAIL was sent, the message was not.
    Envelope,
    /// Part of the message was sent, its end was not.
    Data,
    /// The final dot was sent: the peer may have the message or not.
    Final,
}

/// One connection.
pub struct Client {
    state: State,
    parser: ReplyParser,
    offer: Offer,
    /// When the last reply was taken, there was more behind it.
    is_ahead: bool,
    reply_timeout: Duration,
    deadline: Option<Instant>,
}

/// What EHLO was answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Offer {
    /// The line with the peer's name has been read.
    is_named: bool,
    size: Option<u64>,
    eight_bit_mime: bool,
    pipelining: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::enum_variant_names, reason = "a state is named by what it awaits")]
enum State {
    AwaitConnection,
    AwaitGreeting,
    AwaitEhlo,
    AwaitHelo,
    /// The caller's next mail.
    AwaitMail,
    AwaitEnvelope(Envelope),
    /// The caller's bytes.
    AwaitData,
    AwaitFinal,
    /// The answer to a lone dot.
    AwaitNothing,
    AwaitReset,
    AwaitBye,
    AwaitClose,
}

/// From MAIL to the answer to DATA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Envelope {
    /// What MAIL was answered with.
    sender_accepted: Option<bool>,
    asked: u16,
    answered: u16,
    accepted: u16,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// More recipients may come.
    Open,
    /// DATA is to be sent as soon as it may.
    Wanted,
    /// DATA is sent.
    Asked,
    /// RSET is to be sent as soon as nothing is outstanding.
    Reset,
}

impl Envelope {
    /// No answer is due.
    fn is_settled(&self) -> bool {
        self.sender_accepted.is_some() && self.answered == self.asked && self.end != End::Asked
    }

    /// Somebody may get the message.
    fn is_worth_data(&self) -> bool {
        self.sender_accepted == Some(true) && self.accepted > 0
    }
}

impl Client {
    /// A connection that has not been made.
    pub fn new() -> Client {
        Client {
            state: State::AwaitConnection,
            parser: ReplyParser::new(),
            offer: Offer::default(),
            is_ahead: false,
            reply_timeout: Duration::ZERO,
            deadline: None,
        }
    }

    /// The connection stands: awaits the greeting. Once, on a new machine.
    pub fn start(&mut self, terms: &ClientTerms<'_>, now: Instant) {
        debug_assert!(self.state == State::AwaitConnection);
        self.reply_timeout = terms.reply_timeout;
        self.enter(State::AwaitGreeting, now);
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
        match self.state {
            State::AwaitConnection => return (0, ClientEvent::Wait),
            State::AwaitClose => return (0, ClientEvent::Bye),
            _ if self.may_speak() && out.space() < COMMAND_BYTES_MAX => {
                return (0, ClientEvent::Wait);
            }
            _ => (),
        }
        match self.parser.step(input) {
            (_, Parsed::More) => (0, ClientEvent::Wait),
            (_, Parsed::Garbage) => (0, self.lose(Loss::Garbage, now)),
            (consumed, Parsed::Line { text, is_last }) => {
                if self.state == State::AwaitEhlo {
                    self.offer.read(text);
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

    /// Begins a mail: [`Client::is_ready`], and room in `out` for [`COMMAND_BYTES_MAX`]. No `from`
    /// is the null path. `size` and `eight_bit` are declared if the peer knows these words.
    pub fn begin_mail(
        &mut self,
        out: &mut Buffer,
        from: Option<Address<'_>>,
        size: Option<u64>,
        eight_bit: bool,
        now: Instant,
    ) {
        debug_assert!(self.is_ready());
        let from = from.map_or("", |address| address.as_str());
        say(out, format_args!("MAIL FROM:<{from}>"));
        if let (Some(size), Some(_)) = (size, self.offer.size) {
            say(out, format_args!(" SIZE={size}"));
        }
        if eight_bit && self.offer.eight_bit_mime {
            say(out, format_args!(" BODY=8BITMIME"));
        }
        say(out, format_args!("\r\n"));
        let envelope =
            Envelope { sender_accepted: None, asked: 0, answered: 0, accepted: 0, end: End::Open };
        self.enter(State::AwaitEnvelope(envelope), now);
    }

    /// True when [`Client::ask_recipient`] may be called: there is room, and with PIPELINING, or
    /// when all before is answered, it is the turn.
    pub fn may_ask(&self, out: &Buffer) -> bool {
        let State::AwaitEnvelope(envelope) = &self.state else { return false };
        envelope.end == End::Open
            && envelope.sender_accepted != Some(false)
            && (self.offer.pipelining || envelope.is_settled())
            && out.space() >= COMMAND_BYTES_MAX
    }

    /// Names a recipient, while [`Client::may_ask`].
    pub fn ask_recipient(&mut self, out: &mut Buffer, to: Address<'_>) {
        debug_assert!(self.may_ask(out));
        if let State::AwaitEnvelope(envelope) = &mut self.state {
            envelope.asked += 1;
            say(out, format_args!("RCPT TO:<{}>\r\n", to.as_str()));
        }
    }

    /// There are no more recipients. DATA follows at once, or when all is answered; if then nobody
    /// is left to get the message, RSET.
    pub fn end_envelope(&mut self, out: &mut Buffer, now: Instant) {
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
            State::AwaitConnection | State::AwaitData | State::AwaitFinal => {
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
        self.lose(Loss::Closed, now)
    }

    /// Gives the connection up if its deadline has passed.
    pub fn timed_out(&mut self, now: Instant) -> ClientEvent {
        match self.deadline {
            Some(deadline) if deadline <= now => self.lose(Loss::TimedOut, now),
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
        self.state == State::AwaitMail && !self.is_ahead
    }

    /// SIZE: the largest message the peer takes, 0 when it does not say; none: not offered.
    pub const fn size(&self) -> Option<u64> {
        self.offer.size
    }

    /// 8BITMIME.
    pub const fn eight_bit_mime(&self) -> bool {
        self.offer.eight_bit_mime
    }

    /// PIPELINING.
    pub const fn pipelining(&self) -> bool {
        self.offer.pipelining
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
            false => self.offer.pipelining && is_hopeful,
        };
        match envelope.end {
            End::Wanted if may_data => {
                say(out, format_args!("DATA\r\n"));
                envelope.end = End::Asked;
                self.enter(State::AwaitEnvelope(envelope), now);
            }
            End::Wanted | End::Reset if is_settled => {
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
            // RFC 5321 §3.2: a server without extensions refuses EHLO, and gets HELO.
            (State::AwaitEhlo, 5) => {
                self.offer = Offer::default();
                say(out, format_args!("HELO {}\r\n", terms.hostname));
                self.enter_with(State::AwaitHelo, ClientEvent::Again, now)
            }
            (State::AwaitEhlo | State::AwaitHelo, 2) => {
                self.enter_with(State::AwaitMail, ClientEvent::Greeted, now)
            }
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

    fn lose(&mut self, loss: Loss, now: Instant) -> ClientEvent {
        let event = match self.state {
            // Nothing is lost behind QUIT.
            State::AwaitBye | State::AwaitClose => ClientEvent::Bye,
            _ => ClientEvent::Lost(loss, self.stage()),
        };
        self.enter_with(State::AwaitClose, event, now)
    }

    fn enter_with(&mut self, state: State, event: ClientEvent, now: Instant) -> ClientEvent {
        self.enter(state, now);
        event
    }

    /// Every way into a state arms its deadline; an envelope enters itself with each reply.
    fn enter(&mut self, state: State, now: Instant) {
        log::trace!("client: {} -> {}", self.state.name(), state.name());
        self.state = state;
        self.deadline = match state {
            State::AwaitConnection | State::AwaitMail | State::AwaitClose => None,
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

impl Offer {
    /// RFC 5321 §4.1.1.1: the first line names the peer, each other one an extension.
    fn read(&mut self, line: &[u8]) {
        if !core::mem::replace(&mut self.is_named, true) {
            return;
        }
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let keyword = words.next().unwrap_or_default();
        if keyword.eq_ignore_ascii_case(b"SIZE") {
            self.size = Some(words.next().and_then(parse_decimal).unwrap_or(0));
        } else if keyword.eq_ignore_ascii_case(b"8BITMIME") {
            self.eight_bit_mime = true;
        } else if keyword.eq_ignore_ascii_case(b"PIPELINING") {
            self.pipelining = true;
        }
    }
}

impl State {
    const fn name(&self) -> &'static str {
        match self {
            State::AwaitConnection => "AwaitConnection",
            State::AwaitGreeting => "AwaitGreeting",
            State::AwaitEhlo => "AwaitEhlo",
            State::AwaitHelo => "AwaitHelo",
            State::AwaitMail => "AwaitMail",
            State::AwaitEnvelope(_) => "AwaitEnvelope",
            State::AwaitData => "AwaitData",
            State::AwaitFinal => "AwaitFinal",
            State::AwaitNothing => "AwaitNothing",
            State::AwaitReset => "AwaitReset",
            State::AwaitBye => "AwaitBye",
            State::AwaitClose => "AwaitClose",
        }
    }
}

fn say(out: &mut Buffer, text: fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "room for a command was kept");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_long_for_the_answer_to_quit() {
        let (now, mut out) = (Instant::from_millis(0), Buffer::new(4096));
        let minutes = Duration::from_secs(300);
        let mut client = Client::new();
        client.start(&ClientTerms { hostname: "a", reply_timeout: minutes }, now);
        assert_eq!(client.deadline(), Some(now + minutes));
        client.quit(&mut out, now);
        assert_eq!(client.deadline(), Some(now + BYE_TIMEOUT));
    }

    const TERMS: ClientTerms<'_> =
        ClientTerms { hostname: "relay.example", reply_timeout: Duration::from_secs(300) };
    const NOW: Instant = Instant::from_millis(0);

    /// A client that has read `input` and taken all of it that it wanted.
    fn client_after(input: &[u8], out: &mut Buffer) -> (Client, Vec<String>) {
        let mut client = Client::new();
        client.start(&TERMS, NOW);
        let events = run(&mut client, input, out);
        (client, events)
    }

    fn run(client: &mut Client, input: &[u8], out: &mut Buffer) -> Vec<String> {
        let mut events = Vec::new();
        let mut rest = input;
        loop {
            let (consumed, event) = client.step(rest, out, &TERMS, NOW);
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

    #[test]
    fn only_what_is_offered_is_used() {
        let mut out = Buffer::new(4096);
        let (mut client, _) = client_after(b"220 mx\r\n", &mut out);
        run(&mut client, b"250-mx SIZE 5\r\n250-size\r\n250 XPIPELINING\r\n", &mut out);
        assert_eq!(client.size(), Some(0));
        assert!(!client.pipelining() && !client.eight_bit_mime() && client.is_ready());
        out.clear();
        let from = Address::parse(b"a@b.example").unwrap();
        client.begin_mail(&mut out, Some(from), Some(7), true, NOW);
        assert_eq!(out.readable(), b"MAIL FROM:<a@b.example> SIZE=7\r\n");
        assert!(!client.may_ask(&out));
        run(&mut client, b"250 Ok\r\n", &mut out);
        assert!(client.may_ask(&out));
    }

    #[test]
    fn an_envelope_without_recipients_is_reset() {
        let mut out = Buffer::new(4096);
        let (mut client, _) = client_after(b"220 mx\r\n", &mut out);
        run(&mut client, b"250-mx\r\n250 PIPELINING\r\n", &mut out);
        client.begin_mail(&mut out, None, None, false, NOW);
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
        client.begin_mail(&mut out, None, None, false, NOW);
        client.ask_recipient(&mut out, Address::parse(b"c@d.example").unwrap());
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
                client.begin_mail(&mut out, None, None, false, NOW);
                run(&mut client, &input, &mut out);
            }
        }
    }
}

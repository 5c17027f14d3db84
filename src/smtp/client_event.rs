//! What the sending machine is told, and what it tells; see [`super::client`].

use super::deliver_by::DeliverBy;
use super::parameter::Return;
use super::reply::RemoteReply;
use super::sasl::Mechanism;
use super::sasl::client::ClientError;
use crate::base::buffer::Text;
use core::time::Duration;

/// What a connection is held to.
#[derive(Clone, Copy, Debug)]
pub struct ClientTerms<'a> {
    /// What this machine calls itself.
    pub hostname: &'a str,
    /// From a command to its reply, and between two bytes of a message that the peer takes; twice
    /// as long after the final dot (RFC 5321 §4.5.3.2: five and ten minutes).
    pub reply_timeout: Duration,
    /// Whether to speak TLS before anything else is said.
    pub tls: TlsTerms,
    /// Whether to log in before any mail.
    pub login: LoginTerms,
}

/// Whether and when TLS is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlsTerms {
    /// Never.
    #[default]
    None,
    /// From the first byte on.
    Implicit,
    /// Behind STARTTLS, and no mail without.
    Starttls,
    /// Behind STARTTLS if the peer offers that, else in the clear.
    IfOffered,
}

/// Whether to log in, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LoginTerms {
    /// No.
    #[default]
    None,
    /// With a password.
    Password,
    /// With an OAuth 2 token.
    Token,
    /// With something, but not over such a connection: everyone on the way can read it.
    Exposed,
}

/// What is said of a mail behind MAIL.
#[derive(Clone, Copy, Debug, Default)]
pub struct Particulars<'a> {
    /// SIZE=.
    pub size: Option<u64>,
    /// BODY=8BITMIME.
    pub eight_bit: bool,
    /// BODY=BINARYMIME: only to a peer that has it, see [`super::peer_offer::PeerOffer::binary`].
    pub binary: bool,
    /// SMTPUTF8.
    pub utf8: bool,
    /// RET=.
    pub ret: Option<Return>,
    /// ENVID=, decoded; empty is none.
    pub envid: &'a str,
    /// BY=, from now on.
    pub by: Option<DeliverBy>,
}

/// What one step came to.
#[derive(Clone, Copy, Debug)]
pub enum ClientEvent {
    /// Nothing can be done before there is more input, more room in `out`, or a call from above.
    Wait,
    /// Something was taken; step again.
    Again,
    /// EHLO or HELO is accepted, and so is the login if there was one: the first mail may begin, if
    /// `Client::is_ready`.
    Greeted,
    /// TLS is to be begun, and `Client::secured` to be called when its handshake is over. Nothing
    /// that came before is left in the input.
    BeginTls,
    /// The next step of the login is due: `Client::log_in`.
    Login,
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
    /// The verdict on the message: the next mail may begin, if `Client::is_ready`. If not, step
    /// on; the peer said this before the final dot, or has said more than it was asked.
    Final(RemoteReply),
    /// A mail that came to nothing is reset: the next one may begin, if `Client::is_ready`.
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
    /// TLS must be, and the peer does not offer it, or has said that to STARTTLS.
    NoTls(Option<RemoteReply>),
    /// Somebody has put more behind the answer to STARTTLS, where everyone can (threats 2).
    Injected,
    /// TLS was begun and came to nothing.
    Tls,
    /// Its handshake takes too long.
    TlsTooSlow,
    /// It did not greet us in time: it may be waiting for TLS.
    Silent,
    /// We are not logged in.
    Login(LoginLoss),
}

/// Why a login came to nothing. No mail may be sent then (threats 23).
#[derive(Clone, Copy, Debug)]
pub enum LoginLoss {
    /// Nothing protects the connection.
    Exposed,
    /// The peer has no mechanism that we could use: those that it names.
    NoMechanism(Text<80>),
    /// The peer's answer, and, of a token, the word for what is wrong with it, if there is one.
    Refused(Mechanism, RemoteReply, Text<40>),
    /// It was given up here.
    Failed(Mechanism, ClientError),
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

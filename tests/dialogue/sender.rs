//! The client machine with its owner, who sends these mails one after the other, then leaves:
//!
//!     mail FROM TO,TO… TEXT               FROM may be <>
//!     mail FROM SIZE 8bit TO,TO… TEXT     with that size declared, and 8-bit content
//!     say WORD=VALUE …                    about the mail named last: binary utf8 ret envid by, and
//!                                         notify and original of all its recipients
//!     abandon FROM TO                     given up once it has been named
//!     login USER PASSWORD                 first of all; token USER TOKEN likewise
//!     exposed                             nothing protects the connection
//!     tls WHEN                            implicit, starttls, offered: as its terms have it
//!     secured                             the handshake that was asked for is over
//!     wait N                              N seconds pass
//!     close                               the peer closes
//!
//! Mails stand at the beginning of a script, and are known before it is played.

use crate::script::{Line, unescape};
use crate::{Mode, Player};
use mote::base::buffer::Buffer;
use mote::base::time::Instant;
use mote::mail::address::Address;
use mote::smtp::client::{
    COMMAND_BYTES_MAX, Client, ClientEvent, ClientTerms, LoginTerms, Particulars, TlsTerms,
};
use mote::smtp::data::DotWriter;
use mote::smtp::deliver_by::DeliverBy;
use mote::smtp::parameter::{Notify, Return};
use mote::smtp::sasl::client::{Login, SecretKind};
use mote::smtp::sasl::{Crypto, Hash, Nonce};
use std::collections::VecDeque;
use std::time::Duration;

/// See the module's head.
pub(crate) struct Sender {
    client: Client,
    terms: ClientTerms<'static>,
    /// User, and password or token.
    key: (String, String),
    mails: VecDeque<Mail>,
    mail: Option<Mail>,
    /// Recipients of `mail` that were named.
    asked: usize,
    input: Vec<u8>,
    out: Buffer,
    now: Instant,
    is_over: bool,
    said: Vec<u8>,
    told: Vec<String>,
}

#[derive(Default)]
struct Mail {
    from: String,
    size: Option<u64>,
    eight_bit: bool,
    to: Vec<String>,
    text: Vec<u8>,
    is_abandoned: bool,
    is_binary: bool,
    is_utf8: bool,
    ret: Option<Return>,
    envid: String,
    by: Option<DeliverBy>,
    notify: Option<Notify>,
    original: String,
}

impl Mail {
    /// Takes the words behind `say`.
    fn say(&mut self, words: &str) {
        for word in words.split(' ') {
            match word.split_once('=').unwrap_or((word, "")) {
                ("binary", _) => self.is_binary = true,
                ("utf8", _) => self.is_utf8 = true,
                ("ret", "full") => self.ret = Some(Return::Full),
                ("ret", "hdrs") => self.ret = Some(Return::Headers),
                ("by", value) => self.by = Some(DeliverBy::parse(value.as_bytes()).unwrap()),
                ("envid", id) => self.envid = id.to_string(),
                ("notify", bits) => self.notify = Some(Notify::from_bits(bits.parse().unwrap())),
                ("original", text) => self.original = text.to_string(),
                _ => panic!("what is {word}?"),
            }
        }
    }

    fn read(words: &str) -> Option<Mail> {
        let (verb, rest) = words.split_once(' ')?;
        let words: Vec<&str> = rest.splitn(5, ' ').collect();
        let list = |to: &str| to.split(',').map(str::to_string).collect();
        let mail = |from: &str, to: &str, text: &str| Mail {
            from: from.to_string(),
            to: list(to),
            text: unescape(text),
            ..Mail::default()
        };
        Some(match (verb, &words[..]) {
            ("mail", [from, size, "8bit", to, text]) => {
                Mail { size: size.parse().ok(), eight_bit: true, ..mail(from, to, text) }
            }
            ("mail", [from, to, ..]) => {
                let text = rest.splitn(3, ' ').nth(2).unwrap_or_default();
                mail(from, to, text)
            }
            ("abandon", [from, to]) => Mail { is_abandoned: true, ..mail(from, to, "") },
            _ => return None,
        })
    }
}

impl Sender {
    pub(crate) fn new(script: &[Line], mode: Mode) -> Sender {
        let mut mails: VecDeque<Mail> = VecDeque::new();
        let (mut key, mut login, mut tls) = (Default::default(), LoginTerms::None, TlsTerms::None);
        for line in script {
            let Line::Owner(words) = line else { continue };
            let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
            let key_of = || rest.split_once(' ').map(|(a, b)| (a.into(), b.into())).unwrap();
            match verb {
                "say" => mails.back_mut().unwrap().say(rest),
                "login" => (key, login) = (key_of(), LoginTerms::Password),
                "token" => (key, login) = (key_of(), LoginTerms::Token),
                "tls" => {
                    tls = match rest {
                        "implicit" => TlsTerms::Implicit,
                        "starttls" => TlsTerms::Starttls,
                        "offered" => TlsTerms::IfOffered,
                        _ => panic!("what is {rest}?"),
                    }
                }
                "exposed" => login = LoginTerms::Exposed,
                _ => mails.extend(Mail::read(words)),
            }
        }
        let room = if mode == Mode::Cramped { COMMAND_BYTES_MAX } else { 4096 };
        let mut sender = Sender {
            client: Client::new(),
            terms: ClientTerms {
                hostname: "relay.example",
                reply_timeout: Duration::from_secs(300),
                tls,
                login,
            },
            key,
            mails,
            mail: None,
            asked: 0,
            input: Vec::new(),
            out: Buffer::new(room),
            now: Instant::from_millis(1_000_000),
            is_over: false,
            said: Vec::new(),
            told: Vec::new(),
        };
        sender.client.start(&sender.terms, sender.now);
        sender
    }

    fn run(&mut self) {
        while !self.is_over {
            let (consumed, event) =
                self.client.step(&self.input, &mut self.out, &self.terms, self.now);
            self.client.check_invariants();
            self.input.drain(..consumed);
            let is_waiting = matches!(event, ClientEvent::Wait);
            self.handle(event);
            self.ask();
            if is_waiting && self.out.is_empty() {
                return;
            }
            if is_waiting {
                self.write();
            }
        }
    }

    fn write(&mut self) {
        self.said.extend_from_slice(self.out.readable());
        self.out.clear();
    }

    fn handle(&mut self, event: ClientEvent) {
        match &event {
            ClientEvent::Wait | ClientEvent::Again => return,
            ClientEvent::Login => return self.log_in(),
            ClientEvent::Greeted | ClientEvent::Ready => (),
            _ => self.told.push(format!("{event:?}")),
        }
        match event {
            ClientEvent::Greeted => {
                let offer = self.client.offer();
                let words = [
                    offer.size.map(|size| format!(" size={size}")),
                    offer.eight_bit_mime.then(|| " 8bitmime".to_string()),
                    offer.pipelining.then(|| " pipelining".to_string()),
                    offer.binary.then(|| " binary".to_string()),
                    offer.utf8.then(|| " utf8".to_string()),
                    offer.dsn.then(|| " dsn".to_string()),
                    offer.recipients_max.map(|most| format!(" rcptmax={most}")),
                    offer.mails_max.map(|most| format!(" mailmax={most}")),
                ];
                let words: String = words.into_iter().flatten().collect();
                self.told.push(format!("Greeted{words}"));
                self.next();
            }
            ClientEvent::Ready => {
                self.told.push("Ready".into());
                self.next();
            }
            ClientEvent::Final(_) => self.next(),
            ClientEvent::Sender(reply) if reply.class() != 2 => {
                self.client.end_envelope(&mut self.out, self.now);
            }
            ClientEvent::Go => self.send_text(),
            ClientEvent::Bye | ClientEvent::Lost(..) => self.is_over = true,
            _ => (),
        }
    }

    fn log_in(&mut self) {
        let (user, secret) = &self.key;
        let secret = match self.terms.login {
            LoginTerms::Token => SecretKind::Token(secret.as_bytes()),
            _ => SecretKind::Password(secret.as_bytes()),
        };
        let login = Login { user, secret, host: "mx.example", port: 587 };
        let event = self.client.log_in(&mut self.out, &login, &Example, self.now);
        self.handle(event);
    }

    /// Begins the next mail, or leaves. What is not ready will soon say so.
    fn next(&mut self) {
        self.write();
        self.mail = self.mails.pop_front();
        self.asked = 0;
        match &self.mail {
            _ if self.client.is_spent() => self.client.quit(&mut self.out, self.now),
            _ if !self.client.is_ready() => (),
            Some(mail) => {
                let from = Address::parse_utf8(mail.from.as_bytes()).ok();
                let particulars = Particulars {
                    size: mail.size,
                    eight_bit: mail.eight_bit,
                    binary: mail.is_binary,
                    utf8: mail.is_utf8,
                    ret: mail.ret,
                    envid: &mail.envid,
                    by: mail.by,
                };
                self.client.begin_mail(&mut self.out, from, &particulars, self.now);
            }
            None => self.client.quit(&mut self.out, self.now),
        }
    }

    fn ask(&mut self) {
        let Some(mail) = &self.mail else { return };
        if self.client.is_full() {
            self.client.end_envelope(&mut self.out, self.now);
        }
        while self.client.may_ask(&self.out) {
            match mail.to.get(self.asked) {
                Some(to) => {
                    let to = Address::parse_utf8(to.as_bytes()).unwrap();
                    let (notify, original) = (mail.notify, &mail.original);
                    self.client.ask_recipient(&mut self.out, to, notify, original);
                    self.asked += 1;
                }
                None if mail.is_binary => {
                    let bytes = mail.text.len() as u64;
                    self.client.end_envelope_with_chunk(&mut self.out, bytes, self.now);
                }
                None if mail.is_abandoned => self.client.reset(&mut self.out, self.now),
                None => self.client.end_envelope(&mut self.out, self.now),
            }
        }
    }

    fn send_text(&mut self) {
        let mut writer = DotWriter::new();
        let text = self.mail.as_ref().map(|mail| mail.text.clone()).unwrap_or_default();
        if self.mail.as_ref().is_some_and(|mail| mail.is_binary) {
            self.write();
            self.said.extend(text);
            return self.client.end_data(self.now);
        }
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (consumed, produced) = writer.push(rest, self.out.writable());
            self.out.produced(produced);
            rest = &rest[consumed..];
            self.write();
            self.client.progressed(self.now);
        }
        if text != b"never ends" {
            let produced = writer.finish(self.out.writable());
            self.out.produced(produced);
            self.client.end_data(self.now);
        }
    }
}

impl Player for Sender {
    const HAPPENINGS: &[&str] = &["wait", "close", "secured"];

    fn is_input(line: &Line) -> bool {
        matches!(line, Line::Server(_))
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.run();
    }

    fn live(&mut self, words: &[&str]) {
        match words {
            ["wait", seconds] => {
                self.now = self.now + Duration::from_secs(seconds.parse().unwrap());
                let event = self.client.timed_out(self.now);
                self.handle(event);
            }
            ["secured"] => {
                self.client.secured(&mut self.out, &self.terms, self.now);
                self.run();
            }
            ["close"] => {
                let event = self.client.closed(self.now);
                self.handle(event);
            }
            words => panic!("what is {words:?}?"),
        }
    }

    fn take(&mut self) -> (Vec<u8>, Vec<String>) {
        self.write();
        (std::mem::take(&mut self.said), std::mem::take(&mut self.told))
    }
}

/// Speaks with the nonce of the example in RFC 7677.
struct Example;

#[cfg(feature = "tls")]
const ARITHMETIC: mote::os::crypto::RingCrypto = mote::os::crypto::RingCrypto;

#[cfg(feature = "tls")]
impl Crypto for Example {
    fn hmac(&self, key: &[u8], parts: &[&[u8]]) -> Hash {
        ARITHMETIC.hmac(key, parts)
    }

    fn digest(&self, bytes: &[u8]) -> Hash {
        ARITHMETIC.digest(bytes)
    }

    fn pbkdf2(&self, password: &[u8], salt: &[u8], iterations: std::num::NonZeroU32) -> Hash {
        ARITHMETIC.pbkdf2(password, salt, iterations)
    }

    fn random(&self, _: &mut [u8]) {}

    fn nonce(&self) -> Nonce {
        "rOprNGfwEbeRWgbNEkqO".into()
    }
}

/// Without arithmetic only what needs none can be played.
#[cfg(not(feature = "tls"))]
impl Crypto for Example {
    fn hmac(&self, _: &[u8], _: &[&[u8]]) -> Hash {
        [0; 32]
    }

    fn digest(&self, _: &[u8]) -> Hash {
        [0; 32]
    }

    fn pbkdf2(&self, _: &[u8], _: &[u8], _: std::num::NonZeroU32) -> Hash {
        [0; 32]
    }

    fn random(&self, _: &mut [u8]) {}

    fn nonce(&self) -> Nonce {
        "rOprNGfwEbeRWgbNEkqO".into()
    }
}

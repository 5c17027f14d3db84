//! The sending machine, and the replies that it reads: everything that a next hop can say.

use super::{Cuts, assert_printable};
use mote::base::buffer::Buffer;
use mote::base::time::Instant;
use mote::limits::{REMOTE_LINE_BYTES_MAX, REMOTE_TEXT_BYTES_MAX};
use mote::mail::address::Address;
use mote::smtp::client::{
    Client, ClientEvent, ClientTerms, LoginLoss, LoginTerms, Loss, Particulars, TlsTerms,
};
use mote::smtp::data::DotWriter;
use mote::smtp::deliver_by::DeliverBy;
use mote::smtp::parameter::{Notify, Return};
use mote::smtp::reply::{Parsed, RemoteReply, ReplyParser};
use mote::smtp::sasl::client::{Login, SecretKind};
use mote::smtp::sasl::{Crypto, Hash, Nonce};
use std::num::NonZeroU32;
use std::time::Duration;

/// Takes the input for replies, one after the other; the same ones are read, however it is cut.
pub(super) fn reply(input: &[u8]) {
    let (mut cuts, text) = Cuts::read(input);
    let whole = replies(&[text]);
    assert_eq!(replies(&cuts.pieces(text)), whole);
}

fn replies(pieces: &[&[u8]]) -> Vec<String> {
    let mut parser = ReplyParser::new();
    let (mut found, mut held) = (Vec::new(), Vec::new());
    for piece in pieces.iter().flat_map(|piece| piece.chunks(REMOTE_LINE_BYTES_MAX)) {
        held.extend_from_slice(piece);
        loop {
            let (consumed, parsed) = parser.step(&held);
            match parsed {
                Parsed::More => break,
                Parsed::Garbage => {
                    found.push("garbage".into());
                    return found;
                }
                Parsed::Line { is_last, .. } => {
                    assert!((5..=REMOTE_LINE_BYTES_MAX).contains(&consumed));
                    held.drain(..consumed);
                    if is_last {
                        let reply = parser.take();
                        check(&reply);
                        found.push(reply.to_string());
                    }
                }
            }
        }
        assert!(held.len() < REMOTE_LINE_BYTES_MAX);
    }
    found
}

/// Fit for a log line and a report, whatever was said.
fn check(reply: &RemoteReply) {
    assert!((200..=599).contains(&reply.code) && (2..=5).contains(&reply.class()));
    assert_printable(reply.text.as_str().as_bytes());
    assert!(reply.text.as_str().len() <= REMOTE_TEXT_BYTES_MAX);
    assert!(reply.status.is_none_or(|status| u16::from(status.class) == reply.class()));
}

const NOW: Instant = Instant::from_millis(1000);

/// Takes the input for what a next hop says to somebody with three mails, who has to log in or not.
pub(super) fn client(input: &[u8]) {
    let (cuts, text) = Cuts::read(input);
    // The input says nothing of that, so all of it is tried.
    for login in [LoginTerms::None, LoginTerms::Password, LoginTerms::Token] {
        talk(login, &{ cuts }.pieces(text));
    }
}

fn talk(login: LoginTerms, pieces: &[&[u8]]) {
    let mut owner = Owner::new(login);
    for piece in pieces {
        for piece in piece.chunks(2048) {
            owner.held.extend_from_slice(piece);
            owner.run();
        }
    }
    if !owner.is_over {
        let event = owner.client.closed(NOW);
        owner.handle(event);
    }
    assert!(owner.is_over, "the connection is gone, and it goes on");
    owner.judge();
}

/// The nonce of the example in RFC 7677, and arithmetic that is none.
struct Fixed;

impl Crypto for Fixed {
    fn hmac(&self, _: &[u8], _: &[&[u8]]) -> Hash {
        [1; 32]
    }

    fn digest(&self, _: &[u8]) -> Hash {
        [2; 32]
    }

    fn pbkdf2(&self, _: &[u8], _: &[u8], _: NonZeroU32) -> Hash {
        [3; 32]
    }

    fn random(&self, _: &mut [u8]) {}

    fn nonce(&self) -> Nonce {
        "rOprNGfwEbeRWgbNEkqO".into()
    }
}

struct Owner {
    client: Client,
    terms: ClientTerms<'static>,
    /// Greeted at last, by somebody who may have our mail.
    is_greeted: bool,
    held: Vec<u8>,
    out: Buffer,
    mails: u32,
    asked: u32,
    /// The mail goes in a chunk.
    is_binary: bool,
    /// A mail is under way, which will have one end.
    is_under_way: bool,
    is_over: bool,
    /// Commands, and messages with their final dots.
    said: Vec<u8>,
}

impl Owner {
    fn new(login: LoginTerms) -> Owner {
        let reply_timeout = Duration::from_secs(300);
        let terms =
            ClientTerms { hostname: "relay.example", reply_timeout, tls: TlsTerms::None, login };
        let mut client = Client::new();
        client.start(&terms, NOW);
        Owner {
            client,
            terms,
            is_greeted: false,
            held: Vec::new(),
            out: Buffer::new(4096),
            mails: 0,
            asked: 0,
            is_binary: false,
            is_under_way: false,
            is_over: false,
            said: Vec::new(),
        }
    }

    fn run(&mut self) {
        let mut idle = 0;
        while !self.is_over {
            let (consumed, event) = self.client.step(&self.held, &mut self.out, &self.terms, NOW);
            self.client.check_invariants();
            self.held.drain(..consumed);
            idle = if consumed == 0 { idle + 1 } else { 0 };
            assert!(idle < 8, "it goes on for ever without any input");
            let is_waiting = matches!(event, ClientEvent::Wait);
            self.handle(event);
            self.ask();
            if is_waiting && self.out.is_empty() {
                assert!(self.held.len() < REMOTE_LINE_BYTES_MAX);
                return;
            }
            self.write();
        }
    }

    fn write(&mut self) {
        self.said.extend_from_slice(self.out.readable());
        self.out.clear();
    }

    fn handle(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Wait | ClientEvent::Again => (),
            ClientEvent::Greeted => {
                let is_logged_in = self.client.mechanism().is_some();
                assert_eq!(is_logged_in, self.terms.login != LoginTerms::None);
                self.is_greeted = true;
                self.next();
            }
            ClientEvent::BeginTls => panic!("nobody asked for TLS"),
            ClientEvent::Login => self.log_in(),
            ClientEvent::Ready => {
                assert!(std::mem::take(&mut self.is_under_way), "ready twice");
                self.next();
            }
            ClientEvent::Final(reply) => {
                check(&reply);
                assert!(std::mem::take(&mut self.is_under_way), "two verdicts");
                self.next();
            }
            ClientEvent::Sender(reply) => {
                check(&reply);
                if reply.class() != 2 {
                    self.client.end_envelope(&mut self.out, NOW);
                }
            }
            ClientEvent::Recipient(reply) | ClientEvent::NoData(reply) => check(&reply),
            ClientEvent::Go => self.send_text(),
            ClientEvent::Bye => self.is_over = true,
            ClientEvent::Lost(loss, _) => {
                match loss {
                    Loss::Greeting(reply)
                    | Loss::ServiceClosing(reply)
                    | Loss::Login(LoginLoss::Refused(_, reply, _)) => check(&reply),
                    Loss::Login(LoginLoss::NoMechanism(words)) => {
                        assert_printable(words.as_str().as_bytes());
                    }
                    _ => (),
                }
                self.is_over = true;
            }
        }
    }

    fn log_in(&mut self) {
        let secret = match self.terms.login {
            LoginTerms::Token => SecretKind::Token(&[b't'; 600]),
            _ => SecretKind::Password(b"pencil"),
        };
        let login = Login { user: "user", secret, host: "mx.example", port: 587 };
        let event = self.client.log_in(&mut self.out, &login, &Fixed, NOW);
        self.handle(event);
    }

    fn next(&mut self) {
        self.write();
        (self.mails, self.asked) = (self.mails + 1, 0);
        if !self.client.is_ready() && !self.client.is_spent() {
            return;
        }
        if self.mails > 3 || self.client.is_spent() {
            return self.client.quit(&mut self.out, NOW);
        }
        let from = Address::parse(b"sender@client.example").ok();
        let particulars = Particulars {
            size: Some(17),
            eight_bit: true,
            binary: self.mails == 3 && self.client.offer().binary,
            utf8: true,
            ret: Some(Return::Headers),
            envid: "a+b c",
            by: DeliverBy::parse(b"-5;NT"),
        };
        self.is_binary = particulars.binary;
        self.client.begin_mail(&mut self.out, from, &particulars, NOW);
        self.is_under_way = true;
    }

    fn ask(&mut self) {
        if self.client.is_full() {
            self.client.end_envelope(&mut self.out, NOW);
        }
        while self.client.may_ask(&self.out) {
            if self.asked < 3 {
                let to = Address::parse(b"\"a b\"@next.example").unwrap();
                let notify = Some(Notify::from_bits(self.asked as u8));
                self.client.ask_recipient(&mut self.out, to, notify, "rfc822;a=b");
                self.asked += 1;
            } else if self.is_binary {
                self.client.end_envelope_with_chunk(&mut self.out, 5, NOW);
            } else if self.mails == 2 {
                self.client.reset(&mut self.out, NOW);
            } else {
                self.client.end_envelope(&mut self.out, NOW);
            }
        }
    }

    fn send_text(&mut self) {
        self.write();
        if self.is_binary {
            self.out.push(b"two\r\n").unwrap();
            return self.client.end_data(NOW);
        }
        let mut writer = DotWriter::new();
        let (_, produced) = writer.push(b".one\r\ntwo\r\n", self.out.writable());
        self.out.produced(produced);
        let produced = writer.finish(self.out.writable());
        self.out.produced(produced);
        self.client.progressed(NOW);
        self.client.end_data(NOW);
    }

    /// What was said is commands, and messages behind DATA.
    fn judge(&mut self) {
        self.write();
        let text = String::from_utf8(std::mem::take(&mut self.said)).unwrap();
        assert!(text.is_empty() || text.ends_with("\r\n"));
        let words =
            ["EHLO ", "HELO ", "MAIL FROM:<", "RCPT TO:<", "DATA", "BDAT 5 LAST", "RSET", "QUIT"];
        let message = ["..one", "two", "."];
        for line in text.split_terminator("\r\n") {
            assert_printable(line.as_bytes());
            let is_mail = words.iter().any(|word| line.starts_with(word));
            let is_login = line.starts_with("AUTH ") || line == "*" || is_base64(line);
            assert!(is_mail || is_login || message.contains(&line), "{line}");
            assert!(self.is_greeted || !line.starts_with("MAIL"), "mail before its time");
        }
    }
}

fn is_base64(line: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    line.len().is_multiple_of(4) && line.bytes().all(is_inside)
}

//! Logging in: the server's side with whatever a client says, and the client's with whatever a
//! server says. The first byte chooses the mechanism; the messages stand one after another, each
//! behind its length.

use mote::base::secret::Secret;
use mote::intake::users::Users;
use mote::limits::SASL_CHALLENGE_BYTES_MAX;
use mote::smtp::sasl::client::{self, Login, SecretKind, status_of};
use mote::smtp::sasl::server::{Books, Challenge, Exchange, Progress};
use mote::smtp::sasl::{Crypto, Encoded, Hash, Mechanism, Nonce, Response};
use std::num::NonZeroU32;

/// Nobody who only guesses is let in.
const USERS: &str = "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

/// Sums that look like hashes: what is fuzzed is not the arithmetic.
struct Sums;

impl Crypto for Sums {
    fn hmac(&self, key: &[u8], parts: &[&[u8]]) -> Hash {
        let mut hash = self.digest(key);
        for part in parts {
            hash = self.digest(&[&hash[..], part].concat());
        }
        hash
    }
    fn digest(&self, bytes: &[u8]) -> Hash {
        let mut hash: Hash = [1; 32];
        for (at, byte) in bytes.iter().enumerate() {
            let place = &mut hash[at % 32];
            *place = place.wrapping_mul(31).wrapping_add(*byte);
        }
        hash
    }
    fn pbkdf2(&self, password: &[u8], salt: &[u8], _: NonZeroU32) -> Hash {
        self.hmac(password, &[salt])
    }
    fn random(&self, bytes: &mut [u8]) {
        bytes.fill(9);
    }
    fn nonce(&self) -> Nonce {
        Nonce::from("nonce")
    }
}

pub(super) fn sasl(input: &[u8]) {
    let [choice, rest @ ..] = input else { return };
    let mechanism = Mechanism::ALL[usize::from(choice >> 1) % Mechanism::ALL.len()];
    let mut messages = Vec::new();
    let mut left = rest;
    while let [len, text @ ..] = left {
        let (message, behind) = text.split_at(text.len().min(usize::from(*len) * 2));
        messages.push(message);
        left = behind;
    }
    server(mechanism, choice & 1 == 1, &messages);
    client(mechanism, &messages);
    // As it stands on the wire.
    let mut response = Response::new();
    if Encoded(rest).decode(&mut response).is_ok() {
        let mut room = vec![0; rest.len()];
        let again = mote::smtp::sasl::encode(response.expose(), &mut room).unwrap();
        assert_eq!(again.as_bytes(), rest);
    }
}

fn server(mechanism: Mechanism, has_initial: bool, messages: &[&[u8]]) {
    let users = Users::parse(USERS.as_bytes()).ok().unwrap();
    let books = Books { accounts: &users, crypto: &Sums };
    let (mut exchange, mut challenge) = (Exchange::new(), Challenge::new());
    let mut messages = messages.iter();
    let initial = if has_initial { messages.next().copied() } else { None };
    let mut progress = exchange.begin(mechanism, initial, books, &mut challenge);
    let mut steps = 0;
    while progress == Progress::Challenge {
        steps += 1;
        assert!(steps <= 3 && challenge.as_str().len() <= SASL_CHALLENGE_BYTES_MAX);
        assert!(!challenge.as_str().contains(char::is_control));
        let Some(message) = messages.next() else { return };
        progress = exchange.respond(message, books, &mut challenge);
    }
    assert_ne!(progress, Progress::Accepted, "{}", exchange.name());
    assert_eq!(exchange.respond(b"", books, &mut challenge), Progress::Refused);
}

fn client(mechanism: Mechanism, messages: &[&[u8]]) {
    let secret = match mechanism {
        Mechanism::OauthBearer | Mechanism::Xoauth2 => SecretKind::Token(b"token"),
        _ => SecretKind::Password(b"password"),
    };
    let login = Login { user: "us,er", secret, host: "mail.example.net", port: 587 };
    let mut exchange = client::Exchange::new(mechanism, &Sums);
    let mut out = Secret::<700>::new();
    exchange.initial(&login, &mut out).unwrap();
    for message in messages {
        let _ = status_of(message).is_some_and(|status| !status.contains(char::is_control));
        if exchange.respond(message, &login, &Sums, &mut out).is_err() {
            assert!(exchange.is_proven().is_err() && out.is_empty());
            return;
        }
    }
    // A server that knows no password shows none.
    assert!(mechanism != Mechanism::ScramSha256 || exchange.is_proven().is_err());
}

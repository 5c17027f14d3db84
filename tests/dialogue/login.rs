//! The owner's part in a login: the real mechanisms, with one user and a nonce that is known.

use mote::intake::users::Users;
use mote::os::crypto::RingCrypto;
use mote::smtp::login::Auth;
use mote::smtp::reply::Reply;
use mote::smtp::sasl::server::{Books, Challenge, Exchange, Progress};
use mote::smtp::sasl::{Crypto, Hash, Nonce, Response};
use std::num::NonZeroU32;

/// RFC 7677 §3.
const USER: &str = "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

/// One session's.
pub(crate) struct Login {
    users: Users,
    exchange: Exchange,
}

impl Login {
    pub(crate) fn new() -> Login {
        Login { users: Users::parse(USER.as_bytes()).ok().unwrap(), exchange: Exchange::new() }
    }

    /// The next challenge, or the verdict.
    pub(crate) fn step(&mut self, auth: Auth<'_>) -> Result<Vec<u8>, Reply> {
        let books = Books { accounts: &self.users, crypto: &Fixed };
        let (mut response, mut challenge) = (Response::new(), Challenge::new());
        let text = match auth {
            Auth::Begin { initial, .. } => initial,
            Auth::Response(text) => Some(text),
        };
        if text.is_some_and(|text| text.decode(&mut response).is_err()) {
            return Err(Reply::NOT_BASE64);
        }
        let progress = match auth {
            Auth::Begin { mechanism, initial } => {
                let initial = initial.map(|_| response.expose());
                self.exchange.begin(mechanism, initial, books, &mut challenge)
            }
            Auth::Response(_) => self.exchange.respond(response.expose(), books, &mut challenge),
        };
        match progress {
            Progress::Challenge => Ok(challenge.as_str().as_bytes().to_vec()),
            Progress::Accepted => Err(Reply::LOGGED_IN),
            Progress::Refused => Err(Reply::LOGIN_FAILED),
            Progress::Unasked => Err(Reply::NO_INITIAL_RESPONSE),
        }
    }
}

/// As a script shows it.
pub(crate) fn show_auth(auth: &Auth<'_>) -> String {
    match auth {
        Auth::Begin { mechanism, initial } => {
            let initial = if initial.is_some() { " *" } else { "" };
            format!("AUTH {}{initial}", mechanism.name())
        }
        Auth::Response(_) => "AUTH *".into(),
    }
}

struct Fixed;

impl Crypto for Fixed {
    fn hmac(&self, key: &[u8], parts: &[&[u8]]) -> Hash {
        RingCrypto.hmac(key, parts)
    }
    fn digest(&self, bytes: &[u8]) -> Hash {
        RingCrypto.digest(bytes)
    }
    fn pbkdf2(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Hash {
        RingCrypto.pbkdf2(password, salt, iterations)
    }
    fn random(&self, bytes: &mut [u8]) {
        RingCrypto.random(bytes);
    }
    fn nonce(&self) -> Nonce {
        Nonce::from(NONCE)
    }
}

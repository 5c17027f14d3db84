//! The client's side of one login at a next hop: raw messages out, decoded challenges in.
//!
//! [`choose`] takes the best mechanism that both sides have. [`Exchange::initial`] gives what goes
//! with `AUTH`, [`Exchange::respond`] the answer to each 334. [`Exchange::is_proven`] says, when
//! 235 has come, whether the server has shown that it knows the password too: SCRAM is worth that
//! much, and a 235 without it is an impostor's.
//!
//! A token that the server refuses is refused by a challenge that says why (RFC 7628 §3.2.3);
//! [`status_of`] reads it, and the answer here is the one that makes the server go on to its 535.
//!
//! Not here: base64 and lines, which of several passwords or tokens, what a refusal means for the
//! mail (decisions 6). `out` holds passwords: it is a [`Secret`].
//!
//! Limits: a server that asks for more than [`ITERATIONS_MAX`] rounds would stop the whole daemon
//! and is refused, one that asks for fewer than [`ITERATIONS_MIN`] wants to guess (RFC 7677 §4).

use super::credentials::{ITERATIONS_MAX, ITERATIONS_MIN};
use super::scram::{self, ServerFirst, Signed};
use super::{Crypto, Encoded, Hash, Mechanism, Mechanisms, Nonce, encode, encoded_len, is_equal};
use crate::base::buffer::{Full, Text};
use crate::base::secret::Secret;
use core::fmt::Write as _;
use core::num::NonZeroU32;
use zeroize::Zeroizing;

/// What one logs in with.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// Who.
    pub user: &'a str,
    /// The password or the token.
    pub secret: SecretKind<'a>,
    /// The next hop's name, for OAUTHBEARER.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
}

/// What shows that one is who one says.
#[derive(Clone, Copy)]
pub enum SecretKind<'a> {
    /// A password.
    Password(&'a [u8]),
    /// An OAuth 2 access token.
    Token(&'a [u8]),
}

/// Why an exchange goes no further. The login has failed, and no mail may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientError {
    /// The server's challenge makes no sense.
    Challenge,
    /// The server asks for too few rounds or too many.
    Iterations,
    /// The server does not know the password itself.
    Impostor,
    /// User, password or token are too long.
    TooLong,
}

impl ClientError {
    /// What is wrong, for a log.
    pub const fn text(self) -> &'static str {
        match self {
            ClientError::Challenge => "its challenge makes no sense",
            ClientError::Iterations => "it asks for too few or too many rounds of hashing",
            ClientError::Impostor => "it cannot show that it knows the password",
            ClientError::TooLong => "user, password or token are too long",
        }
    }
}

impl From<Full> for ClientError {
    fn from(Full: Full) -> ClientError {
        ClientError::TooLong
    }
}

/// The best mechanism for such a secret that the server offers.
pub fn choose(offered: Mechanisms, secret: SecretKind<'_>) -> Option<Mechanism> {
    let fits = |mechanism: &Mechanism| match mechanism {
        Mechanism::OauthBearer | Mechanism::Xoauth2 => matches!(secret, SecretKind::Token(_)),
        _ if !mechanism.is_built() => false,
        _ => matches!(secret, SecretKind::Password(_)),
    };
    offered.iter().find(fits)
}

/// One login.
pub struct Exchange {
    mechanism: Mechanism,
    step: Step,
    nonce: Nonce,
    /// What the server must show.
    signature: Option<Hash>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing was sent.
    Begin,
    /// The only message was sent.
    Whole,
    /// LOGIN: the user was sent.
    User,
    /// SCRAM: the first message was sent.
    First,
    /// SCRAM: the proof was sent.
    Proof,
    /// SCRAM: the server's proof was good.
    Proven,
    /// Nothing good can come of it any more.
    Failed,
}

impl Exchange {
    /// One by `mechanism`.
    pub fn new(mechanism: Mechanism, crypto: &dyn Crypto) -> Exchange {
        Exchange { mechanism, step: Step::Begin, nonce: crypto.nonce(), signature: None }
    }

    /// How.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Puts the initial response into `out`. False: this mechanism has none, the server begins.
    pub fn initial<const N: usize>(
        &mut self,
        login: &Login<'_>,
        out: &mut Secret<N>,
    ) -> Result<bool, ClientError> {
        debug_assert!(self.step == Step::Begin);
        out.wipe();
        let user = login.user.as_bytes();
        match (self.mechanism, login.secret) {
            (Mechanism::Plain, SecretKind::Password(password)) => {
                // RFC 4616 §2 knows no way to write one.
                if user.contains(&0) || password.contains(&0) {
                    return Err(ClientError::TooLong);
                }
                join(out, &[b"\0", user, b"\0", password])?;
                self.step = Step::Whole;
            }
            (Mechanism::ScramSha256, SecretKind::Password(_)) => {
                out.push(b"n,,")?;
                write_bare(out, login.user, &self.nonce)?;
                self.step = Step::First;
            }
            (Mechanism::Xoauth2, SecretKind::Token(token)) => {
                join(out, &[b"user=", user, b"\x01auth=Bearer ", token, b"\x01\x01"])?;
                self.step = Step::Whole;
            }
            (Mechanism::OauthBearer, SecretKind::Token(token)) => {
                let mut port = Text::<8>::new();
                // Five digits fit.
                let _ = write!(port, "{}", login.port);
                out.push(b"n,a=")?;
                push_escaped(out, login.user)?;
                let (host, port) = (login.host.as_bytes(), port.as_str().as_bytes());
                join(out, &[b",\x01host=", host, b"\x01port=", port])?;
                join(out, &[b"\x01auth=Bearer ", token, b"\x01\x01"])?;
                self.step = Step::Whole;
            }
            (Mechanism::Login | Mechanism::CramMd5, SecretKind::Password(_)) => return Ok(false),
            _ => return Err(ClientError::Challenge),
        }
        Ok(true)
    }

    /// Puts the response to the decoded `challenge` into `out`. An error: answer `*`, which gives
    /// the login up (RFC 4954 §4).
    pub fn respond<const N: usize>(
        &mut self,
        challenge: &[u8],
        login: &Login<'_>,
        crypto: &dyn Crypto,
        out: &mut Secret<N>,
    ) -> Result<(), ClientError> {
        out.wipe();
        let taken = self.take(challenge, login, crypto, out);
        if taken.is_err() {
            out.wipe();
            self.step = Step::Failed;
        }
        taken
    }

    fn take<const N: usize>(
        &mut self,
        challenge: &[u8],
        login: &Login<'_>,
        crypto: &dyn Crypto,
        out: &mut Secret<N>,
    ) -> Result<(), ClientError> {
        match (self.mechanism, self.step, login.secret) {
            // The initial response was not sent along: now it is asked for.
            (Mechanism::Login, Step::Begin, _) => {
                out.push(login.user.as_bytes())?;
                self.step = Step::User;
            }
            (Mechanism::Login, Step::User, SecretKind::Password(password)) => {
                out.push(password)?;
                self.step = Step::Whole;
            }
            (Mechanism::ScramSha256, Step::First, SecretKind::Password(password)) => {
                self.prove(challenge, login.user, password, crypto, out)?;
                self.step = Step::Proof;
            }
            (Mechanism::ScramSha256, Step::Proof, _) => {
                self.check(challenge)?;
                self.step = Step::Proven;
            }
            // RFC 7628 §3.2.3: the reason was told; this makes the server refuse.
            (Mechanism::OauthBearer, Step::Whole, _) => out.push(b"\x01")?,
            (Mechanism::Xoauth2, Step::Whole, _) => {}
            (Mechanism::CramMd5, Step::Begin, SecretKind::Password(password)) => {
                let digest = super::cram::CramKey::of(password).digest(challenge);
                join(out, &[login.user.as_bytes(), b" ", &digest])?;
                self.step = Step::Whole;
            }
            _ => return Err(ClientError::Challenge),
        }
        Ok(())
    }

    /// 235 has come: was it earned?
    pub fn is_proven(&self) -> Result<(), ClientError> {
        match (self.mechanism, self.step) {
            (Mechanism::ScramSha256, Step::Proven) => Ok(()),
            (Mechanism::ScramSha256, _) => Err(ClientError::Impostor),
            (_, Step::Whole) => Ok(()),
            _ => Err(ClientError::Challenge),
        }
    }

    /// RFC 5802 §5.1.
    fn prove<const N: usize>(
        &mut self,
        challenge: &[u8],
        user: &str,
        password: &[u8],
        crypto: &dyn Crypto,
        out: &mut Secret<N>,
    ) -> Result<(), ClientError> {
        let first = ServerFirst::parse(challenge).ok_or(ClientError::Challenge)?;
        let theirs = first.nonce.strip_prefix(self.nonce.as_str().as_bytes());
        if theirs.is_none_or(|theirs| theirs.is_empty() || theirs.len() > scram::NONCE_BYTES_MAX) {
            return Err(ClientError::Challenge);
        }
        let mut salt = Secret::<128>::new();
        Encoded(first.salt).decode(&mut salt).map_err(|_| ClientError::Challenge)?;
        let iterations = crate::base::ascii::parse_decimal(first.iterations)
            .and_then(|count| u32::try_from(count).ok())
            .and_then(NonZeroU32::new)
            .ok_or(ClientError::Challenge)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations.get()) {
            return Err(ClientError::Iterations);
        }
        let salted = Zeroizing::new(crypto.pbkdf2(password, salt.expose(), iterations));
        let key = Zeroizing::new(crypto.hmac(salted.as_slice(), &[b"Client Key"]));
        let mut bare = Secret::<512>::new();
        write_bare(&mut bare, user, &self.nonce)?;
        join(out, &[b"c=biws,r=", first.nonce])?;
        let signed = Signed {
            client_first_bare: bare.expose(),
            server_first: challenge,
            without_proof: out.expose(),
        };
        let proof = scram::xor(&key, &signed.by(&crypto.digest(key.as_slice()), crypto));
        self.signature = Some(signed.by(&crypto.hmac(salted.as_slice(), &[b"Server Key"]), crypto));
        let mut room = [0; encoded_len(32)];
        let proof = encode(&proof, &mut room).unwrap_or_default();
        join(out, &[b",p=", proof.as_bytes()])?;
        Ok(())
    }

    fn check(&self, challenge: &[u8]) -> Result<(), ClientError> {
        let text = challenge.strip_prefix(b"v=").ok_or(ClientError::Impostor)?;
        let text = text.split(|byte| *byte == b',').next().unwrap_or_default();
        let mut shown = Secret::<33>::new();
        Encoded(text).decode(&mut shown).map_err(|_| ClientError::Impostor)?;
        let shown: &Hash = shown.expose().try_into().map_err(|_| ClientError::Impostor)?;
        match &self.signature {
            Some(signature) if is_equal(signature, shown) => Ok(()),
            _ => Err(ClientError::Impostor),
        }
    }
}

/// `client-first-message-bare`.
fn write_bare<const N: usize>(
    out: &mut Secret<N>,
    user: &str,
    nonce: &Nonce,
) -> Result<(), ClientError> {
    out.push(b"n=")?;
    push_escaped(out, user)?;
    join(out, &[b",r=", nonce.as_str().as_bytes()])?;
    Ok(())
}

/// A name as it stands in a message: without commas and equals signs (RFC 5802 §5.1).
fn push_escaped<const N: usize>(out: &mut Secret<N>, user: &str) -> Result<(), Full> {
    user.bytes().try_for_each(|byte| match byte {
        b',' => out.push(b"=2C"),
        b'=' => out.push(b"=3D"),
        _ => out.push(&[byte]),
    })
}

fn join<const N: usize>(out: &mut Secret<N>, parts: &[&[u8]]) -> Result<(), Full> {
    parts.iter().try_for_each(|part| out.push(part))
}

/// The `status` in the JSON with which a token is refused, such as `invalid_token` or `401`; none
/// if there is none that could stand in a log.
pub fn status_of(challenge: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(challenge).ok()?;
    let (_, behind) = text.split_once("\"status\"")?;
    let value = behind.trim_start().strip_prefix(':')?.trim_start();
    let word = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?.0,
        None => value.split([',', '}', ' ']).next()?,
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    ((1..=40).contains(&word.len()) && word.bytes().all(plain)).then_some(word)
}

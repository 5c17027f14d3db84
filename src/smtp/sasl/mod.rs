//! Logging in: the mechanisms of SASL, the server's side and the client's.
//!
//! - `server` one exchange with a peer that wants to log in
//! - `client` one exchange with a next hop that wants us to
//! - `credentials` what is kept of a password, as text and as numbers
//! - `scram` the messages and the arithmetic of SCRAM that both sides share
//! - `cram` the same of CRAM-MD5, of use only with the feature `cram-md5`
//!
//! An exchange works on decoded bytes. Lines, base64 and the codes of replies belong to the two
//! machines ([`super::server`], [`super::client`]); [`Encoded`] and [`encode`] stand between. The
//! arithmetic itself (HMAC, PBKDF2, random) is lent through [`Crypto`], so all of this stays pure.
//!
//! What a peer sends to log in is a secret until it has been looked at, and wiped then: it is
//! decoded into [`Secret`], and what must be carried from one step to the next has no Debug.
//!
//! Not here: whether a peer may log in now, who may log in, how often one may be wrong.
//!
//! Read first: RFC 4954 §4; RFC 4422 §3; RFC 4616; RFC 5802; RFC 7677; RFC 7628.

pub mod client;
pub mod cram;
pub mod credentials;
mod scram;
pub mod server;

use crate::base::buffer::Text;
use crate::base::secret::Secret;
use crate::limits::SASL_RESPONSE_BYTES_MAX;
use base64ct::{Base64, Encoding as _};
use core::fmt;
use core::num::NonZeroU32;
use subtle::ConstantTimeEq as _;

/// A SHA-256, and everything that is made of one.
pub type Hash = [u8; 32];

/// A way to log in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// RFC 7677: the password does not travel, and each side proves itself.
    ScramSha256,
    /// RFC 7628: a token.
    OauthBearer,
    /// The same as Google and Microsoft had it first.
    Xoauth2,
    /// RFC 2195: the password does not travel. Weak; only with the feature `cram-md5`.
    CramMd5,
    /// RFC 4616: name and password, in clear.
    Plain,
    /// The same in two steps; never a standard, and still what some devices know.
    Login,
}

impl Mechanism {
    /// All of them, the best first.
    pub const ALL: [Mechanism; 6] = [
        Mechanism::ScramSha256,
        Mechanism::OauthBearer,
        Mechanism::Xoauth2,
        Mechanism::CramMd5,
        Mechanism::Plain,
        Mechanism::Login,
    ];

    /// Its registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::OauthBearer => "OAUTHBEARER",
            Mechanism::Xoauth2 => "XOAUTH2",
            Mechanism::CramMd5 => "CRAM-MD5",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }

    /// Whether this build speaks it.
    pub const fn is_built(self) -> bool {
        !matches!(self, Mechanism::CramMd5) || cfg!(feature = "cram-md5")
    }

    /// The one of that name, in whatever case.
    pub fn parse(name: &[u8]) -> Option<Mechanism> {
        let same = |known: &Mechanism| name.eq_ignore_ascii_case(known.name().as_bytes());
        Mechanism::ALL.into_iter().find(same)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of mechanisms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mechanisms(u8);

impl Mechanisms {
    /// None.
    pub const NONE: Mechanisms = Mechanisms(0);

    /// These and `mechanism`.
    #[must_use]
    pub const fn with(self, mechanism: Mechanism) -> Mechanisms {
        Mechanisms(self.0 | mechanism.bit())
    }

    /// True if `mechanism` is one of these.
    pub const fn has(self, mechanism: Mechanism) -> bool {
        self.0 & mechanism.bit() != 0
    }

    /// True for the empty set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The words behind `AUTH` in the answer to EHLO; unknown ones are passed over.
    pub fn parse(words: &[u8]) -> Mechanisms {
        let known = words.split(|byte| *byte == b' ').filter_map(Mechanism::parse);
        known.fold(Mechanisms::NONE, Mechanisms::with)
    }

    /// Each, the best first.
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.into_iter().filter(move |mechanism| self.has(*mechanism))
    }
}

impl fmt::Display for Mechanisms {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, mechanism) in self.iter().enumerate() {
            let blank = if place > 0 { " " } else { "" };
            write!(out, "{blank}{}", mechanism.name())?;
        }
        Ok(())
    }
}

/// Base64 as it came over the wire, not looked at yet. What it holds may be a password, so Debug
/// shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Encoded<'a>(pub &'a [u8]);

/// Not base64, or more than fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotBase64;

impl Encoded<'_> {
    /// Puts what it spells into `secret`, in place of what was there.
    pub fn decode<const N: usize>(self, secret: &mut Secret<N>) -> Result<(), NotBase64> {
        // Strict: padding must be there and canonical (RFC 4648 §3.2, §3.5).
        let decoded = |room: &mut [u8]| Base64::decode(self.0, room).ok().map(<[u8]>::len);
        if secret.fill(decoded) { Ok(()) } else { Err(NotBase64) }
    }
}

impl fmt::Debug for Encoded<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("*")
    }
}

/// Writes `raw` as base64 into `room`; none if it is too small.
pub fn encode<'a>(raw: &[u8], room: &'a mut [u8]) -> Option<&'a str> {
    Base64::encode(raw, room).ok()
}

/// How many characters [`encode`] makes of so many bytes.
pub const fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// A decoded response of a peer.
pub type Response = Secret<SASL_RESPONSE_BYTES_MAX>;

/// What one side adds to SCRAM's nonce, and what makes CRAM-MD5's challenge its own.
pub type Nonce = Text<32>;

/// The arithmetic, lent by whoever has it.
pub trait Crypto {
    /// HMAC-SHA-256 over the parts one after another.
    fn hmac(&self, key: &[u8], parts: &[&[u8]]) -> Hash;
    /// SHA-256.
    fn digest(&self, bytes: &[u8]) -> Hash;
    /// PBKDF2-HMAC-SHA-256. This is what takes time.
    fn pbkdf2(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Hash;
    /// Fills `bytes` with what nobody can foretell.
    fn random(&self, bytes: &mut [u8]);
    /// 144 random bits in printable characters other than the comma (RFC 5802 §7).
    fn nonce(&self) -> Nonce {
        let (mut bits, mut text) = ([0; 18], [0; encoded_len(18)]);
        self.random(&mut bits);
        Nonce::from(encode(&bits, &mut text).unwrap_or_default())
    }
}

/// Whether both are the same, in a time that does not depend on where they differ (threats 26).
pub fn is_equal(one: &Hash, other: &Hash) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_there_and_back() {
        let words = b"GSSAPI plain LOGIN XOAUTH2 SCRAM-SHA-256 SCRAM-SHA-256-PLUS";
        let set = Mechanisms::parse(words);
        assert_eq!(set.to_string(), "SCRAM-SHA-256 XOAUTH2 PLAIN LOGIN");
        assert_eq!(Mechanisms::parse(set.to_string().as_bytes()), set);
        assert!(Mechanisms::parse(b"").is_empty() && Mechanisms::parse(b"NTLM").is_empty());
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::parse(mechanism.name().as_bytes()), Some(mechanism));
            assert_eq!(Mechanisms::NONE.with(mechanism).iter().collect::<Vec<_>>(), [mechanism]);
        }
    }

    #[test]
    fn only_canonical_base64() {
        let mut secret = Secret::<6>::new();
        for (text, raw) in [(&b""[..], &b""[..]), (b"AA==", b"\0"), (b"YWJjZGVm", b"abcdef")] {
            assert_eq!(Encoded(text).decode(&mut secret), Ok(()));
            assert_eq!(secret.expose(), raw);
            let mut room = [0; 8];
            assert_eq!(encode(raw, &mut room).unwrap().as_bytes(), text);
            assert_eq!(encoded_len(raw.len()), text.len());
        }
        for bad in [
            &b"A"[..],
            b"AA",
            b"AA=",
            b"AB==",
            b"A===",
            b"====",
            b"=",
            b"*",
            b"AAAA====",
            b"AA==AA==",
            b"AA A",
            b"AA-_",
            b"AAA\xff",
            b"YWJjZGVmZw==",
        ] {
            assert_eq!(Encoded(bad).decode(&mut secret), Err(NotBase64), "{}", bad.escape_ascii());
            assert!(secret.is_empty());
        }
        assert_eq!(format!("{:?}", Encoded(b"c2VjcmV0")), "*");
    }
}

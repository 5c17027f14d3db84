//! What is kept of a password: never the password.
//!
//! As text, one word without blanks:
//!
//! ```text
//! SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY      RFC 5803, as PostgreSQL writes it
//! PBKDF2-SHA256$4096:SALT$HASH
//! CRAM-MD5$HEX                                     with the feature `cram-md5`; as Dovecot's
//! ```
//!
//! all but the last in base64. The first serves SCRAM, PLAIN and LOGIN, the second PLAIN and LOGIN.
//! Whoever reads the first cannot log in with it but by trying passwords; the third is as good as
//! the password where CRAM-MD5 is offered.
//!
//! Limits: iterations from [`ITERATIONS_MIN`] to [`ITERATIONS_MAX`], since the whole daemon waits
//! while PLAIN and LOGIN are checked; a salt of 8 to 64 bytes.

use super::cram::CramKey;
use super::{Crypto, Hash, Mechanism, is_equal};
use base64ct::{Base64, Encoding as _};
use core::fmt;
use core::num::NonZeroU32;
use zeroize::Zeroizing;

/// Fewer are refused: what RFC 7677 §4 asks for at least.
pub const ITERATIONS_MIN: u32 = 4096;
/// More are refused: on a small machine these take a third of a second, in which nobody else gets
/// served.
pub const ITERATIONS_MAX: u32 = 100_000;
/// Rounds of a new hash: 8 ms here, and by the cycles of SHA-256 about 40 ms on an ARM of 900 MHz,
/// in which the whole daemon stands still for a PLAIN or a LOGIN. SCRAM costs the server nothing.
pub const ROUNDS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
/// Bytes of a new salt.
pub const SALT_BYTES: usize = 16;
const SALT_BYTES_MIN: usize = 8;
const SALT_BYTES_MAX: usize = 64;

const SCRAM: &str = "SCRAM-SHA-256";
const PBKDF2: &str = "PBKDF2-SHA256";
const CRAM: &str = "CRAM-MD5";

/// Bytes that make equal passwords look different.
#[derive(Clone, Copy)]
pub struct Salt {
    bytes: [u8; SALT_BYTES_MAX],
    len: usize,
}

impl Salt {
    /// Of nobody's password.
    pub const ZEROS: Salt = Salt { bytes: [0; SALT_BYTES_MAX], len: SALT_BYTES };

    /// Of `bytes`; none if they are too few or too many.
    pub fn new(bytes: &[u8]) -> Option<Salt> {
        let mut salt = Salt { bytes: [0; SALT_BYTES_MAX], len: bytes.len() };
        salt.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        (bytes.len() >= SALT_BYTES_MIN).then_some(salt)
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// How a password is checked.
#[derive(Clone, Copy)]
pub struct Verifier {
    /// Rounds of PBKDF2.
    pub iterations: NonZeroU32,
    /// Its salt.
    pub salt: Salt,
    /// What must come out.
    pub keys: Keys,
}

/// What is kept of what PBKDF2 gives.
#[derive(Clone, Copy)]
pub enum Keys {
    /// RFC 5802 §3.
    Scram {
        /// The hash of the client's key.
        stored: Hash,
        /// The server's key.
        server: Hash,
    },
    /// All of it.
    Pbkdf2(Hash),
}

impl Keys {
    /// What is nobody else's.
    pub fn secret(&self) -> &Hash {
        match self {
            Keys::Scram { stored, .. } => stored,
            Keys::Pbkdf2(hash) => hash,
        }
    }
}

/// One word of a user's line.
#[derive(Clone, Copy)]
pub enum Credential {
    /// For PLAIN and LOGIN, and SCRAM if it has the keys for it.
    Password(Verifier),
    /// For CRAM-MD5.
    Cram(CramKey),
}

/// Why a word is no credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CredentialError {
    /// Of no kind that is known here.
    Kind,
    /// Not in the form of its kind.
    Form,
    /// Too few iterations, or too many.
    Iterations,
    /// CRAM-MD5, and this build is without it.
    NoCram,
}

impl CredentialError {
    /// What is wrong, for a person.
    pub const fn text(self) -> &'static str {
        match self {
            CredentialError::Kind => {
                "the hash is neither SCRAM-SHA-256$… nor PBKDF2-SHA256$…; mote passwd makes one"
            }
            CredentialError::Form => "the hash is malformed; mote passwd makes a new one",
            CredentialError::Iterations => {
                "the hash has fewer than 4096 or more than 100000 rounds"
            }
            CredentialError::NoCram => "this build has no CRAM-MD5 (feature cram-md5)",
        }
    }
}

impl Credential {
    /// Reads one word.
    pub fn parse(word: &str) -> Result<Credential, CredentialError> {
        let (kind, rest) = word.split_once('$').ok_or(CredentialError::Kind)?;
        match kind {
            SCRAM | PBKDF2 => Verifier::parse(kind, rest).map(Credential::Password),
            CRAM if !Mechanism::CramMd5.is_built() => Err(CredentialError::NoCram),
            CRAM => CramKey::parse(rest).map(Credential::Cram).ok_or(CredentialError::Form),
            _ => Err(CredentialError::Kind),
        }
    }

    /// Writes it as [`Credential::parse`] reads it. There is no Display: this is for the file.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Credential::Password(verifier) => verifier.write(out),
            Credential::Cram(key) => {
                write!(out, "{CRAM}$")?;
                key.write(out)
            }
        }
    }
}

impl Verifier {
    /// What is kept of `password`, fit for SCRAM.
    pub fn of(
        password: &[u8],
        iterations: NonZeroU32,
        salt: Salt,
        crypto: &dyn Crypto,
    ) -> Verifier {
        let salted = Zeroizing::new(crypto.pbkdf2(password, salt.as_slice(), iterations));
        let stored = crypto.digest(&crypto.hmac(salted.as_slice(), &[b"Client Key"]));
        let server = crypto.hmac(salted.as_slice(), &[b"Server Key"]);
        Verifier { iterations, salt, keys: Keys::Scram { stored, server } }
    }

    /// Of somebody who is not there, made up from his `name` and a secret: the same each time, and
    /// nobody knows a password for it. In all that can be seen it is like `model`.
    pub fn decoy(name: &str, secret: &Hash, model: &Verifier, crypto: &dyn Crypto) -> Verifier {
        let made = |what: &[u8]| crypto.hmac(secret, &[what, name.as_bytes()]);
        let halves = [made(b"salt 1 "), made(b"salt 2 ")];
        let mut salt = model.salt;
        salt.bytes.iter_mut().zip(halves.as_flattened()).for_each(|(to, from)| *to = *from);
        let keys = match model.keys {
            Keys::Scram { .. } => {
                Keys::Scram { stored: made(b"stored "), server: made(b"server ") }
            }
            Keys::Pbkdf2(_) => Keys::Pbkdf2(made(b"stored ")),
        };
        Verifier { iterations: model.iterations, salt, keys }
    }

    /// Whether this is the password. Takes what PBKDF2 takes, right or wrong.
    pub fn is_password(&self, password: &[u8], crypto: &dyn Crypto) -> bool {
        let salted = crypto.pbkdf2(password, self.salt.as_slice(), self.iterations);
        let salted = Zeroizing::new(salted);
        match &self.keys {
            Keys::Pbkdf2(hash) => is_equal(&salted, hash),
            Keys::Scram { stored, .. } => {
                let key = Zeroizing::new(crypto.hmac(salted.as_slice(), &[b"Client Key"]));
                is_equal(&crypto.digest(key.as_slice()), stored)
            }
        }
    }

    /// Whether SCRAM can be spoken with it.
    pub fn is_scram(&self) -> bool {
        matches!(self.keys, Keys::Scram { .. })
    }

    /// `ITERATIONS:SALT$KEYS`.
    fn parse(kind: &str, text: &str) -> Result<Verifier, CredentialError> {
        let wrong = CredentialError::Form;
        let (rounds, keys) = text.split_once('$').ok_or(wrong)?;
        let (iterations, salt) = rounds.split_once(':').ok_or(wrong)?;
        let iterations = iterations.parse::<NonZeroU32>().map_err(|_| wrong)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations.get()) {
            return Err(CredentialError::Iterations);
        }
        let mut bytes = [0; SALT_BYTES_MAX];
        let salt = Base64::decode(salt, &mut bytes).ok().and_then(Salt::new).ok_or(wrong)?;
        let keys = if kind == SCRAM {
            let (stored, server) = keys.split_once(':').ok_or(wrong)?;
            let (stored, server) = (parse_hash(stored), parse_hash(server));
            Keys::Scram { stored: stored.ok_or(wrong)?, server: server.ok_or(wrong)? }
        } else {
            Keys::Pbkdf2(parse_hash(keys).ok_or(wrong)?)
        };
        Ok(Verifier { iterations, salt, keys })
    }

    fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let kind = if self.is_scram() { SCRAM } else { PBKDF2 };
        let mut room = [0; super::encoded_len(SALT_BYTES_MAX)];
        let salt = super::encode(self.salt.as_slice(), &mut room).ok_or(fmt::Error)?;
        write!(out, "{kind}${}:{salt}$", self.iterations)?;
        match &self.keys {
            Keys::Scram { stored, server } => {
                write_hash(out, stored)?;
                out.write_str(":")?;
                write_hash(out, server)
            }
            Keys::Pbkdf2(hash) => write_hash(out, hash),
        }
    }
}

fn parse_hash(text: &str) -> Option<Hash> {
    let mut bytes = [0; 33];
    Base64::decode(text, &mut bytes).ok()?.try_into().ok()
}

fn write_hash(out: &mut dyn fmt::Write, hash: &Hash) -> fmt::Result {
    let mut room = [0; super::encoded_len(32)];
    out.write_str(super::encode(hash, &mut room).ok_or(fmt::Error)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const OTHER: &str = "//////////////////////////////////////////8=";

    #[test]
    fn words_there_and_back() {
        for word in [
            format!("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==${KEY}:{OTHER}"),
            format!("PBKDF2-SHA256$100000:c2FsdHNhbHQ=${KEY}"),
        ] {
            let mut text = String::new();
            let Ok(read) = Credential::parse(&word) else { panic!("{word}") };
            read.write(&mut text).unwrap();
            assert_eq!(text, word);
        }
    }

    #[test]
    fn what_is_no_credential() {
        use CredentialError::{Form, Iterations, Kind};
        for (word, error) in [
            (String::new(), Kind),
            ("secret".into(), Kind),
            ("$6$salt$hash".into(), Kind),
            (format!("scram-sha-256$4096:c2FsdHNhbHQ=${KEY}:{KEY}"), Kind),
            (format!("SCRAM-SHA-1$4096:c2FsdHNhbHQ=${KEY}:{KEY}"), Kind),
            ("SCRAM-SHA-256$".into(), Form),
            (format!("SCRAM-SHA-256$x:c2FsdHNhbHQ=${KEY}:{KEY}"), Form),
            (format!("SCRAM-SHA-256$0:c2FsdHNhbHQ=${KEY}:{KEY}"), Form),
            (format!("SCRAM-SHA-256$4095:c2FsdHNhbHQ=${KEY}:{KEY}"), Iterations),
            (format!("SCRAM-SHA-256$100001:c2FsdHNhbHQ=${KEY}:{KEY}"), Iterations),
            (format!("SCRAM-SHA-256$4096:c2FsdA==${KEY}:{KEY}"), Form),
            (format!("SCRAM-SHA-256$4096:!${KEY}:{KEY}"), Form),
            (format!("SCRAM-SHA-256$4096:{0}{0}${KEY}:{KEY}", "A".repeat(44)), Form),
            (format!("SCRAM-SHA-256$4096:c2FsdHNhbHQ=${KEY}"), Form),
            (format!("SCRAM-SHA-256$4096:c2FsdHNhbHQ=${KEY}:AAAA"), Form),
            (format!("SCRAM-SHA-256$4096:c2FsdHNhbHQ=${KEY}:{KEY}:{KEY}"), Form),
            (format!("PBKDF2-SHA256$4096:c2FsdHNhbHQ=${KEY}AAAA"), Form),
        ] {
            assert_eq!(Credential::parse(&word).err(), Some(error), "{word}");
        }
    }
}

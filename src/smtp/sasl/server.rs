//! The server's side of one login: decoded responses in, raw challenges and a verdict out.
//!
//! Whoever asks gets the same words after the same work, whether there is such a user or not: for a
//! user who is not there [`Accounts`] makes one up, whose password nobody knows, and the exchange
//! goes on to its end with him. Only a message that is malformed, which says nothing about users,
//! is refused at once. A peer who wants to act as somebody else than it logs in as is refused too.
//!
//! Limits: names of [`LOGIN_NAME_BYTES_MAX`], passwords of [`PASSWORD_BYTES_MAX`], a first message
//! of SCRAM of `FIRST_BYTES_MAX`. SCRAM costs three HMACs here; PLAIN and LOGIN cost a whole
//! PBKDF2, so callers count them.

use super::cram::CramKey;
use super::credentials::{Keys, Verifier};
use super::scram::{self, ClientFinal, ClientFirst, Signed};
use super::{Crypto, Encoded, Hash, Mechanism, Mechanisms, Nonce, encode, encoded_len, is_equal};
use crate::base::buffer::{Buffer, Text};
use crate::base::secret::Secret;
use crate::limits::{LOGIN_NAME_BYTES_MAX, PASSWORD_BYTES_MAX, SASL_CHALLENGE_BYTES_MAX};
use core::fmt::Write as _;
use zeroize::Zeroizing;

/// The longest first message of SCRAM.
const FIRST_BYTES_MAX: usize = 512;

/// The mechanisms there are for those who log in here.
pub const OFFERED: Mechanisms =
    Mechanisms::NONE.with(Mechanism::ScramSha256).with(Mechanism::Plain).with(Mechanism::Login);

/// Who may log in.
pub trait Accounts {
    /// The account of that name; made up if there is none, after as much work.
    fn look_up(&self, name: &str, crypto: &dyn Crypto) -> Account;
}

/// Somebody who may log in, or nobody who looks like one.
#[derive(Clone, Copy)]
pub struct Account {
    /// For the password.
    pub verifier: Verifier,
    /// For CRAM-MD5.
    pub cram: Option<CramKey>,
    /// False: made up.
    pub exists: bool,
}

/// What an exchange needs of its surroundings.
#[derive(Clone, Copy)]
pub struct Books<'a> {
    /// Who may log in.
    pub accounts: &'a dyn Accounts,
    /// The arithmetic.
    pub crypto: &'a dyn Crypto,
}

/// A challenge, raw.
pub type Challenge = Text<SASL_CHALLENGE_BYTES_MAX>;

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The challenge is to be sent, and answered.
    Challenge,
    /// The peer is who it says: [`Exchange::name`].
    Accepted,
    /// It is not, or speaks nonsense.
    Refused,
    /// The mechanism has no initial response, and one came (RFC 4954 §4: 501).
    Unasked,
}

/// One login.
pub struct Exchange {
    step: Step,
    name: Text<LOGIN_NAME_BYTES_MAX>,
    account: Option<Account>,
    /// SCRAM's first message, and the server's half of the nonce; also CRAM-MD5's challenge.
    first: Buffer,
    nonce: Nonce,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle,
    PlainMessage,
    LoginName,
    LoginPassword,
    ScramFirst,
    ScramFinal,
    /// The peer is accepted and has been shown the server's proof.
    ScramEnd,
    CramDigest,
}

impl Exchange {
    /// Memory for one login at a time.
    pub fn new() -> Exchange {
        Exchange {
            step: Step::Idle,
            name: Text::new(),
            account: None,
            first: Buffer::new(FIRST_BYTES_MAX),
            nonce: Nonce::new(),
        }
    }

    /// Whom the peer says it is, or was accepted as; empty before that is known.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Whether there is somebody of that name, as far as the exchange has come.
    pub fn is_known(&self) -> bool {
        self.account.is_some_and(|account| account.exists)
    }

    /// Forgets what was.
    pub fn clear(&mut self) {
        self.step = Step::Idle;
        self.name.wipe();
        self.account = None;
        self.first.wipe();
        self.nonce.clear();
    }

    /// Begins with `mechanism`, and the decoded initial response if one came with it.
    pub fn begin(
        &mut self,
        mechanism: Mechanism,
        initial: Option<&[u8]>,
        books: Books<'_>,
        challenge: &mut Challenge,
    ) -> Progress {
        self.clear();
        challenge.clear();
        match (mechanism, initial) {
            _ if !mechanism.is_built() => return Progress::Refused,
            (Mechanism::Plain, _) => self.step = Step::PlainMessage,
            (Mechanism::ScramSha256, _) => self.step = Step::ScramFirst,
            (Mechanism::Login, None) => {
                *challenge = Challenge::from("Username:");
                self.step = Step::LoginName;
            }
            // Never written down, and many send the name so.
            (Mechanism::Login, Some(_)) => self.step = Step::LoginName,
            (Mechanism::CramMd5, None) => {
                self.nonce = books.crypto.nonce();
                // RFC 2195 §2 has a time and a host in it; that it comes only once is what counts.
                let _ = write!(challenge, "<{}@mote>", self.nonce.as_str());
                self.step = Step::CramDigest;
            }
            (Mechanism::CramMd5, Some(_)) => return Progress::Unasked,
            (Mechanism::Xoauth2 | Mechanism::OauthBearer, _) => return Progress::Refused,
        }
        match initial {
            Some(response) => self.respond(response, books, challenge),
            None => Progress::Challenge,
        }
    }

    /// Goes on with the decoded response to the last challenge.
    pub fn respond(
        &mut self,
        response: &[u8],
        books: Books<'_>,
        challenge: &mut Challenge,
    ) -> Progress {
        challenge.clear();
        let progress = match core::mem::replace(&mut self.step, Step::Idle) {
            Step::Idle => Progress::Refused,
            Step::PlainMessage => self.plain(response, books),
            Step::LoginName => {
                // A name that none can have is found out at the end, like one that nobody has.
                self.identify(response, books);
                self.step = Step::LoginPassword;
                *challenge = Challenge::from("Password:");
                Progress::Challenge
            }
            Step::LoginPassword => self.check_password(response, books.crypto),
            Step::ScramFirst => self.scram_first(response, books, challenge),
            Step::ScramFinal => self.scram_final(response, books.crypto, challenge),
            // RFC 4954 §4: nothing is left to say, and the peer says just that.
            Step::ScramEnd if response.is_empty() => Progress::Accepted,
            Step::ScramEnd => Progress::Refused,
            Step::CramDigest => self.cram(response, books),
        };
        if progress != Progress::Challenge {
            self.first.wipe();
        }
        progress
    }

    /// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`, and no other NUL.
    fn plain(&mut self, message: &[u8], books: Books<'_>) -> Progress {
        let mut fields = message.split(|byte| *byte == 0);
        let fields = (fields.next(), fields.next(), fields.next(), fields.next());
        let (Some(acts_as), Some(name), Some(password), None) = fields else {
            return Progress::Refused;
        };
        self.identify(name, books);
        let progress = self.check_password(password, books.crypto);
        let is_oneself = acts_as.is_empty() || acts_as == name;
        if is_oneself { progress } else { Progress::Refused }
    }

    /// Takes the name, and looks up whose it is.
    fn identify(&mut self, name: &[u8], books: Books<'_>) {
        let fits = (1..=LOGIN_NAME_BYTES_MAX).contains(&name.len());
        let text = core::str::from_utf8(name).ok().filter(|_| fits);
        self.name = Text::from(text.unwrap_or_default());
        let mut account = books.accounts.look_up(self.name(), books.crypto);
        account.exists &= text.is_some();
        self.account = Some(account);
    }

    fn check_password(&self, password: &[u8], crypto: &dyn Crypto) -> Progress {
        let Some(account) = &self.account else { return Progress::Refused };
        let fits = (1..=PASSWORD_BYTES_MAX).contains(&password.len()) && !password.contains(&0);
        // What cannot be a password costs as much as what could.
        let password = if fits { password } else { b"-" };
        let is_right = account.verifier.is_password(password, crypto);
        if is_right & fits & account.exists { Progress::Accepted } else { Progress::Refused }
    }

    fn scram_first(
        &mut self,
        message: &[u8],
        books: Books<'_>,
        challenge: &mut Challenge,
    ) -> Progress {
        let Some(first) = ClientFirst::parse(message) else { return Progress::Refused };
        if first.acts_as.is_some_and(|acts_as| acts_as != first.name) {
            return Progress::Refused;
        }
        let mut name = Secret::<LOGIN_NAME_BYTES_MAX>::new();
        let mut fits = true;
        if scram::unescape(first.name, |byte| fits &= name.push(&[byte]).is_ok()).is_none() {
            return Progress::Refused;
        }
        if self.first.push(message).is_err() {
            return Progress::Refused;
        }
        self.identify(if fits { name.expose() } else { b"" }, books);
        self.nonce = books.crypto.nonce();
        if self.write_server_first(challenge).is_none() {
            return Progress::Refused;
        }
        self.step = Step::ScramFinal;
        Progress::Challenge
    }

    /// `server-first-message`: the same each time it is asked for.
    fn write_server_first(&self, out: &mut Challenge) -> Option<()> {
        let first = ClientFirst::parse(self.first.readable())?;
        let verifier = self.account.as_ref()?.verifier;
        let mut room = [0; encoded_len(64)];
        let salt = encode(verifier.salt.as_slice(), &mut room)?;
        let nonce = core::str::from_utf8(first.nonce).ok()?;
        out.clear();
        let (own, iterations) = (self.nonce.as_str(), verifier.iterations);
        write!(out, "r={nonce}{own},s={salt},i={iterations}").ok()
    }

    fn scram_final(
        &mut self,
        message: &[u8],
        crypto: &dyn Crypto,
        challenge: &mut Challenge,
    ) -> Progress {
        match self.check_proof(message, crypto) {
            Some(signature) => {
                let mut room = [0; encoded_len(32)];
                let signature = encode(&signature, &mut room).unwrap_or_default();
                *challenge = Challenge::new();
                // A Text cuts what is too long; this is 46 bytes.
                let _ = write!(challenge, "v={signature}");
                self.step = Step::ScramEnd;
                Progress::Challenge
            }
            None => Progress::Refused,
        }
    }

    /// The server's own signature, if the client's proof holds.
    fn check_proof(&self, message: &[u8], crypto: &dyn Crypto) -> Option<Hash> {
        let last = ClientFinal::parse(message)?;
        let first = ClientFirst::parse(self.first.readable())?;
        let mut server_first = Challenge::new();
        self.write_server_first(&mut server_first)?;
        let mut proof = Secret::<33>::new();
        Encoded(last.proof).decode(&mut proof).ok()?;
        let proof: &Hash = proof.expose().try_into().ok()?;
        // The client repeats its header, so that nobody has taken its `y` for an `n`.
        let mut room = [0; encoded_len(FIRST_BYTES_MAX)];
        let is_same_header = encode(first.gs2, &mut room)?.as_bytes() == last.binding;
        let (theirs, ours) = last.nonce.split_at_checked(first.nonce.len())?;
        let is_same_nonce = theirs == first.nonce && ours == self.nonce.as_str().as_bytes();
        let account = self.account.as_ref()?;
        let Keys::Scram { stored, server } = &account.verifier.keys else { return None };
        let signed = Signed {
            client_first_bare: first.bare,
            server_first: server_first.as_str().as_bytes(),
            without_proof: last.without_proof,
        };
        let key = Zeroizing::new(scram::xor(proof, &signed.by(stored, crypto)));
        let is_right = is_equal(&crypto.digest(key.as_slice()), stored);
        let own = signed.by(server, crypto);
        (is_right & is_same_header & is_same_nonce & account.exists).then_some(own)
    }

    /// RFC 2195 §2: `name digest`, the digest in 32 hex digits.
    fn cram(&mut self, message: &[u8], books: Books<'_>) -> Progress {
        let Some(blank) = message.iter().rposition(|byte| *byte == b' ') else {
            return Progress::Refused;
        };
        let (name, digest) = message.split_at_checked(blank).unwrap_or_default();
        self.identify(name, books);
        let mut challenge = Challenge::new();
        let _ = write!(challenge, "<{}@mote>", self.nonce.as_str());
        let digest = digest.strip_prefix(b" ").unwrap_or_default();
        let key = self.account.as_ref().and_then(|account| account.cram.as_ref());
        let challenge = challenge.as_str().as_bytes();
        let is_right = key.is_some_and(|key| key.is_digest(challenge, digest));
        if is_right & self.is_known() { Progress::Accepted } else { Progress::Refused }
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

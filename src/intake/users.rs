//! Who may log in: the users file as text, and as a table.
//!
//! A line is a name, a colon, and words separated by blanks: a hash (`smtp::sasl::credentials` has
//! the forms), and then the senders that this user may write as, if not all:
//!
//! ```text
//! alice:SCRAM-SHA-256$10000:…$…:…
//! printer:SCRAM-SHA-256$10000:…$…:… printer@example.net scans.example.net
//! ```
//!
//! Senders are written like the patterns of routes: `me@example.net`, `example.net`,
//! `*.example.net`, `@` for this machine's names. The null sender is everybody's. Empty lines and
//! those that begin with `#` are remarks.
//!
//! For a name that is not in the file an account is made up (threats 26): with the rounds and kind
//! of some user who is, by a secret that is derived from the file, so it looks the same each time.
//!
//! Limits: [`USERS_FILE_BYTES_MAX`], [`USERS_MAX`]. Pure: reading the file is `os`'s part.

use crate::config::{self, Config, Pattern};
use crate::limits::{LOGIN_NAME_BYTES_MAX, USERS_FILE_BYTES_MAX, USERS_MAX};
use crate::mail::address::ReversePath;
use crate::smtp::sasl::cram::CramKey;
use crate::smtp::sasl::credentials::{self, Credential, ROUNDS, Salt, Verifier};
use crate::smtp::sasl::server::{Account, Accounts, OFFERED};
use crate::smtp::sasl::{Crypto, Hash, Mechanism, Mechanisms};

/// What logging in needs of the world.
pub trait Vault {
    /// The users of the file at `path`, as it is now; none: it cannot be read, or never could.
    fn users(&mut self, path: &str) -> Option<Keys<'_>>;
}

/// Who may log in, and the arithmetic to find out who does.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Who.
    pub users: &'a Users,
    /// How.
    pub crypto: &'a dyn Crypto,
}

/// All users of a file.
#[derive(Default)]
pub struct Users {
    users: Vec<User>,
}

struct User {
    name: String,
    verifier: Verifier,
    cram: Option<CramKey>,
    /// Empty: any.
    senders: Vec<Pattern>,
}

/// Something wrong in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsersFault {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong, and what was expected. Never a word of the line that may be a secret.
    pub message: String,
}

impl Users {
    /// Reads the text of a file.
    pub fn parse(text: &[u8]) -> Result<Users, Vec<UsersFault>> {
        let mut faults = Vec::new();
        let mut read = Vec::<(u32, User)>::new();
        if text.len() > USERS_FILE_BYTES_MAX {
            let message = format!("the file is larger than {USERS_FILE_BYTES_MAX} bytes");
            return Err(vec![UsersFault { line: 1, message }]);
        }
        for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let user = match parse_line(text) {
                Ok(None) => continue,
                Ok(Some(user)) => user,
                Err(message) => {
                    faults.push(UsersFault { line, message });
                    continue;
                }
            };
            let before = read.iter().find(|(_, other)| other.name == user.name);
            if let Some((before, _)) = before {
                let message = format!("{} is there already, line {before}", user.name);
                faults.push(UsersFault { line, message });
            } else if read.len() == USERS_MAX {
                let message = format!("there are more than {USERS_MAX} users");
                faults.push(UsersFault { line, message });
                break;
            }
            read.push((line, user));
        }
        let users = read.into_iter().map(|(_, user)| user).collect();
        if faults.is_empty() { Ok(Users { users }) } else { Err(faults) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.users.len()
    }

    /// What all of them can log in by: who is offered a mechanism will use it.
    pub fn mechanisms(&self) -> Mechanisms {
        let all_have = |mechanism: &Mechanism| match mechanism {
            Mechanism::ScramSha256 => self.users.iter().all(|user| user.verifier.is_scram()),
            Mechanism::CramMd5 => self.users.iter().all(|user| user.cram.is_some()),
            _ => true,
        };
        let known = OFFERED.iter().chain([Mechanism::CramMd5].into_iter().filter(|m| m.is_built()));
        known.filter(all_have).fold(Mechanisms::NONE, Mechanisms::with)
    }

    /// True if there is a user of that name.
    pub fn has(&self, name: &str) -> bool {
        self.users.iter().any(|user| user.name == name)
    }

    /// May the user of that name send as `path`? None: there is no such user any more.
    pub fn may_send(&self, name: &str, path: ReversePath<'_>, config: &Config) -> Option<bool> {
        let user = self.users.iter().find(|user| user.name == name)?;
        let ReversePath::Address(address) = path else { return Some(true) };
        let is_local = config.is_local(address);
        let is_own = |pattern: &Pattern| pattern.holds(address, is_local);
        Some(user.senders.is_empty() || user.senders.iter().any(is_own))
    }

    /// Somebody for whom nobody knows the password.
    fn decoy(&self, name: &str, crypto: &dyn Crypto) -> Account {
        // Without any user there is nothing to be found out.
        let Some(first) = self.users.first() else {
            let verifier = Verifier::decoy(name, &[0; 32], &nobody(), crypto);
            return Account { verifier, cram: None, exists: false };
        };
        let secret = crypto.hmac(first.verifier.keys.secret(), &[b"decoy"]);
        let [low, high, ..] = crypto.hmac(&secret, &[b"model ", name.as_bytes()]);
        let number = usize::from(u16::from_le_bytes([low, high])) % self.users.len();
        let model = self.users.get(number).unwrap_or(first);
        let verifier = Verifier::decoy(name, &secret, &model.verifier, crypto);
        Account { verifier, cram: model.cram, exists: false }
    }
}

fn nobody() -> Verifier {
    let zeros: Hash = [0; 32];
    let keys = credentials::Keys::Scram { stored: zeros, server: zeros };
    Verifier { iterations: ROUNDS, salt: Salt::ZEROS, keys }
}

impl Accounts for Users {
    fn look_up(&self, name: &str, crypto: &dyn Crypto) -> Account {
        let decoy = self.decoy(name, crypto);
        // Through to the end, wherever it stands.
        self.users.iter().fold(decoy, |found, user| match user.name == name {
            true => Account { verifier: user.verifier, cram: user.cram, exists: true },
            false => found,
        })
    }
}

/// True for a name that can stand in the file, and in a log line.
pub fn is_name(name: &str) -> bool {
    let fits = (1..=LOGIN_NAME_BYTES_MAX).contains(&name.len());
    fits && !name.starts_with('#')
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

fn parse_line(text: &[u8]) -> Result<Option<User>, String> {
    let line = core::str::from_utf8(text).map_err(|_| "the line is not UTF-8".to_string())?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.contains(|letter: char| letter.is_control() && letter != '\t') {
        return Err("the line holds a control character".into());
    }
    let (name, rest) =
        line.split_once(':').ok_or("expected NAME:HASH; 'mote passwd' makes such a line")?;
    if !is_name(name) {
        return Err(format!(
            "the name before the colon must be 1 to {LOGIN_NAME_BYTES_MAX} printable characters \
             without blanks"
        ));
    }
    let (mut verifier, mut cram, mut senders) = (None, None, Vec::new());
    for word in rest.split_whitespace() {
        if !word.contains('$') {
            // Not quoted: it may be a password that somebody took for a hash.
            let wrong = "a word is neither a hash nor a sender such as me@example.net, example.net";
            senders.push(config::parse_pattern(word).map_err(|_| wrong)?);
            continue;
        }
        let is_second = match Credential::parse(word).map_err(|error| error.text())? {
            Credential::Password(read) => verifier.replace(read).is_some(),
            Credential::Cram(read) => cram.replace(read).is_some(),
        };
        if is_second {
            return Err(format!("{name} has two hashes of one kind"));
        }
    }
    let verifier = verifier
        .ok_or_else(|| format!("{name} has no hash; 'mote passwd' makes one from a password"))?;
    Ok(Some(User { name: name.into(), verifier, cram, senders }))
}

/// `text` with `hashes`, words, for the user `name`: in place of the hashes that were there, else
/// as a new line at the end. Everything else stays as it is.
pub fn with_user(text: &str, name: &str, hashes: &str) -> String {
    let mut out = String::with_capacity(text.len() + name.len() + hashes.len() + 2);
    let mut is_there = false;
    for line in text.lines() {
        match line.trim().split_once(':') {
            Some((known, rest)) if known == name && !is_there => {
                is_there = true;
                let senders = rest.split_whitespace().filter(|word| !word.contains('$'));
                out.push_str(name);
                out.push(':');
                out.push_str(hashes);
                senders.for_each(|word| out.extend([" ", word]));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    if !is_there {
        out.extend([name, ":", hashes, "\n"]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, parse};
    use crate::mail::address::Address;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn scram() -> String {
        format!("SCRAM-SHA-256$10000:W22ZaJ0SNY7soEsUEjb6gQ==${KEY}:{KEY}")
    }

    fn pbkdf2() -> String {
        format!("PBKDF2-SHA256$10000:W22ZaJ0SNY7soEsUEjb6gQ==${KEY}")
    }

    #[test]
    fn a_file() {
        let (scram, pbkdf2) = (scram(), pbkdf2());
        let text = format!(
            "# users\n\nalice:{scram}\r\n\
            \x20 bob@example.net: {pbkdf2}\tbob@example.net  a.b @ *.c.d\n"
        );
        let Ok(users) = Users::parse(text.as_bytes()) else { panic!("{text}") };
        assert_eq!(users.count(), 2);
        let host = Host { hostname: "pi.lan", home: "/h", is_embedded: false, run: None };
        let config = parse(b"", &host).unwrap();
        let may = |name: &str, sender: &str| {
            let path = Address::parse(sender.as_bytes()).unwrap();
            users.may_send(name, ReversePath::Address(path), &config)
        };
        assert_eq!(may("alice", "anybody@at.all"), Some(true));
        assert_eq!(may("mallory", "anybody@at.all"), None);
        let bob = "bob@example.net";
        for yes in ["Bob@Example.net", "x@A.B", "root", "root@pi.lan", "x@y.c.d"] {
            assert_eq!(may(bob, yes), Some(true), "{yes}");
        }
        for no in ["alice@example.net", "x@b", "x@x.a.b", "x@c.d"] {
            assert_eq!(may(bob, no), Some(false), "{no}");
        }
        assert_eq!(users.may_send(bob, ReversePath::Null, &config), Some(true));
        // SCRAM is for all or for none.
        assert_eq!(users.mechanisms().to_string(), "PLAIN LOGIN");
        let Ok(users) = Users::parse(format!("a:{scram}\nb:{scram}").as_bytes()) else { panic!() };
        assert_eq!(users.mechanisms().to_string(), "SCRAM-SHA-256 PLAIN LOGIN");
        assert_eq!(Users::parse(b"").map(|users| users.count()).ok(), Some(0));
    }

    #[test]
    fn every_fault_with_its_line_and_no_secret() {
        let (scram, long) = (scram(), "n".repeat(65));
        let text = format!(
            "alice:{scram}\nalice\nalice:{scram}\n:{scram}\n{long}:{scram}\na b:{scram}\n\
             bob:\nbob:secret$word\nbob:{scram} {scram}\nbob:{scram} a@\nbob:x@y\n\u{e4}:{scram}\n\
             bob:{scram}\0\nbob:secret!\n"
        );
        let text = [text.as_bytes(), b"\xff:x\n"].concat();
        let faults = Users::parse(&text).err().unwrap();
        let lines: Vec<u32> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, (2..=15).collect::<Vec<u32>>());
        for fault in &faults {
            assert!(!fault.message.contains("secret") && !fault.message.contains(KEY));
        }
        assert_eq!(faults[1].message, "alice is there already, line 1");
        let line = |number: usize| format!("u{number}:{scram}\n");
        let text: String = (0..=USERS_MAX).map(line).collect();
        let faults = Users::parse(text.as_bytes()).err().unwrap();
        assert_eq!(faults[0].line as usize, USERS_MAX + 1);
        let faults = Users::parse(&vec![b'#'; USERS_FILE_BYTES_MAX + 1]).err().unwrap();
        assert_eq!(faults[0].line, 1);
    }

    #[test]
    fn one_line_is_changed_and_nothing_else() {
        let changed = with_user("# a\nalice:A$1\nbob:B$1 bob@x y.z\n", "bob", "B$2");
        assert_eq!(changed, "# a\nalice:A$1\nbob:B$2 bob@x y.z\n");
        assert_eq!(with_user("alice:A$1", "bob", "B$2"), "alice:A$1\nbob:B$2\n");
        assert_eq!(with_user("", "bob", "B$2"), "bob:B$2\n");
        assert_eq!(with_user("bobby:B$1\n#bob:x\n", "bob", "B$2"), "bobby:B$1\n#bob:x\nbob:B$2\n");
    }

    #[test]
    fn names() {
        for good in ["a", "me@example.net", "a.b-c_d+e", "$x"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a:b", "a b", "#a", "a\n", "ä", "a\x7f", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}

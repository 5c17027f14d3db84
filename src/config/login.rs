//! Who this machine is to a next hop: the user in its URL, and where the password or the token
//! comes from that shows it.
//!
//! Part of the draft. The two stand in two keys, `password` and `token`, since a next hop is told
//! them in different ways, and neither's form tells which it is. A value that begins with `file:`,
//! `cmd:`, `env:` or `cred:` says where the secret is; any other is the secret itself, which is
//! never printed, and which a file that others can read must not hold (decisions 20): whoever reads
//! the file checks that.
//!
//! What contradicts itself is found when all is known: a user without a secret, a secret without a
//! user, and either over a connection that everyone can read (decisions 18).

use super::draft::{Draft, Given};
use super::{Fault, value};
use crate::limits::{KEY_BYTES_MAX, KEY_NAME_BYTES_MAX};
use core::fmt;
use core::net::IpAddr;
use zeroize::Zeroizing;

/// Words of a command.
const WORDS_MAX: usize = 32;
/// Longer than any path a system takes.
const PATH_BYTES_MAX: usize = 1024;
const PLACES: &str = "file:/PATH, cmd:/PROGRAM WORDS, env:NAME or cred:NAME";

/// How to log in at a next hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayLogin {
    /// Who.
    pub user: String,
    /// What shows it.
    pub key: KeySource,
    /// It is an OAuth 2 token; else a password.
    pub is_token: bool,
}

/// Where a secret is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeySource {
    /// In the first line of a file.
    File(String),
    /// In the first line that a program prints: its path, and its words.
    Command(Vec<String>),
    /// In a variable of the environment.
    Environment(String),
    /// In a credential of systemd.
    Credential(String),
    /// Here.
    Literal(Literal),
}

/// A secret that stands in the configuration. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Literal(Zeroizing<String>);

impl Literal {
    /// What it is.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Literal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("*")
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::File(path) => write!(out, "file:{path}"),
            KeySource::Command(words) => write!(out, "cmd:{}", words.join(" ")),
            KeySource::Environment(name) => write!(out, "env:{name}"),
            KeySource::Credential(name) => write!(out, "cred:{name}"),
            KeySource::Literal(_) => out.write_str("*"),
        }
    }
}

/// What a relay's draft knows of logging in.
#[derive(Default)]
pub(super) struct LoginDraft {
    pub(super) user: Option<String>,
    pub(super) key: Option<KeyDraft>,
}

/// `password` or `token`, as it was given.
#[derive(Clone)]
pub(super) struct KeyDraft {
    name: &'static str,
    line: u32,
    source: KeySource,
}

impl KeyDraft {
    /// Also of a value with a fault: that there is one is known then.
    fn take(place: &mut Option<KeyDraft>, given: &Given<'_>) -> Result<(), String> {
        let name = given.key.name;
        let read = source(name, given.text);
        let other = place.as_ref().filter(|other| other.name != name);
        let contradicts = other.map(|other| {
            let (before, line) = (other.name, other.line);
            format!("'{before}' in line {line} says already what to log in with")
        });
        let nothing = KeySource::Environment(String::new());
        let source = read.clone().unwrap_or(nothing);
        *place = Some(KeyDraft { name, line: given.line, source });
        contradicts.map_or(read.map(drop), Err)
    }
}

impl LoginDraft {
    /// How to log in at `host`, over a connection that is clear or not. `line` is that of the URL.
    pub(super) fn finish(
        self,
        line: u32,
        host: &str,
        is_clear: bool,
        faults: &mut Vec<Fault>,
    ) -> Option<RelayLogin> {
        let mut complain = |line, message: String| faults.push(Fault { line, message });
        let (user, key) = match (self.user, self.key) {
            (None, None) => return None,
            (Some(user), Some(key)) => (user, key),
            (Some(user), None) => {
                let message = format!(
                    "the URL names the user {user}, but nothing says with what to log in; add a \
                     line like password = file:/etc/mote.secret"
                );
                complain(line, message);
                return None;
            }
            (None, Some(key)) => {
                let message = format!(
                    "{}: the URL names no user; write it before the host: USER@{host}",
                    key.name
                );
                complain(key.line, message);
                return None;
            }
        };
        let written = write_user(&user);
        if !cfg!(feature = "tls") {
            complain(line, "this build cannot log in: it was made without the feature tls".into());
        } else if is_clear && !is_this_machine(host) {
            let message = format!(
                "smtp:// would show everyone on the way what is used to log in; write \
                 smtps://{written}@{host} or starttls://{written}@{host}"
            );
            complain(line, message);
        }
        Some(RelayLogin { user, key: key.source, is_token: key.name == "token" })
    }
}

impl Draft {
    /// `password` and `token` above all sections: those of the key `relay`.
    pub(super) fn set_default_key(&mut self, given: &Given<'_>) -> Result<(), String> {
        KeyDraft::take(&mut self.key, given)
    }

    /// `password` and `token` of the current relay.
    pub(super) fn set_relay_key(&mut self, given: &Given<'_>) -> Result<(), String> {
        match self.relays.get_mut(self.current) {
            Some(relay) => KeyDraft::take(&mut relay.login.key, given),
            None => Ok(()),
        }
    }

    /// Gives what stands above all sections to the default relay, before the relays are finished.
    pub(super) fn finish_key(&mut self, default: &str, faults: &mut Vec<Fault>) {
        let Some(key) = self.key.take() else { return };
        let KeyDraft { name, line, .. } = key;
        let relay = self.relays.iter_mut().find(|relay| relay.name == default);
        let message = match relay {
            Some(relay) if relay.login.key.is_none() => {
                relay.login.key = Some(key);
                return;
            }
            Some(_) => format!("{name}: [relay {default}] says already what to log in with"),
            None => format!("{name}: there is nothing to log in at; relay names no host"),
        };
        faults.push(Fault { line, message });
    }
}

/// Loopback: what is said there nobody else hears.
fn is_this_machine(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Takes the user off the front of what stands behind a URL's scheme. What is wrong is told without
/// the text: it may be a password.
pub(super) fn split_user(text: &str) -> Result<(Option<String>, &str), String> {
    let Some((user, host)) = text.rsplit_once('@') else { return Ok((None, text)) };
    if user.contains(':') {
        return Err(
            "a password has no place in a URL; write password = file:/etc/mote.secret beside it"
                .into(),
        );
    }
    let user = decode(user).filter(|user| {
        !user.is_empty() && user.len() <= KEY_NAME_BYTES_MAX && !user.contains(char::is_control)
    });
    let wrong = || {
        "what stands before the last @ is no user; signs other than letters and digits are \
         written as in me%40example.net"
            .into()
    };
    user.map(|user| (Some(user), host)).ok_or_else(wrong)
}

/// `%40` and the like (RFC 3986 §2.1).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let [high, low, behind @ ..] = rest else { return None };
        bytes.push(digit(high)? << 4 | digit(low)?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

/// `user` as it stands in a URL.
pub(super) fn write_user(user: &str) -> String {
    let mut text = String::new();
    for byte in user.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' => {
                text.push(char::from(byte));
            }
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// The value of `password` or `token`.
fn source(key: &str, text: &str) -> Result<KeySource, String> {
    if let Some(path) = text.strip_prefix("file:") {
        return value::path(path, PATH_BYTES_MAX).map(KeySource::File);
    }
    if let Some(command) = text.strip_prefix("cmd:") {
        let words: Vec<String> = command.split_whitespace().map(String::from).collect();
        let program = words.first().map_or("", |word| word);
        value::path(program, PATH_BYTES_MAX)?;
        if words.len() > WORDS_MAX {
            return Err(format!("a command has at most {WORDS_MAX} words"));
        }
        return Ok(KeySource::Command(words));
    }
    if let Some(name) = text.strip_prefix("env:") {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(inside) {
            return Err(format!("'{name}' is not the name of a variable"));
        }
        return Ok(KeySource::Environment(name.into()));
    }
    if let Some(name) = text.strip_prefix("cred:") {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(format!("'{name}' is not the name of a credential"));
        }
        return Ok(KeySource::Credential(name.into()));
    }
    // Of what may be a secret nothing is repeated.
    if text.starts_with('/') {
        return Err(format!("a path is written with file: before it, as in {key} = file:/PATH"));
    }
    if text.is_empty() || text.len() > KEY_BYTES_MAX || text.contains(char::is_control) {
        return Err(format!("expected {PLACES}"));
    }
    Ok(KeySource::Literal(Literal(Zeroizing::new(text.into()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_there_and_back() {
        for (text, user, host) in [
            ("h:25", None, "h:25"),
            ("router@h", Some("router"), "h"),
            ("me%40example.net@h", Some("me@example.net"), "h"),
            ("me@example.net@h", Some("me@example.net"), "h"),
            ("a%25%2Fb%C3%A9@[::1]:26", Some("a%/b\u{e9}"), "[::1]:26"),
        ] {
            let split = split_user(text).unwrap();
            assert_eq!(split, (user.map(String::from), host), "{text}");
            if let Some(user) = user {
                let written = format!("{}@{host}", write_user(user));
                assert_eq!(split_user(&written).unwrap(), split, "{written}");
            }
        }
        let long = format!("{}@h", "u".repeat(KEY_NAME_BYTES_MAX + 1));
        for bad in ["@h", "a%@h", "a%4@h", "a%zz@h", "a%FF@h", "a%0A@h", "a%00@h", &long] {
            assert!(split_user(bad).is_err(), "{bad}");
        }
        let told = split_user("router:hunter2@h").unwrap_err();
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn places_there_and_back() {
        for text in ["file:/etc/s", "cmd:/bin/pass show mail", "env:SMTP_KEY", "cred:smtp"] {
            assert_eq!(source("password", text).unwrap().to_string(), text);
        }
        let literal = source("password", "hunter2 and: more").unwrap();
        assert_eq!(
            (format!("{literal:?}"), literal.to_string()),
            ("Literal(*)".into(), "*".into())
        );
        let KeySource::Literal(literal) = literal else { panic!() };
        assert_eq!(literal.expose(), "hunter2 and: more");
        for bad in
            ["", "file:", "file:etc", "cmd:", "cmd:pass", "env:", "env:A-B", "cred:", "cred:../x"]
        {
            assert!(source("password", bad).is_err(), "{bad}");
        }
        let told = source("token", "/etc/s3cret").unwrap_err();
        assert!(told.contains("token = file:/PATH") && !told.contains("s3cret"), "{told}");
    }

    #[test]
    fn where_a_password_may_go_in_the_clear() {
        for near in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "LOCALHOST"] {
            assert!(is_this_machine(near), "{near}");
        }
        for far in ["10.0.0.1", "localhost.example", "fe80::1", "0.0.0.0", "mail.lan"] {
            assert!(!is_this_machine(far), "{far}");
        }
    }
}

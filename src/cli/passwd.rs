//! `passwd`: sets a user's password in the users file.
//!
//! At a terminal the password is asked for twice and not shown; else it is one line of stdin. Never
//! an argument: others see those. What goes into the file is a hash that serves SCRAM, PLAIN and
//! LOGIN (with the feature `cram-md5` another one beside it). The file is replaced whole; a daemon
//! that uses it takes the change with the next login.

use super::Context;
use super::configuration;
use super::exit::{Exit, Failure, finish, print};
use crate::intake::users::{is_name, with_user};
use crate::limits::{LOGIN_NAME_BYTES_MAX, PASSWORD_BYTES_MAX, USERS_FILE_BYTES_MAX};
use crate::os::secret_file::{self, SecretError};
use crate::os::{terminal, vault};
use crate::smtp::sasl::cram::CramKey;
use crate::smtp::sasl::credentials::{Credential, ROUNDS, SALT_BYTES, Salt, Verifier};
use crate::smtp::sasl::{Crypto, Mechanism};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// Sets the password of the user that the last of `words` names.
pub fn run(context: &Context, words: &[OsString]) -> ExitCode {
    finish(context.program, passwd(context, words))
}

fn passwd(context: &Context, words: &[OsString]) -> Result<Exit, Failure> {
    let (path, name) = match words {
        [name] => (None, name),
        [path, name] => (Some(PathBuf::from(path)), name),
        _ => return Err(Failure::usage("expected a name: passwd [FILE] USER")),
    };
    let name = name.to_str().filter(|name| is_name(name)).ok_or_else(|| {
        Failure::usage(format!(
            "a user's name is 1 to {LOGIN_NAME_BYTES_MAX} printable characters without blanks and \
             colons"
        ))
    })?;
    let path = match path {
        Some(path) => path,
        None => configured(context)?,
    };
    let before = read(&path)?;
    let password = read_password(name)?;
    let hashes = hashes(&password)?;
    let text = Zeroizing::new(with_user(&before, name, &hashes));
    if text.len() > USERS_FILE_BYTES_MAX {
        let message = format!("{}: it would be larger than {USERS_FILE_BYTES_MAX}", path.display());
        return Err(Failure::new(Exit::CANT_CREATE, message));
    }
    secret_file::replace(&path, text.as_bytes())
        .map_err(|error| Failure::new(Exit::CANT_CREATE, format!("{}: {error}", path.display())))?;
    print(&format!("{}: {name} has a new password\n", path.display()))?;
    // A fault that was there before, or one user too many.
    let faults = vault::read_users(&path).err().unwrap_or_default();
    match faults.into_iter().next() {
        Some(fault) => Err(Failure::new(Exit::CONFIG, fault)),
        None => Ok(Exit::OK),
    }
}

/// The file of the key `users`.
fn configured(context: &Context) -> Result<PathBuf, Failure> {
    let config = configuration::load(context)?;
    config.users.map(PathBuf::from).ok_or_else(|| {
        Failure::usage("which file? Name it, passwd FILE USER, or set users in the config")
    })
}

/// The text of the file; a new one is empty.
fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let wrong = |exit, reason: String| Failure::new(exit, format!("{}: {reason}", path.display()));
    let bytes = match secret_file::read(path, USERS_FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(SecretError::Read(error)) if error.kind() == ErrorKind::NotFound => {
            Zeroizing::default()
        }
        Err(error @ SecretError::Read(_)) => {
            return Err(wrong(Exit::PERMISSION, error.to_string()));
        }
        Err(error) => return Err(wrong(Exit::CONFIG, error.to_string())),
    };
    match core::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(wrong(Exit::CONFIG, "is not UTF-8".into())),
    }
}

fn read_password(name: &str) -> Result<terminal::Line, Failure> {
    let failed = |error: io::Error| {
        Failure::new(Exit::SYSTEM, format!("the password cannot be read: {error}"))
    };
    let password = if terminal::is_at_terminal() {
        let password = terminal::ask(&format!("Password for {name}: ")).map_err(failed)?;
        let again = terminal::ask("The same again: ").map_err(failed)?;
        if *password != *again {
            return Err(Failure::new(Exit::DATA, "these are two passwords; nothing was changed"));
        }
        password
    } else {
        terminal::read_line().map_err(failed)?
    };
    // A NUL is what PLAIN puts between its fields.
    let is_good =
        core::str::from_utf8(&password).is_ok_and(|text| !text.contains(char::is_control));
    match password.len() {
        0 => Err(Failure::new(Exit::DATA, "an empty password is none; nothing was changed")),
        1..=PASSWORD_BYTES_MAX if is_good => Ok(password),
        1..=PASSWORD_BYTES_MAX => {
            Err(Failure::new(Exit::DATA, "the password holds a control character or is not UTF-8"))
        }
        _ => {
            let text = format!("the password is longer than {PASSWORD_BYTES_MAX} bytes");
            Err(Failure::new(Exit::DATA, text))
        }
    }
}

/// The words for the user's line.
fn hashes(password: &[u8]) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    let crypto = crypto()?;
    let mut salt = [0; SALT_BYTES];
    crypto.random(&mut salt);
    let salt = Salt::new(&salt).unwrap_or(Salt::ZEROS);
    let verifier = Verifier::of(password, ROUNDS, salt, crypto);
    // Writing to a String cannot fail.
    let _ = Credential::Password(verifier).write(&mut *text);
    if Mechanism::CramMd5.is_built() {
        text.push(' ');
        let _ = Credential::Cram(CramKey::of(password)).write(&mut *text);
    }
    Ok(text)
}

#[cfg(feature = "tls")]
fn crypto() -> Result<&'static dyn Crypto, Failure> {
    Ok(&crate::os::crypto::RingCrypto)
}

#[cfg(not(feature = "tls"))]
fn crypto() -> Result<&'static dyn Crypto, Failure> {
    Err(Failure::new(Exit::UNAVAILABLE, "this build has no cryptography (feature tls)"))
}

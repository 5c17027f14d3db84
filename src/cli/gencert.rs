//! `gencert`: a certificate and its key, signed by itself, for a network of one's own.
//!
//! Nobody trusts it who has not got it installed. It is for these names and addresses, for ten
//! years from the beginning of this one, with an ECDSA key (P-256): small machines sign with that
//! many times faster than with RSA. Files that are there already are left alone.
//!
//! A cargo feature, since it is sixty kilobytes for something done once; a build without it
//! says how openssl does the same.

use super::Context;
use super::exit::{Exit, Failure, finish};
use std::ffi::OsString;
use std::process::ExitCode;

/// Makes `cert.pem` and `key.pem` in the directory that comes first, for the names behind it.
pub fn run(context: &Context, words: Vec<OsString>) -> ExitCode {
    let words: Vec<String> =
        words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let made = match words.split_first() {
        Some((directory, [_, ..])) if words.iter().any(|word| word.starts_with('-')) => {
            Err(Failure::usage(format!("gencert takes a directory ({directory}) and names")))
        }
        Some((directory, names @ [_, ..])) => make(directory, names),
        _ => Err(Failure::usage(
            "gencert needs a directory and the names of this machine, such as: mote gencert \
             /etc/mote mail.lan 192.168.1.1",
        )),
    };
    finish(context.program, made)
}

#[cfg(not(feature = "gencert"))]
fn make(directory: &str, names: &[String]) -> Result<Exit, Failure> {
    use core::fmt::Write as _;
    use core::net::IpAddr;
    let mut list = String::new();
    for name in names {
        let kind = if name.parse::<IpAddr>().is_ok() { "IP" } else { "DNS" };
        let comma = if list.is_empty() { "" } else { "," };
        // Into a String nothing fails.
        let _ = write!(list, "{comma}{kind}:{name}");
    }
    let first = names.first().map_or("", String::as_str);
    Err(Failure::new(
        Exit::UNAVAILABLE,
        format!(
            "this build makes no certificates; openssl does: openssl req -x509 -newkey ec -pkeyopt \
             ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj '/CN={first}' -addext \
             'subjectAltName={list}' -keyout {directory}/key.pem -out {directory}/cert.pem"
        ),
    ))
}

#[cfg(feature = "gencert")]
fn make(directory: &str, names: &[String]) -> Result<Exit, Failure> {
    use super::exit::print;
    use std::path::Path;
    let directory = Path::new(directory);
    let (cert, key) = pair(names)?;
    // The key first: who has one without a certificate has nothing yet.
    let (key_path, cert_path) = (directory.join("key.pem"), directory.join("cert.pem"));
    write(&key_path, &key, 0o600)?;
    hand_over(&key_path);
    let written = write(&cert_path, &cert, 0o644);
    if written.is_err() {
        // It belongs to no certificate, and would be in the way.
        let _ = std::fs::remove_file(&key_path);
    }
    written?;
    print(&format!(
        "cert = {}\nkey = {}\nInstall the certificate where it shall be trusted.\n",
        cert_path.display(),
        key_path.display()
    ))?;
    Ok(Exit::OK)
}

/// The daemon's user must be able to read the key, if there is one.
#[cfg(feature = "gencert")]
fn hand_over(path: &std::path::Path) {
    use crate::os::process;
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let Some(daemon) = process::daemon_user() else { return };
    // Only root can, and for anybody else it is his own key.
    if process::user_id() == 0 && chown(path, None, Some(daemon.gid)).is_ok() {
        let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o640));
    }
}

/// The certificate and its key, PEM.
#[cfg(feature = "gencert")]
fn pair(names: &[String]) -> Result<(String, String), Failure> {
    use crate::daemon::world::Clock as _;
    use crate::os::clock::{RELEASE_DATE, SystemClock};
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
    let failed = |error: rcgen::Error| {
        Failure::new(Exit::DATA, format!("no certificate for {}: {error}", names.join(" ")))
    };
    // A clock that was never set must not make a certificate that has expired before it is made.
    let now = SystemClock::new().now().unix.seconds.max(RELEASE_DATE);
    let year = i32::try_from(now / 31_556_952).unwrap_or(0) + 1970;
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.not_before = date_time_ymd(year, 1, 1);
    params.not_after = date_time_ymd(year + 10, 1, 1);
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    let key = KeyPair::generate().map_err(failed)?;
    let cert = params.self_signed(&key).map_err(failed)?;
    Ok((cert.pem(), key.serialize_pem()))
}

/// A new file with that mode from its first moment on, durable.
#[cfg(feature = "gencert")]
fn write(path: &std::path::Path, text: &str, mode: u32) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| {
        Failure::new(Exit::CANT_CREATE, format!("{}: cannot be made: {error}", path.display()))
    })
}

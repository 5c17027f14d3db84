//! The configuration file, and those of users and of aliases.

use mote::config::{Host, parse, warnings, write_effective};
use mote::intake::users::{Users, with_user};
use mote::limits::ALIAS_TARGETS_MAX;
use mote::mail::address::Address;
use mote::mail::aliases::{Aliases, Found, Surroundings};

/// Takes the input for a file: what is understood can be written back, and means the same then.
pub(super) fn config(input: &[u8]) {
    let host = Host { hostname: "pi.test", home: "/home", is_embedded: false, run: None };
    match parse(input, &host) {
        Ok(config) => {
            assert!(warnings(&config).iter().all(|warning| !warning.contains('\n')));
            let mut text = String::new();
            write_effective(&mut text, &config).unwrap();
            // A password that stands in the file is not written.
            if config.literal_key().is_none() {
                assert_eq!(parse(text.as_bytes(), &host).as_ref(), Ok(&config), "{text}");
            }
        }
        Err(faults) => {
            let lines = input.split(|byte| *byte == b'\n').count();
            assert!(!faults.is_empty() && faults.len() <= 51);
            for fault in faults {
                assert!((fault.line as usize) <= lines && !fault.message.is_empty());
                assert!(!fault.message.contains(['\n', '\r', '\0']), "{:?}", fault.message);
            }
        }
    }
}

/// Takes the input for a users file: what is understood has users that can be found, and one more
/// user leaves the others as they are.
pub(super) fn users(input: &[u8]) {
    const HASH: &str =
        "PBKDF2-SHA256$4096:c2FsdHNhbHQ=$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let users = match Users::parse(input) {
        Ok(users) => users,
        Err(faults) => {
            let lines = input.split(|byte| *byte == b'\n').count();
            assert!(!faults.is_empty());
            for fault in faults {
                assert!((1..=lines).contains(&(fault.line as usize)));
                assert!(!fault.message.contains(char::is_control), "{:?}", fault.message);
            }
            return;
        }
    };
    let text = std::str::from_utf8(input).unwrap();
    assert!(text.matches('$').count() >= users.count() * 2);
    let more = with_user(text, "somebody-else", HASH);
    let again = Users::parse(more.as_bytes()).ok().unwrap();
    let is_new = !text.lines().any(|line| line.trim().starts_with("somebody-else:"));
    assert_eq!(again.count(), users.count() + usize::from(is_new));
}

/// Takes the input for a file of aliases, with itself as what it includes: every target is an
/// address, there are no more than may be, and nobody's look-up finds what is not told of.
pub(super) fn aliases(input: &[u8]) {
    let is_local =
        |address: Address<'_>| address.domain().is_none() || address.domain_is("pi.test");
    let mut include = |path: &str| match path.len() {
        0..8 => Ok(input.to_vec()),
        _ => Err("cannot be read".to_string()),
    };
    let mut around = Surroundings { is_local: &is_local, include: &mut include };
    let (aliases, faults) = Aliases::parse(input, &mut around);
    let lines = input.split(|byte| *byte == b'\n').count();
    for fault in &faults {
        assert!((1..=lines).contains(&(fault.line as usize)), "{fault:?}");
        assert!(!fault.message.contains(char::is_control), "{fault:?}");
    }
    let words = input.split(|byte| !byte.is_ascii_graphic() || matches!(byte, b':' | b','));
    let words = words.filter_map(|word| std::str::from_utf8(word).ok());
    let mut broken = 0;
    for word in words.chain(["root", "\"\\", "*"]) {
        match aliases.find(word) {
            Found::Nothing => {}
            Found::Broken(line) => {
                broken += 1;
                assert!((1..=lines).contains(&(line as usize)));
            }
            Found::Targets(targets) => {
                assert!((1..=ALIAS_TARGETS_MAX).contains(&targets.len()));
                for target in targets {
                    assert_eq!(Address::parse(target.as_bytes()).map(|a| a.is_ascii()), Ok(true));
                }
            }
        }
    }
    assert!(broken == 0 || !faults.is_empty());
}

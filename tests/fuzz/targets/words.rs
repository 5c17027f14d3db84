//! Command lines, and addresses wherever they stand.

use core::net::IpAddr;

use super::{ALL_OFFERS, assert_clean, assert_printable};
use mote::base::buffer::Buffer;
use mote::limits::{ADDRESS_BYTES_MAX, DOMAIN_BYTES_MAX, LOCAL_PART_BYTES_MAX};
use mote::mail::address::{
    Address, Charset, ForwardPath, ReversePath, parse_forward_path, parse_reverse_path,
};
use mote::mail::fields::{addresses, recipients};
use mote::smtp::command::{self, Command};
use mote::smtp::offer::Offers;
use mote::smtp::parameter::{InXtext, ORIGINAL_BYTES_MAX, Xtext};

/// Takes the input for one line.
pub(super) fn command(input: &[u8]) {
    let all = [(Offers::NONE, false), (ALL_OFFERS, false), (ALL_OFFERS, true)];
    for (offers, is_lenient) in all {
        let parsed = command::parse(input, &offers, is_lenient);
        match parsed {
            Ok(command) => check_command(command),
            Err(error) => {
                let mut out = Buffer::new(512);
                error.reply().write(&mut out);
                let line = out.readable().strip_suffix(b"\r\n").unwrap();
                assert_printable(line);
                assert!(line.starts_with(b"5"));
            }
        }
        // Trailing space means nothing (RFC 5321 §4.1.1), and neither does the case of the verb.
        let spaced = [input, b" "].concat();
        assert_eq!(command::parse(&spaced, &offers, is_lenient), parsed);
        let mut other = input.to_vec();
        for byte in other.iter_mut().take(4) {
            // The other case of a letter.
            *byte ^= if byte.is_ascii_alphabetic() { 0x20 } else { 0 };
        }
        assert_eq!(command::parse(&other, &offers, is_lenient), parsed);
    }
}

/// Takes the input for what stands behind XCLIENT.
pub(super) fn xclient(input: &[u8]) {
    let line = [b"XCLIENT ", input].concat();
    let told = match command::parse(&line, &ALL_OFFERS, false) {
        Ok(Command::Xclient(told)) => told,
        Ok(other) => panic!("{other:?}"),
        Err(_) => return,
    };
    check_command(Command::Xclient(told));
    let refused = command::parse(&line, &Offers::BASIC, false);
    assert_eq!(refused, Err(command::CommandError::Untrusted));
    // What was understood, said again, is understood so again.
    let mut again = String::from("XCLIENT");
    match told.address {
        Some(Some(IpAddr::V4(address))) => again += &format!(" ADDR={address}"),
        Some(Some(IpAddr::V6(address))) => again += &format!(" ADDR=IPV6:{address}"),
        Some(None) => again += " ADDR=[UNAVAILABLE]",
        None => (),
    }
    again += &told.port.map_or(String::new(), |port| format!(" PORT={port}"));
    for (name, text) in [("HELO", told.hello), ("LOGIN", told.login)] {
        let text = text.map(|text| text.to_string());
        again += &text.map_or(String::new(), |text| format!(" {name}={}", InXtext(&text)));
    }
    if let Ok(Command::Xclient(other)) = command::parse(again.as_bytes(), &ALL_OFFERS, false) {
        assert_eq!((other.address, other.port), (told.address, told.port));
        for (one, other) in [(told.hello, other.hello), (told.login, other.login)] {
            let text = |text: Option<Xtext<'_>>| text.map(|text| text.to_string());
            // In code a name may be one of the words that stand for none.
            assert!(text(one) == text(other) || text(one).unwrap().starts_with('['));
        }
    } else {
        // Attributes of which nothing is kept were all that stood there.
        assert_eq!(again, "XCLIENT");
    }
}

fn check_command(command: Command<'_>) {
    match command {
        Command::Helo(name) | Command::Ehlo(name) => {
            assert_printable(name);
            assert!(!name.is_empty() && name.len() <= DOMAIN_BYTES_MAX);
        }
        Command::Mail { path, parameters } => {
            if let ReversePath::Address(address) = path {
                check(address);
            }
            if let Some(envid) = parameters.envid {
                assert_printable(envid.to_string().as_bytes());
                let coded = InXtext(&envid.to_string()).to_string();
                assert_eq!(Xtext::parse(coded.as_bytes()).unwrap().to_string(), envid.to_string());
            }
        }
        Command::Rcpt { path, parameters } => {
            check(path);
            let original = parameters.orcpt.map_or_else(String::new, |orcpt| orcpt.to_string());
            assert_printable(original.as_bytes());
            assert!(original.len() <= ORIGINAL_BYTES_MAX);
        }
        Command::Xclient(told) => {
            for text in [told.hello, told.login].into_iter().flatten() {
                assert_printable(text.to_string().as_bytes());
            }
        }
        _ => (),
    }
}

/// Takes the input for an address, for a path, for a list of addresses and for a header.
pub(super) fn address(input: &[u8]) {
    for charset in [Charset::Ascii, Charset::Utf8] {
        if let Ok(address) = Address::parse_in(input, charset) {
            check(address);
            assert_eq!(address.as_str().as_bytes(), input);
            // In brackets it is the same.
            let path = [b"<", input, b"> SIZE=1"].concat();
            let reverse = parse_reverse_path(&path, charset).unwrap();
            assert_eq!(reverse, (ReversePath::Address(address), &b" SIZE=1"[..]));
        }
        if let Ok((ReversePath::Address(address), rest)) = parse_reverse_path(input, charset) {
            check(address);
            assert!(input.ends_with(rest));
        }
        if let Ok((ForwardPath::Address(address), _)) = parse_forward_path(input, charset) {
            check(address);
        }
    }
    if let Ok(address) = Address::parse(input) {
        assert_printable(input);
        assert_eq!(Address::parse_utf8(input), Ok(address));
        let mut listed = Vec::new();
        let path = [b"<", input, b">"].concat();
        addresses(&path, |found| listed.push(found.map(|found| found.as_str().to_owned())));
        assert_eq!(listed, [Ok(address.as_str().to_owned())]);
    }
    let each = |found: Result<Address<'_>, _>| found.map_or((), check);
    addresses(input, each);
    recipients(input, each);
}

/// What every address is, wherever it was read.
fn check(address: Address<'_>) {
    let text = address.as_str();
    assert_clean(text.as_bytes());
    assert!(!text.is_empty() && text.len() <= ADDRESS_BYTES_MAX);
    assert!(!address.local().is_empty() && address.local().len() <= LOCAL_PART_BYTES_MAX);
    let whole = match address.domain() {
        Some(domain) => format!("{}@{domain}", address.local()),
        None => address.local().to_owned(),
    };
    assert_eq!(whole, text);
    assert_eq!(Address::parse_utf8(text.as_bytes()), Ok(address));
    // Nothing in it can end the path, the command or the word that it is sent in.
    let path = format!("<{text}>");
    let again = parse_forward_path(path.as_bytes(), Charset::Utf8);
    assert_eq!(again, Ok((ForwardPath::Address(address), &b""[..])));
}

//! What a next hop offers: the keywords of its answer to EHLO, as far as they are of use here.
//!
//! Whatever is malformed or not known is as good as not said. After HELO nothing is offered.
//!
//! Read first: RFC 5321 §4.1.1.1, RFC 9422 §3.

use super::sasl::{Mechanism, Mechanisms};
use crate::base::ascii::parse_decimal;
use crate::base::buffer::Text;
use core::fmt::Write as _;

/// See the module's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeerOffer {
    /// The line with the peer's name has been read.
    is_named: bool,
    /// SIZE: the largest message, 0 when it does not say.
    pub size: Option<u64>,
    /// 8BITMIME.
    pub eight_bit_mime: bool,
    /// PIPELINING.
    pub pipelining: bool,
    /// BINARYMIME, with the CHUNKING that it needs.
    pub binary: bool,
    /// STARTTLS.
    pub starttls: bool,
    /// SMTPUTF8.
    pub utf8: bool,
    /// DSN.
    pub dsn: bool,
    /// DELIVERBY: the least seconds that it promises, 0 when it does not say.
    pub deliver_by: Option<u32>,
    /// AUTH: those that we know.
    pub mechanisms: Mechanisms,
    /// AUTH: what it says, cleaned and cut.
    pub auth: Text<80>,
    /// LIMITS RCPTMAX: recipients of one mail, at least one.
    pub recipients_max: Option<u32>,
    /// LIMITS MAILMAX: mails on one connection, at least one.
    pub mails_max: Option<u32>,
    has_chunking: bool,
    has_binary: bool,
}

impl PeerOffer {
    /// Takes the next line of the answer, behind code and separator: the first names the peer,
    /// each other one an extension.
    pub(super) fn read(&mut self, line: &[u8]) {
        if !core::mem::replace(&mut self.is_named, true) {
            return;
        }
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let keyword = words.next().unwrap_or_default();
        let is = |name: &[u8]| keyword.eq_ignore_ascii_case(name);
        if is(b"SIZE") {
            self.size = Some(words.next().and_then(parse_decimal).unwrap_or(0));
        } else if is(b"8BITMIME") {
            self.eight_bit_mime = true;
        } else if is(b"PIPELINING") {
            self.pipelining = true;
        } else if is(b"STARTTLS") {
            self.starttls = true;
        } else if is(b"SMTPUTF8") {
            self.utf8 = true;
        } else if is(b"DSN") {
            self.dsn = true;
        } else if is(b"DELIVERBY") {
            let least = words.next().and_then(parse_decimal).unwrap_or(0);
            self.deliver_by = Some(u32::try_from(least).unwrap_or(u32::MAX));
        } else if is(b"AUTH") {
            words.for_each(|word| self.read_mechanism(word));
        } else if keyword.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"AUTH=")) {
            // As it was written before RFC 2554, and some write it still.
            let first = keyword.get(5..).into_iter().filter(|word| !word.is_empty());
            first.chain(words).for_each(|word| self.read_mechanism(word));
        } else if is(b"LIMITS") {
            words.for_each(|word| self.read_limit(word));
        }
        self.has_chunking |= is(b"CHUNKING");
        self.has_binary |= is(b"BINARYMIME");
        self.binary = self.has_chunking && self.has_binary;
    }

    fn read_mechanism(&mut self, word: &[u8]) {
        if let Some(mechanism) = Mechanism::parse(word) {
            if self.mechanisms.has(mechanism) {
                return;
            }
            self.mechanisms = self.mechanisms.with(mechanism);
        }
        let blank = (!self.auth.is_empty()).then_some(' ');
        let cleaned = word.iter().map(|byte| match byte {
            b'!'..=b'~' => char::from(*byte),
            _ => '?',
        });
        // A Text cuts what is too long; it does not fail.
        let _ =
            blank.into_iter().chain(cleaned).try_for_each(|letter| self.auth.write_char(letter));
    }

    fn read_limit(&mut self, word: &[u8]) {
        let mut halves = word.splitn(2, |byte| *byte == b'=');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next());
        let value = value.and_then(parse_decimal).and_then(|value| u32::try_from(value).ok());
        let Some(value) = value.filter(|value| *value > 0) else { return };
        if name.eq_ignore_ascii_case(b"RCPTMAX") {
            self.recipients_max = Some(value);
        } else if name.eq_ignore_ascii_case(b"MAILMAX") {
            self.mails_max = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> PeerOffer {
        let mut offer = PeerOffer::default();
        lines.iter().for_each(|line| offer.read(line.as_bytes()));
        offer
    }

    #[test]
    fn keywords() {
        let offer = read(&[
            "DSN mx.example greets you",
            "pipelining",
            "SIZE 1000",
            "8BITMIME",
            "SMTPUTF8",
            "CHUNKING",
            "BINARYMIME",
            "X-NEW 1",
            "deliverby 60",
            "LIMITS rcptmax=20 MAILMAX=5 RCPTDOMAINMAX=1",
        ]);
        assert_eq!(offer.size, Some(1000));
        assert!(offer.pipelining && offer.eight_bit_mime && offer.utf8 && offer.binary);
        assert!(!offer.dsn);
        assert_eq!(offer.deliver_by, Some(60));
        assert_eq!(read(&["mx", "DELIVERBY"]).deliver_by, Some(0));
        assert_eq!((offer.recipients_max, offer.mails_max), (Some(20), Some(5)));
    }

    #[test]
    fn mechanisms() {
        let offer = read(&["mx", "AUTH=LOGIN PLAIN", "auth plain Login  NTLM\x7f XOAUTH2"]);
        assert_eq!(offer.mechanisms.to_string(), "XOAUTH2 PLAIN LOGIN");
        assert_eq!(offer.auth.as_str(), "LOGIN PLAIN NTLM? XOAUTH2");
        let offer = read(&["AUTH PLAIN", "AUTH", "AUTH=", "AUTHORITY PLAIN"]);
        assert!(offer.mechanisms.is_empty() && offer.auth.is_empty());
    }

    #[test]
    fn what_says_nothing() {
        let offer =
            read(&["mx", "SIZE", "BINARYMIME", "LIMITS RCPTMAX=0 MAILMAX=x RCPTMAX MAILMAX="]);
        assert_eq!(offer.size, Some(0));
        assert!(!offer.binary);
        assert_eq!((offer.recipients_max, offer.mails_max), (None, None));
    }
}

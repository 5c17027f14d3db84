//! Display names: read from a header field, and written into one.
//!
//! [`Words`] holds what somebody is called, taken from a phrase, a comment or a command line: words
//! with one space between them, without quotes, comments, folds and controls, cut at
//! [`WORDS_BYTES_MAX`]. [`write_phrase`] writes them so that they can stand before `<`: in quotes;
//! what is beyond ASCII as encoded words, which every next hop takes (RFC 2047); what came as an
//! encoded word stays one. Whatever bytes come in, nothing of them can end the field, the phrase or
//! a quote.
//!
//! Read first: RFC 5322 §3.2.4 and §3.2.5; RFC 2047 §2, §4.2 and §5.

use super::list::Name;
use core::fmt::{self, Write};

/// What is kept of a name.
pub const WORDS_BYTES_MAX: usize = 200;
/// RFC 2047 §2.
const ENCODED_BYTES_MAX: usize = 75;
const UTF8: &str = "=?UTF-8?Q?";
/// For bytes of which nobody has said what they are (RFC 1428 §3).
const UNKNOWN: &str = "=?UNKNOWN-8BIT?Q?";

/// What somebody is called. See the module's head.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    bytes: [u8; WORDS_BYTES_MAX],
    length: usize,
    gap: bool,
}

impl Default for Words {
    fn default() -> Self {
        Words::new()
    }
}

impl Words {
    /// Nothing yet.
    pub const fn new() -> Words {
        Words { bytes: [0; WORDS_BYTES_MAX], length: 0, gap: false }
    }

    /// What `text` says, written as `name` tells.
    pub fn read(text: &[u8], name: Name) -> Words {
        let mut words = Words::new();
        match name {
            Name::Phrase => words.add_phrase(text),
            Name::Comment => words.add_escaped(text),
        }
        words
    }

    /// Nothing is known.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds plain text behind a space.
    pub fn add(&mut self, text: &[u8]) {
        self.gap = true;
        text.iter().for_each(|byte| self.push(*byte));
    }

    /// Keeps the first `most` bytes.
    pub fn cut(&mut self, most: usize) {
        if self.length > most {
            self.length = most;
            self.length = self.as_slice().trim_ascii_end().len();
        }
    }

    fn as_slice(&self) -> &[u8] {
        let all = self.bytes.get(..self.length).unwrap_or_default();
        // What was cut may have been cut within a character.
        match core::str::from_utf8(all) {
            Err(error) if error.error_len().is_none() => {
                all.get(..error.valid_up_to()).unwrap_or_default()
            }
            _ => all,
        }
    }

    fn push(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => self.gap = true,
            0..b' ' | 0x7f => {}
            _ => {
                if core::mem::take(&mut self.gap) && self.length > 0 {
                    self.keep(b' ');
                }
                self.keep(byte);
            }
        }
    }

    fn keep(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn add_escaped(&mut self, text: &[u8]) {
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => bytes.next().into_iter().for_each(|byte| self.push(*byte)),
                byte => self.push(*byte),
            }
        }
    }

    fn add_phrase(&mut self, text: &[u8]) {
        let mut bytes = text.iter();
        let (mut depth, mut quoted) = (0u32, false);
        while let Some(byte) = bytes.next() {
            match (byte, depth) {
                (b'\\', 0) => bytes.next().into_iter().for_each(|byte| self.push(*byte)),
                (b'\\', _) => _ = bytes.next(),
                (b'"', 0) => quoted = !quoted,
                (b'(', _) if !quoted => (depth, self.gap) = (depth.saturating_add(1), true),
                (b')', 1..) => depth -= 1,
                (byte, 0) => self.push(*byte),
                _ => {}
            }
        }
    }
}

/// Writes `words`, of which there is one at least, as a phrase. Encoded words get lines of their
/// own where there are several in a row.
pub fn write_phrase(out: &mut dyn Write, words: &Words) -> fmt::Result {
    let mut rest = words.as_slice();
    let mut is_first = true;
    while !rest.is_empty() {
        if !core::mem::take(&mut is_first) {
            out.write_str("\r\n ")?;
        }
        rest = match kind(first_word(rest)) {
            Kind::Encoded => {
                let word = first_word(rest);
                write_ascii(out, word)?;
                rest.get(word.len()..).unwrap_or_default().trim_ascii_start()
            }
            kind @ (Kind::Plain | Kind::Beyond) => {
                // As many as are of that kind; between two encoded words space means nothing, so it
                // is encoded with them (RFC 2047 §6.2).
                let (run, behind) = split_run(rest, &kind);
                match kind {
                    Kind::Plain => write_quoted(out, run)?,
                    _ => write_encoded(out, run)?,
                }
                behind
            }
        };
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Printable ASCII.
    Plain,
    /// An encoded word as it came.
    Encoded,
    /// Holds bytes beyond ASCII.
    Beyond,
}

fn kind(word: &[u8]) -> Kind {
    if !word.is_ascii() {
        return Kind::Beyond;
    }
    // RFC 2047 §5 (3): what may stand in an encoded word of a phrase.
    let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"!*+-/=_?".contains(byte);
    let inner = word.strip_prefix(b"=?").and_then(|rest| rest.strip_suffix(b"?="));
    let is_encoded = inner.is_some_and(|inner| {
        inner.iter().filter(|byte| **byte == b'?').count() == 2 && inner.iter().all(is_fit)
    });
    if is_encoded && word.len() <= ENCODED_BYTES_MAX { Kind::Encoded } else { Kind::Plain }
}

fn first_word(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b' ').next().unwrap_or_default()
}

fn split_run<'a>(text: &'a [u8], of: &Kind) -> (&'a [u8], &'a [u8]) {
    let mut length = first_word(text).len();
    while let Some(rest) = text.get(length + 1..) {
        let word = first_word(rest);
        if word.is_empty() || kind(word) != *of {
            break;
        }
        length += 1 + word.len();
    }
    let behind = text.get(length..).unwrap_or_default().trim_ascii_start();
    (text.get(..length).unwrap_or_default(), behind)
}

fn write_ascii(out: &mut dyn Write, text: &[u8]) -> fmt::Result {
    text.iter().try_for_each(|byte| out.write_char(char::from(*byte)))
}

/// RFC 5322 §3.2.4.
fn write_quoted(out: &mut dyn Write, text: &[u8]) -> fmt::Result {
    out.write_char('"')?;
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.write_char('\\')?;
        }
        out.write_char(char::from(*byte))?;
    }
    out.write_char('"')
}

/// RFC 2047 §4.2 and §5 (3): encoded words, each of whole characters and at most 75 bytes, on lines
/// of their own.
fn write_encoded(out: &mut dyn Write, text: &[u8]) -> fmt::Result {
    let is_utf8 = core::str::from_utf8(text).is_ok();
    let begin = if is_utf8 { UTF8 } else { UNKNOWN };
    let mut room = 0;
    for (place, byte) in text.iter().enumerate() {
        let is_inside = is_utf8 && matches!(byte, 0x80..=0xbf);
        // A character is four bytes at most, each of which becomes three.
        if !is_inside && room < 12 {
            out.write_str(if place == 0 { "" } else { "?=\r\n " })?;
            out.write_str(begin)?;
            room = ENCODED_BYTES_MAX - begin.len() - 2;
        }
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                out.write_char(char::from(*byte))?;
                room -= 1;
            }
            b' ' => {
                out.write_char('_')?;
                room -= 1;
            }
            _ => {
                write!(out, "={byte:02X}")?;
                room -= 3;
            }
        }
    }
    out.write_str("?=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &[u8], name: Name) -> String {
        let mut out = String::new();
        write_phrase(&mut out, &Words::read(text, name)).unwrap();
        out
    }

    #[test]
    fn names_from_phrases_and_comments() {
        for (text, name, expected) in [
            ("Cron Daemon", Name::Comment, "\"Cron Daemon\""),
            ("a \\) (b \\\\ \"c\")", Name::Comment, "\"a ) (b \\\\ \\\"c\\\")\""),
            (
                " \"J. \\\"D\\\" Doe\"\r\n\t Jr (x (y) \\) \"z) ",
                Name::Phrase,
                "\"J. \\\"D\\\" Doe Jr\"",
            ),
            ("=?utf-8?q?J=C3=B6rg?=", Name::Phrase, "=?utf-8?q?J=C3=B6rg?="),
            (
                "The =?utf-8?q?J=C3=B6rg?= one",
                Name::Phrase,
                "\"The\"\r\n =?utf-8?q?J=C3=B6rg?=\r\n \"one\"",
            ),
            ("=?utf-8?q?a,b?=", Name::Comment, "\"=?utf-8?q?a,b?=\""),
            ("Jörg", Name::Phrase, "=?UTF-8?Q?J=C3=B6rg?="),
            (
                "von Jörg Ö. und",
                Name::Phrase,
                "\"von\"\r\n =?UTF-8?Q?J=C3=B6rg_=C3=96=2E?=\r\n \"und\"",
            ),
            ("a\0\x01\x7fb", Name::Phrase, "\"ab\""),
            ("", Name::Phrase, ""),
            (" \r\n ", Name::Comment, ""),
        ] {
            assert_eq!(written(text.as_bytes(), name), expected, "{text:?}");
        }
        assert_eq!(written(b"J\xf6rg", Name::Phrase), "=?UNKNOWN-8BIT?Q?J=F6rg?=");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        for text in ["ü".repeat(400), format!("x{}", "ü".repeat(400)), "€ ".repeat(300)] {
            let phrase = written(text.as_bytes(), Name::Phrase);
            assert!(phrase.split("\r\n ").all(|line| line.len() <= 75), "{phrase}");
            assert!(!phrase.contains("UNKNOWN"));
        }
    }

    #[test]
    fn no_byte_escapes() {
        for byte in 0..=255u8 {
            for text in [vec![byte; 300], [b'a', b'"', b'\\', byte, b'(', byte].repeat(40)] {
                for name in [Name::Phrase, Name::Comment] {
                    let phrase = written(&text, name);
                    let plain = phrase.replace("\r\n ", " ");
                    assert!(plain.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{plain}");
                    assert!(phrase.len() <= 1000, "{}", phrase.len());
                    let mut reader =
                        crate::mail::list::ListReader::new(crate::mail::address::Charset::Ascii);
                    for byte in format!("{phrase} <a@b>").bytes() {
                        assert_eq!(reader.push(byte), crate::mail::list::Step::Inside, "{phrase}");
                    }
                    assert!(reader.address().is_some_and(|found| found.is_ok()), "{phrase}");
                }
            }
        }
    }
}

//! Where a command line ends.
//!
//! Only CRLF ends a line (LAW 6). A line that is too long, or holds a CR or LF on its own, is
//! flawed: it is told as soon as it is seen, so that a peer who sends no CRLF at all gets an
//! answer, and whoever told it skips to the next CRLF, so that one line never gets two answers.
//!
//! Not here: what the line says ([`super::command`]). Input is never copied; what is not consumed
//! must be shown again, with more behind it. The caller's memory for input is at least
//! [`LINE_BYTES_MAX`].
//!
//! Read first: RFC 5321 §2.3.8, §4.5.3.1.4.

use super::reply::Reply;
use crate::limits::LINE_BYTES_MAX;
use memchr::{memchr, memchr2};

/// What stands at the beginning of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line<'a> {
    /// A whole line.
    Complete {
        /// Without its CRLF; holds no CR and no LF.
        text: &'a [u8],
        /// Its length with the CRLF.
        consumed: usize,
    },
    /// Its end has not come yet.
    Partial,
    /// Not a line to act on.
    Flawed {
        /// Why not.
        flaw: Flaw,
        /// What can be thrown away now.
        consumed: usize,
        /// False: the rest is still to come, and to be skipped with [`skip_line`].
        ended: bool,
    },
}

/// What is wrong with a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Longer than [`LINE_BYTES_MAX`] with its CRLF.
    TooLong,
    /// Holds a CR without LF, or an LF without CR (RFC 5321 §2.3.8).
    Bare,
}

impl Flaw {
    /// What to answer.
    pub(super) const fn reply(self) -> Reply {
        match self {
            Flaw::TooLong => Reply::LINE_TOO_LONG,
            Flaw::Bare => Reply::LINE_BARE,
        }
    }
}

/// True if what a peer says first is HTTP, which a browser or a scanner was led to send here
/// (threats 3).
pub(super) fn is_http(input: &[u8]) -> bool {
    let words: [&[u8]; 5] = [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS "];
    words.iter().any(|word| input.starts_with(word))
}

/// True if what a peer says first is TLS.
pub(super) fn is_tls(input: &[u8]) -> bool {
    input.starts_with(&[0x16, 0x03])
}

/// True if what a peer says first is a PROXY header. That of version 2 begins with two empty lines
/// and a line that is a NUL.
pub(super) fn is_proxy(input: &[u8]) -> bool {
    input.starts_with(b"PROXY ") || input.starts_with(b"\0\r\n")
}

/// Finds the first line of `input`.
pub fn find_line(input: &[u8]) -> Line<'_> {
    let window = input.get(..LINE_BYTES_MAX).unwrap_or(input);
    let end = memchr2(b'\r', b'\n', window).unwrap_or(window.len());
    let (text, rest) = window.split_at_checked(end).unwrap_or((window, &[]));
    match rest {
        [b'\r', b'\n', ..] => Line::Complete { text, consumed: end + 2 },
        [] | [b'\r'] if input.len() < LINE_BYTES_MAX => Line::Partial,
        [] | [b'\r'] => flawed(Flaw::TooLong, input),
        _ => flawed(Flaw::Bare, input),
    }
}

fn flawed(flaw: Flaw, input: &[u8]) -> Line<'_> {
    let (consumed, ended) = skip_line(input);
    Line::Flawed { flaw, consumed, ended }
}

/// How much of `input` belongs to a line that is being skipped, and whether its CRLF was there.
pub fn skip_line(input: &[u8]) -> (usize, bool) {
    let mut skipped = 0;
    while let Some(feed) = memchr(b'\n', input.get(skipped..).unwrap_or_default()) {
        skipped += feed + 1;
        if input.get(..skipped).is_some_and(|text| text.ends_with(b"\r\n")) {
            return (skipped, true);
        }
    }
    // A CR at the end stays: its LF may come next.
    (input.len() - usize::from(input.ends_with(b"\r")), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_both_together_end_a_line() {
        assert_eq!(find_line(b"NOOP\r\nQUIT"), Line::Complete { text: b"NOOP", consumed: 6 });
        assert_eq!(find_line(b"\r\n"), Line::Complete { text: b"", consumed: 2 });
        for partial in [&b""[..], b"NO", b"NOOP\r"] {
            assert_eq!(find_line(partial), Line::Partial);
        }
        let bare = |consumed, ended| Line::Flawed { flaw: Flaw::Bare, consumed, ended };
        assert_eq!(find_line(b"NOOP\n"), bare(5, false));
        assert_eq!(find_line(b"NOOP\nQUIT\r\nRSET\r\n"), bare(11, true));
        assert_eq!(find_line(b"NO\rOP\r"), bare(5, false));
        assert_eq!(find_line(b"NOOP\r\r\n"), bare(7, true));
        assert_eq!(find_line(b"\n\r\n"), bare(3, true));
    }

    #[test]
    fn the_longest_line_is_taken_and_one_more_is_not() {
        let mut input = vec![b'x'; LINE_BYTES_MAX - 2];
        input.extend(b"\r\n");
        assert!(matches!(find_line(&input), Line::Complete { .. }));
        for cut in 0..input.len() {
            assert_eq!(find_line(&input[..cut]), Line::Partial);
        }
        input.insert(0, b'x');
        let too_long = |consumed, ended| Line::Flawed { flaw: Flaw::TooLong, consumed, ended };
        assert_eq!(find_line(&input), too_long(LINE_BYTES_MAX + 1, true));
        assert_eq!(find_line(&input[..LINE_BYTES_MAX]), too_long(LINE_BYTES_MAX - 1, false));
    }

    #[test]
    fn skipping_stops_behind_the_first_line_end() {
        assert_eq!(skip_line(b"a\nb\rc\r\nd\r\n"), (7, true));
        assert_eq!(skip_line(b"\n"), (1, false));
        assert_eq!(skip_line(b"\r"), (0, false));
        assert_eq!(skip_line(b""), (0, false));
    }
}

//! Devices that cannot do better: lines that end with a bare LF, for ranges with `lenient = yes`.
//!
//! What comes out is as strict as ever (LAW 6): a command without CR and LF, a message in which
//! every CR and LF is part of a CRLF. Nothing bare is passed on, and nothing is refused for it.
//!
//! # What ends a message
//!
//! SMTP smuggling (threats 1) needs two machines that see the end of one message in two places: a
//! stranger writes `LF . LF` into his text, a relay that goes by CRLF passes it on as text, and a
//! receiver that also goes by LF takes what follows for commands of that relay. So it must not be
//! the text that decides what ends the text. Here it is the peer's manners before that: a bare LF
//! around the dot ends a message only if *every* line of the session so far, commands, DATA and the
//! text up to there, has ended with a bare LF. The first CRLF (or a CR in a command) shows that the
//! peer knows more than LF, and from then on, for the rest of the session, only CRLF.CRLF ends a
//! message; what is bare is text, and is mended. A relay says EHLO, MAIL, RCPT and DATA with CRLF
//! before the first byte of a stranger's, so no text can bring it back. A device that says all of
//! these with LF goes by LF, so in its text a dot behind an LF is doubled, or it could send no text
//! with a lone dot at all.
//!
//! CRLF.CRLF ends every message. A mixture (`LF . CRLF`) ends none: a device that mixes waits for
//! its answer until it is told 421. A bare CR ends nothing at all, neither a message nor a command;
//! several in a row are as one, and before an LF they belong to it (CR CR LF is the mark of a text
//! that was made fit for the network twice).
//!
//! Not here: what a command may look like ([`super::command`]), and CHUNKING, which is not offered
//! to these: a chunk is counted bytes, and mending changes their number.
//!
//! Read first: RFC 5321 §2.3.8, §4.1.1.4; [`super::data`].

use super::data::{DotReader, Piece, run};
use super::line::{Flaw, Line, find_line, skip_line};
use crate::limits::LINE_BYTES_MAX;
use memchr::{memchr, memchr2};

/// How a peer's lines may end, and how they have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manners {
    is_lenient: bool,
    /// Every line so far has ended with a bare LF; true before the first.
    is_bare: bool,
}

impl Manners {
    /// Nothing has been said.
    pub const fn new() -> Manners {
        Manners { is_lenient: false, is_bare: true }
    }

    /// What holds for this peer now.
    pub const fn set_lenient(&mut self, is_lenient: bool) {
        self.is_lenient = is_lenient;
    }

    /// True where bad lines are mended.
    pub const fn is_lenient(&self) -> bool {
        self.is_lenient
    }

    /// Finds the first line of `input`, as [`find_line`] does.
    pub fn find_line<'a>(&mut self, input: &'a [u8]) -> Line<'a> {
        if !self.is_lenient {
            self.is_bare = false;
            return find_line(input);
        }
        let window = input.get(..LINE_BYTES_MAX).unwrap_or(input);
        let Some(text) = memchr(b'\n', window).and_then(|feed| window.get(..feed)) else {
            if window.len() < LINE_BYTES_MAX {
                return Line::Partial;
            }
            self.is_bare = false;
            let (consumed, ended) = self.skip_line(input);
            return Line::Flawed { flaw: Flaw::TooLong, consumed, ended };
        };
        let consumed = text.len() + 1;
        let returns = text.iter().rev().take_while(|byte| **byte == b'\r').count();
        self.is_bare &= returns == 0;
        let text = text.get(..text.len() - returns).unwrap_or_default();
        match memchr(b'\r', text) {
            // Taken for a line end it would be a second command, which nobody has ended.
            Some(_) => {
                self.is_bare = false;
                Line::Flawed { flaw: Flaw::Bare, consumed, ended: true }
            }
            None => Line::Complete { text, consumed },
        }
    }

    /// How much of `input` belongs to a line that is being skipped, and whether its end was there.
    pub fn skip_line(&self, input: &[u8]) -> (usize, bool) {
        match memchr(b'\n', input) {
            _ if !self.is_lenient => skip_line(input),
            Some(feed) => (feed + 1, true),
            None => (input.len(), false),
        }
    }

    /// A reader for the message that follows the 354.
    pub const fn reader(&self) -> MessageReader {
        match self.is_lenient {
            true => {
                MessageReader::Lenient(LenientReader { is_bare: self.is_bare, line_start: true })
            }
            false => MessageReader::Strict(DotReader::new()),
        }
    }

    /// The message has ended.
    pub const fn learn(&mut self, reader: &MessageReader) {
        if let MessageReader::Lenient(reader) = reader {
            self.is_bare = reader.is_bare;
        }
    }
}

impl Default for Manners {
    fn default() -> Self {
        Self::new()
    }
}

/// What a peer sends between 354 and the final dot, by its manners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageReader {
    /// What is bare is told.
    Strict(DotReader),
    /// What is bare is mended.
    Lenient(LenientReader),
}

impl MessageReader {
    /// Takes a prefix of `input`; gives its length and what it was.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        match self {
            MessageReader::Strict(reader) => reader.step(input),
            MessageReader::Lenient(reader) => reader.step(input),
        }
    }

    /// True if a CR or LF on its own has been met and is not mended.
    pub const fn is_bare(&self) -> bool {
        match self {
            MessageReader::Strict(reader) => reader.is_bare(),
            MessageReader::Lenient(_) => false,
        }
    }
}

/// Reads and mends a message; the module's head says what ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LenientReader {
    /// As [`Manners`] has it.
    is_bare: bool,
    line_start: bool,
}

const LINE_END: &[u8] = b"\r\n";

impl LenientReader {
    /// Takes a prefix of `input`; gives its length and what it was. [`Piece::Bare`]: nothing, a CR
    /// that belongs to the next one.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        let dots = match input {
            [] => return (0, Piece::More),
            _ if !self.line_start => 0,
            [b'.', b'\n', ..] if self.is_bare => return (2, Piece::End),
            [b'.', b'\r', b'\n', ..] if !self.is_bare => return (3, Piece::End),
            [b'.'] | [b'.', b'\r'] => return (0, Piece::More),
            // RFC 5321 §4.5.2: there is more on the line, so the first dot goes.
            [b'.', ..] => 1,
            _ => 0,
        };
        let (taken, piece) = self.step_text(input.get(dots..).unwrap_or_default());
        debug_assert!(dots == 0 || piece != Piece::More);
        (dots + taken, piece)
    }

    /// The longest run at the beginning of `text` that is message as it stands, or a line end.
    fn step_text<'a>(&mut self, text: &'a [u8]) -> (usize, Piece<'a>) {
        let mut end = 0;
        self.line_start = false;
        while let Some(at) = memchr2(b'\r', b'\n', text.get(end..).unwrap_or_default()) {
            end += at;
            match text.get(end..).unwrap_or_default() {
                // A dot behind the CRLF, or nothing yet: the run ends at the line.
                [b'\r', b'\n'] | [b'\r', b'\n', b'.', ..] => {
                    (self.is_bare, self.line_start) = (false, true);
                    return run(text, end + 2);
                }
                [b'\r', b'\n', ..] => {
                    self.is_bare = false;
                    end += 2;
                }
                // What is bare is mended when it stands first.
                _ if end > 0 => return run(text, end),
                // What this is shows behind it.
                [b'\r'] => return (0, Piece::More),
                [b'\r', b'\r', ..] => return (1, Piece::Bare),
                [b'\r', ..] => return (1, Piece::Bytes(LINE_END)),
                _ => {
                    self.line_start = self.is_bare;
                    return (1, Piece::Bytes(LINE_END));
                }
            }
        }
        run(text, text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::data::{DotWriter, FINISH_BYTES_MAX};

    /// What a reader makes of `segments`: the message, and what came behind its end.
    fn read(is_bare: bool, segments: &[&[u8]]) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut reader = LenientReader { is_bare, line_start: true };
        let (mut message, mut held) = (Vec::new(), Vec::new());
        for (number, segment) in segments.iter().enumerate() {
            held.extend_from_slice(segment);
            loop {
                let (consumed, piece) = reader.step(&held);
                match piece {
                    Piece::Bytes(bytes) => {
                        assert!(!bytes.is_empty());
                        message.extend_from_slice(bytes);
                    }
                    Piece::Bare => assert!(consumed > 0),
                    Piece::More => break,
                    Piece::End => {
                        held.drain(..consumed);
                        held.extend(segments.iter().skip(number + 1).flat_map(|rest| rest.iter()));
                        return (message, Some(held));
                    }
                }
                held.drain(..consumed);
            }
            assert!(held.len() <= 2, "{held:?}");
        }
        (message, None)
    }

    /// The same by the letter of the module's head, line after line.
    fn read_slowly(mut is_bare: bool, input: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut message, mut at, mut line_start) = (Vec::new(), 0, true);
        loop {
            let rest = &input[at..];
            if line_start && (rest.starts_with(b".\n") && is_bare) {
                return (message, Some(rest[2..].to_vec()));
            }
            if line_start && (rest.starts_with(b".\r\n") && !is_bare) {
                return (message, Some(rest[3..].to_vec()));
            }
            at += usize::from(line_start && rest.starts_with(b"."));
            let rest = &input[at..];
            let length = rest.iter().position(|byte| b"\r\n".contains(byte));
            let Some(length) = length else {
                message.extend_from_slice(rest);
                return (message, None);
            };
            message.extend_from_slice(&rest[..length]);
            let returns = rest[length..].iter().take_while(|byte| **byte == b'\r').count();
            let is_fed = rest[length + returns..].starts_with(b"\n");
            message.extend_from_slice(b"\r\n");
            is_bare &= !is_fed || returns == 0;
            line_start = is_fed && (is_bare || returns > 0);
            at += length + returns + usize::from(is_fed);
        }
    }

    fn every_string(length: u32, stride: u32, mut check: impl FnMut(&[u8])) {
        for number in (0..4u32.pow(length)).step_by(stride as usize) {
            let letter = |place: u32| b"\r\n.x"[(number >> (2 * place)) as usize % 4];
            check(&(0..length).map(letter).collect::<Vec<u8>>());
        }
    }

    /// Threats 1. Strings of eight and nine are sampled here, by strides prime to four.
    #[test]
    fn a_message_ends_where_the_head_says() {
        (0..=7).for_each(|length| ends_where_it_should(length, 1));
        ends_where_it_should(8, 7);
        ends_where_it_should(9, 31);
    }

    #[test]
    #[ignore = "all strings of eight and nine take half a minute; the test above samples them"]
    fn a_long_message_ends_where_the_head_says() {
        ends_where_it_should(8, 1);
        ends_where_it_should(9, 1);
    }

    fn ends_where_it_should(length: u32, stride: u32) {
        every_string(length, stride, |middle| {
            let input = [middle, b"\r\n.\r\nQUIT\n.\n"].concat();
            for is_bare in [false, true] {
                let expected = read_slowly(is_bare, &input);
                assert!(is_clean(&expected.0));
                for split in 0..input.len() {
                    let (one, other) = input.split_at(split);
                    assert_eq!(read(is_bare, &[one, other]), expected, "{middle:?} {split}");
                }
            }
        });
    }

    /// To whom once said CRLF only CRLF.CRLF is an end, so the two sides always agree on it.
    #[test]
    fn no_text_ends_the_message_of_a_peer_that_says_crlf() {
        for length in 0..=7 {
            every_string(length, 1, |middle| {
                let input = [b"x", middle, b"\r\n.\r\nMAIL"].concat();
                let end = input.windows(5).position(|five| five == b"\r\n.\r\n").unwrap();
                assert_eq!(read(false, &[&input]).1.unwrap(), input[end + 5..]);
            });
        }
    }

    /// A device that goes by LF doubles each dot behind one: nothing in its text is an end.
    #[test]
    fn no_text_ends_the_message_of_a_peer_that_doubles_its_dots() {
        for length in 0..=7 {
            every_string(length, 1, |text| {
                let mut sent = Vec::new();
                for line in text.split_inclusive(|byte| *byte == b'\n') {
                    sent.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
                    sent.extend_from_slice(line);
                }
                let (_, behind) = read(true, &[&sent]);
                assert_eq!(behind, None, "{text:?}");
                sent.extend_from_slice(b"\n.\nMAIL");
                let (message, behind) = read(true, &[&sent]);
                match sent.windows(2).any(|two| two == b"\r\n") {
                    // It mixes, and so has to end with CRLF.CRLF.
                    true => assert_eq!(behind, None),
                    false => assert_eq!(behind.unwrap(), b"MAIL"),
                }
                assert!(is_clean(&message));
            });
        }
    }

    /// However lenient the next hop is in turn, it finds one end, and there.
    #[test]
    fn the_next_hop_never_sees_two() {
        for length in 0..=7 {
            every_string(length, 1, |middle| {
                let input = [middle, b"\r\n.\r\n"].concat();
                for is_bare in [false, true] {
                    let (message, _) = read(is_bare, &[&input]);
                    let mut room = vec![0; 4 * message.len() + FINISH_BYTES_MAX];
                    let mut writer = DotWriter::new();
                    let (consumed, produced) = writer.push(&message, &mut room);
                    assert_eq!(consumed, message.len());
                    let finished = writer.finish(&mut room[produced..]);
                    let sent = [b"\r\n", &room[..produced + finished]].concat();
                    let lone = |end: &[u8]| sent.windows(end.len()).filter(|at| *at == end).count();
                    assert_eq!(lone(b"\n.\r"), 1, "{middle:?}");
                    assert_eq!(lone(b"\n.\n") + lone(b"\r.\r") + lone(b"\r.\n"), 0);
                    assert!(sent.ends_with(b"\r\n.\r\n") && is_clean(&sent));
                }
            });
        }
    }

    fn is_clean(text: &[u8]) -> bool {
        let mended = String::from_utf8_lossy(text).replace("\r\n", "");
        !mended.contains(['\r', '\n'])
    }

    #[test]
    fn text_is_mended() {
        for (is_bare, input, message) in [
            (true, &b"Subject: x\n\none\n.two\n..three\n.\n"[..], &b"one|two|.three|"[..]),
            (false, b"Subject: x\n\none\n.two\n..three\r\n.\r\n", b"one|.two|..three|"),
            (true, b"Subject: x\r\n\r\none\r\n.\r\n", b"one|"),
            (false, b"Subject: x\r\r\n\r\r\none\r\r\n.\r\n", b"one|"),
            (false, b"Subject: x\r\n\none\rtwo\r\rthree\r\n.\r\n", b"one|two|three|"),
        ] {
            let expected = [b"Subject: x||", message].concat();
            let expected = String::from_utf8(expected).unwrap().replace('|', "\r\n");
            let found = read(is_bare, &[input]);
            assert_eq!(String::from_utf8(found.0).unwrap(), expected);
            assert_eq!(found.1, Some(Vec::new()));
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            assert_eq!(read(is_bare, &bytes).0, expected.as_bytes());
        }
    }

    #[test]
    fn command_lines() {
        let mut manners = Manners::new();
        manners.set_lenient(true);
        let line = |text: &'static [u8], consumed| Line::Complete { text, consumed };
        assert_eq!(manners.find_line(b"NOOP"), Line::Partial);
        assert_eq!(manners.find_line(b"NOOP\r"), Line::Partial);
        assert_eq!(manners.find_line(b"NOOP\nQUIT\r\n"), line(b"NOOP", 5));
        assert_eq!(manners.find_line(b"\n\r\n"), line(b"", 1));
        assert!(manners.is_bare);
        let bare = Line::Flawed { flaw: Flaw::Bare, consumed: 6, ended: true };
        assert_eq!(manners.find_line(b"NO\rOP\n\n"), bare);
        for text in [&b"NOOP\r\n"[..], b"NOOP\r\r\n", b"NO\rOP\n", &[b'x'; LINE_BYTES_MAX]] {
            let mut manners = Manners { is_lenient: true, is_bare: true };
            assert!(manners.find_line(text) != Line::Partial && !manners.is_bare);
        }
        assert_eq!(manners.skip_line(b"xx\nNOOP"), (3, true));
        assert_eq!(manners.skip_line(b"xx\r"), (3, false));
    }
}

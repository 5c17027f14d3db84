//! The header of a queued message on its way to the next hop.
//!
//! [`Edit`] is a stream from the message as stored, which is as it was received, to the message as
//! sent: on top of it, ahead of its first byte, it puts the additions (mote's own Received field,
//! then what the sender left out of Date, Message-ID and From), and it leaves out Bcc and
//! Resent-Bcc fields with their folded lines. All other bytes pass as they are, in their order;
//! where there is nothing to remove, everything behind the additions is one plain copy. It goes on
//! at any byte, whichever side ran short.
//!
//! The additions are the caller's, made anew at each attempt (see `mail::stamp`): the Received
//! field names the message's number in the queue, which is not known while it is received.
//!
//! Which fields are missing, whether there is a Bcc, and whether there is a header at all was
//! measured when the message came in (`mail::header`).
//!
//! Fixed memory: the first bytes of a line, until they cannot be a Bcc field any more. Nothing
//! fails.
//!
//! Read first: RFC 5321 §4.4; RFC 5322 §2.2, §3.6.3 and §4.5.

use memchr::memchr;

/// One message on its way.
#[derive(Clone, Debug)]
pub struct Edit {
    remove_bcc: bool,
    separate: bool,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes of the additions, and of the empty line behind them, have been given.
    Additions { given: usize },
    /// At the start of a line of the header, these bytes of it held back.
    LineStart(Held),
    /// They were not what they might have been; so many have been given.
    Release { held: Held, given: usize, ends_header: bool },
    /// In a line that stays.
    Keep,
    /// In a line of a field that goes.
    Drop,
    /// At the start of the line behind one.
    DropLineStart,
    /// Everything else is copied.
    Body,
}

/// The fields that nobody else may see.
const DROPPED: [&[u8]; 2] = [b"bcc", b"resent-bcc"];
/// The longest of them.
const HELD_BYTES_MAX: usize = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    bytes: [u8; HELD_BYTES_MAX],
    length: usize,
}

impl Held {
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn is_dropped_name(&self) -> bool {
        DROPPED.iter().any(|name| name.eq_ignore_ascii_case(self.as_slice()))
    }

    fn begins_dropped_name(&self) -> bool {
        let begins = |name: &&[u8]| {
            name.get(..self.length).is_some_and(|name| name.eq_ignore_ascii_case(self.as_slice()))
        };
        DROPPED.iter().any(begins)
    }
}

/// What has not been read, and what has been written.
struct Ends<'a, 'b> {
    input: &'a [u8],
    output: &'b mut [u8],
    produced: usize,
}

impl Ends<'_, '_> {
    /// Writes as much of `bytes` as has room, and tells how much.
    fn give(&mut self, bytes: &[u8]) -> usize {
        let room = self.output.get_mut(self.produced..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..count), bytes.get(..count)) {
            room.copy_from_slice(bytes);
        }
        self.produced += count;
        count
    }

    /// Copies as much of the next `count` bytes as has room, and tells how much.
    fn copy(&mut self, count: usize) -> usize {
        let input = self.input;
        let copied = self.give(input.get(..count).unwrap_or(input));
        self.skip(copied);
        copied
    }

    /// Copies as much of the line under way as is there and has room.
    fn copy_line(&mut self) -> Line {
        let end = memchr(b'\n', self.input);
        let copied = self.copy(end.map_or(self.input.len(), |at| at + 1));
        if copied == 0 {
            Line::Stuck
        } else if end.is_some_and(|at| copied == at + 1) {
            Line::Ended
        } else {
            Line::Moved
        }
    }

    fn skip(&mut self, count: usize) {
        self.input = self.input.get(count..).unwrap_or_default();
    }
}

enum Line {
    Stuck,
    Moved,
    Ended,
}

impl Edit {
    /// At the start of a stored message. `separate`: the message has no header
    /// (`Traits::NO_HEADER`), so an empty line must come between the additions and its body.
    pub fn new(remove_bcc: bool, separate: bool) -> Edit {
        Edit { remove_bcc, separate, state: State::Additions { given: 0 } }
    }

    /// Edits `input` into `output`, which has at least 64 bytes; tells how many bytes were taken
    /// from the one and put into the other. `additions` are complete fields with their CRLF, at
    /// most 1.5 KiB and the same on every call; they come first, so without any input too.
    pub fn push(&mut self, input: &[u8], additions: &str, output: &mut [u8]) -> (usize, usize) {
        let mut ends = Ends { input, output, produced: 0 };
        while self.step(&mut ends, additions) {}
        (input.len() - ends.input.len(), ends.produced)
    }

    /// Puts what is still owed into `output` when the message has ended; tells how many bytes that
    /// was. To be called until it is 0.
    pub fn finish(&mut self, additions: &str, output: &mut [u8]) -> usize {
        let mut ends = Ends { input: &[], output, produced: 0 };
        loop {
            if let State::LineStart(held) = self.state {
                self.state = State::Release { held, given: 0, ends_header: true };
            }
            if !self.step(&mut ends, additions) {
                return ends.produced;
            }
        }
    }

    /// True from where on every byte is copied as it is.
    pub fn is_body(&self) -> bool {
        matches!(self.state, State::Body)
    }

    /// Goes on by a little; false if there is nothing to go on with, or no room.
    fn step(&mut self, ends: &mut Ends<'_, '_>, additions: &str) -> bool {
        match self.state {
            State::Additions { given } => self.step_additions(given, additions, ends),
            State::LineStart(held) => self.step_line_start(held, ends),
            State::Release { held, given, ends_header } => {
                let rest = held.as_slice().get(given..).unwrap_or_default();
                let now = ends.give(rest);
                self.state = match (now == rest.len(), ends_header) {
                    (true, true) => State::Body,
                    (true, false) => State::Keep,
                    _ => State::Release { held, given: given + now, ends_header },
                };
                now > 0 || rest.is_empty()
            }
            State::Keep => {
                let line = ends.copy_line();
                if matches!(line, Line::Ended) {
                    self.state = State::LineStart(Held::default());
                }
                !matches!(line, Line::Stuck)
            }
            State::Drop => {
                let end = memchr(b'\n', ends.input);
                ends.skip(end.map_or(ends.input.len(), |at| at + 1));
                if end.is_some() {
                    self.state = State::DropLineStart;
                }
                end.is_some()
            }
            State::DropLineStart => {
                let Some(first) = ends.input.first() else { return false };
                // RFC 5322 §2.2.3: a folded line belongs to the field above it.
                let folded = matches!(first, b' ' | b'\t');
                self.state = if folded { State::Drop } else { State::LineStart(Held::default()) };
                true
            }
            State::Body => ends.copy(ends.input.len()) > 0,
        }
    }

    fn step_additions(&mut self, given: usize, additions: &str, ends: &mut Ends<'_, '_>) -> bool {
        let additions = additions.as_bytes();
        let separator: &[u8] = if self.separate { b"\r\n" } else { b"" };
        let rest = match additions.get(given..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => separator.get(given.saturating_sub(additions.len())..).unwrap_or_default(),
        };
        if rest.is_empty() {
            let header_goes_on = self.remove_bcc && !self.separate;
            self.state =
                if header_goes_on { State::LineStart(Held::default()) } else { State::Body };
            return true;
        }
        let now = ends.give(rest);
        self.state = State::Additions { given: given + now };
        now > 0
    }

    fn step_line_start(&mut self, mut held: Held, ends: &mut Ends<'_, '_>) -> bool {
        let Some(byte) = ends.input.first().copied() else { return false };
        let first = held.length == 0;
        let after_return = held.as_slice() == b"\r";
        if byte == b'\n' && (first || after_return) {
            held.push(byte);
            ends.skip(1);
            self.state = State::Release { held, given: 0, ends_header: true };
            return true;
        }
        // Space ahead of the colon is obsolete, but must be understood (RFC 5322 §4.5). Whatever
        // else may follow it: rather a line too few than a secret told.
        if held.is_dropped_name() && matches!(byte, b':' | b' ' | b'\t') {
            self.state = State::Drop;
            return true;
        }
        let mut longer = held;
        longer.push(byte);
        let grown = longer.length > held.length;
        if (byte == b'\r' && first) || (grown && longer.begins_dropped_name()) {
            ends.skip(1);
            self.state = State::LineStart(longer);
        } else {
            self.state = State::Release { held, given: 0, ends_header: false };
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDITIONS: &str = "Received: by a-host-with-a-name.example\r\n\tid 1;\r\n\tnow\r\n\
                             Date: now\r\nMessage-ID: <1.2@a-host-with-a-longish-name.example>\r\n";

    /// Edits `pieces` through outputs of `room` bytes.
    fn edit(remove_bcc: bool, separate: bool, pieces: &[&[u8]], room: usize) -> Vec<u8> {
        edit_below(ADDITIONS, remove_bcc, separate, pieces, room)
    }

    fn edit_below(
        additions: &str,
        remove_bcc: bool,
        separate: bool,
        pieces: &[&[u8]],
        room: usize,
    ) -> Vec<u8> {
        let mut edit = Edit::new(remove_bcc, separate);
        let mut output = vec![0; room];
        let mut whole = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (consumed, produced) = edit.push(rest, additions, &mut output);
                assert!(consumed + produced > 0, "no progress");
                whole.extend_from_slice(&output[..produced]);
                rest = &rest[consumed..];
            }
        }
        loop {
            let produced = edit.finish(additions, &mut output);
            if produced == 0 {
                return whole;
            }
            whole.extend_from_slice(&output[..produced]);
        }
    }

    /// Checks every cut in two, by the byte, and with small outputs.
    fn check(remove_bcc: bool, separate: bool, message: &str, expected: &str) {
        let stored = message.as_bytes();
        let expected = format!("{ADDITIONS}{expected}");
        let same = |pieces: &[&[u8]], room| {
            let edited = edit(remove_bcc, separate, pieces, room);
            assert_eq!(String::from_utf8_lossy(&edited), expected);
        };
        for room in [64, 65, 100, 4096] {
            same(&[stored], room);
            same(&stored.chunks(1).collect::<Vec<_>>(), room);
            for at in 0..=stored.len() {
                same(&[&stored[..at], &stored[at..]], room);
            }
        }
        // Less than is promised, but the state must not suffer from it.
        same(&[stored], 1);
    }

    #[test]
    fn additions_come_on_top() {
        for message in [
            "To: x\r\n\r\nbody\r\n",
            "Received: by another\r\n\ta\r\n\tb\r\nTo: x\r\n\r\n",
            "\r\nbody\r\n",
            "",
            "To: x\r\n",
            "To: x",
        ] {
            check(false, false, message, message);
            check(true, false, message, message);
        }
    }

    #[test]
    fn additions_come_without_input() {
        let mut output = [0; 4096];
        let mut edit = Edit::new(true, false);
        assert_eq!(edit.push(b"", ADDITIONS, &mut output), (0, ADDITIONS.len()));
        assert_eq!(edit.push(b"", ADDITIONS, &mut output), (0, 0));
        assert_eq!(edit.push(b"A: b\r\n", ADDITIONS, &mut output), (6, 6));
        assert_eq!(edit.finish(ADDITIONS, &mut output), 0);
    }

    #[test]
    fn additions_may_be_long() {
        let additions = format!("Received: {}\r\n", "x\r\n\t".repeat(381));
        assert_eq!(additions.len(), 1536);
        for room in [64, 100, 1535, 1536, 1537, 4096] {
            for (separate, between) in [(false, ""), (true, "\r\n")] {
                let message = b"To: x\r\nBcc: y\r\n\r\nbody\r\n";
                let edited = edit_below(&additions, false, separate, &[message], room);
                assert_eq!(edited, [additions.as_bytes(), between.as_bytes(), message].concat());
            }
        }
    }

    #[test]
    fn a_message_without_a_header_gets_an_empty_line() {
        for message in ["hello\r\n", " folded\r\n", "Bcc\r\n", "hello"] {
            check(false, true, message, &format!("\r\n{message}"));
            check(true, true, message, &format!("\r\n{message}"));
        }
    }

    #[test]
    fn blind_copies_are_removed() {
        let end = "\r\nBcc: body\r\n";
        for (message, expected) in [
            ("To: a\r\nBcc: b\r\nCc: c\r\n", "To: a\r\nCc: c\r\n"),
            ("BCC: b\r\n\tb\r\n b: b\r\nCc: c\r\n", "Cc: c\r\n"),
            ("Bcc: a\r\nbcc: b\r\nResent-Bcc: c\r\nresent-BCC:\r\n d\r\n", ""),
            ("Bcc : a\r\nBcc\t: b\r\nA: b\r\n", "A: b\r\n"),
            (
                "Bccc: a\r\nBc: b\r\nB:\r\nResent-Bc: c\r\n",
                "Bccc: a\r\nBc: b\r\nB:\r\nResent-Bc: c\r\n",
            ),
            ("Resent-To: a\r\nRe: b\r\nX-Bcc: c\r\n", "Resent-To: a\r\nRe: b\r\nX-Bcc: c\r\n"),
            ("To: a\r\n Bcc: b\r\n", "To: a\r\n Bcc: b\r\n"),
            ("Bcc\r\nno field\r\n", "Bcc\r\nno field\r\n"),
        ] {
            check(true, false, &format!("{message}{end}"), &format!("{expected}{end}"));
            check(false, false, &format!("{message}{end}"), &format!("{message}{end}"));
        }
    }

    #[test]
    fn a_message_may_end_anywhere() {
        for message in ["B", "bcc", "To: a\r\nResent-Bcc", "\r", "A\r"] {
            check(true, false, message, message);
        }
        for message in ["Bcc:", "Bcc: a", "Bcc: a\r\n", "Bcc: a\r\n b"] {
            check(true, false, message, "");
        }
    }

    #[test]
    fn the_body_is_told() {
        let mut output = [0; 4096];
        let mut edit = Edit::new(true, false);
        edit.push(b"To: x\r\n", ADDITIONS, &mut output);
        assert!(!edit.is_body());
        edit.push(b"\r\n", ADDITIONS, &mut output);
        assert!(edit.is_body());
        let mut edit = Edit::new(false, false);
        edit.push(b"T", ADDITIONS, &mut output);
        assert!(edit.is_body());
    }

    #[test]
    fn without_additions_and_removals_nothing_changes() {
        let message = b"Received: a\r\n b\r\nBcc: c\r\n\r\nbody\r\n.\r\n";
        let mut edit = Edit::new(false, false);
        let mut output = [0; 4096];
        let (consumed, produced) = edit.push(message, "", &mut output);
        assert_eq!(consumed, message.len());
        assert_eq!(&output[..produced], message);
        assert_eq!(edit.finish("", &mut output), 0);
    }
}

//! Dot-stuffing, both ways: [`DotReader`] takes the dots out of what a peer sends after DATA and
//! finds its end, [`DotWriter`] puts them into what goes to the next hop and ends it.
//!
//! Only CRLF.CRLF ends a message (RFC 5321 §4.1.1.4, threats 1). Neither end looks at what the
//! message says, and neither collects a line: a line may have any length.
//!
//! Invariants: what the reader gives out are slices of its input, as long as they can be. A CR or
//! LF on its own is told, and never takes part in an end. The writer puts a dot before a dot behind
//! *every* LF, so that even damaged bytes cannot end a message early at a lenient next hop.
//!
//! Read first: RFC 5321 §4.5.2, §2.3.8, §4.1.1.4.

use memchr::{memchr, memchr2};

/// What a peer sends between 354 and the final dot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DotReader {
    line_start: bool,
    bare: bool,
}

/// What [`DotReader::step`] found at the beginning of its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// Bytes of the message, never none.
    Bytes(&'a [u8]),
    /// The first CR or LF on its own; told once. The message cannot be taken, but its end is still
    /// to be found. What comes after this may hold more of them.
    Bare,
    /// The final dot with its CRLF.
    End,
    /// Nothing can be said before more input has come; at most two bytes stay unconsumed.
    More,
}

impl DotReader {
    /// A reader right behind the 354. The beginning counts as the beginning of a line.
    pub const fn new() -> DotReader {
        DotReader { line_start: true, bare: false }
    }

    /// True if a CR or LF on its own has been met.
    pub const fn is_bare(&self) -> bool {
        self.bare
    }

    /// Takes a prefix of `input`; gives its length and what it was.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        let dots = match input {
            [] => return (0, Piece::More),
            _ if !self.line_start => 0,
            [b'.', b'\r', b'\n', ..] => return (3, Piece::End),
            [b'.'] | [b'.', b'\r'] => return (0, Piece::More),
            // RFC 5321 §4.5.2: there is more on the line, so the first dot goes.
            [b'.', ..] => 1,
            _ => 0,
        };
        // More behind a dot that went would take the dot alone; but then something follows it.
        let (taken, piece) = self.step_text(input.get(dots..).unwrap_or_default());
        debug_assert!(dots == 0 || piece != Piece::More);
        (dots + taken, piece)
    }

    /// The longest run at the beginning of `text` that is message as it stands.
    fn step_text<'a>(&mut self, text: &'a [u8]) -> (usize, Piece<'a>) {
        let mut end = 0;
        self.line_start = false;
        while let Some(at) = memchr2(b'\r', b'\n', text.get(end..).unwrap_or_default()) {
            end += at;
            match text.get(end..).unwrap_or_default() {
                // A dot behind the CRLF, or nothing yet: the run ends at the line.
                [b'\r', b'\n'] | [b'\r', b'\n', b'.', ..] => {
                    self.line_start = true;
                    return run(text, end + 2);
                }
                [b'\r', b'\n', ..] => end += 2,
                // Its LF may be next.
                [b'\r'] => return run(text, end),
                _ if self.bare => end += 1,
                _ if end > 0 => return run(text, end),
                _ => {
                    self.bare = true;
                    return (1, Piece::Bare);
                }
            }
        }
        run(text, text.len())
    }
}

impl Default for DotReader {
    fn default() -> Self {
        Self::new()
    }
}

/// What stands before `end`, as a piece.
pub(super) fn run(text: &[u8], end: usize) -> (usize, Piece<'_>) {
    match text.get(..end) {
        None | Some([]) => (0, Piece::More),
        Some(bytes) => (end, Piece::Bytes(bytes)),
    }
}

/// What goes out between the next hop's 354 and its last word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DotWriter {
    last: Last,
}

/// The byte before the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Last {
    /// The LF of a CRLF, or nothing at all: a line begins.
    LineEnd,
    /// An LF without CR, so no line end, but a lenient next hop may take it for one.
    Feed,
    Return,
    Other,
}

/// The most that [`DotWriter::finish`] writes.
pub const FINISH_BYTES_MAX: usize = 5;

impl DotWriter {
    /// A writer right behind the 354.
    pub const fn new() -> DotWriter {
        DotWriter { last: Last::LineEnd }
    }

    /// Copies `input` into `output`, stuffed, as far as there is room; gives how much was taken and
    /// how much was written. Room for one byte may not be enough to go on, room for two always is.
    pub fn push(&mut self, input: &[u8], output: &mut [u8]) -> (usize, usize) {
        let mut consumed = 0;
        let mut produced = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let room = output.get_mut(produced..).unwrap_or_default();
            let behind_feed = matches!(self.last, Last::LineEnd | Last::Feed);
            if behind_feed && rest.first() == Some(&b'.') {
                let Some(dots) = room.first_chunk_mut() else { break };
                *dots = *b"..";
                self.last = Last::Other;
                consumed += 1;
                produced += 2;
                continue;
            }
            let text = rest.get(..plain(rest, room.len())).unwrap_or_default();
            let Some(room) = room.get_mut(..text.len()) else { break };
            self.last = match text {
                [] => break,
                [b'\n'] if self.last == Last::Return => Last::LineEnd,
                [.., b'\r', b'\n'] => Last::LineEnd,
                [.., b'\n'] => Last::Feed,
                [.., b'\r'] => Last::Return,
                _ => Last::Other,
            };
            room.copy_from_slice(text);
            consumed += text.len();
            produced += text.len();
        }
        (consumed, produced)
    }

    /// Ends the message: its last CRLF if it lacks one, then the final dot. Gives how much was
    /// written; nothing when `output` has no room for [`FINISH_BYTES_MAX`].
    pub fn finish(&mut self, output: &mut [u8]) -> usize {
        let end: &[u8] = match self.last {
            Last::LineEnd => b".\r\n",
            Last::Return => b"\n.\r\n",
            Last::Feed | Last::Other => b"\r\n.\r\n",
        };
        match output.get_mut(..FINISH_BYTES_MAX).and_then(|room| room.get_mut(..end.len())) {
            Some(room) => room.copy_from_slice(end),
            None => return 0,
        }
        *self = DotWriter::new();
        end.len()
    }
}

impl Default for DotWriter {
    fn default() -> Self {
        Self::new()
    }
}

/// How much at the beginning of `text`, at most `room`, has no dot behind an LF.
fn plain(text: &[u8], room: usize) -> usize {
    let text = text.get(..room).unwrap_or(text);
    let mut end = 0;
    while let Some(feed) = memchr(b'\n', text.get(end..).unwrap_or_default()) {
        end += feed + 1;
        if text.get(end) == Some(&b'.') {
            return end;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader makes of `segments`: the message, whether it was bare, and what came behind.
    #[derive(PartialEq, Eq, Debug)]
    struct Read {
        message: Vec<u8>,
        bare: bool,
        behind: Option<Vec<u8>>,
    }

    fn read(segments: &[&[u8]]) -> Read {
        let mut reader = DotReader::new();
        let mut read = Read { message: Vec::new(), bare: false, behind: None };
        let mut held = Vec::new();
        for segment in segments {
            held.extend_from_slice(segment);
            while read.behind.is_none() {
                let (consumed, piece) = reader.step(&held);
                match piece {
                    Piece::Bytes(bytes) => read.message.extend_from_slice(bytes),
                    Piece::Bare => read.bare = true,
                    Piece::End => read.behind = Some(Vec::new()),
                    Piece::More => break,
                }
                held.drain(..consumed);
            }
        }
        assert_eq!(read.bare, reader.is_bare());
        match &mut read.behind {
            Some(behind) => *behind = held,
            None => assert!(held.len() <= 2, "{held:?}"),
        }
        read
    }

    /// The same by the letter of the standard, one byte at a time.
    fn read_slowly(input: &[u8]) -> Read {
        let mut whole = b"\r\n".to_vec();
        whole.extend_from_slice(input);
        let end = whole.windows(5).position(|five| five == b"\r\n.\r\n");
        let text = &whole[..end.map_or(whole.len(), |end| end + 2)];
        let mut read = Read { message: Vec::new(), bare: false, behind: None };
        read.behind = end.map(|end| whole[end + 5..].to_vec());
        for at in 2..text.len() {
            let before = text[at - 1];
            match text[at] {
                b'.' if text[..at].ends_with(b"\r\n") => continue,
                b'\n' if before != b'\r' => read.bare = true,
                b'\r' if text.get(at + 1).is_some_and(|next| *next != b'\n') => read.bare = true,
                _ => (),
            }
            read.message.push(text[at]);
        }
        read
    }

    /// Calls `check` with every string of `length` over CR, LF, dot and x; of long ones every
    /// `stride`-th.
    fn every_string(length: u32, stride: u32, mut check: impl FnMut(&[u8])) {
        for number in (0..4u32.pow(length)).step_by(stride as usize) {
            let letter = |place: u32| b"\r\n.x"[(number >> (2 * place)) as usize % 4];
            check(&(0..length).map(letter).collect::<Vec<u8>>());
        }
    }

    /// Threats 1. Strings of eight and nine are sampled here, by strides prime to four.
    #[test]
    fn nothing_but_the_final_dot_ends_a_message() {
        (0..=7).for_each(|length| only_the_final_dot_ends(length, 1));
        only_the_final_dot_ends(8, 7);
        only_the_final_dot_ends(9, 31);
    }

    #[test]
    #[ignore = "all strings of eight and nine take ten seconds; the test above samples them"]
    fn nothing_but_the_final_dot_ends_a_long_message() {
        only_the_final_dot_ends(8, 1);
        only_the_final_dot_ends(9, 1);
    }

    fn only_the_final_dot_ends(length: u32, stride: u32) {
        every_string(length, stride, |middle| {
            let input = [middle, b"\r\n.\r\nQUIT\r\n"].concat();
            let expected = read_slowly(&input);
            for split in 0..input.len() {
                let (one, other) = input.split_at(split);
                let found = read(&[one, other]);
                assert_eq!(found.bare, expected.bare, "{middle:?} at {split}");
                assert_eq!(found.behind, expected.behind, "{middle:?} at {split}");
                // A refused message may be incomplete; one that is taken may not.
                assert!(found.bare || found.message == expected.message, "{middle:?} {split}");
            }
        });
    }

    #[test]
    fn every_byte_alone_reads_the_same() {
        for length in 0..=6 {
            every_string(length, 1, |middle| {
                let input = [middle, b"\r\n.\r\n"].concat();
                let bytes: Vec<&[u8]> = input.chunks(1).collect();
                assert_eq!(read(&bytes).behind, read(&[&input]).behind);
                assert_eq!(read(&bytes).message, read(&[&input]).message);
            });
        }
    }

    #[test]
    fn ordinary_text_comes_out_as_one_run() {
        let text = b"Fifty-nine letters and more of ordinary text on every line.\r\n".repeat(64);
        let mut reader = DotReader::new();
        assert_eq!(reader.step(&text), (text.len(), Piece::Bytes(&text)));
        let line = vec![b'x'; 4096];
        assert_eq!(reader.step(&line), (line.len(), Piece::Bytes(&line)));
        assert_eq!(reader.step(b"\r\n.\r\n"), (2, Piece::Bytes(b"\r\n")));
        assert_eq!(reader.step(b".\r\n"), (3, Piece::End));
    }

    fn write(input: &[u8], split: usize, room: usize) -> Vec<u8> {
        let mut writer = DotWriter::new();
        let mut written = Vec::new();
        for segment in [&input[..split], &input[split..]] {
            let mut rest = segment;
            while !rest.is_empty() {
                let mut output = vec![0; room];
                let (consumed, produced) = writer.push(rest, &mut output);
                assert!(consumed > 0);
                written.extend_from_slice(&output[..produced]);
                rest = &rest[consumed..];
            }
        }
        let mut output = [0; FINISH_BYTES_MAX];
        assert_eq!(writer.finish(&mut output[..4]), 0);
        let produced = writer.finish(&mut output);
        written.extend_from_slice(&output[..produced]);
        written
    }

    #[test]
    fn what_is_written_is_read_again() {
        for length in 0..=6 {
            every_string(length, 1, |message| {
                let whole = write(message, 0, 64);
                for split in 0..=message.len() {
                    assert_eq!(write(message, split, 2), whole);
                }
                let found = read(&[&whole]);
                assert_eq!(found.behind, Some(Vec::new()));
                if !found.bare {
                    let lines = found.message.strip_suffix(b"\r\n").unwrap_or_default();
                    let sent = message.strip_suffix(b"\r\n").unwrap_or(message);
                    assert_eq!(lines, sent.strip_suffix(b"\r").unwrap_or(sent));
                }
                // Even a next hop that takes a lone LF for a line end finds the end at the end.
                let lenient = whole.windows(2).filter(|two| two == b"\n.").count();
                let doubled = whole.windows(3).filter(|three| three == b"\n..").count();
                assert!(lenient - doubled <= 1);
            });
        }
    }

    #[test]
    fn endings() {
        assert_eq!(write(b"", 0, 64), b".\r\n");
        assert_eq!(write(b"x", 0, 64), b"x\r\n.\r\n");
        assert_eq!(write(b"x\r\n", 0, 64), b"x\r\n.\r\n");
        assert_eq!(write(b".\r\n.", 0, 64), b"..\r\n..\r\n.\r\n");
    }
}

//! The message on its way through: read from stdin, held as far as the header needs, streamed on.
//!
//! [`Message::read_from`] holds the first [`HELD_BYTES_MAX`] bytes; an ordinary mail is whole by
//! then, and the daemon is only called when there is something to give it. What comes out
//! ([`BufRead`]) has CRLF line ends; a line with a lone dot ends it, unless told otherwise; a
//! leading `From ` line of mbox is gone; and an empty line stands between header and body even
//! where the caller forgot it. Nothing else is changed: missing fields, Bcc and the rest are the
//! daemon's.
//!
//! Memory is two fixed buffers, whatever the message's size. A message that must be read more than
//! once and is not whole in memory is first copied to a temporary file without a name.

use crate::mail::normal::Normalizer;
use memchr::{memchr, memchr_iter};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;

/// The most that is held of a message; where recipients are read from the header, the longest
/// header.
pub const HELD_BYTES_MAX: usize = 64 * 1024;
/// A From field, and an empty line.
const ADDED_BYTES: usize = 2048;
const RAW_BYTES: usize = 32 * 1024;

/// Raw bytes up to a line with a lone dot.
struct Dotted<R> {
    source: R,
    /// Whether a lone dot ends the message.
    active: bool,
    /// The next byte begins a line.
    at_line_start: bool,
    /// A dot, or a dot and a CR, that began a line at the end of the last read.
    undecided: Vec<u8>,
    is_ended: bool,
}

impl<R: Read> Dotted<R> {
    fn new(source: R, active: bool) -> Dotted<R> {
        Dotted { source, active, at_line_start: true, undecided: Vec::new(), is_ended: false }
    }
}

impl<R: Read> Read for Dotted<R> {
    /// `into` has room for some bytes more than are undecided.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !self.is_ended {
            let kept = self.undecided.len();
            let Some((front, room)) = into.split_at_mut_checked(kept) else { return Ok(0) };
            let count = match self.source.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            if count == 0 {
                // What is undecided now is a lone dot on a last line without an end.
                self.is_ended = true;
                break;
            }
            if !self.active {
                return Ok(count);
            }
            front.copy_from_slice(&self.undecided);
            let passed = self.pass(into.get(..kept + count).unwrap_or_default());
            if passed > 0 {
                return Ok(passed);
            }
        }
        Ok(0)
    }
}

impl<R> Dotted<R> {
    /// How much of `bytes`, which begin with what was undecided, is message.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        self.undecided.clear();
        let first = self.at_line_start.then_some(0);
        let starts = first.into_iter().chain(memchr_iter(b'\n', bytes).map(|feed| feed + 1));
        for start in starts {
            let line = bytes.get(start..).unwrap_or_default();
            match line {
                [b'.', b'\n', ..] | [b'.', b'\r', b'\n', ..] => {
                    self.is_ended = true;
                    return start;
                }
                [b'.'] | [b'.', b'\r'] => {
                    self.undecided.extend_from_slice(line);
                    self.at_line_start = true;
                    return start;
                }
                _ => {}
            }
        }
        self.at_line_start = bytes.last() == Some(&b'\n');
        bytes.len()
    }
}

/// Bytes with CRLF line ends.
struct Normal<R> {
    source: R,
    normalizer: Normalizer,
    raw: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Normal<R> {
    fn new(source: R) -> Normal<R> {
        let raw = vec![0; RAW_BYTES];
        Normal { source, normalizer: Normalizer::new(), raw, start: 0, end: 0 }
    }

    /// Fills `into`, which has room for two bytes, and tells how far; 0 at the end.
    fn fill(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.start == self.end {
                (self.start, self.end) = (0, self.source.read(&mut self.raw)?);
                if self.end == 0 {
                    return Ok(self.normalizer.finish(into));
                }
            }
            let waiting = self.raw.get(self.start..self.end).unwrap_or_default();
            let (consumed, produced) = self.normalizer.push(waiting, into);
            self.start += consumed;
            if produced > 0 {
                return Ok(produced);
            }
        }
    }
}

enum Rest<R> {
    /// All that was there is held.
    Nothing,
    /// More is to be read.
    Input(Box<Normal<Dotted<R>>>),
    /// All of it, the held bytes included, lies in a file.
    Kept(File),
}

/// A message, read from its beginning.
pub struct Message<R> {
    /// The window on it; at first its beginning.
    held: Vec<u8>,
    /// What of the window has been consumed.
    at: usize,
    /// Where the bytes in the window end.
    end: usize,
    rest: Rest<R>,
    header: Header,
}

/// What is known of the header when the message has been opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its length, without the empty line.
    pub len: usize,
    /// False: it goes on beyond what is held.
    pub is_whole: bool,
}

impl<R: Read> Message<R> {
    /// Reads up to the end or [`HELD_BYTES_MAX`], whichever comes first.
    pub fn read_from(source: R, dots_are_text: bool) -> io::Result<Message<R>> {
        let mut input = Box::new(Normal::new(Dotted::new(source, !dots_are_text)));
        // The rest is for what is put in.
        let mut held = vec![0; HELD_BYTES_MAX + ADDED_BYTES];
        held.truncate(HELD_BYTES_MAX);
        let mut end = 0;
        let rest = loop {
            match held.get_mut(end..) {
                Some(room) if room.len() >= 2 => match input.fill(room)? {
                    0 => break Rest::Nothing,
                    count => end += count,
                },
                _ => break Rest::Input(input),
            }
        };
        held.truncate(end);
        remove_mbox_line(&mut held);
        let header = separate(&mut held, matches!(rest, Rest::Nothing));
        let end = held.len();
        Ok(Message { held, at: 0, end, rest, header })
    }

    /// What the header is known to be.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The fields of the header as far as they are held; only before anything is consumed.
    pub fn fields(&self) -> &[u8] {
        self.held.get(..self.header.len).unwrap_or_default()
    }

    /// Puts `field`, a whole one with its CRLF, first; only before anything is consumed.
    pub fn prepend(&mut self, field: &[u8]) {
        self.held.splice(0..0, field.iter().copied());
        self.header.len += field.len();
        self.end = self.held.len();
    }

    /// Its length, if it is all in memory.
    pub fn size(&self) -> Option<usize> {
        matches!(self.rest, Rest::Nothing).then_some(self.end)
    }

    /// Makes sure that [`Message::rewind`] works, by a temporary file if need be.
    pub fn keep(&mut self) -> io::Result<()> {
        if !matches!(self.rest, Rest::Input(_)) {
            return Ok(());
        }
        let mut file = temporary_file()?;
        io::copy(self, &mut file)?;
        self.rest = Rest::Kept(file);
        self.rewind()
    }

    /// Back to the beginning, of a message that is whole in memory or kept.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.at = 0;
        if let Rest::Kept(file) = &mut self.rest {
            file.rewind()?;
            self.end = 0;
        }
        Ok(())
    }
}

impl<R: Read> BufRead for Message<R> {
    /// The next bytes of the message; none at its end.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.end && !matches!(self.rest, Rest::Nothing) {
            // Only now is nothing of a header kept any more.
            self.held.resize(HELD_BYTES_MAX, 0);
            (self.at, self.end) = (0, 0);
            self.end = match &mut self.rest {
                Rest::Nothing => 0,
                Rest::Input(input) => input.fill(&mut self.held)?,
                Rest::Kept(file) => file.read(&mut self.held)?,
            };
        }
        Ok(self.held.get(self.at..self.end).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at = self.end.min(self.at + count);
    }
}

impl<R: Read> Read for Message<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(into.len());
        if let (Some(from), Some(into)) = (bytes.get(..count), into.get_mut(..count)) {
            into.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}

/// A file that nobody else can open, and that is gone with this process.
fn temporary_file() -> io::Result<File> {
    let directory = std::env::temp_dir();
    // Two of the same process number cannot be at it at once; what a dead one left is passed over.
    for attempt in 0..100 {
        let path = directory.join(format!("mote-{}-{attempt}", std::process::id()));
        let mut options = OpenOptions::new();
        // Exclusive: neither a link nor a file that somebody has laid there is followed.
        match options.read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => return std::fs::remove_file(&path).map(|()| file),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// What programs that store in mbox format put first is no part of the message.
fn remove_mbox_line(held: &mut Vec<u8>) {
    let text = held.strip_prefix(b">").unwrap_or(held);
    if text.starts_with(b"From ") {
        let end = memchr(b'\n', held).map_or(held.len(), |feed| feed + 1);
        held.drain(..end);
    }
}

/// Finds the end of the header, and puts the empty line behind it that is missing. `is_all`: no
/// more follows what is held.
fn separate(held: &mut Vec<u8>, is_all: bool) -> Header {
    let mut len = 0;
    loop {
        let rest = held.get(len..).unwrap_or_default();
        let Some(feed) = memchr(b'\n', rest) else {
            // An unfinished line only stands where more follows.
            let is_whole = is_all && rest.is_empty();
            return Header { len, is_whole };
        };
        let line = rest.get(..=feed).unwrap_or_default();
        match line {
            b"\r\n" => return Header { len, is_whole: true },
            // RFC 5322 §2.2.3: a folded line belongs to the field above.
            [b' ' | b'\t', ..] if len > 0 => {}
            line if is_field(line) => {}
            _ => {
                held.splice(len..len, *b"\r\n");
                return Header { len, is_whole: true };
            }
        }
        len += line.len();
    }
}

/// RFC 5322 §2.2, §4.5: a name of printable characters, perhaps white space, a colon.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = memchr(b':', line) else { return false };
    let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of so many.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            let (now, later) = self.0.split_at(count);
            into[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    fn read(text: &[u8], piece: usize, dots_are_text: bool) -> Vec<u8> {
        let mut message = Message::read_from(Pieces(text, piece), dots_are_text).unwrap();
        let mut all = Vec::new();
        message.read_to_end(&mut all).unwrap();
        all
    }

    fn check(text: &str, dots_are_text: bool, expected: &str) {
        for piece in [1, 2, 3, 5, 1000] {
            let found = read(text.as_bytes(), piece, dots_are_text);
            assert_eq!(String::from_utf8(found).unwrap(), expected, "{text:?} by {piece}");
        }
    }

    #[test]
    fn line_ends() {
        check("A: b\n\nc\rd\r\ne", true, "A: b\r\n\r\nc\r\nd\r\ne\r\n");
        check("", true, "");
    }

    #[test]
    fn a_lone_dot() {
        for end in [".\n", ".\r\n", ".\nmore\n.\n", ".", ".\r"] {
            check(&format!("A: b\n\nc\n{end}"), false, "A: b\r\n\r\nc\r\n");
        }
        check("A: b\n\n.\nc\n", true, "A: b\r\n\r\n.\r\nc\r\n");
        check("A: b\n\n..\n.c\nd.\n. \n", false, "A: b\r\n\r\n..\r\n.c\r\nd.\r\n. \r\n");
        check(".\nA: b\n", false, "");
    }

    #[test]
    fn the_empty_line() {
        check("hello\n", true, "\r\nhello\r\n");
        check("A: b\nhello: \n", true, "A: b\r\nhello: \r\n");
        check("A: b\n c\nhello you: x\n\ny\n", true, "A: b\r\n c\r\n\r\nhello you: x\r\n\r\ny\r\n");
        check(" A: b\n", true, "\r\n A: b\r\n");
        check("\nA: b\n", true, "\r\nA: b\r\n");
        check("A : b\n\nc", true, "A : b\r\n\r\nc\r\n");
        check(": b\n", true, "\r\n: b\r\n");
    }

    #[test]
    fn an_mbox_line() {
        check("From me Sun Jan  1 00:00:00 2023\nA: b\n\nc\n", true, "A: b\r\n\r\nc\r\n");
        check(">From me\nA: b\n\nc\n", true, "A: b\r\n\r\nc\r\n");
        check("From: me\n\nFrom x\n", true, "From: me\r\n\r\nFrom x\r\n");
    }

    #[test]
    fn long_messages_are_windows() {
        let line = [b"x".repeat(70), b"\n".to_vec()].concat();
        let text = [b"A: b\n\n".to_vec(), line.repeat(3000)].concat();
        let expected = String::from_utf8(text.clone()).unwrap().replace('\n', "\r\n");
        for piece in [1000, RAW_BYTES] {
            assert_eq!(read(&text, piece, false), expected.as_bytes());
        }
        let mut message = Message::read_from(&text[..], false).unwrap();
        assert_eq!((message.size(), message.fields()), (None, &b"A: b\r\n"[..]));
        message.prepend(b"B: c\r\n");
        message.keep().unwrap();
        for _ in 0..2 {
            let mut all = Vec::new();
            message.read_to_end(&mut all).unwrap();
            assert_eq!(all, [b"B: c\r\n", expected.as_bytes()].concat());
            message.rewind().unwrap();
        }
        assert!(message.held.capacity() <= HELD_BYTES_MAX + ADDED_BYTES);
    }

    #[test]
    fn headers() {
        let header = |text: &[u8]| Message::read_from(text, true).unwrap().header();
        assert_eq!(header(b"A: b\nC: d"), Header { len: 12, is_whole: true });
        assert_eq!(header(b"A: b\n\nC: d\n"), Header { len: 6, is_whole: true });
        assert_eq!(header(b"A: b\nhello\n"), Header { len: 6, is_whole: true });
        let bomb = b"A: b\n".repeat(20_000);
        assert!(!header(&bomb).is_whole);
        assert!(!header(&b"a".repeat(70_000)).is_whole);
    }

    #[test]
    fn short_messages_are_read_again() {
        let mut message = Message::read_from(&b"A: b\n\nc\n"[..], true).unwrap();
        assert_eq!(message.size(), Some(11));
        message.keep().unwrap();
        for _ in 0..2 {
            assert_eq!(message.by_ref().lines().count(), 3);
            message.rewind().unwrap();
        }
    }
}

//! A message in chunks (BDAT, RFC 3030): counted bytes in place of an end that is looked for.
//!
//! A chunk's bytes are never taken for commands, whatever becomes of the message: who was told a
//! number sends so many bytes, so a refused chunk is read to its end as well. Only a size that
//! cannot be read leaves no way to go on.
//!
//! A message that is not BINARYMIME is lines: a CR or LF on its own is told, as in DATA, also where
//! a chunk ends between them (LAW 6, threats 1). A binary one may hold anything, and may never be
//! sent on by DATA.
//!
//! When a chunk may come, and what becomes of the session then, is the last part of this file, and
//! belongs to [`super::server`].
//!
//! Read first: RFC 3030 §2, §3.

use super::data::Piece;
use super::pace::Pace;
use super::reply::Reply;
use super::server::{Event, Server, Terms};
use super::state::{Question, State, Transaction};
use crate::base::ascii::parse_decimal;
use crate::base::buffer::Buffer;
use crate::base::time::Instant;
use memchr::memchr2;

/// What BDAT says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkSize {
    /// Bytes that follow the command's CRLF.
    pub bytes: u64,
    /// What stands behind the number.
    pub place: Place,
}

/// Where in its message a chunk stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// More chunks follow.
    Within,
    /// LAST.
    Last,
    /// Something that is neither; the bytes come all the same.
    Unknown,
}

/// Reads what stands behind BDAT; none if it does not begin with a size.
pub(super) fn parse_size(argument: &[u8]) -> Option<ChunkSize> {
    let mut words = argument.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let bytes = parse_decimal(words.next()?)?;
    let place = match (words.next(), words.next()) {
        (None, _) => Place::Within,
        (Some(word), None) if word.eq_ignore_ascii_case(b"LAST") => Place::Last,
        _ => Place::Unknown,
    };
    Some(ChunkSize { bytes, place })
}

/// Reads the chunks of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkReader {
    is_binary: bool,
    /// Bytes of this chunk that have not come yet.
    left: u64,
    /// The last byte was a CR whose LF has not come.
    after_return: bool,
    bare: bool,
}

impl ChunkReader {
    /// In front of a message's first chunk.
    pub const fn new(is_binary: bool) -> ChunkReader {
        ChunkReader { is_binary, left: 0, after_return: false, bare: false }
    }

    /// A chunk of so many bytes comes.
    pub fn begin(&mut self, bytes: u64) {
        debug_assert!(self.left == 0, "a chunk is under way");
        self.left = bytes;
    }

    /// True if a CR or LF on its own has been met; `is_last`: nothing follows.
    pub const fn is_bare(&self, is_last: bool) -> bool {
        self.bare || (is_last && self.after_return)
    }

    /// Takes a prefix of `input`; gives its length and what it was. [`Piece::End`] is the end of
    /// the chunk.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        if self.left == 0 {
            return (0, Piece::End);
        }
        let reach = usize::try_from(self.left).unwrap_or(usize::MAX);
        let text = input.get(..reach).unwrap_or(input);
        if text.is_empty() {
            return (0, Piece::More);
        }
        let good = if self.is_binary || self.bare { text.len() } else { self.lines(text) };
        let (count, piece) = match text.get(..good) {
            None | Some([]) => {
                self.bare = true;
                (text.len(), Piece::Bare)
            }
            Some(bytes) => (good, Piece::Bytes(bytes)),
        };
        self.left = self.left.saturating_sub(count as u64);
        (count, piece)
    }

    /// How much at the beginning of `text` has no CR or LF on its own.
    fn lines(&mut self, text: &[u8]) -> usize {
        let mut end = match (core::mem::take(&mut self.after_return), text) {
            (true, [b'\n', ..]) => 1,
            (true, _) => return 0,
            (false, _) => 0,
        };
        while let Some(at) = memchr2(b'\r', b'\n', text.get(end..).unwrap_or_default()) {
            end += at;
            match text.get(end..).unwrap_or_default() {
                [b'\r', b'\n', ..] => end += 2,
                [b'\r'] => {
                    self.after_return = true;
                    return text.len();
                }
                _ => return end,
            }
        }
        text.len()
    }
}

/// A chunk on its way in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    pub(super) reader: ChunkReader,
    pub(super) pace: Pace,
    is_last: bool,
    /// It comes out of place: said when it is over.
    pub(super) refusal: Option<Reply>,
}

impl Server {
    /// What one step over a chunk came to.
    pub(super) fn take_chunk_piece<'a>(
        &mut self,
        chunk: Chunk,
        piece: Piece<'a>,
        out: &mut Buffer,
        now: Instant,
    ) -> Event<'a> {
        let Chunk { reader, pace, is_last, refusal } = chunk;
        let bare = reader.is_bare(is_last);
        if piece != Piece::End {
            return match refusal {
                Some(_) if piece != Piece::More => Event::Again,
                _ => self.take_piece(piece, reader.is_bare(false)),
            };
        }
        self.command_deadline = now + self.command_timeout;
        if let Some(reply) = refusal {
            return self.refuse_chunk(reply, is_last, out);
        }
        if is_last {
            self.enter(State::AwaitCommit);
            return Event::End { bare };
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.chunks = Some((reader, pace));
        }
        self.enter(State::AwaitAnswer(Question::Chunk));
        Event::Chunk { bare }
    }

    /// A chunk that came out of place is over. RFC 3030 §2: after a failure only RSET is sure to
    /// be understood, and the chunks behind it are discarded; but who has sent the last one may as
    /// well begin anew.
    fn refuse_chunk(&mut self, reply: Reply, is_last: bool, out: &mut Buffer) -> Event<'static> {
        match (self.transaction, self.is_greeted) {
            (Some(_), _) => self.enter(State::AwaitRecipient),
            (None, true) => self.enter(State::AwaitMail),
            (None, false) => self.enter(State::AwaitHello),
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.is_spoilt = true;
        }
        let event = match reply {
            Reply::NO_RECIPIENTS => self.idle(reply, out),
            _ => self.blame(reply, out),
        };
        if is_last && self.transaction.is_some() {
            self.end_transaction();
            return Event::Reset;
        }
        event
    }

    /// BDAT. Whatever is wrong with it, its bytes are on their way.
    pub(super) fn chunk(
        &mut self,
        size: ChunkSize,
        terms: &Terms<'_>,
        now: Instant,
    ) -> Event<'static> {
        let refusal = match self.transaction {
            _ if !self.offers(terms).chunking => Some(Reply::UNKNOWN_COMMAND),
            None => Some(self.mail_first()),
            Some(Transaction { recipients: 0, .. }) => Some(Reply::NO_RECIPIENTS),
            Some(Transaction { is_spoilt: true, .. }) => Some(Reply::WITHIN_CHUNKS),
            Some(_) if size.place == Place::Unknown => Some(Reply::BAD_PARAMETER),
            Some(_) => None,
        };
        let transaction = self.transaction.unwrap_or_default();
        let fresh = || (ChunkReader::new(transaction.is_binary), Pace::new(now, self.data_timeout));
        let (mut reader, mut pace) = transaction.chunks.unwrap_or_else(fresh);
        reader.begin(size.bytes);
        pace.take(0, now, self.data_timeout);
        let is_last = size.place == Place::Last;
        self.enter(State::AwaitChunk(Chunk { reader, pace, is_last, refusal }));
        Event::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let size = |bytes, place| Some(ChunkSize { bytes, place });
        assert_eq!(parse_size(b"0"), size(0, Place::Within));
        assert_eq!(parse_size(b"86 last"), size(86, Place::Last));
        assert_eq!(parse_size(b" 86  LAST"), size(86, Place::Last));
        assert_eq!(parse_size(b"18446744073709551615"), size(u64::MAX, Place::Within));
        assert_eq!(parse_size(b"7 FIRST"), size(7, Place::Unknown));
        assert_eq!(parse_size(b"7 LAST LAST"), size(7, Place::Unknown));
        for none in [&b""[..], b"LAST", b"-1", b"+1", b"1k LAST", b"18446744073709551616"] {
            assert_eq!(parse_size(none), None);
        }
    }

    /// What a reader makes of `chunks`, each cut at `split`: the message, and whether it was bare.
    fn read(chunks: &[&[u8]], is_binary: bool, split: usize) -> (Vec<u8>, bool) {
        let mut reader = ChunkReader::new(is_binary);
        let mut message = Vec::new();
        for chunk in chunks {
            reader.begin(chunk.len() as u64);
            let (one, other) = chunk.split_at(split.min(chunk.len()));
            let behind = [other, b"QUIT\r\n"].concat();
            for (part, is_over) in [(one, other.is_empty()), (&behind, true)] {
                let mut rest = part;
                loop {
                    let (consumed, piece) = reader.step(rest);
                    rest = &rest[consumed..];
                    match piece {
                        Piece::Bytes(bytes) => message.extend_from_slice(bytes),
                        Piece::Bare => (),
                        Piece::End => break assert!(is_over),
                        Piece::More => break,
                    }
                }
                assert!(!is_over || part.len() - rest.len() <= chunk.len());
            }
        }
        (message, reader.is_bare(true))
    }

    /// Threats 1: every string of up to seven over CR, LF, dot and x, in two chunks of any sizes,
    /// the first and the second in two segments of any sizes.
    #[test]
    fn lines_over_every_border() {
        for length in 0..=7u32 {
            for number in 0..4u32.pow(length) {
                let letter = |place: u32| b"\r\n.x"[(number >> (2 * place)) as usize % 4];
                let text: Vec<u8> = (0..length).map(letter).collect();
                let lone = text.iter().enumerate().any(|(at, byte)| match byte {
                    b'\r' => text.get(at + 1) != Some(&b'\n'),
                    b'\n' => at == 0 || text[at - 1] != b'\r',
                    _ => false,
                });
                for border in 0..=text.len() {
                    let (one, other) = text.split_at(border);
                    for split in 0..=one.len().max(other.len()) {
                        let (message, bare) = read(&[one, other], false, split);
                        assert_eq!(bare, lone, "{text:?} at {border}, {split}");
                        assert!(bare || message == text, "{text:?} at {border}, {split}");
                        assert_eq!(read(&[one, other], true, split).0, text);
                    }
                }
            }
        }
    }

    #[test]
    fn a_chunk_is_lent_not_copied() {
        let text = b"Plain text in lines of an ordinary length, as in most mails.\r\n".repeat(64);
        let mut reader = ChunkReader::new(false);
        reader.begin(text.len() as u64 - 2);
        let (count, piece) = reader.step(&text);
        assert_eq!((count, piece), (text.len() - 2, Piece::Bytes(&text[..text.len() - 2])));
        assert_eq!(reader.step(b"\r\n"), (0, Piece::End));
        reader.begin(u64::MAX);
        assert_eq!(reader.step(b"\r\n"), (2, Piece::Bytes(b"\r\n")));
        assert_eq!(reader.step(b""), (0, Piece::More));
    }
}

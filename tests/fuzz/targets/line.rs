//! Lines of commands, and the dots of a message: only CRLF ends the one, only CRLF.CRLF the other;
//! and messages in chunks, which end where they were said to.

use super::Cuts;
use mote::limits::LINE_BYTES_MAX;
use mote::smtp::chunk::ChunkReader;
use mote::smtp::data::{DotReader, DotWriter, Piece};
use mote::smtp::line::{Flaw, Line, find_line, skip_line};

/// Takes the input for lines, for what follows a 354, and for a message to be sent.
pub(super) fn line(input: &[u8]) {
    let (cuts, text) = Cuts::read(input);
    let pieces = { cuts }.pieces(text);
    let lines = find_all(&[text]);
    assert_eq!(find_all(&pieces), lines);
    assert_eq!(find_all_slowly(text), lines);

    let read = read_dots(&pieces);
    let slowly = read_slowly(text);
    assert_eq!((read.is_bare, read.behind), (slowly.is_bare, slowly.behind));
    // A message that is refused may be incomplete; one that is taken may not.
    assert!(read.is_bare || read.message == slowly.message);
    write_dots(&pieces, cuts);
}

/// What became of each line that has ended, or is flawed already.
fn find_all(pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, Flaw>> {
    let (mut found, mut held, mut is_skipping) = (Vec::new(), Vec::new(), false);
    for piece in pieces {
        // As in a session: what is not consumed stays, and there is room for one line at least.
        for piece in piece.chunks(LINE_BYTES_MAX) {
            held.extend_from_slice(piece);
            loop {
                if is_skipping {
                    let (consumed, ended) = skip_line(&held);
                    held.drain(..consumed);
                    is_skipping = !ended;
                    if !ended {
                        assert!(held.len() <= 1);
                        break;
                    }
                }
                match find_line(&held) {
                    Line::Complete { text, consumed } => {
                        assert!(text.len() + 2 == consumed && consumed <= LINE_BYTES_MAX);
                        found.push(Ok(text.to_vec()));
                        held.drain(..consumed);
                    }
                    Line::Flawed { flaw, consumed, ended } => {
                        found.push(Err(flaw));
                        held.drain(..consumed);
                        is_skipping = !ended;
                    }
                    Line::Partial => break,
                }
            }
            assert!(held.len() < LINE_BYTES_MAX);
        }
    }
    found
}

/// The same by the letter.
fn find_all_slowly(text: &[u8]) -> Vec<Result<Vec<u8>, Flaw>> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|two| two == b"\r\n");
        let line = &rest[..end.unwrap_or(rest.len())];
        // A CR at the very end may be half of a CRLF.
        let known = if end.is_none() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        let bare = known.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        match bare {
            Some(at) if at + 1 < LINE_BYTES_MAX => found.push(Err(Flaw::Bare)),
            // Here an LF is seen for what it is, and a CR cannot be any more.
            Some(at) if at < LINE_BYTES_MAX && line[at] == b'\n' => found.push(Err(Flaw::Bare)),
            _ if line.len() + 2 > LINE_BYTES_MAX
                && (end.is_some() || line.len() >= LINE_BYTES_MAX) =>
            {
                found.push(Err(Flaw::TooLong));
            }
            _ if end.is_some() => found.push(Ok(line.to_vec())),
            _ => (),
        }
        rest = end.map_or(&[], |end| &rest[end + 2..]);
    }
    found
}

/// What follows a 354.
struct Read {
    message: Vec<u8>,
    is_bare: bool,
    behind: Option<Vec<u8>>,
}

fn read_dots(pieces: &[&[u8]]) -> Read {
    let mut reader = DotReader::new();
    let mut read = Read { message: Vec::new(), is_bare: false, behind: None };
    let mut held = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        while read.behind.is_none() {
            let (consumed, piece) = reader.step(&held);
            match piece {
                Piece::Bytes(bytes) => read.message.extend_from_slice(bytes),
                Piece::Bare => read.is_bare = true,
                Piece::End => read.behind = Some(Vec::new()),
                Piece::More => break,
            }
            held.drain(..consumed);
        }
        assert!(read.behind.is_some() || held.len() <= 2);
    }
    assert_eq!(read.is_bare, reader.is_bare());
    if let Some(behind) = &mut read.behind {
        *behind = held;
    }
    read
}

/// The same by the letter of RFC 5321 §4.1.1.4, one byte after the other. A CR, and a dot, at the
/// very end are not known yet for what they are.
fn read_slowly(input: &[u8]) -> Read {
    let whole = [b"\r\n", input].concat();
    let end = whole.windows(5).position(|five| five == b"\r\n.\r\n");
    let text = &whole[..end.map_or(whole.len(), |end| end + 2)];
    let mut read = Read { message: Vec::new(), is_bare: false, behind: None };
    read.behind = end.map(|end| whole[end + 5..].to_vec());
    for at in 2..text.len() {
        let next = text.get(at + 1);
        match text[at] {
            b'.' if text[..at].ends_with(b"\r\n") => continue,
            b'\n' if text[at - 1] != b'\r' => read.is_bare = true,
            b'\r' if next.is_none() => break,
            b'\r' if next != Some(&b'\n') => read.is_bare = true,
            _ => (),
        }
        read.message.push(text[at]);
    }
    read
}

/// What is sent is one message to a strict reader, and ends nowhere sooner for a lenient one.
fn write_dots(pieces: &[&[u8]], mut cuts: Cuts) {
    let mut writer = DotWriter::new();
    let mut wire = Vec::new();
    let mut room = [0; 4096];
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let room = &mut room[..cuts.next(4094) + 1];
            let (consumed, produced) = writer.push(rest, room);
            assert!(consumed > 0, "room for two is always enough");
            wire.extend_from_slice(&room[..produced]);
            rest = &rest[consumed..];
        }
    }
    let produced = writer.finish(&mut room);
    wire.extend_from_slice(&room[..produced]);

    let read = read_dots(&[&wire]);
    assert_eq!(read.behind.as_deref(), Some(&b""[..]));
    if !read.is_bare {
        let sent = pieces.concat();
        let ended = sent.ends_with(b"\r\n") || sent.is_empty();
        let end: &[u8] = if ended {
            b""
        } else if sent.ends_with(b"\r") {
            b"\n"
        } else {
            b"\r\n"
        };
        assert_eq!(read.message, [&sent, end].concat());
    }
    let inside = &wire[..wire.len() - 3];
    let is_lone = |at: usize| inside[at] == b'.' && (at == 0 || inside[at - 1] == b'\n');
    let is_doubled = |at: usize| inside.get(at + 1) == Some(&b'.');
    assert!((0..inside.len()).filter(|at| is_lone(*at)).all(is_doubled));
}

/// Takes the input for a message in chunks, BINARYMIME or not; it is read the same, however it and
/// its chunks are cut.
pub(super) fn chunk(input: &[u8]) {
    let (mut cuts, text) = Cuts::read(input);
    let chunks = cuts.pieces(text);
    for is_binary in [false, true] {
        let (message, is_bare) = read_chunks(is_binary, &chunks, cuts);
        let expected = !is_binary && is_bare_somewhere(text);
        assert_eq!(is_bare, expected);
        assert!(is_bare && text.starts_with(&message) || message == text);
        assert_eq!(read_chunks(is_binary, &[text], Cuts::WHOLE).1, is_bare);
    }
}

fn read_chunks(is_binary: bool, chunks: &[&[u8]], mut cuts: Cuts) -> (Vec<u8>, bool) {
    let mut reader = ChunkReader::new(is_binary);
    let mut message = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        reader.begin(chunk.len() as u64);
        // Commands follow, and never become text.
        let wire = [chunk, &b"BDAT 0 LAST\r\n"[..]].concat();
        let (mut taken, mut shown) = (0, 0);
        loop {
            let (consumed, piece) = reader.step(&wire[taken..shown]);
            taken += consumed;
            match piece {
                Piece::Bytes(bytes) if !reader.is_bare(false) => message.extend_from_slice(bytes),
                // What comes behind a bare one is refused with it.
                Piece::Bytes(_) | Piece::Bare => (),
                Piece::More => shown += cuts.next(wire.len() - shown),
                Piece::End => break,
            }
            assert!(taken <= chunk.len() && consumed + usize::from(piece == Piece::More) > 0);
        }
        assert_eq!(taken, chunk.len(), "of chunk {number}");
    }
    (message, reader.is_bare(true))
}

fn is_bare_somewhere(text: &[u8]) -> bool {
    let is_bare = |at: usize| match text[at] {
        b'\n' => at == 0 || text[at - 1] != b'\r',
        b'\r' => text.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    (0..text.len()).any(is_bare)
}

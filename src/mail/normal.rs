//! Line ends of local programs, made into the CRLF of the standards.
//!
//! What programs hand to `sendmail` has LF, CRLF, both, or an old CR alone; it may lack its last
//! line end. [`Normalizer`] is a stream that makes each of them one CRLF, and adds the missing one
//! (LAW 6: what leaves it holds no bare CR or LF, RFC 5321 §2.3.8). For the network it is not used:
//! there a bare CR or LF is refused.
//!
//! Fixed memory, any split of the input, any room in the output of two bytes or more; no failure.

use memchr::memchr2;

/// One message on its way.
#[derive(Clone, Debug, Default)]
pub struct Normalizer {
    /// A CR was read, and its CRLF not yet written, since a LF may belong to it.
    carriage_return: bool,
    /// The last byte written ended no line.
    in_line: bool,
}

impl Normalizer {
    /// At the start of a message.
    pub fn new() -> Normalizer {
        Normalizer::default()
    }

    /// Takes from `input`, puts into `output`, tells how many bytes each. With an output of two
    /// bytes or more it always gets on.
    pub fn push(&mut self, input: &[u8], output: &mut [u8]) -> (usize, usize) {
        let (mut rest, mut produced) = (input, 0);
        while let Some(first) = rest.first() {
            let room = output.get_mut(produced..).unwrap_or_default();
            if self.carriage_return || *first == b'\n' {
                let Some(place) = room.first_chunk_mut() else { break };
                *place = *b"\r\n";
                produced += 2;
                if *first == b'\n' {
                    rest = rest.get(1..).unwrap_or_default();
                }
                (self.carriage_return, self.in_line) = (false, false);
            } else if *first == b'\r' {
                rest = rest.get(1..).unwrap_or_default();
                self.carriage_return = true;
            } else {
                let run = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len()).min(room.len());
                if run == 0 {
                    break;
                }
                if let (Some(room), Some(bytes)) = (room.get_mut(..run), rest.get(..run)) {
                    room.copy_from_slice(bytes);
                }
                rest = rest.get(run..).unwrap_or_default();
                produced += run;
                self.in_line = true;
            }
        }
        (input.len() - rest.len(), produced)
    }

    /// Puts the last line end into `output`, which has at least two bytes, if one is owed; tells
    /// how many bytes that was.
    pub fn finish(&mut self, output: &mut [u8]) -> usize {
        if !self.carriage_return && !self.in_line {
            return 0;
        }
        let Some(place) = output.first_chunk_mut() else { return 0 };
        *place = *b"\r\n";
        (self.carriage_return, self.in_line) = (false, false);
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalize(pieces: &[&[u8]], room: usize) -> Vec<u8> {
        let mut normalizer = Normalizer::new();
        let mut output = vec![0; room];
        let mut whole = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (consumed, produced) = normalizer.push(rest, &mut output);
                assert!(consumed + produced > 0, "no progress");
                whole.extend_from_slice(&output[..produced]);
                rest = &rest[consumed..];
            }
        }
        let produced = normalizer.finish(&mut output);
        whole.extend_from_slice(&output[..produced]);
        assert_eq!(normalizer.finish(&mut output), 0);
        whole
    }

    #[test]
    fn every_kind_of_line_end() {
        for (raw, expected) in [
            (&b""[..], &b""[..]),
            (b"a", b"a\r\n"),
            (b"a\n", b"a\r\n"),
            (b"a\r\n", b"a\r\n"),
            (b"a\r", b"a\r\n"),
            (b"\n\n", b"\r\n\r\n"),
            (b"\r\r", b"\r\n\r\n"),
            (b"\r\r\n", b"\r\n\r\n"),
            (b"\n\r", b"\r\n\r\n"),
            (b"a\rb\nc\r\nd", b"a\r\nb\r\nc\r\nd\r\n"),
        ] {
            assert_eq!(normalize(&[raw], 64), expected);
        }
    }

    /// Every text of up to 7 over {CR, LF, x}, every cut in two, the smallest room and a large one.
    #[test]
    fn every_text_and_cut() {
        for length in 0..=7u32 {
            for number in 0..3usize.pow(length) {
                let digit = |at| b"\r\nx"[number / 3usize.pow(at) % 3];
                let raw: Vec<u8> = (0..length).map(digit).collect();
                let text = String::from_utf8(raw.clone()).unwrap();
                let mut expected = text.replace("\r\n", "\n").replace('\r', "\n");
                if !expected.is_empty() && !expected.ends_with('\n') {
                    expected.push('\n');
                }
                let expected = expected.replace('\n', "\r\n");
                for at in 0..=raw.len() {
                    for room in [2, 3, 64] {
                        let normal = normalize(&[&raw[..at], &raw[at..]], room);
                        assert_eq!(normal, expected.as_bytes());
                        assert_eq!(normalize(&[&normal], room), normal);
                    }
                }
            }
        }
    }
}

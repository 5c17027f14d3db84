//! The line ends of a caller of `sendmail -bs` who knows only LF: people at a terminal, and scripts
//! that print.
//!
//! The rule is that of `smtp/lenient.rs`, and so is its reason (threats 1): what is *within* a
//! message must not decide where that ends. As long as every line of the conversation has ended
//! with a bare LF, each LF becomes CRLF. The first CRLF shows that the caller knows better, and
//! from then on nothing is changed: a program that says EHLO, MAIL and DATA with CRLF, and passes a
//! stranger's text on, has an LF in that refused, as over the network.
//!
//! Nor is anything changed from a BDAT on: that has counted its bytes. A line of text that looks
//! like one is text: behind DATA there are no commands before the dot.

const LINE_BYTES: usize = 32;

/// How the caller has ended his lines so far.
#[derive(Debug)]
pub struct Ends {
    is_bare: bool,
    is_behind_return: bool,
    /// DATA has been said, and no dot since.
    is_in_message: bool,
    /// The line that has begun, if it is short.
    line: Vec<u8>,
}

impl Ends {
    /// Nothing has been said.
    pub fn new() -> Ends {
        let line = Vec::with_capacity(LINE_BYTES);
        Ends { is_bare: true, is_behind_return: false, is_in_message: false, line }
    }

    /// Puts `bytes` behind `out`, mended.
    pub fn mend(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for (place, byte) in bytes.iter().enumerate() {
            if !self.is_bare {
                out.extend_from_slice(bytes.get(place..).unwrap_or_default());
                return;
            }
            if *byte != b'\n' {
                out.push(*byte);
                self.is_behind_return = *byte == b'\r';
                if self.line.len() < LINE_BYTES {
                    self.line.push(*byte);
                }
                continue;
            }
            let is_chunk = !self.is_in_message && is_chunk(&self.line);
            self.is_bare = !self.is_behind_return && !is_chunk;
            self.is_in_message = match self.is_in_message {
                true => self.line != b".",
                false => self.line.trim_ascii().eq_ignore_ascii_case(b"DATA"),
            };
            if !self.is_behind_return {
                out.push(b'\r');
            }
            out.push(b'\n');
            self.line.clear();
        }
    }
}

impl Default for Ends {
    fn default() -> Self {
        Self::new()
    }
}

/// `BDAT 12` and `BDAT 12 LAST`.
fn is_chunk(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let is_verb = words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"BDAT"));
    is_verb && words.next().is_some_and(|word| word.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_any_pieces() {
        for (said, expected) in [
            (&b"EHLO x\nQUIT\n"[..], &b"EHLO x\r\nQUIT\r\n"[..]),
            (b"DATA\na\n\n.\nQUIT\n", b"DATA\r\na\r\n\r\n.\r\nQUIT\r\n"),
            (b"EHLO x\r\nDATA\r\na\n.\nMAIL\n", b"EHLO x\r\nDATA\r\na\n.\nMAIL\n"),
            (b"HELO x\nDATA\na\r\n.\nMAIL\n", b"HELO x\r\nDATA\r\na\r\n.\nMAIL\n"),
            (b"a\rb\r\r\nc\n", b"a\rb\r\r\nc\n"),
            (b"a\rb\nc\n", b"a\rb\r\nc\r\n"),
            (b"bdat 4 last\na\nb\nQUIT\n", b"bdat 4 last\r\na\nb\nQUIT\n"),
            (b"BDAT\nBDATA 3\nBDAT x\nq\n", b"BDAT\r\nBDATA 3\r\nBDAT x\r\nq\r\n"),
        ] {
            for cut in 0..=said.len() {
                let (mut ends, mut out) = (Ends::new(), Vec::new());
                ends.mend(&said[..cut], &mut out);
                ends.mend(&said[cut..], &mut out);
                assert_eq!(out, expected, "{}", out.escape_ascii());
            }
        }
    }

    /// Threats 1: after a CRLF every byte is passed as it came.
    #[test]
    fn what_knows_crlf_is_left_alone() {
        const ALPHABET: [u8; 4] = *b"\r\n.x";
        for number in 0..4usize.pow(7) {
            let text: Vec<u8> = (0..7).map(|at| ALPHABET[number >> (2 * at) & 3]).collect();
            let (mut ends, mut out) = (Ends::new(), Vec::new());
            ends.mend(b"EHLO x\r\n", &mut out);
            ends.mend(&text, &mut out);
            assert_eq!(out[8..], text);
        }
    }

    /// What is within a message must not decide where it ends: behind such a line no LF was mended,
    /// so the dot never came, and QUIT was text.
    #[test]
    fn a_line_of_text_is_no_chunk() {
        let (mut ends, mut out) = (Ends::new(), Vec::new());
        ends.mend(b"DATA\nSubject: x\n\nSay\nBDAT 12 LAST\n.\nQUIT\n", &mut out);
        assert!(out.ends_with(b"\r\n.\r\nQUIT\r\n"), "{}", out.escape_ascii());
    }
}

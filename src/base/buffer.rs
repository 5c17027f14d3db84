//! A fixed byte buffer: bytes go in at the back, come out at the front, and it never grows.
//!
//! Full is an answer ([`Full`]), never an allocation. What is inside is always one slice.

use core::fmt;
use zeroize::Zeroize as _;

/// The buffer has no room for what was offered; nothing of it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// Proof that a buffer was empty when somebody was about to change what its bytes mean: nothing of
/// what was said before counts afterwards (LAW 5).
#[derive(Debug)]
pub struct Emptiness(());

/// Bytes between a producer and a consumer, in memory taken once.
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes behind this were never written since the last wiping.
    reached: usize,
}

impl Buffer {
    /// An empty buffer that holds at most `capacity` bytes.
    pub fn new(capacity: usize) -> Buffer {
        Buffer { bytes: vec![0; capacity].into_boxed_slice(), start: 0, end: 0, reached: 0 }
    }

    /// What waits to be consumed.
    pub fn readable(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The proof that nothing waits.
    pub fn emptiness(&self) -> Option<Emptiness> {
        self.is_empty().then_some(Emptiness(()))
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// How many more bytes fit.
    pub fn space(&self) -> usize {
        self.bytes.len() - self.len()
    }

    /// Takes `count` bytes off the front; more than wait is all of them.
    pub fn consume(&mut self, count: usize) {
        self.start += count.min(self.len());
        if self.start == self.end {
            self.clear();
        }
    }

    /// The free room at the back, all of it; fill a prefix, then say so with [`Buffer::produced`].
    pub fn writable(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Counts `count` bytes, written into [`Buffer::writable`], in.
    pub fn produced(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
        self.reached = self.reached.max(self.end);
    }

    /// Appends all of `bytes` or nothing.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        match self.writable().get_mut(..bytes.len()) {
            Some(room) => room.copy_from_slice(bytes),
            None => return Err(Full),
        }
        self.produced(bytes.len());
        Ok(())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Leaves nothing of what was consumed or forgotten in memory (threats 19).
    pub fn wipe_consumed(&mut self) {
        let (start, end, reached) = (self.start, self.end, self.reached);
        self.bytes.get_mut(..start).unwrap_or_default().zeroize();
        self.bytes.get_mut(end..reached).unwrap_or_default().zeroize();
        self.reached = end;
    }

    /// Forgets everything, and leaves nothing of it in memory.
    pub fn wipe(&mut self) {
        self.clear();
        self.wipe_consumed();
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).map_err(|Full| fmt::Error)
    }
}

/// Text in fixed memory on the stack; what does not fit is cut at a character, never refused.
#[derive(Clone, Copy)]
pub struct Text<const BYTES_MAX: usize> {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

impl<const BYTES_MAX: usize> Text<BYTES_MAX> {
    /// No text.
    pub const fn new() -> Self {
        Text { bytes: [0; BYTES_MAX], len: 0 }
    }

    /// The text so far.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the text.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Forgets it for good: it may have been a password in the wrong place (threats 19).
    pub fn wipe(&mut self) {
        self.bytes.zeroize();
        self.len = 0;
    }
}

impl<const BYTES_MAX: usize> PartialEq for Text<BYTES_MAX> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl<const BYTES_MAX: usize> Eq for Text<BYTES_MAX> {}

impl<const BYTES_MAX: usize> Default for Text<BYTES_MAX> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES_MAX: usize> fmt::Debug for Text<BYTES_MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl<const BYTES_MAX: usize> From<&str> for Text<BYTES_MAX> {
    fn from(text: &str) -> Self {
        let mut new = Text::new();
        // Writing to a Text cannot fail: it cuts.
        let _ = fmt::Write::write_str(&mut new, text);
        new
    }
}

impl<const BYTES_MAX: usize> fmt::Write for Text<BYTES_MAX> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut keep = text.len().min(BYTES_MAX - self.len);
        while !text.is_char_boundary(keep) {
            keep -= 1;
        }
        let room = self.bytes.get_mut(self.len..self.len + keep).unwrap_or_default();
        room.copy_from_slice(text.as_bytes().get(..keep).unwrap_or_default());
        self.len += keep;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write as _;

    #[test]
    fn bytes_come_out_in_order_across_the_end() {
        let mut buffer = Buffer::new(4);
        buffer.push(b"abc").unwrap();
        buffer.consume(2);
        buffer.push(b"def").unwrap();
        assert_eq!(buffer.readable(), b"cdef");
        assert_eq!(buffer.push(b"g"), Err(Full));
        buffer.consume(9);
        assert!(buffer.is_empty());
        assert_eq!(buffer.writable().len(), 4);
    }

    #[test]
    fn wiping_leaves_only_what_waits() {
        let mut buffer = Buffer::new(8);
        buffer.push(b"secret").unwrap();
        buffer.consume(5);
        buffer.push(b"abc").unwrap();
        buffer.consume(1);
        buffer.wipe_consumed();
        assert_eq!(buffer.readable(), b"abc");
        assert_eq!(buffer.bytes.iter().filter(|byte| **byte != 0).count(), 3);
        buffer.consume(1);
        buffer.wipe();
        assert_eq!(*buffer.bytes, [0; 8]);
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let mut text = Text::<4>::new();
        write!(text, "abéé").unwrap();
        assert_eq!(text.as_str(), "abé");
        assert_eq!(Text::<2>::from("xyz").as_str(), "xy");
    }
}

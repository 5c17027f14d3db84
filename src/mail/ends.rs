//! Both ends of a stream, and a few bytes in between: what `mail::edit` reads from, writes to and
//! holds back. Fixed memory; what has no room is not taken, and the caller is told.

use memchr::memchr;

/// A few bytes in fixed memory; what does not fit is not taken.
#[derive(Clone, Debug)]
pub(super) struct Bytes<const MAX: usize> {
    bytes: [u8; MAX],
    pub(super) length: usize,
}

impl<const MAX: usize> Bytes<MAX> {
    pub(super) const fn new() -> Self {
        Bytes { bytes: [0; MAX], length: 0 }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub(super) fn space(&self) -> usize {
        MAX - self.length
    }

    pub(super) fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            room.copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }

    /// Takes the first `count` off.
    pub(super) fn drop_front(&mut self, count: usize) {
        let count = count.min(self.length);
        self.bytes.copy_within(count..self.length, 0);
        self.length -= count;
    }
}

impl<const MAX: usize> core::fmt::Write for Bytes<MAX> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        if text.len() > self.space() {
            return Err(core::fmt::Error);
        }
        self.extend(text.as_bytes());
        Ok(())
    }
}

/// What has not been read, and what has been written.
pub(super) struct Ends<'a, 'b> {
    pub(super) input: &'a [u8],
    pub(super) output: &'b mut [u8],
    pub(super) produced: usize,
}

impl Ends<'_, '_> {
    /// Writes as much of `bytes` as has room, and tells how much.
    pub(super) fn give(&mut self, bytes: &[u8]) -> usize {
        let room = self.output.get_mut(self.produced..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..count), bytes.get(..count)) {
            room.copy_from_slice(bytes);
        }
        self.produced += count;
        count
    }

    /// Copies as much of the next `count` bytes as has room, and tells how much.
    pub(super) fn copy(&mut self, count: usize) -> usize {
        let input = self.input;
        let copied = self.give(input.get(..count).unwrap_or(input));
        self.skip(copied);
        copied
    }

    /// Copies as much of the line under way as is there and has room.
    pub(super) fn copy_line(&mut self) -> Line {
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

    pub(super) fn is_full(&self) -> bool {
        self.produced >= self.output.len()
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.input = self.input.get(count..).unwrap_or_default();
    }
}

pub(super) enum Line {
    Stuck,
    Moved,
    Ended,
}

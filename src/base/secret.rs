//! Bytes that must not be left lying about: fixed memory on the stack, wiped when it is done with.
//!
//! No Debug, no Clone, no Display: what is in here appears where it is asked for by name, and
//! nowhere else (threats 19). A value that is moved leaves its old place as it was, so these are
//! made where they are used and lent from there.

use super::buffer::Full;
use zeroize::Zeroize as _;

/// At most so many secret bytes.
pub struct Secret<const BYTES_MAX: usize> {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

impl<const BYTES_MAX: usize> Secret<BYTES_MAX> {
    /// None yet.
    pub const fn new() -> Self {
        Secret { bytes: [0; BYTES_MAX], len: 0 }
    }

    /// What is in it.
    pub fn expose(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends all of `bytes` or nothing.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.len + bytes.len();
        self.bytes.get_mut(self.len..end).ok_or(Full)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Lets `write` put bytes in place of what was there; it tells how many, or none for trouble,
    /// and then nothing is left.
    pub fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        self.wipe();
        let written = write(&mut self.bytes).filter(|len| *len <= BYTES_MAX);
        self.len = written.unwrap_or(0);
        if written.is_none() {
            self.wipe();
        }
        written.is_some()
    }

    /// Forgets everything, for good.
    pub fn wipe(&mut self) {
        self.bytes.zeroize();
        self.len = 0;
    }
}

impl<const BYTES_MAX: usize> Default for Secret<BYTES_MAX> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES_MAX: usize> Drop for Secret<BYTES_MAX> {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing_and_nothing_after() {
        let mut secret = Secret::<4>::new();
        secret.push(b"abc").unwrap();
        assert_eq!(secret.push(b"de"), Err(Full));
        assert_eq!(secret.expose(), b"abc");
        secret.wipe();
        assert!(secret.is_empty() && secret.bytes == [0; 4]);
        assert!(secret.fill(|room| {
            room[..2].copy_from_slice(b"xy");
            Some(2)
        }));
        assert_eq!(secret.expose(), b"xy");
        assert!(!secret.fill(|room| {
            room[0] = 1;
            None
        }));
        assert!(secret.is_empty() && secret.bytes == [0; 4]);
    }
}

//! What importing from the drop directory needs of the world.
//!
//! `sendmail` leaves mail there while the daemon is down. One file is open at a time. The world
//! checks what it opens (threats 17): a regular file with one link, opened without following links
//! and without blocking, of bounded size. Whose it is it only tells; whether that fits the envelope
//! is the import's to judge.

/// A drop file's name: 32 hex digits, the file's 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DropName(pub [u8; 32]);

/// A file that has been opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DropFile {
    /// Its name.
    pub name: DropName,
    /// Its owner.
    pub uid: u32,
    /// How much there is to read, at most.
    pub bytes: u64,
}

/// The drop directory cannot be read or written now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DropError;

/// The drop directory.
pub trait DropDirectory {
    /// Opens the next file that is fit to be imported; what is not fit is set aside. None: nothing
    /// more is there, or it [is still looking](DropDirectory::is_looking).
    fn next_drop(&mut self) -> Option<DropFile>;
    /// The last look was at as many names as may be looked at in one turn, and there are more.
    fn is_looking(&self) -> bool {
        false
    }
    /// Reads on in the open file; 0 at its end.
    fn read_drop(&mut self, into: &mut [u8]) -> Result<usize, DropError>;
    /// Removes the file of that name; Ok if it is not there.
    fn remove_drop(&mut self, name: DropName) -> Result<(), DropError>;
    /// The file of that name, opened last, will never be imported: sets it aside for the
    /// administrator and logs why. False: it cannot be, and lies there; it may be shown again.
    fn reject_drop(&mut self, name: DropName, why: &str) -> bool;
    /// How many files have been set aside and still are.
    fn rejected_drops(&mut self) -> u32;
    /// Makes removals durable.
    fn sync_drops(&mut self) -> Result<(), DropError>;
}

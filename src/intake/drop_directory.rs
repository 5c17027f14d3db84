//! What importing from the drop directory needs of the world.
//!
//! `sendmail` leaves mail there while the daemon is down. One file is open at a time. The world
//! checks what it opens (threats 17): a regular file with one link, opened without following links
//! and without blocking, owned by the user it names as its sender's, of bounded size.

/// A drop file's name: 32 hex digits, the file's 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DropName(pub [u8; 32]);

/// The drop directory cannot be read or written now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DropError;

/// The drop directory.
pub trait DropDirectory {
    /// Opens the next file that is fit to be imported, and tells its owner's uid; what is not fit
    /// is logged once and left lying. None: nothing more is there.
    fn next_drop(&mut self) -> Option<(DropName, u32)>;
    /// Reads on in the open file; 0 at its end.
    fn read_drop(&mut self, into: &mut [u8]) -> Result<usize, DropError>;
    /// Removes the file of that name; Ok if it is not there.
    fn remove_drop(&mut self, name: DropName) -> Result<(), DropError>;
    /// Makes removals durable.
    fn sync_drops(&mut self) -> Result<(), DropError>;
}

//! What delivering into a Maildir needs of the world.
//!
//! One mail at a time per sending slot, appended to piece by piece. A mail is in the mailbox when
//! [`Mailbox::deliver_mail`] returns Ok, and then durably; before that nobody sees it. The name is
//! the caller's and the same on every attempt, so a mail that is delivered again after a power cut
//! replaces itself.

/// Why the mailbox did not take it. All are temporary: the mail stays queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MailboxError {
    /// No space left, over quota, or over the mailbox's cap.
    Full,
    /// The directory cannot be made or written: permissions, read-only, not a directory.
    Denied,
    /// Anything else.
    Io,
}

/// Maildirs.
pub trait Mailbox {
    /// Opens `name` in `directory`'s `tmp` (making the Maildir if it is missing) for slot `slot`.
    fn open_mail(&mut self, slot: u16, directory: &str, name: &str) -> Result<(), MailboxError>;
    /// Appends bytes to the slot's mail.
    fn append_mail(&mut self, slot: u16, bytes: &[u8]) -> Result<(), MailboxError>;
    /// fsync, rename into `new`, fsync of the directory; the slot is free afterwards either way.
    fn deliver_mail(&mut self, slot: u16) -> Result<(), MailboxError>;
    /// Removes what was begun; nothing happens if nothing was.
    fn abandon_mail(&mut self, slot: u16);
}

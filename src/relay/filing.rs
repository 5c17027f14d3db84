//! A message into a Maildir: one file for all of its recipients there, in the machine's own line
//! ends.
//!
//! Return-Path and Delivered-To come first (RFC 5321 §4.4), then what a next hop would have got.
//! The file's name is made from the queue's numbers, so a delivery that is repeated after a power
//! cut replaces itself. A piece a turn, so that a large mail does not hold the loop.

use super::attempt::Scope;
use super::mailbox::{Mailbox, MailboxError};
use super::sender::Sender;
use crate::base::ascii::Base62;
use crate::base::buffer::Text;
use crate::queue::disk::Disk;
use crate::queue::reader::ReadError;
use core::fmt::Write as _;

/// Why a message is not in the mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It cannot be read.
    Message(ReadError),
    /// The mailbox does not take it.
    Mailbox(MailboxError),
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Fault::Message(error)
    }
}

impl From<MailboxError> for Fault {
    fn from(error: MailboxError) -> Self {
        Fault::Mailbox(error)
    }
}

/// Goes on by about `budget` bytes; true when the mail is in the mailbox, durably.
pub fn file<W: Disk + Mailbox>(
    slot: u16,
    sender: &mut Sender,
    directory: &str,
    budget: usize,
    scope: &mut Scope<'_, W>,
) -> Result<bool, Fault> {
    let filed = file_on(slot, sender, directory, budget, scope);
    if filed.is_err() {
        scope.disk.abandon_mail(slot);
    }
    filed
}

fn file_on<W: Disk + Mailbox>(
    slot: u16,
    sender: &mut Sender,
    directory: &str,
    budget: usize,
    scope: &mut Scope<'_, W>,
) -> Result<bool, Fault> {
    let (attempt, block) = sender.filing_parts();
    let Some(attempt) = attempt else { return Err(ReadError::Gone.into()) };
    if !attempt.is_streaming() {
        attempt.read_envelope(block, scope)?;
        if attempt.ledger.mine == 0 {
            // Everyone here is done already.
            return Ok(true);
        }
        attempt.stamp(scope.now, scope.config, scope.queue);
        let mut name = Text::<128>::new();
        // A Text cuts what is too long; this is not.
        let _ = write!(
            name,
            "{}.{}.{}",
            attempt.arrival(),
            Base62(scope.queue.image()),
            Base62(attempt.ticket().seq)
        );
        scope.disk.open_mail(slot, directory, name.as_str())?;
        let mut top = Text::<1024>::new();
        attempt.write_top(&mut top);
        scope.disk.append_mail(slot, top.as_str().as_bytes())?;
    }
    let mut staged = [0; 4096];
    let mut done = 0;
    while done < budget {
        let Some(count) = attempt.edited(&mut staged, block, scope)? else {
            scope.disk.deliver_mail(slot)?;
            return Ok(true);
        };
        done += count.max(1);
        // RFC 3030 §3: a binary message has no line ends that could be told from its content.
        let count = if attempt.is_binary() { count } else { without_cr(&mut staged, count) };
        let bytes = staged.get(..count).unwrap_or_default();
        if !bytes.is_empty() {
            scope.disk.append_mail(slot, bytes)?;
        }
    }
    Ok(false)
}

/// Throws a message away: its recipients here are told, nothing else happens.
pub fn discard<W: Disk>(sender: &mut Sender, scope: &mut Scope<'_, W>) -> Result<bool, Fault> {
    let (attempt, block) = sender.filing_parts();
    let Some(attempt) = attempt else { return Err(ReadError::Gone.into()) };
    attempt.read_envelope(block, scope)?;
    Ok(true)
}

/// Takes the CRs out of the first `count` bytes: what is stored holds none but before LF (LAW 6).
fn without_cr(bytes: &mut [u8], count: usize) -> usize {
    let mut from = 0;
    let mut to = 0;
    while from < count {
        let rest = bytes.get(from..count).unwrap_or_default();
        let run = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
        bytes.copy_within(from..from + run, to);
        to += run;
        from += run + 1;
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_the_machine_s_own() {
        for (text, expected) in
            [("", ""), ("\r\n", "\n"), ("a\r\nb\r\n", "a\nb\n"), ("ab", "ab"), ("a\r", "a")]
        {
            let mut bytes = text.as_bytes().to_vec();
            let count = bytes.len();
            let kept = without_cr(&mut bytes, count);
            assert_eq!(&bytes[..kept], expected.as_bytes());
        }
    }
}

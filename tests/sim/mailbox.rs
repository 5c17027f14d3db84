//! Maildirs and the drop directory.

use super::rng::Rng;
use super::world::{World, note};
use mote::intake::drop_directory::{DropDirectory, DropError, DropFile, DropName};
use mote::relay::mailbox::{Mailbox, MailboxError};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Mailboxes {
    /// Slot → what is being written there.
    open: BTreeMap<u16, (String, String, Vec<u8>)>,
}

impl Mailboxes {
    pub fn power_off(&mut self) {
        self.open.clear();
    }

    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
    }
}

impl World {
    fn mailbox_fault(&mut self) -> Result<(), MailboxError> {
        if self.rng.permille(self.weather.mailbox_error) {
            return Err(self.rng.pick(&[
                MailboxError::Full,
                MailboxError::Denied,
                MailboxError::Io,
            ]));
        }
        Ok(())
    }
}

impl Mailbox for World {
    fn open_mail(&mut self, slot: u16, directory: &str, name: &str) -> Result<(), MailboxError> {
        self.op(20, slot.into());
        assert!(!self.mailboxes.open.contains_key(&slot), "two mails in one slot");
        self.mailbox_fault()?;
        let new = (directory.to_owned(), name.to_owned(), Vec::new());
        self.mailboxes.open.insert(slot, new);
        Ok(())
    }

    fn append_mail(&mut self, slot: u16, bytes: &[u8]) -> Result<(), MailboxError> {
        self.op(21, bytes.len() as u64);
        self.mailbox_fault()?;
        let (_, _, mail) = self.mailboxes.open.get_mut(&slot).expect("no mail in this slot");
        mail.extend_from_slice(bytes);
        Ok(())
    }

    fn deliver_mail(&mut self, slot: u16) -> Result<(), MailboxError> {
        self.op(22, slot.into());
        let (directory, name, mail) = self.mailboxes.open.remove(&slot).expect("no mail");
        let fault = self.mailbox_fault();
        // The rename is done, the sync of the directory is not.
        let has_landed = fault.is_ok() || self.rng.permille(300);
        note(|| format!("{:>10} maildir: {directory}/new/{name}: {fault:?}", self.now));
        if has_landed {
            let is_known = fault.is_ok();
            self.shadow.filed(&directory, &mail, is_known);
        }
        self.op(23, slot.into());
        fault
    }

    fn abandon_mail(&mut self, slot: u16) {
        self.mailboxes.open.remove(&slot);
    }
}

/// A file that `sendmail` has left.
pub struct Drop {
    pub uid: u32,
    /// Behind the magic.
    pub bytes: Vec<u8>,
    is_removed: bool,
}

#[derive(Default)]
pub struct Drops {
    pub files: BTreeMap<[u8; 32], Drop>,
    cursor: Option<[u8; 32]>,
    open: Option<([u8; 32], usize)>,
}

impl Drops {
    pub fn leave(&mut self, name: [u8; 32], uid: u32, bytes: Vec<u8>) {
        self.files.insert(name, Drop { uid, bytes, is_removed: false });
    }

    /// Removals that were not synced may not have happened.
    pub fn power_off(&mut self, kill: bool, rng: &mut Rng) {
        (self.cursor, self.open) = (None, None);
        self.files.retain(|_, file| !file.is_removed || (!kill && rng.permille(500)));
        self.files.values_mut().for_each(|file| file.is_removed = false);
    }

    pub fn is_empty(&self) -> bool {
        self.files.values().all(|file| file.is_removed)
    }
}

impl DropDirectory for World {
    fn next_drop(&mut self) -> Option<DropFile> {
        self.op(30, 0);
        let drops = &mut self.drops;
        drops.open = None;
        let after = drops.cursor;
        let mut files = drops.files.iter().filter(|(_, file)| !file.is_removed);
        let found = files.find(|(name, _)| after.is_none_or(|after| **name > after));
        let found = found.map(|(name, file)| DropFile {
            name: DropName(*name),
            uid: file.uid,
            bytes: file.bytes.len() as u64,
        });
        drops.cursor = found.map(|file| file.name.0);
        drops.open = found.map(|file| (file.name.0, 0));
        found
    }

    fn read_drop(&mut self, into: &mut [u8]) -> Result<usize, DropError> {
        self.op(31, 0);
        if self.rng.permille(self.weather.drop_error) {
            return Err(DropError);
        }
        let (name, at) = self.drops.open.as_mut().ok_or(DropError)?;
        let bytes = &self.drops.files.get(name).ok_or(DropError)?.bytes[*at..];
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        *at += count;
        Ok(count)
    }

    fn reject_drop(&mut self, name: DropName, _: &str) -> bool {
        self.op(35, 0);
        self.drops.files.remove(&name.0);
        true
    }

    fn rejected_drops(&mut self) -> u32 {
        0
    }

    fn remove_drop(&mut self, name: DropName) -> Result<(), DropError> {
        self.op(32, 0);
        if self.rng.permille(self.weather.drop_error) {
            return Err(DropError);
        }
        if let Some(file) = self.drops.files.get_mut(&name.0) {
            file.is_removed = true;
        }
        self.op(33, 0);
        Ok(())
    }

    fn sync_drops(&mut self) -> Result<(), DropError> {
        self.op(34, 0);
        if self.rng.permille(self.weather.drop_error) {
            return Err(DropError);
        }
        self.drops.files.retain(|_, file| !file.is_removed);
        Ok(())
    }
}

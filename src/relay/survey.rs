//! How long a message is as it goes out, where that has to be told before its bytes: in SIZE, and
//! of a chunk.
//!
//! It is read for that, by the same editor that makes it later, and opened anew. While a new config
//! comes in between the two may differ: SIZE is an estimate (RFC 1870 §6.1), and of a chunk too
//! many or too few bytes end the connection.

use super::attempt::{Attempt, Scope};
use super::rewriting::Rewriting;
use crate::mail::edit::With;
use crate::queue::disk::{Block, Disk};
use crate::queue::message::Message;
use crate::queue::reader::ReadError;

/// Mail from here on is measured where a next hop wants to know.
const SURVEYED_BYTES_MIN: u64 = 64 * 1024;

impl Attempt {
    /// Measures a mail of some size as it goes out, where its header may be edited: a next hop that
    /// is told can refuse it before it has come (RFC 1870 §6.1). Every server takes what is smaller
    /// (RFC 5321 §4.5.3.1.7), so that is not read twice.
    pub(super) fn survey<D: Disk>(
        &mut self,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<(), ReadError> {
        let length = self.message.header().message_len;
        if length < SURVEYED_BYTES_MIN || self.edit.is_plain() {
            return Ok(());
        }
        while self.next_recipient(block, scope)? {}
        self.stamp(scope.now, scope.config, scope.queue);
        let (mut taken, mut made) = (0, 0);
        let mut staged = [0; 1024];
        while !self.edit.is_body()
            && let Some(input) = self.message.bytes(scope.queue, scope.disk, block)?
        {
            let rewriting = Rewriting::new(scope.config, scope.destination);
            let with = With { additions: self.additions.as_str(), rules: &rewriting };
            let (now_taken, now_made) = self.edit.push(input, with, &mut staged);
            self.message.consume(now_taken);
            taken += now_taken as u64;
            made += now_made as u64;
        }
        // One that is all header is not measured to its end.
        let size = self.edit.is_body().then(|| length.saturating_sub(taken) + made);
        let (hop, skip) = (self.hop, self.skip);
        *self = Attempt::open(self.ticket(), block, scope)?;
        (self.hop, self.skip, self.size) = (hop, skip, size);
        Ok(())
    }

    /// How long the message is as it goes out: it is read through once, and opened anew.
    pub(super) fn measure<D: Disk>(
        &mut self,
        block: &mut Block,
        scope: &mut Scope<'_, D>,
    ) -> Result<u64, ReadError> {
        let edit = self.edit.clone();
        let mut sum = 0;
        let mut staged = [0; 1024];
        while let Some(made) = self.edited(&mut staged, block, scope)? {
            sum += made as u64;
        }
        self.edit = edit;
        self.message = Message::open(scope.queue, scope.disk, self.ticket(), block)?;
        while self.message.record(scope.queue, scope.disk, block)?.is_some() {}
        Ok(sum)
    }
}

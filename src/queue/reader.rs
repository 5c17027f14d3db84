//! Reading a message out, a block at a time, checked again on the way (I18).
//!
//! A [`Reader`] holds numbers; the bytes stand in the block buffer that its owner lends on each
//! call. The stream is the envelope's records, then the message's bytes. [`Reader::next`] gives the
//! payload of one block after the other; [`ReadError::Damaged`] means that what came before must
//! not be completed: no final dot, no LAST.

use super::block::{self, Binding, Data, Header};
use super::disk::{Block, Disk};
use super::image::{Queue, Ticket};
use super::index::Use;
use super::layout::{self, NO_SLOT};

/// Why a message cannot be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// It is no longer there: removed, or finished.
    Gone,
    /// The disk failed to read; another attempt may work.
    Disk,
    /// A block is not what was written.
    Damaged,
    /// It is whole, but its envelope is not one that this version understands.
    Unreadable,
}

/// See the module's head.
pub struct Reader {
    ticket: Ticket,
    header: Header,
    binding: Binding,
    next: u32,
    index: u32,
    /// The header block is in the buffer already: the message is one block.
    is_loaded: bool,
}

impl Reader {
    /// Opens a message; `buffer` holds its header block afterwards.
    pub fn open(
        queue: &Queue,
        disk: &mut dyn Disk,
        ticket: Ticket,
        buffer: &mut Block,
    ) -> Result<Reader, ReadError> {
        queue.live_state(ticket).ok_or(ReadError::Gone)?;
        if queue.index.used_as(ticket.slot) == Use::Damaged {
            return Err(ReadError::Damaged);
        }
        let number = layout::block_of(ticket.slot);
        disk.read(number, buffer).map_err(|_| ReadError::Disk)?;
        let Some((Data::Header { header, .. }, _)) = block::read_data(number, buffer, &queue.seal)
        else {
            return Err(ReadError::Damaged);
        };
        if header.seq != ticket.seq || header.count == 0 {
            return Err(ReadError::Damaged);
        }
        let is_loaded = header.count == 1;
        let binding = queue.seal.binding();
        Ok(Reader { ticket, header, binding, next: header.first, index: 0, is_loaded })
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The message.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// The next bytes of the stream; none at its end. Once it has failed it fails again.
    pub fn next<'a>(
        &mut self,
        queue: &Queue,
        disk: &mut dyn Disk,
        buffer: &'a mut Block,
    ) -> Result<Option<&'a [u8]>, ReadError> {
        if self.index >= self.header.count {
            return Ok(None);
        }
        queue.live_state(self.ticket).ok_or(ReadError::Gone)?;
        let number = layout::block_of(self.next);
        if !core::mem::take(&mut self.is_loaded) {
            disk.read(number, buffer).map_err(|_| ReadError::Disk)?;
        }
        let (data, tag) =
            block::read_data(number, buffer, &queue.seal).ok_or(ReadError::Damaged)?;
        let len = match data {
            Data::Body { draft, index, next, len }
                if draft == self.header.draft
                    && index == self.index
                    && index + 1 < self.header.count
                    && next < queue.index.slots() =>
            {
                self.binding.add(number, tag);
                self.next = next;
                len
            }
            Data::Header { header, len }
                if header == self.header
                    && self.index + 1 == header.count
                    && self.next == self.ticket.slot
                    && self.binding.digest() == header.digest =>
            {
                self.next = NO_SLOT;
                len
            }
            _ => return Err(ReadError::Damaged),
        };
        self.index += 1;
        Ok(Some(block::payload(buffer, len)))
    }
}

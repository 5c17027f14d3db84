//! A message being read: its envelope record by record, then its bytes.
//!
//! Over a [`Reader`], in the same lent block buffer, which must not be touched between calls. The
//! route pass, an attempt, a report and `queue show` all read messages this way and no other.

use super::block::Header;
use super::disk::{Block, Disk};
use super::envelope::{Record, RecordReader};
use super::image::{Queue, Ticket};
use super::layout::HEAD_BYTES;
use super::reader::{ReadError, Reader};

/// See the module's head.
pub struct Message {
    reader: Reader,
    records: RecordReader,
    envelope_left: usize,
    /// Recipients seen so far: as many as the header says, or it is no envelope.
    recipients: u8,
    at: usize,
    end: usize,
}

impl Message {
    /// At the start of `ticket`'s envelope.
    pub fn open(
        queue: &Queue,
        disk: &mut dyn Disk,
        ticket: Ticket,
        buffer: &mut Block,
    ) -> Result<Message, ReadError> {
        let reader = Reader::open(queue, disk, ticket, buffer)?;
        let envelope_left = reader.header().envelope_len as usize;
        let records = RecordReader::new();
        Ok(Message { reader, records, envelope_left, recipients: 0, at: 0, end: 0 })
    }

    /// What its header says.
    pub fn header(&self) -> &Header {
        self.reader.header()
    }

    /// Which it is.
    pub fn ticket(&self) -> Ticket {
        self.reader.ticket()
    }

    /// The next record of the envelope; none at its end.
    pub fn record(
        &mut self,
        queue: &Queue,
        disk: &mut dyn Disk,
        buffer: &mut Block,
    ) -> Result<Option<Record<'_>>, ReadError> {
        loop {
            if self.envelope_left == 0 {
                // A record that goes on behind the envelope's end is none.
                let is_whole =
                    self.records.is_between() && self.recipients == self.header().recipients;
                return if is_whole { Ok(None) } else { Err(ReadError::Unreadable) };
            }
            if !self.fill(queue, disk, buffer)? {
                return Err(ReadError::Unreadable);
            }
            let bytes = buffer.get(HEAD_BYTES + self.at..HEAD_BYTES + self.end).unwrap_or_default();
            let bytes = bytes.get(..self.envelope_left).unwrap_or(bytes);
            let taken = self.records.step(bytes).map_err(|_| ReadError::Unreadable)?;
            self.at += taken;
            self.envelope_left -= taken;
            if self.records.is_complete() {
                if self.records.is_recipient() {
                    self.recipients = self.recipients.saturating_add(1);
                }
                if self.recipients > self.header().recipients {
                    return Err(ReadError::Unreadable);
                }
                return self.records.record().map(Some).map_err(|_| ReadError::Unreadable);
            }
        }
    }

    /// Bytes of the message that have not been consumed, from the present block; none at its end.
    /// Only behind the envelope.
    pub fn bytes<'a>(
        &mut self,
        queue: &Queue,
        disk: &mut dyn Disk,
        buffer: &'a mut Block,
    ) -> Result<Option<&'a [u8]>, ReadError> {
        debug_assert!(self.envelope_left == 0, "the envelope comes first");
        if !self.fill(queue, disk, buffer)? {
            return Ok(None);
        }
        Ok(buffer.get(HEAD_BYTES + self.at..HEAD_BYTES + self.end))
    }

    /// `count` of the bytes have been taken.
    pub fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.end);
    }

    /// Sees to it that the buffer holds bytes that were not taken yet; false at the end.
    fn fill(
        &mut self,
        queue: &Queue,
        disk: &mut dyn Disk,
        buffer: &mut Block,
    ) -> Result<bool, ReadError> {
        while self.at == self.end {
            match self.reader.next(queue, disk, buffer)? {
                Some(bytes) => (self.at, self.end) = (0, bytes.len()),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

//! Envelope records: how a sender, recipients and what else belongs to a message lie in the queue.
//!
//! A record is type (1 byte), flags (1), length (2, little-endian), then so many bytes; the same in
//! the image and in a drop file. They come as a stream, since they may straddle blocks:
//! [`Record::encode`] writes a head, [`RecordReader`] puts one record together at a time in fixed
//! memory. An unknown type with the critical flag, or a length no version would write, is
//! [`Unreadable`]: that one message is held, the rest of the queue is not concerned. Addresses are
//! bytes with a length, never lines; whoever reads them parses them again.

use crate::base::buffer::Text;
use crate::mail::address::Address;
use core::fmt::Write as _;

/// The longest value of a record that this version knows; DSN's ORCPT= is the longest (500).
pub const VALUE_BYTES_MAX: usize = 512;
/// Type, flags, length.
pub const RECORD_HEAD_BYTES: usize = 4;

const CRITICAL: u8 = 1;

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// MAIL FROM, without brackets; empty is the null path. Always the first.
    Sender(&'a [u8]),
    /// RCPT TO as accepted. Their order numbers them from 0.
    Recipient(&'a [u8]),
    /// Who handed it in, for people: an address, and the name given with HELO or EHLO.
    Client(&'a [u8]),
    /// The local user who handed it in.
    Login(u32),
    /// The drop file that it was imported from.
    DropName([u8; 32]),
    /// BODY=BINARYMIME: never to be sent by DATA.
    Binary,
    /// SMTPUTF8.
    Utf8,
    /// RET=: how much a report returns.
    Return(u8),
    /// ENVID=, decoded.
    EnvelopeId(&'a [u8]),
    /// NOTIFY= of the recipient that follows: of what the sender wants reports.
    Notify(u8),
    /// ORCPT= of the recipient that follows, `type;address`, decoded.
    Original(&'a [u8]),
    /// Not to go before.
    Hold(Hold),
    /// Who had logged in (AUTH) to hand it in.
    Account(&'a [u8]),
    /// An alias has led to the recipient that follows: no alias is looked for any more.
    Final,
    /// BY=: by when it is to be delivered.
    By(By),
}

/// How long a message is to stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hold {
    /// So many seconds of running after its arrival,
    pub seconds: u32,
    /// or until that time, if the clock can be trusted then; seconds since 1970.
    pub until: i64,
}

impl Hold {
    fn to_bytes(self) -> [u8; 12] {
        let [a, b, c, d] = self.seconds.to_le_bytes();
        let [e, f, g, h, i, j, k, l] = self.until.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    fn from_bytes(bytes: &[u8]) -> Option<Hold> {
        let (seconds, until) = bytes.split_first_chunk()?;
        let until = i64::from_le_bytes(until.try_into().ok()?);
        Some(Hold { seconds: u32::from_le_bytes(*seconds), until })
    }
}

/// What is said of a recipient, in records right before his own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Said {
    /// NOTIFY=, its bits.
    pub notify: Option<u8>,
    /// ORCPT=, decoded; empty for none.
    pub original: Text<VALUE_BYTES_MAX>,
}

impl Said {
    /// The same, of somebody to whom an alias leads: reports name `path`, whom the sender has named
    /// (RFC 3461 §5.2.1).
    pub fn naming(&self, path: Address<'_>, hostname: &str) -> Said {
        let mut said = *self;
        if said.original.is_empty() && path.is_ascii() {
            let (at, host) = if path.domain().is_none() { ("@", hostname) } else { ("", "") };
            // A Text cuts what is too long; an address and a host name fit.
            let _ = write!(said.original, "rfc822;{}{at}{host}", path.as_str());
        }
        said
    }

    /// Hands its records to `each`.
    pub fn write<E>(&self, mut each: impl FnMut(&Record<'_>) -> Result<(), E>) -> Result<(), E> {
        if let Some(notify) = self.notify {
            each(&Record::Notify(notify))?;
        }
        if !self.original.is_empty() {
            each(&Record::Original(self.original.as_str().as_bytes()))?;
        }
        Ok(())
    }
}

/// By when a message is to be delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct By {
    /// So many seconds of running after its arrival, or after its hold.
    pub seconds: i32,
    /// [`By::RETURN`] and [`By::TRACE`].
    pub flags: u8,
}

impl By {
    /// What is late is returned; else its sender is told, and it goes on.
    pub const RETURN: u8 = 1;
    /// Its sender is told of each server that hands it on.
    pub const TRACE: u8 = 2;

    fn to_bytes(self) -> [u8; 5] {
        let [a, b, c, d] = self.seconds.to_le_bytes();
        [a, b, c, d, self.flags]
    }

    fn from_bytes(bytes: &[u8]) -> Option<By> {
        let (seconds, flags) = bytes.split_first_chunk()?;
        let [flags] = *flags else { return None };
        Some(By { seconds: i32::from_le_bytes(*seconds), flags })
    }

    /// True if what is late is returned.
    pub fn is_final(self) -> bool {
        self.flags & By::RETURN != 0
    }

    /// True if its sender is told of each server that hands it on.
    pub fn is_traced(self) -> bool {
        self.flags & By::TRACE != 0
    }
}

/// The envelope cannot be understood by this version, or is not one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable;

const SENDER: u8 = 1;
const RECIPIENT: u8 = 2;
const CLIENT: u8 = 3;
const LOGIN: u8 = 4;
const DROP_NAME: u8 = 5;
const BINARY: u8 = 6;
const UTF8: u8 = 7;
const RETURN: u8 = 8;
const ENVELOPE_ID: u8 = 9;
const NOTIFY: u8 = 10;
const ORIGINAL: u8 = 11;
const HOLD: u8 = 12;
const ACCOUNT: u8 = 13;
const FINAL: u8 = 14;
const BY: u8 = 15;

impl Record<'_> {
    /// Hands the record's bytes to `each`, head and value, in one or two pieces. A value beyond
    /// [`VALUE_BYTES_MAX`] is cut: every caller's grammar keeps its values shorter.
    pub fn encode<E>(&self, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let (number, byte, hold, by);
        let (kind, flags, value): (u8, u8, &[u8]) = match self {
            Record::Sender(address) => (SENDER, CRITICAL, address),
            Record::Recipient(address) => (RECIPIENT, CRITICAL, address),
            Record::Client(text) => (CLIENT, 0, text),
            Record::Login(uid) => {
                number = uid.to_le_bytes();
                (LOGIN, 0, &number)
            }
            Record::DropName(name) => (DROP_NAME, CRITICAL, name),
            Record::Binary => (BINARY, CRITICAL, &[]),
            Record::Utf8 => (UTF8, CRITICAL, &[]),
            Record::Return(what) => {
                byte = [*what];
                (RETURN, 0, &byte)
            }
            Record::EnvelopeId(text) => (ENVELOPE_ID, 0, text),
            Record::Notify(what) => {
                byte = [*what];
                (NOTIFY, CRITICAL, &byte)
            }
            Record::Original(text) => (ORIGINAL, 0, text),
            Record::Hold(until) => {
                hold = until.to_bytes();
                (HOLD, CRITICAL, &hold)
            }
            Record::Account(name) => (ACCOUNT, 0, name),
            // Whoever looked for one all the same might go in a circle.
            Record::Final => (FINAL, CRITICAL, &[]),
            Record::By(until) => {
                by = until.to_bytes();
                (BY, 0, &by)
            }
        };
        let value = value.get(..VALUE_BYTES_MAX).unwrap_or(value);
        let length = u16::try_from(value.len()).unwrap_or(0).to_le_bytes();
        each(&[kind, flags, length[0], length[1]])?;
        each(value)
    }

    /// How many bytes [`Record::encode`] makes of it.
    pub fn encoded_len(&self) -> usize {
        let mut sum = 0;
        let _: Result<(), core::convert::Infallible> = self.encode(|bytes| {
            sum += bytes.len();
            Ok(())
        });
        sum
    }
}

fn single(value: &[u8]) -> Result<u8, Unreadable> {
    if let [byte] = value { Ok(*byte) } else { Err(Unreadable) }
}

/// Puts records together from a stream cut anywhere.
pub struct RecordReader {
    bytes: [u8; RECORD_HEAD_BYTES + VALUE_BYTES_MAX],
    have: usize,
    /// Bytes of a record of a later version that are still to be passed over.
    skip: usize,
    is_complete: bool,
}

impl Default for RecordReader {
    fn default() -> Self {
        Self::new()
    }
}

impl RecordReader {
    /// At the start of an envelope.
    pub const fn new() -> RecordReader {
        RecordReader {
            bytes: [0; RECORD_HEAD_BYTES + VALUE_BYTES_MAX],
            have: 0,
            skip: 0,
            is_complete: false,
        }
    }

    /// True between two records: where an envelope may end.
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    /// Takes a prefix of `input`, at most to the end of one record; tells how much. When it
    /// [`RecordReader::is_complete`], take the record before the next step.
    pub fn step(&mut self, input: &[u8]) -> Result<usize, Unreadable> {
        self.is_complete = false;
        if self.skip > 0 {
            let skipped = self.skip.min(input.len());
            self.skip -= skipped;
            return Ok(skipped);
        }
        let mut taken = self.fill(input, RECORD_HEAD_BYTES);
        let [kind, flags, low, high, ..] = self.bytes;
        if self.have < RECORD_HEAD_BYTES {
            return Ok(taken);
        }
        let length = usize::from(u16::from_le_bytes([low, high]));
        if !(SENDER..=BY).contains(&kind) {
            if flags & CRITICAL != 0 {
                return Err(Unreadable);
            }
            self.have = 0;
            self.skip = length;
            return Ok(taken);
        }
        if length > VALUE_BYTES_MAX {
            return Err(Unreadable);
        }
        let rest = input.get(taken..).unwrap_or_default();
        taken += self.fill(rest, RECORD_HEAD_BYTES + length);
        if self.have == RECORD_HEAD_BYTES + length {
            self.have = 0;
            self.is_complete = true;
        }
        Ok(taken)
    }

    /// True when the last step completed a record.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// True if that record is a recipient.
    pub fn is_recipient(&self) -> bool {
        matches!(self.bytes, [RECIPIENT, ..])
    }

    /// The record that the last step completed.
    pub fn record(&self) -> Result<Record<'_>, Unreadable> {
        let [kind, _, low, high, ..] = self.bytes;
        let end = RECORD_HEAD_BYTES + usize::from(u16::from_le_bytes([low, high]));
        let value = self.bytes.get(RECORD_HEAD_BYTES..end).ok_or(Unreadable)?;
        Ok(match kind {
            SENDER => Record::Sender(value),
            RECIPIENT => Record::Recipient(value),
            CLIENT => Record::Client(value),
            LOGIN => Record::Login(u32::from_le_bytes(value.try_into().or(Err(Unreadable))?)),
            DROP_NAME => Record::DropName(value.try_into().or(Err(Unreadable))?),
            BINARY if value.is_empty() => Record::Binary,
            UTF8 if value.is_empty() => Record::Utf8,
            FINAL if value.is_empty() => Record::Final,
            RETURN => Record::Return(single(value)?),
            ENVELOPE_ID => Record::EnvelopeId(value),
            NOTIFY => Record::Notify(single(value)?),
            ORIGINAL => Record::Original(value),
            HOLD => Record::Hold(Hold::from_bytes(value).ok_or(Unreadable)?),
            ACCOUNT => Record::Account(value),
            BY => Record::By(By::from_bytes(value).ok_or(Unreadable)?),
            _ => return Err(Unreadable),
        })
    }

    fn fill(&mut self, input: &[u8], up_to: usize) -> usize {
        let count = up_to.saturating_sub(self.have).min(input.len());
        let room = self.bytes.get_mut(self.have..self.have + count).unwrap_or_default();
        room.copy_from_slice(input.get(..count).unwrap_or_default());
        self.have += count;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(records: &[Record<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in records {
            let before = bytes.len();
            record
                .encode(|piece| {
                    bytes.extend_from_slice(piece);
                    Ok::<(), ()>(())
                })
                .unwrap();
            assert_eq!(bytes.len() - before, record.encoded_len());
        }
        bytes
    }

    fn decoded(bytes: &[u8], split: usize) -> Result<Vec<String>, Unreadable> {
        let mut reader = RecordReader::new();
        let mut seen = Vec::new();
        for mut part in [&bytes[..split], &bytes[split..]] {
            while !part.is_empty() {
                let taken = reader.step(part)?;
                if reader.is_complete() {
                    seen.push(format!("{:?}", reader.record()?));
                }
                part = &part[taken..];
            }
        }
        assert!(reader.is_between());
        Ok(seen)
    }

    #[test]
    fn records_there_and_back_over_every_split() {
        let records = [
            Record::Sender(b""),
            Record::Recipient(b"a@example.net"),
            Record::Client(b"[192.0.2.1] printer"),
            Record::Login(1000),
            Record::DropName([b'7'; 32]),
            Record::Binary,
            Record::Utf8,
            Record::Return(2),
            Record::EnvelopeId(b"QQ 314"),
            Record::Notify(0),
            Record::Original(b"rfc822;a+b@example.net"),
            Record::Recipient(b"c@example.net"),
            Record::Hold(Hold { seconds: 86_400, until: -2 }),
            Record::Account(b"alice"),
            Record::By(By { seconds: -2, flags: 3 }),
        ];
        let bytes = encoded(&records);
        let expected: Vec<String> = records.iter().map(|r| format!("{r:?}")).collect();
        for split in 0..=bytes.len() {
            assert_eq!(decoded(&bytes, split).as_ref(), Ok(&expected));
        }
    }

    #[test]
    fn a_later_version_is_skipped_or_held() {
        let mut bytes = encoded(&[Record::Sender(b"x")]);
        bytes.extend_from_slice(&[200, 0, 3, 0, 1, 2, 3]);
        bytes.extend(encoded(&[Record::Recipient(b"y")]));
        for split in 0..=bytes.len() {
            assert_eq!(decoded(&bytes, split).unwrap().len(), 2);
        }
        assert_eq!(decoded(&[200, 1, 0, 0], 0), Err(Unreadable));
        assert_eq!(decoded(&[2, 1, 1, 2], 0), Err(Unreadable), "513 bytes");
        for wrong_length in [
            &[4, 0, 1, 0, 9][..],
            &[6, 1, 1, 0, 9],
            &[7, 1, 1, 0, 9],
            &[8, 0, 0, 0],
            &[10, 1, 2, 0, 9, 9],
            &[12, 1, 4, 0, 9, 9, 9, 9],
            &[15, 0, 4, 0, 9, 9, 9, 9],
        ] {
            assert_eq!(decoded(wrong_length, 0), Err(Unreadable), "{wrong_length:?}");
        }
    }
}

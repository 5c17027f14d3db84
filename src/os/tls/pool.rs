//! The record buffers that all TLS connections share, and who gets one (decisions 13).
//!
//! A TLS record is at most [`RECORD_BYTES_MAX`], and nothing of it can be decrypted before all of
//! it is there. So a connection borrows a buffer while it has a part of a record, and idle ones
//! have none. There are few buffers; these rules see to it that peers with half a record do not
//! stop the others:
//!
//! - a record must be complete [`RECORD_TIMEOUT`] after it began;
//! - while somebody waits for a buffer, whoever holds one longest is closed, if that is longer
//!   than [`CONTENDED_HOLD_MAX`];
//! - one address holds at most half of them, a /64 of IPv6 being one address;
//! - who waits is served in the order that they came, and whoever comes later does not pass them.
//!
//! There are two pools of this kind ([`Pools`]), so that clients take nothing from next hops. In
//! the one for next hops an address does not close its own connections by waiting for itself:
//! several to one relay over a slow line are no attack.
//!
//! Not here: sockets, TLS. The caller brings the time. Nothing allocates after it has been made.

use crate::daemon::world::Token;
use crate::intake::peer::Source;
use core::net::IpAddr;
use std::time::{Duration, Instant};
use zeroize::Zeroize as _;

/// A record as it may come: RFC 5246 §6.2.3 allows 2048 bytes beyond the 2^14 of its text, and
/// there are five bytes of header.
pub(super) const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2048;
/// From the first bytes of a record to its last.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a buffer may be held while somebody waits for one.
const CONTENDED_HOLD_MAX: Duration = Duration::from_secs(2);

/// Buffers for next hops (decisions 13).
const OUTGOING: usize = 2;

/// The pools of both directions.
pub(super) struct Pools {
    /// For those who come in.
    pub(super) incoming: Pool,
    /// For next hops.
    pub(super) outgoing: Pool,
}

impl Pools {
    /// `count` buffers for those who come in, and [`OUTGOING`] for next hops.
    pub(super) fn new(count: usize, tokens: usize) -> Pools {
        let mut outgoing = Pool::new(OUTGOING, tokens);
        outgoing.is_patient = true;
        Pools { incoming: Pool::new(count, tokens), outgoing }
    }

    pub(super) fn of(&mut self, is_outgoing: bool) -> &mut Pool {
        if is_outgoing { &mut self.outgoing } else { &mut self.incoming }
    }

    /// The connection is gone: it waits for nothing.
    pub(super) fn forget(&mut self, token: Token) {
        self.both_mut().for_each(|pool| pool.forget(token));
    }

    /// See [`Pool::begin_turn`].
    pub(super) fn begin_turn(&mut self) {
        self.both_mut().for_each(Pool::begin_turn);
    }

    /// See [`Pool::promise`].
    pub(super) fn promise(&mut self) -> Option<Token> {
        self.both_mut().find_map(Pool::promise)
    }

    /// See [`Pool::overdue`].
    pub(super) fn overdue(&self, now: Instant) -> Option<(Token, Overdue)> {
        self.incoming.overdue(now).or_else(|| self.outgoing.overdue(now))
    }

    /// See [`Pool::deadline`].
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let both = [&self.incoming, &self.outgoing];
        both.into_iter().filter_map(|pool| pool.deadline(now)).min()
    }

    fn both_mut(&mut self) -> impl Iterator<Item = &mut Pool> {
        [&mut self.incoming, &mut self.outgoing].into_iter()
    }
}

/// A buffer, borrowed. It goes back by [`Pool::give_back`].
pub(super) struct Lease(u16);

/// Why a holder is to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Overdue {
    /// A record is not complete in time.
    Incomplete,
    /// Others wait.
    Contended,
}

/// See the module's head.
pub(super) struct Pool {
    buffers: Box<[Buffer]>,
    /// Who waits, first come first served. Nobody is there twice.
    waiting: Vec<(Token, Source)>,
    /// Who was told in this turn that there is a buffer for him.
    promised: Vec<Token>,
    /// Who waits for a buffer of his own address does not close it.
    is_patient: bool,
}

struct Buffer {
    record: Record,
    holder: Option<Holder>,
}

struct Holder {
    token: Token,
    source: Source,
    since: Instant,
}

impl Pool {
    /// `count` buffers for at most `tokens` connections.
    pub(super) fn new(count: usize, tokens: usize) -> Pool {
        let buffer = || Buffer { record: Record::new(), holder: None };
        Pool {
            buffers: core::iter::repeat_with(buffer).take(count).collect(),
            waiting: Vec::with_capacity(tokens),
            promised: Vec::with_capacity(count),
            is_patient: false,
        }
    }

    /// A buffer for the connection, if there is one that nobody else has a better claim to.
    pub(super) fn take(&mut self, token: Token, address: IpAddr, now: Instant) -> Option<Lease> {
        let source = Source::of(address);
        if let Some(place) = self.promised.iter().position(|promised| *promised == token) {
            self.promised.swap_remove(place);
        } else if self.free() <= self.promised.len()
            || self.next_waiting().is_some()
            || self.is_at_its_share(source)
        {
            return None;
        }
        let place = self.buffers.iter().position(|buffer| buffer.holder.is_none())?;
        let buffer = self.buffers.get_mut(place)?;
        buffer.record.clear();
        buffer.holder = Some(Holder { token, source, since: now });
        Some(Lease(place as u16))
    }

    /// The connection has the beginning of a record and no buffer: it will be told when there is
    /// one.
    pub(super) fn wait(&mut self, token: Token, address: IpAddr) {
        let is_new = self.waiting.iter().all(|(waiting, _)| *waiting != token);
        if is_new && self.waiting.len() < self.waiting.capacity() {
            self.waiting.push((token, Source::of(address)));
        }
    }

    /// What is in the buffer.
    pub(super) fn record(&mut self, lease: &Lease) -> Option<&mut Record> {
        self.buffers.get_mut(usize::from(lease.0)).map(|buffer| &mut buffer.record)
    }

    /// What is in the buffer now has begun to come at `now`.
    pub(super) fn renew(&mut self, lease: &Lease, now: Instant) {
        let buffer = self.buffers.get_mut(usize::from(lease.0));
        if let Some(holder) = buffer.and_then(|buffer| buffer.holder.as_mut()) {
            holder.since = now;
        }
    }

    /// The buffer is free. Passwords have stood in it: nothing of them stays (threats 19).
    pub(super) fn give_back(&mut self, lease: Lease) {
        if let Some(buffer) = self.buffers.get_mut(usize::from(lease.0)) {
            buffer.record.wipe();
            buffer.holder = None;
        }
    }

    /// The connection is gone: it waits for nothing.
    pub(super) fn forget(&mut self, token: Token) {
        self.waiting.retain(|(waiting, _)| *waiting != token);
        self.promised.retain(|promised| *promised != token);
    }

    /// A turn begins: what was promised in the last one and not taken is everybody's again.
    pub(super) fn begin_turn(&mut self) {
        self.promised.clear();
    }

    /// Promises a buffer to the first who waits and may have one; he is to be told.
    pub(super) fn promise(&mut self) -> Option<Token> {
        let place = self.next_waiting()?;
        let (token, _) = self.waiting.remove(place);
        self.promised.push(token);
        Some(token)
    }

    /// Somebody who holds a buffer too long, and is to be closed.
    pub(super) fn overdue(&self, now: Instant) -> Option<(Token, Overdue)> {
        let is_over = |holder: &&Holder, most| now.saturating_duration_since(holder.since) >= most;
        let late = self.late().filter(|holder| is_over(holder, RECORD_TIMEOUT));
        let in_the_way = self.in_the_way().filter(|holder| is_over(holder, CONTENDED_HOLD_MAX));
        let late = late.map(|holder| (holder.token, Overdue::Incomplete));
        late.or(in_the_way.map(|holder| (holder.token, Overdue::Contended)))
    }

    /// When to look at the rules again though nothing has happened.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.next_waiting().is_some() {
            return Some(now);
        }
        let late = self.late().map(|holder| holder.since + RECORD_TIMEOUT);
        let in_the_way = self.in_the_way().map(|holder| holder.since + CONTENDED_HOLD_MAX);
        late.into_iter().chain(in_the_way).min()
    }

    /// How many are free.
    pub(super) fn free(&self) -> usize {
        self.buffers.iter().filter(|buffer| buffer.holder.is_none()).count()
    }

    fn next_waiting(&self) -> Option<usize> {
        if self.free() <= self.promised.len() {
            return None;
        }
        self.waiting.iter().position(|(_, source)| !self.is_at_its_share(*source))
    }

    fn is_at_its_share(&self, source: Source) -> bool {
        let held = self.holders().filter(|holder| holder.source == source).count();
        held >= (self.buffers.len() / 2).max(1)
    }

    fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.buffers.iter().filter_map(|buffer| buffer.holder.as_ref())
    }

    /// Who has had a part of a record for longest. Not text that the session has no room for: that
    /// peer may be waiting for us.
    fn late(&self) -> Option<&Holder> {
        let buffers = self.buffers.iter().filter(|buffer| buffer.record.plain == 0);
        buffers.filter_map(|buffer| buffer.holder.as_ref()).min_by_key(|holder| holder.since)
    }

    /// Who has held longest a buffer that would serve somebody who waits: anybody's, or one of his
    /// own address where that has its share.
    fn in_the_way(&self) -> Option<&Holder> {
        let serves = |holder: &&Holder| {
            self.waiting.iter().any(|(_, source)| match holder.source == *source {
                true => !self.is_patient,
                false => !self.is_at_its_share(*source),
            })
        };
        self.holders().filter(serves).min_by_key(|holder| holder.since)
    }
}

/// A buffer's contents: text of a record that was decrypted and not yet taken, then bytes off the
/// wire.
pub(super) struct Record {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// How much of the front is text.
    plain: usize,
    /// Something was taken off the front, so that what is there now came later.
    has_moved: bool,
    /// Bytes behind this were not written since the last wiping.
    reached: usize,
}

impl Record {
    pub(super) fn new() -> Record {
        // Pages that are never touched take no memory.
        let bytes = vec![0; RECORD_BYTES_MAX].into_boxed_slice();
        Record { bytes, start: 0, end: 0, plain: 0, has_moved: false, reached: 0 }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        (self.start, self.end, self.plain) = (0, 0, 0);
    }

    /// Forgets everything, and leaves nothing of it behind.
    pub(super) fn wipe(&mut self) {
        self.clear();
        self.bytes.get_mut(..self.reached).unwrap_or_default().zeroize();
        self.reached = 0;
    }

    /// True when nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// True while text waits to be taken.
    pub(super) fn has_text(&self) -> bool {
        self.plain > 0
    }

    /// Whether anything was taken off the front since this was asked last.
    pub(super) fn has_moved(&mut self) -> bool {
        core::mem::take(&mut self.has_moved)
    }

    /// Moves text into `into`; how much.
    pub(super) fn take_plain(&mut self, into: &mut [u8]) -> usize {
        let count = self.plain.min(into.len());
        let text = self.bytes.get(self.start..self.start + count).unwrap_or_default();
        if let Some(room) = into.get_mut(..text.len()) {
            room.copy_from_slice(text);
        }
        let count = text.len();
        self.start += count;
        self.plain -= count;
        self.has_moved |= count > 0;
        count
    }

    /// What has come off the wire and was not consumed. Not while there is text.
    pub(super) fn wire(&mut self) -> &mut [u8] {
        debug_assert!(self.plain == 0, "text must be taken first");
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// How much has come off the wire and was not consumed.
    pub(super) fn wire_len(&self) -> usize {
        self.end - self.start - self.plain
    }

    /// Takes `count` bytes off the front of what came off the wire, and puts `text` there, which
    /// was in it and is therefore no longer.
    pub(super) fn consume(&mut self, count: usize, text: &[u8]) {
        self.start = (self.start + count).min(self.end);
        self.has_moved |= count > 0;
        let begin = self.start.saturating_sub(text.len());
        if let Some(room) = self.bytes.get_mut(begin..begin + text.len()) {
            room.copy_from_slice(text);
            (self.start, self.plain) = (begin, text.len());
        }
        if self.start == self.end {
            self.clear();
        }
    }

    /// Room for more off the wire; say with [`Record::produced`] how much it was.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// `count` bytes were put into [`Record::room`].
    pub(super) fn produced(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
        self.reached = self.reached.max(self.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn fill(pool: &mut Pool, count: u16, now: Instant) -> Vec<Lease> {
        (0..count).map(|at| pool.take(Token(at), address(at as u8), now).unwrap()).collect()
    }

    #[test]
    fn who_waits_gets_the_next_one_and_nobody_passes_him() {
        let now = Instant::now();
        let mut pool = Pool::new(4, 10);
        let mut leases = fill(&mut pool, 4, now);
        for token in [7, 8, 7] {
            assert!(pool.take(Token(token), address(token as u8), now).is_none());
            pool.wait(Token(token), address(token as u8));
        }
        assert_eq!(pool.promise(), None);
        pool.give_back(leases.pop().unwrap());
        assert_eq!(pool.deadline(now), Some(now));
        assert!(pool.take(Token(9), address(9), now).is_none());
        assert_eq!(pool.promise(), Some(Token(7)));
        assert_eq!(pool.promise(), None);
        assert!(pool.take(Token(9), address(9), now).is_none());
        assert!(pool.take(Token(7), address(7), now).is_some());
        pool.begin_turn();
        pool.give_back(leases.pop().unwrap());
        // Who does not want it any more keeps nobody waiting.
        assert_eq!(pool.promise(), Some(Token(8)));
        pool.begin_turn();
        assert!(pool.take(Token(9), address(9), now).is_some());
    }

    #[test]
    fn one_address_holds_at_most_half() {
        let now = Instant::now();
        let mut pool = Pool::new(4, 10);
        let same = |last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let _one = pool.take(Token(1), same(1), now).unwrap();
        let two = pool.take(Token(2), same(2), now).unwrap();
        assert!(pool.take(Token(3), same(3), now).is_none());
        pool.wait(Token(3), same(3));
        // He waits for his like, and others do not wait for him.
        assert_eq!(pool.promise(), None);
        assert!(pool.take(Token(4), address(4), now).is_some());
        assert!(pool.take(Token(5), address(4), now).is_some());
        pool.wait(Token(6), address(6));
        pool.give_back(two);
        assert_eq!(pool.promise(), Some(Token(3)));
        assert_eq!(Pool::new(1, 1).take(Token(0), address(1), now).map(|lease| lease.0), Some(0));
    }

    #[test]
    fn a_record_takes_ten_seconds_or_two_while_somebody_waits() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let mut pool = Pool::new(2, 10);
        let _first = pool.take(Token(1), address(1), now).unwrap();
        let second = pool.take(Token(2), address(2), later(1)).unwrap();
        assert_eq!(pool.deadline(now), Some(later(10)));
        assert_eq!(pool.overdue(later(9)), None);
        assert_eq!(pool.overdue(later(10)), Some((Token(1), Overdue::Incomplete)));
        pool.wait(Token(3), address(3));
        assert_eq!(pool.deadline(now), Some(later(2)));
        assert_eq!(pool.overdue(later(1)), None);
        assert_eq!(pool.overdue(later(2)), Some((Token(1), Overdue::Contended)));
        pool.forget(Token(3));
        assert_eq!(pool.overdue(later(2)), None);
        // Text that the session has no room for may be held, unless somebody waits.
        for lease in [&_first, &second] {
            let record = pool.record(lease).unwrap();
            record.room()[..10].fill(b'x');
            record.produced(10);
            record.consume(10, b"text");
        }
        assert_eq!(pool.overdue(later(100)), None);
        assert_eq!(pool.deadline(now), None);
        pool.wait(Token(3), address(3));
        assert_eq!(pool.overdue(later(100)), Some((Token(1), Overdue::Contended)));
        pool.renew(&_first, later(100));
        assert_eq!(pool.overdue(later(100)), Some((Token(2), Overdue::Contended)));
    }

    /// Who has his share and wants more is in his own way, not in that of others.
    #[test]
    fn nobody_makes_others_leave_by_waiting_for_himself() {
        let now = Instant::now();
        let late = now + CONTENDED_HOLD_MAX;
        let mut pool = Pool::new(4, 10);
        let _slow = pool.take(Token(1), address(1), now).unwrap();
        let soon = now + Duration::from_millis(1);
        let _held = [2, 3].map(|token| pool.take(Token(token), address(9), soon).unwrap());
        pool.wait(Token(4), address(9));
        assert_eq!(pool.overdue(late), None);
        assert_eq!(pool.deadline(now), Some(soon + CONTENDED_HOLD_MAX));
        let late = late + Duration::from_millis(1);
        assert_eq!(pool.overdue(late), Some((Token(2), Overdue::Contended)));
    }

    #[test]
    fn text_stands_before_what_came_behind_it() {
        let mut record = Record::new();
        record.room()[..14].copy_from_slice(b"[sealed][next]");
        record.produced(14);
        record.consume(8, b"text");
        assert_eq!((record.plain, record.wire_len()), (4, 6));
        assert!(record.has_moved() && !record.has_moved());
        let mut into = [0; 3];
        assert_eq!(record.take_plain(&mut into), 3);
        assert_eq!(&into, b"tex");
        assert_eq!(record.room().len(), RECORD_BYTES_MAX - 7);
        assert_eq!(record.take_plain(&mut into), 1);
        assert_eq!(record.take_plain(&mut into), 0);
        assert_eq!(record.wire(), b"[next]");
        record.consume(6, b"");
        assert_eq!(record.wire_len(), 0);
        assert_eq!(record.room().len(), RECORD_BYTES_MAX);
    }
}

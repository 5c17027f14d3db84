//! How fast a message must come: some byte before each deadline, and a floor for the average
//! (threats 10). A deadline is moved by bytes, never by commands, and chunks of one message are one
//! message: what was idle between them counts.

use crate::base::time::Instant;
use crate::limits::{DATA_RATE_FLOOR, DATA_RATE_GRACE};
use core::time::Duration;

/// The clock of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pace {
    since: Instant,
    /// Off the wire so far.
    bytes: u64,
    progress_deadline: Instant,
}

impl Pace {
    /// A message of which nothing has come yet.
    pub(super) fn new(now: Instant, timeout: Duration) -> Pace {
        Pace { since: now, bytes: 0, progress_deadline: now + timeout }
    }

    /// `count` bytes have come, or a chunk is about to.
    pub(super) fn take(&mut self, count: usize, now: Instant, timeout: Duration) {
        self.bytes = self.bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        self.progress_deadline = now + timeout;
    }

    /// When the average would fall below the floor.
    pub(super) fn rate_deadline(&self) -> Instant {
        let earned = Duration::from_millis(self.bytes.saturating_mul(1000) / DATA_RATE_FLOOR);
        self.since + DATA_RATE_GRACE.max(earned)
    }

    /// When to give up while bytes are due.
    pub(super) fn deadline(&self) -> Instant {
        self.progress_deadline.min(self.rate_deadline())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_buy_time_and_silence_none() {
        let (start, timeout) = (Instant::from_millis(0), Duration::from_secs(180));
        let mut pace = Pace::new(start, timeout);
        assert_eq!(pace.deadline(), start + DATA_RATE_GRACE);
        pace.take(100 * 64, start + Duration::from_secs(50), timeout);
        assert_eq!(pace.rate_deadline(), start + Duration::from_secs(100));
        pace.take(1_000_000, start + Duration::from_secs(60), timeout);
        assert_eq!(pace.deadline(), start + Duration::from_secs(240));
        pace.take(usize::MAX, start, timeout);
        assert!(pace.rate_deadline() > start);
    }
}

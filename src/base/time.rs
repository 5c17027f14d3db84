//! Time as plain numbers, handed in by the caller.
//!
//! Two clocks that must never be mixed up are two types: [`Instant`] only ever grows and is what
//! deadlines and retries are made of; [`UnixTime`] is what people read, may jump by decades on a
//! machine without a battery, and decides nothing. [`Now`] carries both through a loop turn.

use core::ops::Add;
use core::time::Duration;

/// Milliseconds on a clock that never goes back; its zero means nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// The instant `milliseconds` after the clock's zero.
    pub const fn from_millis(milliseconds: u64) -> Instant {
        Instant(milliseconds)
    }

    /// Milliseconds since the clock's zero.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, span: Duration) -> Instant {
        let milliseconds = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(milliseconds))
    }
}

/// Seconds since 1970-01-01T00:00:00Z, as the wall clock claims.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct UnixTime {
    /// The claim.
    pub seconds: i64,
    /// False while the claim is older than this program, so certainly wrong.
    pub trusted: bool,
}

/// Both clocks, read once at the start of a loop turn and again after a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For deadlines and retries.
    pub instant: Instant,
    /// For Date, Received and the log.
    pub unix: UnixTime,
    /// The local zone, minutes east of UTC, for Date and Received.
    pub zone_minutes: i16,
}

/// The earlier of two deadlines, where none means never.
pub fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_saturate() {
        let end = Instant::from_millis(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Instant::default().since(end), Duration::ZERO);
    }

    #[test]
    fn earliest_ignores_never() {
        let one = Some(Instant::from_millis(1));
        assert_eq!(earliest(one, None), one);
        assert_eq!(earliest(None, one), one);
        assert_eq!(earliest(Some(Instant::from_millis(2)), one), one);
        assert_eq!(earliest(None, None), None);
    }
}

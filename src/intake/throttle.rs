//! How often each address has been wrong about a password lately, and what that costs it.
//!
//! From the third failure on an answer takes [`Throttle::delay`], longer each time; with
//! [`FAILURES_MAX`] of them an address is refused without being looked at. One is forgotten every
//! [`FORGET_AFTER`], so who guesses gets 180 tries an hour, and a device with an old password gets
//! in within minutes of being corrected.
//!
//! Limit: [`LOGIN_SOURCES_MAX`] rows, made at the start. When all are in use, the one with the
//! fewest failures goes: whoever wants to be forgotten must fail as often from as many other
//! addresses.
//!
//! It also counts what a turn of the loop may spend: one check of a password by PBKDF2. Others wait
//! for the next turn, in which everybody else is served as well (LAW 2).

use super::peer::Source;
use crate::base::time::Instant;
use crate::limits::LOGIN_SOURCES_MAX;
use core::time::Duration;

/// So many failures at one time, and the address is refused.
pub const FAILURES_MAX: u32 = 20;
/// After how long one failure is forgotten.
pub const FORGET_AFTER: Duration = Duration::from_secs(20);
/// The longest that an answer is held back.
const DELAY_MAX: Duration = Duration::from_secs(16);

/// See the module's head.
pub struct Throttle {
    rows: Box<[Row]>,
    is_spent: bool,
    is_awaited: bool,
}

/// An address and when all of its failures will be forgotten.
#[derive(Clone, Copy)]
struct Row {
    source: Source,
    clean_at: Instant,
}

impl Throttle {
    /// Nobody has failed.
    pub fn new() -> Throttle {
        let row = Row { source: Source::V4(0), clean_at: Instant::default() };
        let rows = core::iter::repeat_n(row, LOGIN_SOURCES_MAX).collect();
        Throttle { rows, is_spent: false, is_awaited: false }
    }

    /// Failures of `source` that are not forgotten.
    pub fn failures(&self, source: Source, now: Instant) -> u32 {
        let row = self.rows.iter().find(|row| row.source == source);
        let left = row.map_or(Duration::ZERO, |row| row.clean_at.since(now));
        u32::try_from(left.as_millis().div_ceil(FORGET_AFTER.as_millis())).unwrap_or(u32::MAX)
    }

    /// True when `source` is not even asked for a password.
    pub fn refuses(&self, source: Source, now: Instant) -> bool {
        self.failures(source, now) >= FAILURES_MAX
    }

    /// Another failure.
    pub fn count(&mut self, source: Source, now: Instant) {
        let known = self.rows.iter().position(|row| row.source == source);
        let row = match known {
            Some(place) => self.rows.get_mut(place),
            None => self.rows.iter_mut().min_by_key(|row| row.clean_at),
        };
        if let Some(row) = row {
            let before = if row.source == source { row.clean_at.max(now) } else { now };
            *row = Row { source, clean_at: before + FORGET_AFTER };
        }
    }

    /// How long the answer to so many failures, the last included, is held back.
    pub fn delay(failures: u32) -> Duration {
        match failures {
            0..=2 => Duration::ZERO,
            more => DELAY_MAX.min(Duration::from_secs(1 << (more - 2).min(8))),
        }
    }

    /// True when no password is to be checked any more in this turn.
    pub fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Somebody waits for the next turn.
    pub fn wait(&mut self) {
        self.is_awaited = true;
    }

    /// A password was checked.
    pub fn spend(&mut self) {
        self.is_spent = true;
    }

    /// A turn is over; true if somebody waits for the next.
    pub fn end_turn(&mut self) -> bool {
        self.is_spent = false;
        core::mem::take(&mut self.is_awaited)
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(5_000_000);

    #[test]
    fn failures_are_counted_and_forgotten() {
        let mut throttle = Throttle::new();
        let (guesser, other) = (Source::V4(7), Source::V6(7));
        for count in 1..=FAILURES_MAX {
            assert!(!throttle.refuses(guesser, NOW));
            throttle.count(guesser, NOW);
            assert_eq!(throttle.failures(guesser, NOW), count);
        }
        assert!(throttle.refuses(guesser, NOW) && !throttle.refuses(other, NOW));
        assert!(!throttle.refuses(guesser, NOW + FORGET_AFTER));
        assert_eq!(throttle.failures(guesser, NOW + FORGET_AFTER * (FAILURES_MAX - 1)), 1);
        assert_eq!(throttle.failures(guesser, NOW + FORGET_AFTER * FAILURES_MAX), 0);
    }

    #[test]
    fn in_a_full_table_the_worst_stay() {
        let mut throttle = Throttle::new();
        let guesser = Source::V4(7);
        (0..FAILURES_MAX).for_each(|_| throttle.count(guesser, NOW));
        for number in 0..10 * LOGIN_SOURCES_MAX as u64 {
            let source = Source::V6(number);
            throttle.count(source, NOW);
            assert_eq!(throttle.failures(source, NOW), 1);
        }
        assert!(throttle.refuses(guesser, NOW));
        assert_eq!(throttle.rows.len(), LOGIN_SOURCES_MAX);
    }

    #[test]
    fn delays() {
        let seconds = |failures| Throttle::delay(failures).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7, 1000].map(seconds), [0, 0, 0, 2, 4, 8, 16, 16, 16]);
    }

    #[test]
    fn one_password_a_turn() {
        let mut throttle = Throttle::new();
        assert!(!throttle.is_spent());
        throttle.spend();
        assert!(throttle.is_spent());
        throttle.wait();
        assert!(throttle.end_turn());
        assert!(!throttle.is_spent());
        throttle.spend();
        assert!(!throttle.end_turn(), "nobody has waited");
    }
}

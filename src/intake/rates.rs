//! How many messages an address has handed in lately, for the key `rate` of `[clients RANGE]`.
//!
//! Each address (each IPv6 /64, threats 7) has an allowance of an hour's messages, which it may use
//! up at once and which comes back evenly: with 60 an hour, one a minute. A row is the time at
//! which the allowance will be whole again, so an address that has done nothing for long needs
//! none.
//!
//! Limit: [`RATED_SOURCES_MAX`] rows, made at the start. When all are in use, the one goes that
//! would be the first to go by itself: whoever wants to be forgotten must bring as many other
//! addresses, each with more messages behind it than his own, and who has those needs no trick. A
//! newcomer is never refused for want of a row, nor for what others did. Rows are only ever looked
//! for one after the other, so no peer can choose keys that make this slow (threats 11).

use super::peer::Source;
use crate::base::time::Instant;
use crate::limits::RATED_SOURCES_MAX;
use core::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// See the module's head.
pub struct Rates {
    rows: Box<[Row]>,
}

#[derive(Clone, Copy)]
struct Row {
    source: Source,
    whole_at: Instant,
}

impl Rates {
    /// Nobody has sent anything.
    pub fn new() -> Rates {
        let row = Row { source: Source::V4(0), whole_at: Instant::default() };
        Rates { rows: core::iter::repeat_n(row, RATED_SOURCES_MAX).collect() }
    }

    /// May `source` hand in one more, of `rate` an hour?
    pub fn allows(&self, source: Source, rate: u16, now: Instant) -> bool {
        let used = self.whole_at(source).since(now);
        used <= step(rate) * u32::from(rate.saturating_sub(1))
    }

    /// It has.
    pub fn count(&mut self, source: Source, rate: u16, now: Instant) {
        let whole_at = self.whole_at(source).max(now) + step(rate);
        let known = self.rows.iter().position(|row| row.source == source);
        let row = match known {
            Some(place) => self.rows.get_mut(place),
            None => self.rows.iter_mut().min_by_key(|row| row.whole_at),
        };
        if let Some(row) = row {
            *row = Row { source, whole_at };
        }
    }

    fn whole_at(&self, source: Source) -> Instant {
        let row = self.rows.iter().find(|row| row.source == source);
        row.map_or(Instant::default(), |row| row.whole_at)
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::new()
    }
}

/// How long one message takes to be forgotten; rounded up, so never more than `rate` an hour.
fn step(rate: u16) -> Duration {
    let hour = HOUR.as_millis() as u64;
    Duration::from_millis(hour.div_ceil(u64::from(rate.max(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(5_000_000);

    fn hand_in(rates: &mut Rates, source: Source, rate: u16, now: Instant) -> bool {
        let allowed = rates.allows(source, rate, now);
        if allowed {
            rates.count(source, rate, now);
        }
        allowed
    }

    #[test]
    fn so_many_at_once_and_then_one_after_the_other() {
        for rate in [1, 2, 7, 60, 1000, 59_999, 60_000] {
            let mut rates = Rates::new();
            let printer = Source::V4(1);
            let at_once = (0..=60_000).take_while(|_| hand_in(&mut rates, printer, rate, NOW));
            assert_eq!(at_once.count(), usize::from(rate));
            assert!(hand_in(&mut rates, Source::V4(2), rate, NOW));
            let later = NOW + step(rate);
            assert!(hand_in(&mut rates, printer, rate, later));
            assert!(!hand_in(&mut rates, printer, rate, later));
            let much_later = later + step(rate) * u32::from(rate);
            let again = (0..=60_000).take_while(|_| hand_in(&mut rates, printer, rate, much_later));
            assert_eq!(again.count(), usize::from(rate));
        }
    }

    #[test]
    fn in_a_full_table_the_least_busy_is_forgotten() {
        let mut rates = Rates::new();
        let worm = Source::V4(0);
        (0..60).for_each(|_| assert!(hand_in(&mut rates, worm, 60, NOW)));
        for number in 1..=10 * RATED_SOURCES_MAX as u64 {
            assert!(hand_in(&mut rates, Source::V6(number), 60, NOW));
        }
        assert!(!hand_in(&mut rates, worm, 60, NOW));
        assert_eq!(rates.rows.len(), RATED_SOURCES_MAX);
    }
}

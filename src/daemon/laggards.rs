//! Addresses that have kept a slot without using it while somebody else waited for one.
//!
//! A crowd that sends a byte now and then comes back as soon as it is sent away, and would always
//! stand before whoever has mail. So it is remembered for a while, and gets no more than half of
//! the slots (`doors`); an address that was slow for once is still served when there is room.
//!
//! Limit: [`LAGGARDS_MAX`] rows, made at the start; the oldest goes first. They are looked for one
//! after the other, so no peer can choose keys that make this slow (threats 11).

use crate::base::time::Instant;
use crate::intake::peer::Source;
use crate::limits::LAGGARDS_MAX;
use core::time::Duration;

/// How long an address is remembered.
const MEMORY: Duration = Duration::from_secs(10 * 60);

/// See the module's head.
pub(super) struct Laggards {
    rows: Box<[Row]>,
}

#[derive(Clone, Copy)]
struct Row {
    source: Source,
    until: Instant,
}

impl Laggards {
    /// Nobody has been slow.
    pub(super) fn new() -> Laggards {
        let row = Row { source: Source::V4(0), until: Instant::default() };
        Laggards { rows: core::iter::repeat_n(row, LAGGARDS_MAX).collect() }
    }

    /// Was `source` slow a while ago?
    pub(super) fn has(&self, source: Source, now: Instant) -> bool {
        self.rows.iter().any(|row| row.source == source && now < row.until)
    }

    /// It was, just now.
    pub(super) fn note(&mut self, source: Source, now: Instant) {
        let known = self.rows.iter().position(|row| row.source == source);
        let row = match known {
            Some(place) => self.rows.get_mut(place),
            None => self.rows.iter_mut().min_by_key(|row| row.until),
        };
        if let Some(row) = row {
            *row = Row { source, until: now + MEMORY };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let (mut laggards, begin) = (Laggards::new(), Instant::from_millis(5));
        assert!(!laggards.has(Source::V4(0), begin));
        for number in 0..=LAGGARDS_MAX as u32 {
            laggards.note(Source::V4(number), begin + Duration::from_millis(u64::from(number)));
        }
        let now = begin + Duration::from_secs(2);
        assert!(!laggards.has(Source::V4(0), now));
        assert!(laggards.has(Source::V4(1), now) && laggards.has(Source::V4(2), now));
        assert!(!laggards.has(Source::V4(2), now + MEMORY));
    }
}

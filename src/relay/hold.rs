//! How long a message stays that its sender wants held (RFC 4865).
//!
//! Two clocks bear witness. The time of day counts where it can be trusted and was when the mail
//! came in: then the mail goes at that time, also after a night without power. But a clock that is
//! set wrong later shall not keep it for ever: a day of running more than was asked is the end of
//! it. Where there is no such time, running time counts (I17).
//!
//! Nothing is written when a hold ends, but when an administrator ends it. So after a restart the
//! age of a message that was held is told from the end of what was asked, or from the restart if
//! that comes first: it is never older than it is, and it expires that much later, once.

use crate::base::time::UnixTime;
use crate::queue::envelope::Hold;

/// A clock may be so wrong, and not more.
const SLACK_SECONDS: u64 = 86_400;
/// No longer is waited until the clocks are looked at again: they are set, and jump.
const LOOK_SECONDS: u64 = 600;

/// How many seconds it stays yet, `age` after its arrival; none when it may go.
pub(super) fn left(hold: Hold, age: u64, unix: UnixTime) -> Option<u64> {
    let seconds = u64::from(hold.seconds);
    let left = if unix.trusted && hold.until != i64::MAX {
        let by_clock = hold.until.saturating_sub(unix.seconds).max(0).unsigned_abs();
        by_clock.min((seconds + SLACK_SECONDS).saturating_sub(age))
    } else {
        seconds.saturating_sub(age)
    };
    (left > 0).then_some(left)
}

/// When a message is to be looked at that stays for so long yet.
pub(super) fn look_at(run: u64, left: u64) -> u64 {
    run.saturating_add(left.min(LOOK_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64, trusted: bool) -> UnixTime {
        UnixTime { seconds, trusted }
    }

    #[test]
    fn which_clock_counts() {
        let hold = Hold { seconds: 3600, until: 1_000_003_600 };
        // The clock runs as the machine does.
        assert_eq!(left(hold, 600, at(1_000_000_600, true)), Some(3000));
        assert_eq!(left(hold, 3600, at(1_000_003_600, true)), None);
        // A night without power.
        assert_eq!(left(hold, 600, at(1_000_030_000, true)), None);
        // The clock was never set since: running time.
        assert_eq!(left(hold, 600, at(60, false)), Some(3000));
        assert_eq!(left(hold, 3600, at(60, false)), None);
        // Restarts make running time go fast; the clock knows better,
        assert_eq!(left(hold, 3700, at(1_000_003_000, true)), Some(600));
        // but not if it has gone back by years.
        assert_eq!(left(hold, 600, at(0, true)), Some(3000 + SLACK_SECONDS));
        assert_eq!(left(hold, 3600 + SLACK_SECONDS, at(0, true)), None);
    }

    #[test]
    fn without_a_time_of_day_running_time_counts() {
        let hold = Hold { seconds: 60, until: i64::MAX };
        assert_eq!(left(hold, 0, at(1_000_000_000, true)), Some(60));
        assert_eq!(left(hold, 60, at(1_000_000_000, true)), None);
    }
}

//! Both clocks and the zone, read from the system.
//!
//! The instant is CLOCK_BOOTTIME, which goes on while the machine sleeps, so mail ages in the night
//! and a retry that came due then is due in the morning, when the loop wakes: what that waits by
//! does not count sleep. Where that clock is missing it is CLOCK_MONOTONIC, which stands still
//! then. Neither ever goes back. The wall clock is only for people; it is trusted when it is not
//! older than this program. The zone is asked for once a quarter of an hour, since zones change at
//! quarters, and the question may read files.

use crate::base::time::{Instant, Now, UnixTime};
use crate::daemon::world::Clock;

/// 2026-11-01T00:00:00Z. No clock that is right can say less: this program was not there before.
pub const RELEASE_DATE: i64 = 1_793_491_200;

const ZONE_SECONDS: i64 = 15 * 60;

/// The system's clocks.
pub struct SystemClock {
    /// The instant's.
    steady: libc::clockid_t,
    zone_quarter: Option<i64>,
    zone_minutes: i16,
}

impl SystemClock {
    /// The clocks of this system.
    pub fn new() -> SystemClock {
        let steady = match read_clock(libc::CLOCK_BOOTTIME) {
            Some(_) => libc::CLOCK_BOOTTIME,
            None => libc::CLOCK_MONOTONIC,
        };
        SystemClock { steady, zone_quarter: None, zone_minutes: 0 }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&mut self) -> Now {
        let (seconds, nanoseconds) = read_clock(self.steady).unwrap_or_default();
        let milliseconds = seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000);
        let instant = Instant::from_millis(u64::try_from(milliseconds).unwrap_or(0));
        let (seconds, _) = read_clock(libc::CLOCK_REALTIME).unwrap_or_default();
        let quarter = Some(seconds.div_euclid(ZONE_SECONDS));
        if quarter != self.zone_quarter {
            self.zone_quarter = quarter;
            self.zone_minutes = zone_minutes(seconds);
        }
        let unix = UnixTime { seconds, trusted: seconds >= RELEASE_DATE };
        Now { instant, unix, zone_minutes: self.zone_minutes }
    }
}

/// With zeros also in the padding, which has a name where the clock has 64 bits and the machine 32.
#[allow(unsafe_code)]
fn zero_time() -> libc::timespec {
    // SAFETY: it is plain numbers, and zeros are valid.
    unsafe { core::mem::zeroed() }
}

// The casts: these are 32 bits on some systems.
#[allow(unsafe_code, clippy::unnecessary_cast)]
fn read_clock(clock: libc::clockid_t) -> Option<(i64, i64)> {
    let mut time = zero_time();
    // SAFETY: `time` is a live, writable timespec.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    (result == 0).then_some((time.tv_sec as i64, time.tv_nsec as i64))
}

/// Minutes east of UTC at `seconds`; UTC if the system cannot say.
#[allow(unsafe_code, clippy::unnecessary_cast)]
fn zone_minutes(seconds: i64) -> i16 {
    // By way of a timespec, since the width of time_t is not one thing everywhere.
    let mut time = zero_time();
    time.tv_sec = seconds as _;
    // SAFETY: `tm` is plain numbers and one pointer that nobody here follows; zeros are valid, and
    // both pointers are to live variables.
    let offset = unsafe {
        let mut parts: libc::tm = core::mem::zeroed();
        if libc::localtime_r(&time.tv_sec, &mut parts).is_null() {
            return 0;
        }
        parts.tm_gmtoff as i64
    };
    i16::try_from(offset / 60).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_and_is_of_this_age() {
        let mut clock = SystemClock::new();
        let before = clock.now();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let after = clock.now();
        let passed = after.instant.since(before.instant).as_millis();
        assert!((20..5000).contains(&passed), "{passed}");
        assert_eq!(before.unix.trusted, before.unix.seconds >= RELEASE_DATE);
        assert!(before.zone_minutes.abs() <= 14 * 60);
    }

    #[test]
    fn an_unknown_clock_is_told() {
        assert_eq!(read_clock(9999), None);
    }
}

//! What a sender wants of a mail's time, HOLDFOR and HOLDUNTIL (RFC 4865) and BY (RFC 2852): may
//! he, and what of it is kept.
//!
//! Only who may relay is heard: to hold is an extension of submission, and to others no report may
//! go. A hold is kept as running time
//! and, where the clock here can be trusted, as a time of day too (`relay/hold.rs` says what counts
//! when). A time of day is refused while the clock is not set; it would mean nothing.
//!
//! Read first: RFC 4865 §4, RFC 2852 §4.

use super::session::Work;
use crate::base::time::UnixTime;
use crate::config::Config;
use crate::limits::DELIVER_BY_SECONDS_MIN;
use crate::queue::envelope::{By, Hold};
use crate::smtp::deliver_by::DeliverBy;
use crate::smtp::offer::{HoldMax, Offers};
use crate::smtp::parameter::{self, MailParameters};
use crate::smtp::reply::Reply;

/// What is kept with the message.
#[derive(Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) hold: Option<Hold>,
    pub(super) by: Option<By>,
}

impl Times {
    /// True if something has to be looked at before it goes.
    pub(super) fn are_any(&self) -> bool {
        self.hold.is_some() || self.by.is_some()
    }
}

impl Work {
    /// Adds what is offered now; like DSN, to those who get reports, or may log in.
    pub(super) fn offer_times(&self, offers: &mut Offers, config: &Config, unix: UnixTime) {
        let seconds = u32::try_from(config.hold_max.as_secs()).unwrap_or(u32::MAX);
        let until = UnixTime { seconds: unix.seconds.saturating_add(seconds.into()), ..unix };
        offers.hold = (offers.dsn && seconds > 0).then_some(HoldMax { seconds, until });
        offers.deliver_by = offers.dsn.then_some(DELIVER_BY_SECONDS_MIN);
    }

    /// What `parameters` say of it, or why not.
    pub(super) fn times(
        &self,
        parameters: &MailParameters<'_>,
        config: &Config,
        unix: UnixTime,
    ) -> Result<Times, Reply> {
        let MailParameters { hold, by, .. } = *parameters;
        if (hold.is_some() || by.is_some()) && !self.granted().relay {
            return Err(Reply::LOGIN_FIRST);
        }
        let hold = hold.map(|hold| judge(hold, config.hold_max.as_secs(), unix)).transpose()?;
        Ok(Times { hold, by: by.map(promise).transpose()? })
    }
}

/// What is kept of a wish to be delivered in time; what is sure to be late is refused.
fn promise(asked: DeliverBy) -> Result<By, Reply> {
    let DeliverBy { seconds, is_final, is_traced } = asked;
    if is_final && i64::from(seconds) < DELIVER_BY_SECONDS_MIN.into() {
        return Err(Reply::TOO_SOON);
    }
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    Ok(By { seconds, flags: flag(is_final, By::RETURN) | flag(is_traced, By::TRACE) })
}

/// What is kept of a wish to be held for `most` seconds or fewer.
fn judge(asked: parameter::Hold, most: u64, unix: UnixTime) -> Result<Hold, Reply> {
    let hold = match asked {
        parameter::Hold::For(seconds) => {
            let until = unix.seconds.saturating_add(seconds.into());
            Hold { seconds, until: if unix.trusted { until } else { i64::MAX } }
        }
        parameter::Hold::Until(_) if !unix.trusted => return Err(Reply::CLOCK_NOT_SET),
        parameter::Hold::Until(until) => {
            let seconds = until.saturating_sub(unix.seconds);
            let seconds = u64::try_from(seconds).or(Err(Reply::HOLD_IN_THE_PAST))?;
            Hold { seconds: u32::try_from(seconds).or(Err(Reply::HOLD_TOO_LONG))?, until }
        }
    };
    if u64::from(hold.seconds) > most { Err(Reply::HOLD_TOO_LONG) } else { Ok(hold) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parameter::Hold::{For, Until};

    #[test]
    fn what_is_kept_of_a_wish_and_what_is_refused() {
        let now = UnixTime { seconds: 1000, trusted: true };
        let lost = UnixTime { seconds: 1000, trusted: false };
        let hold = |seconds, until| Ok(Hold { seconds, until });
        for (asked, unix, expected) in [
            (For(60), now, hold(60, 1060)),
            (For(3600), now, hold(3600, 4600)),
            (For(3601), now, Err(Reply::HOLD_TOO_LONG)),
            (For(u32::MAX), now, Err(Reply::HOLD_TOO_LONG)),
            (For(60), lost, hold(60, i64::MAX)),
            (Until(1060), now, hold(60, 1060)),
            (Until(1000), now, hold(0, 1000)),
            (Until(999), now, Err(Reply::HOLD_IN_THE_PAST)),
            (Until(4601), now, Err(Reply::HOLD_TOO_LONG)),
            (Until(i64::MAX), now, Err(Reply::HOLD_TOO_LONG)),
            (Until(1060), lost, Err(Reply::CLOCK_NOT_SET)),
        ] {
            assert_eq!(judge(asked, 3600, unix), expected, "{asked:?}");
        }
        assert_eq!((Reply::CLOCK_NOT_SET.code, Reply::HOLD_IN_THE_PAST.code), (455, 501));
    }
}

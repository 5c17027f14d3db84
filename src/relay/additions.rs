//! The fields that are put before a message at an attempt, and what they are made of.

use super::rewriting::Rewriting;
use super::route::Qualified;
use crate::base::buffer::Text;
use crate::base::time::{Now, UnixTime};
use crate::config::Config;
use crate::mail::address::Address;
use crate::mail::header::Traits;
use crate::mail::list::Name;
use crate::mail::phrase::Words;
use crate::mail::rewrite::{self, Rules as _};
use crate::mail::stamp;
use crate::queue::Queue;
use crate::queue::block::Header;
use core::fmt::Write as _;
use core::time::Duration;

/// Bytes of the fields that are put before a message: Received with a long HELO, Date, Message-ID,
/// From.
pub(super) const ADDITIONS_BYTES_MAX: usize = 2048;

/// The scan's traits, as the header keeps them.
pub(super) fn traits(header: &Header) -> Traits {
    Traits { bits: header.flags as u16, received: 0 }
}

/// When the message came, by a clock that may have been set right since: now less its age.
pub(super) fn arrival(header: &Header, queue: &Queue, now: Now) -> UnixTime {
    if !now.unix.trusted {
        return UnixTime { seconds: header.arrival, trusted: false };
    }
    let age = queue.run(now.instant).saturating_sub(header.run);
    let age = i64::try_from(age).unwrap_or(i64::MAX);
    let by_age = now.unix.seconds.saturating_sub(age);
    // The clock of that time is better than the age, which stands still while mote does not run,
    // unless it was plainly wrong.
    let plausible = header.arrival <= now.unix.seconds
        && now.unix.seconds - header.arrival < age.saturating_add(PLAUSIBLE.as_secs() as i64);
    UnixTime { seconds: if plausible { header.arrival } else { by_age }, trusted: true }
}

/// A message is not taken for older than its age by more than this.
const PLAUSIBLE: Duration = Duration::from_secs(366 * 24 * 3600);

/// Writes Date, Message-ID and From where the sender left them out.
pub(super) fn write_additions(
    out: &mut Text<ADDITIONS_BYTES_MAX>,
    header: &Header,
    sender: Option<Address<'_>>,
    when: UnixTime,
    rewriting: &Rewriting<'_>,
    config: &Config,
    queue: &Queue,
) {
    out.clear();
    let traits = traits(header);
    let is_strange = header.flags & Header::STRANGER != 0;
    let claim = rewriting.claim();
    if traits.has(Traits::NO_FROM)
        && let Some(claim) = claim
    {
        let words = match sender {
            Some(sender) => rewrite::words(Words::new(), Some(sender), rewriting),
            None => rewrite::words(Words::read(b"MAILER-DAEMON", Name::Comment), None, rewriting),
        };
        let _ = rewrite::write_claimed(out, "From", &words, claim);
    }
    if is_strange {
        return;
    }
    // None of this can fail: a Text cuts, and all together is shorter than it.
    if traits.has(Traits::NO_DATE) {
        let _ = out.write_str("Date: ");
        let _ = stamp::write_date(out, when, 0);
        let _ = out.write_str("\r\n");
    }
    if traits.has(Traits::NO_MESSAGE_ID) {
        let _ = out.write_str("Message-ID: ");
        let _ = stamp::write_message_id(out, header.seq, queue.image(), &config.hostname);
        let _ = out.write_str("\r\n");
    }
    if traits.has(Traits::NO_FROM) && claim.is_none() {
        let sender = sender.and_then(|sender| rewriting.sender(sender));
        let _ = match sender.as_ref().and_then(Qualified::address) {
            Some(sender) => write!(out, "From: {}\r\n", sender.as_str()),
            None => write!(out, "From: MAILER-DAEMON@{}\r\n", config.hostname),
        };
    }
}

//! One destination: the mail that may go there now, its connections, its back-off.
//!
//! A lane does not own its mail. `ready` bits in the queue say what may go; the lane has a short
//! ring of the freshest, and a cursor that walks the queue when there is more. A lane that failed
//! waits (the steps of `retry`, by how often it failed in a row), then one connection probes it;
//! new mail does not go round that (decisions 5).

use super::route::Destination;
use crate::base::buffer::Text;
use crate::base::time::{Instant, UnixTime, earliest};
use crate::dns::lookup::Failure;
use crate::limits::REMOTE_TEXT_BYTES_MAX;
use crate::queue::{Queue, Ticket};
use core::time::Duration;

const RING: usize = 64;
/// Slots looked at before the loop goes on to something else.
const STEPS_MAX: u32 = 256;

/// See the module's head.
pub struct Lane {
    /// Where it leads.
    pub destination: Destination,
    /// Its number.
    pub number: u8,
    ring: [Option<Ticket>; RING],
    ring_start: usize,
    ring_len: usize,
    /// There may be ready mail that is not in the ring.
    backlog: bool,
    cursor: u32,
    /// How often the cursor has come to the queue's end since the look began, or since it found
    /// something. Messages come and go meanwhile, so nothing else says that all were seen.
    laps: u8,
    /// Connections open or being made.
    pub connections: u16,
    /// Failures in a row.
    pub failures: u32,
    /// Not before that.
    pub until: Option<Instant>,
    /// What went wrong last; empty when nothing did since the last success.
    pub last_error: Text<REMOTE_TEXT_BYTES_MAX>,
    /// Why its mail can never be delivered, as the name servers said last.
    pub refusal: Option<Failure>,
    /// It was the way that failed last, no word of the next hop: a change of the network may help.
    pub awaits_network: bool,
    /// What is under way has gone by the network as it was, and is tried once more if it fails.
    pub again: bool,
    /// It is the key that is wrong: a new one is looked for at that time, while the lane waits.
    pub key_look: Option<Instant>,
    /// When a mail last went through.
    pub last_success: Option<UnixTime>,
}

impl Lane {
    /// A lane with everything before it.
    pub fn new(number: u8, destination: Destination) -> Lane {
        Lane {
            destination,
            number,
            ring: [None; RING],
            ring_start: 0,
            ring_len: 0,
            backlog: true,
            cursor: 0,
            laps: 0,
            connections: 0,
            failures: 0,
            until: None,
            last_error: Text::new(),
            refusal: None,
            awaits_network: false,
            again: false,
            key_look: None,
            last_success: None,
        }
    }

    /// A lane that no mail can be ready for yet.
    pub fn fresh(number: u8, destination: Destination) -> Lane {
        Lane { backlog: false, ..Lane::new(number, destination) }
    }

    /// Its bit in a set of lanes.
    pub fn bit(&self) -> u32 {
        1u32.checked_shl(self.number.into()).unwrap_or(0)
    }

    /// `ticket` may go.
    pub fn offer(&mut self, ticket: Ticket) {
        if self.ring_len == RING {
            return self.look();
        }
        let at = (self.ring_start + self.ring_len) % RING;
        if let Some(place) = self.ring.get_mut(at) {
            *place = Some(ticket);
            self.ring_len += 1;
        }
    }

    /// There may be ready mail anywhere in the queue.
    pub fn look(&mut self) {
        self.backlog = true;
        self.laps = 0;
    }

    /// True if there may be mail to send.
    pub fn has_work(&self) -> bool {
        self.ring_len > 0 || self.backlog
    }

    /// How many connections the waiting mail is worth.
    pub fn demand(&self) -> u16 {
        let ring = u16::try_from(self.ring_len.div_ceil(8)).unwrap_or(u16::MAX);
        ring + u16::from(self.backlog)
    }

    /// The next message to send that is not `busy`; the look through the queue goes on at the next
    /// call if it has taken long enough for now.
    pub fn next(&mut self, queue: &Queue, busy: impl Fn(Ticket) -> bool) -> Option<Ticket> {
        let bit = self.bit();
        let may_go = |ticket| {
            let waiting = queue.waiting(ticket)?;
            let free = waiting.readable && !waiting.held && !waiting.importing && !busy(ticket);
            (free && waiting.ready & bit != 0).then_some(ticket)
        };
        while self.ring_len > 0 {
            let ticket = self.ring.get_mut(self.ring_start).and_then(Option::take);
            self.ring_start = (self.ring_start + 1) % RING;
            self.ring_len -= 1;
            if let Some(ticket) = ticket.and_then(may_go) {
                return Some(ticket);
            }
        }
        if !self.backlog {
            return None;
        }
        for _ in 0..STEPS_MAX {
            let Some(waiting) = queue.next_waiting(self.cursor) else {
                self.cursor = 0;
                self.laps += 1;
                if self.laps >= 2 {
                    // The first lap may have begun anywhere; the second was whole.
                    self.backlog = false;
                    return None;
                }
                continue;
            };
            self.cursor = waiting.ticket.slot + 1;
            if let Some(ticket) = may_go(waiting.ticket) {
                self.laps = 0;
                return Some(ticket);
            }
        }
        None
    }

    /// The destination did not serve us. `scatter` is a number nobody else has: the wait is made
    /// longer by up to an eighth (threats 16).
    pub fn failed(&mut self, why: &str, retry: &[Duration], scatter: u64, now: Instant) {
        self.last_error = Text::from(why);
        if self.until.is_some_and(|until| now < until) {
            // Another connection of its own, which was open when the first one failed.
            return;
        }
        let step = retry.get(self.failures as usize).or(retry.last()).copied();
        let step = step.unwrap_or(Duration::from_secs(60));
        let millis = u64::try_from(step.as_millis()).unwrap_or(u64::MAX);
        let jitter = Duration::from_millis(scatter % (millis / 8 + 1));
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + step + jitter);
        self.key_look = None;
        // What was offered stays ready in the queue.
        self.look();
    }

    /// The way failed that was taken before the network changed: the new one is tried soon.
    pub fn failed_by_the_old_way(&mut self, why: &str, until: Instant) {
        self.last_error = Text::from(why);
        self.again = false;
        self.until = Some(until);
        // What was offered stays ready in the queue.
        self.look();
    }

    /// The destination serves us.
    pub fn serves(&mut self) {
        self.failures = 0;
        self.until = None;
        self.awaits_network = false;
        self.again = false;
        self.key_look = None;
    }

    /// When something is to be done for it while it waits.
    pub fn wakes_at(&self) -> Option<Instant> {
        earliest(self.until, self.key_look)
    }

    /// A mail went through.
    pub fn succeeded(&mut self, when: UnixTime) {
        self.last_success = Some(when);
        self.last_error.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four connections at once told a wrong password, and the lane waited for an hour.
    #[test]
    fn connections_that_fail_together_are_one_failure() {
        let retry = [60, 3600].map(Duration::from_secs);
        let mut lane = Lane::new(0, Destination::Discard);
        let now = Instant::from_millis(0);
        (0..4).for_each(|_| lane.failed("no", &retry, 0, now));
        assert_eq!((lane.failures, lane.until), (1, Some(now + Duration::from_secs(60))));
        let later = now + Duration::from_secs(60);
        lane.failed("still no", &retry, 0, later);
        assert_eq!((lane.failures, lane.until), (2, Some(later + Duration::from_secs(3600))));
        assert_eq!(lane.last_error.as_str(), "still no");
    }
}

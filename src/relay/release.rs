//! The network has changed: what waits for it goes soon, whatever its back-off says.
//!
//! A lane waits for the network when its way was the trouble: a name that nobody could look up, a
//! connection that could not be made or that broke, a program for its key that failed. Where the
//! next hop has refused in words no change of ours helps. What is told is only that something has
//! changed, an address, a route, a link, or the name servers; one probe of each such lane finds out
//! whether it has helped, and its failures go on counting.
//!
//! Changes come in heaps, and a link may flap for days. So the probe waits for [`SETTLE`], and what
//! follows a release too soon waits for twice as long as the last time, from [`PAUSE`] to
//! [`PAUSE_MAX`]; a network that was quiet for as long again is believed at once. A probe that was
//! under way already has gone by the old network, and is made once more if it fails.
//!
//! Whether the name servers are others is looked at every [`LOOK`] while a lane waits, since
//! resolv.conf is a link on most machines, and what it leads to comes and goes.

use super::forwarder::{Forwarder, make_due};
use crate::base::time::{Instant, earliest};
use crate::limits::NETWORK_LOOK as LOOK;
use crate::queue::Queue;
use core::time::Duration;

/// An address is of use a moment after it is there: the route comes behind it.
const SETTLE: Duration = Duration::from_secs(1);
/// The least between two releases that follow each other.
const PAUSE: Duration = Duration::from_secs(4);
/// The most.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// When to let go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Release {
    due: Option<Instant>,
    last: Option<Instant>,
    pause: Duration,
    look: Option<Instant>,
}

impl Release {
    /// Something has changed.
    fn changed(&mut self, now: Instant) {
        if self.due.is_some() {
            return;
        }
        let settled = now + SETTLE;
        self.due = Some(match self.last {
            Some(last) if now < last + 2 * self.pause.max(PAUSE) => {
                self.pause = (2 * self.pause).clamp(PAUSE, PAUSE_MAX);
                settled.max(last + self.pause)
            }
            _ => {
                self.pause = Duration::ZERO;
                settled
            }
        });
    }

    /// True once, when it is time.
    fn take(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| now >= due);
        if is_due {
            self.due = None;
            self.last = Some(now);
        }
        is_due
    }

    /// A probe has failed that had gone by the old network; gives when it is made again.
    pub(super) fn once_more(&mut self, now: Instant) -> Instant {
        let again = now + SETTLE;
        self.due = earliest(self.due, Some(again));
        again
    }

    /// A lane has begun to wait.
    pub(super) fn watch(&mut self, now: Instant) {
        self.look.get_or_insert(now + LOOK);
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Option<Instant> {
        earliest(self.due, self.look)
    }
}

impl Forwarder {
    /// An address, a route, a link or the name servers have changed.
    pub fn network_changed(&mut self, now: Instant) {
        // Where nothing waits and nothing is under way nobody needs to wake for it.
        if self.lanes.iter().any(|lane| lane.awaits_network || lane.connections > 0) {
            self.network.changed(now);
        }
    }

    /// True when it is time to look whether the name servers are others.
    pub fn looks_at_network(&mut self, now: Instant) -> bool {
        if self.network.look.is_none_or(|look| now < look) {
            return false;
        }
        let waits = self.lanes.iter().any(|lane| lane.awaits_network);
        self.network.look = waits.then(|| now + LOOK);
        waits
    }

    /// Lets go what waits for the network, if it is time.
    pub(super) fn let_go(&mut self, queue: &mut Queue, now: Instant) {
        if !self.network.take(now) {
            return;
        }
        let mut bits = 0;
        let mut count = 0;
        for lane in &mut self.lanes {
            lane.again = lane.connections > 0;
            if lane.awaits_network && lane.until.is_some_and(|until| now < until) {
                lane.until = None;
                count += 1;
            }
            if lane.awaits_network {
                bits |= lane.bit();
            }
        }
        if count > 0 {
            log::info!("the network has changed: trying {count} that waited for it");
        }
        // What the network took in the middle of it waits by its age; what had to give up its lane
        // meanwhile has none.
        let mut from = 0;
        while let Some(waiting) = queue.next_waiting(from) {
            from = waiting.ticket.slot + 1;
            if waiting.needs == 0 || waiting.needs & !waiting.ready & bits != 0 {
                make_due(queue, waiting.ticket);
                self.look();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    /// When releases come if the network changes at these seconds.
    fn releases(changes: impl Iterator<Item = u64>, until: u64) -> Vec<u64> {
        let mut release = Release::default();
        let changes: Vec<u64> = changes.collect();
        let mut taken = Vec::new();
        for second in 0..until {
            if changes.contains(&second) {
                release.changed(at(second));
            }
            if release.take(at(second)) {
                taken.push(second);
            }
        }
        taken
    }

    #[test]
    fn a_change_is_believed_at_once() {
        assert_eq!(releases([10].into_iter(), 100), [11]);
        // A heap is one, and what comes behind it waits a little.
        assert_eq!(releases([10, 11, 12, 13].into_iter(), 100), [11, 15]);
        // Rare changes are no storm.
        assert_eq!(releases([10, 40, 70].into_iter(), 100), [11, 41, 71]);
    }

    #[test]
    fn a_flapping_link_is_no_storm() {
        let taken = releases(0..3600, 3600);
        assert!(taken.len() < 70, "{taken:?}");
        let gaps: Vec<u64> = taken.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (4..=60).contains(gap)), "{gaps:?}");
        // When it has been quiet again, it is believed again.
        let changes = (0..600).chain([1000]);
        assert_eq!(releases(changes, 1100).last(), Some(&1001));
    }
}

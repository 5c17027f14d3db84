//! Lanes for domains that are served end to end: made when mail for them comes, given to others
//! when they are not needed.
//!
//! Numbers for lanes are few and domains are many. A domain's lane that has no connection, and
//! either nothing to send or a back-off to wait for, may lose its number to another domain; what
//! waited for it is then found anew when it is due, not before the back-off was over. While all
//! lanes are at work a domain has to wait: its mail is looked at again after [`NO_LANE_WAIT`].

use super::forwarder::NEVER;
use super::lane::Lane;
use super::route::{self, Destination, HOLD, LANES_MAX};
use crate::base::time::Instant;
use crate::config::Config;
use crate::dns::message::HostName;
use crate::mail::aliases::Addressee;
use crate::queue::Queue;

/// Seconds of running until a message that found no lane is looked at again.
pub(super) const NO_LANE_WAIT: u64 = 5;

/// The lane that `recipient` needs; [`HOLD`] if its mail is to stay, none if no lane is free now:
/// those in `kept` are not. If other mail loses its lane, `due` is when that is to be looked at.
pub(super) fn lane_for(
    lanes: &mut Vec<Lane>,
    kept: u32,
    queue: &mut Queue,
    config: &Config,
    recipient: Addressee<'_>,
    now: Instant,
    due: &mut u64,
) -> Option<u32> {
    let Some(domain) = route::direct_domain(config, recipient) else {
        return Some(fixed(lanes, config, recipient));
    };
    if let Some(lane) = lanes.iter().find(|lane| is_of(lane, &domain)) {
        return Some(lane.bit());
    }
    let destination = Destination::Domain(domain);
    if lanes.len() < LANES_MAX {
        let lane = Lane::fresh(lanes.len() as u8, destination);
        let bit = lane.bit();
        lanes.push(lane);
        return Some(bit);
    }
    let free = lanes.iter_mut().filter(|lane| kept & lane.bit() == 0 && may_go(lane, now));
    let lane = free.min_by_key(|lane| lane.until)?;
    let bit = lane.bit();
    *due = forget(queue, bit, lane.until, now).min(*due);
    *lane = Lane::fresh(lane.number, destination);
    Some(bit)
}

/// The lane that `recipient` will need, if that can be told before its mail is in the queue: a
/// domain's lane may be another's by then.
pub(super) fn lane_ahead(lanes: &[Lane], config: &Config, recipient: Addressee<'_>) -> Option<u32> {
    let is_direct = route::direct_domain(config, recipient).is_some();
    (!is_direct).then(|| fixed(lanes, config, recipient))
}

/// The lane of a destination that the config names.
fn fixed(lanes: &[Lane], config: &Config, recipient: Addressee<'_>) -> u32 {
    let via = route::via(config, recipient);
    let found = lanes.iter().find(|lane| route::leads_to(config, via, &lane.destination));
    found.map_or(HOLD, Lane::bit)
}

fn is_of(lane: &Lane, domain: &HostName) -> bool {
    matches!(&lane.destination, Destination::Domain(other) if other == domain)
}

fn may_go(lane: &Lane, now: Instant) -> bool {
    let is_domain = matches!(lane.destination, Destination::Domain(_));
    let waits = lane.until.is_some_and(|until| now < until);
    is_domain && lane.connections == 0 && (!lane.has_work() || waits)
}

/// No message needs the lane `bit` any more; what was ready for it is not due before `until`. The
/// other lanes of such a message go on with it, and all are found anew when it is due: the first
/// of them is when.
fn forget(queue: &mut Queue, bit: u32, until: Option<Instant>, now: Instant) -> u64 {
    let run = queue.run(now);
    let not_before = run + until.map_or(0, |until| until.since(now).as_secs());
    let mut first = NEVER;
    let mut from = 0;
    while let Some(waiting) = queue.next_waiting(from) {
        from = waiting.ticket.slot + 1;
        if waiting.needs & bit != 0 {
            let is_ready = waiting.ready & bit != 0;
            let due = if is_ready { waiting.due.min(not_before) } else { waiting.due };
            queue.plan(waiting.ticket, 0, waiting.ready & !bit, due);
            first = first.min(due);
        }
    }
    first
}

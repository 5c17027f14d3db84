//! Which state pages have changed in memory and when they must be written (I16).
//!
//! Marks wait in memory until sixteen of them can ride with a commit that happens anyway; they get
//! a sync of their own only when they have waited [`MARK_AGE_MAX`], and at once when someone is in
//! a hurry. So a kill repeats at most the deliveries finished since the last state write, and flash
//! is spared.

use super::mutant::{self, Mutant};
use crate::base::time::Instant;
use core::time::Duration;

/// Marks that wait before they ride with the next commit.
pub(super) const MARKS_MAX: u32 = 16;
/// How long a mark waits for a commit to ride with.
pub(super) const MARK_AGE_MAX: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Default)]
struct Group {
    /// Which copy on disk is the newest durable one (I6).
    newest: u8,
    /// Changed in memory since.
    dirty: bool,
    /// Written, waiting for the sync.
    written: bool,
}

/// See the module's head.
pub(super) struct Marks {
    groups: Vec<Group>,
    waiting: u32,
    dying_blocks: u32,
    since: Option<Instant>,
    hurry: bool,
    /// A page could not be written since all of them were last durable.
    failed: bool,
}

impl Marks {
    pub(super) fn new(groups: u32) -> Marks {
        let groups = vec![Group::default(); groups as usize];
        Marks { groups, waiting: 0, dying_blocks: 0, since: None, hurry: false, failed: false }
    }

    pub(super) fn groups(&self) -> u32 {
        self.groups.len() as u32
    }

    /// A recipient in `group` is done, or a flag has changed.
    pub(super) fn note(&mut self, group: u32, now: Instant) {
        if let Some(group) = self.groups.get_mut(group as usize) {
            group.dirty = true;
        }
        self.waiting += 1;
        self.since.get_or_insert(now);
    }

    /// A message of `blocks` blocks in `group` needs nothing more.
    pub(super) fn note_dying(&mut self, group: u32, blocks: u32, now: Instant) {
        self.note(group, now);
        self.dying_blocks += blocks;
    }

    /// Somebody waits for the marks to be durable: the next commit writes them.
    pub(super) fn hurry(&mut self) {
        self.hurry = self.since.is_some();
    }

    pub(super) fn is_hurried(&self) -> bool {
        self.hurry
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn dying_blocks(&self) -> u32 {
        self.dying_blocks
    }

    pub(super) fn are_waiting(&self) -> bool {
        self.since.is_some()
    }

    pub(super) fn are_due(&self, now: Instant, commit_happens: bool) -> bool {
        let Some(since) = self.since else { return false };
        if mutant::is(Mutant::MarksKeptInMemory) {
            return false;
        }
        self.hurry || (commit_happens && self.waiting >= MARKS_MAX) || now >= since + MARK_AGE_MAX
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = self.since?;
        Some(if self.hurry { since } else { since + MARK_AGE_MAX })
    }

    /// The next dirty group at or after `from`, and the copy that may be written over.
    pub(super) fn next_dirty(&self, from: u32) -> Option<(u32, u32)> {
        let groups = (0u32..).zip(self.groups.iter()).skip(from as usize);
        let found = groups.into_iter().find(|(_, group)| group.dirty);
        if mutant::is(Mutant::StateOverDurable) {
            return found.map(|(number, group)| (number, group.newest.into()));
        }
        found.map(|(number, group)| (number, 1 - u32::from(group.newest)))
    }

    /// The page of `group` has been written over its older copy.
    pub(super) fn written(&mut self, group: u32) {
        if let Some(group) = self.groups.get_mut(group as usize) {
            group.written = true;
            group.dirty = false;
        }
    }

    /// The write of a page failed: it stays to be written, and the marks wait as long as new ones.
    /// Who was in a hurry is told so ([`Marks::has_failed`]).
    pub(super) fn postpone(&mut self, now: Instant) {
        self.since = Some(now);
        self.hurry = false;
        self.failed = true;
    }

    /// After a good sync: every written page is the newest now. Calls `each` with its group.
    pub(super) fn synced(&mut self, mut each: impl FnMut(u32)) {
        let mut left_dirty = false;
        for (number, group) in (0u32..).zip(self.groups.iter_mut()) {
            if group.written {
                group.written = false;
                group.newest ^= u8::from(!mutant::is(Mutant::StateOverDurable));
                each(number);
            }
            left_dirty |= group.dirty;
        }
        if !left_dirty {
            self.waiting = 0;
            self.since = None;
            self.hurry = false;
            self.failed = false;
        }
    }

    pub(super) fn freed(&mut self, blocks: u32) {
        self.dying_blocks -= blocks;
    }

    pub(super) fn newest(&self, group: u32) -> u8 {
        self.groups.get(group as usize).map_or(0, |group| group.newest)
    }

    pub(super) fn set_newest(&mut self, group: u32, copy: u8) {
        if let Some(group) = self.groups.get_mut(group as usize) {
            group.newest = copy;
        }
    }

    pub(super) fn set_all_dirty(&mut self, now: Instant) {
        for group in &mut self.groups {
            group.dirty = true;
        }
        self.since.get_or_insert(now);
    }
}

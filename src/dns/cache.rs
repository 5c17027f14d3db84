//! What lookups came to, for as long as their records allow.
//!
//! At most [`ENTRIES_MAX`] domains; a new one takes the place of the one that ends first. A domain
//! that is asked for by a hundred mails is asked for once, also when it has no mail hosts or does
//! not exist (RFC 2308). Nothing temporary is kept: how soon a failing name is asked for again is
//! the lane's matter. Time is monotonic, so a jump of the clock ends nothing and prolongs nothing.

use super::lookup::Outcome;
use super::message::HostName;
use crate::base::time::Instant;
use core::time::Duration;

/// Domains remembered: each takes about 2.5 KB, and only when mail goes to it.
pub const ENTRIES_MAX: usize = 32;
/// An answer is kept for at least this long, so that mails in one burst share it.
const SECONDS_MIN: u32 = 5;
/// And at most so long, whatever it says: a mistake of theirs should not last longer here.
const SECONDS_MAX: u32 = 3600;
/// The same for answers that end in a failure (RFC 2308 §5 suggests one to three hours).
const FAILURE_SECONDS_MAX: u32 = 900;

/// See the module's head.
#[derive(Default)]
pub struct Cache {
    entries: Vec<Entry>,
}

struct Entry {
    domain: HostName,
    outcome: Outcome,
    until: Instant,
}

impl Cache {
    /// What is known of `domain`.
    pub fn get(&self, domain: &str, now: Instant) -> Option<Outcome> {
        let found = self.entries.iter().find(|entry| entry.is_of(domain))?;
        (now < found.until).then_some(found.outcome)
    }

    /// Remembers `outcome`, unless it is a temporary one.
    pub fn put(&mut self, domain: &str, outcome: &Outcome, now: Instant) {
        let most = match outcome.result {
            Ok(_) => SECONDS_MAX,
            Err(failure) if failure.is_temporary() => return,
            Err(_) => FAILURE_SECONDS_MAX,
        };
        let seconds = outcome.seconds.clamp(SECONDS_MIN, most);
        let until = now + Duration::from_secs(seconds.into());
        self.entries.retain(|entry| now < entry.until && !entry.is_of(domain));
        if self.entries.len() >= ENTRIES_MAX {
            let first = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.until);
            if let Some((at, _)) = first {
                self.entries.swap_remove(at);
            }
        }
        self.entries.push(Entry { domain: domain.into(), outcome: *outcome, until });
    }

    /// Forgets what does not exist: a name server without its uplink may have said so.
    pub fn forget_failures(&mut self) {
        self.entries.retain(|entry| entry.outcome.result.is_ok());
    }

    /// Forgets all: the servers have changed, and others may know other things.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

impl Entry {
    fn is_of(&self, domain: &str) -> bool {
        self.domain.as_str().eq_ignore_ascii_case(domain)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lookup::{Failure, MailHosts};
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn outcome(result: Result<MailHosts, Failure>, seconds: u32) -> Outcome {
        Outcome { result, seconds }
    }

    #[test]
    fn kept_as_long_as_it_may_be() {
        let mut cache = Cache::default();
        for (name, result, seconds, kept) in [
            ("short.example", Ok(MailHosts::default()), 0, 5),
            ("as-told.example", Ok(MailHosts::default()), 100, 100),
            ("long.example", Ok(MailHosts::default()), u32::MAX, 3600),
            ("no.example", Err(Failure::NoSuchDomain), u32::MAX, 900),
            ("null.example", Err(Failure::NullMx), 60, 60),
            ("later.example", Err(Failure::Temporary), 60, 0),
        ] {
            cache.put(name, &outcome(result, seconds), at(1));
            if kept > 0 {
                assert!(cache.get(&name.to_uppercase(), at(kept)).is_some(), "{name}");
            }
            assert_eq!(cache.get(name, at(kept + 1)), None, "{name}");
        }
        cache.forget_failures();
        assert_eq!(cache.get("no.example", at(2)), None);
        assert!(cache.get("long.example", at(2)).is_some());
        cache.clear();
        assert_eq!(cache.get("long.example", at(2)), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut cache = Cache::default();
        for number in 0..1000u32 {
            let name = format!("{number}.example");
            cache.put(&name, &outcome(Ok(MailHosts::default()), 1000 - number / 2), at(1));
            assert!(cache.entries.len() <= ENTRIES_MAX);
        }
        assert!(cache.get("0.example", at(2)).is_some());
        cache.put("0.example", &outcome(Err(Failure::NullMx), 100), at(2));
        assert_eq!(cache.get("0.example", at(3)).unwrap().result, Err(Failure::NullMx));
        assert_eq!(cache.entries.len(), ENTRIES_MAX);
    }
}

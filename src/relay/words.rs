//! What was said last to some messages that wait: the words of the reply, or of the failure, that
//! put each off.
//!
//! For people who ask why a mail is still there. The newest few dozen are kept, in memory: putting
//! a mail off writes nothing to the disk, and the log has all of them. Whoever is not here waits
//! for his destination, whose own last error tells why.

use crate::base::buffer::Text;
use crate::limits::REMOTE_TEXT_BYTES_MAX;
use crate::queue::Ticket;

/// How many are remembered.
const WORDS_MAX: usize = 32;

/// See the module's head.
pub struct LastWords {
    kept: Vec<(Ticket, Text<REMOTE_TEXT_BYTES_MAX>)>,
    next: usize,
}

impl LastWords {
    /// Nothing was said yet.
    pub fn new() -> LastWords {
        LastWords { kept: Vec::with_capacity(WORDS_MAX), next: 0 }
    }

    /// `ticket` was put off with these words.
    pub fn note(&mut self, ticket: Ticket, words: &str) {
        let words = Text::from(words);
        if let Some(place) = self.kept.iter_mut().find(|(of, _)| *of == ticket) {
            place.1 = words;
        } else if self.kept.len() < WORDS_MAX {
            self.kept.push((ticket, words));
        } else if let Some(place) = self.kept.get_mut(self.next) {
            *place = (ticket, words);
            self.next = (self.next + 1) % WORDS_MAX;
        }
    }

    /// What was said of `ticket`, if that is remembered.
    pub fn of(&self, ticket: Ticket) -> Option<&str> {
        let found = self.kept.iter().find(|(of, _)| *of == ticket);
        found.map(|(_, words)| words.as_str()).filter(|words| !words.is_empty())
    }
}

impl Default for LastWords {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered() {
        let ticket = |slot| Ticket { slot, seq: 7 };
        let mut words = LastWords::new();
        for slot in 0..WORDS_MAX as u32 + 2 {
            words.note(ticket(slot), "450 busy");
        }
        words.note(ticket(5), "450 later");
        assert_eq!(words.of(ticket(0)), None);
        assert_eq!(words.of(ticket(1)), None);
        assert_eq!(words.of(ticket(2)), Some("450 busy"));
        assert_eq!(words.of(ticket(5)), Some("450 later"));
        assert_eq!(words.of(Ticket { slot: 5, seq: 8 }), None);
    }
}

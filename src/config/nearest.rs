//! The word that somebody meant: by the number of slips of the hand, or by what a word is called
//! in other mail systems.
//!
//! Used for keys, sections, schemes and verbs. Runs only when something is wrong already, so it
//! may be slow and may allocate.

/// What people bring along from other mail systems.
const FOREIGN: [(&str, &str); 16] = [
    ("mailhub", "relay"),
    ("smarthost", "relay"),
    ("relayhost", "relay"),
    ("smtp-server", "relay"),
    ("myhostname", "hostname"),
    ("mailname", "hostname"),
    ("root", "to"),
    ("mailfrom", "from"),
    ("mynetworks", "clients"),
    ("inet-interfaces", "listen"),
    ("queue-directory", "spool"),
    ("message-size-limit", "message-size"),
    ("true", "yes"),
    ("on", "yes"),
    ("false", "no"),
    ("off", "no"),
];

/// The one of `known` that `word` most likely means, if any is near enough to be worth saying.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('_', "-");
    let meant = FOREIGN.iter().find(|(foreign, _)| *foreign == word).map(|(_, own)| *own);
    let slips_max = (word.chars().count() / 3).max(1);
    known
        .map(|known| {
            let slips = if meant == Some(known) { 0 } else { distance(&word, known) };
            (slips, known)
        })
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, known)| known)
}

/// "; did you mean 'x'?", or nothing.
pub fn hint<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(word, known) {
        Some(near) => format!("; did you mean '{near}'?"),
        None => String::new(),
    }
}

/// Characters inserted, left out, replaced, or swapped with their neighbour (optimal string
/// alignment), over three rows of the table.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    let mut last = None;
    for (row, a) in one.chars().enumerate() {
        let mut here = vec![row + 1];
        let mut left = row + 1;
        let mut last_b = None;
        for (column, b) in other.iter().copied().enumerate() {
            let diagonal = above.get(column).copied().unwrap_or(usize::MAX);
            let up = above.get(column + 1).copied().unwrap_or(usize::MAX);
            let mut least = diagonal + usize::from(a != b);
            least = least.min(up + 1).min(left + 1);
            if last == Some(b) && last_b == Some(a) {
                let swapped = column.checked_sub(1).and_then(|place| before.get(place));
                least = least.min(swapped.copied().unwrap_or(least) + 1);
            }
            here.push(least);
            left = least;
            last_b = Some(b);
        }
        last = Some(a);
        before = core::mem::replace(&mut above, here);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, slips) in [
            ("", "", 0),
            ("", "abc", 3),
            ("relay", "relay", 0),
            ("realy", "relay", 1),
            ("rely", "relay", 1),
            ("relaay", "relay", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), slips, "{one} {other}");
            assert_eq!(distance(other, one), slips, "{other} {one}");
        }
    }

    #[test]
    fn only_what_is_near() {
        let known = ["relay", "listen", "message-size"];
        assert_eq!(nearest("Realy", known.into_iter()), Some("relay"));
        assert_eq!(nearest("message_size", known.into_iter()), Some("message-size"));
        assert_eq!(nearest("smarthost", known.into_iter()), Some("relay"));
        assert_eq!(nearest("password", known.into_iter()), None);
    }
}

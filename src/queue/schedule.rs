//! When a message is tried again: a function of its age and nothing else.
//!
//! So deferring writes nothing to the disk, a restart forgets nothing, and a wrong clock changes
//! nothing: age is running time (I16, I17). The steps are the config's `retry` list, summed up; its
//! last step repeats. Each step is made longer by up to an eighth, by a number that belongs to the
//! message and the step, so that a thousand messages deferred together do not come back together.

use super::block::Seal;

/// The least age in seconds, greater than `age`, at which message `seq` is tried.
pub fn next_try(age: u64, retry: &[u64], seal: &Seal, seq: u64) -> u64 {
    let last = retry.last().copied().unwrap_or(60).max(1);
    let mut sum = 0u64;
    for (number, step) in (0u64..).zip(retry.iter().copied()) {
        sum = sum.saturating_add(step.max(1));
        let at = sum.saturating_add(jitter(step, number, seal, seq));
        if at > age {
            return at;
        }
    }
    let further = age.saturating_sub(sum) / last;
    for number in further..further.saturating_add(3) {
        let at = sum.saturating_add(last.saturating_mul(number + 1));
        let at = at.saturating_add(jitter(last, retry.len() as u64 + number, seal, seq));
        if at > age {
            return at;
        }
    }
    age.saturating_add(last)
}

fn jitter(step: u64, number: u64, seal: &Seal, seq: u64) -> u64 {
    seal.scatter(seq, number) % (step / 8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_and_never_stand_still() {
        let seal = Seal::new([1; 24]);
        let retry = [60, 300, 900, 1800, 3600, 7200, 14400];
        let first = next_try(0, &retry, &seal, 7);
        assert!((60..=67).contains(&first));
        let mut age = 0;
        let mut tries = 0;
        while age < 5 * 86400 {
            let next = next_try(age, &retry, &seal, 7);
            assert!(next > age && next - age <= 14400 + 2 * 1800 + 1, "{age} → {next}");
            age = next;
            tries += 1;
        }
        assert!((30..45).contains(&tries), "{tries} tries in five days");
        assert!(next_try(u64::MAX - 1, &retry, &seal, 7) == u64::MAX);
        assert!(next_try(5, &[], &seal, 7) > 5);
    }

    #[test]
    fn messages_scatter() {
        let seal = Seal::new([1; 24]);
        let at: std::collections::BTreeSet<u64> =
            (0..100).map(|seq| next_try(4000, &[3600], &seal, seq)).collect();
        assert!(at.len() > 50);
    }
}

//! One rule of the queue, or of the daemon around it, is broken at a time; the crash tests must
//! notice each within ten seconds of processor time. `make mutants` runs them all, `MUTANT=name`
//! one.

// A test may stop at the first surprise; its modules are nobody's interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, missing_docs)]

#[path = "crash/mod.rs"]
mod crash;

use crash::schedule::Sins;
use mote::queue::mutant::{Mutant, choose};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const TIME_MAX: Duration = Duration::from_secs(10);

/// Time that this process has had: others may be busy on the same machine.
struct Watch {
    start: Instant,
    had: Option<Duration>,
}

impl Watch {
    fn start() -> Watch {
        Watch { start: Instant::now(), had: Watch::had() }
    }

    fn had() -> Option<Duration> {
        let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
        Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
    }

    fn elapsed(&self) -> Duration {
        match (self.had, Watch::had()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.start.elapsed(),
        }
    }
}

/// Rules of the queue.
const MUTANTS: &[Mutant] = &[
    Mutant::BodyNotBound,
    Mutant::ReuseBeforeSync,
    Mutant::AckBeforeSync,
    Mutant::StateOverDurable,
    Mutant::EpochNotRaised,
    Mutant::NoSettling,
    Mutant::SeqAtMail,
    Mutant::RetriedSync,
    Mutant::StateInHeader,
    Mutant::SyncedTooEarly,
    Mutant::RecoveryFromCache,
    Mutant::RecoveryUnsynced,
    Mutant::RefusedStays,
    Mutant::MarksForgotten,
    Mutant::RefusedFreedAtOnce,
    Mutant::DamageDropped,
    Mutant::UnreadableDropped,
    Mutant::GenerationRepeated,
    Mutant::MarksKeptInMemory,
    Mutant::AgeForgotten,
    Mutant::MemoryNotAsked,
    Mutant::OverByNumber,
    Mutant::UnreadOverwritten,
];

fn main() -> ExitCode {
    // The mutants' assertions are expected.
    std::panic::set_hook(Box::new(|_| {}));
    let wanted = std::env::var("MUTANT").ok();
    let mut left = 0;
    let mut caught = 0;
    let mut one = |name: &str, mutant: Option<Mutant>, sins: Sins| {
        if wanted.as_ref().is_some_and(|wanted| wanted != name) {
            return;
        }
        choose(mutant);
        let start = Watch::start();
        let outcome = crash::run(1, u64::MAX, 1, sins, || start.elapsed() < TIME_MAX);
        choose(None);
        let seconds = start.elapsed().as_secs_f64();
        match outcome.violations.first() {
            Some(violation) => {
                caught += 1;
                println!("{name}: caught in {seconds:.2} s: {violation}");
            }
            None => {
                left += 1;
                println!("{name}: NOT caught in {seconds:.2} s, {} points", outcome.points);
            }
        }
    };
    for mutant in MUTANTS {
        one(&format!("{mutant:?}"), Some(*mutant), Sins::default());
    }
    one("DoneBeforeReport", None, Sins { done_before_report: true, ..Sins::default() });
    one("UnlinkBeforeCommit", None, Sins { unlink_before_commit: true, ..Sins::default() });
    one("AttemptBeforeUnlink", None, Sins { attempt_before_unlink: true, ..Sins::default() });
    println!("mutants={} caught={caught}", caught + left);
    if left == 0 && caught > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! Cuts the power after every write and every sync of seeded lives of the queue, inside recovery
//! too, and asks of each recovery all that FORMAT.md promises.
//!
//! `make crash POINTS=n SEED=s`: n cuts, from seed s on; the same seed gives the same cuts, bit for
//! bit. A violation names its seed; that seed alone shows it again. Exit 1 if there is any.
//! Without POINTS only a few are tried, so that the ordinary test run stays short.

// A test may stop at the first surprise; its modules are nobody's interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, missing_docs)]

#[path = "crash/mod.rs"]
mod crash;

use crash::schedule::Sins;
use std::process::ExitCode;
use std::time::Instant;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() -> ExitCode {
    let points = number("POINTS").unwrap_or(2_000);
    let seed = number("SEED").unwrap_or(1);
    let twice = [(); 2].map(|()| crash::run(seed, points.min(500), 5, Sins::default(), || true));
    assert_eq!(twice[0].trace, twice[1].trace, "a seed does not replay");
    let start = Instant::now();
    let outcome = crash::run(
        seed,
        points,
        number("VIOLATIONS").unwrap_or(5) as usize,
        Sins::default(),
        || true,
    );
    for violation in &outcome.violations {
        println!("violation: {violation}");
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!(
        "{:.0} points a second, trace {:016x}",
        outcome.points as f64 / seconds,
        outcome.trace
    );
    let (points, seeds) = (outcome.points, outcome.seeds);
    println!("points={points} seeds={seeds} violations={}", outcome.violations.len());
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

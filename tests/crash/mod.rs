//! The crash tests: a simulated disk, a seeded life of a queue on it, and a model that knows what
//! must be there after the power was cut.
//!
//! - `random` seeded numbers · `disk` the disk that fails · `model` what must be there
//! - `schedule` the life · `verify` what every recovery is asked · `rot` the same on bad media
//!
//! Everything follows from the seed: no clock, no hash order.

pub mod disk;
pub mod model;
pub mod random;
pub mod rot;
pub mod schedule;
pub mod verify;

use schedule::{Schedule, Sins};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a run of seeds came to.
pub struct Outcome {
    pub points: u64,
    pub seeds: u64,
    pub trace: u64,
    pub violations: Vec<String>,
}

/// Lives of seeds `first`, `first + 1` … until `points_max` cuts were made, or `violations_max`
/// seeds failed, or `go_on` says no.
pub fn run(
    first: u64,
    points_max: u64,
    violations_max: usize,
    sins: Sins,
    mut go_on: impl FnMut() -> bool,
) -> Outcome {
    let mut outcome = Outcome { points: 0, seeds: 0, trace: 0, violations: Vec::new() };
    while outcome.points < points_max && outcome.violations.len() < violations_max && go_on() {
        let seed = first + outcome.seeds;
        let mut schedule = Schedule::new(seed, sins);
        let left = points_max - outcome.points;
        let result = catch_unwind(AssertUnwindSafe(|| schedule.run(left)));
        let violation = match result {
            Ok(Ok(())) => None,
            Ok(Err(what)) => Some(what),
            Err(_) => Some("an assertion failed".to_string()),
        };
        outcome.points += schedule.points();
        outcome.seeds += 1;
        outcome.trace = outcome.trace.rotate_left(1) ^ schedule.trace();
        if let Some(what) = violation {
            let (step, points) = (schedule.step, schedule.points());
            outcome.violations.push(format!("SEED={seed} POINTS={points}, step {step}: {what}"));
        }
    }
    outcome
}

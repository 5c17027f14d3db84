//! A bounded sample of `tests/faults/sweep.py`: the real binary, killed and hurt at its system
//! calls under strace. The whole sweep is `make faults`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::process::Command;

/// Runs one kind of trouble at every `every`-th point.
fn sweep(kind: &str, every: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/sweep.py");
    let words = [script, env!("CARGO_BIN_EXE_mote"), "--only", kind, "--every", every];
    let Ok(output) = Command::new("python3").args(words).output() else {
        println!("skipped: faults: python3 is not installed");
        return;
    };
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
}

#[test]
fn killed_at_a_system_call_nothing_acknowledged_is_lost() {
    sweep("kill", "45");
}

#[test]
fn a_call_that_fails_once_is_a_temporary_refusal_at_most() {
    sweep("error", "63");
}

#[test]
fn short_and_interrupted_writes_go_unnoticed() {
    sweep("short", "1");
}

#[test]
fn a_full_spool_refuses_for_now_and_drains() {
    sweep("full", "1");
}

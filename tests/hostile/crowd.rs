//! A thousand clients at one byte a second, while good ones are served (threats 10, decisions 15).
//!
//! The crowd comes from many addresses or from one, and back as soon as it is sent away; `sessions`
//! is the default. All of it lives in a network namespace of its own, so that there are strangers:
//! the test runs itself again inside of one.

use crate::budget::assert_within_budget;
use crate::instance::{Mote, Place};
use std::path::Path;
use std::process::Command;

const CLIENTS: u32 = 1000;
const LIMIT_MILLISECONDS: i64 = 1000;
const INSIDE: &str = "INSIDE_OF_CROWD";

/// One crowd: how long the stranger is served, from how many addresses, what it sends, and how long
/// it takes until each of these addresses has been slow once.
const CROWDS: [(u32, u32, &str, u32); 3] =
    [(40, 500, "line", 60), (40, 500, "data", 60), (40, 1, "noop", 5)];

fn serve() -> (Place, Mote) {
    let place = Place::in_memory(
        "listen = 0.0.0.0:{port}\nrelay = hold\nspool-size = 256M\nlog = warn\n\
         [route mote.test]\nvia = hold",
    );
    let mote = place.serve();
    (place, mote)
}

/// Runs a crowd; panics if a good client fails, or is served too slowly.
fn stand(seconds: u32, sources: u32, manner: &str, warm: u32) {
    let (place, mote) = serve();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/crowd.py");
    let mut python = Command::new("python3");
    python.arg(script);
    for number in [u32::from(place.port), seconds, CLIENTS, sources] {
        python.arg(number.to_string());
    }
    let output = python.arg(manner).arg(warm.to_string()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let crowd = format!("{CLIENTS} clients of {sources} addresses, {manner}");
    for name in ["loopback", "stranger"] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        let numbers: Vec<i64> =
            line.split(' ').skip(1).map(|number| number.parse().unwrap()).collect();
        let [mails, failed, middle, high, most] = numbers[..] else { panic!("{line}") };
        println!(
            "{crowd}: {name}: {mails} mails, {failed} failed, p50 {middle} ms, p99 {high} ms, \
             most {most} ms"
        );
        assert!(failed == 0 && mails > 100, "{name}: {errors}");
        assert!(high < LIMIT_MILLISECONDS, "{name}: p99 is {high} ms");
    }
    assert_within_budget(&place, &mote);
}

#[test]
#[ignore = "it measures times; make hostile runs it"]
fn good_clients_are_served_beside_a_thousand_slow_ones() {
    if std::env::var_os(INSIDE).is_some() {
        for (seconds, sources, manner, warm) in CROWDS {
            stand(seconds, sources, manner, warm);
        }
        return;
    }
    let own = std::env::current_exe().unwrap();
    let script = "ip link set lo up && ip addr add 10.99.0.1/16 dev lo && exec \"$0\" --ignored \
                  --exact --nocapture crowd::good_clients_are_served_beside_a_thousand_slow_ones";
    let mut inside = Command::new("unshare");
    inside.args(["-n", "sh", "-c", script]).arg(own).env(INSIDE, "1");
    let probe = Command::new("unshare").args(["-n", "ip", "link"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: the crowd: it needs root, unshare and ip for a network of its own");
        return;
    }
    assert!(inside.status().unwrap().success());
}

//! Mail that is to go later, or not too late.

use std::time::Duration;

use crate::extensions::{message_text, say};
use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::next_hop::NextHop;
use crate::session::Session;

/// What `queue ls` says, as people see it.
fn listed(place: &Place) -> String {
    String::from_utf8(place.run(&["queue", "ls"]).stdout).unwrap()
}

fn only_id(place: &Place) -> String {
    let text = listed(place);
    text.lines().nth(1).unwrap().split(' ').next().unwrap().to_string()
}

#[test]
fn what_is_to_go_later_waits_over_a_restart_until_it_is_released() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING"]);
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}\nexpire = 1s", hop.port));
    let mut mote = place.serve();
    let mut session = Session::open(place.port);
    let envelope =
        ["MAIL FROM:<sender@client.test> HOLDFOR=86400", "RCPT TO:<someone@example.net>", "DATA"];
    say(&mut session, &envelope, &[250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    let held = || wait_for("a hold", Duration::from_secs(20), || listed(&place).contains("held"));
    held();
    assert!(listed(&place).contains("held until 20"), "{}", listed(&place));
    mote.signal("KILL");
    drop(mote);
    mote = place.serve();
    held();
    // Neither a flush nor the release of all that administrators hold is meant for it.
    assert!(place.run(&["flush"]).status.success());
    assert!(place.run(&["queue", "release", "all"]).status.success());
    held();
    assert!(hop.heard().is_empty());
    assert!(place.run(&["queue", "release", &only_id(&place)]).status.success());
    wait_for("the delivery", Duration::from_secs(20), || mote.logged("status=sent") == 1);
    assert!(!hop.heard_of("MAIL")[0].contains("HOLD"));
}

#[test]
fn what_is_to_go_in_a_second_goes() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING"]);
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}", hop.port));
    let mote = place.serve();
    let mut session = Session::open(place.port);
    let envelope =
        ["MAIL FROM:<sender@client.test> HOLDFOR=1", "RCPT TO:<someone@example.net>", "DATA"];
    say(&mut session, &envelope, &[250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    wait_for("the delivery", Duration::from_secs(20), || mote.logged("status=sent") == 1);
}

#[test]
fn later_is_for_those_who_may_relay() {
    let _running = shared();
    let place = Place::new("relay = hold\nhold-max = 1h\n[clients 127.0.0.0/8]\nrelay = no");
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    assert!(!session.ask("EHLO client.test").unwrap().text.contains("FUTURERELEASE"));
    say(&mut session, &["MAIL FROM:<a@client.test> HOLDFOR=60"], &[555]);
    let place = Place::new("relay = hold\nhold-max = 1h");
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    let hello = session.ask("EHLO client.test").unwrap().text;
    assert!(hello.contains("250-FUTURERELEASE 3600 20"), "{hello}");
    say(&mut session, &["MAIL FROM:<a@client.test> HOLDFOR=3601"], &[554]);
    say(&mut session, &["MAIL FROM:<a@client.test> HOLDUNTIL=2020-01-01T00:00:00Z"], &[501]);
    say(&mut session, &["MAIL FROM:<a@client.test> HOLDFOR=3600"], &[250]);
    let place = Place::new("relay = hold\nhold-max = 0s");
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    say(&mut session, &["MAIL FROM:<a@client.test> HOLDFOR=60"], &[555]);
}

//! Mail that is to go later, or not too late.

use std::time::Duration;

use crate::extensions::{assert_holds, message_text, only_mail, say, with_reports};
use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::next_hop::NextHop;
use crate::peers::maildir;
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
fn what_is_released_while_nothing_runs_goes_at_the_next_start() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING"]);
    let place = Place::new(&format!("relay = smtp://127.0.0.1:{}", hop.port));
    let mote = place.serve();
    let mut session = Session::open(place.port);
    let envelope =
        ["MAIL FROM:<sender@client.test> HOLDFOR=86400", "RCPT TO:<someone@example.net>", "DATA"];
    say(&mut session, &envelope, &[250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    let id = only_id(&place);
    mote.signal("KILL");
    drop(mote);
    let output = place.run(&["queue", "release", &id]);
    assert!(output.status.success(), "{output:?}");
    let mote = place.serve();
    wait_for("the delivery", Duration::from_secs(20), || mote.logged("status=sent") == 1);
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

#[test]
fn what_must_be_in_time_goes_only_to_who_promises_it() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING", "DSN"]);
    let place = with_reports(hop.port);
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    say(&mut session, &["MAIL FROM:<a@client.test> BY=59;R"], &[555]);
    let envelope =
        ["MAIL FROM:<sender@client.test> BY=600;R", "RCPT TO:<someone@example.net>", "DATA"];
    say(&mut session, &envelope, &[250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    let report = only_mail(&place.path("Maildir"));
    let words = ["promises no time of delivery", "Action: failed\nStatus: 5.4.7\n"];
    assert_holds(&report, &words);
    assert_holds(&report, &["Deliver-By-Date: "]);
    // Not even asked.
    assert!(hop.heard_of("MAIL").is_empty());
}

#[test]
fn a_time_of_delivery_is_handed_on_and_each_step_is_told() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING", "DSN", "DELIVERBY 60"]);
    let place = with_reports(hop.port);
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    let envelope = [
        "MAIL FROM:<sender@client.test> BY=600;RT",
        "RCPT TO:<someone@example.net>",
        "RCPT TO:<silent@example.net> NOTIFY=NEVER",
        "DATA",
    ];
    say(&mut session, &envelope, &[250, 250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    let report = only_mail(&place.path("Maildir"));
    assert_holds(&report, &["someone@example.net\nAction: relayed\n", "Deliver-By-Date: "]);
    assert!(!report.contains("silent@"), "{report}");
    let mail = hop.heard_of("MAIL");
    let (_, by) = mail[0].split_once(" BY=").unwrap();
    let seconds: u32 = by.strip_suffix(";RT").unwrap().parse().unwrap();
    assert!((540..=600).contains(&seconds), "{mail:?}");
}

#[test]
fn what_is_late_is_told_of_once_and_goes_on() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING"]);
    let config = format!(
        "retry = 1s\nrelay = smtp://127.0.0.1:{}\n\
         [route client.test]\nvia = maildir:{{dir}}/Maildir",
        hop.port
    );
    let place = Place::new(&config);
    let mote = place.serve();
    let mut session = Session::open(place.port);
    let envelope = [
        "MAIL FROM:<sender@client.test> BY=-1;N",
        "RCPT TO:<later@example.net>",
        "RCPT TO:<later-silent@example.net> NOTIFY=NEVER",
        "DATA",
    ];
    say(&mut session, &envelope, &[250, 250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    let report = only_mail(&place.path("Maildir"));
    assert_holds(
        &report,
        &[
            "Subject: Mail not delivered yet, and tried again\n",
            "Final-Recipient: rfc822; later@example.net\nAction: delayed\nStatus: 4.4.7\n",
            "Will-Retry-Until: ",
            "Deliver-By-Date: ",
        ],
    );
    assert!(!report.contains("silent"), "{report}");
    let tries = || hop.heard_of("MAIL").len() >= 3;
    wait_for("three tries", Duration::from_secs(30), tries);
    assert_eq!(maildir(&place.path("Maildir")).len(), 1);
    assert_eq!(mote.logged("is told that it takes long"), 1);
}

#[test]
fn a_delay_is_told_where_it_was_asked_and_where_the_config_wants_it() {
    let _running = shared();
    let hop = NextHop::start(&["PIPELINING"]);
    let config = format!(
        "retry = 1s\ndelay-notice = 1s\nrelay = smtp://127.0.0.1:{}\n\
         [route client.test]\nvia = maildir:{{dir}}/Maildir",
        hop.port
    );
    let place = Place::new(&config);
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    let envelope = [
        "MAIL FROM:<sender@client.test> ENVID=QQ",
        "RCPT TO:<later@example.net> NOTIFY=DELAY ORCPT=rfc822;first@example.net",
        "RCPT TO:<later-2@example.net> NOTIFY=FAILURE",
        "RCPT TO:<later-3@example.net>",
        "DATA",
    ];
    say(&mut session, &envelope, &[250, 250, 250, 250, 354]);
    say(&mut session, &[&message_text(1)], &[250]);
    let report = only_mail(&place.path("Maildir"));
    assert_holds(
        &report,
        &[
            "Original-Envelope-Id: QQ\n",
            "Original-Recipient: rfc822; first@example.net\n",
            "Final-Recipient: rfc822; later@example.net\nAction: delayed\n",
            "450 4.2.1 later",
        ],
    );
    assert!(!report.contains("later-2") && !report.contains("later-3"), "{report}");
}

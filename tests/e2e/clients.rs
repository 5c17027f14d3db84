//! `[clients RANGE]` through the real binary: each address of loopback is a device of its own.

use std::time::Duration;

use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::peers::maildir;
use crate::session::{Session, message};

#[test]
fn connections_and_messages_of_an_address_are_limited() {
    let _running = shared();
    let place = Place::in_memory(
        "relay = hold\n[clients 127.0.0.64/26]\nrelay = yes\nconnections = 2\nrate = 3\n",
    );
    let _mote = place.serve();
    let connect = |source| Session::connect_from(source, place.port).unwrap();
    let (mut one, greeting) = connect("127.0.0.70");
    assert_eq!(greeting.code, 220);
    let (two, greeting) = connect("127.0.0.70");
    assert_eq!(greeting.code, 220);
    let (three, greeting) = connect("127.0.0.70");
    assert_eq!(greeting.text, "421 4.7.0 Too many connections from there\r\n");
    assert_eq!(three.rest().unwrap(), "");
    assert_eq!(connect("127.0.0.71").1.code, 220);
    // Of loopback beside the range there may be any number.
    let _others: Vec<_> = (0..4).map(|_| Session::open(place.port)).collect();
    drop(two);
    wait_for("the slot", Duration::from_secs(10), || connect("127.0.0.70").1.code == 220);

    assert_eq!(one.ask("EHLO printer").unwrap().code, 250);
    for number in 0..3 {
        assert!(one.deliver("you@example.net", &message(number, 200)).unwrap());
    }
    let refused = |session: &mut Session| session.ask("MAIL FROM:<a@b.example>").unwrap();
    let expected = "450 4.7.1 Too many mails; try again later\r\n";
    assert_eq!(refused(&mut one).text, expected);
    let (mut again, _) = connect("127.0.0.70");
    again.ask("EHLO printer").unwrap();
    assert_eq!(refused(&mut again).text, expected);
    let (mut other, _) = connect("127.0.0.72");
    other.ask("EHLO scanner").unwrap();
    assert!(other.deliver("you@example.net", &message(9, 200)).unwrap());
}

/// A scanner that knows only LF, and writes what it likes; what a Maildir gets of it is as ever.
#[test]
fn an_old_scanner_is_served_where_its_range_is_lenient() {
    let _running = shared();
    let place = Place::in_memory(
        "relay = maildir:{dir}/Maildir\n\
         [clients 127.0.0.70]\nrelay = yes\nlenient = yes\n\
         [clients 127.0.0.71]\nrelay = yes\n",
    );
    let mote = place.serve();
    let talk = |source| {
        let (mut scanner, _) = Session::connect_from(source, place.port).unwrap();
        let mut codes = Vec::new();
        for line in [
            "EHLO \u{e4}",
            "MAIL FROM: scanner@office.example",
            "RCPT TO:you@example.net",
            "DATA",
            "Subject: scan\n\nfirst\n..\nlast\n.",
            "QUIT\0",
        ] {
            scanner.write(format!("{line}\n").as_bytes()).unwrap();
            codes.push(scanner.reply().unwrap().code);
            if codes.last() > Some(&499) {
                break;
            }
        }
        codes
    };
    assert_eq!(talk("127.0.0.71"), [500]);
    assert_eq!(talk("127.0.0.70"), [250, 250, 250, 354, 250, 221]);
    wait_for("the mail", Duration::from_secs(20), || mote.logged("status=sent") == 1);
    let mails = maildir(&place.path("Maildir"));
    let mail = std::fs::read_to_string(&mails[0]).unwrap();
    assert!(mail.ends_with("\nSubject: scan\n\nfirst\n.\nlast\n"), "{mail}");
    assert!(mail.contains("Received: from ? ([127.0.0.70])"), "{mail}");
}

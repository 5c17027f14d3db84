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

/// What `status` tells of each device, and that what it advises does help.
#[test]
fn status_tells_of_devices_and_what_would_help() {
    let _running = shared();
    let lines = "relay = hold\n[clients 127.0.0.64/26]\nrelay = yes\nrate = 60\n\
                 [clients 127.0.1.0/24]\nrelay = no\n";
    let place = Place::in_memory(lines);
    let mote = place.serve();
    let talk = |source, lines: &[&str]| {
        let (mut device, _) = Session::connect_from(source, place.port).unwrap();
        let mut code = 0;
        for line in lines {
            device.write(line.as_bytes()).unwrap();
            code = device.reply().unwrap().code;
        }
        code
    };
    let status = |words: &[&str]| {
        let output = place.run(&[&["status"], words].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    let scan: &[&str] = &[
        "HELO scanner\n",
        "MAIL FROM: me@x.test\n",
        "RCPT TO:<you@y.test>\n",
        "DATA\n",
        "hi\n.\n",
    ];
    assert_eq!(talk("127.0.0.70", &scan[..1]), 500);
    assert_eq!(talk("127.0.0.71", &["EHLO nas\r\n", "MAIL FROM: <me@x.test>\r\n"]), 501);
    assert_eq!(
        talk("127.0.1.1", &["EHLO cam\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<a@y.test>\r\n"]),
        550
    );
    let mut good = Session::open(place.port);
    assert!(good.deliver("you@y.test", &message(1, 200)).unwrap());
    let told = status(&[]);
    for words in [
        "device    127.0.0.70: no mail yet\n",
        " ago: 500 5.5.2 A line ends with CR LF and holds no other\n",
        "          what would help: [clients 127.0.0.70] relay = yes, lenient = yes, rate = 60\n",
        "device    127.0.0.71 (nas): no mail yet\n",
        " ago: 501 5.1.7 the address must stand between < and >\n",
        "          what would help: [clients 127.0.0.71] relay = yes, lenient = yes, rate = 60\n",
        "device    127.0.1.1 (cam): no mail yet\n",
        " ago: 550 5.7.1 You may not send to there from here\n",
        "          what would help: [clients 127.0.1.1] relay = yes\n",
        "device    127.0.0.1 (client.test): 1 mail, the last ",
    ] {
        assert!(told.contains(words), "no {words:?} in {told}");
    }
    // As it says.
    let advice = told.lines().find_map(|line| line.split_once("what would help: ")).unwrap().1;
    let section = advice.replace("] ", "]\n").replace(", ", "\n");
    place.configure(&format!("{lines}{section}\n"));
    mote.signal("HUP");
    wait_for("the reload", Duration::from_secs(10), || mote.logged("reloaded") == 1);
    assert_eq!(talk("127.0.0.70", scan), 250);
    let told = status(&[]);
    assert!(told.contains("device    127.0.0.70 (scanner): 1 mail, the last "), "{told}");
    assert!(!told.contains("[clients 127.0.0.70]"), "{told}");
    let told = status(&["--json"]);
    let device = "{\"address\":\"127.0.0.70\",\"hello\":\"scanner\",\"mails\":1,\"last_mail\":";
    let cam = "\"change\":\"[clients 127.0.1.1] relay = yes\"}";
    assert!(told.contains(device) && told.contains(cam), "{told}");
    assert!(told.trim_end().ends_with("}]}"), "{told}");
}

/// More devices than there is room for, with the longest names: the answer goes out in pieces.
#[test]
fn status_tells_of_a_bounded_number_of_devices() {
    let _running = shared();
    let place = Place::in_memory("relay = hold");
    let _mote = place.serve();
    let name = "\"".repeat(250);
    for number in 0..70 {
        let (mut device, _) =
            Session::connect_from(&format!("127.0.2.{number}"), place.port).unwrap();
        assert_eq!(device.ask(&format!("EHLO {name}")).unwrap().code, 250);
        assert_eq!(device.ask("MAIL FROM: <a@b.test>").unwrap().code, 501);
    }
    let output = place.run(&["status", "--json"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told.matches("{\"address\":").count(), 32, "{told}");
    assert!(told.contains("\"127.0.2.69\"") && !told.contains("\"127.0.2.0\""), "{told}");
    assert_eq!(place.run(&["status"]).status.code(), Some(0));
}

//! Threats 7: everything by which strangers have made others' servers carry their mail, from an
//! address that may not relay, through the real binary. What is taken ends at the key `to`.

use std::time::Duration;

use crate::instance::{Mote, Place};
use crate::listeners::is_outside;
use crate::load::{shared, wait_for};
use crate::session::Session;

const STRANGER: &str = "203.0.113.7";
/// Where mail for users of mote.test goes.
const ADMIN: &str = "me@home.example";

/// What stands behind RCPT TO: and how the answer begins.
const RECIPIENTS: &[(&str, &str)] = &[
    // Somebody else's users, plainly.
    ("<you@example.net>", "550 5.7.1"),
    ("<YOU@EXAMPLE.NET>", "550 5.7.1"),
    ("<you@example.net.>", "501 5.1.3"),
    ("<you@sub.mote.test>", "550 5.7.1"),
    ("<you@mote.test.example.net>", "550 5.7.1"),
    ("<you@example.net> NOTIFY=NEVER", "555 5.5.4"),
    ("<you@example.net> ORCPT=rfc822;root@mote.test", "555 5.5.4"),
    // The percent hack, and its kin.
    ("<you%example.net@mote.test>", "550 5.1.3"),
    ("<you%example.net>", "550 5.1.3"),
    ("<you%example.net@localhost>", "550 5.1.3"),
    ("<you%example.net@[127.0.0.1]>", "550 5.1.3"),
    ("<you%example.net%mote.test@mote.test>", "550 5.1.3"),
    ("<you%example.net@example.org>", "550 5.1.3"),
    ("<%@mote.test>", "550 5.1.3"),
    ("<\"you%example.net\"@mote.test>", "550 5.1.3"),
    ("<\"you%example.net\">", "550 5.1.3"),
    ("<\"you\\%example.net\"@mote.test>", "550 5.1.3"),
    ("<you%example.net@MOTE.TEST>", "550 5.1.3"),
    ("<postmaster%example.net@mote.test>", "550 5.1.3"),
    // Bang paths.
    ("<example.net!you>", "550 5.1.3"),
    ("<example.net!you@mote.test>", "550 5.1.3"),
    ("<mote.test!example.net!you>", "550 5.1.3"),
    ("<mote.test!example.net!you@mote.test>", "550 5.1.3"),
    ("<\"example.net!you\"@mote.test>", "550 5.1.3"),
    ("<example.net!you%mote.test@mote.test>", "550 5.1.3"),
    ("<!you@mote.test>", "550 5.1.3"),
    // Source routes.
    ("<@mote.test:you@example.net>", "550 5.7.1"),
    ("<@mote.test,@example.org:you@example.net>", "550 5.7.1"),
    ("<@localhost:you@example.net>", "550 5.7.1"),
    ("<@[127.0.0.1]:you@example.net>", "501 5.1.3"),
    ("<@example.net:you@mote.test>", "250 2.1.5"),
    ("<@example.net:you>", "501 5.1.3"),
    ("<@mote.test:you%example.net@mote.test>", "550 5.1.3"),
    ("<@mote.test:@mote.test:you@example.net>", "501 5.1.3"),
    ("<@mote.test@example.net>", "501 5.1.3"),
    ("<@:you@example.net>", "501 5.1.3"),
    ("<@example.net>", "501 5.1.3"),
    ("<:you@example.net>", "501 5.1.3"),
    // An address within a local part.
    ("<\"you@example.net\"@mote.test>", "550 5.1.3"),
    ("<\"you@example.net\">", "550 5.1.3"),
    ("<\"you@example.net\"@localhost>", "550 5.1.3"),
    ("<\"@mote.test:you@example.net\">", "550 5.1.3"),
    ("<\"@mote.test:you@example.net\"@mote.test>", "550 5.1.3"),
    ("<\"you:example.net\"@mote.test>", "550 5.1.3"),
    ("<you\\@example.net@mote.test>", "501 5.1.3"),
    ("<you@example.net@mote.test>", "501 5.1.3"),
    ("<you@mote.test@example.net>", "501 5.1.3"),
    ("<you%40example.net@mote.test>", "550 5.1.3"),
    ("<\"you\"@example.net>", "550 5.7.1"),
    ("<\"\"@example.net>", "550 5.7.1"),
    // Address literals: no name of this machine, and nobody else's.
    ("<you@[127.0.0.1]>", "550 5.7.1"),
    ("<you@[203.0.113.1]>", "550 5.7.1"),
    ("<you@[192.0.2.1]>", "550 5.7.1"),
    ("<you@[IPv6:::1]>", "550 5.7.1"),
    ("<you@[IPv6:::ffff:192.0.2.1]>", "550 5.7.1"),
    ("<you@127.0.0.1>", "550 5.7.1"),
    ("<you@[]>", "501 5.1.3"),
    // Brackets, blanks and bytes around it.
    ("you@example.net", "501 5.1.3"),
    (" <you@example.net>", "501 5.1.3"),
    ("<you@example.net", "501 5.1.3"),
    ("<<you@example.net>>", "501 5.1.3"),
    ("<mote.test> <you@example.net>", "501 5.5.4"),
    ("<root@mote.test>,<you@example.net>", "501 5.5.4"),
    ("<root@mote.test,you@example.net>", "501 5.1.3"),
    ("<root@mote.test you@example.net>", "501 5.1.3"),
    ("<root@mote.test>you@example.net", "501 5.5.4"),
    ("Root <you@example.net>", "501 5.1.3"),
    ("<you@example.net (mote.test)>", "501 5.1.3"),
    ("<|cat@mote.test>", "250 2.1.5"),
    ("</etc/passwd@mote.test>", "250 2.1.5"),
    ("<:include:/etc/passwd@mote.test>", "501 5.1.3"),
    ("<>", "501 5.1.3"),
    ("<@>", "501 5.1.3"),
    ("<you@>", "501 5.1.3"),
    ("<you@.example.net>", "501 5.1.3"),
    ("<you@example..net>", "501 5.1.3"),
    ("<you@mote.test\0.example.net>", "501 5.1.3"),
    ("<you@mote.test\t>", "501 5.1.3"),
    ("<you@m\u{f6}te.test>", "501 5.1.3"),
    // Its own, in all their names: these are taken, and go to the admin.
    ("<root>", "250 2.1.5"),
    ("<root@mote.test>", "250 2.1.5"),
    ("<root@MOTE.test>", "250 2.1.5"),
    ("<root@mote.test.>", "501 5.1.3"),
    ("<root@localhost>", "250 2.1.5"),
    ("<root@LOCALHOST.localdomain>", "250 2.1.5"),
    ("<postmaster>", "250 2.1.5"),
    ("<Postmaster@mote.test>", "250 2.1.5"),
    ("<POSTMASTER@localhost>", "250 2.1.5"),
    ("<postmaster@example.net>", "550 5.7.1"),
    ("<abuse@example.net>", "550 5.7.1"),
];

/// The senders that it makes no difference to have.
const SENDERS: [&str; 4] = ["<a@c.test>", "<>", "<root@mote.test>", "<you@example.net>"];

/// A mote with a next hop that takes everything, for a stranger and a load balancer.
struct Town {
    place: Place,
    mote: Mote,
    hop: Place,
    _hop: Mote,
}

impl Town {
    fn new() -> Town {
        let hop = Place::in_memory("relay = hold");
        let running = hop.serve();
        let place = Place::in_memory(&format!(
            "listen = 0.0.0.0:{{port}}\nrelay = smtp://127.0.0.1:{}\nto = {ADMIN}\n\
             [clients 127.0.0.70]\nproxy = yes\n",
            hop.port
        ));
        let mote = place.serve();
        Town { place, mote, hop, _hop: running }
    }

    /// Plays the table, with each sender; what was not as it should be.
    fn play(&self, connect: impl Fn() -> Session) {
        let mut wrong = String::new();
        let mut taken = 0;
        for sender in SENDERS {
            for (recipient, expected) in RECIPIENTS {
                let mut session = connect();
                session.ask("EHLO stranger.test").unwrap();
                let told = session.ask(&format!("MAIL FROM:{sender}")).unwrap();
                assert_eq!(told.code, 250, "{told:?}");
                let told = session.ask(&format!("RCPT TO:{recipient}")).unwrap();
                if !told.text.starts_with(expected) {
                    wrong += &format!("({recipient:?}, {:?}),\n", told.text.trim_end());
                }
                if told.code == 250 {
                    taken += 1;
                    assert_eq!(session.ask("DATA").unwrap().code, 354);
                    assert_eq!(session.ask("Subject: x\r\n\r\nx\r\n.").unwrap().code, 250);
                } else {
                    // Nothing can be sent to nobody.
                    assert_eq!(session.ask("DATA").unwrap().code, 554);
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        wait_for("the mails", Duration::from_secs(30), || self.mote.logged("status=sent") == taken);
        let listing = self.hop.run(&["queue", "ls", "--json"]).stdout;
        let listing = String::from_utf8(listing).unwrap();
        assert_eq!(listing.matches("\"to\":").count(), taken);
        assert_eq!(listing.matches(&format!("\"to\":\"{ADMIN}\"")).count(), taken);
    }
}

#[test]
fn there_are_enough_cases() {
    assert!(RECIPIENTS.len() >= 60);
}

#[test]
fn nobody_relays_from_a_foreign_address() {
    let _running = shared();
    if is_outside("relaying::nobody_relays_from_a_foreign_address") {
        return;
    }
    crate::listeners::sh(&format!("ip addr add {STRANGER}/24 dev lo"));
    let town = Town::new();
    town.play(|| Session::connect_from(STRANGER, town.place.port).unwrap().0);
    assert!(town.mote.logged(&format!("client={STRANGER}")) > 0);
}

/// The same told by a load balancer, which needs no root.
#[test]
fn nobody_relays_from_behind_a_load_balancer() {
    let _running = shared();
    for header in [
        format!("PROXY TCP4 {STRANGER} 127.0.0.1 1 25\r\n"),
        "PROXY TCP6 2001:db8::7 ::1 1 25\r\n".to_owned(),
    ] {
        let town = Town::new();
        town.play(|| Session::connect_behind("127.0.0.70", &header, town.place.port).unwrap().0);
    }
}

/// Whoever asks learns nothing of who is here.
#[test]
fn neither_users_nor_lists_are_told() {
    let _running = shared();
    let town = Town::new();
    let mut session = Session::open(town.place.port);
    for who in ["root", "<root@mote.test>", "nobody-here", "you@example.net", "\""] {
        for (verb, expected) in [
            ("VRFY", "252 2.5.0 Send some mail, and it will be tried\r\n"),
            ("EXPN", "502 5.5.1 Lists are not shown\r\n"),
        ] {
            assert_eq!(session.ask(&format!("{verb} {who}")).unwrap().text, expected, "{who}");
        }
    }
}

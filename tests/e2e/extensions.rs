//! Extensions of SMTP, taken in and handed on.

use std::fs;
use std::time::Duration;

use crate::instance::Place;
use crate::load::{shared, wait_for};
use crate::peers::maildir;
use crate::session::{Session, message};

const ENVELOPE: &str = "MAIL FROM:<sender@client.test>\r\nRCPT TO:<someone@example.net>\r\n";

#[test]
fn a_mail_in_chunks_arrives_whole() {
    let _running = shared();
    let place = Place::new("relay = maildir:{dir}/Maildir");
    let _mote = place.serve();
    let (mut session, _) = Session::connect(place.port).unwrap();
    let hello = session.ask("EHLO client.test").unwrap();
    assert!(hello.text.contains("250-CHUNKING\r\n"), "{hello:?}");
    let mail = [message(1, 300_000), b"QUIT\r\n.\r\nlast line".to_vec()].concat();
    // All in one go: sizes that meet no border of anybody's buffers, then an empty last one.
    let mut wire = ENVELOPE.as_bytes().to_vec();
    let mut replies = vec![250, 250];
    for chunk in mail.chunks(4099) {
        wire.extend(format!("BDAT {}\r\n", chunk.len()).into_bytes());
        wire.extend(chunk);
        replies.push(250);
    }
    wire.extend(b"BDAT 0 LAST\r\n");
    session.write(&wire).unwrap();
    for code in replies {
        let reply = session.reply().unwrap();
        assert_eq!(reply.code, code, "{reply:?}");
    }
    assert!(session.reply().unwrap().text.contains("queued as"));
    let path = place.path("Maildir");
    wait_for("the mail", Duration::from_secs(20), || maildir(&path).len() == 1);
    let arrived = fs::read_to_string(&maildir(&path)[0]).unwrap();
    let sent = String::from_utf8(mail).unwrap().replace("\r\n", "\n");
    assert!(arrived.ends_with(&sent), "{} of {}", arrived.len(), sent.len());
}

#[test]
fn chunks_beyond_the_limit_are_read_on_and_refused() {
    let _running = shared();
    let place = Place::new("relay = hold\nmessage-size = 64K");
    let _mote = place.serve();
    let mut session = Session::open(place.port);
    session.write(ENVELOPE.as_bytes()).unwrap();
    for _ in 0..2 {
        assert_eq!(session.reply().unwrap().code, 250);
    }
    let chunk = b"x".repeat(50_000);
    for code in [250, 552, 552] {
        session.write(b"BDAT 50000\r\n").unwrap();
        session.write(&chunk).unwrap();
        assert_eq!(session.reply().unwrap().code, code);
    }
    assert_eq!(session.ask("BDAT 2 LAST\r\n").unwrap().code, 552);
    assert!(session.deliver("someone@example.net", &message(1, 500)).unwrap());
}

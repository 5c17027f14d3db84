//! Threats 4: each of the 256 bytes at each position of all that a peer can name, and each in
//! xtext. What is taken is sent on, where it must be one command of printable ASCII; what is not is
//! refused by one reply.

use crate::world::House;
use mote::mail::fields::recipients;

/// What may stand in the place of one of these lines: `EHLO`, MAIL and RCPT.
const USUAL: [&str; 3] = ["EHLO client.test", "MAIL FROM:<one@c.test>", "RCPT TO:<to@y.test>"];
const PLACES: [(usize, &str); 11] = [
    (0, "EHLO client.test"),
    (0, "HELO client.test"),
    (1, "MAIL FROM:<one@c.test> SIZE=9"),
    (1, "MAIL FROM:<\"a \\b>\"@[192.0.2.1]>"),
    (1, "MAIL FROM:<@x.test:one@c.test>"),
    (1, "MAIL FROM:<one@c.test> RET=HDRS ENVID=a+2Bb"),
    (1, "MAIL FROM:<one@c.test> AUTH=a+3Db@c.test"),
    (2, "RCPT TO:<to@y.test>"),
    (2, "RCPT TO:<\"t o\"@y.test>"),
    (2, "RCPT TO:<to@y.test> NOTIFY=FAILURE"),
    (2, "RCPT TO:<to@y.test> ORCPT=rfc822;a+2Bb@z"),
];

/// Plays a session with `line` in its place; gives whether the mail went out.
fn play(house: &mut House, place: usize, line: &[u8]) -> bool {
    house.connect();
    let mut told = String::new();
    for (number, usual) in USUAL.iter().enumerate() {
        let line = if number == place { line } else { usual.as_bytes() };
        let replies = String::from_utf8(house.say(&[line, b"\r\n"].concat())).unwrap();
        let is_last = |line: &&str| line.as_bytes().get(3) == Some(&b' ');
        let count = replies.lines().filter(is_last).count();
        assert_eq!(count, 1, "{} is answered by {replies:?}", line.escape_ascii());
        let is_printable = |line: &str| line.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        assert!(replies.ends_with("\r\n") && replies.split_terminator("\r\n").all(is_printable));
        told += &replies;
    }
    if house.is_connected() {
        let data = String::from_utf8(house.say(b"DATA\r\n")).unwrap();
        if data.starts_with("354") {
            house.say(b"A: b\r\n\r\nhello\r\n.\r\n");
        }
    }
    let (_, taken) = house.leave();
    assert!(taken.len() <= 1, "{} became {taken:?}", line.escape_ascii());
    for taken in &taken {
        // The next hop has looked at the commands; what the peer called itself is in a field.
        assert_eq!(taken.to.len(), 1, "{taken:?}");
        for line in taken.wire.split(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\r").unwrap_or(line);
            assert!(text.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')), "{taken:?}");
        }
        assert!(taken.wire.ends_with(b"\r\nA: b\r\n\r\nhello\r\n"), "{taken:?}");
    }
    !taken.is_empty()
}

#[test]
fn every_byte_at_every_place_of_every_line() {
    let (mut house, mut cases, mut out) = (House::new(), 0, 0);
    for (place, line) in PLACES {
        for at in 0..line.len() {
            for byte in 0..=255 {
                let mut line = line.as_bytes().to_vec();
                line[at] = byte;
                out += u32::from(play(&mut house, place, &line));
                cases += 1;
            }
        }
    }
    assert!(out > cases / 20, "only {out} of {cases} were taken: the lines are no longer good");
    println!("control bytes: {cases} lines, {out} mails of them sent on");
}

#[test]
#[ignore = "every byte between any two as well takes long; make hostile runs it"]
fn every_byte_between_any_two_of_every_line() {
    let (mut house, mut cases, mut out) = (House::new(), 0, 0);
    for (place, line) in PLACES {
        for at in 0..=line.len() {
            for byte in 0..=255 {
                let line = [&line.as_bytes()[..at], &[byte], &line.as_bytes()[at..]].concat();
                out += u32::from(play(&mut house, place, &line));
                cases += 1;
            }
        }
    }
    println!("control bytes: {cases} lines with one more, {out} mails of them sent on");
}

/// RFC 3461 §4: what is coded is looked at again.
#[test]
fn every_byte_in_xtext() {
    let mut house = House::new();
    // Where it is not offered, all of it is refused.
    let has_dsn = offers(&mut house, "DSN");
    for byte in 0..=255_u8 {
        let is_good = has_dsn && (b' '..=b'~').contains(&byte);
        let line = format!("MAIL FROM:<one@c.test> ENVID=a+{byte:02X}b");
        assert!(play(&mut house, 1, line.as_bytes()) == is_good, "{line}");
        let line = format!("RCPT TO:<to@y.test> ORCPT=rfc822;a+{byte:02X}b");
        assert!(play(&mut house, 2, line.as_bytes()) == is_good, "{line}");
    }
}

fn offers(house: &mut House, word: &str) -> bool {
    house.connect();
    let told = String::from_utf8(house.say(b"EHLO client.test\r\n")).unwrap();
    house.leave();
    told.split("\r\n").any(|line| line.get(4..) == Some(word))
}

/// Where `sendmail -t` takes recipients from.
#[test]
fn every_byte_at_every_place_of_a_header() {
    let header =
        "To: A (c) <a@b.test>, \"q r\"@[192.0.2.1];\r\n\tlist: x@y.test;\r\nBcc: z\r\n\r\n";
    let mut cases = 0;
    for at in 0..header.len() {
        for byte in 0..=255 {
            let mut text = header.as_bytes().to_vec();
            text[at] = byte;
            recipients(&text, |found| {
                let Ok(address) = found else { return };
                let is_printable =
                    address.as_str().bytes().all(|byte| (b' '..=b'~').contains(&byte));
                assert!(is_printable, "{address:?} of {}", text.escape_ascii());
                cases += 1;
            });
        }
    }
    assert!(cases > 50_000);
}

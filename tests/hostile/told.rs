//! Load balancers and mail proxies (threats 7): whoever is not listed is not believed, whoever is
//! must tell, and nobody gets more than the address has that was told.

use crate::world::House;

/// The client of this world is 10.0.0.1.
const PROXY: &str = "[clients 10.0.0.1]\nrelay = yes\nproxy = yes\n\
                     [clients 198.51.100.0/24]\nrelay = yes\n\
                     [clients 198.51.100.66]\nrelay = yes\nproxy = yes\n";
const XCLIENT: &str = "[clients 10.0.0.1]\nrelay = yes\nxclient = yes\n\
                       [clients 198.51.100.0/24]\nrelay = yes\n\
                       [clients 198.51.100.66]\nrelay = yes\nproxy = yes\n";

/// Whom somebody at 10.0.0.1 may name, and whether that one may relay.
const CLIENTS: &[(&str, bool)] = &[
    ("198.51.100.7", true),
    ("203.0.113.7", false),
    // Another proxy: behind it may stand anybody.
    ("198.51.100.66", false),
    ("10.0.0.1", false),
    // Loopback of this machine, which the proxy is not on.
    ("127.0.0.1", false),
    ("127.1.2.3", false),
    ("::1", false),
    ("::ffff:127.0.0.1", false),
    ("::127.0.0.1", false),
    ("::ffff:198.51.100.7", true),
    ("::ffff:203.0.113.7", false),
    ("2001:db8::7", false),
    ("0.0.0.0", false),
    ("::", false),
    ("255.255.255.255", false),
    ("fe80::1", false),
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The code of the reply to RCPT for somebody elsewhere.
fn asks_to_relay(house: &mut House) -> String {
    let told = text(&house.say(b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<to@y.test>\r\n"));
    let last = told.lines().last().unwrap_or_default().to_owned();
    assert!(!told.contains("XCLIENT"), "{told}");
    last
}

fn header(address: &str) -> String {
    match address.contains(':') {
        true => format!("PROXY TCP6 {address} ::1 1025 25\r\n"),
        false => format!("PROXY TCP4 {address} 10.0.0.9 1025 25\r\n"),
    }
}

fn binary(address: &str) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    match address.parse().unwrap() {
        std::net::IpAddr::V4(address) => {
            bytes.extend([0x11, 0, 12]);
            bytes.extend(address.octets());
            bytes.extend([10, 0, 0, 9]);
        }
        std::net::IpAddr::V6(address) => {
            bytes.extend([0x21, 0, 36]);
            bytes.extend(address.octets());
            bytes.extend([0; 16]);
        }
    }
    bytes.extend([4, 1, 0, 25]);
    bytes
}

fn judge(house: &mut House, address: &str, may_relay: bool) {
    let told = asks_to_relay(house);
    let expected = if may_relay { "250 2.1.5" } else { "550 5.7.1" };
    assert!(told.starts_with(expected), "{address}: {told}");
    house.leave();
}

#[test]
fn a_client_has_the_rights_of_the_address_in_the_header() {
    let mut house = House::with(PROXY);
    for (address, may_relay) in CLIENTS {
        for bytes in [header(address).into_bytes(), binary(address)] {
            for split in 0..bytes.len() {
                house.come();
                assert_eq!(text(&house.say(&bytes[..split])), "");
                let told = text(&house.say(&bytes[split..]));
                assert_eq!(told, "220 mote.test ESMTP mote\r\n", "{address} at {split}");
                if split > 0 {
                    house.leave();
                    continue;
                }
                judge(&mut house, address, *may_relay);
            }
        }
    }
    // Nobody, and somebody of whom nothing is told: the proxy without its right to relay.
    for bytes in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"PROXY UNKNOWN 198.51.100.7 198.51.100.7 1 1\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
        b"\r\n\r\n\0\r\nQUIT\n\x20\x11\x00\x0c\xc6\x33\x64\x07\x0a\x00\x00\x01\x00\x01\x00\x19",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00",
    ] {
        house.come();
        assert!(house.say(bytes).starts_with(b"220 "));
        judge(&mut house, &bytes.escape_ascii().to_string(), false);
    }
}

#[test]
fn a_client_has_the_rights_of_the_address_in_xclient() {
    let mut house = House::with(XCLIENT);
    for (address, may_relay) in CLIENTS {
        let tag = if address.contains(':') { "IPV6:" } else { "" };
        house.connect();
        assert!(text(&house.say(b"EHLO proxy.test\r\n")).contains("250-XCLIENT NAME ADDR PORT"));
        let told = house.say(format!("XCLIENT ADDR={tag}{address} PORT=1025\r\n").as_bytes());
        assert_eq!(text(&told), "220 mote.test ESMTP mote\r\n");
        judge(&mut house, address, *may_relay);
    }
    for line in ["ADDR=[UNAVAILABLE]", "ADDR=[TEMPUNAVAIL] PORT=[UNAVAILABLE] LOGIN=root"] {
        house.connect();
        assert!(house.say(format!("XCLIENT {line}\r\n").as_bytes()).starts_with(b"220 "));
        judge(&mut house, line, false);
    }
}

/// What is told once is told for the whole session.
#[test]
fn whoever_was_told_of_tells_of_nobody() {
    for lines in [PROXY, XCLIENT] {
        let mut house = House::with(lines);
        for again in
            [&b"XCLIENT ADDR=198.51.100.7\r\n"[..], b"PROXY TCP4 198.51.100.7 1.2.3.4 1 2\r\n"]
        {
            house.come();
            let first = match lines == PROXY {
                true => header("203.0.113.7"),
                false => "XCLIENT ADDR=203.0.113.7\r\n".to_owned(),
            };
            house.say(first.as_bytes());
            let told = text(&house.say(again));
            if again.starts_with(b"PROXY") {
                assert!(told.starts_with("421 ") && !house.is_connected(), "{told}");
            } else {
                assert!(told.starts_with("550 5.7.0 "), "{told}");
                judge(&mut house, "after it", false);
                continue;
            }
            house.leave();
        }
    }
}

/// It does not get anything but XCLIENT done.
#[test]
fn a_proxy_that_does_not_tell_gets_no_mail_through() {
    let mut house = House::with(XCLIENT);
    house.connect();
    let told =
        text(&house.say(b"EHLO x\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<to@y.test>\r\nDATA\r\n"));
    assert!(told.contains("\r\n550 5.7.0 Say by XCLIENT who it is first\r\n503 "), "{told}");
    // NAME alone tells nothing that counts.
    house.say(b"XCLIENT NAME=good.test HELO=good.test\r\n");
    let told = text(&house.say(b"EHLO x\r\nMAIL FROM:<a@c.test>\r\n"));
    assert!(told.ends_with("\r\n550 5.7.0 Say by XCLIENT who it is first\r\n"), "{told}");
    assert!(house.leave().1.is_empty());
}

#[test]
fn a_load_balancer_without_a_header_is_closed_without_a_word() {
    let mut house = House::with(PROXY);
    for bytes in [
        &b"EHLO x\r\n"[..],
        b"\x16\x03\x01",
        b"PROXY TCP4 198.51.100.7\r\n",
        b"PROXY TCP4 198.51.100.7 10.0.0.9 1025 25\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31",
        b"XCLIENT ADDR=198.51.100.7\r\n",
    ] {
        house.come();
        assert_eq!(text(&house.say(bytes)), "");
        assert!(!house.is_connected(), "{}", bytes.escape_ascii());
        house.leave();
    }
    // Nor does it get for ever for one.
    house.come();
    house.say(b"PROXY TCP4 198.51");
    house.wait(9_000);
    assert!(house.is_connected());
    house.wait(2_000);
    assert!(!house.is_connected());
    house.leave();
}

#[test]
fn whoever_is_not_listed_is_closed() {
    let mut house = House::with("[clients 10.0.0.0/24]\nrelay = yes\n");
    for bytes in [header("198.51.100.7").into_bytes(), binary("198.51.100.7")] {
        house.connect();
        let told = text(&house.say(&bytes));
        let closing = "421 4.7.0 No PROXY header is taken from here; closing\r\n";
        assert!(told.ends_with(closing) && !house.is_connected(), "{told}");
        house.leave();
    }
}

/// Commands that come with the header wait behind it.
#[test]
fn nothing_is_lost_behind_a_header() {
    let mut house = House::with(PROXY);
    house.come();
    let mail = "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<to@y.test>\r\nDATA\r\n\
                Subject: hi\r\n\r\nhi\r\n.\r\nQUIT\r\n";
    let told = text(&house.say(format!("{}{mail}", header("198.51.100.7")).as_bytes()));
    assert!(told.starts_with("220 ") && told.contains("queued as"), "{told}");
    let (_, taken) = house.leave();
    let wire = text(&taken[0].wire);
    assert!(wire.starts_with("Received: from c.test ([198.51.100.7])\r\n"), "{wire}");
}

//! Threats 3: browsers and TLS clients that were led to send here what they would send elsewhere,
//! with commands further down.

use crate::world::House;

const COMMANDS: &[u8] = b"EHLO c.test\r\nMAIL FROM:<one@c.test>\r\nRCPT TO:<to@y.test>\r\nDATA\r\n\
    Subject: forged\r\n\r\nhello\r\n.\r\nQUIT\r\n";

/// What a request begins with.
fn beginnings() -> Vec<Vec<u8>> {
    let methods = ["GET", "POST", "HEAD", "PUT", "OPTIONS"];
    let request = |method: &str| format!("{method} / HTTP/1.1\r\nHost: mote.test:25\r\n\r\n");
    let mut found: Vec<Vec<u8>> = methods.iter().map(|name| request(name).into_bytes()).collect();
    // A ClientHello in a record of TLS 1.0, as all of them begin.
    found.extend([b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), b"\x16\x03\x03\x00\x05hello".to_vec()]);
    found
}

#[test]
fn what_is_not_smtp_is_told_once_and_closed() {
    let mut house = House::new();
    for beginning in beginnings() {
        let input = [&beginning[..], COMMANDS].concat();
        for split in 0..=beginning.len() + 4 {
            house.connect();
            let mut told = Vec::new();
            for segment in [&input[..split], &input[split..]] {
                told.extend(house.say(segment));
            }
            let told = String::from_utf8(told).unwrap();
            let is_one_line = told.matches("\r\n").count() == 1 && told.ends_with("\r\n");
            assert!(told.starts_with("421 4.7.0 ") && is_one_line, "{told:?}");
            assert!(!house.is_connected());
            let (last, taken) = house.leave();
            assert!(last.is_empty() && taken.is_empty());
        }
    }
}

/// Byte by byte, where no segment holds the whole word.
#[test]
fn what_is_not_smtp_is_told_from_its_bytes() {
    let mut house = House::new();
    for beginning in beginnings() {
        house.connect();
        let mut told = Vec::new();
        for byte in beginning.iter().chain(COMMANDS) {
            told.extend(house.say(&[*byte]));
        }
        assert!(told.starts_with(b"421 ") && !house.is_connected());
        let (last, taken) = house.leave();
        assert!(last.is_empty() && taken.is_empty());
    }
}

//! The administrator's socket: however much is asked of it, others get their turns.

use crate::world::House;
use mote::daemon::control::OUTPUT_BYTES;
use mote::limits::TURN_BYTES_MAX;
use std::fmt::Write as _;

/// All of it went out in one turn, as long as the peer kept reading.
#[test]
fn a_long_listing_goes_out_in_many_turns() {
    let mut house = House::with("[clients 10.0.0.0/8]\nrelay = yes\n[route *]\nvia = hold\n");
    house.connect();
    house.say(b"EHLO client.test\r\n");
    for _ in 0..40 {
        let mut mail = "MAIL FROM:<one@client.test>\r\n".to_owned();
        for number in 0..60 {
            write!(mail, "RCPT TO:<{}{number}@example.net>\r\n", "x".repeat(50)).unwrap();
        }
        house.say(format!("{mail}DATA\r\n").as_bytes());
        let told = house.say(b"Subject: x\r\n\r\nx\r\n.\r\n");
        assert!(told.ends_with(b"queued\r\n") || told.starts_with(b"250 "), "{told:?}");
    }
    house.leave();
    house.connect_control();
    let (told, longest) = house.ask(&b"ls\n".repeat(100));
    assert!(told.ends_with(b"{\"end\":\"ok\"}\n"));
    assert!(told.len() > 3 * TURN_BYTES_MAX, "{}", told.len());
    assert!(longest <= TURN_BYTES_MAX + OUTPUT_BYTES, "{longest} bytes in one turn");
}

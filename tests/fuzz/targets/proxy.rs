//! The PROXY header: whatever comes, it is one, the beginning of one, or none, however it is cut.

use mote::limits::PROXY_BYTES_MAX;
use mote::smtp::proxy::{Parsed, parse, wanted};

/// Takes the input for what a load balancer sends, with what follows it.
pub(super) fn proxy(input: &[u8]) {
    let whole = parse(input);
    // Byte by byte it is a beginning until it is what it is, and then stays that.
    let settled = (0..=input.len()).find(|end| parse(&input[..*end]) != Parsed::Partial);
    match (whole, settled) {
        (Parsed::Partial, settled) => assert!(settled.is_none() && input.len() < PROXY_BYTES_MAX),
        (Parsed::Complete { consumed, .. }, Some(end)) => {
            assert!(consumed == end && consumed <= PROXY_BYTES_MAX);
            assert_eq!(parse(&input[..end]), whole);
        }
        (Parsed::Bad, Some(end)) => assert_eq!(parse(&input[..end]), Parsed::Bad),
        (_, None) => panic!("it is {whole:?} at once, and never by and by"),
    }
    // Read by what is wanted, nothing is read that belongs to what follows.
    let mut read = 0;
    while parse(&input[..read]) == Parsed::Partial && read < input.len() {
        let count = wanted(&input[..read]);
        assert!((1..=PROXY_BYTES_MAX + u16::MAX as usize).contains(&count));
        read = input.len().min(read + count);
    }
    if let Parsed::Complete { consumed, .. } = parse(&input[..read]) {
        assert_eq!(consumed, read);
    }
}

//! The most memory that `mote serve` will ever have, by its config: the sum that `mote check`
//! prints, one addend a line, and that the tests of hostile peers hold it to (threats 9).
//!
//! What is made at the start is counted whole, touched or not; so it usually has less. Pages of the
//! image that the kernel keeps are the kernel's, and go when it needs them.

use crate::config::{Config, ListenerTls};
use crate::daemon::control::{self, Control};
use crate::daemon::doors::Doors;
use crate::daemon::turn::tokens;
use crate::intake::session::Session;
use crate::limits::{
    CONTROL_SLOTS, INPUT_BYTES, OUTPUT_BYTES, REMOTE_LINE_BYTES_MAX, REPLIES_BYTES,
};
use crate::queue::disk::BLOCK_BYTES;
use crate::relay::sender::Sender;
use core::fmt::Write;

/// Code and tables of libc and its like, which are not in the program's file. Without a dynamic
/// linker there are none, and this is too much.
const LIBRARIES_BYTES: usize = 2 << 20;
/// Stacks, the log's lines, lanes, the import, the tables of addresses, the config, and what the
/// allocator rounds up.
const COMMON_BYTES: usize = 1 << 20;
/// What the queue knows of each slot.
const INDEX_BYTES_A_SLOT: usize = 50;
/// The image, where the config leaves its size to the disk.
const IMAGE_BYTES_USUAL: u64 = 16 << 20;
/// A TLS connection: keys and state, and a record that its socket has not taken.
const TLS_CONNECTION_BYTES: usize = 32 << 10;
/// Certificates, and the buffers that TLS connections share.
const TLS_COMMON_BYTES: usize = 1 << 20;

/// Each part, and how many bytes it has.
pub fn addends(config: &Config, program_bytes: u64) -> Vec<(String, u64)> {
    let sessions = usize::from(Doors::slots_max(config));
    let senders = usize::from(config.senders.max(1));
    let session = size_of::<Session>() + INPUT_BYTES + REPLIES_BYTES + BLOCK_BYTES + 512;
    let sender = size_of::<Sender>() + 2 * REMOTE_LINE_BYTES_MAX + OUTPUT_BYTES + BLOCK_BYTES;
    let control =
        size_of::<Control>() + control::REQUEST_BYTES + control::OUTPUT_BYTES + BLOCK_BYTES;
    let slots = config.spool_size.unwrap_or(IMAGE_BYTES_USUAL).div_ceil(BLOCK_BYTES as u64);
    let number = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let mut found = vec![
        ("the program and its libraries".to_owned(), program_bytes + number(LIBRARIES_BYTES)),
        ("what there is once".to_owned(), number(COMMON_BYTES)),
        (format!("{sessions} connections that may send mail in"), number(sessions * session)),
        (format!("{senders} deliveries"), number(senders * sender)),
        (format!("{CONTROL_SLOTS} administrators"), number(usize::from(CONTROL_SLOTS) * control)),
        ("what is known of the queue".to_owned(), slots * number(INDEX_BYTES_A_SLOT)),
    ];
    if config.listen.iter().any(|listener| listener.tls != ListenerTls::Off) {
        let bytes = usize::from(tokens(config)) * TLS_CONNECTION_BYTES + TLS_COMMON_BYTES;
        found.push(("TLS".to_owned(), number(bytes)));
    }
    found
}

/// The sum, as comments of a config file.
pub fn write(config: &Config, program_bytes: u64) -> String {
    let mut text = String::from("\n# Memory, at most:\n");
    let addends = addends(config, program_bytes);
    let sum = addends.iter().map(|(_, bytes)| bytes).sum();
    // Writing to a String does not fail.
    let mut line = |bytes: u64, what: &str| {
        let _ = writeln!(text, "# {:>8}K  {what}", bytes.div_ceil(1024));
    };
    addends.iter().for_each(|(what, bytes)| line(*bytes, what));
    line(sum, "in all");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, parse};

    #[test]
    fn the_defaults_are_a_few_megabytes() {
        let host = Host { hostname: "pi", home: "/home", is_embedded: false, run: None };
        let text = write(&parse(b"", &host).unwrap(), 1_000_000);
        let last = text.lines().last().unwrap();
        let kilobytes: u64 = last[1..].split('K').next().unwrap().trim().parse().unwrap();
        assert!(last.ends_with("  in all") && (4000..6000).contains(&kilobytes), "{text}");
        assert!(text.contains("  19 connections that may send mail in\n"), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("# ")), "{text}");
    }

    #[test]
    fn more_of_everything_is_more() {
        let host = Host { hostname: "pi", home: "/home", is_embedded: false, run: None };
        let sum = |text: &str| -> u64 {
            addends(&parse(text.as_bytes(), &host).unwrap(), 0).iter().map(|(_, b)| b).sum()
        };
        let usual = sum("");
        for more in ["sessions = 17", "senders = 5", "spool-size = 17M"] {
            assert!(sum(more) > usual, "{more}");
        }
        // README says what a session takes.
        let session = sum("sessions = 17") - usual;
        assert!((20 * 1024..25 * 1024).contains(&session), "{session}");
    }
}

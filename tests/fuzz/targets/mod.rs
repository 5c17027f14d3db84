//! What is fuzzed: one function a target, from any bytes to a panic or to nothing.
//!
//! libFuzzer calls them through `fuzz_targets/`, and `tests/corpora.rs` with the bytes that lie in
//! `corpus/`, which were found to lead to different places. A target that is a stream begins its
//! input with two bytes that choose how the rest is cut, and holds that the cuts change nothing.
//! What a finding taught becomes a test of its own beside the code, named after the bug.
//!
//! - `line` lines, dots out and dots in, chunks · `words` commands and addresses
//! - `settings` the config, users, and aliases
//! - `server` the receiving machine with an owner · `client` the sending one, and replies
//! - `record` TLS before anything is agreed on · `sasl` logging in, both sides of it
//! - `message` header and body on their way through, as they are and rewritten
//! - `names` what name servers say
//! - `stored` envelope records and drop files

mod client;
mod line;
mod message;
mod names;
mod proxy;
mod record;
mod sasl;
mod server;
mod settings;
mod stored;
mod words;

use mote::base::time::UnixTime;
use mote::smtp::login::AuthOffer;
use mote::smtp::offer::{HoldMax, Offers};
use mote::smtp::sasl::server::OFFERED;

/// Any bytes, to a panic or to nothing.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", words::address),
    ("aliases", settings::aliases),
    ("chunk", line::chunk),
    ("client", client::client),
    ("command", words::command),
    ("config", settings::config),
    ("dns", names::dns),
    ("drop", stored::drop_file),
    ("envelope", stored::envelope),
    ("line", line::line),
    ("message", message::message),
    ("proxy", proxy::proxy),
    ("record", record::record),
    ("reply", client::reply),
    ("rewrite", message::rewrite),
    ("sasl", sasl::sasl),
    ("server", server::server),
    ("users", settings::users),
    ("xclient", words::xclient),
];

/// Runs the target of that name.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    target.unwrap_or_else(|| panic!("no target {name}")).1(input);
}

/// How a stream is cut: all of it at once (0), every byte alone (1), or by chance.
#[derive(Clone, Copy)]
pub(crate) struct Cuts {
    state: u32,
}

impl Cuts {
    /// Reads the choice off the front of `input`; gives the rest, too.
    pub(crate) fn read(input: &[u8]) -> (Cuts, &[u8]) {
        match input {
            [low, high, rest @ ..] => {
                (Cuts { state: u32::from(u16::from_le_bytes([*low, *high])) }, rest)
            }
            _ => (Cuts::WHOLE, input),
        }
    }

    /// Not cut at all.
    pub(crate) const WHOLE: Cuts = Cuts { state: 0 };

    /// The length of the next piece of `left` bytes: one at least, if there are any.
    pub(crate) fn next(&mut self, left: usize) -> usize {
        match self.state {
            0 => left,
            1 => left.min(1),
            _ => {
                let chance = self.chance();
                // Mostly short: what matters happens between two bytes.
                let most = if chance & 0x70 == 0 { 4096 } else { 12 };
                (1 + (chance >> 8) as usize % most).min(left)
            }
        }
    }

    /// Any number, the same one for the same choice.
    pub(crate) fn chance(&mut self) -> u32 {
        // xorshift32, which a 0 would stop.
        let mut x = self.state | 0x1000_0000;
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.state = x | 2;
        x
    }

    /// The pieces of `input`.
    pub(crate) fn pieces<'a>(&mut self, input: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(self.next(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }
}

/// Every extension that there is.
pub(crate) const ALL_OFFERS: Offers = Offers {
    starttls: true,
    limits: true,
    chunking: true,
    binary: true,
    utf8: true,
    dsn: true,
    hold: Some(HoldMax {
        seconds: 100_000,
        until: UnixTime { seconds: 2_000_000_000, trusted: true },
    }),
    deliver_by: Some(60),
    auth: AuthOffer { mechanisms: OFFERED, ..AuthOffer::NONE },
    xclient: true,
    ..Offers::BASIC
};

/// Asserts that `text` is UTF-8 without any control character: it can end no line, and no C string.
#[track_caller]
fn assert_clean(text: &[u8]) {
    let is_clean = |text: &str| !text.chars().any(char::is_control);
    assert!(std::str::from_utf8(text).is_ok_and(is_clean), "{}", text.escape_ascii());
}

/// Asserts that all of `text` is printable ASCII: fit for a log, a reply, a command.
#[track_caller]
fn assert_printable(text: &[u8]) {
    assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte)), "{}", text.escape_ascii());
}

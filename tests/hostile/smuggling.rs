//! Threats 1: every string of at most nine over CR, LF, dot and x inside of a message, in every two
//! segments, in by DATA or BDAT and out to a next hop that reads by the letter. Behind the string
//! stands a second mail, which is one only if the string has ended the first.
//!
//! Each message arrives once with equal bytes, or is refused; the next hop never sees another.

use crate::world::{House, Taken};

pub(crate) const LETTERS: &[u8; 4] = b"\r\n.x";
pub(crate) const LENGTH_MAX: u32 = 9;
const MAIL: &[u8] = b"EHLO c.test\r\nMAIL FROM:<one@c.test>\r\nRCPT TO:<to@y.test>\r\n";
const SECOND: &[u8] = b"MAIL FROM:<two@c.test>\r\nRCPT TO:<to@y.test>\r\nDATA\r\n";

/// How the string comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Data,
    /// As one chunk, cut into two segments.
    Chunk,
    /// As two chunks.
    Chunks,
}

/// What a reader by the letter of RFC 5321 §4.1.1.4 makes of what follows a 354.
struct Letter<'a> {
    /// Dots taken out.
    message: Vec<u8>,
    is_bare: bool,
    behind: &'a [u8],
}

fn read(input: &[u8]) -> Letter<'_> {
    let starts_with = |at: usize, text: &[u8]| input[at..].starts_with(text);
    let mut end = if starts_with(0, b".\r\n") { Some(0) } else { None };
    end =
        end.or_else(|| (0..input.len()).find(|at| starts_with(*at, b"\r\n.\r\n")).map(|at| at + 2));
    let end = end.expect("the second mail ends the first, if nothing else does");
    let mut message = Vec::new();
    let mut is_line_start = true;
    for (at, byte) in input[..end].iter().enumerate() {
        if *byte != b'.' || !is_line_start {
            message.push(*byte);
        }
        is_line_start = input[..=at].ends_with(b"\r\n");
    }
    Letter { is_bare: is_bare(&input[..end]), message, behind: &input[end + 3..] }
}

fn is_bare(text: &[u8]) -> bool {
    let feeds = (0..text.len()).filter(|at| text[*at] == b'\n');
    let returns = (0..text.len()).filter(|at| text[*at] == b'\r');
    feeds.into_iter().any(|at| at == 0 || text[at - 1] != b'\r')
        || returns.into_iter().any(|at| text.get(at + 1) != Some(&b'\n'))
}

/// What the client is told of each message, and what of them the next hop must get.
#[derive(Default)]
struct Expected {
    refused: usize,
    taken: Vec<(&'static str, Vec<u8>)>,
}

impl Expected {
    fn add(&mut self, from: &'static str, message: &[u8], is_bare: bool) {
        match is_bare {
            true => self.refused += 1,
            false => self.taken.push((from, message.to_vec())),
        }
    }

    /// By DATA: the second mail is one if it begins a line behind the end of the first.
    fn of_data(text: &[u8]) -> Expected {
        let mut expected = Expected::default();
        let input = [text, SECOND, b"smuggled\r\n.\r\n"].concat();
        let first = read(&input);
        expected.add("one@c.test", &first.message, first.is_bare);
        let lines = first.behind.strip_suffix(&[SECOND, b"smuggled\r\n.\r\n"].concat()[..]);
        if lines.is_some_and(|lines| lines.is_empty() || lines.ends_with(b"\r\n")) {
            expected.add("two@c.test", b"smuggled\r\n", false);
        }
        expected
    }

    /// By BDAT there is no end to be found: the string is the message.
    fn of_chunks(text: &[u8]) -> Expected {
        let mut expected = Expected::default();
        expected.add("one@c.test", text, is_bare(text));
        expected.add("two@c.test", b"smuggled\r\n", false);
        expected
    }
}

/// Plays one string, split at one place.
fn play(house: &mut House, way: Way, text: &[u8], split: usize) {
    let (one, other) = text.split_at(split);
    let rest = [SECOND, b"smuggled\r\n.\r\n"].concat();
    house.connect();
    let mut told = Vec::new();
    let (expected, segments) = match way {
        Way::Data => {
            told = house.say(&[MAIL, b"DATA\r\n"].concat());
            assert!(told.ends_with(b"354 End data with <CR><LF>.<CR><LF>\r\n"));
            (Expected::of_data(text), [one.to_vec(), [other, &rest].concat()])
        }
        Way::Chunk => {
            let command = format!("BDAT {} LAST\r\n", text.len());
            told = house.say(&[MAIL, command.as_bytes()].concat());
            (Expected::of_chunks(text), [one.to_vec(), [other, &rest].concat()])
        }
        Way::Chunks => {
            house.say(MAIL);
            let first = [format!("BDAT {}\r\n", one.len()).as_bytes(), one].concat();
            let last = [format!("BDAT {} LAST\r\n", other.len()).as_bytes(), other, &rest].concat();
            (Expected::of_chunks(text), [first, last])
        }
    };
    told.extend(segments.iter().flat_map(|segment| house.say(segment)));
    let (last, taken) = house.leave();
    told.extend(last);
    judge(&expected, &told, &taken).unwrap_or_else(|why| {
        let (told, text) = (told.escape_ascii(), text.escape_ascii());
        panic!("\"{text}\" at {split} by {way:?}: {why}; told {told}; sent on {taken:?}");
    });
}

fn judge(expected: &Expected, told: &[u8], taken: &[Taken]) -> Result<(), &'static str> {
    let told = std::str::from_utf8(told).map_err(|_| "what is told is not ASCII")?;
    let count = |words: &str| told.lines().filter(|line| line.starts_with(words)).count();
    if count("250 2.0.0 Ok: queued as ") != expected.taken.len() {
        return Err("it takes more messages than there are, or fewer");
    }
    // A chunk that is refused is told so, and what follows it as well.
    if count("550 5.6.0 ") < expected.refused {
        return Err("it refuses nothing");
    }
    if taken.len() != expected.taken.len() {
        return Err("the next hop sees more messages than there are, or fewer");
    }
    for (taken, (from, message)) in taken.iter().zip(&expected.taken) {
        let envelope = taken.mail.starts_with(&format!("MAIL FROM:<{from}>"));
        if taken.from != *from || taken.to != ["to@y.test"] || !envelope {
            return Err("the next hop sees another envelope");
        }
        if !arrived(&taken.wire, message) {
            return Err("the next hop sees other bytes");
        }
    }
    Ok(())
}

/// The message, dots put in, behind fields that were added; and no reader of whatever kind finds an
/// end in it.
pub(crate) fn arrived(wire: &[u8], message: &[u8]) -> bool {
    let lone = |line: &[u8]| line == b".";
    if wire.split(|byte| matches!(byte, b'\r' | b'\n')).any(lone) {
        return false;
    }
    let mut text = Vec::new();
    for line in wire.split_inclusive(|byte| *byte == b'\n') {
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    // RFC 5321 §4.1.1.4: what comes in chunks may lack its last line end, DATA has one.
    let end: &[u8] = if message.is_empty() || message.ends_with(b"\r\n") { b"" } else { b"\r\n" };
    let Some(added) = text.strip_suffix(&[message, end].concat()[..]) else { return false };
    let fields = added.strip_suffix(b"\r\n\r\n").or(added.strip_suffix(b"\r\n")).unwrap_or(b"?");
    let is_field = |line: &[u8]| {
        line.starts_with(b"\t")
            || [&b"Received: "[..], b"Date: ", b"Message-ID: ", b"From: "]
                .iter()
                .any(|name| line.starts_with(name))
    };
    fields.split(|byte| *byte == b'\n').all(is_field)
}

/// Every `stride`-th string of each length; gives how many cases that was.
fn sweep(way: Way, lengths: std::ops::RangeInclusive<u32>, stride: usize) -> u64 {
    let mut house = House::new();
    let mut cases = 0;
    for length in lengths {
        for number in (0..4u32.pow(length)).step_by(stride) {
            let letter = |place: u32| LETTERS[(number >> (2 * place)) as usize % 4];
            let text: Vec<u8> = (0..length).map(letter).collect();
            for split in 0..=text.len() {
                play(&mut house, way, &text, split);
                cases += 1;
            }
        }
    }
    assert_eq!(house.queued(), 0, "something was left behind");
    cases
}

/// All of at most five; of the longer ones a sample, by strides prime to four.
#[test]
fn no_string_ends_a_message_but_the_final_dot() {
    let mut cases = 0;
    for way in [Way::Data, Way::Chunk, Way::Chunks] {
        cases += sweep(way, 0..=5, 1) + sweep(way, 6..=6, 3);
        cases += sweep(way, 7..=7, 17) + sweep(way, 8..=8, 127) + sweep(way, 9..=LENGTH_MAX, 509);
    }
    println!("smuggling: {cases} strings and splits, in and out");
}

#[test]
#[ignore = "349 525 strings in ten ways each take minutes; make hostile runs it"]
fn no_string_at_all_ends_a_message_but_the_final_dot() {
    for way in [Way::Data, Way::Chunk, Way::Chunks] {
        let cases = sweep(way, 0..=LENGTH_MAX, 1);
        println!("smuggling by {way:?}: 349525 strings, {cases} with their splits, in and out");
    }
}

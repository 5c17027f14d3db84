//! Threats 1 where a range is lenient: every string of at most nine over CR, LF, dot and x inside
//! of a message, in every two segments, from a peer that ends its own lines with CRLF and from one
//! that knows only LF. Nothing is refused here, so each case is one message, mended, or two exactly
//! where the peer's own manners say so; and the next hop never sees another.

use crate::smuggling::{LENGTH_MAX, LETTERS, arrived};
use crate::world::House;

/// A peer's line end.
type LineEnd = &'static str;

/// The message at the front of `text`, all that comes behind the 354, and where it ends. By the
/// letter of the head of `src/smtp/lenient.rs`.
fn first_message(line_end: LineEnd, text: &[u8]) -> (Vec<u8>, usize) {
    let (mut is_bare, mut message, mut at) = (line_end == "\n", Vec::new(), 0);
    // The line before has ended as a line of this peer ends.
    let mut is_behind_end = true;
    while at < text.len() {
        let length = text[at..].iter().position(|byte| *byte == b'\n').unwrap();
        let line = &text[at..at + length];
        at += length + 1;
        let is_crlf = line.ends_with(b"\r");
        let is_lone = if is_bare { line == b"." } else { line == b".\r" };
        if is_behind_end && is_lone {
            return (message, at);
        }
        let stuffed = if is_behind_end { line.strip_prefix(b".").unwrap_or(line) } else { line };
        // A run of CRs is one line end, and before the LF it belongs to that.
        let mut was_return = false;
        for byte in stuffed.iter().chain(b"\n") {
            match byte {
                b'\r' => was_return = true,
                b'\n' => message.extend_from_slice(b"\r\n"),
                _ => {
                    message.extend_from_slice(if was_return { b"\r\n" } else { b"" });
                    message.push(*byte);
                    was_return = false;
                }
            }
        }
        is_bare &= !is_crlf;
        is_behind_end = is_bare || is_crlf;
    }
    panic!("the second mail ends the first, if nothing else does");
}

fn play(house: &mut House, line_end: LineEnd, text: &[u8], split: usize) {
    let lines = |lines: &[&str]| -> Vec<u8> {
        lines.iter().flat_map(|line| format!("{line}{line_end}").into_bytes()).collect()
    };
    let mail = |from: &str| lines(&[&format!("MAIL FROM:<{from}>"), "RCPT TO:<to@y.test>", "DATA"]);
    let second = [mail("two@c.test"), lines(&["smuggled", "."]), b"\r\n.\r\n".to_vec()].concat();
    let whole = [text, &second].concat();
    let (message, end) = first_message(line_end, &whole);
    let mut expected = vec![("one@c.test", message)];
    let behind = &whole[end..];
    let is_mail = |at: &usize| {
        behind[*at..].starts_with(b"MAIL FROM:<two") && (*at == 0 || behind[at - 1] == b'\n')
    };
    let commands = (0..behind.len()).find(is_mail);
    if let Some(at) = commands {
        // A lone CR in the command before may have spoiled it, never the mail behind.
        let data = at + mail("two@c.test").len();
        // It goes by LF as long as all its lines have ended so, and no command holds a CR.
        let has_return = behind[..data].contains(&b'\r');
        let is_mixed = whole[..end].windows(2).any(|two| two == b"\r\n") || has_return;
        let is_bare = line_end == "\n" && !is_mixed;
        let manners = if is_bare { "\n" } else { "\r\n" };
        expected.push(("two@c.test", first_message(manners, &behind[data..]).0));
    }
    house.connect();
    let mut told = house.say(&[lines(&["EHLO c.test"]), mail("one@c.test")].concat());
    assert!(told.ends_with(b"354 End data with <CR><LF>.<CR><LF>\r\n"));
    told.extend(house.say(&whole[..split]));
    told.extend(house.say(&whole[split..]));
    let (last, taken) = house.leave();
    told.extend(last);
    let told = String::from_utf8(told).unwrap();
    let case = || format!("\"{}\" at {split}, {line_end:?}: {told}", text.escape_ascii());
    let accepted = told.matches("250 2.0.0 Ok: queued as ").count();
    assert_eq!((accepted, taken.len()), (expected.len(), expected.len()), "{}", case());
    for (taken, (from, message)) in taken.iter().zip(&expected) {
        let is_same = taken.from == *from && arrived(&taken.wire, message);
        assert!(is_same, "{}: {taken:?}, not {}", case(), message.escape_ascii());
    }
}

fn sweep(line_end: LineEnd, lengths: std::ops::RangeInclusive<u32>, stride: usize) -> u64 {
    let mut house = House::with("[clients 10.0.0.0/8]\nrelay = yes\nlenient = yes\n");
    let mut cases = 0;
    for length in lengths {
        for number in (0..4u32.pow(length)).step_by(stride) {
            let letter = |place: u32| LETTERS[(number >> (2 * place)) as usize % 4];
            let text: Vec<u8> = (0..length).map(letter).collect();
            for split in 0..=text.len() {
                play(&mut house, line_end, &text, split);
                cases += 1;
            }
        }
    }
    assert_eq!(house.queued(), 0, "something was left behind");
    cases
}

/// All of at most five; of the longer ones a sample, by strides prime to four.
#[test]
fn a_lenient_range_lets_nobody_smuggle() {
    let mut cases = 0;
    for line_end in ["\r\n", "\n"] {
        cases += sweep(line_end, 0..=5, 1) + sweep(line_end, 6..=6, 3);
        cases += sweep(line_end, 7..=7, 17) + sweep(line_end, 8..=8, 127);
        cases += sweep(line_end, 9..=LENGTH_MAX, 509);
    }
    println!("smuggling into a lenient range: {cases} strings and splits, in and out");
}

#[test]
#[ignore = "349 525 strings in ten ways each take minutes; make hostile runs it"]
fn a_lenient_range_lets_nobody_smuggle_anything() {
    for line_end in ["\r\n", "\n"] {
        let cases = sweep(line_end, 0..=LENGTH_MAX, 1);
        println!("smuggling with {line_end:?}: 349525 strings, {cases} with their splits");
    }
}

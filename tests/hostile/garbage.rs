//! Lines of garbage by the million, from a seed: good lines with bytes changed, pieces of lines put
//! together, and bytes at random, in segments of any length.
//!
//! Nothing panics or hangs; what is answered is replies, what goes out is commands, and in the end
//! the queue has all of its room again. A failure prints its seed, which shows it again:
//! `SEED=n LINES=n`.

use crate::random::Random;
use crate::world::House;

const LINES: [&str; 22] = [
    "EHLO c.test",
    "HELO c",
    "MAIL FROM:<one@c.test>",
    "MAIL FROM:<> SIZE=99 BODY=8BITMIME",
    "MAIL FROM:<one@c.test> BODY=BINARYMIME RET=FULL ENVID=x",
    "MAIL FROM:<one@c.test> SMTPUTF8",
    "RCPT TO:<to@y.test>",
    "RCPT TO:<to@y.test> NOTIFY=FAILURE ORCPT=rfc822;a@b",
    "DATA",
    ".",
    "Subject: garbage",
    "",
    "..",
    "BDAT 10",
    "BDAT 5 LAST",
    "BDAT 0 LAST",
    "RSET",
    "NOOP x",
    "VRFY x",
    "HELP",
    "AUTH PLAIN AGEAYg==",
    "STARTTLS",
];
const PIECES: [&str; 16] = [
    "\r",
    "\n",
    ".",
    "\0",
    " ",
    ":",
    "<",
    ">",
    "@",
    "\"",
    "MAIL FROM:<",
    "RCPT TO:<",
    "DATA\r\n",
    "\r\n.\r\n",
    "\u{e9}",
    "=",
];

/// A line, most often with its CRLF.
fn line(random: &mut Random, out: &mut Vec<u8>) {
    let begin = out.len();
    match random.below(10) {
        0 => {
            let length = random.below(40);
            out.extend((0..length).map(|_| random.next() as u8));
        }
        1 => {
            let count = random.below(8);
            (0..count).for_each(|_| {
                let number = random.below(PIECES.len());
                out.extend_from_slice(PIECES[number].as_bytes());
            });
        }
        _ => {
            let number = random.below(LINES.len());
            out.extend_from_slice(LINES[number].as_bytes());
        }
    }
    if random.below(4) == 0 && out.len() > begin {
        let at = begin + random.below(out.len() - begin);
        out[at] = random.next() as u8;
    }
    match random.below(40) {
        0 => out.push(b'\n'),
        1 => out.push(b'\r'),
        2 => (),
        3 => out.extend(std::iter::repeat_n(b'x', random.below(3000))),
        _ => out.extend_from_slice(b"\r\n"),
    }
}

/// A session of so many lines at most.
fn session(house: &mut House, random: &mut Random, lines: usize) -> (usize, usize) {
    house.connect();
    let (mut count, mut told, mut segment) = (0, Vec::new(), Vec::new());
    // Some begin as they should.
    if random.below(2) == 0 {
        segment
            .extend_from_slice(b"EHLO c.test\r\nMAIL FROM:<one@c.test>\r\nRCPT TO:<to@y.test>\r\n");
    }
    while count < lines && house.is_connected() {
        let most = 1 + random.below(20);
        for _ in 0..most {
            line(random, &mut segment);
        }
        count += most;
        let cut = if random.below(3) == 0 { random.below(segment.len() + 1) } else { 0 };
        let rest = segment.split_off(segment.len() - cut);
        told.extend(house.say(&segment));
        segment = rest;
    }
    let (last, taken) = house.leave();
    told.extend(last);
    let told = String::from_utf8(told).expect("replies are ASCII");
    assert!(told.is_empty() || told.ends_with("\r\n"));
    for line in told.split_terminator("\r\n") {
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        assert!(code.is_some_and(|code| (211..=555).contains(&code)), "{line:?}");
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
    }
    let queued = told.lines().filter(|line| line.contains(" queued as ")).count();
    assert_eq!(queued, taken.len(), "taken in, and sent on");
    (count, taken.len())
}

fn run(seed: u64, lines: usize) {
    let (mut house, mut count, mut mails) = (House::new(), 0, 0);
    let (free, mut number) = (house.free(), seed);
    while count < lines {
        let mut random = Random::new(number);
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            session(&mut house, &mut random, 200)
        }));
        let Ok((more, taken)) = played else { panic!("again: SEED={number} LINES=1") };
        (count, mails, number) = (count + more, mails + taken, number + 1);
    }
    assert_eq!((house.queued(), house.free()), (0, free), "room is lost");
    println!("garbage: {count} lines from seed {seed} on, {mails} mails among them");
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn a_hundred_thousand_lines() {
    run(1, 100_000);
}

#[test]
#[ignore = "ten million lines take a minute; make hostile runs it"]
fn ten_million_lines() {
    run(number("SEED", 1), number("LINES", 10_000_000) as usize);
}

//! What a server says: ours, all in one table, and the next hop's, read and cleaned.
//!
//! Our replies are constants, so none can echo what a peer sent (threats 3, 20). A next hop's reply
//! is kept to limits (threats 25): lines of [`REMOTE_LINE_BYTES_MAX`], at most
//! [`REMOTE_REPLY_LINES_MAX`] of them, codes 200 to 599 and the same on every line, CRLF at their
//! ends. What breaks these is garbage, and the connection is of no more use. What is kept of the
//! text is printable ASCII of at most [`REMOTE_TEXT_BYTES_MAX`] bytes, fit for a log and a report.
//!
//! Not here: which error becomes which reply (the rooms above), what a reply means for the state of
//! a machine ([`super::server`], [`super::client`]).
//!
//! Read first: RFC 5321 §4.2, §4.5.3.1.5; RFC 2034; RFC 3463.

use crate::base::ascii::parse_decimal;
use crate::base::buffer::{Buffer, Text};
use crate::limits::{REMOTE_LINE_BYTES_MAX, REMOTE_REPLY_LINES_MAX, REMOTE_TEXT_BYTES_MAX};
use core::fmt::{self, Write as _};
use memchr::memchr;

/// An enhanced status code, RFC 3463.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// 2 success, 4 try again, 5 failed.
    pub class: u8,
    /// What it is about.
    pub subject: u16,
    /// What exactly.
    pub detail: u16,
}

impl Status {
    /// Reads a status at the beginning of `text`; gives also what follows it, without the space.
    pub fn parse(text: &[u8]) -> Option<(Status, &[u8])> {
        let end = memchr(b' ', text).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end)?;
        let mut numbers = word.splitn(3, |byte| *byte == b'.');
        // RFC 3463 §2: subject and detail have one to three digits.
        let mut next = || {
            let digits = numbers.next().filter(|digits| digits.len() <= 3)?;
            parse_decimal(digits).and_then(|number| u16::try_from(number).ok())
        };
        let (class, subject, detail) = (next()?, next()?, next()?);
        let class = u8::try_from(class).ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        Some((Status { class, subject, detail }, rest.strip_prefix(b" ").unwrap_or(rest)))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A reply of this server, but for those that hold a name or an id: the greeting, the answer to
/// EHLO, and the 250 of a queued message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// RFC 5321 §4.2.
    pub code: u16,
    /// None where RFC 2034 §4 has none.
    pub status: Option<Status>,
    /// Printable ASCII.
    pub text: &'static str,
}

impl Reply {
    /// Appends the reply and its CRLF to `out`, whole.
    pub fn write(&self, out: &mut Buffer) {
        let mut line = Text::<{ REPLY_LINE_BYTES_MAX }>::new();
        let written = write!(line, "{self}\r\n");
        let pushed = out.push(line.as_str().as_bytes());
        debug_assert!(written.is_ok() && pushed.is_ok(), "room for a reply was kept");
    }

    /// The same code and status with other words.
    pub const fn with_text(self, text: &'static str) -> Reply {
        Reply { text, ..self }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.code)?;
        if let Some(status) = self.status {
            write!(formatter, "{status} ")?;
        }
        formatter.write_str(self.text)
    }
}

/// A reply line of ours: RFC 5321 §4.5.3.1.5 allows 512, none of the table needs that much.
const REPLY_LINE_BYTES_MAX: usize = 200;

const fn plain(code: u16, text: &'static str) -> Reply {
    Reply { code, status: None, text }
}

/// The class of the status is the first digit of the code, RFC 2034 §4.
const fn reply(code: u16, subject: u16, detail: u16, text: &'static str) -> Reply {
    let class = (code / 100) as u8;
    Reply { code, status: Some(Status { class, subject, detail }), text }
}

/// The table.
#[rustfmt::skip]
#[expect(missing_docs, reason = "each says itself what it is")]
impl Reply {
    pub const OK: Reply = reply(250, 0, 0, "Ok");
    pub const SENDER_OK: Reply = reply(250, 1, 0, "Sender ok");
    pub const RECIPIENT_OK: Reply = reply(250, 1, 5, "Recipient ok");
    pub const START_DATA: Reply = plain(354, "End data with <CR><LF>.<CR><LF>");
    pub const CHUNK_OK: Reply = reply(250, 0, 0, "Chunk received");
    pub const LEFT: Reply = reply(250, 0, 0, "Ok: left for the daemon");
    pub const START_TLS: Reply = reply(220, 0, 0, "Ready to start TLS");
    pub const LOGGED_IN: Reply = reply(235, 7, 0, "Logged in");
    pub const BYE: Reply = reply(221, 0, 0, "Bye");
    // RFC 5321 §3.5.3: 252 promises nothing.
    pub const CANNOT_VERIFY: Reply = reply(252, 5, 0, "Send some mail, and it will be tried");
    pub const NO_EXPANSION: Reply = reply(502, 5, 1, "Lists are not shown");
    pub const HELP: Reply = reply(214, 0, 0, "HELO EHLO MAIL RCPT DATA RSET NOOP QUIT; RFC 5321");

    // Closing. RFC 5321 §3.8: 421 may answer anything.
    pub const TIMED_OUT: Reply = reply(421, 4, 2, "Timed out waiting for you; closing");
    pub const TOO_SLOW: Reply = reply(421, 4, 2, "The data comes too slowly; closing");
    pub const TOO_MANY_ERRORS: Reply = reply(421, 7, 0, "Too many errors; closing");
    pub const TOO_MANY_IDLE: Reply = reply(421, 7, 0, "Too many commands without mail; closing");
    pub const NOT_SMTP: Reply = reply(421, 7, 0, "This is SMTP; closing");
    pub const NO_PROXY: Reply = reply(421, 7, 0, "No PROXY header is taken from here; closing");
    pub const NO_TLS_YET: Reply = reply(421, 7, 0, "TLS does not come first here; closing");
    pub const TLS_FIRST: Reply = reply(554, 7, 0, "TLS comes first here: SMTP is inside it");
    pub const BEHIND_STARTTLS: Reply = reply(554, 5, 1, "Nothing may follow STARTTLS; closing");
    pub const BUSY: Reply = reply(421, 3, 2, "Too many connections; try again later");
    pub const TOO_MANY_CONNECTIONS: Reply = reply(421, 7, 0, "Too many connections from there");
    pub const SHUTTING_DOWN: Reply = reply(421, 3, 2, "Shutting down; try again later");

    pub const TOO_MANY_LOGINS: Reply = reply(421, 7, 0, "Too many failed logins; try again later");

    // Commands that cannot be understood or come out of order.
    pub const LINE_TOO_LONG: Reply = reply(500, 5, 2, "Line too long");
    pub const LINE_BARE: Reply = reply(500, 5, 2, "A line ends with CR LF and holds no other");
    pub const UNKNOWN_COMMAND: Reply = reply(500, 5, 1, "Command not recognized");
    pub const NOT_IMPLEMENTED: Reply = reply(502, 5, 1, "This command is not implemented");
    pub const BAD_HELLO: Reply = reply(501, 5, 4, "Say your name: EHLO host.example");
    pub const NO_ARGUMENT: Reply = reply(501, 5, 4, "This command has no argument");
    pub const NEEDS_ARGUMENT: Reply = reply(501, 5, 4, "This command needs an argument");
    pub const BAD_MAIL: Reply = reply(501, 5, 4, "Syntax: MAIL FROM:<address>");
    pub const BAD_RCPT: Reply = reply(501, 5, 4, "Syntax: RCPT TO:<address>");
    pub const BAD_CHUNK: Reply = reply(501, 5, 4, "Syntax: BDAT size [LAST]; closing");
    pub const BAD_SENDER: Reply = reply(501, 1, 7, "Not an address");
    pub const BAD_RECIPIENT: Reply = reply(501, 1, 3, "Not an address");
    pub const BAD_PARAMETER: Reply = reply(501, 5, 4, "Malformed parameter");
    pub const REPEATED_PARAMETER: Reply = reply(501, 5, 4, "A parameter comes twice");
    pub const BAD_VALUE: Reply = reply(504, 5, 4, "The parameter cannot have this value");
    pub const UNKNOWN_PARAMETER: Reply = reply(555, 5, 4, "Parameter not recognized");
    // RFC 4865 §4: too far ahead; RFC 5321 §4.2.3 for a server that cannot do it now.
    pub const HOLD_TOO_LONG: Reply = reply(554, 5, 4, "No mail is held for so long here");
    pub const HOLD_IN_THE_PAST: Reply = reply(501, 5, 4, "HOLDUNTIL is in the past");
    pub const CLOCK_NOT_SET: Reply = reply(455, 3, 0, "The clock here is not set; say HOLDFOR");
    // RFC 2852 §4.
    pub const TOO_SOON: Reply = reply(555, 5, 4, "No mail is promised in so short a time");
    // RFC 6531 §3.5.
    pub const NEEDS_UTF8: Reply = reply(553, 6, 7, "Such an address needs SMTPUTF8 behind MAIL");
    pub const TLS_ALREADY: Reply = reply(503, 5, 1, "TLS is on already");
    pub const HELLO_FIRST: Reply = reply(503, 5, 1, "Say EHLO or HELO first");
    pub const MAIL_FIRST: Reply = reply(503, 5, 1, "Say MAIL first");
    pub const NESTED_MAIL: Reply = reply(503, 5, 1, "Sender already given");
    pub const WITHIN_CHUNKS: Reply = reply(503, 5, 1, "Only BDAT or RSET may follow a chunk");
    pub const NEEDS_CHUNKS: Reply = reply(503, 5, 1, "A binary mail must come by BDAT");
    pub const NO_RECIPIENTS: Reply = reply(554, 5, 1, "No valid recipients");

    // Logging in, RFC 4954 §4 and §6.
    pub const LOGIN_FAILED: Reply = reply(535, 7, 8, "User or password are wrong");
    pub const LOGIN_CANCELLED: Reply = reply(501, 7, 0, "Cancelled");
    pub const LOGIN_TOO_LONG: Reply = reply(500, 5, 6, "Line too long");
    pub const NOT_BASE64: Reply = reply(501, 5, 2, "Not base64");
    pub const NO_INITIAL_RESPONSE: Reply = reply(501, 7, 0, "Send nothing with this AUTH");
    pub const UNKNOWN_MECHANISM: Reply = reply(504, 5, 4, "Mechanism not known here");
    pub const LOGGED_IN_ALREADY: Reply = reply(503, 5, 1, "Logged in already");
    pub const LOGIN_WITHIN_MAIL: Reply = reply(503, 5, 1, "Not within a mail");
    pub const LOGIN_NEEDS_TLS: Reply = reply(538, 7, 11, "Only inside TLS");
    pub const LOGIN_FIRST: Reply = reply(530, 7, 0, "Log in first");
    pub const LOGIN_UNAVAILABLE: Reply = reply(454, 7, 0, "Nobody can log in now; try again later");

    // Whom a proxy speaks for; the codes are Postfix's.
    pub const NO_XCLIENT: Reply = reply(550, 7, 0, "You may not say who others are");
    pub const XCLIENT_FIRST: Reply = reply(550, 7, 0, "Say by XCLIENT who it is first");
    pub const NOT_WITHIN_MAIL: Reply = reply(503, 5, 1, "Not within a mail");

    // Policy and room.
    pub const TOO_MANY_RECIPIENTS: Reply = reply(452, 5, 3, "Too many recipients in one mail");
    pub const TOO_BIG: Reply = reply(552, 3, 4, "The mail is larger than is taken here");
    pub const TOO_MANY_MESSAGES: Reply = reply(450, 7, 1, "Too many mails; try again later");
    pub const NO_ROOM: Reply = reply(452, 3, 1, "No room in the queue; try again later");
    pub const LOCAL_ERROR: Reply = reply(451, 3, 0, "Trouble here; try again later");
    pub const NO_RELAYING: Reply = reply(550, 7, 1, "You may not send to there from here");
    pub const NOT_YOUR_SENDER: Reply = reply(553, 7, 1, "You may not write as this sender");
    pub const NO_SUCH_USER: Reply = reply(550, 1, 1, "No such user here");
    pub const ROUTED_RECIPIENT: Reply = reply(550, 1, 3, "The local part names another host");
    pub const BARE_IN_MESSAGE: Reply = reply(550, 6, 0, "The mail holds a CR or LF on its own");
    pub const BAD_UTF8: Reply = reply(554, 6, 0, "The header is not UTF-8");
    pub const LOOP: Reply = reply(554, 4, 6, "Too many Received lines: a mail loop");
}

/// A next hop's reply.
#[derive(Clone, Copy)]
pub struct RemoteReply {
    /// From 200 to 599.
    pub code: u16,
    /// The first enhanced status that fits the code.
    pub status: Option<Status>,
    /// Its words without the statuses: printable ASCII, the lines joined with spaces, cut.
    pub text: Text<REMOTE_TEXT_BYTES_MAX>,
}

impl RemoteReply {
    /// The first digit: 2 done, 3 go on, 4 try again, 5 failed.
    pub const fn class(&self) -> u16 {
        self.code / 100
    }
}

impl fmt::Display for RemoteReply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(formatter, " {status}")?;
        }
        match self.text.is_empty() {
            true => Ok(()),
            false => write!(formatter, " {}", self.text.as_str()),
        }
    }
}

impl fmt::Debug for RemoteReply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Reads a next hop's replies line by line.
#[derive(Default)]
pub struct ReplyParser {
    /// Of the lines so far; 0 before the first.
    code: u16,
    lines: u8,
    status: Option<Status>,
    text: Text<REMOTE_TEXT_BYTES_MAX>,
}

/// What [`ReplyParser::step`] found at the beginning of its input.
#[derive(Clone, Copy, Debug)]
pub enum Parsed<'a> {
    /// No whole line yet.
    More,
    /// A line.
    Line {
        /// Behind code and separator, as it came (EHLO's keywords are read from it).
        text: &'a [u8],
        /// True: the reply is whole, and [`ReplyParser::take`] gives it.
        is_last: bool,
    },
    /// Not SMTP, or beyond the limits.
    Garbage,
}

impl ReplyParser {
    /// A parser in front of a reply.
    pub fn new() -> ReplyParser {
        ReplyParser::default()
    }

    /// Takes one line off the front of `input`; gives how much that is, and what it was. Input that
    /// is not consumed must be shown again, with more behind it.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> (usize, Parsed<'a>) {
        let window = input.get(..REMOTE_LINE_BYTES_MAX).unwrap_or(input);
        let Some(feed) = memchr(b'\n', window) else {
            let whole = window.len() == REMOTE_LINE_BYTES_MAX;
            return (0, if whole { Parsed::Garbage } else { Parsed::More });
        };
        // RFC 5321 §2.3.8: a lone LF ends nothing, and has no place in a reply.
        let line = window.get(..feed).and_then(|line| line.strip_suffix(b"\r"));
        match line.and_then(|line| self.take_line(line)) {
            Some(parsed) => (feed + 1, parsed),
            None => (0, Parsed::Garbage),
        }
    }

    fn take_line<'a>(&mut self, line: &'a [u8]) -> Option<Parsed<'a>> {
        let (code, rest) = line.split_first_chunk::<3>()?;
        let code = parse_decimal(code).and_then(|code| u16::try_from(code).ok())?;
        let same = self.lines == 0 || self.code == code;
        if !same || !(200..=599).contains(&code) || self.lines == REMOTE_REPLY_LINES_MAX {
            return None;
        }
        // RFC 5321 §4.2: a code with nothing behind it is a last line too.
        let (text, is_last) = match rest {
            [] => (rest, true),
            [b' ', text @ ..] => (text, true),
            [b'-', text @ ..] => (text, false),
            _ => return None,
        };
        self.code = code;
        self.lines += 1;
        self.keep(text);
        Some(Parsed::Line { text, is_last })
    }

    /// The reply whose last line was read; the parser then stands in front of the next.
    pub fn take(&mut self) -> RemoteReply {
        let whole = core::mem::take(self);
        RemoteReply { code: whole.code, status: whole.status, text: whole.text }
    }

    fn keep(&mut self, text: &[u8]) {
        let fitting =
            Status::parse(text).filter(|(status, _)| u16::from(status.class) == self.code / 100);
        let text = fitting.map_or(text, |(_, text)| text);
        self.status = self.status.or(fitting.map(|(status, _)| status));
        let space = (!self.text.is_empty() && !text.is_empty()).then_some(' ');
        let cleaned = text.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '?',
        });
        // A Text cuts what is too long; it does not fail.
        let _ =
            space.into_iter().chain(cleaned).try_for_each(|letter| self.text.write_char(letter));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &[u8]) -> Option<RemoteReply> {
        let mut parser = ReplyParser::new();
        let mut rest = input;
        loop {
            let (consumed, parsed) = parser.step(rest);
            rest = &rest[consumed..];
            match parsed {
                Parsed::Line { is_last: true, .. } => {
                    assert!(rest.is_empty());
                    return Some(parser.take());
                }
                Parsed::Line { is_last: false, .. } => (),
                Parsed::Garbage => return None,
                Parsed::More => panic!("not whole: {}", input.escape_ascii()),
            }
        }
    }

    #[test]
    fn replies_of_one_line_and_of_many() {
        let shown = |input: &[u8]| parse(input).unwrap().to_string();
        assert_eq!(shown(b"250 2.1.5 Ok\r\n"), "250 2.1.5 Ok");
        assert_eq!(shown(b"250\r\n"), "250");
        assert_eq!(shown(b"250 \r\n"), "250");
        assert_eq!(shown(b"354 Go ahead\r\n"), "354 Go ahead");
        assert_eq!(shown(b"550-5.7.1 Not\r\n550-\r\n550 5.7.1 today\r\n"), "550 5.7.1 Not today");
        // A status of another class is only words.
        assert_eq!(shown(b"450 5.1.1 a\x00b\xff\r\n"), "450 5.1.1 a?b?");
        assert_eq!(parse(b"450 5.1.1 a\r\n").unwrap().status, None);
        let long = [&b"250 "[..], &[b'x'; REMOTE_LINE_BYTES_MAX - 6], b"\r\n"].concat();
        assert_eq!(parse(&long).unwrap().text.as_str().len(), REMOTE_TEXT_BYTES_MAX);
    }

    #[test]
    fn what_a_hostile_next_hop_says() {
        let too_long = [&b"250 "[..], &[b'x'; REMOTE_LINE_BYTES_MAX - 5], b"\r\n"].concat();
        let mut too_many = b"250-x\r\n".repeat(usize::from(REMOTE_REPLY_LINES_MAX));
        too_many.extend_from_slice(b"250 x\r\n");
        for garbage in [
            &b"199 a\r\n"[..],
            b"600 a\r\n",
            b"25\r\n",
            b"+25 a\r\n",
            b"2500 a\r\n",
            b"250_a\r\n",
            b"\r\n",
            b"250 a\n",
            b"250-a\n250 b\r\n",
            b"250-a\r\n251 b\r\n",
            b"SSH-2.0-x\r\n",
            &too_long,
            &too_many,
        ] {
            assert!(parse(garbage).is_none(), "{}", garbage.escape_ascii());
        }
        let (consumed, parsed) = ReplyParser::new().step(&[b'2'; REMOTE_LINE_BYTES_MAX]);
        assert!(consumed == 0 && matches!(parsed, Parsed::Garbage));
    }

    #[test]
    fn statuses() {
        let parse = |text: &[u8]| Status::parse(text).map(|(status, _)| status.to_string());
        assert_eq!(parse(b"5.7.26 x"), Some("5.7.26".into()));
        assert_eq!(parse(b"2.0.0"), Some("2.0.0".into()));
        for bad in [&b"3.0.0"[..], b"5.7", b"5.7.1.1", b"5.7.1234", b"a.b.c", b"", b"5.7.1x"] {
            assert_eq!(parse(bad), None);
        }
    }

    #[test]
    fn our_replies_are_written_whole() {
        let mut out = Buffer::new(512);
        Reply::START_DATA.write(&mut out);
        Reply::TOO_BIG.write(&mut out);
        let expected = "354 End data with <CR><LF>.<CR><LF>\r\n\
            552 5.3.4 The mail is larger than is taken here\r\n";
        assert_eq!(out.readable(), expected.as_bytes());
    }
}

//! What must be known of a message before it is queued, measured while it streams by.
//!
//! [`Scan`] is fed the message as submitted, which is as it will be stored, in pieces of any size;
//! its [`Traits`] are the same for every way of cutting. It needs lines that end in CRLF and
//! no bare CR or LF, which is what the receiving side lets through; anything else is measured as
//! if every LF ended a line, and does no harm.
//!
//! Not a parser of values: fields are told by their names only, without case, and folded lines
//! belong to the field above (RFC 5322 §2.2.3). One value is kept as it is, for the log: the
//! Message-ID's, cleaned and cut. The header ends at the first empty line, or never;
//! a line in its midst that is no field is passed over, and if the very first line is none, the
//! message has no header and all of it is body.
//!
//! Memory is fixed, whatever lines and headers of whatever length come. Nothing fails. The body is
//! where the bytes are: it is looked at by `is_ascii` and `memchr`, which take many bytes at once.
//!
//! Read first: RFC 5322 §2.1, §2.2, §3.6 and §4.5; RFC 5321 §4.5.3.1.6; RFC 3629.

use crate::base::buffer::Text;
use crate::limits::TEXT_LINE_BYTES_MAX;
use core::fmt::Write;
use memchr::{memchr, memrchr};

/// What a message is like. The numbers are kept with queued messages, so they never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traits {
    /// The constants below, added up.
    pub bits: u16,
    /// How many Received fields it has; 255 means 255 or more.
    pub received: u8,
}

impl Traits {
    /// A byte beyond ASCII in the header.
    pub const EIGHT_BIT_HEADER: u16 = 1;
    /// A byte beyond ASCII in the body.
    pub const EIGHT_BIT_BODY: u16 = 1 << 1;
    /// A NUL anywhere.
    pub const NUL: u16 = 1 << 2;
    /// A line of more than `limits::TEXT_LINE_BYTES_MAX` bytes, CRLF not counted.
    pub const LONG_LINE: u16 = 1 << 3;
    /// No Date field.
    pub const NO_DATE: u16 = 1 << 4;
    /// No Message-ID field.
    pub const NO_MESSAGE_ID: u16 = 1 << 5;
    /// No From field.
    pub const NO_FROM: u16 = 1 << 6;
    /// The first line is neither a field nor empty: there is no header at all.
    pub const NO_HEADER: u16 = 1 << 7;
    /// A Bcc or Resent-Bcc field.
    pub const HAS_BCC: u16 = 1 << 8;
    /// Bytes in the header that are not UTF-8.
    pub const BAD_UTF8_HEADER: u16 = 1 << 9;
    /// A Reply-To field.
    pub const HAS_REPLY_TO: u16 = 1 << 10;

    /// True if any of `bits` is set.
    pub const fn has(self, bits: u16) -> bool {
        self.bits & bits != 0
    }
}

/// A line with its CRLF.
const LINE_BYTES_MAX: usize = TEXT_LINE_BYTES_MAX + 2;

/// What is kept of a Message-ID: most are shorter, and a log line has room for it.
const MESSAGE_ID_BYTES_MAX: usize = 96;

/// Measures one message.
#[derive(Clone, Debug)]
pub struct Scan {
    traits: Traits,
    /// Bytes of the line under way; not counted any more once a line was too long.
    line_bytes: usize,
    part: Part,
    first_line: bool,
    /// The line under way, or the last one, belongs to the first Message-ID field.
    in_message_id: bool,
    message_id: Text<MESSAGE_ID_BYTES_MAX>,
    utf8: Utf8,
}

#[derive(Clone, Debug)]
enum Part {
    /// In a line of the header that has not told yet what it is.
    LineStart(LineStart),
    /// In a line of the header that has.
    Line,
    Body,
}

impl Scan {
    /// At the start of a message.
    pub fn new() -> Scan {
        let bits = Traits::NO_DATE | Traits::NO_MESSAGE_ID | Traits::NO_FROM;
        Scan {
            traits: Traits { bits, received: 0 },
            line_bytes: 0,
            part: Part::LineStart(LineStart::default()),
            first_line: true,
            in_message_id: false,
            message_id: Text::new(),
            utf8: Utf8::default(),
        }
    }

    /// Takes the next bytes of the message.
    pub fn feed(&mut self, input: &[u8]) {
        let mut rest = input;
        while !rest.is_empty() && !matches!(self.part, Part::Body) {
            let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (line, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            if self.feed_header(line) {
                rest = behind;
            }
        }
        self.note_bytes(rest, Traits::EIGHT_BIT_BODY);
        self.note_length(rest);
    }

    /// What the message is like if this was all of it.
    pub fn traits(&self) -> Traits {
        let mut traits = self.traits;
        // Without a CRLF behind it, what stands there is all content.
        if self.line_bytes > TEXT_LINE_BYTES_MAX {
            traits.bits |= Traits::LONG_LINE;
        }
        if !self.utf8.is_between() {
            traits.bits |= Traits::BAD_UTF8_HEADER;
        }
        let undecided = matches!(self.part, Part::LineStart(_)) && self.line_bytes > 0;
        if self.first_line && undecided {
            traits.bits |= Traits::NO_HEADER;
        }
        traits
    }

    /// The first Message-ID as far as it has come, for the log: one line of printable ASCII (`?`
    /// stands for any other byte) of at most 96 bytes; empty if there is none.
    pub fn message_id(&self) -> &str {
        self.message_id.as_str().trim_end_matches(' ')
    }

    /// Takes a line of the header or a piece of one. False: not taken, all of it is body.
    fn feed_header(&mut self, line: &[u8]) -> bool {
        let mut ends_header = false;
        let mut value = line;
        if let Part::LineStart(start) = &mut self.part {
            let mut bytes = line.iter();
            match bytes.find_map(|byte| start.push(*byte)) {
                None => value = &[],
                // All that was taken of this line so far is name, so ASCII: body takes over.
                Some(Kind::Other | Kind::Folded) if self.first_line => {
                    self.traits.bits |= Traits::NO_HEADER;
                    self.part = Part::Body;
                    return false;
                }
                Some(kind) => {
                    ends_header = kind == Kind::Empty;
                    self.part = Part::Line;
                    self.note_field(kind);
                    if kind != Kind::Folded {
                        value = bytes.as_slice();
                    }
                }
            }
        }
        if self.in_message_id {
            self.note_message_id(value);
        }
        self.note_bytes(line, Traits::EIGHT_BIT_HEADER);
        self.note_utf8(line);
        self.note_length(line);
        if ends_header {
            self.part = Part::Body;
        } else if line.last() == Some(&b'\n') {
            self.part = Part::LineStart(LineStart::default());
            self.first_line = false;
        }
        true
    }

    fn note_field(&mut self, kind: Kind) {
        // Ahead of the bit that says that there has been one: only the first is kept.
        let is_first = self.traits.has(Traits::NO_MESSAGE_ID);
        self.in_message_id = match kind {
            Kind::Folded => self.in_message_id,
            _ => is_first && kind == Kind::Field(Name::MessageId),
        };
        let Kind::Field(name) = kind else { return };
        match name {
            Name::Received => self.traits.received = self.traits.received.saturating_add(1),
            Name::Date => self.traits.bits &= !Traits::NO_DATE,
            Name::MessageId => self.traits.bits &= !Traits::NO_MESSAGE_ID,
            Name::From => self.traits.bits &= !Traits::NO_FROM,
            Name::Bcc => self.traits.bits |= Traits::HAS_BCC,
            Name::ReplyTo => self.traits.bits |= Traits::HAS_REPLY_TO,
            Name::Other => {}
        }
    }

    /// Keeps a piece of the Message-ID's value: line ends go (RFC 5322 §2.2.3), and with them the
    /// space on both sides of all of it.
    fn note_message_id(&mut self, value: &[u8]) {
        for byte in value {
            let character = match byte {
                b'\r' | b'\n' => continue,
                b' ' | b'\t' if self.message_id.is_empty() => continue,
                b'\t' => ' ',
                b' '..=b'~' => char::from(*byte),
                _ => '?',
            };
            // Writing to a Text cannot fail: it cuts.
            let _ = self.message_id.write_char(character);
        }
    }

    /// Looks for NUL, and for bytes beyond ASCII, which mean `eight_bit`.
    fn note_bytes(&mut self, bytes: &[u8], eight_bit: u16) {
        if !self.traits.has(eight_bit) && !bytes.is_ascii() {
            self.traits.bits |= eight_bit;
        }
        if !self.traits.has(Traits::NUL) && memchr(0, bytes).is_some() {
            self.traits.bits |= Traits::NUL;
        }
    }

    /// Looks for what is not UTF-8 in a piece of the header.
    fn note_utf8(&mut self, bytes: &[u8]) {
        let is_plain = self.utf8.is_between() && bytes.is_ascii();
        if !is_plain && !bytes.iter().all(|byte| self.utf8.push(*byte)) {
            self.traits.bits |= Traits::BAD_UTF8_HEADER;
            self.utf8 = Utf8::default();
        }
    }

    /// Looks for a line that is too long.
    ///
    /// Of all the line ends in reach of a line's start only the last one matters, since the lines
    /// before it are short enough: so the search goes backward, and ordinary text is left behind
    /// in strides of nearly a thousand bytes.
    fn note_length(&mut self, bytes: &[u8]) {
        if self.traits.has(Traits::LONG_LINE) {
            return;
        }
        let mut rest = bytes;
        loop {
            let reach = LINE_BYTES_MAX.saturating_sub(self.line_bytes);
            let window = rest.get(..reach).unwrap_or(rest);
            let Some(end) = memrchr(b'\n', window) else { break };
            rest = rest.get(end + 1..).unwrap_or_default();
            self.line_bytes = 0;
        }
        self.line_bytes += rest.len();
        if self.line_bytes >= LINE_BYTES_MAX {
            self.traits.bits |= Traits::LONG_LINE;
        }
    }
}

impl Default for Scan {
    fn default() -> Self {
        Scan::new()
    }
}

/// Where in a character of UTF-8 (RFC 3629 §4) the last byte was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Utf8 {
    /// Bytes of the character still to come.
    due: u8,
    /// What the next of them may be.
    least: u8,
    most: u8,
}

impl Default for Utf8 {
    fn default() -> Self {
        Utf8 { due: 0, least: 0x80, most: 0xBF }
    }
}

impl Utf8 {
    fn is_between(&self) -> bool {
        self.due == 0
    }

    /// Takes the next byte; false if it cannot be.
    fn push(&mut self, byte: u8) -> bool {
        if self.due > 0 {
            let fits = (self.least..=self.most).contains(&byte);
            *self = Utf8 { due: self.due - 1, ..Utf8::default() };
            return fits;
        }
        let (due, least, most) = match byte {
            0..=0x7F => return true,
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return false,
        };
        *self = Utf8 { due, least, most };
        true
    }
}

/// What kind of line of the header it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Empty,
    Folded,
    Field(Name),
    Other,
}

/// The fields that matter here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    Received,
    Date,
    MessageId,
    From,
    Bcc,
    ReplyTo,
    Other,
}

/// The longest of their names: `message-id`, `resent-bcc`.
const NAME_BYTES_MAX: usize = 10;

/// Reads a line's first bytes until they tell what kind it is.
#[derive(Clone, Debug, Default)]
struct LineStart {
    name: [u8; NAME_BYTES_MAX],
    /// Of the whole name, even if it is longer than what is kept.
    name_bytes: usize,
    spaced: bool,
    carriage_return: bool,
}

impl LineStart {
    fn push(&mut self, byte: u8) -> Option<Kind> {
        match byte {
            b'\n' if self.name_bytes == 0 => return Some(Kind::Empty),
            _ if self.carriage_return => return Some(Kind::Other),
            b'\r' if self.name_bytes == 0 => self.carriage_return = true,
            b' ' | b'\t' if self.name_bytes == 0 => return Some(Kind::Folded),
            // RFC 5322 §4.5: space ahead of the colon is obsolete, but must be understood.
            b' ' | b'\t' => self.spaced = true,
            b':' if self.name_bytes > 0 => return Some(Kind::Field(self.name())),
            b'!'..=b'~' if byte != b':' && !self.spaced => {
                if let Some(place) = self.name.get_mut(self.name_bytes) {
                    *place = byte;
                }
                self.name_bytes = self.name_bytes.saturating_add(1);
            }
            _ => return Some(Kind::Other),
        }
        None
    }

    fn name(&self) -> Name {
        const NAMES: [(&[u8], Name); 7] = [
            (b"received", Name::Received),
            (b"date", Name::Date),
            (b"message-id", Name::MessageId),
            (b"from", Name::From),
            (b"bcc", Name::Bcc),
            (b"resent-bcc", Name::Bcc),
            (b"reply-to", Name::ReplyTo),
        ];
        // None for a name that is longer than any of these.
        let name = self.name.get(..self.name_bytes).unwrap_or_default();
        let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(Name::Other, |(_, name)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: u16 = Traits::NO_DATE | Traits::NO_MESSAGE_ID | Traits::NO_FROM;

    fn scan(message: &[u8]) -> Traits {
        let mut scan = Scan::new();
        scan.feed(message);
        scan.traits()
    }

    #[test]
    fn utf8_in_the_header_as_std_has_it() {
        let pieces: [&[u8]; 10] = [
            b"a",
            b"\xc3",
            b"\xa9",
            b"\xe0",
            b"\xed",
            b"\x9f",
            b"\xf4",
            b"\x8f",
            b"\xf0\x9f",
            b"\xff",
        ];
        for number in 0..pieces.len().pow(4) {
            let piece = |place: u32| pieces[number / pieces.len().pow(place) % pieces.len()];
            let value: Vec<u8> = (0..4).flat_map(|place| piece(place).to_vec()).collect();
            let is_good = core::str::from_utf8(&value).is_ok();
            let header = [b"X: ", &value[..]].concat();
            let whole = [&header, &b"\r\n\r\n\xff"[..]].concat();
            for message in [header, whole] {
                let found = scan(&message).has(Traits::BAD_UTF8_HEADER);
                assert_eq!(found, !is_good, "{}", message.escape_ascii());
            }
        }
        assert!(!scan_all_ways("Subject: Größe\r\n\r\n".as_bytes()).has(Traits::BAD_UTF8_HEADER));
        assert!(scan_all_ways(b"Subject: Gr\xf6\xdfe\r\n\r\n").has(Traits::BAD_UTF8_HEADER));
    }

    /// What a scan of `message` says, whole, by the byte, and in any two pieces.
    fn scan_all_ways(message: &[u8]) -> Traits {
        scan_all_ways_for_id(message).0
    }

    fn scan_all_ways_for_id(message: &[u8]) -> (Traits, String) {
        let mut once = Scan::new();
        once.feed(message);
        let (whole, id) = (once.traits(), once.message_id());
        let mut bytes = Scan::new();
        message.iter().for_each(|byte| bytes.feed(&[*byte]));
        assert_eq!((bytes.traits(), bytes.message_id()), (whole, id));
        for at in 0..=message.len() {
            let mut two = Scan::new();
            two.feed(&message[..at]);
            two.feed(&message[at..]);
            assert_eq!((two.traits(), two.message_id()), (whole, id), "cut at {at}");
        }
        (whole, id.to_owned())
    }

    #[test]
    fn a_full_header_misses_nothing() {
        let message = b"Received: a\r\n\tb\r\nRECEIVED : c\r\nDate: x\r\nmessage-id: <y>\r\n\
                        From: z\r\nX-A-Name-That-Is-Longer-Than-Any-That-Matters-Here: Date: a\r\n\
                        \r\nBcc: not a field\r\nReceived: neither\r\n";
        assert_eq!(scan_all_ways(message), Traits { bits: 0, received: 2 });
    }

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(scan_all_ways(b"To: x\r\n\r\n").bits, MISSING);
        assert_eq!(scan_all_ways(b"To: x\r\n From: y\r\n\r\n").bits, MISSING);
        assert_eq!(scan_all_ways(b"\r\nFrom: x\r\n").bits, MISSING);
        assert_eq!(scan_all_ways(b"").bits, MISSING);
        assert_eq!(scan_all_ways(b"From:\r\n").bits, MISSING & !Traits::NO_FROM);
        assert_eq!(scan_all_ways(b"Dates: x\r\nDat: y\r\nResent-From: z\r\n").bits, MISSING);
    }

    #[test]
    fn no_header_is_told_from_an_empty_one() {
        for message in [
            &b"hello\r\n"[..],
            b"hello",
            b"From root Mon Jan  1 10:00:00\r\nFrom: x\r\n",
            b" folded\r\n",
            b": no name\r\n",
            b"\rx",
            b"d\xc3\xa9ja: vu",
        ] {
            let bits = scan_all_ways(message).bits & !Traits::EIGHT_BIT_BODY;
            assert_eq!(bits, MISSING | Traits::NO_HEADER, "{message:?}");
        }
        let bits = scan_all_ways(b"To: x\r\nno field\r\nFrom: x\r\n\r\n").bits;
        assert_eq!(bits, MISSING & !Traits::NO_FROM);
    }

    #[test]
    fn blind_copies_are_seen() {
        for message in [&b"Bcc: x\r\n"[..], b"To: y\r\nRESENT-BCC:\r\n\r\n", b"bcc \t: x\r\n"] {
            assert!(scan_all_ways(message).has(Traits::HAS_BCC));
        }
        for message in [&b"Bccc: x\r\n"[..], b"To: y\r\n Bcc: x\r\n", b"\r\nBcc: x\r\n"] {
            assert!(!scan_all_ways(message).has(Traits::HAS_BCC));
        }
    }

    #[test]
    fn the_first_message_id_is_kept() {
        let long = format!("<{}@x>", "l".repeat(200));
        for (message, id) in [
            ("Message-ID: <a@b>\r\n\r\n", "<a@b>"),
            ("To: x\r\nMESSAGE-id\t:<a@b>  \r\nFrom: y\r\n z\r\n", "<a@b>"),
            ("Message-ID: <a@b>", "<a@b>"),
            ("Message-ID:\r\n <a@b>\r\n\t \r\nFrom: x\r\n", "<a@b>"),
            ("Message-ID: <a\r\n\t@b> (c)\r\nTo: x\r\n", "<a @b> (c)"),
            ("Message-ID: <a@b>\r\nno field\r\n c\r\nMessage-ID: <c@d>\r\n", "<a@b>"),
            ("Message-ID:\r\nMessage-ID: <c@d>\r\n", ""),
            ("Message-ID: \u{e9}\0\u{7f}\u{1b}<a@b>\r\n", "?????<a@b>"),
            (&format!("Message-ID: {long}\r\n"), &long[..96]),
            (&format!("Message-ID: {}<a@b>\r\n", " ".repeat(200)), "<a@b>"),
            ("Resent-Message-ID: <a@b>\r\nTo: x\r\n Message-ID: <c@d>\r\n", ""),
            ("To: x\r\n\r\nMessage-ID: <a@b>\r\n", ""),
            ("hello\r\nMessage-ID: <a@b>\r\n", ""),
            ("Message-ID", ""),
            ("", ""),
        ] {
            assert_eq!(scan_all_ways_for_id(message.as_bytes()).1, id, "{message:?}");
        }
    }

    #[test]
    fn a_message_id_holds_printable_ascii_only() {
        for byte in 0..=255u8 {
            for message in [
                [b"Message-ID: a", &[byte][..], b"b\r\n"].concat(),
                [b"Message-ID: a\r\n", &[byte][..], b"b\r\n"].concat(),
                [b"Message-ID: a", &[byte; 100][..], b"\r\n b\r\n"].concat(),
            ] {
                let (_, id) = scan_all_ways_for_id(&message);
                assert!(id.starts_with('a') && id.len() <= MESSAGE_ID_BYTES_MAX);
                assert!(id.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{id:?}");
            }
        }
    }

    #[test]
    fn bytes_beyond_ascii_and_nul() {
        for at in 0..40 {
            let mut body = [b'x'; 40];
            body[at] = 0x80;
            let message = [b"From: x\r\n\r\n", &body[..]].concat();
            assert_eq!(scan_all_ways(&message).bits & 3, Traits::EIGHT_BIT_BODY);
            let message = [b"From: ", &body[..], b"\r\n\r\n"].concat();
            assert_eq!(scan_all_ways(&message).bits & 3, Traits::EIGHT_BIT_HEADER);
            body[at] = 0;
            let message = [b"\r\n", &body[..]].concat();
            assert!(scan_all_ways(&message).has(Traits::NUL));
        }
        let bits = scan_all_ways(b"d\xc3\xa9ja vu\r\n").bits;
        assert_eq!(bits & 3, Traits::EIGHT_BIT_BODY, "no header, so all is body");
    }

    #[test]
    fn lines_are_long_from_999_bytes_on() {
        for (length, long) in [(997, false), (998, false), (999, true), (1000, true), (5000, true)]
        {
            let line = "x".repeat(length);
            for message in [
                format!("\r\n{line}\r\n"),
                format!("\r\na\r\nb\r\n{line}\r\nc\r\n"),
                format!("\r\n{line}"),
                format!("A: {}\r\n", &line[3..]),
            ] {
                assert_eq!(scan_all_ways(message.as_bytes()).has(Traits::LONG_LINE), long);
            }
        }
    }

    #[test]
    fn counts_saturate() {
        let message = b"Received: x\r\n".repeat(300);
        assert_eq!(scan(&message).received, 255);
    }

    /// The slow and obvious scan.
    fn by_lines(message: &[u8]) -> Traits {
        let mut traits = Traits { bits: MISSING, received: 0 };
        let mut body = false;
        for (number, line) in message.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let text = line.strip_suffix(b"\r\n").unwrap_or(line);
            if number == 0 && !body && text != b"" {
                let colon = text.iter().position(|byte| *byte == b':').unwrap_or(0);
                let name = text[..colon].trim_ascii_end();
                let fit = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
                if !fit || colon == 0 {
                    traits.bits |= Traits::NO_HEADER;
                    body = true;
                }
            }
            if text.len() > 998 {
                traits.bits |= Traits::LONG_LINE;
            }
            if text.contains(&0) {
                traits.bits |= Traits::NUL;
            }
            let eight = if body { Traits::EIGHT_BIT_BODY } else { Traits::EIGHT_BIT_HEADER };
            if !text.is_ascii() {
                traits.bits |= eight;
            }
            if !body && core::str::from_utf8(text).is_err() {
                traits.bits |= Traits::BAD_UTF8_HEADER;
            }
            if text.is_empty() {
                body = true;
            }
            if !body && text.starts_with(b"Bcc:") {
                traits.bits |= Traits::HAS_BCC;
            }
            if !body && text.starts_with(b"From:") {
                traits.bits &= !Traits::NO_FROM;
            }
            if !body && text.starts_with(b"Message-ID:") {
                traits.bits &= !Traits::NO_MESSAGE_ID;
            }
            if !body && text.starts_with(b"Received:") {
                traits.received = traits.received.saturating_add(1);
            }
        }
        traits
    }

    #[test]
    fn random_messages_read_as_by_the_obvious_scan() {
        let long = "y".repeat(990);
        let pieces: [&[u8]; 13] = [
            b"Message-ID: <a@b>",
            b"From: x",
            b"Bcc: y",
            b"Received: z",
            b"\r\n",
            b"\r\n",
            b"\r\n",
            b" folded",
            b"text",
            b"X-Y: z",
            b"\xe9",
            b"\0",
            long.as_bytes(),
        ];
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        for _ in 0..20_000 {
            let mut message = Vec::new();
            for _ in 0..next() % 14 {
                message.extend_from_slice(pieces[next() % pieces.len()]);
            }
            message.extend_from_slice(b"\r\n");
            let mut once = Scan::new();
            once.feed(&message);
            let whole = once.traits();
            assert_eq!(whole, by_lines(&message), "{:?}", String::from_utf8_lossy(&message));
            let mut cut = Scan::new();
            let mut rest = &message[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(1 + next() % rest.len());
                cut.feed(piece);
                rest = behind;
            }
            assert_eq!((cut.traits(), cut.message_id()), (whole, once.message_id()));
        }
    }
}

//! One place after another of an address list (RFC 5322 §3.4), byte by byte.
//!
//! [`ListReader`] is the one reader of such lists: `mail::fields` takes recipients from a header by
//! it, and `mail::edit` learns from it which bytes of a field are an address, to put another there.
//! It is given one byte after the other, so the cuts of a stream are nothing to it, and it tells
//! which byte ends a place. What belongs to an address is put together in 256 fixed bytes, without
//! the comments, white space and display name around it, and then goes through the one parser,
//! [`Address::parse`].
//!
//! Groups are their members. The obsolete forms of RFC 5322 §4.4 are understood: space and comments
//! around dots and the `@`, routes, empty places, and a `;` for a `,`. Not understood: a local part
//! made of several quoted strings. What is not understood is told as an error, for its place only.
//!
//! Read first: RFC 5322 §2.2.3, §3.2.2, §3.4 and §4.4.

use crate::limits::ADDRESS_BYTES_MAX;
use crate::mail::address::{Address, AddressError, Charset, parse_routed};
use core::ops::Range;

/// An address, perhaps with a route before it.
const TEXT_BYTES_MAX: usize = ADDRESS_BYTES_MAX + 2;

/// What a byte was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// One of the place under way.
    Inside,
    /// The separator behind it, which belongs to no place.
    Ends,
}

/// Where in a place of the list the reader is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// In an address that stands alone, or in a display name.
    Bare,
    /// Within `<>`.
    Angle,
    /// Behind it.
    Behind,
}

/// What the next byte is within.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Within {
    Nothing,
    /// A quoted string or a domain literal, up to that byte.
    Enclosed {
        close: u8,
        after_backslash: bool,
        after_return: bool,
    },
    Comment {
        depth: u32,
        after_backslash: bool,
    },
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct ListReader {
    charset: Charset,
    text: [u8; TEXT_BYTES_MAX],
    length: usize,
    place: Place,
    within: Within,
    /// Space or a comment came behind the last byte of the text.
    gap: bool,
    /// An `@` outside of quotes was among the text.
    at_sign: bool,
    /// The place began with the name of a group.
    group: bool,
    error: Option<AddressError>,
    /// Bytes of this place so far.
    at: usize,
    /// Where the text is among them.
    range: Range<usize>,
    /// Where the display name is.
    name: Range<usize>,
    /// Where the last comment is, without its parentheses.
    comment: Range<usize>,
}

impl ListReader {
    /// At the start of a list.
    pub const fn new(charset: Charset) -> ListReader {
        ListReader {
            charset,
            text: [0; TEXT_BYTES_MAX],
            length: 0,
            place: Place::Bare,
            within: Within::Nothing,
            gap: false,
            at_sign: false,
            group: false,
            error: None,
            at: 0,
            range: 0..0,
            name: 0..0,
            comment: 0..0,
        }
    }

    /// At the start of the next place, `at` bytes of which have passed.
    pub fn restart(&mut self, at: usize) {
        // The text need not be wiped: its length says what there is.
        self.length = 0;
        self.place = Place::Bare;
        self.within = Within::Nothing;
        (self.gap, self.at_sign, self.group) = (false, false, false);
        self.error = None;
        self.at = at;
        (self.range, self.name, self.comment) = (at..at, at..at, at..at);
    }

    /// Takes the next byte.
    pub fn push(&mut self, byte: u8) -> Step {
        match self.within {
            Within::Nothing => match (byte, self.place) {
                (b' ' | b'\t' | b'\r' | b'\n', _) => self.gap = true,
                (b'(', _) => {
                    self.gap = true;
                    self.comment = self.at + 1..self.at + 1;
                    self.within = Within::Comment { depth: 1, after_backslash: false };
                }
                (b'"' | b'[', _) => {
                    self.join(byte);
                    let close = if byte == b'[' { b']' } else { byte };
                    self.within =
                        Within::Enclosed { close, after_backslash: false, after_return: false };
                }
                (b'<', Place::Bare) => self.open(),
                (b'>', Place::Angle) => self.place = Place::Behind,
                (b',' | b';', Place::Bare | Place::Behind) => return Step::Ends,
                (b':', Place::Bare) => self.begin_group(),
                _ => self.join(byte),
            },
            Within::Enclosed { close, after_backslash, after_return } => {
                self.take_enclosed(byte, close, after_backslash, after_return);
            }
            // RFC 5322 §3.2.2: comments nest.
            Within::Comment { depth, after_backslash } => {
                self.comment.end = self.at;
                let depth = match byte {
                    _ if after_backslash => depth,
                    b'(' => depth.saturating_add(1),
                    b')' => depth - 1,
                    _ => depth,
                };
                let after_backslash = byte == b'\\' && !after_backslash;
                self.within = match depth {
                    0 => Within::Nothing,
                    _ => Within::Comment { depth, after_backslash },
                };
            }
        }
        self.at += 1;
        Step::Inside
    }

    /// What the place holds, when the byte behind it or the end of the list has come; none if it is
    /// empty, which is obsolete but must be understood (RFC 5322 §4.4).
    pub fn address(&self) -> Option<Result<Address<'_>, AddressError>> {
        if self.within != Within::Nothing {
            return Some(Err(AddressError::List));
        }
        let text = self.text.get(..self.length).unwrap_or_default();
        match (self.error, self.place) {
            (Some(error), _) => Some(Err(error)),
            (None, Place::Angle) => Some(Err(AddressError::List)),
            (None, Place::Behind) => Some(parse_routed(text, self.charset)),
            (None, Place::Bare) if text.is_empty() => None,
            (None, Place::Bare) => Some(Address::parse_in(text, self.charset)),
        }
    }

    /// Which of the place's bytes are the address, with a route before it and with space and
    /// comments between its parts.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Which of them say who that is: the display name, or the comment of an address that stands
    /// alone. They may be none, or nothing but space.
    pub fn name(&self) -> (Range<usize>, Name) {
        match self.place {
            Place::Bare => (self.comment.clone(), Name::Comment),
            _ => (self.name.clone(), Name::Phrase),
        }
    }

    /// True if the place began with the name of a group.
    pub fn begins_group(&self) -> bool {
        self.group
    }

    /// Appends a byte that stands outside of quotes.
    fn join(&mut self, byte: u8) {
        let joins = |byte: u8| matches!(byte, b'.' | b'@' | b',' | b':');
        let last = self.length.checked_sub(1).and_then(|at| self.text.get(at)).copied();
        // Two words with nothing but space between them are no address.
        if self.gap && last.is_some_and(|last| !joins(last)) && !joins(byte) {
            self.fail(AddressError::List);
        }
        self.gap = false;
        self.at_sign |= byte == b'@';
        self.append(byte);
    }

    fn append(&mut self, byte: u8) {
        if self.place == Place::Behind {
            self.fail(AddressError::List);
        }
        if self.length == 0 {
            self.range.start = self.at;
        }
        match self.text.get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length += 1;
                self.range.end = self.at + 1;
            }
            None => self.fail(AddressError::TooLong),
        }
    }

    /// The first thing that is wrong is the one to tell.
    fn fail(&mut self, error: AddressError) {
        self.error = self.error.or(Some(error));
    }

    /// What came so far was the display name ahead of `<`, and may have been any words.
    fn open(&mut self) {
        let (at, start, group) = (self.at, self.name.start, self.group);
        self.restart(at);
        self.name = start..at;
        self.group = group;
        self.place = Place::Angle;
    }

    /// What came so far was the name of a group.
    fn begin_group(&mut self) {
        if self.at_sign {
            self.fail(AddressError::List);
            return;
        }
        let at = self.at;
        self.restart(at);
        self.name = at + 1..at + 1;
        self.group = true;
    }

    /// Appends a byte of a quoted string or a domain literal, as it is but for its folds.
    fn take_enclosed(&mut self, byte: u8, close: u8, after_backslash: bool, after_return: bool) {
        let mut next = Within::Enclosed { close, after_backslash: false, after_return: false };
        // RFC 5322 §2.2.3: unfolding takes the line end away, and nothing else.
        if after_return && byte != b'\n' {
            self.append(b'\r');
        }
        match byte {
            _ if after_backslash => self.append(byte),
            b'\n' => {}
            b'\r' => {
                next = Within::Enclosed { close, after_backslash: false, after_return: true };
            }
            b'\\' => {
                self.append(byte);
                next = Within::Enclosed { close, after_backslash: true, after_return: false };
            }
            _ => {
                self.append(byte);
                if byte == close {
                    next = Within::Nothing;
                }
            }
        }
        self.within = next;
    }
}

/// How the words were written that say who somebody is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// Before the `<`, RFC 5322 §3.4.
    Phrase,
    /// In parentheses.
    Comment,
}

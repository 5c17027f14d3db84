//! The header of a queued message on its way to the next hop.
//!
//! [`Edit`] is a stream from the message as stored, which is as it was received, to the message as
//! sent: on top of it, ahead of its first byte, it puts the additions (mote's own Received field,
//! then what the sender left out of Date, Message-ID and From). It leaves out Bcc and Resent-Bcc
//! fields with their folded lines, and puts other addresses into From, Sender, Reply-To, To and Cc,
//! and into their like that begin with Resent-, by the [`Rules`] of the caller's. All other bytes
//! pass as they are, in their order, and so do the names, comments and folds around an address that
//! changes. It goes on at any byte, whichever side ran short, and what comes out does not depend on
//! the cuts.
//!
//! A list is edited place by place, so it may be of any length. A place that is longer than
//! [`HELD_BYTES_MAX`], or that cannot be read, passes as it is. Where the next hop takes only one
//! sender, From and Sender must have him whatever they are: they are held as a whole, untouched if
//! they are his alone, and else replaced; the old field stays behind the new one as X-Original-From
//! or -Sender, byte for byte, also when it was too long to be read. A second From or Sender, of
//! which there must be none, stays only so.
//!
//! A signature (DKIM) that covers a field which was changed does not hold any more; receivers treat
//! it as none (RFC 6376 §6.1). Mail whose From is legal already, and whose addresses are whole,
//! passes untouched, and its signature with it.
//!
//! The additions are the caller's, made anew at each attempt (see `mail::stamp`): the Received
//! field names the message's number in the queue, which is not known while it is received.
//!
//! Which fields are missing, whether there is a Bcc, and whether there is a header at all was
//! measured when the message came in (`mail::header`).
//!
//! Fixed memory. Nothing fails.
//!
//! Read first: RFC 5321 §4.4; RFC 5322 §2.2, §3.4, §3.6.2, §3.6.3, §3.6.6 and §4.5.

use super::address::{Address, Charset};
use super::ends::{Bytes, Ends, Line};
use super::list::{ListReader, Step};
use super::rewrite::{self, Change, Role, Rules, is_only, places, words_of, write_claimed};
use core::fmt::Write as _;
use memchr::memchr;

/// What is held back of a field or of a place in it, to be read as a whole.
pub const HELD_BYTES_MAX: usize = 1024;
/// What can be put in at one place: From and Reply-To, with a name of encoded words.
const MADE_BYTES_MAX: usize = 2048;
/// A line that has grown to this is folded; RFC 5322 §2.1.1 allows 998.
const COLUMN_MAX: usize = 900;

/// What is to be done to a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Bcc goes.
    pub remove_bcc: bool,
    /// It has no header (`Traits::NO_HEADER`), so an empty line must come between the additions
    /// and its body.
    pub separate: bool,
    /// Addresses change.
    pub rewrite: bool,
    /// The next hop takes one sender only ([`Rules::claim`]).
    pub claim: bool,
    /// It has a Reply-To, and gets no other.
    pub has_reply_to: bool,
}

impl Plan {
    /// True if every byte is to pass as it is, behind the additions.
    pub fn is_plain(&self) -> bool {
        self.separate || !(self.remove_bcc || self.rewrite || self.claim)
    }
}

/// One message on its way.
#[derive(Clone, Debug)]
pub struct Edit {
    plan: Plan,
    state: State,
    /// Has been taken, and was not given yet.
    held: Bytes<HELD_BYTES_MAX>,
    /// Comes before it.
    made: Bytes<MADE_BYTES_MAX>,
    reader: ListReader,
    /// Bytes of the line under way, in a list.
    column: usize,
    has_from: bool,
    has_sender: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes of the additions, and of the empty line behind them, have been given.
    Additions { given: usize },
    /// At the start of a line of the header, as much of it held as may be a name.
    LineStart,
    /// Behind a name, and before its colon.
    Named(Field),
    /// So many bytes of what was made and of what is held have been given.
    Give { made: usize, held: usize, then: Then },
    /// In an address list, its place under way held.
    List(List),
    /// In a place of it that is too long.
    Pass(List),
    /// In a field that is held as a whole; its value begins there.
    Whole { field: Field, value: usize, line_ended: bool },
    /// In a line that stays.
    Keep,
    /// In a line of a field that goes.
    Drop,
    /// At the start of the line behind one.
    DropLineStart,
    /// Everything else is copied.
    Body,
}

/// What comes when all has been given.
#[derive(Clone, Copy, Debug)]
enum Then {
    LineStart,
    List(List),
    Pass(List),
    Keep,
    Body,
}

#[derive(Clone, Copy, Debug)]
struct List {
    role: Role,
    /// The mailbox of several was named.
    has_one: bool,
    /// The last byte ended a line: the next one tells whether the field goes on.
    line_ended: bool,
    /// The next byte is the separator with which a place begins.
    at_separator: bool,
    /// This place began with a comma.
    is_comma: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    /// Nobody else may see it.
    Blind,
    From,
    Sender,
    /// These may be there more than once.
    ResentFrom,
    ResentSender,
    ReplyTo,
    Recipients,
}

const FIELDS: [(&str, Field); 13] = [
    ("Bcc", Field::Blind),
    ("Resent-Bcc", Field::Blind),
    ("From", Field::From),
    ("Sender", Field::Sender),
    ("Resent-From", Field::ResentFrom),
    ("Resent-Sender", Field::ResentSender),
    ("Reply-To", Field::ReplyTo),
    ("Resent-Reply-To", Field::ReplyTo),
    ("To", Field::Recipients),
    ("Cc", Field::Recipients),
    ("Resent-To", Field::Recipients),
    ("Resent-Cc", Field::Recipients),
    ("Apparently-To", Field::Recipients),
];

impl Field {
    fn name(self) -> &'static str {
        FIELDS.iter().find(|(_, field)| *field == self).map_or("", |(name, _)| name)
    }

    fn is_origin(self) -> bool {
        matches!(self, Field::From | Field::Sender | Field::ResentFrom | Field::ResentSender)
    }
}

impl From<Then> for State {
    fn from(then: Then) -> State {
        match then {
            Then::LineStart => State::LineStart,
            Then::List(list) => State::List(list),
            Then::Pass(list) => State::Pass(list),
            Then::Keep => State::Keep,
            Then::Body => State::Body,
        }
    }
}

/// What of the caller's a step needs.
#[derive(Clone, Copy)]
pub struct With<'a> {
    /// Complete fields with their CRLF, at most 2 KiB and the same on every call.
    pub additions: &'a str,
    /// Who is who.
    pub rules: &'a dyn Rules,
}

impl Edit {
    /// At the start of a stored message.
    pub fn new(plan: Plan) -> Edit {
        Edit {
            plan,
            state: State::Additions { given: 0 },
            held: Bytes::new(),
            made: Bytes::new(),
            reader: ListReader::new(Charset::Utf8),
            column: 0,
            has_from: false,
            has_sender: false,
        }
    }

    /// Edits `input` into `output`, which has at least 64 bytes; tells how many bytes were taken
    /// from the one and put into the other. The additions come first, so without any input too.
    pub fn push(&mut self, input: &[u8], with: With<'_>, output: &mut [u8]) -> (usize, usize) {
        let mut ends = Ends { input, output, produced: 0 };
        while self.step(&mut ends, with) {}
        (input.len() - ends.input.len(), ends.produced)
    }

    /// Puts what is still owed into `output` when the message has ended; tells how many bytes that
    /// was. To be called until it is 0.
    pub fn finish(&mut self, with: With<'_>, output: &mut [u8]) -> usize {
        let mut ends = Ends { input: &[], output, produced: 0 };
        loop {
            match self.state {
                State::LineStart | State::Named(_) => self.give(Then::Body),
                State::List(list) => self.end_place(list, Then::Body, with.rules),
                State::Whole { field, value, .. } => {
                    self.end_whole(field, Some(value), Then::Body, with.rules);
                }
                _ => {}
            }
            if !self.step(&mut ends, with) {
                return ends.produced;
            }
        }
    }

    /// True from where on every byte is copied as it is.
    pub fn is_body(&self) -> bool {
        matches!(self.state, State::Body)
    }

    /// True if it will change nothing behind the additions.
    pub fn is_plain(&self) -> bool {
        self.plan.is_plain()
    }

    /// Bytes that come before the message's own, with these additions.
    pub fn bytes_ahead(&self, additions: &str) -> u64 {
        additions.len() as u64 + if self.plan.separate { 2 } else { 0 }
    }

    /// Goes on by a little; false if there is nothing to go on with, or no room.
    fn step(&mut self, ends: &mut Ends<'_, '_>, with: With<'_>) -> bool {
        match self.state {
            State::Additions { given } => self.step_additions(given, with.additions, ends),
            State::LineStart => self.step_line_start(ends),
            State::Named(field) => self.step_named(field, ends),
            State::Give { made, held, then } => self.step_give(made, held, then, ends),
            State::List(list) => self.step_list(list, ends, with.rules),
            State::Pass(list) => self.step_pass(list, ends),
            State::Whole { field, value, line_ended } => {
                self.step_whole(field, value, line_ended, ends, with.rules)
            }
            State::Keep => {
                let line = ends.copy_line();
                if matches!(line, Line::Ended) {
                    self.state = State::LineStart;
                }
                !matches!(line, Line::Stuck)
            }
            State::Drop => {
                let end = memchr(b'\n', ends.input);
                ends.skip(end.map_or(ends.input.len(), |at| at + 1));
                if end.is_some() {
                    self.state = State::DropLineStart;
                }
                end.is_some()
            }
            State::DropLineStart => {
                let Some(first) = ends.input.first() else { return false };
                // RFC 5322 §2.2.3: a folded line belongs to the field above it.
                self.state = if is_blank(*first) { State::Drop } else { State::LineStart };
                true
            }
            State::Body => ends.copy(ends.input.len()) > 0,
        }
    }

    fn step_additions(&mut self, given: usize, additions: &str, ends: &mut Ends<'_, '_>) -> bool {
        let additions = additions.as_bytes();
        let separator: &[u8] = if self.plan.separate { b"\r\n" } else { b"" };
        let rest = match additions.get(given..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => separator.get(given.saturating_sub(additions.len())..).unwrap_or_default(),
        };
        if rest.is_empty() {
            self.state = if self.plan.is_plain() { State::Body } else { State::LineStart };
            return true;
        }
        let now = ends.give(rest);
        self.state = State::Additions { given: given + now };
        now > 0
    }

    /// Gives what was made and what is held, and goes on there.
    fn give(&mut self, then: Then) {
        self.state = State::Give { made: 0, held: 0, then };
    }

    fn step_give(&mut self, made: usize, held: usize, then: Then, ends: &mut Ends<'_, '_>) -> bool {
        let now = ends.give(self.made.as_slice().get(made..).unwrap_or_default());
        let made = made + now;
        let mut moved = now > 0;
        let mut held = held;
        if made == self.made.length {
            let now = ends.give(self.held.as_slice().get(held..).unwrap_or_default());
            held += now;
            moved |= now > 0;
            if held == self.held.length {
                (self.made.length, self.held.length) = (0, 0);
                self.state = then.into();
                return true;
            }
        }
        self.state = State::Give { made, held, then };
        moved
    }

    /// True if fields of that kind are not just kept.
    fn concerns(&self, field: Field) -> bool {
        match field {
            Field::Blind => self.plan.remove_bcc,
            field if field.is_origin() => self.plan.claim || self.plan.rewrite,
            _ => self.plan.rewrite,
        }
    }

    /// The names of the fields that matter.
    fn names(&self) -> impl Iterator<Item = (&'static [u8], Field)> {
        let concerning = FIELDS.iter().filter(|(_, field)| self.concerns(*field));
        concerning.map(|(name, field)| (name.as_bytes(), *field))
    }

    fn step_line_start(&mut self, ends: &mut Ends<'_, '_>) -> bool {
        let Some(byte) = ends.input.first().copied() else { return false };
        let held = self.held.as_slice();
        let is_first = held.is_empty();
        if byte == b'\n' && (is_first || held == b"\r") {
            self.held.push(byte);
            ends.skip(1);
            self.give(Then::Body);
            return true;
        }
        let is_behind = byte == b':' || is_blank(byte);
        let named = self.names().find(|(name, _)| name.eq_ignore_ascii_case(held));
        if let Some((_, field)) = named.filter(|_| is_behind) {
            // Space ahead of the colon is obsolete, but must be understood (RFC 5322 §4.5).
            // Whatever else may follow it: rather a line too few than a secret told.
            self.state = match field {
                Field::Blind => State::Drop,
                field => State::Named(field),
            };
            if field == Field::Blind {
                self.held.length = 0;
            }
            return true;
        }
        let goes_on = |(name, _): (&[u8], Field)| {
            let is_next = name.get(held.len()).is_some_and(|next| next.eq_ignore_ascii_case(&byte));
            is_next && name.get(..held.len()).is_some_and(|name| name.eq_ignore_ascii_case(held))
        };
        if (byte == b'\r' && is_first) || self.names().any(goes_on) {
            self.held.push(byte);
            ends.skip(1);
        } else {
            self.give(Then::Keep);
        }
        true
    }

    fn step_named(&mut self, field: Field, ends: &mut Ends<'_, '_>) -> bool {
        let Some(byte) = ends.input.first().copied() else { return false };
        if !(byte == b':' || is_blank(byte)) || self.held.space() == 0 {
            // A name and blanks are no field.
            self.give(Then::Keep);
            return true;
        }
        self.held.push(byte);
        ends.skip(1);
        if byte != b':' {
            return true;
        }
        if field.is_origin() && self.plan.claim {
            self.state = State::Whole { field, value: self.held.length, line_ended: false };
            return true;
        }
        let role = match field {
            Field::Recipients => Role::Recipient,
            _ => Role::Sender,
        };
        self.column = self.held.length;
        self.reader.restart(0);
        self.give(Then::List(List {
            role,
            has_one: false,
            line_ended: false,
            at_separator: false,
            is_comma: false,
        }));
        true
    }

    fn step_list(&mut self, list: List, ends: &mut Ends<'_, '_>, rules: &dyn Rules) -> bool {
        let mut list = list;
        let Some(byte) = ends.input.first().copied() else { return false };
        if list.line_ended && !is_blank(byte) {
            self.end_place(list, Then::LineStart, rules);
            return true;
        }
        if self.held.space() == 0 {
            self.column += self.held.length;
            self.give(Then::Pass(list));
            return true;
        }
        if core::mem::take(&mut list.at_separator) {
            list.is_comma = byte == b',';
            self.reader.restart(1);
        } else if self.reader.push(byte) == Step::Ends {
            list.at_separator = true;
            self.end_place(list, Then::List(list), rules);
            return true;
        }
        list.line_ended = byte == b'\n';
        self.held.push(byte);
        ends.skip(1);
        self.state = State::List(list);
        true
    }

    fn step_pass(&mut self, list: List, ends: &mut Ends<'_, '_>) -> bool {
        let mut list = list;
        let Some(byte) = ends.input.first().copied() else { return false };
        if list.line_ended && !is_blank(byte) {
            self.state = State::LineStart;
            return true;
        }
        if ends.is_full() {
            return false;
        }
        if self.reader.push(byte) == Step::Ends {
            list.at_separator = true;
            self.state = State::List(list);
            return true;
        }
        list.line_ended = byte == b'\n';
        self.column = if list.line_ended { 0 } else { self.column + 1 };
        ends.copy(1);
        self.state = State::Pass(list);
        true
    }

    /// The place that is held has ended: edits it.
    fn end_place(&mut self, list: List, then: Then, rules: &dyn Rules) {
        let mut has_one = list.has_one;
        let address = self.reader.address().and_then(Result::ok);
        let change = address.map_or(Change::Stays, |address| rules.change(list.role, address));
        let is_same = |mailbox: &rewrite::Mailbox| {
            address.is_some_and(|address| address.as_str() == mailbox.as_str())
        };
        match change {
            Change::Stays => {}
            Change::Merges(_) if has_one && list.is_comma && !self.reader.begins_group() => {
                // Nothing of it stays but the end of the field.
                let end = match self.held.as_slice() {
                    _ if matches!(then, Then::List(_)) => 0,
                    [.., b'\r', b'\n'] => 2,
                    [.., b'\n'] => 1,
                    _ => 0,
                };
                self.held.drop_front(self.held.length - end);
            }
            Change::Becomes(mailbox) | Change::Merges(mailbox) => {
                has_one |= matches!(change, Change::Merges(_));
                if !is_same(&mailbox) {
                    self.splice(mailbox.as_str());
                }
            }
        }
        for byte in self.made.as_slice().iter().chain(self.held.as_slice()) {
            self.column = if *byte == b'\n' { 0 } else { self.column + 1 };
        }
        self.give(match then {
            Then::List(list) => Then::List(List { has_one, ..list }),
            then => then,
        });
    }

    /// Puts `mailbox` where the address of the held place stands.
    fn splice(&mut self, mailbox: &str) {
        let range = self.reader.range();
        let Some((before, _)) = self.held.as_slice().split_at_checked(range.start) else { return };
        let length = self.held.length + mailbox.len();
        let before = match before.split_first() {
            // RFC 5322 §2.2.3: behind a separator there may be a fold, if there is none already.
            Some((separator @ (b',' | b';'), rest))
                if self.column + length > COLUMN_MAX && !rest.contains(&b'\n') =>
            {
                self.made.push(*separator);
                self.made.extend(b"\r\n");
                if !rest.first().is_some_and(|byte| is_blank(*byte)) {
                    self.made.push(b' ');
                }
                rest
            }
            _ => before,
        };
        self.made.extend(before);
        self.made.extend(mailbox.as_bytes());
        self.held.drop_front(range.end);
    }

    fn step_whole(
        &mut self,
        field: Field,
        value: usize,
        line_ended: bool,
        ends: &mut Ends<'_, '_>,
        rules: &dyn Rules,
    ) -> bool {
        let Some(byte) = ends.input.first().copied() else { return false };
        if line_ended && !is_blank(byte) {
            self.end_whole(field, Some(value), Then::LineStart, rules);
        } else if self.held.space() == 0 {
            let then = if line_ended { Then::LineStart } else { Then::Keep };
            self.end_whole(field, None, then, rules);
        } else {
            self.held.push(byte);
            ends.skip(1);
            self.state = State::Whole { field, value, line_ended: byte == b'\n' };
        }
        true
    }

    /// The field that is held has ended, or is too long (`value` is where its value begins, if it
    /// is whole): it stays if it is legal, else another is made.
    fn end_whole(&mut self, field: Field, value: Option<usize>, then: Then, rules: &dyn Rules) {
        let again = match field {
            Field::From => core::mem::replace(&mut self.has_from, true),
            Field::Sender => core::mem::replace(&mut self.has_sender, true),
            _ => false,
        };
        let value = value.and_then(|value| self.held.as_slice().get(value..));
        if let Some(claim) = rules.claim()
            && (again || !value.is_some_and(|value| is_only(value, claim)))
        {
            if !again {
                let made = &mut self.made;
                // There is room for one field and one address, whatever they hold.
                let _ = write_claimed(made, field.name(), &words_of(value, rules), claim);
                if field == Field::From && !self.plan.has_reply_to {
                    write_reply_to(made, value.unwrap_or_default(), rules);
                }
            }
            self.made.extend(b"X-Original-");
        }
        self.give(then);
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Writes a Reply-To with those of `value` whom an answer reaches, as many as there is room for.
fn write_reply_to(made: &mut Bytes<MADE_BYTES_MAX>, value: &[u8], rules: &dyn Rules) {
    let mut is_begun = false;
    places(value, |reader, _| {
        let Some(Ok(address)) = reader.address() else { return };
        let mailbox = match rules.change(Role::Sender, address) {
            Change::Becomes(mailbox) | Change::Merges(mailbox) => mailbox,
            Change::Stays => rewrite::Mailbox::from(address.as_str()),
        };
        let Ok(address) = Address::parse_utf8(mailbox.as_str().as_bytes()) else { return };
        // Room for what stands around it, and for the words that follow all of them.
        if !rules.origin(Some(address)).1 || made.space() < address.as_str().len() + 32 {
            return;
        }
        let before = if core::mem::replace(&mut is_begun, true) { ",\r\n " } else { "Reply-To: " };
        let _ = write!(made, "{before}{}", address.as_str());
    });
    if is_begun {
        made.extend(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::super::rewrite::Mailbox;
    use super::*;

    const ADDITIONS: &str = "Received: by a-host-with-a-name.example\r\n\tid 1;\r\n\tnow\r\n\
                             Date: now\r\nMessage-ID: <1.2@a-host-with-a-longish-name.example>\r\n";

    const WITH: With<'_> = With { additions: ADDITIONS, rules: &House };
    const BARE: With<'_> = With { additions: "", rules: &House };

    /// router1, which sends as pi@isp.test, and where root is me@home.test.
    struct House;

    impl Rules for House {
        fn change(&self, role: Role, address: Address<'_>) -> Change {
            let text = address.as_str();
            match (role, address.local(), address.domain()) {
                (Role::Recipient, "root", None | Some("router1")) => {
                    Change::Merges(Mailbox::from("me@home.test"))
                }
                (_, "me", Some("home.test")) => Change::Merges(Mailbox::from(text)),
                (_, local, Some("old.test")) => {
                    Change::Becomes(Mailbox::from(format!("{local}@new.test").as_str()))
                }
                (_, local, None) => {
                    Change::Becomes(Mailbox::from(format!("{local}@router1").as_str()))
                }
                _ => Change::Stays,
            }
        }

        fn claim(&self) -> Option<Address<'_>> {
            Address::parse(b"pi@isp.test").ok()
        }

        fn origin<'a>(&'a self, address: Option<Address<'a>>) -> (&'a str, bool) {
            match address.and_then(|address| address.domain()) {
                None | Some("router1") => ("router1", false),
                Some(domain) => (domain, true),
            }
        }
    }

    /// Edits `pieces` through outputs of `room` bytes.
    fn edit(remove_bcc: bool, separate: bool, pieces: &[&[u8]], room: usize) -> Vec<u8> {
        edit_below(ADDITIONS, remove_bcc, separate, pieces, room)
    }

    fn edit_below(
        additions: &str,
        remove_bcc: bool,
        separate: bool,
        pieces: &[&[u8]],
        room: usize,
    ) -> Vec<u8> {
        let plan = Plan { remove_bcc, separate, ..Plan::default() };
        edit_by(plan, additions, pieces, room)
    }

    fn edit_by(plan: Plan, additions: &str, pieces: &[&[u8]], room: usize) -> Vec<u8> {
        let mut edit = Edit::new(plan);
        let additions = With { additions, rules: &House };
        let mut output = vec![0; room];
        let mut whole = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (consumed, produced) = edit.push(rest, additions, &mut output);
                assert!(consumed + produced > 0, "no progress");
                whole.extend_from_slice(&output[..produced]);
                rest = &rest[consumed..];
            }
        }
        loop {
            let produced = edit.finish(additions, &mut output);
            if produced == 0 {
                return whole;
            }
            whole.extend_from_slice(&output[..produced]);
        }
    }

    /// Checks every cut in two, by the byte, and with small outputs.
    fn check(remove_bcc: bool, separate: bool, message: &str, expected: &str) {
        let stored = message.as_bytes();
        let expected = format!("{ADDITIONS}{expected}");
        let same = |pieces: &[&[u8]], room| {
            let edited = edit(remove_bcc, separate, pieces, room);
            assert_eq!(String::from_utf8_lossy(&edited), expected);
        };
        for room in [64, 65, 100, 4096] {
            same(&[stored], room);
            same(&stored.chunks(1).collect::<Vec<_>>(), room);
            for at in 0..=stored.len() {
                same(&[&stored[..at], &stored[at..]], room);
            }
        }
        // Less than is promised, but the state must not suffer from it.
        same(&[stored], 1);
    }

    #[test]
    fn additions_come_on_top() {
        for message in [
            "To: x\r\n\r\nbody\r\n",
            "Received: by another\r\n\ta\r\n\tb\r\nTo: x\r\n\r\n",
            "\r\nbody\r\n",
            "",
            "To: x\r\n",
            "To: x",
        ] {
            check(false, false, message, message);
            check(true, false, message, message);
        }
    }

    #[test]
    fn additions_come_without_input() {
        let mut output = [0; 4096];
        let mut edit = Edit::new(Plan { remove_bcc: true, ..Plan::default() });
        assert_eq!(edit.push(b"", WITH, &mut output), (0, ADDITIONS.len()));
        assert_eq!(edit.push(b"", WITH, &mut output), (0, 0));
        assert_eq!(edit.push(b"A: b\r\n", WITH, &mut output), (6, 6));
        assert_eq!(edit.finish(WITH, &mut output), 0);
    }

    #[test]
    fn additions_may_be_long() {
        let additions = format!("Received: {}\r\n", "x\r\n\t".repeat(381));
        assert_eq!(additions.len(), 1536);
        for room in [64, 100, 1535, 1536, 1537, 4096] {
            for (separate, between) in [(false, ""), (true, "\r\n")] {
                let message = b"To: x\r\nBcc: y\r\n\r\nbody\r\n";
                let edited = edit_below(&additions, false, separate, &[message], room);
                assert_eq!(edited, [additions.as_bytes(), between.as_bytes(), message].concat());
            }
        }
    }

    #[test]
    fn a_message_without_a_header_gets_an_empty_line() {
        for message in ["hello\r\n", " folded\r\n", "Bcc\r\n", "hello"] {
            check(false, true, message, &format!("\r\n{message}"));
            check(true, true, message, &format!("\r\n{message}"));
        }
    }

    #[test]
    fn blind_copies_are_removed() {
        let end = "\r\nBcc: body\r\n";
        for (message, expected) in [
            ("To: a\r\nBcc: b\r\nCc: c\r\n", "To: a\r\nCc: c\r\n"),
            ("BCC: b\r\n\tb\r\n b: b\r\nCc: c\r\n", "Cc: c\r\n"),
            ("Bcc: a\r\nbcc: b\r\nResent-Bcc: c\r\nresent-BCC:\r\n d\r\n", ""),
            ("Bcc : a\r\nBcc\t: b\r\nA: b\r\n", "A: b\r\n"),
            (
                "Bccc: a\r\nBc: b\r\nB:\r\nResent-Bc: c\r\n",
                "Bccc: a\r\nBc: b\r\nB:\r\nResent-Bc: c\r\n",
            ),
            ("Resent-To: a\r\nRe: b\r\nX-Bcc: c\r\n", "Resent-To: a\r\nRe: b\r\nX-Bcc: c\r\n"),
            ("To: a\r\n Bcc: b\r\n", "To: a\r\n Bcc: b\r\n"),
            ("Bcc\r\nno field\r\n", "Bcc\r\nno field\r\n"),
        ] {
            check(true, false, &format!("{message}{end}"), &format!("{expected}{end}"));
            check(false, false, &format!("{message}{end}"), &format!("{message}{end}"));
        }
    }

    #[test]
    fn a_message_may_end_anywhere() {
        for message in ["B", "bcc", "To: a\r\nResent-Bcc", "\r", "A\r"] {
            check(true, false, message, message);
        }
        for message in ["Bcc:", "Bcc: a", "Bcc: a\r\n", "Bcc: a\r\n b"] {
            check(true, false, message, "");
        }
    }

    #[test]
    fn the_body_is_told() {
        let mut output = [0; 4096];
        let mut edit = Edit::new(Plan { remove_bcc: true, ..Plan::default() });
        edit.push(b"To: x\r\n", WITH, &mut output);
        assert!(!edit.is_body());
        edit.push(b"\r\n", WITH, &mut output);
        assert!(edit.is_body());
        let mut edit = Edit::new(Plan::default());
        edit.push(b"T", WITH, &mut output);
        assert!(edit.is_body());
    }

    #[test]
    fn without_additions_and_removals_nothing_changes() {
        let message = b"Received: a\r\n b\r\nBcc: c\r\n\r\nbody\r\n.\r\n";
        let mut edit = Edit::new(Plan::default());
        let mut output = [0; 4096];
        let (consumed, produced) = edit.push(message, BARE, &mut output);
        assert_eq!(consumed, message.len());
        assert_eq!(&output[..produced], message);
        assert_eq!(edit.finish(BARE, &mut output), 0);
    }

    const REWRITE: Plan = Plan {
        remove_bcc: false,
        separate: false,
        rewrite: true,
        claim: false,
        has_reply_to: false,
    };
    const CLAIM: Plan = Plan { claim: true, ..REWRITE };

    /// Checks a header by every cut in two, by the byte and with small outputs.
    #[track_caller]
    fn check_header(plan: Plan, header: &str, expected: &str) {
        let header = format!("{header}\r\n\r\nTo: root\r\n");
        let expected = format!("{expected}\r\n\r\nTo: root\r\n");
        let stored = header.as_bytes();
        let same = |pieces: &[&[u8]], room| {
            let edited = edit_by(plan, "", pieces, room);
            assert_eq!(String::from_utf8_lossy(&edited), expected);
        };
        for room in [1, 64, 4096] {
            same(&[stored], room);
            same(&stored.chunks(1).collect::<Vec<_>>(), room);
            for at in 0..=stored.len() {
                same(&[&stored[..at], &stored[at..]], room);
            }
        }
    }

    #[test]
    fn addresses_change_and_nothing_around_them() {
        for (header, expected) in [
            ("To: cron", "To: cron@router1"),
            ("to \t: cron", "to \t: cron@router1"),
            (
                "To: a@b, cron,\r\n\tx@old.test (X, \"y)",
                "To: a@b, cron@router1,\r\n\tx@new.test (X, \"y)",
            ),
            (
                "To: a@b, cron,\r\n\tx@old.test (X, y)\r\nX: cron",
                "To: a@b, cron@router1,\r\n\tx@new.test (X, y)\r\nX: cron",
            ),
            (
                "Cc: \"J, D\" <j@old.test> (b), Me\r\n <cron>",
                "Cc: \"J, D\" <j@new.test> (b), Me\r\n <cron@router1>",
            ),
            ("From: cron (Cron Daemon)", "From: cron@router1 (Cron Daemon)"),
            ("From: =?utf-8?q?J=C3=B6rg?= <cron>", "From: =?utf-8?q?J=C3=B6rg?= <cron@router1>"),
            (
                "Reply-To: Us: cron, b@old.test;, c",
                "Reply-To: Us: cron@router1, b@new.test;, c@router1",
            ),
            ("To: undisclosed-recipients:;", "To: undisclosed-recipients:;"),
            ("Sender: < x . y @ old . test >", "Sender: < x.y@new.test >"),
            ("To: <@a,@b:x@old.test>", "To: <x@new.test>"),
            (
                "Resent-To: cron\r\nResent-Cc: cron\r\nResent-From: cron",
                "Resent-To: cron@router1\r\nResent-Cc: cron@router1\r\nResent-From: cron@router1",
            ),
            ("To: j\u{f6}@old.test", "To: j\u{f6}@new.test"),
            ("To: a b, cron", "To: a b, cron@router1"),
            ("To: ,, cron ,", "To: ,, cron@router1 ,"),
            ("To:", "To:"),
            ("To", "To"),
            ("To x: cron", "To x: cron"),
            ("Bcc: cron", "Bcc: cron"),
            ("Tox: cron\r\nX-To: cron", "Tox: cron\r\nX-To: cron"),
            ("Subject: x\r\n To: cron", "Subject: x\r\n To: cron"),
        ] {
            check_header(REWRITE, header, expected);
        }
    }

    #[test]
    fn one_mailbox_is_named_once() {
        for (header, expected) in [
            ("To: root, admin, root@router1", "To: me@home.test, admin@router1"),
            ("To: root,\r\n root@router1\r\nCc: root", "To: me@home.test\r\nCc: me@home.test"),
            ("To: root (a), me@home.test (b)", "To: me@home.test (a)"),
            ("To: Us: root, root; root", "To: Us: me@home.test; me@home.test"),
            ("To: me@home.test", "To: me@home.test"),
        ] {
            check_header(REWRITE, header, expected);
        }
    }

    #[test]
    fn a_next_hop_that_takes_one_sender_gets_him() {
        let from = |name: &str| format!("From: {name}\r\n <pi@isp.test>\r\n");
        let cron = from("\"Cron Daemon on router1\"");
        let quiet = from("\"root on router1\"");
        for (header, expected) in [
            (
                "From: root (Cron Daemon)\r\nTo: a@b",
                format!("{cron}X-Original-From: root (Cron Daemon)\r\nTo: a@b"),
            ),
            (
                "From: Cron Daemon\r\n <root@router1>",
                format!("{cron}X-Original-From: Cron Daemon\r\n <root@router1>"),
            ),
            ("FROM : root", format!("{quiet}X-Original-FROM : root")),
            ("From: \"root\" <>", format!("{}X-Original-From: \"root\" <>", from("\"router1\""))),
            ("From: a b", format!("{}X-Original-From: a b", from("\"router1\""))),
            ("From:", format!("{}X-Original-From:", from("\"router1\""))),
            (
                "From: Jo <jo@x.test>, b@old.test",
                format!(
                    "{}Reply-To: jo@x.test,\r\n b@new.test\r\n\
                     X-Original-From: Jo <jo@x.test>, b@old.test",
                    from("\"Jo on x.test\"")
                ),
            ),
            ("From: pi@isp.test", "From: pi@isp.test".into()),
            ("From: The Pi\r\n <PI@isp.test> (x)", "From: The Pi\r\n <PI@isp.test> (x)".into()),
            (
                "From: pi@isp.test, root",
                format!(
                    "{}Reply-To: pi@isp.test\r\nX-Original-From: pi@isp.test, root",
                    from("\"pi on isp.test\"")
                ),
            ),
            (
                "From: root\r\nFrom: evil@x.test",
                format!("{quiet}X-Original-From: root\r\nX-Original-From: evil@x.test"),
            ),
            (
                "From: pi@isp.test\r\nFrom: pi@isp.test",
                "From: pi@isp.test\r\nX-Original-From: pi@isp.test".into(),
            ),
            (
                "Sender: root",
                "Sender: \"root on router1\"\r\n <pi@isp.test>\r\nX-Original-Sender: root".into(),
            ),
            ("Resent-From: root\r\nResent-From: root", {
                let one = "Resent-From: \"root on router1\"\r\n <pi@isp.test>\r\n\
                           X-Original-Resent-From: root";
                format!("{one}\r\n{one}")
            }),
        ] {
            check_header(CLAIM, header, &expected);
        }
        check_header(
            Plan { has_reply_to: true, rewrite: false, ..CLAIM },
            "From: jo@x.test\r\nReply-To: cron\r\nTo: cron",
            &format!(
                "{}X-Original-From: jo@x.test\r\nReply-To: cron\r\nTo: cron",
                from("\"jo on x.test\"")
            ),
        );
    }

    #[test]
    fn what_is_too_long_passes_or_is_replaced() {
        let words = "word ".repeat(300);
        let text = format!("To: cron, {words}<x@old.test>, cron");
        // What was passed over has made the line long, so there is a fold now.
        let expected = format!("To: cron@router1, {words}<x@old.test>,\r\n cron@router1");
        check_header_coarsely(REWRITE, &text, &expected);
        let text = format!("From: {words}\r\n {words}<root>\r\nTo: cron");
        let from = "From: \"router1\"\r\n <pi@isp.test>\r\nX-Original-From: ";
        let expected = format!("{from}{words}\r\n {words}<root>\r\nTo: cron@router1");
        check_header_coarsely(CLAIM, &text, &expected);
    }

    /// The longer ones, by fewer cuts.
    #[track_caller]
    fn check_header_coarsely(plan: Plan, header: &str, expected: &str) {
        let header = format!("{header}\r\n\r\n");
        let expected = format!("{expected}\r\n\r\n");
        for cut in [1, 2, 63, 1000, 1023, 1024, 1025, 10_000] {
            let pieces: Vec<&[u8]> = header.as_bytes().chunks(cut).collect();
            let edited = edit_by(plan, "", &pieces, 64);
            assert_eq!(String::from_utf8_lossy(&edited), expected);
        }
    }

    /// RFC 5322 §2.1.1: what is put in must not make a line too long.
    #[test]
    fn a_long_line_is_folded_where_it_grows() {
        let names = vec!["cron"; 190].join(", ");
        for between in [",", ", "] {
            let list = names.replace(", ", between);
            let header = format!("To: {list}\r\n\r\n");
            assert!(header.len() < 1200);
            let edited = edit_by(REWRITE, "", &[header.as_bytes()], 4096);
            let edited = String::from_utf8(edited).unwrap();
            assert!(edited.lines().all(|line| line.len() < 998), "{edited}");
            assert_eq!(edited.matches("cron@router1").count(), 190);
            assert_eq!(edited.matches("\r\n\r\n").count(), 1);
        }
    }

    #[test]
    fn a_list_without_end_takes_no_more_memory() {
        let mut edit = Edit::new(CLAIM);
        let mut output = [0; 4096];
        let mut given = edit.push(b"To: ", With { additions: "", rules: &House }, &mut output).1;
        for _ in 0..100_000 {
            let with = With { additions: "", rules: &House };
            let (taken, made) = edit.push(b"cron, ", with, &mut output);
            assert_eq!(taken, 6);
            given += made;
        }
        given += edit.finish(With { additions: "", rules: &House }, &mut output);
        // Some folds, and one comma is still without a name.
        assert!(given >= "To: ".len() + 100_000 * "cron@router1, ".len());
    }
}

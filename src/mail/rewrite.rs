//! Who a mail is from and to, as its header says it on the way out: what is decided elsewhere
//! ([`Rules`]) put into words.
//!
//! Many next hops take only mail that is from the address that they know, in From and Sender as in
//! the envelope. [`write_claimed`] makes such a field: that address, under a name that tells where
//! the mail is from: `root (Cron Daemon)` becomes `"Cron Daemon on router1" <router@example.net>`.
//! The domain stands there without its `@` because mail readers distrust an address within a name.
//!
//! Reply-To is given only to writers whose address others can reach: an answer to `root@router1`
//! would come back, one to the From goes to somebody. What was there before stays to be read as
//! X-Original-From.

use super::address::Address;
use super::list::ListReader;
use super::phrase::{Words, write_phrase};
use crate::base::buffer::Text;
use crate::limits::ADDRESS_BYTES_MAX;
use core::fmt::{self, Write};

/// An address that was made here.
pub type Mailbox = Text<ADDRESS_BYTES_MAX>;

/// What an address of a header stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Who the mail is from, or who gets the answers.
    Sender,
    /// Who it is for.
    Recipient,
}

/// What becomes of an address.
#[derive(Clone, Copy)]
pub enum Change {
    /// Nothing.
    Stays,
    /// That one stands there.
    Becomes(Mailbox),
    /// That one, as for others of the same list: once is enough.
    Merges(Mailbox),
}

/// Who is who, decided anew at each attempt.
pub trait Rules {
    /// What stands for `address`.
    fn change(&self, role: Role, address: Address<'_>) -> Change;
    /// The one sender that the next hop takes; none: any.
    fn claim(&self) -> Option<Address<'_>>;
    /// Where `address` is from, for people; and whether an answer from elsewhere reaches it.
    fn origin<'a>(&'a self, address: Option<Address<'a>>) -> (&'a str, bool);
}

/// Letters of a name, and of where it is from.
const NAME_BYTES_MAX: usize = 120;
const PLACE_BYTES_MAX: usize = 64;

/// What the writer of `address` is called, `known` if that is something, and where he is.
pub fn words(known: Words, address: Option<Address<'_>>, rules: &dyn Rules) -> Words {
    let mut words = known;
    if words.is_empty() {
        let local = address.map_or("", |address| address.local());
        words = Words::read(local.as_bytes(), super::list::Name::Phrase);
    }
    words.cut(NAME_BYTES_MAX);
    let is_named = !words.is_empty();
    if is_named {
        words.add(b"on");
    }
    let (place, _) = rules.origin(address);
    let place = place.as_bytes();
    words.add(place.get(..PLACE_BYTES_MAX).unwrap_or(place));
    words
}

/// Writes the field `name` with `claim` as its address, under the name `words`.
pub fn write_claimed(
    out: &mut dyn Write,
    name: &str,
    words: &Words,
    claim: Address<'_>,
) -> fmt::Result {
    write!(out, "{name}: ")?;
    write_phrase(out, words)?;
    write!(out, "\r\n <{}>\r\n", claim.as_str())
}

/// Hands each place of the address list `value` to `each`, with its bytes.
pub(super) fn places(value: &[u8], mut each: impl FnMut(&ListReader, &[u8])) {
    let mut reader = ListReader::new(super::address::Charset::Utf8);
    let mut start = 0;
    for (at, byte) in value.iter().enumerate() {
        if reader.push(*byte) == super::list::Step::Ends {
            each(&reader, value.get(start..at).unwrap_or_default());
            reader.restart(0);
            start = at + 1;
        }
    }
    each(&reader, value.get(start..).unwrap_or_default());
}

/// True if `value` names `claim` and nobody else.
pub(super) fn is_only(value: &[u8], claim: Address<'_>) -> bool {
    let (mut is_there, mut is_other) = (false, false);
    places(value, |reader, _| match reader.address() {
        Some(Ok(address)) if address.as_str().eq_ignore_ascii_case(claim.as_str()) => {
            is_there = true;
        }
        None if !reader.begins_group() => {}
        _ => is_other = true,
    });
    is_there && !is_other
}

/// What the first who can be read of `value` is called, and where he is.
pub(super) fn words_of(value: Option<&[u8]>, rules: &dyn Rules) -> Words {
    let mut found = None;
    places(value.unwrap_or_default(), |reader, bytes| {
        if let (None, Some(Ok(address))) = (found, reader.address()) {
            let (range, name) = reader.name();
            let known = Words::read(bytes.get(range).unwrap_or_default(), name);
            found = Some(words(known, Some(address), rules));
        }
    });
    found.unwrap_or_else(|| words(Words::new(), None, rules))
}

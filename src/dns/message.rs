//! One question, and what a server says to it.
//!
//! A question is written by hand, its 12 bytes of header and one name; answers, which anybody may
//! have written, are read by the crate `domain`, whose names follow compression pointers backwards
//! only. An answer counts only if its id and question are ours, letter by letter without case
//! (threats 22); everything else in it is taken from the answer section, for the name at the end of
//! a chain of at most [`CNAMES_MAX`] aliases.
//!
//! Limits: [`HOSTS_MAX`] mail hosts and eight addresses are kept of one answer. An answer that
//! breaks a rule is [`Answer::Garbage`]; nothing panics. RFC 1035 §4, RFC 2308 §5, RFC 6891.

use crate::base::buffer::Text;
use crate::limits::DOMAIN_BYTES_MAX;
use core::fmt::Write as _;
use core::net::IpAddr;
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::message::RecordSection;
use domain::base::name::ParsedName;
use domain::base::record::Record;
use domain::base::{Message, ParseRecordData};
use domain::rdata::{A, Aaaa, Cname, Mx, Soa};

/// A host's or domain's name: ASCII, without the dot of the root.
pub type HostName = Text<DOMAIN_BYTES_MAX>;

/// Aliases that are followed from one name.
pub const CNAMES_MAX: u8 = 8;
/// Mail hosts kept of one answer; the rest, with the highest preferences, is left out.
pub const HOSTS_MAX: usize = 16;
/// Addresses kept of one answer.
pub const ADDRESSES_MAX: usize = 8;
/// The longest question.
pub const QUESTION_BYTES_MAX: usize = 12 + DOMAIN_BYTES_MAX + 2 + 4 + OPT.len();
/// The largest answer that is asked for over UDP: what passes everywhere unfragmented.
pub const DATAGRAM_BYTES_MAX: usize = 1232;

/// The OPT record (RFC 6891 §6.1.2): the root's name, its type, our size, no flags, no options.
const OPT: [u8; 11] =
    [0, 0, 41, (DATAGRAM_BYTES_MAX >> 8) as u8, DATAGRAM_BYTES_MAX as u8, 0, 0, 0, 0, 0, 0];

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Mail hosts.
    Mx,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Kind {
    fn number(self) -> Rtype {
        match self {
            Kind::Mx => Rtype::MX,
            Kind::A => Rtype::A,
            Kind::Aaaa => Rtype::AAAA,
        }
    }
}

/// What is kept of an answer that says something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Records {
    /// The name at the end of the aliases, if there were any.
    pub alias: Option<HostName>,
    /// Preferences and mail hosts, the lowest preferences first. A host without a name is the root
    /// of RFC 7505: no mail at all.
    pub hosts: [Option<(u16, HostName)>; HOSTS_MAX],
    /// Addresses.
    pub addresses: [Option<IpAddr>; ADDRESSES_MAX],
    /// Seconds for which all this may be remembered.
    pub seconds: u32,
}

impl Records {
    /// True when nothing was found that was asked for.
    pub fn is_empty(&self) -> bool {
        self.hosts.iter().all(Option::is_none) && self.addresses.iter().all(Option::is_none)
    }
}

/// What a server said.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "lives for one call, on a thread of its own")]
pub enum Answer {
    /// Not to this question: another id, another name, not an answer at all.
    Foreign,
    /// Cut off: ask again over TCP.
    Cut,
    /// The server does not know, or does not want to say (SERVFAIL, REFUSED …).
    Refused,
    /// It cannot be read.
    Garbage,
    /// There is no such name; to be remembered for so many seconds.
    NoSuchName(u32),
    /// What there is; nothing, if the name has nothing of this kind.
    Records(Records),
}

/// Writes the question for `name` into `into`; gives its length. None if that is not a name the DNS
/// can hold: an empty label, one of more than 63 bytes, more than 253 in all, or not ASCII.
pub fn write_question(
    id: u16,
    name: &str,
    kind: Kind,
    into: &mut [u8; QUESTION_BYTES_MAX],
) -> Option<usize> {
    if name.is_empty() || name.len() > DOMAIN_BYTES_MAX || !name.is_ascii() {
        return None;
    }
    let mut len = 0;
    let mut put = |bytes: &[u8]| {
        let room = into.get_mut(len..len + bytes.len())?;
        room.copy_from_slice(bytes);
        len += bytes.len();
        Some(())
    };
    put(&id.to_be_bytes())?;
    // A query, recursion desired; one question, and the OPT record among the additional ones.
    put(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1])?;
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        put(&[label.len() as u8])?;
        put(label.as_bytes())?;
    }
    put(&[0])?;
    put(&kind.number().to_int().to_be_bytes())?;
    put(&Class::IN.to_int().to_be_bytes())?;
    put(&OPT)?;
    Some(len)
}

/// Reads what came as an answer to the question `id`, `name`, `kind`.
pub fn read_answer(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Answer {
    let Ok(message) = Message::from_slice(bytes) else { return Answer::Foreign };
    let header = message.header();
    if header.id() != id || !header.qr() || !asks_for(message, name, kind) {
        return Answer::Foreign;
    }
    if header.tc() {
        return Answer::Cut;
    }
    match header.rcode() {
        Rcode::NOERROR => {
            read_records(message, name, kind).map_or(Answer::Garbage, Answer::Records)
        }
        Rcode::NXDOMAIN => Answer::NoSuchName(negative_seconds(message)),
        _ => Answer::Refused,
    }
}

fn asks_for(message: &Message<[u8]>, name: &str, kind: Kind) -> bool {
    let Ok(question) = message.sole_question() else { return false };
    let same_kind = question.qtype() == kind.number() && question.qclass() == Class::IN;
    same_kind
        && text_of(question.qname()).is_some_and(|asked| asked.as_str().eq_ignore_ascii_case(name))
}

fn read_records(message: &Message<[u8]>, name: &str, kind: Kind) -> Option<Records> {
    let answer = message.answer().ok()?;
    let mut records = Records { seconds: u32::MAX, ..Records::default() };
    let mut owner = HostName::from(name);
    for _ in 0..CNAMES_MAX {
        match alias_of(answer, owner.as_str())? {
            Some((target, seconds)) => {
                owner = target;
                records.alias = Some(target);
                records.seconds = records.seconds.min(seconds);
            }
            None => break,
        }
    }
    match kind {
        Kind::Mx => read_hosts(answer, owner.as_str(), &mut records)?,
        Kind::A => read_addresses::<A>(answer, owner.as_str(), &mut records)?,
        Kind::Aaaa => read_addresses::<Aaaa>(answer, owner.as_str(), &mut records)?,
    }
    if records.is_empty() {
        records.seconds = records.seconds.min(negative_seconds(message));
    }
    Some(records)
}

type ParsedText<'a> = ParsedName<&'a [u8]>;
type Section<'a> = RecordSection<'a, [u8]>;

/// What `name` is an alias of, and for how long; the outer None is an answer that cannot be read.
#[expect(clippy::option_option, reason = "unreadable, no alias, and an alias are three things")]
fn alias_of(answer: Section<'_>, name: &str) -> Option<Option<(HostName, u32)>> {
    for record in answer.limit_to_in::<Cname<ParsedText<'_>>>() {
        let record = record.ok()?;
        if is_of(&record, name) {
            let target = text_of(record.data().cname())?;
            return Some(Some((target, record.ttl().as_secs())));
        }
    }
    Some(None)
}

fn read_hosts(answer: Section<'_>, name: &str, records: &mut Records) -> Option<()> {
    for record in answer.limit_to_in::<Mx<ParsedText<'_>>>() {
        let record = record.ok()?;
        if !is_of(&record, name) {
            continue;
        }
        records.seconds = records.seconds.min(record.ttl().as_secs());
        // A name that cannot be written down cannot be asked for either: the others are as good.
        if let Some(host) = text_of(record.data().exchange()) {
            insert(&mut records.hosts, record.data().preference(), host);
        }
    }
    Some(())
}

/// Keeps the lowest preferences, in order.
fn insert(hosts: &mut [Option<(u16, HostName)>; HOSTS_MAX], preference: u16, host: HostName) {
    let mut moving = Some((preference, host));
    for place in hosts {
        let Some((preference, _)) = moving else { return };
        if place.as_ref().is_none_or(|(other, _)| *other > preference) {
            core::mem::swap(place, &mut moving);
        }
    }
}

fn read_addresses<'a, Data>(answer: Section<'a>, name: &str, records: &mut Records) -> Option<()>
where
    Data: ParseRecordData<'a, [u8]> + Address,
{
    let mut places = records.addresses.iter_mut();
    for record in answer.limit_to_in::<Data>() {
        let record = record.ok()?;
        if !is_of(&record, name) {
            continue;
        }
        let Some(place) = places.next() else { break };
        *place = Some(record.data().address());
        records.seconds = records.seconds.min(record.ttl().as_secs());
    }
    Some(())
}

/// Records that hold an address.
trait Address {
    fn address(&self) -> IpAddr;
}

impl Address for A {
    fn address(&self) -> IpAddr {
        IpAddr::V4(self.addr())
    }
}

impl Address for Aaaa {
    fn address(&self) -> IpAddr {
        IpAddr::V6(self.addr())
    }
}

fn is_of<Data>(record: &Record<ParsedText<'_>, Data>, name: &str) -> bool {
    text_of(record.owner()).is_some_and(|owner| owner.as_str().eq_ignore_ascii_case(name))
}

/// RFC 2308 §5: a nothing may be remembered for as long as the zone's SOA says.
fn negative_seconds(message: &Message<[u8]>) -> u32 {
    let Ok(authority) = message.authority() else { return 0 };
    let mut zones = authority.limit_to_in::<Soa<ParsedText<'_>>>();
    let Some(Ok(zone)) = zones.next() else { return 0 };
    zone.ttl().as_secs().min(zone.data().minimum().as_secs())
}

/// The name as text; the root is empty. None if a label has other than letters, digits, hyphens
/// and underscores: no host has such a name, and text with dots in labels would lie.
fn text_of(name: &ParsedText<'_>) -> Option<HostName> {
    let mut text = HostName::new();
    for label in name.iter() {
        if label.is_root() {
            break;
        }
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !label.as_slice().iter().all(plain) {
            return None;
        }
        let label = core::str::from_utf8(label.as_slice()).ok()?;
        let dot = if text.is_empty() { "" } else { "." };
        // A Text cuts what is too long; a name of 255 bytes with its lengths fits.
        let _ = write!(text, "{dot}{label}");
    }
    Some(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An answer to `name`, `kind`, with these records: owner, type, seconds and data.
    pub(in crate::dns) fn answer(
        id: u16,
        name: &str,
        kind: Kind,
        flags: u16,
        records: &[(&str, u16, u32, Vec<u8>)],
    ) -> Vec<u8> {
        let mut bytes = [0; QUESTION_BYTES_MAX];
        let len = write_question(id, name, kind, &mut bytes).unwrap();
        let mut message = bytes[..len - OPT.len()].to_vec();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..12].copy_from_slice(&[0, records.len() as u8, 0, 0, 0, 0]);
        for (owner, number, seconds, data) in records {
            message.extend(wire(owner));
            message.extend(number.to_be_bytes());
            message.extend([0, 1]);
            message.extend(seconds.to_be_bytes());
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(data);
        }
        message
    }

    pub(in crate::dns) fn wire(name: &str) -> Vec<u8> {
        let labels = name.split('.').filter(|label| !label.is_empty());
        labels
            .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
            .chain([0])
            .collect()
    }

    fn mx(preference: u16, name: &str) -> Vec<u8> {
        [&preference.to_be_bytes()[..], &wire(name)].concat()
    }

    const YES: u16 = 0x8180;

    fn records(bytes: &[u8], name: &str, kind: Kind) -> Records {
        match read_answer(bytes, 7, name, kind) {
            Answer::Records(records) => records,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_question_byte_by_byte() {
        let mut bytes = [0xff; QUESTION_BYTES_MAX];
        let len = write_question(0x1234, "a.example", Kind::Mx, &mut bytes).unwrap();
        let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x01a\x07example\0\0\x0f\0\x01\
                         \0\0\x29\x04\xd0\0\0\0\0\0\0";
        assert_eq!(&bytes[..len], expected);
        let long = vec!["x".repeat(63); 4].join(".");
        for bad in ["", ".", "a..b", "a.", ".a", &"x".repeat(64), &long, "b\u{fc}cher.example"] {
            assert_eq!(write_question(1, bad, Kind::A, &mut bytes), None, "{bad}");
        }
        let longest = [&long[..63 * 3 + 3], &"y".repeat(61)].concat();
        assert_eq!(write_question(1, &longest, Kind::A, &mut bytes), Some(QUESTION_BYTES_MAX));
    }

    #[test]
    fn mail_hosts_in_order() {
        let message = answer(
            7,
            "a.example",
            Kind::Mx,
            YES,
            &[
                ("A.Example", 15, 300, mx(20, "two.example")),
                ("a.example", 15, 100, mx(10, "one.example")),
                ("other.example", 15, 1, mx(1, "evil.example")),
                ("a.example", 15, 300, mx(10, "another.example")),
            ],
        );
        let records = records(&message, "a.example", Kind::Mx);
        let hosts: Vec<_> = records.hosts.iter().flatten().map(|(p, n)| (*p, n.as_str())).collect();
        assert_eq!(hosts, [(10, "one.example"), (10, "another.example"), (20, "two.example")]);
        assert_eq!(records.seconds, 100);
    }

    #[test]
    fn the_most_preferred_hosts_are_kept() {
        let names: Vec<String> = (0..40).map(|number| format!("h{number}.example")).collect();
        let rows: Vec<_> = names
            .iter()
            .zip(0u16..)
            .map(|(name, p)| ("a.example", 15, 9, mx(40 - p, name)))
            .collect();
        let records = records(&answer(7, "a.example", Kind::Mx, YES, &rows), "a.example", Kind::Mx);
        let kept: Vec<u16> = records.hosts.iter().flatten().map(|host| host.0).collect();
        assert_eq!(kept, (1..=16).collect::<Vec<u16>>());
    }

    #[test]
    fn aliases_are_followed_so_far() {
        let mut rows = vec![("n8.example", 1, 60, vec![192, 0, 2, 1])];
        let names: Vec<String> = (0..9).map(|number| format!("n{number}.example")).collect();
        for pair in names.windows(2) {
            rows.push((&pair[0], 5, 30, wire(&pair[1])));
        }
        let found = records(&answer(7, "n0.example", Kind::A, YES, &rows), "n0.example", Kind::A);
        assert_eq!(found.addresses[0], Some("192.0.2.1".parse().unwrap()));
        assert_eq!((found.alias.unwrap().as_str(), found.seconds), ("n8.example", 30));
        // A circle ends, and finds nothing.
        let circle =
            [("a.example", 5, 1, wire("b.example")), ("b.example", 5, 1, wire("a.example"))];
        assert!(
            records(&answer(7, "a.example", Kind::A, YES, &circle), "a.example", Kind::A)
                .is_empty()
        );
    }

    #[test]
    fn what_is_not_our_answer() {
        let good =
            answer(7, "a.example", Kind::A, YES, &[("a.example", 1, 60, vec![192, 0, 2, 1])]);
        assert!(matches!(read_answer(&good, 7, "A.EXAMPLE", Kind::A), Answer::Records(_)));
        assert!(matches!(read_answer(&good, 8, "a.example", Kind::A), Answer::Foreign));
        assert!(matches!(read_answer(&good, 7, "b.example", Kind::A), Answer::Foreign));
        assert!(matches!(read_answer(&good, 7, "a.example", Kind::Mx), Answer::Foreign));
        let asked = answer(7, "a.example", Kind::A, 0x0100, &[]);
        assert!(matches!(read_answer(&asked, 7, "a.example", Kind::A), Answer::Foreign));
        let code = |flags| {
            read_answer(&answer(7, "a.example", Kind::A, flags, &[]), 7, "a.example", Kind::A)
        };
        assert!(matches!(code(0x8380), Answer::Cut));
        assert!(matches!(code(0x8182), Answer::Refused));
        assert!(matches!(code(0x8185), Answer::Refused));
        assert!(matches!(code(0x8183), Answer::NoSuchName(0)));
    }

    /// Threats 22, and every other way to be cut, turned or pointed in circles: nothing panics,
    /// nothing runs for long, and no bit that is flipped makes another name's record ours.
    #[test]
    fn any_bytes_at_all() {
        let good = answer(
            7,
            "a.example",
            Kind::Mx,
            YES,
            &[
                ("a.example", 5, 60, vec![0xc0, 0x0c]),
                ("a.example", 15, 60, vec![0, 10, 0xc0, 0x0c]),
                ("a.example", 15, 60, vec![0, 10, 1, b'x', 0xc0, 0x0e]),
            ],
        );
        for len in 0..good.len() {
            read_answer(&good[..len], 7, "a.example", Kind::Mx);
        }
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.clone();
                bad[at] = byte;
                for kind in [Kind::Mx, Kind::A, Kind::Aaaa] {
                    read_answer(&bad, 7, "a.example", kind);
                }
            }
        }
    }
}

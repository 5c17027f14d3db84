//! Addresses and paths: the one parser, and the one type that cannot hold anything else.
//!
//! An [`Address`] is text that has been read by the grammar of RFC 5321 §4.1.2 and is within its
//! limits: printable, so no CR, LF, NUL or any other control character can ever come out of it,
//! whatever was sent (threats 4). It borrows the text it was read from. A domain may be missing:
//! that names a user of this machine, and `<Postmaster>` is no special case.
//!
//! With [`Charset::Utf8`] local part and domain may also hold what lies beyond ASCII (RFC 6531
//! §3.3), but for characters that nobody sees: controls, and those that turn or break lines, with
//! which a log could be made to say something else (threats 20). [`Address::is_ascii`] tells
//! whether every next hop understands it. Domains are compared as they are written: a U-label is
//! not taken for its A-label.
//!
//! Not here: who may send to whom, what a domain resolves to, comments and display names (see
//! `mail::fields`). A local part is never taken apart nor compared without case: it belongs to the
//! domain behind it (RFC 5321 §2.4).
//!
//! Stricter than some: no dot at the ends of a dot-atom or a domain, no empty labels. More tolerant
//! than the RFC: an underscore in a domain, and a missing domain.
//!
//! Read first: RFC 5321 §4.1.2, §4.1.3, §4.5.3.1 and appendix C; RFC 6531 §3.3.

use crate::limits::{ADDRESS_BYTES_MAX, DOMAIN_BYTES_MAX, LOCAL_PART_BYTES_MAX};
use core::net::{Ipv4Addr, Ipv6Addr};

/// A mailbox: a local part, and usually `@` and a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address<'a> {
    local: &'a str,
    domain: Option<&'a str>,
    text: &'a str,
}

/// What an address may be made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Charset {
    /// Printable ASCII.
    Ascii,
    /// That and whatever else is printable, in UTF-8.
    Utf8,
}

/// What MAIL names: where a report of failure would go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReversePath<'a> {
    /// `<>`: nowhere, so never answer this mail.
    Null,
    /// There.
    Address(Address<'a>),
}

/// What RCPT names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForwardPath<'a> {
    /// A mailbox; `<Postmaster>` is one without a domain.
    Address(Address<'a>),
}

/// Why a text is not an address, or not a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressError {
    /// There is no text at all.
    Empty,
    /// More than `limits::ADDRESS_BYTES_MAX`.
    TooLong,
    /// A control byte.
    Control,
    /// A byte beyond ASCII.
    EightBit,
    /// Not a dot-atom nor a quoted string ahead of the `@`.
    LocalPart,
    /// More than `limits::LOCAL_PART_BYTES_MAX`.
    LocalPartTooLong,
    /// Not a domain name behind the `@`.
    Domain,
    /// More than `limits::DOMAIN_BYTES_MAX`, or a label of more than 63.
    DomainTooLong,
    /// Not an IPv4 or IPv6 address within the `[]`.
    Literal,
    /// Not within `<>`.
    Brackets,
    /// The source route ahead of the mailbox is malformed.
    SourceRoute,
    /// What surrounds an address in a header field is malformed.
    List,
}

impl AddressError {
    /// What is wrong, for a reply or a person.
    pub const fn text(self) -> &'static str {
        match self {
            AddressError::Empty => "the address is empty",
            AddressError::TooLong => "the address is too long",
            AddressError::Control => "the address holds a control character",
            AddressError::EightBit => "the address holds a character beyond ASCII",
            AddressError::LocalPart => "the part before the @ is malformed",
            AddressError::LocalPartTooLong => "the part before the @ is too long",
            AddressError::Domain => "the domain is malformed",
            AddressError::DomainTooLong => "the domain is too long",
            AddressError::Literal => "there is no IP address between [ and ]",
            AddressError::Brackets => "the address must stand between < and >",
            AddressError::SourceRoute => "the source route is malformed",
            AddressError::List => "the list of addresses is malformed",
        }
    }
}

impl<'a> Address<'a> {
    /// Reads `text`, all of which must be one mailbox in ASCII, without angle brackets.
    pub fn parse(text: &'a [u8]) -> Result<Address<'a>, AddressError> {
        Address::parse_in(text, Charset::Ascii)
    }

    /// Reads a mailbox that may hold more than ASCII.
    pub fn parse_utf8(text: &'a [u8]) -> Result<Address<'a>, AddressError> {
        Address::parse_in(text, Charset::Utf8)
    }

    /// Reads a mailbox in `charset`.
    pub fn parse_in(text: &'a [u8], charset: Charset) -> Result<Address<'a>, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let text = check_characters(text, charset)?;
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let length = local_part_length(text.as_bytes())?;
        let (local, rest) = text.split_at_checked(length).ok_or(AddressError::LocalPart)?;
        if local.len() > LOCAL_PART_BYTES_MAX {
            return Err(AddressError::LocalPartTooLong);
        }
        let domain = match rest.strip_prefix('@') {
            None if rest.is_empty() => None,
            None => return Err(AddressError::LocalPart),
            Some(domain) => Some(domain),
        };
        domain.map_or(Ok(()), check_domain_or_literal)?;
        Ok(Address { local, domain, text })
    }

    /// All of it, as it was written.
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The part before the `@`, with its quotes if it has any.
    pub const fn local(&self) -> &'a str {
        self.local
    }

    /// The part behind the `@`; none for a user of this machine.
    pub const fn domain(&self) -> Option<&'a str> {
        self.domain
    }

    /// True if it holds nothing beyond ASCII.
    pub const fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }

    /// True if the domain is `name`, in whatever case.
    pub fn domain_is(&self, name: &str) -> bool {
        self.domain.is_some_and(|domain| domain.eq_ignore_ascii_case(name))
    }

    /// True if the local part, quoted or not, looks like a route of its own (`a%b@c`, `b!a@c`,
    /// `"a@b"@c`): somebody further on might take it for one and relay the mail (threats 7).
    pub fn is_route_trick(&self) -> bool {
        self.local.bytes().any(|byte| matches!(byte, b'%' | b'!' | b'@' | b':'))
    }
}

/// Reads the path at the start of `text`, which is what follows `MAIL FROM:`; tells it and what
/// comes behind its `>` (nothing, or a space and parameters, which the caller checks).
pub fn parse_reverse_path(
    text: &[u8],
    charset: Charset,
) -> Result<(ReversePath<'_>, &[u8]), AddressError> {
    let (content, rest) = split_path(text)?;
    if content.is_empty() {
        return Ok((ReversePath::Null, rest));
    }
    Ok((ReversePath::Address(parse_routed(content, charset)?), rest))
}

/// Reads the path at the start of `text`, which is what follows `RCPT TO:`; tells it and what
/// comes behind its `>`, as [`parse_reverse_path`] does.
pub fn parse_forward_path(
    text: &[u8],
    charset: Charset,
) -> Result<(ForwardPath<'_>, &[u8]), AddressError> {
    let (content, rest) = split_path(text)?;
    Ok((ForwardPath::Address(parse_routed(content, charset)?), rest))
}

/// Reads what stands within the `<>` of a path: a mailbox, perhaps with a source route ahead.
pub(super) fn parse_routed(content: &[u8], charset: Charset) -> Result<Address<'_>, AddressError> {
    if content.first() != Some(&b'@') {
        return Address::parse_in(content, charset);
    }
    // RFC 5321 §4.1.1.3 and appendix C: a source route is understood, and ignored.
    let (route, mailbox) = split_once(content, b':').ok_or(AddressError::SourceRoute)?;
    let is_hop = |hop: &[u8]| {
        let domain = hop.strip_prefix(b"@").and_then(|domain| core::str::from_utf8(domain).ok());
        domain.is_some_and(|domain| domain.is_ascii() && check_domain(domain).is_ok())
    };
    if !route.split(|byte| *byte == b',').all(is_hop) {
        return Err(AddressError::SourceRoute);
    }
    let address = Address::parse_in(mailbox, charset)?;
    // Without a domain it would turn from somebody over there into somebody here.
    if address.domain.is_none() { Err(AddressError::SourceRoute) } else { Ok(address) }
}

/// Splits `<content>rest`; a `>` within quotes is content.
fn split_path(text: &[u8]) -> Result<(&[u8], &[u8]), AddressError> {
    let inner = text.strip_prefix(b"<").ok_or(AddressError::Brackets)?;
    let mut quoted = false;
    let mut bytes = inner.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => _ = bytes.next(),
            b'>' if !quoted => {
                let content = inner.get(..at).unwrap_or_default();
                return Ok((content, inner.get(at + 1..).unwrap_or_default()));
            }
            _ => {}
        }
    }
    Err(AddressError::Brackets)
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The one place that says which characters an address may be made of at all.
fn check_characters(text: &[u8], charset: Charset) -> Result<&str, AddressError> {
    if let Some(byte) = text.iter().find(|byte| !matches!(byte, b' '..=b'~')) {
        match (byte, charset) {
            (0x80.., Charset::Utf8) => {}
            (0x80.., Charset::Ascii) => return Err(AddressError::EightBit),
            _ => return Err(AddressError::Control),
        }
    }
    let text = core::str::from_utf8(text).map_err(|_| AddressError::EightBit)?;
    if text.chars().all(is_visible) { Ok(text) } else { Err(AddressError::Control) }
}

/// No control character (C0, DEL, C1), no separator of lines, no mark that turns the direction of
/// what follows, nothing of no width, by which two addresses look like one. A domain with a joiner
/// that its script needs can be written as an A-label.
pub fn is_visible(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let has_no_width =
        matches!(character, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}');
    !character.is_control() && !turns && !has_no_width
}

/// RFC 5322 §3.2.3.
const fn is_atom_text(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || is_atom_punctuation(byte)
}

const fn is_atom_punctuation(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'/' | b'=' | b'?' | b'^'
    ) || matches!(byte, b'_' | b'`' | b'{' | b'|' | b'}' | b'~')
}

/// How many bytes at the start of `text` are a Local-part (RFC 5321 §4.1.2).
fn local_part_length(text: &[u8]) -> Result<usize, AddressError> {
    if text.first() == Some(&b'"') {
        return quoted_string_length(text);
    }
    // RFC 6531 §3.3: and whatever lies beyond ASCII, if it was let through.
    let is_part = |byte: &u8| is_atom_text(*byte) || matches!(byte, b'.' | 0x80..);
    let length = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    let atoms = text.get(..length).unwrap_or_default();
    if atoms.split(|byte| *byte == b'.').any(<[u8]>::is_empty) {
        return Err(AddressError::LocalPart);
    }
    Ok(length)
}

/// How many bytes at the start of `text`, which begins with a quote, are a Quoted-string.
fn quoted_string_length(text: &[u8]) -> Result<usize, AddressError> {
    let mut bytes = text.iter().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Ok(at + 1),
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
    Err(AddressError::LocalPart)
}

fn check_domain_or_literal(domain: &str) -> Result<(), AddressError> {
    let Some(literal) = domain.strip_prefix('[') else {
        return check_domain(domain);
    };
    // RFC 5321 §4.1.3. No other tag than IPv6 has ever been registered.
    let literal = literal.strip_suffix(']').ok_or(AddressError::Literal)?;
    let is_address = match literal.split_at_checked("IPv6:".len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        _ => literal.parse::<Ipv4Addr>().is_ok(),
    };
    if is_address { Ok(()) } else { Err(AddressError::Literal) }
}

/// RFC 5321 §4.1.2 Domain; underscores are tolerated, since names with them are in use. RFC 6531
/// §3.3: a label may be a U-label.
fn check_domain(domain: &str) -> Result<(), AddressError> {
    if domain.len() > DOMAIN_BYTES_MAX {
        return Err(AddressError::DomainTooLong);
    }
    for label in domain.split('.') {
        let is_label_byte =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | 0x80..);
        let hyphen_at_end = label.starts_with('-') || label.ends_with('-');
        if label.is_empty() || hyphen_at_end || !label.bytes().all(is_label_byte) {
            return Err(AddressError::Domain);
        }
        // RFC 1035 §2.3.4; of a U-label its A-label counts, which nobody needs here.
        if label.is_ascii() && label.len() > 63 {
            return Err(AddressError::DomainTooLong);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address<'_>, AddressError> {
        Address::parse(text.as_bytes())
    }

    #[test]
    fn what_is_an_address() {
        for (text, local, domain) in [
            ("root", "root", None),
            ("Postmaster", "Postmaster", None),
            ("a@b", "a", Some("b")),
            ("first.last+tag@sub.example.net", "first.last+tag", Some("sub.example.net")),
            ("!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", Some("x")),
            ("\"john doe\"@x.y", "\"john doe\"", Some("x.y")),
            ("\"a\\\"b\\\\@c>\"@x", "\"a\\\"b\\\\@c>\"", Some("x")),
            ("\"\"@x", "\"\"", Some("x")),
            ("\"quoted\"", "\"quoted\"", None),
            ("u@my_host.lan", "u", Some("my_host.lan")),
            ("u@1.2.3.4", "u", Some("1.2.3.4")),
            ("u@[1.2.3.4]", "u", Some("[1.2.3.4]")),
            ("u@[IPv6:::1]", "u", Some("[IPv6:::1]")),
            ("u@[ipv6:2001:db8::1]", "u", Some("[ipv6:2001:db8::1]")),
            ("u@xn--bcher-kva.example", "u", Some("xn--bcher-kva.example")),
        ] {
            let address = parse(text).unwrap();
            assert_eq!((address.local(), address.domain()), (local, domain));
            assert_eq!(address.as_str(), text);
        }
    }

    #[test]
    fn what_is_not() {
        use AddressError::*;
        for (text, error) in [
            ("", Empty),
            ("@x", LocalPart),
            (".a@x", LocalPart),
            ("a.@x", LocalPart),
            ("a..b@x", LocalPart),
            ("a b@x", LocalPart),
            ("a\"b\"@x", LocalPart),
            ("\"a\"b@x", LocalPart),
            ("\"a@x", LocalPart),
            ("\"a\\\"@x", LocalPart),
            ("a,b@x", LocalPart),
            ("<a@x>", LocalPart),
            ("a@", Domain),
            ("a@x.", Domain),
            ("a@.x", Domain),
            ("a@x..y", Domain),
            ("a@-x", Domain),
            ("a@x-", Domain),
            ("a@x y", Domain),
            ("a@b@c", Domain),
            ("a@x\n", Control),
            ("a\0@x", Control),
            ("\"a\r\"@x", Control),
            ("a@x\u{7f}", Control),
            ("é@x", EightBit),
            ("a@[1.2.3]", Literal),
            ("a@[1.2.3.4", Literal),
            ("a@[1.2.3.4]x", Literal),
            ("a@[::1]", Literal),
            ("a@[IPv6:1.2.3.4]", Literal),
            ("a@[IPv6:fe80::1%eth0]", Literal),
            ("a@[]", Literal),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn limits_are_met_exactly() {
        let local = "l".repeat(LOCAL_PART_BYTES_MAX);
        let label = "d".repeat(63);
        assert!(parse(&format!("{local}@x")).is_ok());
        assert!(parse(&format!("a@{label}")).is_ok());
        assert_eq!(parse(&format!("{local}l@x")), Err(AddressError::LocalPartTooLong));
        assert_eq!(parse(&format!("a@{label}d")), Err(AddressError::DomainTooLong));
        let domain = format!("{label}.{label}.{label}.{}", "d".repeat(60));
        assert_eq!(parse(&format!("a@{domain}")).unwrap().as_str().len(), ADDRESS_BYTES_MAX);
        assert_eq!(parse(&format!("aa@{domain}")), Err(AddressError::TooLong));
        let room = "d".repeat(ADDRESS_BYTES_MAX - LOCAL_PART_BYTES_MAX - 1);
        assert_eq!(parse(&format!("{local}@{room}")).unwrap().local(), local);
        assert_eq!(parse(&format!("{local}@{room}d")), Err(AddressError::TooLong));
    }

    #[test]
    fn bounce_addresses_with_whole_addresses_inside_are_read() {
        let verp = "bounces+4711-0f3a9c-newsletter=first.middle.last=a-rather-long-name.example";
        let srs = "SRS0=HHHH=TT=mailing-list.example=";
        assert!(verp.len() + srs.len() > 64);
        for local in [verp, &format!("{srs}{verp}")] {
            assert_eq!(parse(&format!("{local}@list.example")).unwrap().local(), local);
        }
    }

    #[test]
    fn domains_know_no_case() {
        assert!(parse("a@Example.NET").unwrap().domain_is("example.net"));
        assert!(!parse("a@example.net").unwrap().domain_is("example.com"));
        assert!(!parse("a").unwrap().domain_is(""));
    }

    #[test]
    fn route_tricks_are_seen() {
        for text in ["a%b@c", "b!a@c", "\"a@b\"@c", "\"a:b\"@c", "a%b", "\"b!a\""] {
            assert!(parse(text).unwrap().is_route_trick(), "{text}");
        }
        for text in ["a+b@c", "a", "\"a b\"@[IPv6:::1]"] {
            assert!(!parse(text).unwrap().is_route_trick(), "{text}");
        }
    }

    fn forward(text: &str) -> Result<(&str, &[u8]), AddressError> {
        let (ForwardPath::Address(address), rest) =
            parse_forward_path(text.as_bytes(), Charset::Ascii)?;
        Ok((address.as_str(), rest))
    }

    #[test]
    fn paths() {
        assert_eq!(parse_reverse_path(b"<>", Charset::Ascii), Ok((ReversePath::Null, &b""[..])));
        assert_eq!(
            parse_reverse_path(b"<> SIZE=1", Charset::Ascii),
            Ok((ReversePath::Null, &b" SIZE=1"[..]))
        );
        let a = ReversePath::Address(parse("a@b").unwrap());
        assert_eq!(
            parse_reverse_path(b"<a@b> BODY=7BIT", Charset::Ascii),
            Ok((a, &b" BODY=7BIT"[..]))
        );
        assert_eq!(forward("<Postmaster>"), Ok(("Postmaster", &b""[..])));
        assert_eq!(forward("<\"a>b\\\">\"@c>x"), Ok(("\"a>b\\\">\"@c", &b"x"[..])));
        assert_eq!(forward("<>"), Err(AddressError::Empty));
        for text in ["", "a@b", "<a@b", " <a@b>", "<\"a@b>", "<\"a\\"] {
            assert_eq!(forward(text), Err(AddressError::Brackets), "{text}");
        }
    }

    #[test]
    fn source_routes_are_dropped() {
        assert_eq!(forward("<@a:u@d>"), Ok(("u@d", &b""[..])));
        assert_eq!(forward("<@a.b,@c:u@d> X"), Ok(("u@d", &b" X"[..])));
        for text in
            ["<@a>", "<@:u@d>", "<@a,:u@d>", "<@a,b:u@d>", "<@a b:u@d>", "<@a:u>", "<@\n:u@d>"]
        {
            assert_eq!(forward(text), Err(AddressError::SourceRoute), "{text:?}");
        }
        assert_eq!(forward("<@a:>"), Err(AddressError::Empty));
        assert_eq!(forward("<@a:@b:u@d>"), Err(AddressError::LocalPart));
    }

    #[test]
    fn beyond_ascii() {
        for (text, local, domain) in [
            ("jörg@example.net", "jörg", "example.net"),
            ("\"jörg x\"@bücher.example", "\"jörg x\"", "bücher.example"),
            ("用户@例子.公司", "用户", "例子.公司"),
            ("a@xn--bcher-kva.bücher", "a", "xn--bcher-kva.bücher"),
        ] {
            assert_eq!(parse(text), Err(AddressError::EightBit));
            let address = Address::parse_utf8(text.as_bytes()).unwrap();
            assert_eq!((address.local(), address.domain()), (local, Some(domain)));
            assert!(!address.is_ascii());
        }
        assert!(Address::parse_utf8(b"a@b").unwrap().is_ascii());
        let long = format!("a@{}", "例".repeat(80));
        assert!(Address::parse_utf8(long.as_bytes()).is_ok());
        let too_long = format!("{long}例例例例x");
        assert_eq!(Address::parse_utf8(too_long.as_bytes()), Err(AddressError::TooLong));
        for (text, error) in [
            (&b"j\xf6rg@x"[..], AddressError::EightBit),
            (b"\xed\xa0\x80@x", AddressError::EightBit),
            ("a\u{85}@x".as_bytes(), AddressError::Control),
            ("a\u{2028}@x".as_bytes(), AddressError::Control),
            ("a\u{202e}@x".as_bytes(), AddressError::Control),
            ("\"\u{2066}\"@x".as_bytes(), AddressError::Control),
            ("ö\n@x".as_bytes(), AddressError::Control),
            ("ö..x@x".as_bytes(), AddressError::LocalPart),
            ("ö x@x".as_bytes(), AddressError::LocalPart),
            ("a@ö-".as_bytes(), AddressError::Domain),
            ("a@ö..x".as_bytes(), AddressError::Domain),
            ("a@[ö]".as_bytes(), AddressError::Literal),
        ] {
            assert_eq!(Address::parse_utf8(text), Err(error), "{}", text.escape_ascii());
        }
    }

    /// Threats 4: each of the 256 bytes, put at and over every position.
    #[test]
    fn no_address_ever_holds_a_control_byte() {
        let seeds: [&[u8]; 7] = [
            b"<>",
            b"<a.b@c.d> SIZE=1",
            b"<\"a b\\\"c\"@d.e>",
            b"<u@[1.2.3.4]>",
            b"<u@[IPv6:::1]>",
            b"<@a,@b:u@d>",
            b"<Postmaster>",
        ];
        let check = |text: &[u8]| {
            let reverse = match parse_reverse_path(text, Charset::Ascii) {
                Ok((ReversePath::Address(address), _)) => Some(address),
                _ => None,
            };
            let forward = parse_forward_path(text, Charset::Ascii)
                .ok()
                .map(|(ForwardPath::Address(address), _)| address);
            for address in [reverse, forward, Address::parse(text).ok()].into_iter().flatten() {
                assert!(address.as_str().bytes().all(|byte| matches!(byte, b' '..=b'~')));
                assert!(address.as_str().len() <= ADDRESS_BYTES_MAX);
                assert_eq!(Address::parse(address.as_str().as_bytes()), Ok(address));
            }
        };
        for seed in seeds {
            for byte in 0..=255 {
                for at in 0..=seed.len() {
                    let mut text = seed.to_vec();
                    text.insert(at, byte);
                    check(&text);
                    if at < seed.len() {
                        text.remove(at + 1);
                        check(&text);
                    }
                }
            }
        }
    }

    #[test]
    fn what_has_no_width_is_no_part_of_an_address() {
        for hidden in ['\u{ad}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'] {
            for text in [format!("<a{hidden}b@c.example>"), format!("<ab@c{hidden}d.example>")] {
                let parsed = parse_forward_path(text.as_bytes(), Charset::Utf8);
                assert_eq!(parsed, Err(AddressError::Control), "{}", text.escape_unicode());
            }
        }
    }

    #[test]
    fn random_bytes_do_no_harm() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let alphabet = b"<>@\"\\.,:[] a1-_%\r\n\0\xff";
        for _ in 0..200_000 {
            let mut text = [0u8; 12];
            for byte in &mut text {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = alphabet[(state % alphabet.len() as u64) as usize];
            }
            if let Ok((ForwardPath::Address(address), rest)) =
                parse_forward_path(&text, Charset::Utf8)
            {
                assert!(text.ends_with(rest));
                assert!(address.as_str().chars().all(is_visible));
            }
        }
    }
}

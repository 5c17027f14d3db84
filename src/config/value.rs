//! Single values: text in, a checked value or one sentence about what is wrong out.
//!
//! Not here: which key wants which, and its floor and ceiling; that is `table`. An error quotes
//! what stands there, says what was expected and, where one mistake is common, what to write. The
//! `write_*` functions are the way back and give what the readers read.

use super::login::split_user;
use super::nearest::{hint, nearest};
use super::{Listen, Pattern, Scheme};
use crate::limits;
use crate::mail::address::Address;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

/// The port of SMTP between servers.
pub(super) const SMTP_PORT: u16 = 25;
/// The port of submission behind TLS from the first byte on (RFC 8314 §7.3).
pub(super) const SUBMISSIONS_PORT: u16 = 465;
/// RFC 1035 §4.2.
const DNS_PORT: u16 = 53;
/// The longest name of an interface: IFNAMSIZ without its zero.
const INTERFACE_BYTES_MAX: usize = 15;
/// The longest path of a Unix socket: sun_path without its zero.
pub(super) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A decimal number.
pub(super) fn number(text: &str) -> Result<u64, String> {
    crate::base::ascii::parse_decimal(text.as_bytes())
        .ok_or_else(|| format!("'{text}' is not a whole number"))
}

const SIZE_UNITS: [(char, u64); 3] = [('G', 1 << 30), ('M', 1 << 20), ('K', 1 << 10)];

/// Bytes, such as `4096`, `256K`, `10M`, `1G`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size; expected bytes, or a number with K, M or G");
    let (digits, unit) = match text.char_indices().next_back() {
        Some((place, letter)) if letter.is_ascii_alphabetic() => {
            let letter = letter.to_ascii_uppercase();
            let unit = SIZE_UNITS.iter().find(|(name, _)| *name == letter).ok_or_else(wrong)?.1;
            (text.get(..place).unwrap_or_default(), unit)
        }
        _ => (text, 1),
    };
    let count = crate::base::ascii::parse_decimal(digits.as_bytes()).ok_or_else(wrong)?;
    count.checked_mul(unit).ok_or_else(wrong)
}

/// `bytes` as [`size`] reads it, in the largest unit that loses nothing.
pub(super) fn write_size(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

const TIME_UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// A time such as `30s`, `5m`, `2h`, `5d`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time; expected a number with s, m, h or d, as in 5m");
    let (place, letter) = text.char_indices().next_back().ok_or_else(wrong)?;
    let unit = TIME_UNITS.iter().find(|(name, _)| *name == letter).ok_or_else(wrong)?.1;
    let digits = text.get(..place).unwrap_or_default();
    let count = crate::base::ascii::parse_decimal(digits.as_bytes()).ok_or_else(wrong)?;
    count.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

/// `time` as [`time`] reads it, in the largest unit that loses nothing.
pub(super) fn write_time(time: Duration) -> String {
    let seconds = time.as_secs();
    let unit =
        TIME_UNITS.iter().find(|(_, unit)| seconds >= *unit && seconds.is_multiple_of(*unit));
    unit.map_or_else(|| "0s".into(), |(name, unit)| format!("{}{name}", seconds / unit))
}

/// The parts of a list: separated by blanks, commas, or both.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty())
}

/// An absolute path of at most `bytes_max` bytes.
pub(super) fn path(text: &str, bytes_max: usize) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("'{text}' is not an absolute path; it must begin with '/'"));
    }
    if text.len() > bytes_max {
        return Err(format!("the path is longer than {bytes_max} bytes"));
    }
    Ok(text.into())
}

/// A domain name: labels of letters, digits, '-' and '_' (RFC 5321 §4.1.2; the underscore is not
/// in it, but machines do have such names).
/// A domain name, or a host's.
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= limits::DOMAIN_BYTES_MAX && text.split('.').all(is_label)
}

/// This machine's name.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    if !is_host_name(text) {
        return Err(format!("'{text}' is not a host name; expected one like mail.example.net"));
    }
    Ok(text.into())
}

/// The name of a user of this system.
pub(super) fn user_name(text: &str) -> Result<String, String> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte);
    if text.is_empty() || text.len() > 32 || !text.bytes().all(is_of_name) {
        return Err(format!("'{text}' is not a user name; expected one like mote"));
    }
    Ok(text.into())
}

/// A full address.
pub(super) fn address(text: &str) -> Result<String, String> {
    match Address::parse(text.as_bytes()) {
        Ok(address) if address.domain().is_some() => Ok(text.into()),
        Ok(_) => Err(format!("'{text}' has no domain; expected an address like me@example.net")),
        Err(error) => Err(format!("'{text}' is not an address: {}", error.text())),
    }
}

/// One of `words`.
pub(super) fn word<'a>(text: &str, words: &[&'a str]) -> Result<&'a str, String> {
    words.iter().find(|word| **word == text).copied().ok_or_else(|| {
        let near = hint(text, words.iter().copied());
        format!("'{text}' is not one of {}{near}", words.join(", "))
    })
}

fn port(text: &str) -> Result<u16, String> {
    match number(text) {
        Ok(port @ 1..=65535) => Ok(u16::try_from(port).unwrap_or(SMTP_PORT)),
        _ => Err(format!("'{text}' is not a port; expected a number from 1 to 65535")),
    }
}

/// A place to listen: `127.0.0.1`, `0.0.0.0:2525`, `[::1]:25`, `br-lan`, `br-lan:2525`, `/path`.
/// One without a port has `usual`.
pub(super) fn listen(text: &str, usual: u16) -> Result<Listen, String> {
    if text.starts_with('/') {
        return path(text, SOCKET_PATH_BYTES_MAX).map(Listen::Unix);
    }
    if text == "inherited" {
        return Ok(Listen::Inherited);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Listen::Address(SocketAddr::new(address, usual)));
    }
    if let Some(address) = literal(text) {
        return Ok(Listen::Address(SocketAddr::new(address.into(), usual)));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, digits)) => (name, port(digits)?),
        None => (text, usual),
    };
    if name.is_empty() || name == "*" || number(text).is_ok() {
        let port = number(text).unwrap_or(u64::from(port));
        return Err(format!("'{text}' has no address; write 0.0.0.0:{port} to listen everywhere"));
    }
    if name == "inherited" {
        return Err(format!("'{text}': the socket has its port already; write inherited"));
    }
    if name == "localhost" {
        return Err(format!("'{text}' is a name; write 127.0.0.1:{port}"));
    }
    if let Some(address) = literal(name) {
        return Ok(Listen::Address(SocketAddr::new(address.into(), port)));
    }
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Ok(Listen::Address(SocketAddr::new(address.into(), port)));
    }
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    let is_numeric = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if name.len() > INTERFACE_BYTES_MAX || is_numeric || !name.bytes().all(inside) {
        return Err(format!(
            "'{text}' is neither an address, an interface nor a path; \
             expected one like 192.168.1.1:25, br-lan, /run/smtp or off"
        ));
    }
    Ok(Listen::Interface { name: name.into(), port })
}

/// An IPv6 address in brackets.
fn literal(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// `listen` as [`listen`] reads it.
pub(super) fn write_listen(listen: &Listen) -> String {
    match listen {
        Listen::Address(address) => address.to_string(),
        Listen::Interface { name, port } => format!("{name}:{port}"),
        Listen::Unix(path) => path.clone(),
        Listen::Inherited => "inherited".into(),
    }
}

/// Where a relay is, and how it is spoken to. The host is without the brackets of a literal; one
/// that could not be read is empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Url {
    pub(super) scheme: Scheme,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Default for Url {
    fn default() -> Url {
        Url { scheme: Scheme::Starttls, host: String::new(), port: 0 }
    }
}

/// A relay's URL, `smtps://[user@]host[:port]`: the user, and the rest.
pub(super) fn url(text: &str) -> (Option<String>, Result<Url, String>) {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    // First of all: whatever else is told may repeat the text.
    match split_user(rest) {
        Ok((user, host)) => {
            let text = scheme.map_or_else(|| host.into(), |scheme| format!("{scheme}://{host}"));
            (user, bare_url(&text))
        }
        Err(why) => (None, Err(why)),
    }
}

fn bare_url(text: &str) -> Result<Url, String> {
    let (word, rest) = match text.split_once("://") {
        Some(parts) => parts,
        // No scheme is starttls: clear text is never sent unasked.
        None => {
            without_scheme(text)?;
            ("starttls", text)
        }
    };
    let scheme = match word {
        "smtp" => Scheme::Smtp,
        "starttls" | "smtps" if !cfg!(feature = "tls") => {
            return Err(format!(
                "'{word}://': this build has no TLS; write smtp:// to send in clear text on a \
                 network you trust"
            ));
        }
        "starttls" => Scheme::Starttls,
        "smtps" => Scheme::Smtps,
        "lmtp" => return Err("'lmtp://': this build speaks no LMTP; expected smtp://".into()),
        _ => {
            let known = ["smtp://", "smtps://", "starttls://"];
            let scheme = format!("{word}://");
            let cure = match nearest(&scheme, known.into_iter()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => "expected smtps://, starttls:// or smtp://".into(),
            };
            return Err(format!("'{scheme}' is no scheme for mail; {cure}"));
        }
    };
    let (host, port) = host_and_port(text, rest, scheme)?;
    Ok(Url { scheme, host, port })
}

/// A name server: an address, with a port or without.
pub(super) fn server(text: &str) -> Result<SocketAddr, String> {
    let bare = text.parse::<IpAddr>().ok().or_else(|| literal(text).map(IpAddr::V6));
    match bare {
        Some(address) => Ok(SocketAddr::new(address, DNS_PORT)),
        None => text.parse().map_err(|_| {
            format!("'{text}' is not a server's address; expected one like 192.168.1.1 or [::1]:53")
        }),
    }
}

/// Whether a relay that is no URL can be a host.
fn without_scheme(text: &str) -> Result<(), String> {
    let near = hint(text, ["hold", "mx"].into_iter());
    if let Some(name) = text.strip_prefix("relay ") {
        return Err(format!(
            "'{text}' belongs in a [route …]; to make it the relay for all mail, \
             rename [relay {name}] to [relay default] and leave this line out"
        ));
    }
    if !near.is_empty() || !is_host_and_port(text) {
        return Err(format!(
            "'{text}' is not one of smtps://HOST[:PORT], mx, maildir:/PATH, hold{near}"
        ));
    }
    Ok(())
}

fn is_host_and_port(text: &str) -> bool {
    if text.starts_with('[') {
        return true;
    }
    let (host, port) = text.split_once(':').unwrap_or((text, "587"));
    text != "mx" && is_host_name(host) && number(port).is_ok()
}

fn host_and_port(text: &str, rest: &str, scheme: Scheme) -> Result<(String, u16), String> {
    let wrong = || format!("'{text}' is not a relay; expected one like smtps://mail.example.net");
    if let Some(literal) = rest.strip_prefix('[') {
        let (literal, after) = literal.split_once(']').ok_or_else(wrong)?;
        let address = literal.parse::<Ipv6Addr>().map_err(|_| wrong())?;
        let port = match after.strip_prefix(':') {
            Some(digits) => port(digits)?,
            None if after.is_empty() => scheme.port(),
            None => return Err(wrong()),
        };
        return Ok((address.to_string(), port));
    }
    if rest.parse::<Ipv6Addr>().is_ok() {
        return Err(format!(
            "an IPv6 address stands in brackets: write {}://[{rest}]",
            scheme.word()
        ));
    }
    let (host, port) = match rest.split_once(':') {
        Some((host, digits)) => (host, port(digits)?),
        None => (rest, scheme.port()),
    };
    if !is_host_name(host) {
        return Err(wrong());
    }
    Ok((host.into(), port))
}

/// Which recipients a route is for.
pub fn pattern(text: &str) -> Result<Pattern, String> {
    let wrong = || {
        format!(
            "'{text}' is no pattern; \
             expected *, @ (local users), example.net, *.example.net or me@example.net"
        )
    };
    match text {
        "*" => return Ok(Pattern::Any),
        "@" => return Ok(Pattern::Local),
        _ => {}
    }
    if let Some(domain) = text.strip_prefix('@') {
        return Err(format!("{}; write '{domain}' for a whole domain", wrong()));
    }
    if text.contains('@') {
        return address(text).map(Pattern::Address);
    }
    let (domain, make): (_, fn(String) -> Pattern) = match text.strip_prefix("*.") {
        Some(domain) => (domain, Pattern::Subdomains),
        None => (text, Pattern::Domain),
    };
    if is_host_name(domain) { Ok(make(domain.into())) } else { Err(wrong()) }
}

/// `pattern` as [`pattern`] reads it.
pub(super) fn write_pattern(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Any => "*".into(),
        Pattern::Local => "@".into(),
        Pattern::Domain(domain) => domain.clone(),
        Pattern::Subdomains(domain) => format!("*.{domain}"),
        Pattern::Address(address) => address.clone(),
    }
}

/// The private and link-local networks that the word `lan` stands for.
pub(super) const LAN: [(IpAddr, u8); 6] = [
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
];

/// A range of clients: `lan`, an address, or a network such as `192.168.1.0/24`.
pub(super) fn range(text: &str) -> Result<Vec<(IpAddr, u8)>, String> {
    if text == "lan" {
        return Ok(LAN.to_vec());
    }
    let wrong = || format!("'{text}' is no range; expected lan, 192.168.1.0/24 or 2001:db8::/32");
    let (address, prefix) = match text.split_once('/') {
        Some((address, digits)) => (address, Some(digits)),
        None => (text, None),
    };
    let address = address.parse::<IpAddr>().map_err(|_| wrong())?;
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix.map(number) {
        None => bits,
        Some(Ok(prefix)) if prefix <= u64::from(bits) => u8::try_from(prefix).unwrap_or(bits),
        Some(_) => return Err(format!("{}; the prefix is at most /{bits}", wrong())),
    };
    // ::ffff:a.b.c.d is that IPv4 address, and only as such is it ever looked up.
    let (address, prefix) = match address.to_canonical() {
        v4 @ IpAddr::V4(_) if prefix >= 96 && bits == 128 => (v4, prefix - 96),
        _ => (address, prefix),
    };
    let network = masked(address, prefix);
    if network != address {
        return Err(format!("'{text}' has bits behind its prefix; write {network}/{prefix}"));
    }
    Ok(vec![(network, prefix)])
}

/// `address` with everything behind `prefix` zero.
pub(super) fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

/// Whether the whole network lies in one of [`LAN`].
pub(super) fn is_in_lan(network: IpAddr, prefix: u8) -> bool {
    LAN.iter().any(|(lan, bits)| prefix >= *bits && masked(network, *bits) == *lan)
}

/// Loopback, private or link-local: a network that can be trusted with clear text.
pub(super) fn is_near(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || is_in_lan(address, u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_there_and_back() {
        for (text, bytes) in [("0", 0), ("1000", 1000), ("256K", 262_144), ("10M", 10 << 20)] {
            assert_eq!(size(text), Ok(bytes));
            assert_eq!(write_size(bytes), text);
        }
        assert_eq!(size("1g"), Ok(1 << 30));
        for bad in ["", "K", "10MB", "-1", "1.5M", "1T", "99999999999999999999", "17179869185G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_there_and_back() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("2h", 7200), ("5d", 432_000)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)));
            assert_eq!(write_time(Duration::from_secs(seconds)), text);
        }
        for bad in ["", "5", "m", "5 m", "5min", "-5m", "1.5h", "999999999999999999999d"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn places_to_listen_there_and_back() {
        for (text, written) in [
            ("127.0.0.1", "127.0.0.1:25"),
            ("0.0.0.0:2525", "0.0.0.0:2525"),
            ("::1", "[::1]:25"),
            ("[::]:587", "[::]:587"),
            ("br-lan", "br-lan:25"),
            ("eth0.7:2525", "eth0.7:2525"),
            ("/run/smtp", "/run/smtp"),
            ("inherited", "inherited"),
        ] {
            let found = listen(text, 25).unwrap();
            assert_eq!(write_listen(&found), written);
            assert_eq!(listen(written, 465), Ok(found));
        }
        assert_eq!(listen("::1", 465), listen("[::1]:465", 25));
        for bad in
            ["25", ":25", "*:25", "localhost", "1.2.3", "1.2.3.4:0", "mail.example.net", "[::1"]
        {
            assert!(listen(bad, 25).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls() {
        let url = |text: &str| url(text).1;
        let is = |text, scheme, host: &str, port| {
            assert_eq!(url(text), Ok(Url { scheme, host: host.into(), port }), "{text}");
        };
        is("smtp://mail.example.net", Scheme::Smtp, "mail.example.net", 25);
        is("smtp://[2001:db8::1]:26", Scheme::Smtp, "2001:db8::1", 26);
        is("smtp://10.0.0.1:2525", Scheme::Smtp, "10.0.0.1", 2525);
        #[cfg(feature = "tls")]
        {
            is("smtps://h", Scheme::Smtps, "h", 465);
            is("smtps://[::1]", Scheme::Smtps, "::1", 465);
            is("starttls://h", Scheme::Starttls, "h", 587);
            is("starttls://h:25", Scheme::Starttls, "h", 25);
            is("mail.example.net", Scheme::Starttls, "mail.example.net", 587);
            is("me@mail.example.net:25", Scheme::Starttls, "mail.example.net", 25);
            is("[2001:db8::1]", Scheme::Starttls, "2001:db8::1", 587);
        }
        for bad in [
            "smtp://",
            "smtp://a b",
            "smtp://a:b",
            "smtp://a:70000",
            "smtp://a/",
            "smtp://::1",
            "smtp://[::1",
            "smtp://[::1]x",
            "smtp://u:p@h",
            "lmtp://h",
            "http://h",
            "hol",
            "relay x",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn servers() {
        for (text, address) in [
            ("192.168.1.1", "192.168.1.1:53"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[::1]:54", "[::1]:54"),
        ] {
            assert_eq!(server(text).unwrap().to_string(), address, "{text}");
        }
        for bad in ["", "dns.example", "1.1.1.1:x", "1.1.1.1:65536"] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_there_and_back() {
        for text in ["*", "@", "example.net", "*.example.net", "me@example.net"] {
            assert_eq!(write_pattern(&pattern(text).unwrap()), text);
        }
        for bad in ["", "@example.net", "**", "a b", "me@", "*.", "*.*", "a..b"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges() {
        let one = |text| range(text).unwrap().first().map(|(net, bits)| format!("{net}/{bits}"));
        assert_eq!(one("192.168.1.0/24").unwrap(), "192.168.1.0/24");
        assert_eq!(one("10.0.0.7").unwrap(), "10.0.0.7/32");
        assert_eq!(one("::1").unwrap(), "::1/128");
        assert_eq!(one("0.0.0.0/0").unwrap(), "0.0.0.0/0");
        assert_eq!(one("::/0").unwrap(), "::/0");
        assert_eq!(one("::ffff:10.0.0.0/104").unwrap(), "10.0.0.0/8");
        for bad in ["", "local", "10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10/8"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn near_networks() {
        for near in ["127.0.0.1", "10.2.3.4", "192.168.0.9", "::1", "fe80::1", "::ffff:10.0.0.1"] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }
}

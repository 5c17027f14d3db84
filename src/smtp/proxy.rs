//! The PROXY header: the first thing that a load balancer says, and whom it speaks for.
//!
//! Both versions of the protocol (haproxy's `proxy-protocol.txt`): the line of version 1, and the
//! binary one, of which all TLVs are passed over. Whoever must begin with such a header and does
//! not is known by the first byte that cannot belong to one; there is no way back into SMTP.
//!
//! Here is only what the bytes say. Who is believed, and what becomes of an address that is told,
//! is `intake::told`'s part.
//!
//! Limits: [`PROXY_BYTES_MAX`] for a header with all that is in it, 107 bytes for the line.
//! Nothing is copied, and nothing panics. [`wanted`] says how many bytes may be read without taking
//! some that belong to what follows, which may be TLS.

use crate::base::ascii::parse_decimal;
use crate::limits::PROXY_BYTES_MAX;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Version 1 with its CRLF.
const LINE_BYTES: usize = 107;
/// The shortest header of all, `PROXY UNKNOWN` with its CRLF.
const SHORTEST: usize = 15;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, and the length of the rest.
const HEAD_BYTES: usize = 16;

/// What stands at the beginning of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// The beginning of a header.
    Partial,
    /// A header.
    Complete {
        /// Its length.
        consumed: usize,
        /// Who it speaks for.
        told: Told,
    },
    /// Anything else.
    Bad,
}

/// Who a header speaks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// For nobody: the load balancer itself looks whether somebody is there.
    Nobody,
    /// For somebody of whom it cannot tell an address.
    Unknown,
    /// For whoever is there.
    Client(SocketAddr),
}

/// How many bytes may be read behind `input`, the beginning of a header; never 0.
pub fn wanted(input: &[u8]) -> usize {
    let end = match input {
        [b'\r', ..] if input.len() < HEAD_BYTES => HEAD_BYTES,
        [b'\r', ..] => HEAD_BYTES + length(input).unwrap_or(0),
        _ if input.len() < SHORTEST => SHORTEST,
        // Where a line ends is known when it has.
        _ => input.len() + 1,
    };
    end.saturating_sub(input.len()).max(1)
}

/// Reads what stands at the beginning of `input`.
pub fn parse(input: &[u8]) -> Parsed {
    match input.first() {
        None => Parsed::Partial,
        Some(b'P') => parse_line(input),
        Some(_) => parse_binary(input),
    }
}

fn parse_line(input: &[u8]) -> Parsed {
    let window = input.get(..LINE_BYTES).unwrap_or(input);
    let begins = |word: &[u8]| {
        let shared = word.len().min(window.len());
        window.get(..shared) == word.get(..shared)
    };
    let Some(feed) = memchr::memchr(b'\n', window) else {
        let is_whole = window.len() == LINE_BYTES;
        let is_one =
            [&b"PROXY TCP4 "[..], b"PROXY TCP6 ", b"PROXY UNKNOWN"].into_iter().any(begins);
        return if is_one && !is_whole { Parsed::Partial } else { Parsed::Bad };
    };
    let line = window.get(..feed).and_then(|line| line.strip_suffix(b"\r"));
    match line.and_then(read_line) {
        Some(told) => Parsed::Complete { consumed: feed + 1, told },
        None => Parsed::Bad,
    }
}

fn read_line(line: &[u8]) -> Option<Told> {
    let line = core::str::from_utf8(line).ok()?;
    if line == "PROXY UNKNOWN" || line.starts_with("PROXY UNKNOWN ") {
        // Whatever follows is to be passed over.
        return Some(Told::Unknown);
    }
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let is_v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match is_v4 {
            true => word.parse().ok().map(IpAddr::V4),
            false => word.parse().ok().map(IpAddr::V6),
        }
    };
    let (source, _destination) = (address()?, address()?);
    let mut port = || {
        let digits = words.next()?;
        u16::try_from(parse_decimal(digits.as_bytes())?).ok()
    };
    let (port, _destination) = (port()?, port()?);
    words.next().is_none().then_some(Told::Client(SocketAddr::new(source, port)))
}

fn parse_binary(input: &[u8]) -> Parsed {
    let shared = SIGNATURE.len().min(input.len());
    if input.get(..shared) != SIGNATURE.get(..shared) {
        return Parsed::Bad;
    }
    // What is wrong is told before the length is believed.
    let is_known = |byte: u8| matches!(byte, 0x20 | 0x21);
    if input.get(12).is_some_and(|byte| !is_known(*byte)) {
        return Parsed::Bad;
    }
    let Some(length) = length(input) else { return Parsed::Partial };
    let consumed = HEAD_BYTES + length;
    if consumed > PROXY_BYTES_MAX {
        return Parsed::Bad;
    }
    let Some(body) = input.get(HEAD_BYTES..consumed) else { return Parsed::Partial };
    let told = match (input.get(12), input.get(13)) {
        (Some(0x20), _) => Some(Told::Nobody),
        (_, Some(0x11)) => client::<4>(body, |octets| Ipv4Addr::from(octets).into()),
        (_, Some(0x21)) => client::<16>(body, |octets| Ipv6Addr::from(octets).into()),
        // Neither TCP over IPv4 nor over IPv6: the rest is to be passed over.
        _ => Some(Told::Unknown),
    };
    told.map_or(Parsed::Bad, |told| Parsed::Complete { consumed, told })
}

/// Source, destination, and a port of each.
fn client<const OCTETS: usize>(
    body: &[u8],
    address: impl Fn([u8; OCTETS]) -> IpAddr,
) -> Option<Told> {
    let (source, rest) = body.split_first_chunk::<OCTETS>()?;
    let (_destination, rest) = rest.split_first_chunk::<OCTETS>()?;
    let ([high, low, _, _], _) = rest.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([*high, *low]);
    Some(Told::Client(SocketAddr::new(address(*source), port)))
}

/// What stands behind the head.
fn length(input: &[u8]) -> Option<usize> {
    match input.get(14..HEAD_BYTES) {
        Some([high, low]) => Some(usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Told {
        Told::Client(text.parse().unwrap())
    }

    /// A header of version 2.
    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 25];

    fn headers() -> Vec<(Vec<u8>, Told)> {
        let v6 = [&Ipv6Addr::LOCALHOST.octets()[..], &[0xfd; 16], &[1, 0, 0, 25]].concat();
        let with_tlvs = [&V4[..], &[4, 0, 3, 1, 2, 3, 0xff, 0xff, 0xff]].concat();
        let largest = [&V4[..], &vec![9; PROXY_BYTES_MAX - HEAD_BYTES - V4.len()]].concat();
        let tcp6 = "PROXY TCP6 2001:db8::7 ::1 65535 0\r\n";
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE_BYTES - 16));
        vec![
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 25\r\n".to_vec(), told("192.0.2.7:12345")),
            (tcp6.into(), told("[2001:db8::7]:65535")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Told::Unknown),
            (b"PROXY UNKNOWN ::1 x y\r\n".to_vec(), Told::Unknown),
            (longest.into(), Told::Unknown),
            (binary(0x21, 0x11, &V4), told("192.0.2.7:12345")),
            (binary(0x21, 0x11, &with_tlvs), told("192.0.2.7:12345")),
            (binary(0x21, 0x11, &largest), told("192.0.2.7:12345")),
            (binary(0x21, 0x21, &v6), told("[::1]:256")),
            (binary(0x20, 0x00, b""), Told::Nobody),
            (binary(0x20, 0x11, &V4), Told::Nobody),
            (binary(0x21, 0x00, b""), Told::Unknown),
            (binary(0x21, 0x12, &V4), Told::Unknown),
            (binary(0x21, 0x31, &[b'x'; 216]), Told::Unknown),
        ]
    }

    #[test]
    fn every_header_in_any_two_pieces_with_anything_behind() {
        for (header, expected) in headers() {
            for behind in [&b""[..], b"EHLO x\r\n", b"\x16\x03\x01", b"PROXY "] {
                let whole = [&header[..], behind].concat();
                let complete = Parsed::Complete { consumed: header.len(), told: expected };
                assert_eq!(parse(&whole), complete, "{}", whole.escape_ascii());
            }
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Parsed::Partial, "{}", header.escape_ascii());
            }
        }
    }

    /// Reading by what is wanted ends exactly behind the header, and in bounded steps.
    #[test]
    fn no_byte_is_read_that_belongs_to_what_follows() {
        for (header, _) in headers() {
            let (mut read, mut steps) = (0, 0);
            while parse(&header[..read]) == Parsed::Partial {
                let count = wanted(&header[..read]);
                assert!(count > 0);
                read += count;
                steps += 1;
                assert!(read <= header.len(), "{}", header.escape_ascii());
            }
            assert_eq!(read, header.len());
            assert!(steps <= LINE_BYTES);
        }
    }

    #[test]
    fn what_is_none() {
        for bad in [
            &b"EHLO x\r\n"[..],
            b"PROXY\r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP5 ",
            b"Proxy TCP4 ",
            b" PROXY",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 25\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 25 \r\n",
            b"PROXY TCP4  192.0.2.7 10.0.0.1 1 25\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 25\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 25\r\n",
            b"PROXY TCP4 192.0.2.256 10.0.0.1 1 25\r\n",
            b"PROXY TCP4 192.0.02.7 10.0.0.1 1 25\r\n",
            b"PROXY TCP4 ::1 ::1 1 25\r\n",
            b"PROXY TCP6 192.0.2.7 10.0.0.1 1 25\r\n",
            b"PROXY TCP6 fe80::1%eth0 ::1 1 25\r\n",
            b"PROXY TCP4 192.0.2.7\r 10.0.0.1 1 25\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 25\r\r\n",
            b"\r\nEHLO",
            b"\0",
            b"\x16\x03\x01",
        ] {
            assert_eq!(parse(bad), Parsed::Bad, "{}", bad.escape_ascii());
        }
        let long = format!("PROXY UNKNOWN {}", "f".repeat(LINE_BYTES));
        assert_eq!(parse(long.as_bytes()), Parsed::Bad);
        assert_eq!(parse(&binary(0x11, 0x11, &V4)), Parsed::Bad);
        assert_eq!(parse(&binary(0x22, 0x11, &V4)), Parsed::Bad);
        assert_eq!(parse(&binary(0x21, 0x11, &V4[..11])), Parsed::Bad);
        assert_eq!(parse(&binary(0x21, 0x21, &V4)), Parsed::Bad);
        let too_long = binary(0x21, 0x11, &vec![0; PROXY_BYTES_MAX - HEAD_BYTES + 1]);
        assert_eq!(parse(&too_long[..HEAD_BYTES]), Parsed::Bad);
    }

    /// Seeded garbage, by chance with something right in front: no panic, and never more consumed
    /// than there is.
    #[test]
    fn garbage() {
        let headers = headers();
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut chance = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..200_000 {
            let mut input = match chance() % 3 {
                0 => Vec::new(),
                1 => SIGNATURE.to_vec(),
                _ => headers[chance() as usize % headers.len()].0.clone(),
            };
            for _ in 0..chance() % 4 {
                let at = chance() as usize % (input.len() + 1);
                input.insert(at, chance() as u8);
            }
            if !input.is_empty() {
                let at = chance() as usize % input.len();
                input[at] = chance() as u8;
            }
            assert!(wanted(&input) > 0);
            match parse(&input) {
                Parsed::Complete { consumed, .. } => {
                    assert!(consumed <= input.len());
                    assert_eq!(parse(&input[..consumed]), parse(&input));
                }
                Parsed::Partial => assert!(input.len() < PROXY_BYTES_MAX),
                Parsed::Bad => (),
            }
        }
    }
}

//! Whom to ask: the lines of resolv.conf that matter here.
//!
//! `nameserver` and of `options` `timeout`, `attempts`, `rotate` and `use-vc` (resolv.conf(5)).
//! `search` and `domain` are for people's short names, never for mail: a domain behind an `@` is
//! whole (RFC 5321 §2.3.5). What cannot be read is passed over, as every resolver does; without any
//! server the one on this machine is asked. The file may change at any time: whoever owns it reads
//! it again.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

/// Servers that are used; libc's limit too.
pub const SERVERS_MAX: usize = 3;

/// See the module's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Servers {
    list: [IpAddr; SERVERS_MAX],
    len: u8,
    /// How long one of them may take.
    pub timeout: Duration,
    /// How often each is asked.
    pub attempts: u8,
    /// Begin with another one each time.
    pub rotate: bool,
    /// TCP from the start.
    pub only_tcp: bool,
}

impl Default for Servers {
    fn default() -> Servers {
        Servers {
            list: [IpAddr::V4(Ipv4Addr::LOCALHOST); SERVERS_MAX],
            len: 0,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            only_tcp: false,
        }
    }
}

impl Servers {
    /// Reads the text of a resolv.conf.
    pub fn parse(text: &[u8]) -> Servers {
        let mut servers = Servers::default();
        for line in text.split(|byte| *byte == b'\n') {
            let Ok(line) = core::str::from_utf8(line) else { continue };
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => servers.add(words.next().unwrap_or_default()),
                Some("options") => words.for_each(|word| servers.set(word)),
                _ => (),
            }
        }
        servers.len = servers.len.max(1);
        servers
    }

    /// Only the one at `address`.
    pub fn only(address: IpAddr) -> Servers {
        Servers { list: [address; SERVERS_MAX], len: 1, ..Servers::default() }
    }

    /// How many there are; at least one.
    pub fn count(&self) -> u8 {
        self.len.max(1)
    }

    /// The address of server `number`, from 0.
    pub fn address(&self, number: u8) -> Option<IpAddr> {
        self.list.get(..usize::from(self.count()))?.get(usize::from(number)).copied()
    }

    fn add(&mut self, word: &str) {
        // A link-local server needs its interface, which std's sockets would take as a number: none
        // was seen that is not reachable by another address too.
        let Ok(address) = word.parse() else { return };
        if let Some(place) = self.list.get_mut(usize::from(self.len)) {
            *place = address;
            self.len += 1;
        }
    }

    fn set(&mut self, word: &str) {
        let number = |prefix| word.strip_prefix(prefix).and_then(|text: &str| text.parse().ok());
        if let Some(seconds) = number("timeout:") {
            self.timeout = Duration::from_secs(u64::clamp(seconds, 1, 30));
        } else if let Some(attempts) = number("attempts:") {
            self.attempts = attempts.clamp(1, 5) as u8;
        }
        self.rotate |= word == "rotate";
        self.only_tcp |= word == "use-vc";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_found_on_a_router() {
        let servers = Servers::parse(
            b"# made by dhcp\nsearch lan\nnameserver 192.168.1.1\nnameserver\tfe80::1%br-lan\n\
              nameserver 2001:db8::53\r\n; no\noptions timeout:2 attempts:9 edns0 rotate\n",
        );
        assert_eq!(servers.count(), 2);
        assert_eq!(servers.address(0), Some("192.168.1.1".parse().unwrap()));
        assert_eq!(servers.address(1), Some("2001:db8::53".parse().unwrap()));
        assert_eq!(servers.address(2), None);
        assert_eq!((servers.timeout, servers.attempts), (Duration::from_secs(2), 5));
        assert!(servers.rotate && !servers.only_tcp);
    }

    #[test]
    fn nobody_named_means_this_machine() {
        for text in [&b""[..], b"nameserver\n", b"nameserver x\noptions timeout:x\n", b"\xff\n"] {
            let servers = Servers::parse(text);
            assert_eq!(
                (servers.count(), servers.address(0)),
                (1, Some(Ipv4Addr::LOCALHOST.into()))
            );
            assert_eq!((servers.timeout, servers.attempts), (Duration::from_secs(5), 2));
        }
        let many = Servers::parse("nameserver 10.0.0.1\n".repeat(9).as_bytes());
        assert_eq!(many.count(), 3);
    }
}

//! `[clients RANGE]`: who may do what, the longest prefix counts.
//!
//! A section stands for itself: what it does not say has its default, not what a wider range says,
//! so that nobody may relay because of a line somewhere else; [`super::warnings()`] tells where
//! that may surprise. To add a key: a field of [`ClientPolicy`] with its default, a row in `table`,
//! and its line in [`write_clients`].
//!
//! Not here: what becomes of a policy (`intake::admission`), and what is counted (`intake::rates`).

use super::draft::{Draft, Given};
use super::effective::pair;
use super::value::{self, write_size};
use super::{Config, Fault};
use core::fmt::{self, Result as Written, Write};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What `[clients RANGE]` says of one network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientRange {
    /// The network's address, no bit set beyond the prefix.
    pub network: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
    /// What holds there.
    pub policy: ClientPolicy,
}

/// What one client may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientPolicy {
    /// May send mail to anyone.
    pub relay: bool,
    /// STARTTLS is offered, where the listener has it.
    pub starttls: bool,
    /// May log in without TLS.
    pub clear_auth: bool,
    /// What is wrong with lines and commands, and can be told from an attack, is mended.
    pub lenient: bool,
    /// Begins with a PROXY header, which tells whom it speaks for.
    pub proxy: bool,
    /// Tells by XCLIENT whom it speaks for.
    pub xclient: bool,
    /// Connections of one address at one time.
    pub connections: Option<u16>,
    /// Messages of one address an hour.
    pub rate: Option<u16>,
    /// Bytes of its largest message, if less than [`Config::message_size`].
    pub size: Option<u64>,
    /// Recipients of a message of its, if fewer than [`Config::recipients`].
    pub recipients: Option<u8>,
}

impl ClientPolicy {
    /// Of whom no range speaks.
    pub const STRANGER: ClientPolicy = ClientPolicy {
        relay: false,
        starttls: true,
        clear_auth: false,
        lenient: false,
        proxy: false,
        xclient: false,
        connections: None,
        rate: None,
        size: None,
        recipients: None,
    };
}

/// The keys that have another value than for strangers, in one line.
impl fmt::Display for ClientPolicy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClientPolicy { relay, starttls, clear_auth, lenient, proxy, xclient, .. } = *self;
        let ClientPolicy { connections, rate, size, recipients, .. } = *self;
        let mut first = true;
        let mut key = |name: &str, value: &dyn fmt::Display, is_there: bool| {
            if !is_there {
                return Ok(());
            }
            let comma = if core::mem::take(&mut first) { "" } else { ", " };
            write!(out, "{comma}{name} = {value}")
        };
        key("relay", &"yes", relay)?;
        key("starttls", &"no", !starttls)?;
        key("clear-auth", &"yes", clear_auth)?;
        key("lenient", &"yes", lenient)?;
        key("proxy", &"yes", proxy)?;
        key("xclient", &"yes", xclient)?;
        key("connections", &connections.unwrap_or(0), connections.is_some())?;
        key("rate", &rate.unwrap_or(0), rate.is_some())?;
        key("size", &size.unwrap_or(0), size.is_some())?;
        key("recipients", &recipients.unwrap_or(0), recipients.is_some())
    }
}

impl ClientRange {
    /// Whether `address`, not an IPv4-mapped one, lies in this network.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.network.is_ipv4() == address.is_ipv4()
            && value::masked(address, self.prefix) == self.network
    }
}

impl Config {
    /// What the client at `address` may do.
    pub fn client(&self, address: IpAddr) -> ClientPolicy {
        self.client_range(address).map_or(ClientPolicy::STRANGER, |range| range.policy)
    }

    /// The range that speaks of `address`.
    pub fn client_range(&self, address: IpAddr) -> Option<&ClientRange> {
        let address = address.to_canonical();
        let holding = self.clients.iter().filter(|range| range.holds(address));
        holding.max_by_key(|range| range.prefix)
    }
}

/// A section that is being filled in. What must be compared with other keys at the end stands
/// beside its line.
pub(super) struct ClientsDraft {
    pub(super) name: String,
    pub(super) line: u32,
    pub(super) networks: Vec<(IpAddr, u8)>,
    relay: Option<(Permission, u32)>,
    size: Option<(u64, u32)>,
    recipients: Option<(u8, u32)>,
    /// `proxy` and `xclient`, if they are yes.
    tells: [Option<u32>; 2],
    policy: ClientPolicy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Permission {
    No,
    Yes,
    Everyone,
}

impl ClientsDraft {
    /// A section with nothing in it yet.
    pub(super) fn new(
        name: &str,
        line: u32,
        before: &[ClientsDraft],
    ) -> Result<ClientsDraft, String> {
        let networks = value::range(name)?;
        for (network, prefix) in &networks {
            let same = |range: &&ClientsDraft| range.networks.contains(&(*network, *prefix));
            if let Some(before) = before.iter().find(same) {
                let (name, line) = (&before.name, before.line);
                return Err(format!(
                    "{network}/{prefix} is already in [clients {name}], line {line}"
                ));
            }
        }
        let (name, policy) = (name.into(), ClientPolicy::STRANGER);
        Ok(ClientsDraft {
            name,
            line,
            networks,
            relay: None,
            size: None,
            recipients: None,
            tells: [None; 2],
            policy,
        })
    }

    fn check(&self, config: &Config, faults: &mut Vec<Fault>) {
        // Nobody becomes an open relay by a slip of the hand.
        let is_wide = self.networks.iter().any(|(network, prefix)| is_wide(*network, *prefix));
        if let Some((Permission::Yes, line)) = self.relay.filter(|_| is_wide) {
            let message = format!(
                "relay: [clients {}] is much of the Internet, and this would be an open relay; if \
                 that is meant, write relay = everyone",
                self.name
            );
            faults.push(Fault { line, message });
        }
        for (key, line) in ["proxy", "xclient"].into_iter().zip(self.tells) {
            if let Some(line) = line.filter(|_| is_wide) {
                let message = format!(
                    "{key}: [clients {}] is much of the Internet, and anybody there could say that \
                     he is somebody else; name the proxy",
                    self.name
                );
                faults.push(Fault { line, message });
            }
        }
        if let [Some(_), Some(line)] = self.tells {
            let message = "xclient: proxy says the same already; leave one of the two out".into();
            faults.push(Fault { line, message });
        }
        let (size_max, recipients_max) = (config.message_size, config.recipients);
        if let Some((size, line)) = self.size.filter(|(size, _)| *size > size_max) {
            let (size, most) = (write_size(size), write_size(size_max));
            let message = format!("size: {size} is more than message-size, which is {most}");
            faults.push(Fault { line, message });
        }
        if let Some((count, line)) = self.recipients.filter(|(n, _)| *n > recipients_max) {
            let message = format!(
                "recipients: {count} is more than recipients above all sections, which is \
                 {recipients_max}"
            );
            faults.push(Fault { line, message });
        }
    }

    fn policy_of(&self, network: IpAddr) -> ClientPolicy {
        let relay = match self.relay {
            Some((permission, _)) => permission != Permission::No,
            None => network.is_loopback(),
        };
        let size = self.size.map(|(size, _)| size);
        let recipients = self.recipients.map(|(recipients, _)| recipients);
        ClientPolicy { relay, size, recipients, ..self.policy }
    }
}

/// The setters of the table's rows: each goes to the section that is current.
impl Draft {
    fn clients_mut(&mut self, set: impl FnOnce(&mut ClientsDraft)) {
        if let Some(range) = self.clients.get_mut(self.current) {
            set(range);
        }
    }

    pub(super) fn set_client_relay(&mut self, given: &Given<'_>) -> Result<(), String> {
        let permission = match given.word()? {
            "yes" => Permission::Yes,
            "everyone" => Permission::Everyone,
            _ => Permission::No,
        };
        self.clients_mut(|range| range.relay = Some((permission, given.line)));
        Ok(())
    }

    pub(super) fn set_client_size(&mut self, given: &Given<'_>) -> Result<(), String> {
        let size = given.size()?;
        self.clients_mut(|range| range.size = Some((size, given.line)));
        Ok(())
    }

    pub(super) fn set_client_recipients(&mut self, given: &Given<'_>) -> Result<(), String> {
        let recipients = given.small()?;
        self.clients_mut(|range| range.recipients = Some((recipients, given.line)));
        Ok(())
    }

    /// `proxy` and `xclient`.
    pub(super) fn set_client_tells(
        &mut self,
        given: &Given<'_>,
        is_xclient: bool,
    ) -> Result<(), String> {
        let is_yes = given.truth()?;
        self.clients_mut(|range| {
            let [proxy, xclient] = &mut range.tells;
            let (line, policy) = match is_xclient {
                true => (xclient, &mut range.policy.xclient),
                false => (proxy, &mut range.policy.proxy),
            };
            (*line, *policy) = (is_yes.then_some(given.line), is_yes);
        });
        Ok(())
    }

    /// A number or a yes of the policy that nothing else has to agree with.
    pub(super) fn set_client<T>(
        &mut self,
        value: Result<T, String>,
        set: fn(&mut ClientPolicy, T),
    ) -> Result<(), String> {
        let value = value?;
        self.clients_mut(|range| set(&mut range.policy, value));
        Ok(())
    }

    pub(super) fn finish_clients(&mut self, faults: &mut Vec<Fault>) {
        for range in core::mem::take(&mut self.clients) {
            range.check(&self.config, faults);
            for (network, prefix) in &range.networks {
                let policy = range.policy_of(*network);
                let (network, prefix) = (*network, *prefix);
                self.config.clients.push(ClientRange { network, prefix, policy });
            }
        }
        for (network, prefix) in LOOPBACK {
            let same = |other: &ClientRange| (other.network, other.prefix) == (network, prefix);
            if !self.config.clients.iter().any(same) {
                let policy = ClientPolicy { relay: true, ..ClientPolicy::STRANGER };
                self.config.clients.push(ClientRange { network, prefix, policy });
            }
        }
    }
}

/// Whether a range is much of the Internet: a short prefix, and not private. Whoever lets such a
/// range relay must say so in a word of its own: nobody becomes an open relay by a slip.
pub(super) fn is_wide(network: IpAddr, prefix: u8) -> bool {
    let floor = if network.is_ipv4() { 8 } else { 16 };
    prefix < floor && !value::is_in_lan(network, prefix)
}

const LOOPBACK: [(IpAddr, u8); 2] =
    [(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];

/// Writes a section as it would stand in a file.
pub(super) fn write_clients(out: &mut impl Write, range: &ClientRange) -> Written {
    let ClientRange { network, prefix, policy } = range;
    let yes = |is: bool| if is { "yes" } else { "no" };
    writeln!(out, "\n[clients {network}/{prefix}]")?;
    let relay = match policy.relay {
        true if is_wide(*network, *prefix) => "everyone",
        relay => yes(relay),
    };
    pair(out, "relay", relay)?;
    pair(out, "starttls", yes(policy.starttls))?;
    pair(out, "clear-auth", yes(policy.clear_auth))?;
    pair(out, "lenient", yes(policy.lenient))?;
    pair(out, "proxy", yes(policy.proxy))?;
    pair(out, "xclient", yes(policy.xclient))?;
    let numbers = [
        ("connections", policy.connections.map(|count| count.to_string())),
        ("rate", policy.rate.map(|count| count.to_string())),
        ("size", policy.size.map(write_size)),
        ("recipients", policy.recipients.map(|count| count.to_string())),
    ];
    for (key, number) in numbers {
        if let Some(number) = number {
            pair(out, key, number)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Host, parse};
    use super::*;

    fn config(text: &str) -> Config {
        let host = Host { hostname: "pi", home: "/home", is_embedded: false, run: None };
        parse(text.as_bytes(), &host).unwrap()
    }

    #[test]
    fn the_longest_range_of_clients_counts() {
        let config = config(
            "[clients lan]\nrelay = yes\n\
             [clients 10.0.0.0/24]\nsize = 1M\n\
             [clients 0.0.0.0/0]\nrecipients = 5\n",
        );
        let relays = |text: &str| config.client(text.parse().unwrap()).relay;
        for yes in ["127.0.0.1", "127.9.9.9", "::1", "10.9.9.9", "fe80::1", "::ffff:192.168.0.1"] {
            assert!(relays(yes), "{yes}");
        }
        for no in ["10.0.0.7", "8.8.8.8", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!relays(no), "{no}");
        }
        let of = |text: &str| config.client(text.parse().unwrap());
        assert_eq!(of("10.0.0.7").size, Some(1 << 20));
        assert_eq!(of("8.8.8.8").recipients, Some(5));
        assert_eq!(of("127.0.0.1").recipients, None);
        assert_eq!(of("2001:db8::1"), ClientPolicy::STRANGER);
    }

    #[test]
    fn each_key_has_its_place() {
        let config = config(
            "[clients 192.168.1.20]\nrelay = yes\nstarttls = no\nlenient = yes\n\
             xclient = yes\n\
             connections = 2\nrate = 60\nsize = 1M\nrecipients = 3\n",
        );
        let expected = ClientPolicy {
            relay: true,
            starttls: false,
            clear_auth: false,
            lenient: true,
            proxy: false,
            xclient: true,
            connections: Some(2),
            rate: Some(60),
            size: Some(1 << 20),
            recipients: Some(3),
        };
        assert_eq!(config.client("::ffff:192.168.1.20".parse().unwrap()), expected);
        let next = config.client("192.168.1.21".parse().unwrap());
        assert_eq!(next, ClientPolicy::STRANGER);
    }

    /// Every prefix, with the first and last address inside and the two beside it.
    #[test]
    fn ranges_end_where_they_end() {
        for prefix in 0..=32u8 {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let first = 0xC0A8_B4D2 & mask;
            let network = IpAddr::V4(Ipv4Addr::from_bits(first));
            let range = ClientRange { network, prefix, policy: ClientPolicy::STRANGER };
            let holds = |bits: u32| range.holds(IpAddr::V4(Ipv4Addr::from_bits(bits)));
            let last = first | !mask;
            assert!(holds(first) && holds(last) && holds(0xC0A8_B4D2));
            assert!(prefix == 0 || !holds(first.wrapping_sub(1)) && !holds(last.wrapping_add(1)));
            assert!(!range.holds("2001:db8::1".parse().unwrap()));
        }
        let range = ClientRange {
            network: "2001:db8::".parse().unwrap(),
            prefix: 32,
            policy: ClientPolicy::STRANGER,
        };
        assert!(range.holds("2001:db8:ffff:ffff::1".parse().unwrap()));
        assert!(!range.holds("2001:db9::".parse().unwrap()));
    }
}

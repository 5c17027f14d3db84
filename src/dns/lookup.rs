//! From a domain to the addresses that take its mail, RFC 5321 §5.1.
//!
//! A machine that asks one question after the other ([`Lookup::question`], [`Lookup::answered`]):
//! the mail hosts, then the addresses of each in the order of preference, those of equal preference
//! shuffled, until there are [`ADDRESSES_MAX`]. Without mail hosts the domain itself is the host. A
//! host that is this machine is left out together with all that are not more preferred, since they
//! would only bring the mail back.
//!
//! Only a definite answer of the domain's own is a permanent [`Failure`]: no such name, no mail at
//! all (RFC 7505), only this machine. All else is temporary, host by host: one that cannot be
//! looked up now does not hold the others. Limits: [`CNAMES_MAX`] aliases in a row; at most one
//! question for hosts and two for each of [`HOSTS_MAX`] hosts, per alias.

use super::message::{ADDRESSES_MAX, Answer, CNAMES_MAX, HOSTS_MAX, HostName, Kind, Records};
use core::net::IpAddr;

/// One way to a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MailHost {
    /// What the host is called; the name its certificate should have.
    pub name: HostName,
    /// Where it is.
    pub address: IpAddr,
}

/// The ways to a domain, in the order to try.
pub type MailHosts = [Option<MailHost>; ADDRESSES_MAX];

/// Why there is no way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The domain does not exist.
    NoSuchDomain,
    /// The domain says that it takes no mail (RFC 7505).
    NullMx,
    /// The domain has neither mail hosts nor an address, or none of its hosts has one.
    NoAddress,
    /// All ways lead back to this machine.
    Myself,
    /// It is not a name that the DNS can hold.
    BadName,
    /// No server knows at present.
    Temporary,
}

impl Failure {
    /// True when another day may bring another answer.
    pub fn is_temporary(self) -> bool {
        matches!(self, Failure::Temporary | Failure::NoAddress)
    }

    /// For the log, `status` and reports.
    pub fn text(self) -> &'static str {
        match self {
            Failure::NoSuchDomain => "the domain does not exist",
            Failure::NullMx => "the domain takes no mail (null MX)",
            Failure::NoAddress => "no mail host of the domain has an address",
            Failure::Myself => "the domain's mail hosts are this machine, which does not serve it",
            Failure::BadName => "that is not a domain name",
            Failure::Temporary => "no name server knows the domain at present",
        }
    }
}

/// What came of a lookup, and for how many seconds that may be remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Where to go, or why nowhere.
    pub result: Result<MailHosts, Failure>,
    /// Seconds.
    pub seconds: u32,
}

/// What this machine is called, and where it can be reached.
pub trait Own {
    /// Is that one of this machine's names?
    fn has_name(&self, name: &str) -> bool;
    /// Is that one of its addresses?
    fn has_address(&self, address: IpAddr) -> bool;
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "lives for one lookup, on a thread of its own")]
enum State {
    AwaitHosts,
    AwaitAddresses(Kind),
    Done(Result<MailHosts, Failure>),
}

/// See the module's head.
#[derive(Debug)]
pub struct Lookup {
    state: State,
    /// What is asked for now: the domain, a host, or what that is an alias of.
    name: HostName,
    aliases: u8,
    hosts: [Option<(u16, HostName)>; HOSTS_MAX],
    /// The host whose addresses are asked for.
    host: usize,
    found: MailHosts,
    /// Addresses of the present host, of both kinds.
    four: [Option<IpAddr>; ADDRESSES_MAX],
    six: [Option<IpAddr>; ADDRESSES_MAX],
    /// A host could not be looked up.
    is_unsure: bool,
    /// A way back to this machine was left out.
    is_own: bool,
    scatter: u64,
    seconds: u32,
}

impl Lookup {
    /// Begins. `domain` is what stands behind an `@`, address literals (RFC 5321 §4.1.3) included;
    /// `scatter` is a random number, for the order among equals.
    pub fn new(domain: &str, scatter: u64) -> Lookup {
        let state = match literal(domain) {
            None => State::AwaitHosts,
            Some(None) => State::Done(Err(Failure::BadName)),
            Some(Some(address)) => {
                let mut hosts = MailHosts::default();
                if let Some(first) = hosts.first_mut() {
                    *first = Some(MailHost { name: domain.into(), address });
                }
                State::Done(Ok(hosts))
            }
        };
        Lookup {
            state,
            name: domain.into(),
            aliases: 0,
            hosts: [None; HOSTS_MAX],
            host: 0,
            found: MailHosts::default(),
            four: [None; ADDRESSES_MAX],
            six: [None; ADDRESSES_MAX],
            is_unsure: false,
            is_own: false,
            scatter,
            seconds: u32::MAX,
        }
    }

    /// What to ask next; None when it is done.
    pub fn question(&self) -> Option<(HostName, Kind)> {
        match self.state {
            State::AwaitHosts => Some((self.name, Kind::Mx)),
            State::AwaitAddresses(kind) => Some((self.name, kind)),
            State::Done(_) => None,
        }
    }

    /// What came of it, when there is nothing more to ask.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.state {
            State::Done(result) => Some(Outcome { result, seconds: self.seconds }),
            _ => None,
        }
    }

    /// The answer to the last question; None if it got none.
    pub fn answered(&mut self, answer: Option<Answer>, own: &dyn Own) {
        match self.state {
            State::AwaitHosts => self.take_hosts(answer, own),
            State::AwaitAddresses(kind) => self.take_addresses(kind, answer, own),
            State::Done(_) => (),
        }
    }

    /// The question itself could not be written.
    pub fn unaskable(&mut self, own: &dyn Own) {
        match self.state {
            State::AwaitHosts => self.state = State::Done(Err(Failure::BadName)),
            // A mail host with such a name has no address: the others count.
            State::AwaitAddresses(_) => self.next_host(own),
            State::Done(_) => (),
        }
    }

    fn take_hosts(&mut self, answer: Option<Answer>, own: &dyn Own) {
        match answer {
            Some(Answer::NoSuchName(seconds)) => {
                self.seconds = self.seconds.min(seconds);
                self.state = State::Done(Err(Failure::NoSuchDomain));
            }
            Some(Answer::Records(records)) => {
                self.seconds = self.seconds.min(records.seconds);
                if records.hosts.iter().any(Option::is_some) {
                    self.choose_hosts(&records, own);
                } else if let Some(alias) = self.follow(&records) {
                    self.name = alias;
                } else {
                    // RFC 5321 §5.1: no MX, so the domain is its own and only host.
                    let host = Some((0, self.name));
                    self.hosts = core::array::from_fn(|at| if at == 0 { host } else { None });
                    self.ask_host(own);
                }
            }
            _ => self.state = State::Done(Err(Failure::Temporary)),
        }
    }

    /// An alias whose end the answer did not tell.
    fn follow(&mut self, records: &Records) -> Option<HostName> {
        let alias = records.alias?;
        self.aliases += 1;
        let is_new = !alias.as_str().eq_ignore_ascii_case(self.name.as_str());
        (is_new && self.aliases < CNAMES_MAX && records.is_empty()).then_some(alias)
    }

    fn choose_hosts(&mut self, records: &Records, own: &dyn Own) {
        self.hosts = records.hosts;
        let is_null = |host: &(u16, HostName)| host.1.is_empty();
        if self.hosts.iter().flatten().all(is_null) {
            self.state = State::Done(Err(Failure::NullMx));
            return;
        }
        let mine = self.hosts.iter().flatten().find(|host| own.has_name(host.1.as_str()));
        if let Some(limit) = mine.map(|host| host.0) {
            self.leave_out(limit);
        }
        shuffle_equals(&mut self.hosts, self.scatter);
        self.ask_host(own);
    }

    /// RFC 5321 §5.1: all that are not more preferred than this machine.
    fn leave_out(&mut self, limit: u16) {
        self.is_own = true;
        for place in &mut self.hosts {
            if place.is_some_and(|(preference, _)| preference >= limit) {
                *place = None;
            }
        }
    }

    /// Asks for the addresses of the present host, or of one behind it.
    fn ask_host(&mut self, own: &dyn Own) {
        let is_host = |place: &&Option<(u16, HostName)>| {
            place.is_some_and(|(_, name)| !name.is_empty() && !own.has_name(name.as_str()))
        };
        let rest = self.hosts.get(self.host..).unwrap_or_default();
        let skipped = rest.iter().position(|place| is_host(&place));
        self.is_own |= rest.iter().flatten().any(|(_, name)| own.has_name(name.as_str()));
        let place = skipped.and_then(|skipped| self.hosts.get(self.host + skipped)).copied();
        match place.flatten() {
            Some((_, name)) => {
                self.host += skipped.unwrap_or(0);
                self.name = name;
                self.aliases = 0;
                (self.four, self.six) = ([None; ADDRESSES_MAX], [None; ADDRESSES_MAX]);
                self.state = State::AwaitAddresses(Kind::Aaaa);
            }
            None => self.finish(),
        }
    }

    fn take_addresses(&mut self, kind: Kind, answer: Option<Answer>, own: &dyn Own) {
        match answer {
            Some(Answer::Records(records)) => {
                if let Some(alias) = self.follow(&records) {
                    self.name = alias;
                    return;
                }
                if !records.is_empty() {
                    self.seconds = self.seconds.min(records.seconds);
                }
                let place = if kind == Kind::A { &mut self.four } else { &mut self.six };
                *place = records.addresses;
            }
            Some(Answer::NoSuchName(_)) => (),
            _ => self.is_unsure = true,
        }
        if kind == Kind::Aaaa {
            let host = self.hosts.get(self.host).copied().flatten();
            self.name = host.map_or(self.name, |(_, name)| name);
            self.aliases = 0;
            self.state = State::AwaitAddresses(Kind::A);
        } else {
            self.next_host(own);
        }
    }

    /// Keeps what the present host has, one of each kind in turn, and goes on to the next.
    fn next_host(&mut self, own: &dyn Own) {
        let Some((preference, name)) = self.hosts.get(self.host).copied().flatten() else {
            return self.finish();
        };
        let both = || self.six.iter().zip(&self.four).flat_map(|(six, four)| [*six, *four]);
        if both().flatten().any(|address| own.has_address(address)) {
            self.leave_out(preference);
        } else {
            let mut places = self.found.iter_mut().filter(|place| place.is_none());
            for address in both().flatten() {
                let Some(place) = places.next() else { break };
                *place = Some(MailHost { name, address });
            }
        }
        self.host += 1;
        if self.found.iter().all(Option::is_some) { self.finish() } else { self.ask_host(own) }
    }

    fn finish(&mut self) {
        self.state = State::Done(if self.found.iter().any(Option::is_some) {
            Ok(self.found)
        } else if self.is_unsure {
            Err(Failure::Temporary)
        } else if self.is_own {
            Err(Failure::Myself)
        } else {
            Err(Failure::NoAddress)
        });
    }
}

/// The address in a literal; None if it is not a literal, Some(None) if it is not a good one.
#[expect(clippy::option_option, reason = "no literal, a bad one, and an address are three things")]
fn literal(domain: &str) -> Option<Option<IpAddr>> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    let six = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")).and(inner.get(5..));
    Some(match six {
        Some(six) => six.parse().ok().map(IpAddr::V6),
        None => inner.parse().ok().map(IpAddr::V4),
    })
}

/// RFC 5321 §5.1: hosts of one preference share the load.
fn shuffle_equals(hosts: &mut [Option<(u16, HostName)>; HOSTS_MAX], mut scatter: u64) {
    let preference = |place: &Option<(u16, HostName)>| place.as_ref().map(|host| host.0);
    for group in hosts.chunk_by_mut(|one, other| preference(one) == preference(other)) {
        for at in (1..group.len()).rev() {
            group.swap(at, (scatter % (at as u64 + 1)) as usize);
            // Knuth's MMIX generator: more than even is not needed.
            scatter = scatter.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    struct Here;

    impl Own for Here {
        fn has_name(&self, name: &str) -> bool {
            name.eq_ignore_ascii_case("me.example")
        }

        fn has_address(&self, address: IpAddr) -> bool {
            address == ip("192.0.2.99")
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[derive(Default)]
    struct Zone(BTreeMap<(String, Kind), Option<Answer>>);

    impl Zone {
        fn mx(mut self, name: &str, hosts: &[(u16, &str)]) -> Zone {
            let mut records = Records { seconds: 300, ..Records::default() };
            for (place, (preference, host)) in records.hosts.iter_mut().zip(hosts) {
                *place = Some((*preference, HostName::from(*host)));
            }
            self.0.insert((name.into(), Kind::Mx), Some(Answer::Records(records)));
            self
        }

        fn host(mut self, name: &str, addresses: &[&str]) -> Zone {
            for kind in [Kind::A, Kind::Aaaa] {
                let mut records = Records { seconds: 200, ..Records::default() };
                let fitting = addresses.iter().map(|text| ip(text));
                let fitting = fitting.filter(|address| address.is_ipv4() == (kind == Kind::A));
                for (place, address) in records.addresses.iter_mut().zip(fitting) {
                    *place = Some(address);
                }
                self.0.insert((name.into(), kind), Some(Answer::Records(records)));
            }
            self
        }

        fn with(mut self, name: &str, kind: Kind, answer: Option<Answer>) -> Zone {
            self.0.insert((name.into(), kind), answer);
            self
        }

        fn alias(self, name: &str, kind: Kind, target: &str) -> Zone {
            let records = Records { alias: Some(target.into()), seconds: 9, ..Records::default() };
            self.with(name, kind, Some(Answer::Records(records)))
        }

        fn ask(&self, domain: &str) -> Result<Vec<String>, Failure> {
            let mut lookup = Lookup::new(domain, 5);
            let mut asked = 0;
            while let Some((name, kind)) = lookup.question() {
                asked += 1;
                assert!(asked < 60, "no end");
                let known = self.0.get(&(name.as_str().to_owned(), kind));
                lookup.answered(known.copied().unwrap_or(Some(Answer::NoSuchName(60))), &Here);
            }
            let hosts = lookup.outcome().unwrap().result?;
            let text = |host: &MailHost| format!("{} {}", host.name.as_str(), host.address);
            Ok(hosts.iter().flatten().map(text).collect())
        }
    }

    #[test]
    fn by_preference_one_family_after_the_other() {
        let zone = Zone::default()
            .mx("a.example", &[(10, "one.example"), (20, "two.example")])
            .host("one.example", &["192.0.2.1", "192.0.2.2", "2001:db8::1"])
            .host("two.example", &["192.0.2.3"]);
        assert_eq!(
            zone.ask("a.example").unwrap(),
            [
                "one.example 2001:db8::1",
                "one.example 192.0.2.1",
                "one.example 192.0.2.2",
                "two.example 192.0.2.3"
            ]
        );
    }

    #[test]
    fn without_mail_hosts_the_domain_is_one() {
        let zone = Zone::default().mx("a.example", &[]).host("a.example", &["192.0.2.1"]);
        assert_eq!(zone.ask("a.example").unwrap(), ["a.example 192.0.2.1"]);
        let nothing = Zone::default().mx("a.example", &[]).host("a.example", &[]);
        assert_eq!(nothing.ask("a.example"), Err(Failure::NoAddress));
    }

    #[test]
    fn what_is_definite_and_what_is_not() {
        let zone = Zone::default();
        assert_eq!(zone.ask("gone.example"), Err(Failure::NoSuchDomain));
        assert_eq!(zone.mx("a.example", &[(0, "")]).ask("a.example"), Err(Failure::NullMx));
        let silent = Zone::default().with("a.example", Kind::Mx, None);
        assert_eq!(silent.ask("a.example"), Err(Failure::Temporary));
        let failing = Zone::default().with("a.example", Kind::Mx, Some(Answer::Refused));
        assert_eq!(failing.ask("a.example"), Err(Failure::Temporary));
        let half = Zone::default()
            .mx("a.example", &[(10, "one.example"), (20, "two.example")])
            .with("one.example", Kind::A, None)
            .with("one.example", Kind::Aaaa, None);
        assert_eq!(half.ask("a.example"), Err(Failure::Temporary));
        let half = half.host("two.example", &["192.0.2.3"]);
        assert_eq!(half.ask("a.example").unwrap(), ["two.example 192.0.2.3"]);
    }

    #[test]
    fn this_machine_and_what_lies_behind_it_is_left_out() {
        let zone = Zone::default()
            .mx(
                "a.example",
                &[
                    (10, "one.example"),
                    (20, "ME.example"),
                    (20, "two.example"),
                    (30, "three.example"),
                ],
            )
            .host("one.example", &["192.0.2.1"])
            .host("two.example", &["192.0.2.2"])
            .host("three.example", &["192.0.2.3"]);
        assert_eq!(zone.ask("a.example").unwrap(), ["one.example 192.0.2.1"]);
        let only = Zone::default().mx("a.example", &[(10, "me.example"), (20, "two.example")]);
        assert_eq!(only.host("two.example", &["192.0.2.2"]).ask("a.example"), Err(Failure::Myself));
        let by_address = Zone::default()
            .mx("a.example", &[(10, "one.example"), (20, "nat.example"), (30, "three.example")])
            .host("one.example", &["192.0.2.1"])
            .host("nat.example", &["192.0.2.99"])
            .host("three.example", &["192.0.2.3"]);
        assert_eq!(by_address.ask("a.example").unwrap(), ["one.example 192.0.2.1"]);
        let plain = Zone::default().mx("a.example", &[]).host("a.example", &["192.0.2.99"]);
        assert_eq!(plain.ask("a.example"), Err(Failure::Myself));
    }

    #[test]
    fn aliases_that_the_answer_does_not_end() {
        let zone = Zone::default()
            .alias("a.example", Kind::Mx, "b.example")
            .mx("b.example", &[(10, "mx.example")])
            .alias("mx.example", Kind::A, "host.example")
            .host("host.example", &["192.0.2.1"]);
        assert_eq!(zone.ask("a.example").unwrap(), ["mx.example 192.0.2.1"]);
        let mut circle = Zone::default();
        for kind in [Kind::Mx, Kind::A, Kind::Aaaa] {
            circle =
                circle.alias("a.example", kind, "b.example").alias("b.example", kind, "a.example");
        }
        assert_eq!(circle.ask("a.example"), Err(Failure::NoAddress));
    }

    #[test]
    fn literals_need_no_question() {
        let zone = Zone::default();
        assert_eq!(zone.ask("[192.0.2.1]").unwrap(), ["[192.0.2.1] 192.0.2.1"]);
        assert_eq!(zone.ask("[IPv6:2001:db8::1]").unwrap(), ["[IPv6:2001:db8::1] 2001:db8::1"]);
        for bad in ["[]", "[2001:db8::1]", "[IPv6:192.0.2.1]", "[x:y]", "[192.0.2.1"] {
            let result = zone.ask(bad);
            assert!(
                matches!(result, Err(Failure::BadName | Failure::NoSuchDomain)),
                "{bad} {result:?}"
            );
        }
    }

    #[test]
    fn equals_share_the_load_and_keep_their_place() {
        let names: Vec<String> = (0..6).map(|number| format!("h{number}.example")).collect();
        let mut firsts = std::collections::BTreeSet::new();
        for scatter in 0..50u64 {
            let mut hosts = [None; HOSTS_MAX];
            for (at, (place, name)) in hosts.iter_mut().zip(&names).enumerate() {
                *place = Some((if at < 4 { 5 } else { 9 }, HostName::from(name.as_str())));
            }
            shuffle_equals(&mut hosts, scatter.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let order: Vec<u16> = hosts.iter().flatten().map(|host| host.0).collect();
            assert_eq!(order, [5, 5, 5, 5, 9, 9]);
            firsts.insert(hosts[0].unwrap().1.as_str().to_owned());
        }
        assert_eq!(firsts.len(), 4);
    }
}

//! The configuration: what the file says, parsed once into types that cannot lie.
//!
//! Pure: text and facts about the host in, a [`Config`] or every fault out. Reading the file,
//! asking the system for its name and printing faults is `cli::configuration`'s part.
//!
//! Start at `table`, the one table of keys, which also prints the manual; `ini` splits lines,
//! `parse` walks them through the table into a `draft`, `value` reads single values, `effective`
//! writes a `Config` back as a file, `warnings` says what is allowed but deserves a thought;
//! `clients` has all of this for `[clients RANGE]`, `protection` and `login` for parts of a relay.
//!
//! Invariants: every `Via::Relay` is an index into `relays`; every path is absolute; every name,
//! address and number has passed its key's floor and ceiling; `clients` always says something
//! about loopback.

mod clients;
mod draft;
mod effective;
mod ini;
mod listener;
mod login;
mod nearest;
mod parse;
mod protection;
mod rewrite;
mod section;
mod table;
mod value;
mod warnings;

pub use clients::{ClientPolicy, ClientRange};
pub use draft::ALIASES_FILE;
pub use effective::write_effective;
pub use ini::FILE_BYTES_MAX;
pub use login::{KeySource, Literal, RelayLogin};
pub use nearest::hint;
pub use parse::{ENVIRONMENT_PREFIX, embedded, find_line, parse, parse_with_environment};
pub use protection::{RelayTls, Scheme, TlsVersion};
pub use rewrite::Rewrite;
pub use table::{entries, key_names, section_names, write_markdown, write_plain};
pub use value::{is_host_name, pattern as parse_pattern};
pub use warnings::warnings;

use crate::mail::address::Address;
use crate::mail::aliases::{Addressee, Aliases, Found};
use core::net::SocketAddr;
use core::time::Duration;

/// Everything that can be configured, in effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This machine's name in greetings, EHLO and Received.
    pub hostname: String,
    /// The domain of bare names, as they go out.
    pub origin: String,
    /// What `/etc/mailname` says, where `origin` is not set: it is this machine, too.
    pub mailname: Option<String>,
    /// Where mail comes in beside the submit socket and the drop directory: first the key `listen`,
    /// which may name no place, then each `[listen NAME]`. A listener is known by its number.
    pub listen: Vec<Listener>,
    /// The file of CAs by which next hops are verified; none: the system's.
    pub ca: Option<String>,
    /// The name server to ask for mail hosts; none: those of resolv.conf.
    pub resolver: Option<SocketAddr>,
    /// Next hops by number; the one of the key `relay` is named `default`.
    pub relays: Vec<Relay>,
    /// Where mail goes that no route matches: the key `relay`, else held.
    pub via: Via,
    /// Per destination; the first match counts.
    pub routes: Vec<Route>,
    /// Who may do what; the longest prefix counts.
    pub clients: Vec<ClientRange>,
    /// Who gets the mail of local users, or of everyone.
    pub to: Option<To>,
    /// Who everything is from that is sent to another server.
    pub from: Option<String>,
    /// Who is called what.
    pub rewrites: Vec<Rewrite>,
    /// The file of aliases; none: there are none.
    pub aliases_file: Option<String>,
    /// What stands in it, once it has been read.
    pub aliases: Aliases,
    /// The file of those who may log in, where a listener names no other; none: nobody.
    pub users: Option<String>,
    /// Who the daemon becomes, if root starts it; none: the user `mote`, if there is one.
    pub user: Option<String>,
    /// The directory of the queue image and the drop directory.
    pub spool: String,
    /// The directory of the submit and control sockets.
    pub run: String,
    /// Bytes of the queue image; none: chosen from what is free when it is made.
    pub spool_size: Option<u64>,
    /// Bytes of the largest message taken.
    pub message_size: u64,
    /// Receiving slots.
    pub sessions: u16,
    /// Sending slots.
    pub senders: u16,
    /// Recipients of one message.
    pub recipients: u8,
    /// Received fields beyond which a message goes in circles.
    pub hops: u8,
    /// How long a peer may take for a command.
    pub command_timeout: Duration,
    /// How long a peer may send nothing inside DATA.
    pub data_timeout: Duration,
    /// How long a connection to a next hop may take.
    pub connect_timeout: Duration,
    /// How long a next hop may take for a reply.
    pub reply_timeout: Duration,
    /// Steps between attempts; the last repeats. Never empty.
    pub retry: Vec<Duration>,
    /// How long, in running time, delivery is tried.
    pub expire: Duration,
    /// When a sender is told that a mail takes long, if he asked to be; zero: never.
    pub delay_notice: Duration,
    /// How far ahead a sender may ask for a mail to go; zero: not at all.
    pub hold_max: Duration,
    /// What is logged.
    pub log: Log,
}

/// Places to listen, and what holds for who comes in there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// What the file and the log call it; empty: the key `listen`.
    pub name: String,
    /// Where.
    pub places: Vec<Listen>,
    /// Whether TLS is spoken there.
    pub tls: ListenerTls,
    /// Whether one can log in there; none: no.
    pub auth: Option<ListenerAuth>,
}

/// Who can log in at a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerAuth {
    /// The file of users.
    pub users: String,
    /// Nobody sends mail without.
    pub is_required: bool,
}

/// Whether and when a listener speaks TLS, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenerTls {
    /// Never.
    Off,
    /// When the client says STARTTLS (RFC 3207).
    Starttls(Certificate),
    /// From the first byte on (RFC 8314).
    Implicit(Certificate),
}

/// The files of a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The certificate and those between it and its root, PEM.
    pub cert: String,
    /// Its private key, PEM.
    pub key: String,
}

/// A place to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// A TCP address.
    Address(SocketAddr),
    /// Every address of a network interface, and nothing else.
    Interface {
        /// The interface, such as `br-lan`.
        name: String,
        /// The TCP port.
        port: u16,
    },
    /// A Unix socket.
    Unix(String),
    /// Sockets that whoever starts the daemon has opened.
    Inherited,
}

/// A next hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relay {
    /// What routes and the log call it.
    pub name: String,
    /// A domain name or an address literal without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// What its TLS is held to.
    pub tls: RelayTls,
    /// Who this machine is there; none: nobody.
    pub login: Option<RelayLogin>,
}

/// What becomes of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Via {
    /// Sent to the relay of that number in [`Config::relays`].
    Relay(u16),
    /// Delivered into the Maildir at that path.
    Maildir(String),
    /// Sent to the mail hosts of the recipient's own domain.
    Mx,
    /// Kept in the queue.
    Hold,
    /// Refused when it comes in; what is there already is kept.
    Reject,
    /// Thrown away.
    Discard,
}

/// One `[route PATTERN]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Which recipients.
    pub pattern: Pattern,
    /// Where to.
    pub via: Via,
}

/// Which recipients a route is for. Compared without case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// `*`: all.
    Any,
    /// `@`: local users.
    Local,
    /// `example.net`: everyone there, but not in subdomains.
    Domain(String),
    /// `*.example.net`, kept without the `*.`: everyone in its subdomains.
    Subdomains(String),
    /// `user@example.net`: one address.
    Address(String),
}

/// The key `to` or `to!`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct To {
    /// Who gets it.
    pub address: String,
    /// `to!`: every recipient is replaced, not just local users.
    pub everyone: bool,
}

/// The least weighty event that is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Log {
    /// What needs somebody.
    Error,
    /// And what is odd.
    Warn,
    /// And every message's way.
    Info,
    /// And every step of it.
    Debug,
}

/// Facts about the machine and the caller that defaults depend on.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The system's own name.
    pub hostname: &'a str,
    /// Where everything lies when there is no configuration file. Absolute.
    pub home: &'a str,
    /// There is no configuration file: loopback:2525, and everything under `home`.
    pub is_embedded: bool,
    /// The run directory where a file does not name one; none: the spool directory.
    pub run: Option<&'a str>,
}

/// Something wrong in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The line, from 1; 0: the environment, and the message names the variable.
    pub line: u32,
    /// What is wrong, what was expected, and the nearest that is valid.
    pub message: String,
}

impl Config {
    /// Whether `address` is a user of this machine: no domain, or one of its own names.
    pub fn is_local(&self, address: Address<'_>) -> bool {
        let own = [self.hostname.as_str(), "localhost", "localhost.localdomain"];
        let mut own = own.into_iter().chain(self.mailname.as_deref());
        address.domain().is_none() || own.any(|name| address.domain_is(name))
    }

    /// Who gets the mail of `to` instead.
    pub fn alias(&self, to: Addressee<'_>) -> Found<'_> {
        let is_for_one = self.to.as_ref().is_some_and(|to| to.everyone);
        match to.is_final || is_for_one || !self.is_local(to.address) {
            true => Found::Nothing,
            false => self.aliases.find(to.address.local()),
        }
    }

    /// Where a recipient's mail goes: by the first route that matches, else [`Config::via`].
    pub fn route(&self, address: Address<'_>) -> &Via {
        let is_local = self.is_local(address);
        let found = self.routes.iter().find(|route| route.pattern.holds(address, is_local));
        found.map_or(&self.via, |route| &route.via)
    }

    /// The listener of that number; one that is not there is the key `listen`.
    pub fn listener(&self, number: u8) -> &Listener {
        const NONE: &Listener = &Listener {
            name: String::new(),
            places: Vec::new(),
            tls: ListenerTls::Off,
            auth: None,
        };
        self.listen.get(usize::from(number)).or(self.listen.first()).unwrap_or(NONE)
    }

    /// Whether a secret stands in the configuration itself, and in which relay's section, by its
    /// key.
    pub fn literal_key(&self) -> Option<(&str, &'static str)> {
        self.relays.iter().find_map(|relay| {
            let login = relay.login.as_ref()?;
            let key = if login.is_token { "token" } else { "password" };
            matches!(login.key, KeySource::Literal(_)).then_some((relay.name.as_str(), key))
        })
    }

    /// Every file of users, once.
    pub fn users_files(&self) -> Vec<&str> {
        let all = self.listen.iter().filter_map(|listener| listener.auth.as_ref());
        let mut files: Vec<&str> = all.map(|auth| auth.users.as_str()).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Takes the listeners of `old`, whose sockets are open, with what this config says of those
    /// that are in both. False: something has changed that only a restart brings.
    pub fn keep_listeners(&mut self, old: &Config) -> bool {
        let is_same = |one: &Listener, other: &Listener| {
            let same_kind =
                core::mem::discriminant(&one.tls) == core::mem::discriminant(&other.tls);
            one.name == other.name && one.places == other.places && same_kind
        };
        let new = core::mem::take(&mut self.listen);
        let is_all_same = new.len() == old.listen.len()
            && old.listen.iter().all(|old| new.iter().any(|new| is_same(new, old)));
        self.listen = old
            .listen
            .iter()
            .map(|old| new.iter().find(|new| is_same(new, old)).unwrap_or(old).clone())
            .collect();
        is_all_same
    }
}

impl Pattern {
    /// Whether `address`, which is local or not, is one of these.
    pub fn holds(&self, address: Address<'_>, is_local: bool) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Local => is_local,
            Pattern::Domain(domain) => address.domain_is(domain),
            Pattern::Subdomains(parent) => {
                // At least one label and its dot before the parent.
                let labels = address.domain().and_then(|domain| {
                    let place = domain.len().checked_sub(parent.len())?;
                    Some((domain.get(..place)?, domain.get(place..)?))
                });
                labels.is_some_and(|(labels, rest)| {
                    labels.len() > 1 && labels.ends_with('.') && rest.eq_ignore_ascii_case(parent)
                })
            }
            Pattern::Address(whole) => address.as_str().eq_ignore_ascii_case(whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host<'_> =
        Host { hostname: "pi.example.net", home: "/home", is_embedded: false, run: None };

    fn config(text: &str) -> Config {
        parse(text.as_bytes(), &HOST).unwrap()
    }

    fn address(text: &str) -> Address<'_> {
        Address::parse(text.as_bytes()).unwrap()
    }

    fn places(config: &Config) -> Vec<Listen> {
        config.listen.iter().flat_map(|listener| listener.places.clone()).collect()
    }

    #[test]
    fn listeners_with_names() {
        const TLS: &str = "cert = /c\nkey = /k\n";
        let text = format!(
            "[listen a]\naddress = 10.0.0.1\n[listen b]\ntls = implicit\naddress = ::1 eth0\n{TLS}\
             [listen c]\naddress = 10.0.0.1:587\ntls = starttls\n{TLS}"
        );
        let config = config(&text);
        let written: Vec<String> = places(&config).iter().map(value::write_listen).collect();
        assert_eq!(written, ["10.0.0.1:25", "[::1]:465", "eth0:465", "10.0.0.1:587"]);
        let names: Vec<&str> = config.listen.iter().map(|listener| &*listener.name).collect();
        assert_eq!(names, ["", "a", "b", "c"]);
        let files = || Certificate { cert: "/c".into(), key: "/k".into() };
        assert_eq!(config.listener(1).tls, ListenerTls::Off);
        assert_eq!(config.listener(2).tls, ListenerTls::Implicit(files()));
        assert_eq!(config.listener(3).tls, ListenerTls::Starttls(files()));
        assert_eq!(config.listener(99).name, "");
    }

    #[test]
    fn listeners_where_one_can_log_in() {
        let config = config(
            "users = /u\n[listen a]\naddress = 10.0.0.1\n\
             [listen b]\naddress = 10.0.0.2\nauth = off\n\
             [listen c]\naddress = 10.0.0.3\nauth = required\nusers = /v\n",
        );
        let of = |number| {
            let auth = config.listener(number).auth.as_ref();
            auth.map(|auth| (auth.users.as_str(), auth.is_required))
        };
        assert_eq!([of(0), of(1)], [Some(("/u", false)); 2]);
        assert_eq!([of(2), of(3)], [None, Some(("/v", true))]);
        assert_eq!(config.users_files(), ["/u", "/v"]);
    }

    #[test]
    fn a_reload_changes_certificates_but_no_places() {
        let with = |places: &str, cert: &str, tls: &str| {
            config(&format!(
                "listen = {places}\n[listen b]\naddress = ::1\n\
                 tls = {tls}\ncert = {cert}\nkey = /k\n"
            ))
        };
        let old = with("off", "/one", "starttls");
        let mut new = with("off", "/two", "starttls");
        let expected = new.clone();
        assert!(new.keep_listeners(&old));
        assert_eq!(new, expected);
        for mut new in [
            with("lo", "/two", "starttls"),
            with("off", "/two", "implicit"),
            config("listen = off"),
        ] {
            assert!(!new.keep_listeners(&old));
            assert_eq!(new.listen.len(), 2);
            assert_eq!(places(&new), places(&old));
        }
    }

    #[test]
    fn the_first_route_that_matches_counts() {
        let config = config(
            "relay = smtp://one\n\
             [route Me@example.net]\nvia = maildir:/me\n\
             [route example.net]\nvia = relay two\n\
             [route *.example.net]\nvia = discard\n\
             [route @]\nvia = hold\n\
             [relay two]\nurl = smtp://two\n",
        );
        for (to, via) in [
            ("me@EXAMPLE.net", Via::Maildir("/me".into())),
            ("you@Example.Net", Via::Relay(1)),
            ("you@a.b.example.net", Via::Discard),
            ("you@badexample.net", Via::Relay(0)),
            ("you@example.org", Via::Relay(0)),
            ("root", Via::Hold),
            ("root@localhost", Via::Hold),
        ] {
            assert_eq!(*config.route(address(to)), via, "{to}");
        }
        // pi.example.net is local, but an earlier route names it.
        assert_eq!(*config.route(address("root@pi.example.net")), Via::Discard);
    }

    #[test]
    fn local_users() {
        let config = config("");
        for local in ["root", "root@PI.example.net", "a@localhost", "a@localhost.localdomain"] {
            assert!(config.is_local(address(local)), "{local}");
        }
        assert!(!config.is_local(address("root@example.net")));
    }

    #[test]
    fn defaults() {
        let config = config("");
        assert_eq!(config.hostname, "pi.example.net");
        assert_eq!(places(&config), [Listen::Address("127.0.0.1:25".parse().unwrap())]);
        assert_eq!((config.via, config.sessions, config.senders), (Via::Hold, 16, 4));
        assert_eq!((config.message_size, config.recipients), (10 << 20, 100));
        assert_eq!(
            (config.spool.as_str(), config.run.as_str()),
            ("/var/spool/mote", "/var/spool/mote")
        );
        let config = embedded(&HOST);
        assert_eq!(places(&config), [Listen::Address("127.0.0.1:2525".parse().unwrap())]);
        assert_eq!(config.via, Via::Maildir("/home/Maildir".into()));
        assert_eq!((config.spool.as_str(), config.run.as_str()), ("/home/spool", "/home/run"));
    }

    /// The run directory, which then is the spool, got a path that no socket can have; found by
    /// fuzzing.
    #[test]
    fn a_long_spool_had_no_room_for_its_sockets() {
        let long = format!("/{}", "s".repeat(110));
        let faults = parse(format!("\nspool = {long}").as_bytes(), &HOST).unwrap_err();
        assert!(matches!(&faults[..], [Fault { line: 2, message }] if message.contains("run")));
        assert_eq!(config(&format!("spool = {long}\nrun = /run/mote")).spool, long);
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        let with = |text: &str, pairs: &[(String, String)]| {
            parse_with_environment(text.as_bytes(), pairs, &HOST)
        };
        let pairs = [
            pair("MOTE_RELAY__URL", "smtp://two:26"),
            pair("MOTE_SPOOL_SIZE", "1M"),
            pair("MOTE_CLIENTS__LAN__RELAY", "yes"),
            pair("MOTE_HOPS", ""),
        ];
        let config = with("relay = smtp://one\nspool-size = 2M\n", &pairs).unwrap();
        let two = Relay {
            name: "default".into(),
            host: "two".into(),
            port: 26,
            scheme: Scheme::Smtp,
            tls: RelayTls::default(),
            login: None,
        };
        assert_eq!((config.relays.as_slice(), &config.via), ([two].as_slice(), &Via::Relay(0)));
        assert_eq!(config.spool_size, Some(1 << 20));
        assert!(config.client("10.1.1.1".parse().unwrap()).relay);
        let hold = with("relay = smtp://one\n", &[pair("MOTE_RELAY", "hold")]).unwrap();
        assert_eq!(hold.via, Via::Hold);
        let faults = with("", &[pair("MOTE_LISTE", "off")]).unwrap_err();
        let message = "MOTE_LISTE: there is no key 'liste'; did you mean 'listen'?".into();
        assert_eq!(faults, [Fault { line: 0, message }]);
    }
}

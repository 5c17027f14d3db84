//! A configuration that is being filled in, one value at a time, and closed at the end.
//!
//! Not here: where values come from (`parse`). Sections name each other before they are read, so
//! a route's relay is looked up only by [`Draft::finish`]; what is missing or contradicts itself is
//! found there too, with the line to change.

use super::clients::ClientsDraft;
use super::listener::ListenerDraft;
use super::login::{KeyDraft, LoginDraft};
use super::nearest::hint;
use super::protection::{ProtectionDraft, Scheme};
use super::table::{KEYS, Key, Kind, RUN_PATH_BYTES_MAX, Section};
use super::value::{self, Url};
use super::{Config, Fault, Host, Listen, Listener, ListenerTls, Log, Relay, Route, To, Via};
use crate::mail::aliases::Aliases;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

/// Where aliases stand when nobody says.
pub const ALIASES_FILE: &str = "/etc/aliases";
/// The name of the relay that the key `relay` makes.
pub(super) const DEFAULT_RELAY: &str = "default";
/// Steps of `retry`.
const RETRY_STEPS_MAX: usize = 32;
/// `[relay NAME]` sections; their number is kept in 16 bits.
const SECTIONS_MAX: usize = 1000;

/// A value as it was given for a key.
pub(super) struct Given<'a> {
    /// The row of the table.
    pub(super) key: &'static Key,
    /// The value's text.
    pub(super) text: &'a str,
    /// Its line; 0: the environment, or a default.
    pub(super) line: u32,
}

/// The configuration so far.
pub(super) struct Draft {
    pub(super) config: Config,
    /// `relay`, where it is not a URL; that one is a relay named default.
    via: Option<Via>,
    pub(super) is_listen_given: bool,
    pub(super) listeners: Vec<ListenerDraft>,
    pub(super) relays: Vec<RelayDraft>,
    /// `password` or `token` above all sections.
    pub(super) key: Option<KeyDraft>,
    routes: Vec<RouteDraft>,
    /// Old, new and line of `[rewrite]`.
    pub(super) rewrites: Vec<(String, String, u32)>,
    pub(super) clients: Vec<ClientsDraft>,
    /// The section, of its kind, that keys now go to.
    pub(super) current: usize,
    /// Where `spool` stands; 0: nowhere in the file.
    pub(super) spool_line: u32,
}

pub(super) struct RelayDraft {
    pub(super) name: String,
    line: u32,
    url: Option<Url>,
    pub(super) login: LoginDraft,
    pub(super) protection: ProtectionDraft,
}

struct RouteDraft {
    name: String,
    line: u32,
    pattern: super::Pattern,
    via: Option<(ViaDraft, u32)>,
}

enum ViaDraft {
    Relay(String),
    Settled(Via),
}

impl Draft {
    /// Every default in place.
    pub(super) fn new(host: &Host<'_>) -> Draft {
        let mut draft = Draft {
            config: machine_defaults(host),
            via: host.is_embedded.then(|| Via::Maildir(format!("{}/Maildir", host.home))),
            is_listen_given: false,
            listeners: Vec::new(),
            relays: Vec::new(),
            key: None,
            routes: Vec::new(),
            rewrites: Vec::new(),
            clients: Vec::new(),
            current: 0,
            spool_line: 0,
        };
        for key in KEYS.iter().filter(|key| key.section == Section::Global) {
            if !key.default.is_empty() && !key.default_is_words() {
                let taken = (key.set)(&mut draft, &Given { key, text: key.default, line: 0 });
                debug_assert_eq!(taken, Ok(()), "default of {}", key.name);
            }
        }
        draft
    }

    /// Makes the section of that kind and name the one that keys go to. The number is the line
    /// where it began before, if it did.
    pub(super) fn enter(
        &mut self,
        section: Section,
        name: &str,
        line: u32,
    ) -> Result<Option<u32>, String> {
        let (known, count): (Option<(usize, u32)>, usize) = match section {
            Section::Global | Section::Rewrite => return Ok(None),
            Section::Listen => (
                find(self.listeners.iter().map(|draft| (&draft.name, draft.line)), name),
                self.listeners.len(),
            ),
            Section::Relay => (
                find(self.relays.iter().map(|relay| (&relay.name, relay.line)), name),
                self.relays.len(),
            ),
            Section::Route => (
                find(self.routes.iter().map(|route| (&route.name, route.line)), name),
                self.routes.len(),
            ),
            Section::Clients => (
                find(self.clients.iter().map(|range| (&range.name, range.line)), name),
                self.clients.len(),
            ),
        };
        if let Some((place, before)) = known {
            self.current = place;
            return Ok(Some(before));
        }
        if count >= SECTIONS_MAX {
            return Err(format!("more than {SECTIONS_MAX} sections of one kind"));
        }
        match section {
            Section::Global | Section::Rewrite => {}
            Section::Listen => self.listeners.push(ListenerDraft::new(name, line)?),
            Section::Relay => self.relays.push(new_relay(name, line)?),
            Section::Route => self.routes.push(RouteDraft {
                name: name.into(),
                line,
                pattern: value::pattern(name)?,
                via: None,
            }),
            Section::Clients => {
                let draft = ClientsDraft::new(name, line, &self.clients)?;
                self.clients.push(draft);
            }
        }
        self.current = count;
        Ok(None)
    }

    /// The key `relay`.
    pub(super) fn set_relay(&mut self, given: &Given<'_>) -> Result<(), String> {
        match settled_via(given.text)? {
            Some(Via::Discard) => {
                return Err("'discard' would lose all mail; discard belongs in a [route …]".into());
            }
            Some(Via::Reject) => {
                return Err("'reject' would refuse all mail; reject belongs in a [route …]".into());
            }
            Some(via) => self.via = Some(via),
            None => {
                let (user, read) = value::url(given.text);
                // A relay with a bad URL is still there for the routes that name it.
                let url = read.clone().unwrap_or_default();
                match self.relays.iter_mut().find(|relay| relay.name == DEFAULT_RELAY) {
                    Some(relay) => (relay.url, relay.login.user) = (Some(url), user),
                    None => {
                        let mut relay = new_relay(DEFAULT_RELAY, given.line)?;
                        (relay.url, relay.login.user) = (Some(url), user);
                        self.relays.push(relay);
                    }
                }
                self.via = None;
                read?;
            }
        }
        Ok(())
    }

    /// `to` and `to!`.
    pub(super) fn set_to(&mut self, given: &Given<'_>, everyone: bool) -> Result<(), String> {
        self.config.to = Some(To { address: given.address()?, everyone });
        Ok(())
    }

    /// `aliases`.
    pub(super) fn set_aliases(&mut self, given: &Given<'_>) -> Result<(), String> {
        self.config.aliases_file = match given.text {
            "off" => None,
            _ => Some(given.path()?),
        };
        Ok(())
    }

    /// `url` of the current relay.
    pub(super) fn set_url(&mut self, given: &Given<'_>) -> Result<(), String> {
        let (user, read) = value::url(given.text);
        if let Some(relay) = self.relays.get_mut(self.current) {
            relay.url = Some(read.clone().unwrap_or_default());
            relay.login.user = user;
            // In the environment this is the shorter way to say relay = URL.
            if relay.name == DEFAULT_RELAY && given.line == 0 {
                self.via = None;
            }
        }
        read.map(drop)
    }

    /// `via` of the current route.
    pub(super) fn set_via(&mut self, given: &Given<'_>) -> Result<(), String> {
        let read = read_via(given);
        if let Some(route) = self.routes.get_mut(self.current) {
            let (via, done) = match read {
                Ok(via) => (via, Ok(())),
                Err(why) => (ViaDraft::Settled(Via::Hold), Err(why)),
            };
            route.via = Some((via, given.line));
            return done;
        }
        Ok(())
    }

    /// The configuration, with what only shows in the whole written to `faults`.
    pub(super) fn finish(mut self, faults: &mut Vec<Fault>) -> Config {
        if self.config.run.is_empty() {
            self.config.run.clone_from(&self.config.spool);
            if self.config.run.len() > RUN_PATH_BYTES_MAX {
                let message = format!(
                    "spool: the sockets would lie there too, and the path is longer than \
                     {RUN_PATH_BYTES_MAX} bytes; name a shorter run"
                );
                faults.push(Fault { line: self.spool_line, message });
            }
        }
        self.finish_listeners(faults);
        self.finish_key(DEFAULT_RELAY, faults);
        self.finish_relays(faults);
        self.finish_routes(faults);
        self.finish_clients(faults);
        if self.config.origin.is_empty() {
            self.config.origin.clone_from(&self.config.hostname);
        }
        self.finish_rewrites(faults);
        self.config
    }

    fn finish_relays(&mut self, faults: &mut Vec<Fault>) {
        for relay in &mut self.relays {
            let Url { scheme, host, port } = relay.url.clone().unwrap_or_else(|| {
                let message = format!(
                    "[relay {}] has no url; add a line like url = smtp://mail.example.net",
                    relay.name
                );
                faults.push(Fault { line: relay.line, message });
                Url::default()
            });
            let login = core::mem::take(&mut relay.login);
            // Of a URL with a fault nothing more is said.
            let login = if host.is_empty() { LoginDraft::default() } else { login };
            let is_clear = scheme == Scheme::Smtp;
            let login = login.finish(relay.line, &host, is_clear, faults);
            let protection = core::mem::take(&mut relay.protection);
            // Likewise.
            let protection = if host.is_empty() { ProtectionDraft::default() } else { protection };
            let tls = protection.finish(scheme, faults);
            let name = relay.name.clone();
            self.config.relays.push(Relay { name, host, port, scheme, tls, login });
        }
        let default = self.relay_number(DEFAULT_RELAY).map(Via::Relay);
        self.config.via = self.via.take().or(default).unwrap_or(Via::Hold);
    }

    fn relay_number(&self, name: &str) -> Option<u16> {
        (0..).zip(&self.relays).find(|(_, relay)| relay.name == name).map(|(number, _)| number)
    }

    fn finish_routes(&mut self, faults: &mut Vec<Fault>) {
        for route in core::mem::take(&mut self.routes) {
            let via = match route.via {
                Some((ViaDraft::Settled(via), _)) => via,
                Some((ViaDraft::Relay(name), line)) => match self.relay_number(&name) {
                    Some(number) => Via::Relay(number),
                    None => {
                        let near = hint(&name, self.relays.iter().map(|relay| &*relay.name));
                        let message = format!("via: there is no [relay {name}]{near}");
                        faults.push(Fault { line, message });
                        Via::Hold
                    }
                },
                None => {
                    let message = format!(
                        "[route {}] has no via; add a line like via = relay NAME or via = hold",
                        route.name
                    );
                    faults.push(Fault { line: route.line, message });
                    Via::Hold
                }
            };
            self.config.routes.push(Route { pattern: route.pattern, via });
        }
    }
}

/// What no table can hold because it depends on the machine; the rest is overwritten from there.
fn machine_defaults(host: &Host<'_>) -> Config {
    let under_home = |name: &str| format!("{}/{name}", host.home);
    let embedded = host.is_embedded;
    let port = if embedded { 2525 } else { 25 };
    let hostname = if value::is_host_name(host.hostname) { host.hostname } else { "localhost" };
    Config {
        hostname: hostname.into(),
        origin: String::new(),
        mailname: None,
        listen: vec![Listener {
            name: String::new(),
            places: vec![Listen::Address(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))],
            tls: ListenerTls::Off,
            auth: None,
        }],
        ca: None,
        resolver: None,
        relays: Vec::new(),
        via: Via::Hold,
        routes: Vec::new(),
        clients: Vec::new(),
        to: None,
        from: None,
        rewrites: Vec::new(),
        users: None,
        user: None,
        aliases_file: (!host.is_embedded).then(|| ALIASES_FILE.into()),
        aliases: Aliases::default(),
        spool: if embedded { under_home("spool") } else { "/var/spool/mote".into() },
        run: if embedded { under_home("run") } else { host.run.unwrap_or_default().into() },
        spool_size: None,
        message_size: 0,
        sessions: 0,
        senders: 0,
        recipients: 0,
        hops: 0,
        command_timeout: Duration::ZERO,
        data_timeout: Duration::ZERO,
        connect_timeout: Duration::ZERO,
        reply_timeout: Duration::ZERO,
        retry: Vec::new(),
        expire: Duration::ZERO,
        delay_notice: Duration::ZERO,
        hold_max: Duration::ZERO,
        log: Log::Info,
    }
}

fn find<'a>(named: impl Iterator<Item = (&'a String, u32)>, name: &str) -> Option<(usize, u32)> {
    named.enumerate().find(|(_, (known, _))| *known == name).map(|(place, (_, line))| (place, line))
}

fn new_relay(name: &str, line: u32) -> Result<RelayDraft, String> {
    check_name(name, "a relay")?;
    let (login, protection) = (LoginDraft::default(), ProtectionDraft::default());
    Ok(RelayDraft { name: name.into(), line, url: None, login, protection })
}

/// Names of sections that are chosen freely.
pub(super) fn check_name(name: &str, of: &str) -> Result<(), String> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.len() > 32 || !name.bytes().all(inside) {
        return Err(format!(
            "'{name}' is no name for {of}; expected up to 32 letters, digits, '-', '_' or '.'"
        ));
    }
    Ok(())
}

fn read_via(given: &Given<'_>) -> Result<ViaDraft, String> {
    let text = given.text;
    if let Some(("relay", name)) = text.split_once(char::is_whitespace) {
        return Ok(ViaDraft::Relay(name.trim().into()));
    }
    let settled = settled_via(text)?.ok_or_else(|| {
        if text.contains("://") {
            return format!(
                "'{text}' is a URL; give it to a [relay NAME] and write via = relay NAME here"
            );
        }
        let near = hint(text, ["mx", "hold", "discard", "reject"].into_iter());
        format!("'{text}' is not one of {}{near}", given.key.kind)
    })?;
    Ok(ViaDraft::Settled(settled))
}

/// `mx`, `maildir:/PATH`, `hold`, `discard`, `reject`; none: something else.
fn settled_via(text: &str) -> Result<Option<Via>, String> {
    if let Some(path) = text.strip_prefix("maildir:") {
        return value::path(path, 1024).map(|path| Some(Via::Maildir(path)));
    }
    Ok(match text {
        "mx" => Some(Via::Mx),
        "hold" => Some(Via::Hold),
        "discard" => Some(Via::Discard),
        "reject" => Some(Via::Reject),
        _ => None,
    })
}

impl Given<'_> {
    fn within(&self, text: &str, number: u64, least: u64, most: u64) -> Result<u64, String> {
        if (least..=most).contains(&number) {
            return Ok(number);
        }
        Err(format!("'{text}' is out of range; expected {}", self.key.kind))
    }

    fn number(&self) -> Result<u64, String> {
        match self.key.kind {
            Kind::Number { least, most } => {
                self.within(self.text, value::number(self.text)?, least, most)
            }
            _ => value::number(self.text),
        }
    }

    pub(super) fn small(&self) -> Result<u8, String> {
        self.number().map(|number| u8::try_from(number).unwrap_or(u8::MAX))
    }

    /// A word that is yes or no.
    pub(super) fn truth(&self) -> Result<bool, String> {
        self.word().map(|word| word == "yes")
    }

    pub(super) fn medium(&self) -> Result<u16, String> {
        self.number().map(|number| u16::try_from(number).unwrap_or(u16::MAX))
    }

    pub(super) fn size(&self) -> Result<u64, String> {
        match self.key.kind {
            Kind::Size { least, most } => {
                self.within(self.text, value::size(self.text)?, least, most)
            }
            _ => value::size(self.text),
        }
    }

    pub(super) fn time(&self) -> Result<Duration, String> {
        self.one_time(self.text)
    }

    fn one_time(&self, text: &str) -> Result<Duration, String> {
        let time = value::time(text)?;
        match self.key.kind {
            Kind::Time { least, most } | Kind::Times { least, most } => {
                self.within(text, time.as_secs(), least, most).map(|_| time)
            }
            _ => Ok(time),
        }
    }

    pub(super) fn times(&self) -> Result<Vec<Duration>, String> {
        let times: Vec<Duration> =
            value::parts(self.text).map(|part| self.one_time(part)).collect::<Result<_, _>>()?;
        if times.is_empty() || times.len() > RETRY_STEPS_MAX {
            return Err(format!("expected 1 to {RETRY_STEPS_MAX} times, such as 1m 5m 1h"));
        }
        Ok(times)
    }

    pub(super) fn path(&self) -> Result<String, String> {
        match self.key.kind {
            Kind::Path { bytes_max } => value::path(self.text, bytes_max),
            _ => value::path(self.text, usize::MAX),
        }
    }

    pub(super) fn word(&self) -> Result<&'static str, String> {
        match self.key.kind {
            Kind::Words(words) => value::word(self.text, words),
            _ => value::word(self.text, &[]),
        }
    }

    pub(super) fn log(&self) -> Result<Log, String> {
        self.word().map(|word| match word {
            "error" => Log::Error,
            "warn" => Log::Warn,
            "debug" => Log::Debug,
            _ => Log::Info,
        })
    }

    pub(super) fn host_name(&self) -> Result<String, String> {
        value::host_name(self.text)
    }

    pub(super) fn user_name(&self) -> Result<String, String> {
        value::user_name(self.text)
    }

    pub(super) fn server(&self) -> Result<SocketAddr, String> {
        value::server(self.text)
    }

    pub(super) fn address(&self) -> Result<String, String> {
        value::address(self.text)
    }
}

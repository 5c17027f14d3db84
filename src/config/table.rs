//! THE table of keys: section, name, kind with floor and ceiling, default, what it does, and how
//! it takes effect. Parsing, defaults, the environment and the manual are all read from it.
//!
//! To add a key: a field of [`super::Config`], a row here, and its line in `effective`.
//!
//! Size: it is one table; a row is one key.
//!
//! A default is text that goes through the same hands as a value in a file. One that depends on
//! the machine stands in parentheses, as words for the manual; [`Draft::new`] knows it.

use super::draft::{Draft, Given};
pub(super) use super::section::Section;
use crate::limits::SPOOL_BYTES_MAX;
use core::fmt;

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A number with floor and ceiling.
    Number { least: u64, most: u64 },
    /// Bytes with floor and ceiling.
    Size { least: u64, most: u64 },
    /// A time with floor and ceiling in seconds.
    Time { least: u64, most: u64 },
    /// A list of times, each with floor and ceiling in seconds.
    Times { least: u64, most: u64 },
    /// An absolute path.
    Path { bytes_max: usize },
    /// One of these words.
    Words(&'static [&'static str]),
    /// Something with a grammar of its own, in words.
    Other(&'static str),
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::value::{write_size, write_time};
        let time = |seconds: u64| write_time(core::time::Duration::from_secs(seconds));
        match self {
            Kind::Number { least, most } => write!(out, "{least} to {most}"),
            Kind::Size { least, most } => {
                write!(out, "{} to {}", write_size(*least), write_size(*most))
            }
            Kind::Time { least, most } => write!(out, "{} to {}", time(*least), time(*most)),
            Kind::Times { least, most } => {
                write!(out, "times, each {} to {}", time(*least), time(*most))
            }
            Kind::Path { .. } => out.write_str("absolute path"),
            Kind::Words(words) => out.write_str(&words.join(", ")),
            Kind::Other(words) => out.write_str(words),
        }
    }
}

/// One row.
pub(super) struct Key {
    /// Where it may stand.
    pub(super) section: Section,
    /// What it is called.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
    /// What it is when nobody says; empty: nothing.
    pub(super) default: &'static str,
    /// What it does.
    pub(super) help: &'static str,
    /// Takes a value into the draft.
    pub(super) set: fn(&mut Draft, &Given<'_>) -> Result<(), String>,
}

impl Key {
    /// True when the default is words about the machine, not a value.
    pub(super) fn default_is_words(&self) -> bool {
        self.default.starts_with('(')
    }
}

/// Where a secret may be.
const KEY_PLACES: &str = "file:/PATH, cmd:/PROGRAM WORDS, env:NAME or cred:NAME";
const YES_OR_NO: Kind = Kind::Words(&["yes", "no"]);
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Bytes of a run directory, so that the path of a socket in it still fits.
pub(super) const RUN_PATH_BYTES_MAX: usize = super::value::SOCKET_PATH_BYTES_MAX - "/control".len();
/// Longer than any path a system takes.
const PATH_BYTES_MAX: usize = 1024;

/// Every key there is.
pub(super) const KEYS: &[Key] = &[
    Key {
        section: Section::Global,
        name: "hostname",
        kind: Kind::Other("host name"),
        default: "(the system's)",
        help: "This machine's name in greetings, EHLO and Received; mail to it is local.",
        set: |draft, given| given.host_name().map(|name| draft.config.hostname = name),
    },
    Key {
        section: Section::Global,
        name: "origin",
        kind: Kind::Other("domain"),
        default: "(what /etc/mailname says, which is local too; else hostname)",
        help: "The domain of bare names as they go out: root in From, To and the envelope becomes \
               root@origin.",
        set: |draft, given| given.host_name().map(|name| draft.config.origin = name),
    },
    Key {
        section: Section::Global,
        name: "listen",
        kind: Kind::Other("addresses, interfaces, Unix socket paths, inherited; or off"),
        default: "(127.0.0.1; without a file 127.0.0.1:2525; nothing beside a [listen NAME])",
        help: "Where mail comes in by SMTP: a list such as 192.168.1.1, br-lan:2525. The port is \
               25 if none is named. inherited: the sockets that systemd or another starter has \
               opened. Programs on this machine that call sendmail need no listener.",
        set: Draft::set_listen,
    },
    Key {
        section: Section::Global,
        name: "relay",
        kind: Kind::Other("smtps://[USER@]HOST[:PORT], mx, maildir:/PATH or hold"),
        default: "(hold; without a file maildir: under the home)",
        help: "Where mail goes that no route matches. smtps:// is TLS from the first byte on (port \
               465), starttls:// behind STARTTLS (587), also without a scheme; both never without \
               TLS, and only to whoever can show that he is HOST. smtp:// is clear text (25), for \
               networks you trust. mx sends straight to the mail hosts of \
               each recipient's domain. hold keeps it in the queue.",
        set: Draft::set_relay,
    },
    Key {
        section: Section::Global,
        name: "password",
        kind: Kind::Other(KEY_PLACES),
        default: "",
        help: "What to log in with at relay, as the user in its URL: smtps://USER@HOST, with %40 \
               for an @ in USER. In a file or printed by a program the first line counts. A \
               program has 30 seconds, and is asked again when what it printed is refused. A \
               password may stand here itself if nobody but root and mote can read this file.",
        set: Draft::set_default_key,
    },
    Key {
        section: Section::Global,
        name: "token",
        kind: Kind::Other(KEY_PLACES),
        default: "",
        help: "Instead of password: an OAuth 2 access token, as Google and Microsoft want it, for \
               OAUTHBEARER or XOAUTH2.",
        set: Draft::set_default_key,
    },
    Key {
        section: Section::Global,
        name: "ca",
        kind: Kind::Path { bytes_max: PATH_BYTES_MAX },
        default: "(the system's)",
        help: "The file of CAs, PEM, by which relays are verified. Read when it is needed.",
        set: |draft, given| given.path().map(|path| draft.config.ca = Some(path)),
    },
    Key {
        section: Section::Global,
        name: "resolver",
        kind: Kind::Other("ADDRESS[:PORT]"),
        default: "(those of /etc/resolv.conf)",
        help: "The name server that is asked for mail hosts, with mx.",
        set: |draft, given| given.server().map(|server| draft.config.resolver = Some(server)),
    },
    Key {
        section: Section::Global,
        name: "to",
        kind: Kind::Other("address"),
        default: "",
        help: "Who gets the mail of local users (root, cron and the like), in the envelope and in \
               To and Cc.",
        set: |draft, given| draft.set_to(given, false),
    },
    Key {
        section: Section::Global,
        name: "to!",
        kind: Kind::Other("address"),
        default: "",
        help: "Who gets all mail, whoever it is addressed to. Instead of to.",
        set: |draft, given| draft.set_to(given, true),
    },
    Key {
        section: Section::Global,
        name: "from",
        kind: Kind::Other("address"),
        default: "",
        help: "The sender of all mail that goes to another server, for those that take only one: \
               in the envelope, and in From and Sender, where the name tells who it was. Mail that \
               is from this address already stays as it is.",
        set: |draft, given| given.address().map(|from| draft.config.from = Some(from)),
    },
    Key {
        section: Section::Global,
        name: "aliases",
        kind: Kind::Other("absolute path, or off"),
        default: "(/etc/aliases, if it is there; without a config file off)",
        help: "Who gets the mail of local users instead, one a line: root: me@example.net. Read \
               again when it changes; newaliases checks it. Those who are not listed are left to \
               to and the routes.",
        set: Draft::set_aliases,
    },
    Key {
        section: Section::Global,
        name: "users",
        kind: Kind::Path { bytes_max: PATH_BYTES_MAX },
        default: "",
        help: "Who may log in (AUTH), and then send mail to anyone: a file that mote passwd \
               writes, and that others cannot read. Logging in is offered inside TLS, else only to \
               [clients RANGE] with clear-auth. CRAM-MD5 is off, but in a build with the feature \
               cram-md5, because whoever reads a hash for it can log in with that.",
        set: Draft::set_users,
    },
    Key {
        section: Section::Global,
        name: "user",
        kind: Kind::Other("user name"),
        default: "(mote, if root starts it on a full system and there is such a user)",
        help: "Who the daemon is once it listens, if root starts it. The spool is given to him; \
               what it reads later, such as this file and secrets, must be his to read. Local \
               programs trust root, mote and themselves with mail, so with another one sendmail \
               needs the daemon.",
        set: |draft, given| given.user_name().map(|name| draft.config.user = Some(name)),
    },
    Key {
        section: Section::Global,
        name: "spool",
        kind: Kind::Path { bytes_max: PATH_BYTES_MAX },
        default: "(/var/spool/mote; without a file spool under the home)",
        help: "The directory of the queue and of mail left while the daemon is down.",
        set: |draft, given| {
            draft.spool_line = given.line;
            given.path().map(|spool| draft.config.spool = spool)
        },
    },
    Key {
        section: Section::Global,
        name: "spool-size",
        kind: Kind::Size { least: 256 << 10, most: SPOOL_BYTES_MAX },
        default: "(a quarter of what is free, at most 16M)",
        help: "The size of the queue, taken from the disk once and for all when it is made.",
        set: |draft, given| given.size().map(|size| draft.config.spool_size = Some(size)),
    },
    Key {
        section: Section::Global,
        name: "run",
        kind: Kind::Path { bytes_max: RUN_PATH_BYTES_MAX },
        default: "(/run/mote; for users $XDG_RUNTIME_DIR/mote or the spool; without a file run \
                  under the home)",
        help: "The directory of the sockets through which sendmail and mote reach the daemon.",
        set: |draft, given| given.path().map(|run| draft.config.run = run),
    },
    Key {
        section: Section::Global,
        name: "message-size",
        // RFC 5321 §4.5.3.1.7: 64K must be taken.
        kind: Kind::Size { least: 64 << 10, most: 2 << 30 },
        default: "10M",
        help: "The largest message taken. No larger than fits into the queue in any case.",
        set: |draft, given| given.size().map(|size| draft.config.message_size = size),
    },
    Key {
        section: Section::Global,
        name: "recipients",
        kind: Kind::Number { least: 1, most: crate::limits::RECIPIENTS_MAX as u64 },
        default: "100",
        help: "Recipients of one message. Fewer than 100 is less than RFC 5321 asks for.",
        set: |draft, given| given.small().map(|count| draft.config.recipients = count),
    },
    Key {
        section: Section::Global,
        name: "hops",
        kind: Kind::Number { least: 10, most: 250 },
        default: "100",
        help: "A message with more Received fields than this goes in circles and is returned.",
        set: |draft, given| given.small().map(|count| draft.config.hops = count),
    },
    Key {
        section: Section::Global,
        name: "sessions",
        // Two are kept for loopback, one must be left for strangers.
        kind: Kind::Number { least: 1 + crate::limits::LOCAL_SLOTS as u64, most: 4096 },
        default: "16",
        help: "Connections that may send mail in at one time. Each takes about 22K of memory.",
        set: |draft, given| given.medium().map(|count| draft.config.sessions = count),
    },
    Key {
        section: Section::Global,
        name: "senders",
        kind: Kind::Number { least: 1, most: 256 },
        default: "4",
        help: "Deliveries under way at one time.",
        set: |draft, given| given.medium().map(|count| draft.config.senders = count),
    },
    Key {
        section: Section::Global,
        name: "command-timeout",
        kind: Kind::Time { least: 1, most: HOUR },
        // RFC 5321 §4.5.3.2.7.
        default: "5m",
        help: "How long a client may take for one command.",
        set: |draft, given| given.time().map(|time| draft.config.command_timeout = time),
    },
    Key {
        section: Section::Global,
        name: "data-timeout",
        kind: Kind::Time { least: 1, most: HOUR },
        default: "5m",
        help: "How long a client may pause inside a message.",
        set: |draft, given| given.time().map(|time| draft.config.data_timeout = time),
    },
    Key {
        section: Section::Global,
        name: "connect-timeout",
        kind: Kind::Time { least: 1, most: 600 },
        default: "30s",
        help: "How long a connection to a relay may take to be made.",
        set: |draft, given| given.time().map(|time| draft.config.connect_timeout = time),
    },
    Key {
        section: Section::Global,
        name: "reply-timeout",
        kind: Kind::Time { least: 1, most: HOUR },
        // RFC 5321 §4.5.3.2.1 to .3.
        default: "5m",
        help: "How long a relay may take for a reply; twice as long after the end of a message.",
        set: |draft, given| given.time().map(|time| draft.config.reply_timeout = time),
    },
    Key {
        section: Section::Global,
        name: "retry",
        kind: Kind::Times { least: 1, most: 7 * DAY },
        default: "1m 5m 15m 30m 1h 2h 4h",
        help: "How long to wait after each failed attempt; the last one repeats.",
        set: |draft, given| given.times().map(|times| draft.config.retry = times),
    },
    Key {
        section: Section::Global,
        name: "expire",
        kind: Kind::Time { least: 1, most: 100 * DAY },
        default: "5d",
        help: "How long delivery is tried, in time the daemon runs, before a message is returned.",
        set: |draft, given| given.time().map(|time| draft.config.expire = time),
    },
    Key {
        section: Section::Global,
        name: "delay-notice",
        kind: Kind::Time { least: 0, most: 100 * DAY },
        default: "0s",
        help: "After how long a sender who asked for it (NOTIFY=DELAY) is told that a mail still \
               waits; 0s: never, since a device that is often offline would tell it often.",
        set: |draft, given| given.time().map(|time| draft.config.delay_notice = time),
    },
    Key {
        section: Section::Global,
        name: "hold-max",
        kind: Kind::Time { least: 0, most: 100 * DAY },
        default: "7d",
        help: "For how long a sender who may relay can have a mail held (FUTURERELEASE); 0s: not \
               offered.",
        set: |draft, given| given.time().map(|time| draft.config.hold_max = time),
    },
    Key {
        section: Section::Global,
        name: "log",
        kind: Kind::Words(&["error", "warn", "info", "debug"]),
        default: "info",
        help: "What is logged on standard error; info is one line for each step of a message.",
        set: |draft, given| given.log().map(|log| draft.config.log = log),
    },
    Key {
        section: Section::Listen,
        name: "address",
        kind: Kind::Other("addresses, interfaces, Unix socket paths, inherited"),
        default: "",
        help: "Where: a list as for listen; inherited: the socket that its starter calls NAME. The \
               port is 465 with tls = implicit, else 25, if none is named. Must be there.",
        set: Draft::set_listen_address,
    },
    Key {
        section: Section::Listen,
        name: "tls",
        kind: Kind::Words(&["off", "starttls", "implicit"]),
        default: "off",
        help: "starttls: when the client asks for it; implicit: from the first byte on, as on \
               port 465. TLS 1.2 and 1.3. Off because it needs a certificate.",
        set: Draft::set_listen_tls,
    },
    Key {
        section: Section::Listen,
        name: "cert",
        kind: Kind::Path { bytes_max: PATH_BYTES_MAX },
        default: "",
        help: "The file of the certificate and of those between it and its root, PEM. A new one is \
               taken into use by itself.",
        set: Draft::set_listen_cert,
    },
    Key {
        section: Section::Listen,
        name: "key",
        kind: Kind::Path { bytes_max: PATH_BYTES_MAX },
        default: "",
        help: "The file of its private key, PEM without a passphrase, which nobody but root and \
               mote may read.",
        set: Draft::set_listen_key,
    },
    Key {
        section: Section::Listen,
        name: "auth",
        kind: Kind::Words(&["off", "optional", "required"]),
        default: "(optional where there are users, else off)",
        help: "Whether clients can log in; required: whoever has not cannot send anything. Offered \
               inside TLS, else only to [clients RANGE] with clear-auth. Off without users because \
               nobody could.",
        set: Draft::set_listen_auth,
    },
    Key {
        section: Section::Listen,
        name: "users",
        kind: Kind::Path { bytes_max: PATH_BYTES_MAX },
        default: "(users above all sections)",
        help: "Who may log in here, if not the same as elsewhere.",
        set: Draft::set_listen_users,
    },
    Key {
        section: Section::Relay,
        name: "url",
        kind: Kind::Other("smtps://[USER@]HOST[:PORT]"),
        default: "",
        help: "The next hop, by smtps://, starttls:// or smtp://; [2001:db8::1] for an IPv6 \
               address. Must be there.",
        set: Draft::set_url,
    },
    Key {
        section: Section::Relay,
        name: "ca",
        kind: Kind::Path { bytes_max: PATH_BYTES_MAX },
        default: "(ca above all sections)",
        help: "The file of the CAs, PEM, one of which has signed its certificate: for a CA of your \
               own.",
        set: Draft::set_relay_ca,
    },
    Key {
        section: Section::Relay,
        name: "pin",
        kind: Kind::Other("sha256:…, or several"),
        default: "",
        help: "The SHA-256 of its certificate or of its public key, hexadecimal: then that alone \
               is what it must show, unless ca stands beside it. Several for the time of a change.",
        set: Draft::set_pin,
    },
    Key {
        section: Section::Relay,
        name: "client-cert",
        kind: Kind::Path { bytes_max: PATH_BYTES_MAX },
        default: "",
        help: "The file of a certificate of this machine, PEM, to show there.",
        set: Draft::set_client_cert,
    },
    Key {
        section: Section::Relay,
        name: "client-key",
        kind: Kind::Path { bytes_max: PATH_BYTES_MAX },
        default: "",
        help: "The file of its private key, PEM without a passphrase, which nobody but root and \
               mote may read.",
        set: Draft::set_client_key,
    },
    Key {
        section: Section::Relay,
        name: "tls-min",
        kind: Kind::Words(&["1.2", "1.3"]),
        default: "1.2",
        help: "The oldest TLS that is spoken there.",
        set: Draft::set_tls_min,
    },
    Key {
        section: Section::Relay,
        name: "password",
        kind: Kind::Other(KEY_PLACES),
        default: "",
        help: "What to log in with there, as the user in its URL.",
        set: Draft::set_relay_key,
    },
    Key {
        section: Section::Relay,
        name: "token",
        kind: Kind::Other(KEY_PLACES),
        default: "",
        help: "Instead of password: an OAuth 2 access token.",
        set: Draft::set_relay_key,
    },
    Key {
        section: Section::Route,
        name: "via",
        kind: Kind::Other("relay NAME, mx, maildir:/PATH, hold, discard or reject"),
        default: "",
        help: "Where these recipients' mail goes. Must be there. Decided anew at each attempt. \
               reject refuses them when mail comes in, as unknown (550 5.1.1); what is in already \
               is held.",
        set: Draft::set_via,
    },
    Key {
        section: Section::Clients,
        name: "relay",
        kind: Kind::Words(&["yes", "no", "everyone"]),
        default: "(yes for loopback, else no)",
        help: "May send mail to anyone. Off because strangers would send spam by it: a range that \
               is much of the Internet needs everyone, and then this is an open relay.",
        set: Draft::set_client_relay,
    },
    Key {
        section: Section::Clients,
        name: "starttls",
        kind: YES_OR_NO,
        default: "yes",
        help: "Is offered STARTTLS, where the listener has it. no is for old printers, which begin \
               TLS 1.0 as soon as they see it, and fail.",
        set: |draft, given| draft.set_client(given.truth(), |policy, is| policy.starttls = is),
    },
    Key {
        section: Section::Clients,
        name: "clear-auth",
        kind: YES_OR_NO,
        default: "no",
        help: "May log in without TLS. Off because everyone on the way can read the password, or \
               with SCRAM-SHA-256 guess at it.",
        set: |draft, given| draft.set_client(given.truth(), |policy, is| policy.clear_auth = is),
    },
    Key {
        section: Section::Clients,
        name: "lenient",
        kind: YES_OR_NO,
        default: "no",
        help: "Devices that cannot do better: lines that end with a bare LF, a HELO that is no \
               name, addresses without < and >, spaces behind the colon. All is mended, nothing \
               bare is passed on. Off because a mail server that carries other people's mail must \
               mean what it says.",
        set: |draft, given| draft.set_client(given.truth(), |policy, is| policy.lenient = is),
    },
    Key {
        section: Section::Clients,
        name: "proxy",
        kind: YES_OR_NO,
        default: "no",
        help: "Load balancers such as haproxy: each connection begins with a PROXY header (version \
               1 or 2), or is closed, and the client is who that tells. Off because whoever is \
               believed can say that he is anybody.",
        set: |draft, given| draft.set_client_tells(given, false),
    },
    Key {
        section: Section::Clients,
        name: "xclient",
        kind: YES_OR_NO,
        default: "no",
        help: "Mail proxies such as nginx: they may send nothing before they have told by XCLIENT \
               whom they speak for, and the client is who that tells. Off because whoever is \
               believed can say that he is anybody.",
        set: |draft, given| draft.set_client_tells(given, true),
    },
    Key {
        section: Section::Clients,
        name: "connections",
        kind: Kind::Number { least: 1, most: 4096 },
        default: "(no limit but sessions)",
        help: "Connections of one address (of one IPv6 /64) at one time; one more is told 421.",
        set: |draft, given| {
            draft.set_client(given.medium(), |policy, count| policy.connections = Some(count))
        },
    },
    Key {
        section: Section::Clients,
        name: "rate",
        kind: Kind::Number { least: 1, most: 60_000 },
        default: "(no limit)",
        help: "Messages of one address (of one IPv6 /64) an hour; so many may come at once, then \
               one after the other; one more is told 450, and to come back later.",
        set: |draft, given| {
            draft.set_client(given.medium(), |policy, count| policy.rate = Some(count))
        },
    },
    Key {
        section: Section::Clients,
        name: "size",
        kind: Kind::Size { least: 1 << 10, most: 2 << 30 },
        default: "(message-size)",
        help: "The largest message taken from these.",
        set: Draft::set_client_size,
    },
    Key {
        section: Section::Clients,
        name: "recipients",
        kind: Kind::Number { least: 1, most: crate::limits::RECIPIENTS_MAX as u64 },
        default: "(recipients)",
        help: "Recipients of one message from these.",
        set: Draft::set_client_recipients,
    },
    Key {
        section: Section::Rewrite,
        name: "OLD",
        kind: Kind::Other("NEW"),
        default: "",
        help: "OLD is an address, a user of this machine (root, also at each of its names), \
               @old.example for a domain without its subdomains, or @ for all users of this \
               machine. NEW is an address, or for a domain @new.example, which keeps the name.",
        set: |draft, given| draft.set_rewrite(given.key.name, given),
    },
];

/// The rows of one section.
pub(super) fn keys(section: Section) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

/// Every key's name as the manual has it, with the section before those that need one.
pub fn key_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.iter().map(|key| (key.section.heading(), key.name))
}

/// A key as a manual shows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The section, as it is written; empty: above the first.
    pub heading: &'static str,
    /// What stands in the section.
    pub about: &'static str,
    /// What the key is called.
    pub name: &'static str,
    /// What it takes.
    pub takes: String,
    /// What it is when nobody says; empty: nothing.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// All keys, section by section.
pub fn entries() -> impl Iterator<Item = Entry> {
    sections().flat_map(|section| {
        keys(section).map(move |key| Entry {
            heading: section.heading(),
            about: section.about(),
            name: key.name,
            takes: key.kind.to_string(),
            default: bare(key.default),
            help: key.help,
        })
    })
}

/// The first words of the sections.
pub fn section_names() -> impl Iterator<Item = &'static str> {
    Section::NAMED.iter().map(|section| section.kind())
}

/// Writes the manual of keys as plain text: of all, or of the section that begins with that word.
pub fn write_plain(out: &mut impl fmt::Write, only: Option<&str>) -> fmt::Result {
    let wanted = |section: &Section| only.is_none_or(|kind| kind == section.kind());
    for (place, section) in sections().filter(wanted).enumerate() {
        let blank = if place > 0 { "\n" } else { "" };
        if section != Section::Global {
            writeln!(out, "{blank}{}", section.heading())?;
        }
        write_wrapped(out, "", section.about())?;
        for key in keys(section) {
            writeln!(out, "\n  {} = {}", key.name, key.kind)?;
            write_wrapped(out, "      ", key.help)?;
            if !key.default.is_empty() {
                write_wrapped(out, "      ", &format!("Default: {}", bare(key.default)))?;
            }
        }
    }
    Ok(())
}

/// Writes the manual of keys as a Markdown table.
pub fn write_markdown(out: &mut impl fmt::Write) -> fmt::Result {
    for (place, section) in sections().enumerate() {
        if place > 0 {
            writeln!(out, "\n`{}`", section.heading())?;
        }
        writeln!(out, "{}\n", section.about().replace('*', "\\*"))?;
        writeln!(out, "| key | takes | default | does |\n|---|---|---|---|")?;
        for key in keys(section) {
            let default = match key.default {
                "" => "–".into(),
                words if key.default_is_words() => bare(words).to_string(),
                value => format!("`{value}`"),
            };
            writeln!(out, "| `{}` | {} | {default} | {} |", key.name, key.kind, key.help)?;
        }
    }
    Ok(())
}

fn sections() -> impl Iterator<Item = Section> {
    core::iter::once(Section::Global).chain(Section::NAMED)
}

/// Words without the parentheses around them.
fn bare(default: &str) -> &str {
    default.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(default)
}

/// Writes `text` in lines of at most 78 columns, each after `indent`.
fn write_wrapped(out: &mut impl fmt::Write, indent: &str, text: &str) -> fmt::Result {
    let mut column = 0;
    for word in text.split(' ') {
        if column > 0 && column + 1 + word.len() > 78 {
            writeln!(out)?;
            column = 0;
        }
        let before = if column == 0 { indent } else { " " };
        write!(out, "{before}{word}")?;
        column += before.len() + word.len();
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_explained() {
        for (place, key) in KEYS.iter().enumerate() {
            assert!(key.help.ends_with('.'), "{}", key.name);
            let again = KEYS.iter().skip(place + 1);
            assert!(!again.into_iter().any(|k| (k.section, k.name) == (key.section, key.name)));
        }
    }

    /// Whoever wonders why something is not there by itself finds the reason beside it.
    #[test]
    fn what_is_off_has_its_reason() {
        for key in
            KEYS.iter().filter(|key| [Section::Clients, Section::Listen].contains(&key.section))
        {
            let ends = ["no", "off", "else no)", "else off)"];
            let is_off = ends.iter().any(|end| key.default.ends_with(end));
            assert_eq!(is_off, key.help.contains("Off "), "{}", key.name);
            assert_eq!(is_off, key.help.contains("because "), "{}", key.name);
        }
    }

    #[test]
    fn the_manual_is_narrow_and_whole() {
        let (mut plain, mut markdown) = (String::new(), String::new());
        write_plain(&mut plain, None).unwrap();
        write_markdown(&mut markdown).unwrap();
        assert!(plain.lines().all(|line| line.len() <= 78), "{plain}");
        for key in KEYS {
            assert!(plain.contains(&format!("\n  {} = ", key.name)), "{}", key.name);
            assert!(markdown.contains(&format!("\n| `{}` | ", key.name)), "{}", key.name);
        }
    }
}

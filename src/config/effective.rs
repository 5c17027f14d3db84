//! A [`Config`] written back as a file: what `mote check` prints.
//!
//! Everything is said, defaults too, so that what is printed means the same on any machine: read
//! again, it gives an equal `Config`. The ranges of loopback are among the clients.

use super::clients::write_clients;
use super::draft::DEFAULT_RELAY;
use super::login::write_user;
use super::protection::write_pins;
use super::value::{write_listen, write_pattern, write_size, write_time};
use super::{
    Config, KeySource, Listen, Listener, ListenerAuth, ListenerTls, Log, Relay, Scheme, Via,
};
use core::fmt::{Result, Write};
use core::net::IpAddr;

/// Writes `config` as a file.
pub fn write_effective(out: &mut impl Write, config: &Config) -> Result {
    write_places(out, config)?;
    write_limits(out, config)?;
    config.listen.iter().skip(1).try_for_each(|listener| write_listener(out, listener))?;
    for relay in config.relays.iter() {
        if relay.name != DEFAULT_RELAY || !is_default(config) {
            writeln!(out, "\n[relay {}]", relay.name)?;
            pair(out, "url", url(relay))?;
            write_key(out, relay)?;
            write_protection(out, relay)?;
        }
    }
    for route in &config.routes {
        writeln!(out, "\n[route {}]", write_pattern(&route.pattern))?;
        pair(out, "via", via(config, &route.via))?;
    }
    config.clients.iter().try_for_each(|range| write_clients(out, range))?;
    if !config.rewrites.is_empty() {
        writeln!(out, "\n[rewrite]")?;
    }
    config.rewrites.iter().try_for_each(|rewrite| pair(out, &rewrite.old, &rewrite.new))
}

fn write_places(out: &mut impl Write, config: &Config) -> Result {
    pair(out, "hostname", &config.hostname)?;
    pair(out, "origin", &config.origin)?;
    let listen = write_places_of(&config.listener(0).places);
    pair(out, "listen", if listen.is_empty() { "off" } else { &listen })?;
    let default = config.relays.iter().find(|relay| relay.name == DEFAULT_RELAY);
    match (&config.via, default) {
        (Via::Relay(_), Some(relay)) => {
            pair(out, "relay", url(relay))?;
            write_key(out, relay)?;
        }
        (other, _) => pair(out, "relay", via(config, other))?,
    }
    if let Some(to) = &config.to {
        pair(out, if to.everyone { "to!" } else { "to" }, &to.address)?;
    }
    if let Some(from) = &config.from {
        pair(out, "from", from)?;
    }
    pair(out, "aliases", config.aliases_file.as_deref().unwrap_or("off"))?;
    if let Some(users) = &config.users {
        pair(out, "users", users)?;
    }
    if let Some(ca) = &config.ca {
        pair(out, "ca", ca)?;
    }
    if let Some(server) = config.resolver {
        pair(out, "resolver", server.to_string())?;
    }
    if let Some(user) = &config.user {
        pair(out, "user", user)?;
    }
    pair(out, "spool", &config.spool)?;
    if let Some(size) = config.spool_size {
        pair(out, "spool-size", write_size(size))?;
    }
    pair(out, "run", &config.run)
}

fn write_listener(out: &mut impl Write, listener: &Listener) -> Result {
    writeln!(out, "\n[listen {}]", listener.name)?;
    pair(out, "address", write_places_of(&listener.places))?;
    let (word, files) = match &listener.tls {
        ListenerTls::Off => ("off", None),
        ListenerTls::Starttls(files) => ("starttls", Some(files)),
        ListenerTls::Implicit(files) => ("implicit", Some(files)),
    };
    pair(out, "tls", word)?;
    if let Some(files) = files {
        pair(out, "cert", &files.cert)?;
        pair(out, "key", &files.key)?;
    }
    match &listener.auth {
        None => pair(out, "auth", "off"),
        Some(ListenerAuth { users, is_required }) => {
            pair(out, "auth", if *is_required { "required" } else { "optional" })?;
            pair(out, "users", users)
        }
    }
}

fn write_places_of(places: &[Listen]) -> String {
    let places: Vec<String> = places.iter().map(write_listen).collect();
    places.join(" ")
}

fn write_limits(out: &mut impl Write, config: &Config) -> Result {
    pair(out, "message-size", write_size(config.message_size))?;
    pair(out, "recipients", config.recipients.to_string())?;
    pair(out, "hops", config.hops.to_string())?;
    pair(out, "sessions", config.sessions.to_string())?;
    pair(out, "senders", config.senders.to_string())?;
    pair(out, "command-timeout", write_time(config.command_timeout))?;
    pair(out, "data-timeout", write_time(config.data_timeout))?;
    pair(out, "connect-timeout", write_time(config.connect_timeout))?;
    pair(out, "reply-timeout", write_time(config.reply_timeout))?;
    let retry: Vec<String> = config.retry.iter().copied().map(write_time).collect();
    pair(out, "retry", retry.join(" "))?;
    pair(out, "expire", write_time(config.expire))?;
    pair(out, "delay-notice", write_time(config.delay_notice))?;
    pair(out, "hold-max", write_time(config.hold_max))?;
    let log = match config.log {
        Log::Error => "error",
        Log::Warn => "warn",
        Log::Info => "info",
        Log::Debug => "debug",
    };
    pair(out, "log", log)
}

/// Whether the key `relay` is what says where mail goes.
fn is_default(config: &Config) -> bool {
    matches!(config.via, Via::Relay(_))
}

fn url(relay: &Relay) -> String {
    let user = relay.login.as_ref().map(|login| write_user(&login.user) + "@").unwrap_or_default();
    let scheme = relay.scheme.word();
    match relay.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("{scheme}://{user}[{address}]:{}", relay.port),
        _ => format!("{scheme}://{user}{}:{}", relay.host, relay.port),
    }
}

fn write_protection(out: &mut impl Write, relay: &Relay) -> Result {
    if relay.scheme == Scheme::Smtp {
        return Ok(());
    }
    let tls = &relay.tls;
    if let Some(ca) = &tls.ca {
        pair(out, "ca", ca)?;
    }
    if !tls.pins.is_empty() {
        pair(out, "pin", write_pins(&tls.pins))?;
    }
    if let Some(client) = &tls.client {
        pair(out, "client-cert", &client.cert)?;
        pair(out, "client-key", &client.key)?;
    }
    pair(out, "tls-min", tls.least.word())
}

fn write_key(out: &mut impl Write, relay: &Relay) -> Result {
    let Some(login) = &relay.login else { return Ok(()) };
    let key = if login.is_token { "token" } else { "password" };
    match &login.key {
        KeySource::Literal(_) => writeln!(out, "# {key} is not shown"),
        source => pair(out, key, source.to_string()),
    }
}

fn via(config: &Config, via: &Via) -> String {
    match via {
        Via::Relay(number) => match config.relays.get(usize::from(*number)) {
            Some(relay) => format!("relay {}", relay.name),
            None => "hold".into(),
        },
        Via::Mx => "mx".into(),
        Via::Maildir(path) => format!("maildir:{path}"),
        Via::Hold => "hold".into(),
        Via::Discard => "discard".into(),
        Via::Reject => "reject".into(),
    }
}

/// A line, in quotes where the value would not come back without them.
pub(super) fn pair(out: &mut impl Write, key: &str, value: impl AsRef<str>) -> Result {
    let value = value.as_ref();
    let is_bare = value.trim() == value && !value.contains(" #") && !value.contains("\t#");
    let quote = if is_bare { "" } else { "\"" };
    writeln!(out, "{key} = {quote}{value}{quote}")
}

#[cfg(test)]
mod tests {
    use super::super::{Host, embedded, parse};
    use super::*;

    const HOST: Host<'_> =
        Host { hostname: "pi", home: "/home", is_embedded: false, run: Some("/run/mote") };

    const FULL: &str = "
        hostname = mail.example.net
        origin = home.example.net
        listen = 0.0.0.0 [::1]:2525 br-lan:26 /run/smtp
        relay = smtp://me%40example.net@[::1]:26
        password = \"cmd:/usr/bin/pass show #1\"
        resolver = 127.0.0.1:5353
        ca = /etc/cas.pem
        to! = me@example.net
        from = pi@example.net
        users = /etc/mote.users
        user = mail
        spool = \"/var/my #1 spool\"
        spool-size = 1G
        run = /run/other
        message-size = 100M
        recipients = 50
        hops = 30
        sessions = 500
        senders = 9
        command-timeout = 1m
        data-timeout = 90s
        connect-timeout = 10s
        reply-timeout = 2m
        retry = 1s, 2s
        expire = 1d
        delay-notice = 4h
        hold-max = 2h
        log = debug
        [listen smtps]
        address = 10.0.0.1 [::1]:4650
        tls = implicit
        cert = /etc/mote/cert.pem
        key = \"/etc/mote/key #1.pem\"
        [listen lan]
        address = br-lan:587
        tls = starttls
        cert = /a
        key = /a
        auth = required
        users = /etc/mote.other
        [listen plain]
        address = eth1 inherited
        auth = off
        [relay office]
        url = smtp://office.example.net
        [relay mail]
        url = smtp://router@localhost
        token = file:/etc/token
        [relay cloud]
        url = smtp://router@127.0.0.1
        password = cred:mail
        [relay provider]
        url = smtps://router@mail.example.net
        password = env:KEY
        ca = /etc/mote/ca.pem
        pin = sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        client-cert = /etc/mote/me.pem
        client-key = /etc/mote/me.key
        tls-min = 1.3
        [relay campus]
        url = starttls://[2001:db8::1]:25
        [route me@example.net]
        via = relay office
        [route *.example.net]
        via = relay default
        [route @]
        via = maildir:/var/mail/all
        [route example.org]
        via = mx
        [route no.example.org]
        via = reject
        [route *]
        via = discard
        [clients lan]
        relay = yes
        starttls = no
        clear-auth = yes
        lenient = yes
        proxy = yes
        xclient = no
        connections = 4
        rate = 200
        size = 1M
        recipients = 3
        [clients ::/0]
        relay = everyone
        [clients 127.0.0.0/8]
        relay = no
        [rewrite]
        OLD = new@example.net
        @old.example = @example.net
        @localhost = all@example.net";

    #[test]
    fn what_is_written_reads_the_same() {
        let configs = [
            parse(FULL.as_bytes(), &HOST).unwrap(),
            parse(b"listen = off\n[relay default]\nurl = smtp://a", &HOST).unwrap(),
            parse(b"[relay one]\nurl = smtp://a", &HOST).unwrap(),
            embedded(&HOST),
        ];
        for config in configs {
            let mut text = String::new();
            write_effective(&mut text, &config).unwrap();
            let other = Host { hostname: "x", home: "/y", is_embedded: false, run: None };
            assert_eq!(parse(text.as_bytes(), &other).as_ref(), Ok(&config), "{text}");
        }
    }

    #[test]
    fn every_key_is_written() {
        let mut text = String::new();
        write_effective(&mut text, &parse(FULL.as_bytes(), &HOST).unwrap()).unwrap();
        let written = |key| text.lines().any(|line| line.starts_with(&format!("{key} = ")));
        for (_, key) in super::super::key_names().filter(|(_, key)| *key != "to") {
            assert!(written(key), "{key}");
        }
    }
}

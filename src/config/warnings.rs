//! What a configuration may say, and somebody should still think about.
//!
//! Printed by `mote check`. None of it stops anything.

use super::clients::is_wide;
use super::value::{self, is_near, write_size};
use super::{ClientRange, Config, Listener, ListenerTls, Pattern, Relay, Scheme, Via};
use core::net::IpAddr;

/// One sentence each.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let all_routed = config.routes.iter().any(|route| route.pattern == Pattern::Any);
    if config.via == Via::Hold && !all_routed {
        found.push(
            "no relay: mail that no route matches is held in the queue; to send it on, add a line \
             like relay = smtps://mail.example.net"
                .into(),
        );
    }
    let is_direct = config.via == Via::Mx || config.routes.iter().any(|r| r.via == Via::Mx);
    let locals_go_on = config.to.is_some()
        || config.routes.iter().any(|r| matches!(r.pattern, Pattern::Local | Pattern::Any));
    if is_direct && !locals_go_on {
        found.push(
            "mx: mail for users of this machine is held; to send it on, add a line like \
             to = me@example.net"
                .into(),
        );
    }
    for (number, relay) in (0..).zip(&config.relays) {
        if !is_used(config, number) {
            found.push(format!(
                "no route uses [relay {0}]; add a [route PATTERN] with via = relay {0}",
                relay.name
            ));
        } else if is_far(relay) {
            found.push(format!(
                "relay {}: mail travels to {} in clear text, and everyone on the way can read it",
                relay.name, relay.host
            ));
        }
    }
    for range in config.clients.iter().filter(|r| r.policy.relay && is_wide(r.network, r.prefix)) {
        found.push(format!(
            "open relay: everyone in {}/{} may send mail to anyone through this machine",
            range.network, range.prefix
        ));
    }
    found.extend(config.clients.iter().filter_map(|range| shadowed(config, range)));
    found.extend(config.listen.iter().filter_map(|listener| unreachable(config, listener)));
    for range in config.clients.iter().filter(|range| range.policy.clear_auth) {
        if !value::is_in_lan(range.network, range.prefix) && !range.network.is_loopback() {
            found.push(format!(
                "[clients {}/{}] may log in without TLS: everyone on the way can read passwords",
                range.network, range.prefix
            ));
        }
    }
    if let Some(size) = config.spool_size.filter(|size| *size < config.message_size) {
        found.push(format!(
            "message-size is {}, but the queue has only {}: larger messages are refused",
            write_size(config.message_size),
            write_size(size)
        ));
    }
    found
}

/// A section does not have what a wider one says: whoever wrote it for another key may have meant
/// to let these relay as before.
fn shadowed(config: &Config, range: &ClientRange) -> Option<String> {
    let mut wider = config.clients.iter().filter(|wider| {
        wider.prefix < range.prefix && wider.holds(range.network) && wider.policy.relay
    });
    let wider = wider.next().filter(|_| !range.policy.relay)?;
    Some(format!(
        "[clients {}/{}] may not relay, though {}/{} around it may; if it shall, add relay = yes",
        range.network, range.prefix, wider.network, wider.prefix
    ))
}

/// Nobody could ever log in there, and whoever has not cannot send.
fn unreachable(config: &Config, listener: &Listener) -> Option<String> {
    let is_required = listener.auth.as_ref().is_some_and(|auth| auth.is_required);
    let is_clear = config.clients.iter().any(|range| range.policy.clear_auth);
    if !is_required || listener.tls != ListenerTls::Off || is_clear {
        return None;
    }
    Some(format!(
        "[listen {}] takes mail of nobody: auth is required, and offered only inside TLS; add \
         tls, or clear-auth = yes for some clients",
        listener.name
    ))
}

fn is_used(config: &Config, number: u16) -> bool {
    let via = Via::Relay(number);
    config.via == via || config.routes.iter().any(|route| route.via == via)
}

/// Neither loopback nor private. A name says nothing about where it is, but for these.
fn is_far(relay: &Relay) -> bool {
    if relay.scheme != Scheme::Smtp {
        return false;
    }
    match relay.host.parse::<IpAddr>() {
        Ok(address) => !is_near(address),
        Err(_) => {
            let host = relay.host.to_ascii_lowercase();
            let near = [".localhost", ".localdomain", ".local", ".lan", ".internal", ".home.arpa"];
            host != "localhost" && !near.iter().any(|end| host.ends_with(end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Host, parse};
    use super::*;

    fn warned(text: &str) -> String {
        let host = Host { hostname: "pi", home: "/h", is_embedded: false, run: None };
        warnings(&parse(text.as_bytes(), &host).unwrap()).join("\n")
    }

    #[test]
    fn nothing_to_say() {
        assert_eq!(warned("relay = smtp://10.0.0.1"), "");
        assert_eq!(warned("relay = smtp://[fe80::1]"), "");
        assert_eq!(warned("relay = smtp://localhost:2525"), "");
        assert_eq!(warned("relay = maildir:/m"), "");
        assert_eq!(warned("relay = maildir:/m\n[clients lan]\nrelay = yes\nclear-auth = yes"), "");
    }

    #[test]
    fn each_says_what_it_is_about() {
        for (text, word) in [
            ("", "no relay"),
            ("relay = smtp://8.8.8.8", "clear text"),
            ("relay = smtp://mail.example.net", "clear text"),
            ("relay = hold\n[relay a]\nurl = smtp://a.lan", "no route uses [relay a]"),
            ("[clients ::/0]\nrelay = everyone", "open relay"),
            ("[clients lan]\nrelay = yes\n[clients 10.0.0.0/24]\nrate = 9", "10.0.0.0/8 around it"),
            ("spool-size = 1M", "only 1M"),
            ("[clients 8.0.0.0/8]\nclear-auth = yes", "read passwords"),
            ("users = /u\n[listen a]\naddress = ::1\nauth = required", "takes mail of nobody"),
            ("relay = mx", "mx: mail for users"),
        ] {
            assert!(warned(text).contains(word), "{text}");
        }
    }
}

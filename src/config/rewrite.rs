//! `[rewrite]`: who is called what, towards everybody else. One line a mapping, `OLD = NEW`.
//!
//! OLD is an address (`me@old.example`), a user of this machine (`root`, which is also root at each
//! name of this machine), a domain with its `@` (`@old.example`, not its subdomains), or `@` alone
//! (all users of this machine). NEW is an address, or behind a domain also `@new.example`, which
//! keeps the part before it. An address goes before its domain, wherever they stand; what comes out
//! is not looked up again, so nothing goes in circles. Compared without case.

use super::draft::{Draft, Given};
use super::{Config, Fault, value};
use crate::base::buffer::Text;
use crate::limits::{ADDRESS_BYTES_MAX, REWRITES_MAX};
use crate::mail::address::Address;
use crate::mail::rewrite::Mailbox;
use core::fmt::Write as _;

/// One line of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewrite {
    /// As it is written.
    pub old: String,
    /// An address, or `@` and a domain.
    pub new: String,
    from: From,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum From {
    /// A user of this machine.
    User(String),
    /// All of them.
    Users,
    Address(String),
    Domain(String),
}

impl Config {
    /// What stands for `address`, by `[rewrite]`.
    pub fn rewritten(&self, address: Address<'_>) -> Option<Mailbox> {
        if self.rewrites.is_empty() {
            return None;
        }
        let is_local = self.is_local(address);
        let is_one = |rewrite: &&Rewrite| match &rewrite.from {
            From::User(name) => is_local && address.local().eq_ignore_ascii_case(name),
            From::Address(whole) => address.as_str().eq_ignore_ascii_case(whole),
            From::Users | From::Domain(_) => false,
        };
        let is_all = |rewrite: &&Rewrite| match &rewrite.from {
            From::Users => is_local,
            From::Domain(domain) => address.domain_is(domain),
            From::User(_) | From::Address(_) => false,
        };
        let found = self.rewrites.iter().find(is_one).or(self.rewrites.iter().find(is_all))?;
        if !found.new.starts_with('@') {
            return Some(Text::from(found.new.as_str()));
        }
        if address.local().len() + found.new.len() > ADDRESS_BYTES_MAX {
            // It cannot be told; it stays who it was.
            return None;
        }
        let mut made = Mailbox::from(address.local());
        // There is room.
        let _ = made.write_str(&found.new);
        Some(made)
    }
}

impl Draft {
    /// A line of `[rewrite]`.
    pub(super) fn set_rewrite(&mut self, old: &str, given: &Given<'_>) -> Result<(), String> {
        let new = match given.text.strip_prefix('@') {
            Some(domain) if old.starts_with('@') => format!("@{}", value::host_name(domain)?),
            Some(_) => return Err("one address cannot become a domain; expected an address".into()),
            None => value::address(given.text)?,
        };
        let old = match old.strip_prefix('@') {
            Some("") => old.into(),
            Some(domain) => format!("@{}", value::host_name(domain)?),
            None => {
                let address = Address::parse(old.as_bytes()).map_err(|error| {
                    format!("{}; expected an address, @DOMAIN or @", error.text())
                })?;
                address.as_str().to_string()
            }
        };
        if self.rewrites.len() >= REWRITES_MAX {
            return Err(format!("more than {REWRITES_MAX} lines in [rewrite]"));
        }
        self.rewrites.push((old, new, given.line));
        Ok(())
    }

    /// Once it is known which names are this machine's.
    pub(super) fn finish_rewrites(&mut self, faults: &mut Vec<Fault>) {
        for (old, new, line) in core::mem::take(&mut self.rewrites) {
            let from = kind(&old, &self.config);
            let before = self.config.rewrites.iter().find(|other| is_same(&other.from, &from));
            if let Some(before) = before {
                let message = format!("{old}: is the same as {}", before.old);
                faults.push(Fault { line, message });
                continue;
            }
            let target = Address::parse(new.as_bytes()).ok();
            if let Some(target) = target.filter(|target| self.config.is_local(*target)) {
                // Aliases were looked up before, so nobody would ask for his.
                let message = format!(
                    "{old}: {} is a user of this machine; one becomes another in the file of \
                     aliases",
                    target.as_str()
                );
                faults.push(Fault { line, message });
                continue;
            }
            self.config.rewrites.push(Rewrite { old, new, from });
        }
    }
}

fn kind(old: &str, config: &Config) -> From {
    if let Some(domain) = old.strip_prefix('@') {
        let probe = format!("x@{domain}");
        let is_own = domain.is_empty()
            || Address::parse(probe.as_bytes()).is_ok_and(|address| config.is_local(address));
        return if is_own { From::Users } else { From::Domain(domain.into()) };
    }
    match Address::parse(old.as_bytes()) {
        Ok(address) if config.is_local(address) => From::User(address.local().into()),
        _ => From::Address(old.into()),
    }
}

fn is_same(one: &From, other: &From) -> bool {
    match (one, other) {
        (From::Users, From::Users) => true,
        (From::User(one), From::User(other))
        | (From::Address(one), From::Address(other))
        | (From::Domain(one), From::Domain(other)) => one.eq_ignore_ascii_case(other),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Host, parse};
    use super::*;

    const HOST: Host<'_> = Host { hostname: "pi.lan", home: "/h", is_embedded: false, run: None };

    #[test]
    fn an_address_goes_before_its_domain_and_nothing_twice() {
        let text = "relay = hold\n[rewrite]\n@old.example = @new.example\n\
                    @new.example = @x.example\nme@old.example = chief@y.example\n\
                    root = me@z.example\n@ = @home.example\n\
                    @one.example = all@one.test\n";
        let config = parse(text.as_bytes(), &HOST).unwrap();
        for (old, new) in [
            ("a@old.example", Some("a@new.example")),
            ("A.b@OLD.example", Some("A.b@new.example")),
            ("Me@Old.Example", Some("chief@y.example")),
            ("a@sub.old.example", None),
            ("a@new.example", Some("a@x.example")),
            ("root", Some("me@z.example")),
            ("ROOT@localhost", Some("me@z.example")),
            ("root@pi.lan", Some("me@z.example")),
            ("root@elsewhere.example", None),
            ("cron", Some("cron@home.example")),
            ("\"a b\"@pi.lan", Some("\"a b\"@home.example")),
            ("any@one.example", Some("all@one.test")),
        ] {
            let found = config.rewritten(Address::parse(old.as_bytes()).unwrap());
            assert_eq!(found.as_ref().map(Text::as_str), new, "{old}");
        }
        let long = format!("{}@old.example", "x".repeat(ADDRESS_BYTES_MAX - 70));
        let found = config.rewritten(Address::parse(long.as_bytes()).unwrap());
        assert!(found.is_some_and(|found| found.as_str().ends_with("@new.example")));
    }
}

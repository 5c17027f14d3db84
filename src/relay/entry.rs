//! Being let in: the key for a relay before the connection, its lending on the connection, and what
//! it means when we are not known there (decisions 6, 7).
//!
//! A key that cannot be had, and a login that is refused, hold the lane with its mail, and nothing
//! is ever sent without (threats 23). Another address of the same relay is tried only where the
//! refusal is for now: one wrong password must not count eight times. What a program printed is
//! asked for once more when it is refused.
//!
//! While a lane waits for that reason its key is looked at every [`KEY_LOOK`]: when the file has
//! changed, the lane is tried at once, whatever its back-off.

use super::forwarder::{Context, Forwarder, Request};
use super::keyring::Keyring;
use super::route;
use super::sender::State;
use crate::base::buffer::Text;
use crate::config::{Config, KeySource, Relay};
use crate::limits::{KEY_LOOK, REMOTE_TEXT_BYTES_MAX};
use crate::smtp::client::LoginLoss;
use crate::smtp::sasl::client::{Login, SecretKind};
use core::fmt::Write as _;

impl Forwarder {
    /// Where the key for the slot's lane is.
    pub fn key<'a>(&self, slot: usize, config: &'a Config) -> Option<&'a KeySource> {
        Some(&self.relay(slot, config)?.login.as_ref()?.key)
    }

    fn relay<'a>(&self, slot: usize, config: &'a Config) -> Option<&'a Relay> {
        let lane = self.lanes.get(usize::from(self.senders.get(slot)?.lane))?;
        route::relay(config, &lane.destination)
    }

    /// The key is there: next comes the name.
    pub fn unlocked(&mut self, slot: usize) {
        let Some(sender) = self.senders.get_mut(slot) else { return };
        sender.state = State::AwaitAddress;
        let ticket = sender.ticket(slot);
        if let Some(request) = self.requests.get_mut(slot) {
            *request = Some(Request::Resolve { ticket });
        }
    }

    /// The key that was asked for with `ticket` can be asked for again.
    pub fn ask_again(&mut self, ticket: u32) {
        let slot = (ticket & 0xffff) as usize;
        let Some(sender) = self.senders.get(slot) else { return };
        if sender.awaits(State::AwaitKey, ticket)
            && let Some(request) = self.requests.get_mut(slot)
        {
            *request = Some(Request::Unlock { ticket });
        }
    }

    /// The key cannot be had.
    pub fn locked<W>(&mut self, slot: usize, why: &str, context: &mut Context<'_, W>) {
        let lane = self.lane_of_slot(slot).map(|lane| lane.number);
        let is_asked_for = self.senders.get(slot).is_some_and(|s| s.state == State::AwaitKey);
        if is_asked_for && matches!(self.key(slot, context.config), Some(KeySource::Command(_))) {
            // Programs that print tokens ask a server for them.
            self.cut_off(slot);
        }
        self.lane_failed(slot, why, context);
        self.await_key(lane, context);
    }

    /// The next hop wants to see the key, or some of it. False: the connection is given up.
    pub(super) fn log_in<W: Keyring>(&mut self, slot: usize, context: &mut Context<'_, W>) -> bool {
        let now = context.now.instant;
        let relay = self.relay(slot, context.config);
        let Some((relay, login)) = relay.and_then(|relay| Some((relay, relay.login.as_ref()?)))
        else {
            // The config has changed under it: a new connection knows.
            self.close(slot);
            self.release(slot);
            return false;
        };
        let Some(sender) = self.senders.get_mut(slot) else { return false };
        let lent = context.world.lend(&login.key, &mut |key, crypto| {
            let secret = match login.is_token {
                true => SecretKind::Token(key),
                false => SecretKind::Password(key),
            };
            let (user, host, port) = (&login.user, &relay.host, relay.port);
            sender.log_in(&Login { user, secret, host, port }, crypto, now);
        });
        if let Err(why) = &lent {
            self.close(slot);
            self.locked(slot, why.as_str(), context);
        }
        lent.is_ok()
    }

    /// We are not let in.
    pub(super) fn not_logged_in<W: Keyring>(
        &mut self,
        slot: usize,
        loss: &LoginLoss,
        context: &mut Context<'_, W>,
    ) {
        self.close(slot);
        let config = context.config;
        let login = self.relay(slot, config).and_then(|relay| relay.login.as_ref());
        let words = words(loss, login.map(|login| &login.key));
        match (loss, login) {
            // RFC 4954 §4.7.1: 454 and its kin are for now.
            (LoginLoss::Refused(_, reply, _), _) if reply.class() == 4 => {
                self.try_next_address(slot, words.as_str(), context);
            }
            (LoginLoss::Refused(..), Some(login)) if context.world.refused(&login.key) => {
                if let Some(lane) = self.lane_of_slot(slot) {
                    let name = lane.destination.name();
                    log::info!("relay {name}: {}; asking for a new one", words.as_str());
                }
                self.release(slot);
            }
            _ => self.locked(slot, words.as_str(), context),
        }
    }

    fn await_key<W>(&mut self, lane: Option<u8>, context: &Context<'_, W>) {
        let lane = lane.and_then(|number| self.lanes.get_mut(usize::from(number)));
        if let Some(lane) = lane {
            lane.key_look = Some(context.now.instant + KEY_LOOK);
        }
    }

    /// Whether keys have changed that lanes wait for.
    pub(super) fn look_for_keys<W: Keyring>(&mut self, context: &mut Context<'_, W>) {
        let now = context.now.instant;
        for lane in &mut self.lanes {
            if lane.key_look.is_none_or(|look| now < look) {
                continue;
            }
            let relay = route::relay(context.config, &lane.destination);
            let login = relay.and_then(|relay| relay.login.as_ref());
            lane.key_look = None;
            let Some(login) = login.filter(|_| lane.until.is_some_and(|until| now < until)) else {
                continue;
            };
            if context.world.has_changed(&login.key) {
                log::info!("relay {}: {} has changed", lane.destination.name(), login.key);
                // Its failures still count: one connection finds out.
                lane.until = None;
            } else if matches!(login.key, KeySource::File(_) | KeySource::Credential(_)) {
                lane.key_look = Some(now + KEY_LOOK);
            }
        }
    }
}

/// What is wrong. What to change comes before the next hop's own words, which may be long.
fn words(loss: &LoginLoss, key: Option<&KeySource>) -> Text<REMOTE_TEXT_BYTES_MAX> {
    let mut text = Text::new();
    // A Text cuts what is too long, it never fails.
    let _ = match (loss, key) {
        (LoginLoss::Exposed, _) => {
            write!(text, "no password is sent in clear text; write smtps:// or starttls:// in url")
        }
        (LoginLoss::NoMechanism(offered), _) if offered.is_empty() => {
            write!(text, "offers no login; another port, or no user in the URL?")
        }
        (LoginLoss::NoMechanism(offered), _) => {
            write!(text, "offers no login that fits, only {}", offered.as_str())
        }
        (LoginLoss::Refused(mechanism, reply, status), key) => {
            let _ = write!(text, "does not let us in ({}", mechanism.name());
            if !status.is_empty() {
                let _ = write!(text, ", {}", status.as_str());
            }
            match key.filter(|_| reply.class() == 5) {
                Some(KeySource::Literal(_)) | None => write!(text, "): {reply}"),
                Some(key) => {
                    // The reply must still fit.
                    let key = Text::<60>::from(key.to_string().as_str());
                    write!(text, "; look at the user and {}): {reply}", key.as_str())
                }
            }
        }
        (LoginLoss::Failed(mechanism, error), _) => {
            write!(text, "the login failed ({}): {}", mechanism.name(), error.text())
        }
    };
    text
}

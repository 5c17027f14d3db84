//! From a destination's name to a connection: answers of the resolver, one address after the other.
//!
//! What a failure means is decisions 6 and 7: an address that does not let us in is followed by the
//! next, and when there is none left the lane backs off. Only what the name servers say for sure of
//! a domain ends its mail, and that a domain does not exist only when they still say so after
//! [`SURE_AFTER`]: a router without its uplink says the same of every name.

use super::forwarder::{Context, Forwarder, Request};
use super::keyring::Keyring;
use super::mailbox::Mailbox;
use super::network::{Addresses, NetError, Protection, ResolveError, TlsPeer};
use super::route::{self, Destination};
use super::sender::{Sender, State, Ways};
use crate::base::time::Instant;
use crate::config::Config;
use crate::dns::lookup::{Failure, MailHosts};
use crate::queue::disk::Disk;
use core::net::SocketAddr;

/// RFC 5321 §4.5.4.2 leaves it to the domain's own server.
pub(super) const MX_PORT: u16 = 25;
/// Seconds for which a domain that does not exist may yet turn up.
const SURE_AFTER: u64 = 15 * 60;

impl Forwarder {
    /// A name has been looked up.
    pub fn resolved<W>(
        &mut self,
        ticket: u32,
        answer: Result<Addresses, ResolveError>,
        context: &mut Context<'_, W>,
    ) {
        let slot = (ticket & 0xffff) as usize;
        let Some(sender) = self.senders.get_mut(slot) else { return };
        if !sender.awaits(State::AwaitAddress, ticket) {
            return;
        }
        match answer {
            Ok(addresses) => {
                sender.ways = Ways::Addresses(addresses);
                self.try_next_address(slot, "has no address", context);
            }
            Err(error) => {
                sender.is_cut_off = true;
                self.lane_failed(slot, error.text(), context);
            }
        }
    }

    /// A domain's mail hosts have been looked up.
    pub fn mail_resolved<W: Disk + Mailbox + Keyring>(
        &mut self,
        ticket: u32,
        answer: Result<MailHosts, Failure>,
        context: &mut Context<'_, W>,
    ) {
        let slot = (ticket & 0xffff) as usize;
        let Some(sender) =
            self.senders.get_mut(slot).filter(|sender| sender.awaits(State::AwaitAddress, ticket))
        else {
            return;
        };
        match answer {
            Ok(hosts) => {
                sender.ways = Ways::Hosts(hosts);
                self.try_next_address(slot, "has no address", context);
            }
            Err(failure) if failure.is_temporary() => {
                sender.is_cut_off = true;
                self.lane_failed(slot, failure.text(), context);
            }
            Err(failure) => self.refuse_one(slot, failure, context),
        }
    }

    /// The name servers say for sure that the lane's mail cannot be delivered: its next message is
    /// told so. The others ask again, and the answer is remembered.
    fn refuse_one<W: Disk + Mailbox + Keyring>(
        &mut self,
        slot: usize,
        failure: Failure,
        context: &mut Context<'_, W>,
    ) {
        let Some(sender) = self.senders.get(slot) else { return };
        let lane_at = usize::from(sender.lane);
        let Some(ticket) = self.next_for(lane_at, context.queue) else { return self.release(slot) };
        let arrival = context.queue.waiting(ticket).map_or(0, |waiting| waiting.arrival);
        let age = context.queue.run(context.now.instant).saturating_sub(arrival);
        let Some(lane) = self.lanes.get_mut(lane_at) else { return };
        if failure == Failure::NoSuchDomain && age < SURE_AFTER {
            // A router without its uplink says the same of every name.
            lane.offer(ticket);
            self.cut_off(slot);
            return self.lane_failed(slot, failure.text(), context);
        }
        lane.refusal = Some(failure);
        self.file_one(slot, lane_at, ticket, context);
    }

    /// The connection stands.
    pub fn connected(&mut self, slot: usize, config: &Config, now: Instant) {
        if let Some((sender, destination)) = self.sender_and_destination(slot) {
            sender.connected(config, destination, now);
        }
    }

    /// TLS stands on the slot's connection.
    pub fn secured(&mut self, slot: usize, protection: Protection, config: &Config, now: Instant) {
        if let Some((sender, destination)) = self.sender_and_destination(slot) {
            sender.secured(protection, config, destination, now);
        }
    }

    fn sender_and_destination(&mut self, slot: usize) -> Option<(&mut Sender, &Destination)> {
        let sender = self.senders.get_mut(slot)?;
        let lane = self.lanes.get(usize::from(sender.lane))?;
        Some((sender, &lane.destination))
    }

    /// What the slot is connected to, as TLS has to know it: its name, where it is, and its terms.
    pub fn peer<'a>(&'a self, slot: usize, config: &'a Config) -> Option<TlsPeer<'a>> {
        let sender = self.senders.get(slot)?;
        let address = sender.address()?;
        let destination = &self.lanes.get(usize::from(sender.lane))?.destination;
        if let Destination::Domain(_) = destination {
            let name = sender.mail_host()?.name.as_str();
            return Some(TlsPeer { name, address, relay: None });
        }
        let relay = route::relay(config, destination)?;
        Some(TlsPeer { name: &relay.host, address, relay: Some(relay) })
    }

    /// The connection could not be made.
    pub fn connect_failed<W>(
        &mut self,
        slot: usize,
        error: NetError,
        context: &mut Context<'_, W>,
    ) {
        self.close(slot);
        if !matches!(error, NetError::Exhausted | NetError::Tls | NetError::NotTls) {
            self.cut_off(slot);
        }
        self.try_next_address(slot, error.text(), context);
    }

    /// What fails in the slot now is the way.
    pub(super) fn cut_off(&mut self, slot: usize) {
        if let Some(sender) = self.senders.get_mut(slot) {
            sender.is_cut_off = true;
        }
    }

    pub(super) fn try_next_address<W>(
        &mut self,
        slot: usize,
        why: &str,
        context: &mut Context<'_, W>,
    ) {
        let port = self.host(slot).map_or(25, |(_, port)| port);
        let Some(sender) = self.senders.get_mut(slot) else { return };
        let clear = sender.once_more_in_the_clear();
        let Some(address) = clear.or_else(|| sender.next_address()) else {
            return self.lane_failed(slot, why, context);
        };
        if clear.is_some() {
            // RFC 7435 §3: less protection than there might be is better than no mail.
            log::info!("{address}: TLS failed: it {why}; once more in the clear");
        }
        sender.state = State::AwaitConnection;
        sender.connect_deadline = Some(context.now.instant + context.config.connect_timeout);
        if let Some(request) = self.requests.get_mut(slot) {
            *request = Some(Request::Connect(SocketAddr::new(address, port)));
        }
    }
}

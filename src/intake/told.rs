//! Whom a peer speaks for: a load balancer by its PROXY header, a mail proxy by XCLIENT.
//!
//! Only ranges with `proxy = yes` or `xclient = yes` are believed, and from those it must come: a
//! connection that does not begin with a PROXY header is closed without a word, and mail before
//! XCLIENT has named an address is refused. Otherwise everybody behind the proxy would have the
//! proxy's rights.
//!
//! From then on the client is judged by the address that was told, as if it had come from there:
//! what it may do, how it is counted, whether it gets a slot ([`Stand::AtDoor`]). And only once:
//! whoever was told of may not tell of others, so no client can speak past its proxy.
//!
//! Loopback is where the proxy is: told by somebody on another machine it is not ours. Such a
//! client, one whose address nobody knows, and a proxy itself (where it speaks for nobody, or is
//! told of by another) may do what that proxy may, but never relay: behind it may stand anybody.
//!
//! What XCLIENT has told in the clear must mean nothing behind STARTTLS (RFC 3207 §4.2, threats
//! 2). But if the proxy had to tell again there, so could its client, whose bytes it passes on by
//! then. So there is no STARTTLS any more: a proxy that wants TLS begins it before it tells. A Unix
//! socket has nobody in between.
//!
//! The one right that is not the address's comes with LOGIN: who has logged in at the proxy, as a
//! user of this listener, may do what he could after AUTH here.

use super::access::mechanisms;
use super::admission::{Admission, Telling};
use super::devices::{Complaint, News};
use super::peer::Peer;
use super::session::{Context, Session, Stand, Work};
use super::users::Vault;
use crate::base::time::Instant;
use crate::config::Config;
use crate::limits::PROXY_TIMEOUT;
use crate::queue::Queue;
use crate::smtp::proxy::{self, Parsed, Told};
use crate::smtp::server::Server;
use crate::smtp::xclient::ToldClient;
use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

impl Session {
    /// Where a new tenant stands: it must tell first, or is ready to be greeted.
    pub(super) fn arrive(&mut self, now: Instant) {
        self.header_until = self.work.admission.proxy.then(|| now + PROXY_TIMEOUT);
        self.stand = Stand::AtDoor;
        if self.header_until.is_some() {
            self.stand = Stand::AwaitHeader;
        }
    }

    /// Room for a header, and not for a byte of what follows it: that may be TLS.
    pub(super) fn header_mut(&mut self) -> &mut [u8] {
        let wanted = proxy::wanted(self.input.readable());
        let room = self.input.writable();
        let wanted = wanted.min(room.len());
        room.get_mut(..wanted).unwrap_or_default()
    }

    /// Reads the header, if one is awaited and whole.
    pub(crate) fn take_header(&mut self, config: &Config, queue: &Queue) {
        if self.stand != Stand::AwaitHeader {
            return;
        }
        match proxy::parse(self.input.readable()) {
            Parsed::Partial => (),
            Parsed::Bad => {
                log::info!("client={}: no PROXY header, as it must send; closed", self.work.peer);
                self.miss_header();
            }
            Parsed::Complete { consumed, told } => {
                self.input.consume(consumed);
                let client = match told {
                    Told::Client(address) => Some(address),
                    Told::Nobody | Told::Unknown => None,
                };
                self.work.speak_for(client, config, queue);
                self.server = Server::new(self.work.peer.is_local());
                self.stand = Stand::AtDoor;
                self.is_new_face = true;
            }
        }
    }

    /// Ends it if the header should have come by now.
    pub(super) fn await_header(&mut self, now: Instant) {
        if self.stand == Stand::AwaitHeader && self.header_until.is_some_and(|until| now >= until) {
            self.miss_header();
        }
    }

    /// Closes without a word: who does not speak the protocol would take it for something else.
    fn miss_header(&mut self) {
        self.news.complaint = Some(Complaint::NoHeader);
        self.stand = Stand::Closing;
        self.is_deserted = true;
    }

    /// True once after it was told who this is: a slot has to be found for him, or not.
    pub fn take_new_face(&mut self) -> bool {
        self.stand == Stand::AtDoor && core::mem::take(&mut self.is_new_face)
    }
}

impl Work {
    /// The session of whoever XCLIENT tells of. What the proxy said and was told is not his.
    pub(super) fn begin_anew<D: Vault>(
        &mut self,
        told: &ToldClient<'_>,
        server: &Server,
        context: &mut Context<'_, D>,
    ) -> (Server, News) {
        let is_logged_in = self.told(told, context);
        (server.anew(self.peer.is_local(), is_logged_in), News::default())
    }

    /// What XCLIENT says; true if somebody has logged in with it. Without an address nothing has
    /// been told yet.
    fn told<D: Vault>(&mut self, told: &ToldClient<'_>, context: &mut Context<'_, D>) -> bool {
        self.login.forget();
        self.hello.clear();
        self.is_extended = false;
        if let Some(hello) = told.hello {
            // A Text cuts what is too long, it never fails.
            let _ = write!(self.hello, "{hello}");
        }
        let Some(address) = told.address else { return false };
        let client = address.map(|address| SocketAddr::new(address, told.port.unwrap_or(0)));
        self.is_hearsay = self.secured.is_none() && matches!(self.peer, Peer::Tcp(_));
        self.speak_for(client, context.config, context.queue);
        // A program of this machine, which had no need to log in, speaks for somebody who may.
        self.mechanisms = mechanisms(context.config, self.listener, context.disk);
        // Counts like a login here, for a user of here; of others nobody knows what they may.
        let Some(name) = told.login else { return false };
        let terms = context.config.listener(self.listener).auth.as_ref();
        let keys = terms.and_then(|terms| context.disk.users(&terms.users));
        keys.is_some_and(|keys| self.login.assume(name, keys.users))
    }

    /// From now on it is `client`; none: that is not known.
    fn speak_for(&mut self, client: Option<SocketAddr>, config: &Config, queue: &Queue) {
        let client =
            client.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        // Loopback of another machine, which is nobody here.
        let is_elsewhere =
            |address: &SocketAddr| address.ip().is_loopback() && !self.peer.is_local();
        let known = client.filter(|address| !is_elsewhere(address));
        let admission = match (known, self.peer) {
            (Some(address), _) => {
                self.peer = Peer::Tcp(address);
                let policy = config.client(address.ip());
                let relay = policy.relay && !policy.proxy && !policy.xclient;
                Admission { relay, ..Admission::new(config, policy) }
            }
            (None, Peer::Tcp(_)) => Admission { relay: false, ..self.admission },
            (None, Peer::Unix { .. }) => {
                let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                self.peer = Peer::Tcp(SocketAddr::new(nowhere, 0));
                Admission { relay: false, ..Admission::new(config, config.client(nowhere)) }
            }
        };
        let admission = Admission { proxy: false, xclient: Telling::Never, ..admission };
        self.admission = admission.within(queue);
    }
}

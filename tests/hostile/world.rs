//! The whole daemon with nothing around it that fails: memory for a disk, a clock that is moved by
//! hand, one client at a time, and one next hop that reads by the letter.
//!
//! A segment that the client sends arrives whole, and alone: the next one comes when the daemon has
//! nothing left to do.

use crate::memory_disk::MemoryDisk;
use core::net::{IpAddr, SocketAddr};
use mote::base::buffer::Emptiness;
use mote::base::time::{Instant, Now, UnixTime};
use mote::config::{Host, parse};
use mote::daemon::turn::{Daemon, Door, batch_max};
use mote::daemon::world::{
    Accepted, Addresses, Clock, Event, Failure, MailHosts, Net, NetError, NetWords, Peer,
    Protection, ResolveError, Resolver, Secured, Side, Token, Transfer,
};
use mote::intake::drop_directory::{DropDirectory, DropError, DropFile, DropName};
use mote::queue::disk::{Block, Disk, DiskError};
use mote::queue::recovery::{format, recover};
use mote::relay::mailbox::{Mailbox, MailboxError};

const BLOCKS: usize = 300;
/// Turns that one segment may take.
const TURNS_MAX: u32 = 1000;

/// One side of a connection.
#[derive(Default)]
struct Wire {
    token: Option<Token>,
    /// For the daemon to read, and whether that is all.
    inbound: Vec<u8>,
    is_shut: bool,
    /// Written by the daemon.
    outbound: Vec<u8>,
}

/// A message that the next hop has taken.
pub(crate) struct Taken {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// The line that named the sender.
    pub(crate) mail: String,
    /// What came between the 354 and the final dot, as it came.
    pub(crate) wire: Vec<u8>,
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} to {:?}: {}", self.from, self.to, self.wire.escape_ascii())
    }
}

/// The next hop: no bare CR or LF, known commands in their order, and CRLF.CRLF.
#[derive(Default)]
struct Hop {
    wire: Wire,
    /// None between messages.
    message: Option<Vec<u8>>,
    mail: String,
    from: Option<String>,
    to: Vec<String>,
    taken: Vec<Taken>,
}

impl Hop {
    fn hear(&mut self) {
        let heard = std::mem::take(&mut self.wire.outbound);
        for line in heard.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\r\n").unwrap_or_else(|| {
                panic!("a line of {} bytes without CRLF: {}", line.len(), line.escape_ascii())
            });
            assert!(!text.contains(&b'\r'), "a bare CR: {}", line.escape_ascii());
            let reply = match &mut self.message {
                Some(message) if text == b"." => {
                    let wire = std::mem::take(message);
                    let from = self.from.take().expect("a sender");
                    let (mail, to) = (self.mail.clone(), std::mem::take(&mut self.to));
                    self.taken.push(Taken { from, to, mail, wire });
                    self.message = None;
                    "250 2.0.0 taken"
                }
                Some(message) => {
                    message.extend_from_slice(line);
                    continue;
                }
                None => {
                    let is_printable = text.iter().all(|byte| (b' '..=b'~').contains(byte));
                    assert!(is_printable, "a command {}", text.escape_ascii());
                    self.obey(std::str::from_utf8(text).unwrap())
                }
            };
            self.wire.inbound.extend_from_slice(format!("{reply}\r\n").as_bytes());
        }
    }

    fn obey(&mut self, line: &str) -> &'static str {
        // A path may hold a `>` in quotes; behind it there is none.
        let path = || line[line.find('<').unwrap() + 1..line.rfind('>').unwrap()].to_owned();
        match line.split([':', ' ']).next().unwrap_or_default() {
            "EHLO" => "250-hop.test\r\n250-PIPELINING\r\n250-DSN\r\n250 8BITMIME",
            "MAIL" => {
                assert!(self.from.is_none(), "MAIL inside of a mail");
                (self.from, self.mail) = (Some(path()), line.to_owned());
                "250 ok"
            }
            "RCPT" => {
                assert!(self.from.is_some(), "RCPT without MAIL");
                self.to.push(path());
                "250 ok"
            }
            "DATA" => {
                assert!(!self.to.is_empty(), "DATA without RCPT");
                self.message = Some(Vec::new());
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => panic!("what is {line:?}?"),
        }
    }
}

/// What the daemon sees of the world.
struct World {
    disk: MemoryDisk,
    milliseconds: u64,
    events: Vec<Event>,
    client: Wire,
    /// The client waits to be accepted.
    is_outside: bool,
    hop: Hop,
}

/// The daemon in its world.
pub(crate) struct House {
    world: World,
    daemon: Daemon,
    /// The most bytes that the client was told in one turn.
    longest: usize,
}

impl House {
    /// A daemon with an empty queue, who relays for its one client.
    pub(crate) fn new() -> House {
        House::with("[clients 10.0.0.0/8]\nrelay = yes\n")
    }

    /// A daemon with a next hop and these lines for its config; the client is 10.0.0.1.
    pub(crate) fn with(lines: &str) -> House {
        let host = Host { hostname: "mote.test", home: "/home", is_embedded: false, run: None };
        let text = format!("relay = smtp://192.0.2.1\n{lines}");
        let config = parse(text.as_bytes(), &host).unwrap();
        let mut world = World {
            disk: MemoryDisk::new(BLOCKS),
            milliseconds: 1000,
            events: Vec::new(),
            client: Wire::default(),
            is_outside: false,
            hop: Hop::default(),
        };
        format(&mut world, [7; 24], 0).unwrap();
        let now = world.now().instant;
        let (queue, _) = recover(&mut world, now, batch_max(&config), None).unwrap();
        let daemon = Daemon::new(config, queue, &[Door::Smtp(0), Door::Control], &mut world);
        House { world, daemon, longest: 0 }
    }

    /// A new client comes, and is greeted.
    pub(crate) fn connect(&mut self) {
        let greeting = self.come();
        assert!(greeting.starts_with(b"220 "), "{}", greeting.escape_ascii());
    }

    /// A new client comes; what it is told at once.
    pub(crate) fn come(&mut self) -> Vec<u8> {
        assert!(self.world.client.token.is_none(), "one at a time");
        self.world.client = Wire::default();
        self.world.is_outside = true;
        self.world.events.push(Event::Listener(0));
        self.run()
    }

    /// Time passes, and nothing else happens; what the client is told.
    pub(crate) fn wait(&mut self, milliseconds: u64) -> Vec<u8> {
        self.world.milliseconds += milliseconds;
        self.run()
    }

    /// The administrator comes.
    pub(crate) fn connect_control(&mut self) {
        assert!(self.world.client.token.is_none(), "one at a time");
        self.world.client = Wire::default();
        self.world.is_outside = true;
        self.world.events.push(Event::Listener(1));
        assert!(self.run().is_empty());
        self.longest = 0;
    }

    /// The administrator asks; gives what he is told, and the most of it in one turn.
    pub(crate) fn ask(&mut self, request: &[u8]) -> (Vec<u8>, usize) {
        let told = self.say(request);
        (told, self.longest)
    }

    /// The daemon has not closed the connection.
    pub(crate) fn is_connected(&self) -> bool {
        self.world.client.token.is_some()
    }

    /// The client sends a segment; gives what it is told.
    pub(crate) fn say(&mut self, segment: &[u8]) -> Vec<u8> {
        self.world.client.inbound.extend_from_slice(segment);
        self.world.ready(self.world.client.token);
        self.run()
    }

    /// The client leaves; everything that it left behind is sent on. Gives what it is told last,
    /// and what the next hop has got.
    pub(crate) fn leave(&mut self) -> (Vec<u8>, Vec<Taken>) {
        self.world.client.is_shut = true;
        self.world.ready(self.world.client.token);
        let told = self.run();
        assert!(self.world.client.token.is_none(), "nobody is there, and the session goes on");
        // What is done is written by and by.
        self.world.milliseconds += 1000;
        self.world.client.token = None;
        (told, std::mem::take(&mut self.world.hop.taken))
    }

    /// Slots of the queue that hold something.
    pub(crate) fn queued(&self) -> usize {
        let queue = self.daemon.queue();
        let mut from = 0;
        std::iter::from_fn(|| {
            let waiting = queue.next_waiting(from)?;
            from = waiting.ticket.slot + 1;
            Some(())
        })
        .count()
    }

    /// Slots of the queue that are free.
    pub(crate) fn free(&self) -> u32 {
        self.daemon.queue().space().1
    }

    /// Turns until nothing more can be done at this time; gives what the client is told meanwhile.
    fn run(&mut self) -> Vec<u8> {
        for _ in 0..TURNS_MAX {
            let events = std::mem::take(&mut self.world.events);
            let before = self.world.client.outbound.len();
            let deadline = self.daemon.turn(&mut self.world, &events);
            let told = self.world.client.outbound.len() - before;
            self.longest = self.longest.max(told);
            let now = self.world.now().instant;
            if self.world.events.is_empty() && deadline.is_none_or(|deadline| deadline > now) {
                return std::mem::take(&mut self.world.client.outbound);
            }
        }
        panic!("it turns for ever");
    }
}

impl World {
    fn ready(&mut self, token: Option<Token>) {
        if let Some(token) = token {
            self.events.push(Event::Socket {
                token,
                readable: true,
                writable: true,
                closed: false,
            });
        }
    }

    fn wire(&mut self, token: Token) -> Option<&mut Wire> {
        [&mut self.client, &mut self.hop.wire].into_iter().find(|wire| wire.token == Some(token))
    }
}

impl mote::relay::keyring::Keyring for World {}

/// Nobody logs in.
impl mote::intake::users::Vault for World {
    fn users(&mut self, _: &str) -> Option<mote::intake::users::Keys<'_>> {
        None
    }
}

impl Net for World {
    fn accept(&mut self, _: u8, token: Token) -> Accepted {
        if !std::mem::take(&mut self.is_outside) {
            return Accepted::Nothing;
        }
        self.client.token = Some(token);
        Accepted::Peer(Peer::Tcp(SocketAddr::from(([10, 0, 0, 1], 1000))))
    }

    fn connect(&mut self, token: Token, _: SocketAddr) -> Result<(), NetError> {
        assert!(self.hop.wire.token.is_none(), "a second connection for one client");
        self.hop = Hop { taken: std::mem::take(&mut self.hop.taken), ..Hop::default() };
        self.hop.wire.token = Some(token);
        self.hop.wire.inbound.extend_from_slice(b"220 hop.test\r\n");
        self.ready(Some(token));
        Ok(())
    }

    fn receive(&mut self, token: Token, into: &mut [u8]) -> Transfer {
        let Some(wire) = self.wire(token) else { return Transfer::Failed(NetError::Other) };
        let count = wire.inbound.len().min(into.len());
        if count == 0 {
            return if wire.is_shut { Transfer::Closed } else { Transfer::NotReady };
        }
        into[..count].copy_from_slice(&wire.inbound[..count]);
        wire.inbound.drain(..count);
        Transfer::Bytes(count)
    }

    fn send(&mut self, token: Token, from: &[u8]) -> Transfer {
        let Some(wire) = self.wire(token) else { return Transfer::Failed(NetError::Other) };
        wire.outbound.extend_from_slice(from);
        if self.hop.wire.token == Some(token) && from.ends_with(b"\n") {
            self.hop.hear();
            self.ready(Some(token));
        }
        Transfer::Bytes(from.len())
    }

    /// Nobody speaks TLS here.
    fn secure(&mut self, _: Token, _: Side<'_>, _: Emptiness) -> Result<(), NetWords> {
        Err("has no TLS".into())
    }

    fn secured(&mut self, _: Token) -> Option<Secured> {
        None
    }

    fn protection(&mut self, _: Token) -> Option<Protection> {
        None
    }

    fn tls_trouble(&mut self, _: Token) -> Option<NetWords> {
        None
    }

    fn close(&mut self, token: Token) {
        if let Some(wire) = self.wire(token) {
            wire.token = None;
        }
    }

    fn stop_listening(&mut self, _: Option<u8>) {}
}

impl Disk for World {
    fn blocks(&self) -> u32 {
        self.disk.blocks()
    }
    fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        self.disk.read(number, into)
    }
    fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        self.disk.read_medium(number, into)
    }
    fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError> {
        self.disk.write(number, from)
    }
    fn sync(&mut self) -> Result<(), DiskError> {
        self.disk.sync()
    }
}

impl Clock for World {
    fn now(&mut self) -> Now {
        let seconds = 1_800_000_000 + (self.milliseconds / 1000).cast_signed();
        Now {
            instant: Instant::from_millis(self.milliseconds),
            unix: UnixTime { seconds, trusted: true },
            zone_minutes: 0,
        }
    }
}

impl Resolver for World {
    fn resolve(&mut self, ticket: u32, host: &str) -> bool {
        let mut addresses = Addresses::default();
        let address: Result<IpAddr, _> = host.parse();
        let answer = address.map_err(|_| ResolveError::NoSuchName).map(|address| {
            addresses.push(address);
            addresses
        });
        self.events.push(Event::Resolved { ticket, answer });
        true
    }

    /// No config of these tests sends by domain.
    fn resolve_mail(&mut self, _: u32, _: &str) -> bool {
        false
    }

    fn mail_hosts(&mut self, _: u32) -> Option<Result<MailHosts, Failure>> {
        None
    }

    fn has_changed(&mut self) -> bool {
        false
    }
}

/// There are no Maildirs.
impl Mailbox for World {
    fn open_mail(&mut self, _: u16, _: &str, _: &str) -> Result<(), MailboxError> {
        Err(MailboxError::Denied)
    }
    fn append_mail(&mut self, _: u16, _: &[u8]) -> Result<(), MailboxError> {
        Err(MailboxError::Denied)
    }
    fn deliver_mail(&mut self, _: u16) -> Result<(), MailboxError> {
        Err(MailboxError::Denied)
    }
    fn abandon_mail(&mut self, _: u16) {}
}

/// And nothing lies in the drop directory.
impl DropDirectory for World {
    fn next_drop(&mut self) -> Option<DropFile> {
        None
    }
    fn read_drop(&mut self, _: &mut [u8]) -> Result<usize, DropError> {
        Ok(0)
    }
    fn reject_drop(&mut self, _: DropName, _: &str) -> bool {
        false
    }
    fn rejected_drops(&mut self) -> u32 {
        0
    }
    fn remove_drop(&mut self, _: DropName) -> Result<(), DropError> {
        Ok(())
    }
    fn sync_drops(&mut self) -> Result<(), DropError> {
        Ok(())
    }
}

//! Mail hosts of a domain, by our own questions to the name servers of resolv.conf.
//!
//! Blocks, for as long as the servers take: only the resolver's threads call
//! [`MailHostResolver::look_up`]. What to ask whom is [`crate::dns`]'s; here are the sockets, the
//! clock and the file. Every try has a socket of its own, connected, so that the kernel drops what
//! comes from elsewhere, on a port and with an id from getrandom (threats 22). resolv.conf is
//! looked at before each question and read again when it has changed; what was remembered is then
//! forgotten. RFC 1035 §4.2, RFC 5452, RFC 7766.

use crate::base::time::Instant;
use crate::daemon::world::{Clock as _, Random as _};
use crate::dns::cache::Cache;
use crate::dns::exchange::{Exchange, Transport, Try};
use crate::dns::lookup::{Failure, Lookup, MailHosts, Own};
use crate::dns::message::{
    Answer, DATAGRAM_BYTES_MAX, Kind, QUESTION_BYTES_MAX, read_answer, write_question,
};
use crate::dns::servers::Servers;
use crate::os::clock::SystemClock;
use crate::os::random::SystemRandom;
use std::fs::Metadata;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the name servers stand.
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";
/// More of a resolv.conf is not read.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Random ports tried before the kernel chooses one.
const PORTS_TRIED: usize = 8;
const PORTS_FROM: u16 = 1024;
/// RFC 1035 §4.2.
const PORT: u16 = 53;

/// See the module's head.
pub(crate) struct MailHostResolver {
    /// None: the servers are given.
    path: Option<PathBuf>,
    port: u16,
    state: Mutex<State>,
}

struct State {
    servers: Servers,
    /// The file as it was when it was read: device, inode, bytes, changed when.
    seen: Option<[i64; 5]>,
    cache: Cache,
    clock: SystemClock,
    random: SystemRandom,
}

impl MailHostResolver {
    /// Asks `server`, or those of resolv.conf.
    pub(crate) fn new(server: Option<SocketAddr>, random: SystemRandom) -> MailHostResolver {
        match server {
            Some(server) => {
                let servers = Servers::only(server.ip());
                MailHostResolver::with(servers, None, server.port(), random)
            }
            None => {
                let path = Some(PathBuf::from(RESOLV_CONF));
                MailHostResolver::with(Servers::default(), path, PORT, random)
            }
        }
    }

    fn with(
        servers: Servers,
        path: Option<PathBuf>,
        port: u16,
        random: SystemRandom,
    ) -> MailHostResolver {
        let state = State {
            servers,
            seen: None,
            cache: Cache::default(),
            clock: SystemClock::new(),
            random,
        };
        MailHostResolver { path, port, state: Mutex::new(state) }
    }

    /// Where mail for `domain` goes. `hostname` is what this machine is called.
    pub(crate) fn look_up(&self, domain: &str, hostname: &str) -> Result<MailHosts, Failure> {
        let (servers, scatter, now) = self.prepare();
        if let Some(outcome) = self.lock().cache.get(domain, now) {
            return outcome.result;
        }
        let own = ThisMachine { hostname };
        let mut lookup = Lookup::new(domain, scatter);
        while let Some((name, kind)) = lookup.question() {
            match self.ask(&servers, name.as_str(), kind) {
                Ok(answer) => lookup.answered(answer, &own),
                Err(Unaskable) => lookup.unaskable(&own),
            }
        }
        let Some(outcome) = lookup.outcome() else { return Err(Failure::Temporary) };
        let mut state = self.lock();
        let now = state.clock.now().instant;
        state.cache.put(domain, &outcome, now);
        outcome.result
    }

    /// What was said while the network was another may be wrong now.
    pub(crate) fn forget_failures(&self) {
        self.lock().cache.forget_failures();
    }

    /// The servers as the file names them now, a random number, and the time.
    fn prepare(&self) -> (Servers, u64, Instant) {
        let mut state = self.lock();
        if let Some(path) = &self.path {
            let seen = std::fs::metadata(path).ok().map(|metadata| identity(&metadata));
            if seen != state.seen || seen.is_none() {
                let servers = Servers::parse(&read(path).unwrap_or_default());
                if servers != state.servers {
                    state.servers = servers;
                    state.cache.clear();
                }
                state.seen = seen;
            }
        }
        let scatter = u64::from_le_bytes(state.random_bytes());
        (state.servers, scatter, state.clock.now().instant)
    }

    /// Gets one question answered; None if nobody does.
    fn ask(&self, servers: &Servers, name: &str, kind: Kind) -> Result<Option<Answer>, Unaskable> {
        let mut scatter = self.lock().random_bytes();
        let mut exchange = Exchange::new(servers, u64::from_le_bytes(scatter));
        while let Some(next) = exchange.next_try() {
            scatter = self.lock().random_bytes();
            let id = u16::from_le_bytes([scatter[0], scatter[1]]);
            let mut question = [0; QUESTION_BYTES_MAX];
            let len = write_question(id, name, kind, &mut question).ok_or(Unaskable)?;
            let question = question.get(..len).unwrap_or_default();
            let read = |bytes: &[u8]| read_answer(bytes, id, name, kind);
            match self.exchange(servers, next, question, read) {
                Ok(answer) => {
                    if let Some(answer) = exchange.heard(answer) {
                        return Ok(Some(answer));
                    }
                }
                Err(_) => exchange.missed(),
            }
        }
        Ok(None)
    }

    fn exchange(
        &self,
        servers: &Servers,
        next: Try,
        question: &[u8],
        read: impl Fn(&[u8]) -> Answer,
    ) -> io::Result<Answer> {
        let address = servers.address(next.server).ok_or(io::ErrorKind::NotFound)?;
        let server = SocketAddr::new(address, self.port);
        match next.transport {
            Transport::Udp => {
                let socket = self.bind(address)?;
                let mut answer = [0; DATAGRAM_BYTES_MAX];
                let len = ask_udp(&socket, server, question, &mut answer, next.timeout)?;
                Ok(read(answer.get(..len).unwrap_or_default()))
            }
            Transport::Tcp => Ok(read(&ask_tcp(server, question, next.timeout)?)),
        }
    }

    /// A socket on a random port.
    fn bind(&self, server: IpAddr) -> io::Result<UdpSocket> {
        let any: IpAddr = match server {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        for _ in 0..PORTS_TRIED {
            let bytes = self.lock().random_bytes();
            let port = u16::from_le_bytes([bytes[0], bytes[1]]);
            if port >= PORTS_FROM
                && let Ok(socket) = UdpSocket::bind((any, port))
            {
                return Ok(socket);
            }
        }
        UdpSocket::bind((any, 0))
    }

    /// No invariant of the state spans a panic, so a poisoned lock is as good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// The name cannot stand in a question.
struct Unaskable;

impl State {
    fn random_bytes(&mut self) -> [u8; 8] {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        bytes
    }
}

struct ThisMachine<'a> {
    hostname: &'a str,
}

impl Own for ThisMachine<'_> {
    fn has_name(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.hostname) || name.eq_ignore_ascii_case("localhost")
    }

    /// An address is this machine's when a socket can be bound to it. Of the many that loopback
    /// has only the one that everybody means: the others are whoever's listens there.
    fn has_address(&self, address: IpAddr) -> bool {
        let is_usual = address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST;
        is_usual || (!address.is_loopback() && UdpSocket::bind((address, 0)).is_ok())
    }
}

/// What tells a file from the one that was there before: device, inode, bytes, changed when.
pub(super) fn identity(metadata: &Metadata) -> [i64; 5] {
    let (device, inode) = (metadata.dev() as i64, metadata.ino() as i64);
    [device, inode, metadata.len() as i64, metadata.mtime(), metadata.mtime_nsec()]
}

/// Sends `question` and waits for one packet of the server's.
fn ask_udp(
    socket: &UdpSocket,
    server: SocketAddr,
    question: &[u8],
    answer: &mut [u8],
    timeout: Duration,
) -> io::Result<usize> {
    socket.connect(server)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.send(question)?;
    let until = std::time::Instant::now() + timeout;
    loop {
        match socket.recv(answer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                if std::time::Instant::now() >= until {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            result => return result,
        }
    }
}

/// The same over a connection; each step of it has what is left of the time.
fn ask_tcp(server: SocketAddr, question: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let until = std::time::Instant::now() + timeout;
    let left = || {
        let left = until.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_write_timeout(Some(left()?))?;
    let length = u16::try_from(question.len()).unwrap_or(0).to_be_bytes();
    stream.write_all(&[&length, question].concat())?;
    let mut answer = Vec::new();
    let mut wanted = 2;
    let mut has_length = false;
    while answer.len() < wanted {
        stream.set_read_timeout(Some(left()?))?;
        let mut piece = [0; 1024];
        let room = piece.len().min(wanted - answer.len());
        let count = stream.read(piece.get_mut(..room).unwrap_or_default())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(piece.get(..count).unwrap_or_default());
        if let ([high, low], false) = (answer.as_slice(), has_length) {
            wanted = usize::from(u16::from_be_bytes([*high, *low]));
            has_length = true;
            answer.clear();
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    /// What a server says to a question over UDP or TCP: any number of packets.
    type Says = dyn Fn(&[u8], Transport) -> Vec<Vec<u8>> + Send + Sync;

    /// A name server on loopback that answers by a function, and counts.
    struct Server {
        port: u16,
        udp: Arc<AtomicUsize>,
        tcp: Arc<AtomicUsize>,
    }

    impl Server {
        fn new(says: impl Fn(&[u8], Transport) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Server {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
            let says: Arc<Says> = Arc::new(says);
            let (udp, tcp) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (answer, counter) = (says.clone(), udp.clone());
            thread::spawn(move || {
                let mut question = [0; 1500];
                while let Ok((len, peer)) = socket.recv_from(&mut question) {
                    counter.fetch_add(1, Ordering::SeqCst);
                    for packet in answer(&question[..len], Transport::Udp) {
                        let _ = socket.send_to(&packet, peer);
                    }
                }
            });
            let counter = tcp.clone();
            thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    counter.fetch_add(1, Ordering::SeqCst);
                    let mut question = [0; 1500];
                    let len = stream.read(&mut question).unwrap();
                    for packet in says(&question[2..len], Transport::Tcp) {
                        let length = (packet.len() as u16).to_be_bytes();
                        // In pieces: a connection has no packets.
                        let whole = [&length[..], &packet].concat();
                        for piece in whole.chunks(7) {
                            let _ = stream.write_all(piece);
                        }
                    }
                }
            });
            Server { port, udp, tcp }
        }

        fn asked(&self) -> (usize, usize) {
            (self.udp.load(Ordering::SeqCst), self.tcp.load(Ordering::SeqCst))
        }
    }

    /// The question turned into an answer with one MX record, or one A record.
    fn yes(question: &[u8]) -> Vec<u8> {
        let mut answer = question[..question.len() - 11].to_vec();
        let kind = answer[answer.len() - 3];
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[6..12].copy_from_slice(&[0, u8::from(kind != 28), 0, 0, 0, 0]);
        match kind {
            15 => answer.extend(b"\xc0\x0c\0\x0f\0\x01\0\0\x01\0\0\x07\0\x05\x02mx\xc0\x0c"),
            1 => answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\x01\0\0\x04\xc0\0\x02\x07"),
            _ => (),
        }
        answer
    }

    fn with_flags(question: &[u8], high: u8, low: u8) -> Vec<u8> {
        let mut answer = question[..question.len() - 11].to_vec();
        answer[2..4].copy_from_slice(&[high, low]);
        answer[6..12].fill(0);
        answer
    }

    fn resolver(server: &Server, directory: &tempfile::TempDir) -> MailHostResolver {
        let path = directory.path().join("resolv.conf");
        let text = "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n";
        std::fs::write(&path, text).unwrap();
        let random = SystemRandom::open().unwrap();
        MailHostResolver::with(Servers::default(), Some(path), server.port, random)
    }

    fn found(result: Result<MailHosts, Failure>) -> Vec<String> {
        let hosts = result.unwrap();
        hosts.iter().flatten().map(|h| format!("{} {}", h.name.as_str(), h.address)).collect()
    }

    #[test]
    fn asked_once_and_remembered_until_the_servers_change() {
        let server = Server::new(|question, _| vec![yes(question)]);
        let directory = tempfile::tempdir().unwrap();
        let resolver = resolver(&server, &directory);
        for _ in 0..3 {
            let hosts = found(resolver.look_up("a.example", "me.example"));
            assert_eq!(hosts, ["mx.a.example 192.0.2.7"]);
        }
        assert_eq!(server.asked(), (3, 0));
        let path = directory.path().join("resolv.conf");
        std::fs::write(&path, "# new\nnameserver 127.0.0.1\noptions timeout:2\n").unwrap();
        found(resolver.look_up("a.example", "me.example"));
        assert_eq!(server.asked(), (6, 0));
        let own = resolver.look_up("other.example", "MX.other.example");
        assert_eq!(own, Err(Failure::Myself));
    }

    #[test]
    fn what_is_cut_off_comes_over_tcp() {
        let server = Server::new(|question, transport| match transport {
            Transport::Udp => vec![with_flags(question, 0x83, 0x80)],
            Transport::Tcp => vec![yes(question)],
        });
        let directory = tempfile::tempdir().unwrap();
        let hosts = found(resolver(&server, &directory).look_up("a.example", "me.example"));
        assert_eq!(hosts, ["mx.a.example 192.0.2.7"]);
        assert_eq!(server.asked(), (3, 3));
    }

    #[test]
    fn every_wrong_id_at_once_wins_nothing() {
        let server = Server::new(|question, transport| {
            if transport == Transport::Tcp {
                return vec![yes(question)];
            }
            let mut evil = yes(question);
            let end = evil.len();
            if evil[end - 3..] == [0, 2, 7] {
                evil[end - 1] = 66;
            }
            let right = [question[0], question[1]];
            let wrong = (0..=u16::MAX).filter(|id| id.to_be_bytes() != right).take(2000);
            wrong
                .map(|id| {
                    evil[..2].copy_from_slice(&id.to_be_bytes());
                    evil.clone()
                })
                .collect()
        });
        let directory = tempfile::tempdir().unwrap();
        let hosts = found(resolver(&server, &directory).look_up("a.example", "me.example"));
        assert_eq!(hosts, ["mx.a.example 192.0.2.7"]);
        assert_eq!(server.asked(), (3, 3));
    }

    #[test]
    fn trouble_is_temporary_and_not_remembered() {
        let refused = Server::new(|question, _| vec![with_flags(question, 0x81, 0x82)]);
        let directory = tempfile::tempdir().unwrap();
        let resolver = resolver(&refused, &directory);
        for _ in 0..2 {
            assert_eq!(resolver.look_up("a.example", "me"), Err(Failure::Temporary));
        }
        assert_eq!(refused.asked(), (4, 0));
        assert_eq!(resolver.look_up("not..a.name", "me"), Err(Failure::BadName));
        let gone = Server::new(|question, _| vec![with_flags(question, 0x81, 0x83)]);
        let directory = tempfile::tempdir().unwrap();
        let result = super::tests::resolver(&gone, &directory).look_up("a.example", "me");
        assert_eq!(result, Err(Failure::NoSuchDomain));
        let silent = Server::new(|_, _| vec![]);
        let directory = tempfile::tempdir().unwrap();
        let result = super::tests::resolver(&silent, &directory).look_up("a.example", "me");
        assert_eq!((result, silent.asked()), (Err(Failure::Temporary), (2, 0)));
    }
}

//! Names to addresses: getaddrinfo(3), which knows the hosts file and the search list, on threads
//! of its own, since it may block for as long as it likes.
//!
//! A board of eight rows, behind one lock, is all that the loop and the threads share; nobody ever
//! waits for the other with the lock held. The loop judges the time: a question that is not
//! answered within [`RESOLVE_TIMEOUT`] is taken off the board as timed out, and the thread that is
//! stuck with it is replaced, at most twice, so two dead names hold nobody else. When a stuck
//! thread comes back and is one too many, it ends. Address literals need no thread.
//!
//! The loop's side allocates nothing but for replacing a thread. A name that is not there is told
//! from a resolver that is, both are temporary for the mail (LAW 7).

use crate::base::buffer::Text;
use crate::daemon::world::{Addresses, Failure, MailHosts, ResolveError, Resolver};
use crate::limits::RESOLVE_TIMEOUT;
use crate::os::mail_hosts::{MailHostResolver, RESOLV_CONF, identity};
use crate::os::random::SystemRandom;
use crate::os::reactor::Bell;
use core::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const QUESTIONS_MAX: usize = 8;
const THREADS: u8 = 2;
const THREADS_MAX: u8 = 4;
/// What getaddrinfo and its plug-ins use is well below; only what is touched is real memory.
const STACK_BYTES: usize = 256 * 1024;
const HOST_BYTES_MAX: usize = 255;

type Answer = Result<Addresses, ResolveError>;

type MailAnswer = Result<Box<MailHosts>, Failure>;

/// What came of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// A name's addresses.
    Addresses(Answer),
    /// A domain's mail hosts.
    Mail(MailAnswer),
}

/// The resolver as the loop holds it.
pub(crate) struct NameResolver {
    shared: Arc<Shared>,
    /// Rows taken, as the loop knows them; while none is, the lock is left alone.
    outstanding: u8,
    literals: [Option<(u32, IpAddr)>; QUESTIONS_MAX],
    mail: [Option<(u32, MailAnswer)>; QUESTIONS_MAX],
    /// resolv.conf as it was when it was last looked at.
    seen: Option<[i64; 5]>,
}

struct Shared {
    board: Mutex<Board>,
    work: Condvar,
    bell: Bell,
    look_up: fn(&str) -> Answer,
    mail: MailHostResolver,
    /// What this machine is called.
    hostname: String,
}

struct Board {
    rows: [Option<Question>; QUESTIONS_MAX],
    /// Numbers the questions, so a late answer finds nobody.
    asked: u64,
    threads: u8,
    stuck: u8,
    closing: bool,
}

struct Question {
    number: u64,
    ticket: u32,
    host: Text<HOST_BYTES_MAX>,
    is_mail: bool,
    since: Instant,
    state: State,
}

enum State {
    Waiting,
    Running,
    Answered(Found),
}

impl NameResolver {
    /// Starts the threads; `bell` wakes the loop when there is an answer to take.
    pub(crate) fn start(
        bell: Bell,
        server: Option<SocketAddr>,
        hostname: &str,
    ) -> io::Result<NameResolver> {
        NameResolver::start_with(bell, server, hostname, look_up)
    }

    fn start_with(
        bell: Bell,
        server: Option<SocketAddr>,
        hostname: &str,
        look_up: fn(&str) -> Answer,
    ) -> io::Result<NameResolver> {
        let mail = MailHostResolver::new(server, SystemRandom::open()?);
        let hostname = hostname.to_owned();
        let board = Board {
            rows: [const { None }; QUESTIONS_MAX],
            asked: 0,
            threads: THREADS,
            stuck: 0,
            closing: false,
        };
        let (board, work) = (Mutex::new(board), Condvar::new());
        let shared = Shared { board, work, bell, look_up, mail, hostname };
        let resolver = NameResolver {
            shared: Arc::new(shared),
            outstanding: 0,
            literals: [None; QUESTIONS_MAX],
            mail: [const { None }; QUESTIONS_MAX],
            seen: look_at_servers(),
        };
        for _ in 0..THREADS {
            spawn(&resolver.shared)?;
        }
        Ok(resolver)
    }

    /// How long until [`NameResolver::take`] has something to give even if nobody rings.
    pub(crate) fn patience(&self) -> Option<Duration> {
        if self.literals.iter().any(Option::is_some) {
            return Some(Duration::ZERO);
        }
        if self.outstanding == 0 {
            return None;
        }
        let board = self.shared.lock();
        let due = board.rows.iter().flatten().map(|row| match row.state {
            State::Answered(_) => Duration::ZERO,
            _ => RESOLVE_TIMEOUT.saturating_sub(row.since.elapsed()),
        });
        due.min()
    }

    /// The next question that is answered, or whose time is over.
    pub(crate) fn take(&mut self) -> Option<(u32, Found)> {
        if let Some((ticket, address)) = self.literals.iter_mut().find_map(Option::take) {
            let mut addresses = Addresses::default();
            addresses.push(address);
            return Some((ticket, Found::Addresses(Ok(addresses))));
        }
        if self.outstanding == 0 {
            return None;
        }
        let shared = Arc::clone(&self.shared);
        let mut board = shared.lock();
        let is_due = |row: &Option<Question>| row.as_ref().is_some_and(Question::is_due);
        let row = board.rows.iter_mut().find(|row| is_due(row))?.take()?;
        self.outstanding -= 1;
        let answer = match row.state {
            State::Answered(answer) => answer,
            State::Waiting => row.timed_out(),
            State::Running => {
                board.stuck += 1;
                let replace = board.threads < THREADS_MAX;
                board.threads += u8::from(replace);
                drop(board);
                if replace && spawn(&shared).is_err() {
                    shared.lock().threads -= 1;
                }
                row.timed_out()
            }
        };
        Some((row.ticket, answer))
    }
}

impl NameResolver {
    /// Puts a question on the board; what cannot be a name is answered with `no_name`.
    fn ask(&mut self, ticket: u32, host: &str, is_mail: bool, no_name: Found) -> bool {
        let mut board = self.shared.lock();
        board.asked += 1;
        let number = board.asked;
        let Some(row) = board.rows.iter_mut().find(|row| row.is_none()) else { return false };
        let state = match host.len() {
            1..=HOST_BYTES_MAX => State::Waiting,
            _ => State::Answered(no_name),
        };
        let (host, since) = (host.into(), Instant::now());
        *row = Some(Question { number, ticket, host, is_mail, since, state });
        self.outstanding += 1;
        drop(board);
        self.shared.work.notify_one();
        true
    }

    /// What did not exist while the network was another is asked for again.
    pub(crate) fn forget_failures(&self) {
        self.shared.mail.forget_failures();
    }

    /// Keeps a domain's answer until it is asked for. There are as many places as rows, and an
    /// answer is asked for in the turn that tells of it.
    pub(crate) fn keep(&mut self, ticket: u32, answer: MailAnswer) {
        let free = self.mail.iter().position(Option::is_none).unwrap_or(0);
        if let Some(place) = self.mail.get_mut(free) {
            *place = Some((ticket, answer));
        }
    }
}

impl Resolver for NameResolver {
    fn resolve(&mut self, ticket: u32, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            let free = self.literals.iter_mut().find(|row| row.is_none());
            return free.map(|row| *row = Some((ticket, address.to_canonical()))).is_some();
        }
        let no_name = Found::Addresses(Err(ResolveError::NoSuchName));
        self.ask(ticket, host, false, no_name)
    }

    fn resolve_mail(&mut self, ticket: u32, domain: &str) -> bool {
        self.ask(ticket, domain, true, Found::Mail(Err(Failure::BadName)))
    }

    fn mail_hosts(&mut self, ticket: u32) -> Option<Result<MailHosts, Failure>> {
        let place =
            self.mail.iter_mut().find(|row| row.as_ref().is_some_and(|row| row.0 == ticket));
        let (_, answer) = place?.take()?;
        Some(answer.map(|hosts| *hosts))
    }

    fn has_changed(&mut self) -> bool {
        let seen = look_at_servers();
        core::mem::replace(&mut self.seen, seen) != seen
    }
}

/// The file, through whatever links lead there: most machines have one in memory.
fn look_at_servers() -> Option<[i64; 5]> {
    std::fs::metadata(RESOLV_CONF).ok().map(|metadata| identity(&metadata))
}

impl Drop for NameResolver {
    /// Lets idle threads end; one that is stuck ends with the process.
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
    }
}

impl Question {
    fn timed_out(&self) -> Found {
        match self.is_mail {
            true => Found::Mail(Err(Failure::Temporary)),
            false => Found::Addresses(Err(ResolveError::TimedOut)),
        }
    }

    fn is_due(&self) -> bool {
        matches!(self.state, State::Answered(_)) || self.since.elapsed() >= RESOLVE_TIMEOUT
    }
}

impl Shared {
    fn find(&self, host: &str, is_mail: bool) -> Found {
        match is_mail {
            true => Found::Mail(self.mail.look_up(host, &self.hostname).map(Box::new)),
            false => Found::Addresses((self.look_up)(host)),
        }
    }

    /// No invariant of the board spans a panic, so a poisoned lock is as good.
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let name = "resolver".to_owned();
    thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || work(&shared)).map(drop)
}

/// A resolver thread.
fn work(shared: &Shared) {
    let mut board = shared.lock();
    loop {
        if board.closing {
            return;
        }
        let mut rows = board.rows.iter_mut().flatten();
        let Some(row) = rows.find(|row| matches!(row.state, State::Waiting)) else {
            board = shared.work.wait(board).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        row.state = State::Running;
        let (number, host, is_mail) = (row.number, row.host, row.is_mail);
        drop(board);
        let answer = shared.find(host.as_str(), is_mail);
        board = shared.lock();
        match board.rows.iter_mut().flatten().find(|row| row.number == number) {
            Some(row) => {
                row.state = State::Answered(answer);
                shared.bell.ring();
            }
            // Given up meanwhile.
            None => {
                board.stuck -= 1;
                if board.threads > THREADS + board.stuck {
                    board.threads -= 1;
                    return;
                }
            }
        }
    }
}

/// Asks the system.
fn look_up(host: &str) -> Answer {
    let mut name = [0u8; HOST_BYTES_MAX + 1];
    match name.get_mut(..host.len()) {
        Some(room) => room.copy_from_slice(host.as_bytes()),
        None => return Err(ResolveError::NoSuchName),
    }
    match CStr::from_bytes_until_nul(&name) {
        Ok(text) if text.count_bytes() == host.len() => ask_system(text),
        _ => Err(ResolveError::NoSuchName),
    }
}

#[allow(unsafe_code)]
fn ask_system(host: &CStr) -> Answer {
    let mut addresses = Addresses::default();
    // SAFETY: addrinfo is plain numbers and pointers, zeros are the documented "no hints"; `host`
    // is a live C string. On success `list` is a chain of records that stays valid until
    // freeaddrinfo, each with an address of the kind that its ai_family says.
    unsafe {
        let mut hints: libc::addrinfo = core::mem::zeroed();
        hints.ai_socktype = libc::SOCK_STREAM;
        let mut list: *mut libc::addrinfo = core::ptr::null_mut();
        match libc::getaddrinfo(host.as_ptr(), core::ptr::null(), &hints, &mut list) {
            0 => (),
            libc::EAI_NONAME | libc::EAI_NODATA => return Err(ResolveError::NoSuchName),
            _ => return Err(ResolveError::Unavailable),
        }
        let mut next = list;
        while let Some(record) = next.as_ref() {
            next = record.ai_next;
            match record.ai_family {
                libc::AF_INET if !record.ai_addr.is_null() => {
                    let address = record.ai_addr.cast::<libc::sockaddr_in>().read_unaligned();
                    let bits = u32::from_be(address.sin_addr.s_addr);
                    addresses.push(Ipv4Addr::from_bits(bits).into());
                }
                libc::AF_INET6 if !record.ai_addr.is_null() => {
                    let address = record.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                    let address = Ipv6Addr::from(address.sin6_addr.s6_addr);
                    addresses.push(IpAddr::from(address).to_canonical());
                }
                _ => (),
            }
        }
        libc::freeaddrinfo(list);
    }
    match addresses.get(0) {
        Some(_) => Ok(addresses),
        None => Err(ResolveError::NoSuchName),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::reactor::Reactor;

    fn start(look_up: fn(&str) -> Answer) -> (Reactor, NameResolver) {
        let reactor = Reactor::new(0).unwrap();
        let bell = reactor.bell().unwrap();
        (reactor, NameResolver::start_with(bell, None, "here", look_up).unwrap())
    }

    fn wait(reactor: &mut Reactor, resolver: &mut NameResolver) -> (u32, Answer) {
        loop {
            if let Some(found) = take(resolver) {
                return found;
            }
            reactor.poll(resolver.patience()).unwrap();
        }
    }

    fn take(resolver: &mut NameResolver) -> Option<(u32, Answer)> {
        resolver.take().map(|(ticket, found)| match found {
            Found::Addresses(answer) => (ticket, answer),
            Found::Mail(answer) => panic!("{answer:?}"),
        })
    }

    /// Makes every question on the board as old as it may get.
    fn age(resolver: &NameResolver) {
        for row in resolver.shared.lock().rows.iter_mut().flatten() {
            row.since = Instant::now().checked_sub(RESOLVE_TIMEOUT).unwrap();
        }
    }

    fn until(resolver: &NameResolver, met: impl Fn(&Board) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !met(&resolver.shared.lock()) {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_running(board: &Board) -> usize {
        board.rows.iter().flatten().filter(|row| matches!(row.state, State::Running)).count()
    }

    #[test]
    fn literals_need_no_thread() {
        let (_reactor, mut resolver) = start(|_| Err(ResolveError::Unavailable));
        for (text, address) in
            [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("::ffff:10.0.0.1", "10.0.0.1")]
        {
            assert!(resolver.resolve(7, text));
            assert_eq!(resolver.patience(), Some(Duration::ZERO));
            let (ticket, answer) = take(&mut resolver).unwrap();
            assert_eq!((ticket, answer.unwrap().get(0)), (7, Some(address.parse().unwrap())));
        }
        assert_eq!(resolver.patience(), None);
    }

    #[test]
    fn the_hosts_file_is_read_and_the_loop_is_woken() {
        let (mut reactor, mut resolver) = start(look_up);
        assert!(resolver.resolve(1, "localhost"));
        let (ticket, answer) = wait(&mut reactor, &mut resolver);
        assert_eq!(ticket, 1);
        assert!(answer.unwrap().get(0).unwrap().is_loopback());
    }

    #[test]
    fn what_cannot_be_a_name_is_none() {
        let (mut reactor, mut resolver) = start(look_up);
        for name in ["", "a\0b", "x".repeat(256).as_str()] {
            assert!(resolver.resolve(2, name));
            let answer = wait(&mut reactor, &mut resolver);
            assert_eq!(answer, (2, Err(ResolveError::NoSuchName)));
        }
    }

    #[test]
    fn the_ninth_question_waits_outside() {
        let (_reactor, mut resolver) = start(|_| {
            loop {
                thread::sleep(Duration::from_secs(1000));
            }
        });
        for ticket in 0..8 {
            assert!(resolver.resolve(ticket, "host"));
        }
        assert!(!resolver.resolve(8, "host"));
        let patience = resolver.patience().unwrap();
        assert!(patience > Duration::ZERO && patience <= RESOLVE_TIMEOUT);
        assert_eq!(take(&mut resolver), None);
    }

    #[test]
    fn dead_names_hold_nobody_else_and_late_answers_find_nobody() {
        static RELEASED: Mutex<bool> = Mutex::new(false);
        static RELEASE: Condvar = Condvar::new();
        let (mut reactor, mut resolver) = start(|host| {
            if host == "dead" {
                let released = RELEASED.lock().unwrap();
                drop(RELEASE.wait_while(released, |released| !*released).unwrap());
            }
            Ok(Addresses::default())
        });
        for ticket in 0..2 {
            assert!(resolver.resolve(ticket, "dead"));
        }
        until(&resolver, |board| is_running(board) == 2);
        age(&resolver);
        for ticket in 0..2 {
            assert_eq!(take(&mut resolver), Some((ticket, Err(ResolveError::TimedOut))));
        }
        assert!(resolver.resolve(2, "alive"));
        let (ticket, answer) = wait(&mut reactor, &mut resolver);
        assert_eq!((ticket, answer), (2, Ok(Addresses::default())));
        // The replacements get stuck as well: four threads are all there will ever be.
        for ticket in 3..6 {
            assert!(resolver.resolve(ticket, "dead"));
        }
        until(&resolver, |board| is_running(board) == 2);
        age(&resolver);
        for ticket in 3..6 {
            assert_eq!(take(&mut resolver), Some((ticket, Err(ResolveError::TimedOut))));
        }
        assert_eq!(resolver.shared.lock().threads, THREADS_MAX);
        *RELEASED.lock().unwrap() = true;
        RELEASE.notify_all();
        until(&resolver, |board| board.threads == THREADS && board.stuck == 0);
        assert_eq!(take(&mut resolver), None);
        assert!(resolver.resolve(6, "alive"));
        assert_eq!(wait(&mut reactor, &mut resolver).0, 6);
    }
}

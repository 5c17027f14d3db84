//! After the first message nothing on the plain path takes memory from the heap (LAW 2).
//!
//! The daemon runs over the real world in a thread of this process, whose allocator counts what is
//! asked of it on that thread while a switch is on. Mail comes by TCP, lies in an image on disk and
//! goes to a next hop or into a Maildir. A failure shows the calls that led to the first
//! allocations.
//!
//! The log is on, as in ordinary use, and stderr leads to /dev/null: what a failing test says
//! appears all the same, unless it is run with `--nocapture`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mote::config::{Config, Host};
use mote::daemon::turn::{Daemon, Door, batch_max, tokens};
use mote::daemon::world::Clock as _;
use mote::os::world::{Listen, ListenerKind, Settings, World};
use mote::queue::recovery::{format, recover};
use tempfile::TempDir;

/// How many allocations of a thread are shown with the calls that led to them.
const SHOWN_MAX: u32 = 3;

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u32> = const { Cell::new(0) };
}
static CULPRITS: Mutex<String> = Mutex::new(String::new());

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Counting {
    fn note(size: usize) {
        if !IS_COUNTED.replace(false) {
            return;
        }
        let count = COUNT.get() + 1;
        COUNT.set(count);
        if count <= SHOWN_MAX {
            let mut culprits = CULPRITS.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writeln!(culprits, "{size} bytes:\n{}", Backtrace::force_capture());
        }
        IS_COUNTED.set(true);
    }
}

// SAFETY: everything is passed on to the system's allocator as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::note(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Counting::note(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Counting::note(size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

/// A daemon in a thread of its own.
struct Served {
    smtp: SocketAddr,
    counts: Arc<AtomicBool>,
    stops: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
    /// One daemon at a time: the log is everybody's.
    _alone: MutexGuard<'static, ()>,
}

impl Served {
    /// Serves in `folder` by a config of the needful and of `lines`.
    fn start(folder: &TempDir, lines: &str) -> Served {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        CULPRITS.lock().unwrap_or_else(PoisonError::into_inner).clear();
        log_to_nowhere();
        let config = config(folder.path(), lines);
        let settings = settings(&config);
        let (counts, stops) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (tell, told) = mpsc::channel();
        let thread = {
            let (counts, stops) = (counts.clone(), stops.clone());
            thread::spawn(move || serve(config, &settings, &tell, &counts, &stops))
        };
        let smtp = told.recv().expect("the daemon does not start");
        Served { smtp, counts, stops, thread, _alone: alone }
    }

    /// From now on nothing may be allocated.
    fn count(&self) {
        self.counts.store(true, Ordering::SeqCst);
    }

    /// Ends it; nothing was allocated.
    fn end(self) {
        // What went out is settled after its last reply, and marks are written a little later.
        thread::sleep(Duration::from_millis(300));
        self.stops.store(true, Ordering::SeqCst);
        let count = self.thread.join().expect("the daemon died");
        let culprits = CULPRITS.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(count, 0, "allocations, the first of them:\n{culprits}");
    }
}

/// The loop of `mote serve`, counting while it is told to.
fn serve(
    config: Config,
    settings: &Settings,
    tell: &mpsc::Sender<SocketAddr>,
    counts: &AtomicBool,
    stops: &AtomicBool,
) -> u32 {
    let mut world = World::open(settings, |disk| format(disk, [7; 24], 0)).unwrap();
    let now = world.now().instant;
    let (queue, _) = recover(&mut world, now, batch_max(&config), None).unwrap();
    let door = |kind: &ListenerKind| match kind {
        ListenerKind::Smtp(_) => Door::Smtp(0),
        ListenerKind::Submit => Door::Submit,
        ListenerKind::Control => Door::Control,
    };
    let doors: Vec<Door> = world.listeners().iter().map(door).collect();
    let Some(ListenerKind::Smtp(smtp)) = world.listeners().first().copied() else {
        panic!("no listener");
    };
    let mut daemon = Daemon::new(config, queue, &doors, &mut world);
    let mut events = Vec::with_capacity(World::EVENTS_MAX);
    let mut timeout = Duration::ZERO;
    tell.send(smtp).unwrap();
    while !stops.load(Ordering::SeqCst) {
        IS_COUNTED.set(counts.load(Ordering::SeqCst));
        world.wait(Some(timeout), &mut events).unwrap();
        let deadline = daemon.turn(&mut world, &events);
        let now = world.now().instant;
        IS_COUNTED.set(false);
        timeout = Duration::from_millis(50);
        if let Some(deadline) = deadline {
            timeout = timeout.min(deadline.since(now));
        }
    }
    COUNT.get()
}

fn config(folder: &Path, lines: &str) -> Config {
    let place = folder.display();
    let text = format!(
        "hostname = mote.test\nlisten = off\nspool = {place}/spool\nrun = {place}/run\n\
         spool-size = 16M\nlog = info\n{lines}"
    );
    let host = Host { hostname: "mote.test", home: "/nowhere", is_embedded: false, run: None };
    mote::config::parse(text.as_bytes(), &host).unwrap()
}

fn settings(config: &Config) -> Settings {
    Settings {
        hostname: config.hostname.clone(),
        resolver: None,
        listen: vec![Listen::Address("127.0.0.1:0".parse().unwrap())],
        certificates: Vec::new(),
        run_directory: config.run.clone().into(),
        spool_directory: config.spool.clone().into(),
        spool_size: config.spool_size,
        message_size: config.message_size,
        is_system: false,
        tokens: tokens(config),
        mailbox_slots: config.senders,
        heir: None,
        places: None,
    }
}

#[allow(unsafe_code)]
fn log_to_nowhere() {
    let nowhere = std::fs::File::create("/dev/null").unwrap();
    // SAFETY: both are open descriptors, and nobody owns the number of stderr.
    assert_eq!(unsafe { libc::dup2(nowhere.as_raw_fd(), 2) }, 2);
    mote::os::log::start(log::LevelFilter::Info, false);
}

/// A next hop that takes everything, so many messages on a connection. It says how many messages it
/// has, and on how many connections.
struct Sink {
    address: SocketAddr,
    messages: Arc<AtomicU32>,
    connections: Arc<AtomicU32>,
}

impl Sink {
    fn start(each: u32) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (messages, connections) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let sink = Sink { address, messages, connections };
        let (messages, connections) = (sink.messages.clone(), sink.connections.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                connections.fetch_add(1, Ordering::SeqCst);
                let messages = messages.clone();
                // A connection that breaks is seen by what is missing.
                thread::spawn(move || take(&stream.unwrap(), each, &messages));
            }
        });
        sink
    }

    fn relay(&self) -> String {
        format!("relay = smtp://{}\nsenders = 1\n", self.address)
    }

    /// Waits until `count` messages are there.
    fn wait(&self, count: u32) {
        wait_for(|| self.messages.load(Ordering::SeqCst) >= count);
        assert_eq!(self.messages.load(Ordering::SeqCst), count, "sent twice");
    }
}

fn take(stream: &TcpStream, each: u32, messages: &AtomicU32) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream;
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    let mut taken = 0;
    out.write_all(b"220 sink\r\n")?;
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match &line[..4] {
            b"EHLO" => out.write_all(b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")?,
            b"DATA" => {
                out.write_all(b"354 go\r\n")?;
                while line != b".\r\n" {
                    line.clear();
                    lines.read_until(b'\n', &mut line)?;
                }
                messages.fetch_add(1, Ordering::SeqCst);
                out.write_all(b"250 2.0.0 taken\r\n")?;
                taken += 1;
                if taken == each {
                    return Ok(());
                }
            }
            b"QUIT" => return out.write_all(b"221 bye\r\n"),
            _ => out.write_all(b"250 2.0.0 ok\r\n")?,
        }
    }
}

fn wait_for(mut is_there: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_there() {
        assert!(Instant::now() < end, "it does not come");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A session that hands in mail.
struct Client {
    lines: BufReader<TcpStream>,
}

impl Client {
    fn connect(to: SocketAddr) -> Client {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Client { lines: BufReader::new(stream) };
        client.expect(220);
        client.say("EHLO client.test\r\n");
        client.expect(250);
        client
    }

    fn say(&mut self, text: &str) {
        self.lines.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn expect(&mut self, code: u16) {
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).unwrap();
            assert!(line.starts_with(&code.to_string()), "{line}");
            if line.as_bytes()[3] == b' ' {
                return;
            }
        }
    }

    /// Hands in a message with about `bytes` of body.
    fn send(&mut self, bytes: usize) {
        self.say("MAIL FROM:<a@client.test>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n");
        [250, 250, 354].iter().for_each(|code| self.expect(*code));
        let mut text = String::from("From: a@client.test\r\nSubject: a mail\r\n\r\n");
        while text.len() < bytes {
            text.push_str(".dots and text, in lines of an ordinary length, as most mail is\r\n");
        }
        text.push_str(".\r\n");
        self.say(&text);
        self.expect(250);
    }

    fn quit(mut self) {
        self.say("QUIT\r\n");
        self.expect(221);
    }
}

#[test]
fn the_counter_counts() {
    let counted = |work: fn()| {
        let count = move || {
            IS_COUNTED.set(true);
            work();
            IS_COUNTED.set(false);
            COUNT.get()
        };
        thread::spawn(count).join().unwrap()
    };
    assert_eq!(counted(|| ()), 0);
    assert_eq!(counted(|| drop(std::hint::black_box(Box::new(1)))), 1);
    assert_eq!(counted(|| drop(std::hint::black_box(vec![0; 100]))), 1);
    assert_eq!(counted(|| vec![1].extend_from_slice(&[0; 100])), 2);
}

#[test]
fn receive_queue_and_forward() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::start(u32::MAX));
    let served = Served::start(&folder, &sink.relay());
    let mut client = Client::connect(served.smtp);
    client.send(1000);
    sink.wait(1);
    served.count();
    for number in 1..1000 {
        client.send(500 + number * 7);
    }
    sink.wait(1000);
    assert_eq!(sink.connections.load(Ordering::SeqCst), 1, "not by a kept connection");
    served.end();
}

#[test]
fn several_sessions_and_large_messages() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::start(u32::MAX));
    let served = Served::start(&folder, &sink.relay());
    Client::connect(served.smtp).send(1000);
    sink.wait(1);
    served.count();
    let smtp = served.smtp;
    thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let mut client = Client::connect(smtp);
                (0..50).for_each(|at| client.send((number + at) % 8 * 2000));
                client.send(300_000);
            });
        }
    });
    sink.wait(1 + 8 * 51);
    served.end();
}

#[test]
fn into_a_maildir() {
    let folder = tempfile::tempdir().unwrap();
    let maildir = folder.path().join("Maildir");
    let served = Served::start(&folder, &format!("relay = maildir:{}\n", maildir.display()));
    let filed = || std::fs::read_dir(maildir.join("new")).map_or(0, Iterator::count);
    let mut client = Client::connect(served.smtp);
    client.send(1000);
    wait_for(|| filed() == 1);
    served.count();
    (0..200).for_each(|number| client.send(number * 50));
    wait_for(|| filed() == 201);
    served.end();
}

#[test]
fn sessions_that_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(&folder, "relay = hold\n");
    Client::connect(served.smtp).send(1000);
    served.count();
    for number in 0..200 {
        let mut client = Client::connect(served.smtp);
        match number % 4 {
            0 => client.say("MAIL FROM:<a@client.test>\r\nRCPT TO:<"),
            1 => client.say("NONSENSE\r\nRSET\r\n"),
            _ => {
                client.send(2000);
                client.quit();
            }
        }
    }
    served.end();
}

/// By each mechanism, right and wrong.
#[test]
#[cfg(feature = "tls")]
fn sessions_that_log_in() {
    use mote::os::crypto::RingCrypto;
    use mote::smtp::sasl::credentials::{Credential, Salt, Verifier};
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    let rounds = std::num::NonZeroU32::new(4096).unwrap();
    let verifier = Verifier::of(b"pencil", rounds, Salt::new(&[7; 16]).unwrap(), &RingCrypto);
    let mut hash = String::new();
    Credential::Password(verifier).write(&mut hash).unwrap();
    mote::os::secret_file::replace(&users, format!("user:{hash} *\n").as_bytes()).unwrap();
    let served = Served::start(
        &folder,
        &format!(
            "relay = hold\nusers = {}\n[clients 127.0.0.1]\nrelay = no\nclear-auth = yes\n",
            users.display()
        ),
    );
    let log_in = |number: u32| {
        let mut client = Client::connect(served.smtp);
        match number % 4 {
            0 => client.say("AUTH PLAIN AHVzZXIAcGVuY2ls\r\n"),
            1 => client.say("AUTH LOGIN dXNlcg==\r\ncGVuY2ls\r\n"),
            2 => client.say("AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9YWJj\r\n*\r\n"),
            _ => client.say("AUTH PLAIN\r\nAHVzZXIAd3Jvbmc=\r\n"),
        }
        let codes: &[u16] =
            [&[235][..], &[334, 235], &[334, 501], &[334, 535]][number as usize % 4];
        codes.iter().for_each(|code| client.expect(*code));
        if number % 4 < 2 {
            client.send(1000);
        }
        client.quit();
    };
    (0..3).for_each(log_in);
    served.count();
    (0..40).filter(|number| number % 4 < 3).for_each(log_in);
    // Twice is not yet slow.
    [3, 3].into_iter().for_each(log_in);
    served.end();
}

#[test]
fn next_hops_that_close_after_each_message() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::start(1));
    let served = Served::start(&folder, &sink.relay());
    let mut client = Client::connect(served.smtp);
    client.send(1000);
    sink.wait(1);
    served.count();
    for count in 2..30 {
        client.send(1000);
        sink.wait(count);
    }
    assert_eq!(sink.connections.load(Ordering::SeqCst), 29);
    served.end();
}

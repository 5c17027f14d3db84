//! The world as the daemon sees it: every trait it asks for, on one value, and the wait for events.
//!
//! [`World::open`] takes everything there is to take, in the order that safety wants: signals
//! before any thread, the image's lock before any socket (a second daemon is told so at once and
//! touches nothing); then it gives up what serving does not take (`handover`, `sandbox`), and
//! threads come last. Whatever fails is an [`OpenError`] that names the thing and the
//! reason.
//!
//! [`World::wait`] allocates nothing and loses nothing: what a caller's vector has no room for
//! comes with the next wait, which then does not block.

use crate::base::buffer::Emptiness;
use crate::base::time::Now;
use crate::daemon::world::{
    Accepted, Clock, Event, Failure, MailHosts, Net, NetError, NetWords, Protection, Random,
    Resolver, Secured, Side, Token, Transfer,
};
use crate::intake::drop_directory::{DropDirectory, DropError, DropFile, DropName};
use crate::intake::users::{Keys, Vault};
use crate::limits::LISTENERS_MAX;
use crate::os::clock::SystemClock;
use crate::os::disk::{self, ImageError, ImageFile};
use crate::os::drops::{self, Drops};
use crate::os::folder::make_directories;
use crate::os::handover::{Heir, hand_over};
use crate::os::keyring::Keys as RelayKeys;
use crate::os::links::Links;
use crate::os::listening::{Interfaces, listen};
use crate::os::log;
use crate::os::mailbox::{self, Maildirs};
use crate::os::process;
use crate::os::random::SystemRandom;
use crate::os::reactor::{EVENTS_MAX, Reactor, Ready};
use crate::os::resolver::{Found, NameResolver};
use crate::os::sandbox::{self, Places, Sandbox};
use crate::os::signals::{Signal, Signals};
use crate::os::spawner::Spawner;
use crate::os::tls;
use crate::os::vault::UsersFiles;
use crate::os::watch::Watch;
use crate::queue::disk::{BLOCK_BYTES, Block, Disk, DiskError};
use crate::queue::resize::Extent;
use crate::relay::mailbox::{Mailbox, MailboxError};
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Descriptors beside those of slots and listeners: the standard three, poll, bell, signals, watch,
/// the image twice, directories, the resolver's files and sockets.
const OTHER_DESCRIPTORS: u64 = 40;
/// What a drop file may have beside the message: the longest envelope.
const ENVELOPE_BYTES_MAX: u64 = 64 * 1024;
/// How often the drop directory is looked into where the kernel does not tell.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How soon stderr is asked again while lines wait for it.
const LOG_AGAIN: Duration = Duration::from_secs(1);

pub use crate::os::listening::{Listen, ListenerKind};
pub use crate::os::open_error::OpenError;

/// What the world has to know. All of it is settled for the life of the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// In this order they are numbered; `submit` and `control` follow.
    pub listen: Vec<Listen>,
    /// The certificates of those listeners of the config that speak TLS, by the numbers they have
    /// there.
    pub certificates: Vec<Option<tls::Files>>,
    /// Where the sockets `submit` and `control` are made.
    pub run_directory: PathBuf,
    /// Where the image and the drop directory are.
    pub spool_directory: PathBuf,
    /// Bytes of an image that has to be made; none: by what there is.
    pub spool_size: Option<u64>,
    /// Bytes of the largest message, for drop files.
    pub message_size: u64,
    /// True for the daemon of the whole system, whose users submit to it; false for one user's own.
    pub is_system: bool,
    /// What this machine is called.
    pub hostname: String,
    /// The name server for mail hosts; none: those of resolv.conf.
    pub resolver: Option<SocketAddr>,
    /// How many sockets there may be.
    pub tokens: u16,
    /// How many mails may be on their way into Maildirs at one time.
    pub mailbox_slots: u16,
    /// Whom this process becomes once it has what only root can have; none: it stays who it is.
    pub heir: Option<Heir>,
    /// Where files may be opened from then on, and nothing else done than serving takes; none:
    /// anything, as tests do.
    pub places: Option<Places>,
}

impl Settings {
    /// The queue's image.
    pub fn image_path(&self) -> PathBuf {
        image_path(&self.spool_directory)
    }
}

/// The image in a spool directory.
pub fn image_path(spool_directory: &Path) -> PathBuf {
    spool_directory.join("queue")
}

/// The drop directory in a spool directory.
pub fn drop_path(spool_directory: &Path) -> PathBuf {
    spool_directory.join("drop")
}

/// The socket for local mail in a run directory.
pub fn submit_path(run_directory: &Path) -> PathBuf {
    run_directory.join("submit")
}

/// The socket for administration in a run directory.
pub fn control_path(run_directory: &Path) -> PathBuf {
    run_directory.join("control")
}

/// Everything outside.
pub struct World {
    reactor: Reactor,
    signals: Signals,
    watch: Option<Watch>,
    disk: ImageFile,
    resolver: NameResolver,
    clock: SystemClock,
    random: SystemRandom,
    maildirs: Maildirs,
    drops: Drops,
    users: UsersFiles,
    pub(super) keys: RelayKeys,
    listeners: Vec<ListenerKind>,
    interfaces: Interfaces,
    links: Option<Links>,
    sandbox: Option<Sandbox>,
    told: Told,
    /// When the drop directory is looked into next, where there is no watch.
    look: Option<Instant>,
}

/// What happened and was not yet passed on.
#[derive(Default)]
struct Told {
    drain: bool,
    reload: bool,
    flush: bool,
    network: bool,
    drop: bool,
}

impl Told {
    /// The next of them, most urgent first.
    fn take(&mut self) -> Option<Event> {
        let pending = [
            (&mut self.drain, Event::Drain),
            (&mut self.reload, Event::Reload),
            (&mut self.flush, Event::Flush),
            (&mut self.network, Event::Network),
            (&mut self.drop, Event::Drop),
        ];
        for (pending, event) in pending {
            if core::mem::take(pending) {
                return Some(event);
            }
        }
        None
    }

    fn is_any(&self) -> bool {
        self.drain || self.reload || self.flush || self.network || self.drop
    }
}

impl World {
    /// How many events a caller's vector should have room for.
    pub const EVENTS_MAX: usize = EVENTS_MAX + 16;

    /// Takes everything, and becomes who serves. An image that is missing is made, and laid out by
    /// `format`.
    pub fn open(
        settings: &Settings,
        format: impl FnOnce(&mut ImageFile) -> Result<(), DiskError>,
    ) -> Result<World, OpenError> {
        let needed = u64::from(settings.tokens)
            + 2 * u64::from(settings.mailbox_slots)
            + LISTENERS_MAX as u64
            + OTHER_DESCRIPTORS;
        process::ensure_descriptors(needed)
            .map_err(|limit| OpenError::Descriptors { needed, limit })?;
        let signals = Signals::open().map_err(system("take signals"))?;
        let random = SystemRandom::open().map_err(system("get random numbers"))?;
        // Users must get through to the drop directory, and to the socket.
        let (spool_mode, run_mode) =
            if settings.is_system { (0o711, 0o755) } else { (0o700, 0o700) };
        make_directory(&settings.spool_directory, spool_mode)?;
        make_directory(&settings.run_directory, run_mode)?;
        let disk = open_image(settings, format)?;

        // Before anybody can connect: who finds the daemon gone again leaves his mail there.
        let drop_path = drop_path(&settings.spool_directory);
        let drop_error = |error| OpenError::Directory { path: drop_path.clone(), error };
        let is_shared = settings.is_system && process::user_id() == 0;
        drops::ensure_directory(&drop_path, is_shared).map_err(drop_error)?;
        let mut reactor = Reactor::new(settings.tokens).map_err(system("make a poll"))?;
        // Before the listeners: an interface that changes meanwhile is told.
        let links = Links::watch();
        let (listeners, interfaces) = listen(&mut reactor, settings)?;
        if let Some(links) = &links {
            reactor.add_links(links.as_raw_fd()).map_err(system("watch the network"))?;
        }
        reactor.add_signals(signals.as_raw_fd()).map_err(system("take signals"))?;

        let file_bytes_max = settings.message_size.saturating_add(ENVELOPE_BYTES_MAX);
        let drops = Drops::open(&drop_path, file_bytes_max).map_err(drop_error)?;
        let watch = Watch::open(&drop_path).ok();
        if let Some(watch) = &watch {
            reactor.add_watch(watch.as_raw_fd()).map_err(system("watch the drop directory"))?;
        }

        let sandbox = become_who_serves(settings, &disk, &mut reactor)?;
        let bell = reactor.bell().map_err(system("make a waker"))?;
        let keys = RelayKeys::new(bell.clone());
        let resolver = NameResolver::start(bell, settings.resolver, &settings.hostname)
            .map_err(system("start the resolver's threads"))?;
        let look = watch.is_none().then(|| Instant::now() + LOOK_EVERY);
        Ok(World {
            reactor,
            signals,
            watch,
            disk,
            resolver,
            clock: SystemClock::new(),
            random,
            maildirs: Maildirs::new(settings.mailbox_slots),
            drops,
            users: UsersFiles::default(),
            keys,
            listeners,
            interfaces,
            links,
            sandbox,
            // Whatever lies in the drop directory has been there before the watch.
            told: Told { drop: true, ..Told::default() },
            look,
        })
    }

    /// What this process has given up, and what it could not.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_ref()
    }

    /// From now on `spawner` runs the programs that print keys.
    pub fn use_spawner(&mut self, spawner: Spawner) -> io::Result<()> {
        self.keys.use_spawner(spawner)
    }

    /// The listeners; an index is an [`Event::Listener`]'s number.
    pub fn listeners(&self) -> &[ListenerKind] {
        &self.listeners
    }

    /// The config was read again, and names these certificates. One that cannot be used is told in
    /// the log, and the old one stays in use.
    pub fn reload_certificates(&mut self, certificates: &[Option<tls::Files>]) {
        self.reactor.reload_tls(certificates);
    }

    /// Waits for events, at most `timeout` (none: as long as it takes), and puts them into
    /// `events`, which is emptied first and must have room for at least one; it never grows. May
    /// return with none before its time. With less room than [`World::EVENTS_MAX`], busy sockets
    /// come before signals.
    pub fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        events.clear();
        log::drain();
        if self.reactor.is_drained() {
            self.reactor.poll(self.patience(timeout))?;
        }
        let mut is_relinked = false;
        let World { reactor, signals, watch, links, told, .. } = self;
        reactor.give(events.capacity(), |ready| match ready {
            Ready::Event(event) => events.push(event),
            Ready::Signals => {
                while let Some(signal) = signals.take() {
                    match signal {
                        Signal::Drain => told.drain = true,
                        Signal::Reload => told.reload = true,
                        Signal::Flush => told.flush = true,
                    }
                }
            }
            Ready::Watch => told.drop |= watch.as_mut().is_some_and(Watch::drain),
            Ready::Links => is_relinked |= links.as_mut().is_some_and(Links::drain),
            // Whatever it rang for is asked for on every turn.
            Ready::Bell => (),
        });
        if is_relinked {
            self.interfaces.follow(&self.reactor);
            self.resolver.forget_failures();
            self.told.network = true;
        }
        self.look_by_time();
        while events.len() < events.capacity() {
            let resolved = self.resolver.take().map(|(ticket, found)| match found {
                Found::Addresses(answer) => Event::Resolved { ticket, answer },
                Found::Mail(answer) => {
                    self.resolver.keep(ticket, answer);
                    Event::MailResolved { ticket }
                }
            });
            let unlocked = || self.keys.take().map(|ticket| Event::Unlocked { ticket });
            match resolved.or_else(unlocked).or_else(|| self.told.take()) {
                Some(event) => events.push(event),
                None => break,
            }
        }
        Ok(())
    }

    /// How long the poll may sleep.
    fn patience(&self, timeout: Option<Duration>) -> Option<Duration> {
        let told = self.told.is_any().then_some(Duration::ZERO);
        let log = log::is_waiting().then_some(LOG_AGAIN);
        let look = self.look.map(|time| time.saturating_duration_since(Instant::now()));
        let reactor = self.reactor.patience();
        [timeout, told, log, look, reactor, self.resolver.patience()].into_iter().flatten().min()
    }

    fn look_by_time(&mut self) {
        if let Some(look) = &mut self.look {
            let now = Instant::now();
            if now >= *look {
                self.told.drop = true;
                *look = now + LOOK_EVERY;
            }
        }
    }
}

/// Gives up what serving does not take.
fn become_who_serves(
    settings: &Settings,
    disk: &ImageFile,
    reactor: &mut Reactor,
) -> Result<Option<Sandbox>, OpenError> {
    if let Some(heir) = &settings.heir {
        let control = control_path(&settings.run_directory);
        hand_over(heir, disk, &settings.spool_directory, &control)
            .map_err(|(path, error)| OpenError::Directory { path, error })?;
    }
    // What is read again later is read as he who will read it again.
    if let Some(tls) = open_tls(settings)? {
        reactor.add_tls(tls);
    }
    Ok(settings.places.as_ref().map(|places| {
        // What is not there when the rules are made cannot be reached when it is.
        places.write.iter().for_each(|place| mailbox::make_ready(place));
        sandbox::enter(places)
    }))
}

fn system(action: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |error| OpenError::System { action, error }
}

/// Makes a directory, and those above it, if it is missing; one that is there is its owner's
/// matter.
fn make_directory(path: &Path, mode: u32) -> Result<(), OpenError> {
    let make = || {
        if path.is_dir() {
            return Ok(());
        }
        make_directories(path, mode)?;
        // The umask may have taken of it.
        std::fs::set_permissions(path, Permissions::from_mode(mode))
    };
    make().map_err(|error| OpenError::Directory { path: path.to_owned(), error })
}

fn open_image(
    settings: &Settings,
    format: impl FnOnce(&mut ImageFile) -> Result<(), DiskError>,
) -> Result<ImageFile, OpenError> {
    let path = settings.image_path();
    match ImageFile::open(&path) {
        Err(ImageError::Missing(_)) => (),
        result => return result.map_err(OpenError::Image),
    }
    let directory = &settings.spool_directory;
    let size = match settings.spool_size {
        Some(size) => size,
        None => disk::default_size(directory)
            .map_err(|error| OpenError::Directory { path: directory.clone(), error })?,
    };
    let blocks = u32::try_from(size / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
    ImageFile::create(&path, blocks, format).map_err(OpenError::Image)
}

fn open_tls(settings: &Settings) -> Result<Option<tls::Tls>, OpenError> {
    tls::Tls::open(&settings.certificates, settings.tokens, Instant::now())
        .map_err(|(listener, unusable)| OpenError::Certificate { listener, unusable })
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

impl Extent for World {
    fn set_blocks(&mut self, blocks: u32) -> Result<(), DiskError> {
        self.disk.set_blocks(blocks)
    }
}

impl Net for World {
    fn accept(&mut self, listener: u8, token: Token) -> Accepted {
        self.reactor.accept(listener, token)
    }

    fn connect(&mut self, token: Token, to: SocketAddr) -> Result<(), NetError> {
        self.reactor.connect(token, to)
    }

    fn receive(&mut self, token: Token, into: &mut [u8]) -> Transfer {
        self.reactor.receive(token, into)
    }

    fn send(&mut self, token: Token, from: &[u8]) -> Transfer {
        self.reactor.send(token, from)
    }

    fn secure(&mut self, token: Token, side: Side<'_>, _proof: Emptiness) -> Result<(), NetWords> {
        self.reactor.secure(token, side)
    }

    fn secured(&mut self, token: Token) -> Option<Secured> {
        self.reactor.secured(token)
    }

    fn protection(&mut self, token: Token) -> Option<Protection> {
        self.reactor.protection(token)
    }

    fn tls_trouble(&mut self, token: Token) -> Option<NetWords> {
        self.reactor.tls_trouble(token)
    }

    fn close(&mut self, token: Token) {
        self.reactor.close(token);
    }

    fn stop_listening(&mut self, keep: Option<u8>) {
        self.reactor.stop_listening(keep);
    }
}

impl Resolver for World {
    fn resolve(&mut self, ticket: u32, host: &str) -> bool {
        self.resolver.resolve(ticket, host)
    }

    fn resolve_mail(&mut self, ticket: u32, domain: &str) -> bool {
        self.resolver.resolve_mail(ticket, domain)
    }

    fn mail_hosts(&mut self, ticket: u32) -> Option<Result<MailHosts, Failure>> {
        self.resolver.mail_hosts(ticket)
    }

    fn has_changed(&mut self) -> bool {
        Resolver::has_changed(&mut self.resolver)
    }
}

impl Clock for World {
    fn now(&mut self) -> Now {
        self.clock.now()
    }
}

impl Random for World {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }
}

impl Vault for World {
    fn users(&mut self, path: &str) -> Option<Keys<'_>> {
        self.users.users(path)
    }
}

impl Mailbox for World {
    fn open_mail(&mut self, slot: u16, directory: &str, name: &str) -> Result<(), MailboxError> {
        self.maildirs.open_mail(slot, directory, name)
    }

    fn append_mail(&mut self, slot: u16, bytes: &[u8]) -> Result<(), MailboxError> {
        self.maildirs.append_mail(slot, bytes)
    }

    fn deliver_mail(&mut self, slot: u16) -> Result<(), MailboxError> {
        self.maildirs.deliver_mail(slot)
    }

    fn abandon_mail(&mut self, slot: u16) {
        self.maildirs.abandon_mail(slot);
    }
}

impl DropDirectory for World {
    fn next_drop(&mut self) -> Option<DropFile> {
        self.drops.next_drop()
    }

    fn read_drop(&mut self, into: &mut [u8]) -> Result<usize, DropError> {
        self.drops.read_drop(into)
    }

    fn is_looking(&self) -> bool {
        self.drops.is_looking()
    }

    fn reject_drop(&mut self, name: DropName, why: &str) -> bool {
        self.drops.reject_drop(name, why)
    }

    fn rejected_drops(&mut self) -> u32 {
        self.drops.rejected_drops()
    }

    fn remove_drop(&mut self, name: DropName) -> Result<(), DropError> {
        self.drops.remove_drop(name)
    }

    fn sync_drops(&mut self) -> Result<(), DropError> {
        self.drops.sync_drops()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::world::Peer;
    use crate::os::signals::tests::raise;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    fn settings(home: &Path) -> Settings {
        Settings {
            listen: vec![Listen::Address("127.0.0.1:0".parse().unwrap())],
            certificates: Vec::new(),
            run_directory: home.join("run"),
            spool_directory: home.join("deep/spool"),
            spool_size: Some(8 * BLOCK_BYTES as u64),
            message_size: 1000,
            is_system: false,
            hostname: "here.test".to_owned(),
            resolver: None,
            tokens: 4,
            mailbox_slots: 1,
            heir: None,
            places: None,
        }
    }

    fn open(home: &Path) -> World {
        World::open(&settings(home), |_| Ok(())).unwrap()
    }

    /// Waits until `wanted` finds what it looks for.
    fn until<T>(world: &mut World, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let mut events = Vec::with_capacity(World::EVENTS_MAX);
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            assert!(Instant::now() < end);
            world.wait(Some(Duration::from_millis(100)), &mut events).unwrap();
            if let Some(found) = events.iter().find_map(&mut wanted) {
                return found;
            }
        }
    }

    #[test]
    fn listeners_come_in_order_and_take_connections() {
        let home = tempfile::tempdir().unwrap();
        let mut settings = settings(home.path());
        settings.listen.push(Listen::Unix(home.path().join("extra").display().to_string()));
        let mut world = World::open(&settings, |_| Ok(())).unwrap();
        let [ListenerKind::Smtp(address), ListenerKind::Submit, ListenerKind::Submit, last] =
            *world.listeners()
        else {
            panic!("{:?}", world.listeners());
        };
        assert_eq!(last, ListenerKind::Control);

        let _tcp = TcpStream::connect(address).unwrap();
        let number = until(&mut world, |event| match event {
            Event::Listener(number) => Some(*number),
            _ => None,
        });
        assert_eq!(number, 0);
        assert!(matches!(world.accept(0, Token(0)), Accepted::Peer(Peer::Tcp(_))));
        assert!(matches!(world.accept(0, Token(1)), Accepted::Nothing));

        let mut submit = UnixStream::connect(submit_path(&settings.run_directory)).unwrap();
        until(&mut world, |event| matches!(event, Event::Listener(2)).then_some(()));
        let uid = process::user_id();
        match world.accept(2, Token(1)) {
            Accepted::Peer(peer) => assert_eq!(peer, Peer::Unix { uid }),
            other => panic!("{other:?}"),
        }
        submit.write_all(b"EHLO").unwrap();
        until(&mut world, |event| match event {
            Event::Socket { token: Token(1), readable: true, .. } => Some(()),
            _ => None,
        });
        let mut bytes = [0; 10];
        assert_eq!(world.receive(Token(1), &mut bytes), Transfer::Bytes(4));
        assert_eq!(world.send(Token(1), b"250"), Transfer::Bytes(3));
        world.close(Token(1));
        let mut all = Vec::new();
        submit.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"250");
    }

    #[test]
    fn a_second_daemon_is_told_and_touches_nothing() {
        let home = tempfile::tempdir().unwrap();
        let mut world = open(home.path());
        let Err(error) = World::open(&settings(home.path()), |_| panic!("formatted twice")) else {
            panic!("opened twice");
        };
        assert!(error.is_busy(), "{error}");
        UnixStream::connect(control_path(&home.path().join("run"))).unwrap();
        until(&mut world, |event| matches!(event, Event::Listener(2)).then_some(()));
        drop(world);
        // After a crash the sockets are still there, and in nobody's way.
        assert!(submit_path(&home.path().join("run")).exists());
        drop(open(home.path()));
    }

    #[test]
    fn directories_and_sockets_have_the_modes_of_their_kind() {
        let modes = |home: &Path| {
            ["deep/spool", "run", "deep/spool/drop", "run/submit", "run/control"]
                .map(|name| home.join(name).metadata().unwrap().permissions().mode() & 0o7777)
        };
        let home = tempfile::tempdir().unwrap();
        let world = open(home.path());
        assert_eq!(world.blocks(), 8);
        assert_eq!(modes(home.path()), [0o700, 0o700, 0o700, 0o600, 0o600]);
        let home = tempfile::tempdir().unwrap();
        let settings = Settings { is_system: true, ..settings(home.path()) };
        let _world = World::open(&settings, |_| Ok(())).unwrap();
        let drop_mode = if process::user_id() == 0 { 0o3777 } else { 0o700 };
        assert_eq!(modes(home.path()), [0o711, 0o755, drop_mode, 0o666, 0o660]);
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let world = open(home.path());
        let Some(ListenerKind::Smtp(address)) = world.listeners().first().copied() else {
            panic!("no listener");
        };
        let mut taken = settings(elsewhere.path());
        taken.listen = vec![Listen::Address(address)];
        let mut absent = settings(elsewhere.path());
        absent.listen = vec![Listen::Interface { name: "nosuch0".into(), port: 0 }];
        let mut many = settings(elsewhere.path());
        many.listen = vec![Listen::Address("127.0.0.1:0".parse().unwrap()); LISTENERS_MAX];
        let mut file = settings(elsewhere.path());
        std::fs::write(elsewhere.path().join("file"), "").unwrap();
        file.run_directory = elsewhere.path().join("file");
        let mut full = settings(elsewhere.path());
        full.spool_directory = elsewhere.path().join("other");
        let cases = [
            (taken, address.to_string()),
            (absent, "interface nosuch0".into()),
            (many, "more than 16 listeners".into()),
            (file, "file: cannot use the directory".into()),
        ];
        for (settings, words) in cases {
            let error = World::open(&settings, |_| Ok(())).err().unwrap().to_string();
            assert!(error.contains(&words), "{error}");
        }
        let error = World::open(&full, |_| Err(DiskError::Full)).err().unwrap();
        assert!(error.to_string().contains("no space left"), "{error}");
        assert!(!image_path(&full.spool_directory).exists());
    }

    #[test]
    fn signals_drops_and_names_arrive_as_events() {
        let home = tempfile::tempdir().unwrap();
        let mut world = open(home.path());
        // Told without asking: something may have been left before.
        until(&mut world, |event| matches!(event, Event::Drop).then_some(()));
        assert_eq!(world.next_drop(), None);
        let directory = drop_path(&home.path().join("deep/spool"));
        let name = drops::leave(&directory, 10_000, b"", &mut &b"mail"[..]).unwrap();
        until(&mut world, |event| matches!(event, Event::Drop).then_some(()));
        let found = world.next_drop().map(|file| (file.name, file.uid));
        assert_eq!(found, Some((name, process::user_id())));
        world.remove_drop(name).unwrap();
        world.sync_drops().unwrap();

        raise(libc::SIGHUP);
        until(&mut world, |event| matches!(event, Event::Reload).then_some(()));
        raise(libc::SIGUSR1);
        until(&mut world, |event| matches!(event, Event::Flush).then_some(()));
        raise(libc::SIGTERM);
        until(&mut world, |event| matches!(event, Event::Drain).then_some(()));

        for host in ["127.0.0.1", "localhost"] {
            assert!(world.resolve(9, host));
            let answer = until(&mut world, |event| match event {
                Event::Resolved { ticket: 9, answer } => Some(*answer),
                _ => None,
            });
            assert!(answer.unwrap().get(0).unwrap().is_loopback());
        }
    }

    #[test]
    fn nothing_is_lost_in_a_small_vector_which_never_grows() {
        let home = tempfile::tempdir().unwrap();
        let mut world = open(home.path());
        assert!(world.resolve(1, "10.0.0.1"));
        raise(libc::SIGHUP);
        raise(libc::SIGTERM);
        UnixStream::connect(submit_path(&home.path().join("run"))).unwrap();
        UnixStream::connect(control_path(&home.path().join("run"))).unwrap();
        let mut events = Vec::with_capacity(1);
        let mut seen = Vec::new();
        for _ in 0..8 {
            world.wait(Some(Duration::ZERO), &mut events).unwrap();
            assert_eq!(events.capacity(), 1);
            seen.extend(events.iter().map(|event| format!("{event:?}")));
        }
        for wanted in ["Listener(1)", "Listener(2)", "Resolved", "Reload", "Drain", "Drop"] {
            let count = seen.iter().filter(|event| event.starts_with(wanted)).count();
            assert_eq!(count, 1, "{wanted}: {seen:?}");
        }
        let before = Instant::now();
        world.wait(Some(Duration::from_millis(30)), &mut events).unwrap();
        assert!(events.is_empty() && before.elapsed() >= Duration::from_millis(29));
    }

    #[test]
    fn where_the_kernel_does_not_tell_the_clock_does() {
        let home = tempfile::tempdir().unwrap();
        let mut world = open(home.path());
        until(&mut world, |event| matches!(event, Event::Drop).then_some(()));
        world.watch = None;
        world.look = Some(Instant::now() + Duration::from_millis(20));
        let mut events = Vec::with_capacity(World::EVENTS_MAX);
        world.wait(None, &mut events).unwrap();
        assert!(matches!(events.as_slice(), [Event::Drop]), "{events:?}");
        assert!(world.patience(None).unwrap() > Duration::from_secs(50));
    }

    #[test]
    fn both_wildcards_of_one_port_can_be_had() {
        let home = tempfile::tempdir().unwrap();
        let mut settings = settings(home.path());
        if TcpStream::connect("[::1]:1")
            .is_err_and(|error| error.kind() != io::ErrorKind::ConnectionRefused)
        {
            return; // This system has no IPv6.
        }
        let port = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        settings.listen = ["0.0.0.0", "::"]
            .map(|ip| Listen::Address(SocketAddr::new(ip.parse().unwrap(), port)))
            .to_vec();
        World::open(&settings, |_| Ok(())).unwrap();
    }
}

//! `serve`: the daemon, in the foreground. `daemon` over `os`, and nothing else.
//!
//! Start-up is recovery (LAW 4): what the last run left behind is found on the medium. TERM
//! finishes what is under way and leaves; HUP reads the config again and keeps the old one if the
//! new one has faults; USR1 tries everything now. Exit 75 when another mote has the spool, 78 for
//! faults in the config, 71 when the system does not give what is needed.

use super::Context;
use super::configuration::{self, Broken, Loaded};
use super::confinement;
use super::exit::{Exit, Failure, finish};
use super::listeners;
use super::unopened::unopened;
use crate::base::time::{Instant, earliest};
use crate::config::{Config, ListenerTls, Log, Via};
use crate::daemon::turn::{Daemon, Door, batch_max, log_found, tokens};
use crate::daemon::world::{Clock as _, Event, Random as _};
use crate::os::alias_files::{AliasFiles, Reading};
use crate::os::disk::{is_space_guaranteed, is_volatile};
use crate::os::process::User;
use crate::os::random::SystemRandom;
use crate::os::sandbox::Places;
use crate::os::world::{self, ListenerKind, Settings, World};
use crate::os::{log as output, mailbox, process, signals};
use crate::queue::disk::BLOCK_BYTES;
use crate::queue::layout::blocks_for;
use crate::queue::recovery::{RecoverError, format, recover};
use crate::queue::resize::{Fit, fit};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How often a turn looks for more before its sync, while that brings something.
const GATHER_MAX: u32 = 8;

/// Serves until it is told to leave.
pub fn run(context: &Context, words: Vec<OsString>) -> ExitCode {
    finish(context.program, serve(context, &words))
}

fn serve(context: &Context, words: &[OsString]) -> Result<Exit, Failure> {
    signals::hold_back().map_err(|error| Failure::new(Exit::SYSTEM, error.to_string()))?;
    if !words.is_empty() {
        return Err(Failure::usage("serve takes no words; settings stand in the config file"));
    }
    let broken = |Broken(mut lines): Broken| {
        let last = lines.pop().unwrap_or_default();
        lines.iter().for_each(|line| super::exit::tell(context.program, line));
        Failure::new(Exit::CONFIG, last)
    };
    let loaded = configuration::read(context).map_err(broken)?;
    output::start(level(&loaded.config, context), has_priorities());
    let is_system = process::user_id() == 0 && std::env::var_os("MOTE_HOME").is_none();
    let user = confinement::user(&loaded.config, is_system)?;
    configuration::examine(&loaded).map_err(broken)?;
    process::prepare().map_err(|error| Failure::new(Exit::SYSTEM, error.to_string()))?;
    let spawner = confinement::spawner(&loaded.config, user.as_ref())?;
    let listen = listeners::places(&loaded.config)?;
    // Where the aliases lead is looked at before; as whom they are read again they are read below.
    let files = AliasFiles::read(&loaded.config).files;
    let permitted = confinement::places(&loaded.config, loaded.file.as_deref(), &files);
    let (mut world, mut daemon) =
        open(&loaded.config, &listen, user, permitted.clone(), is_system)?;
    #[cfg(debug_assertions)]
    confinement::try_to_escape();
    if let Some(spawner) = spawner {
        let started = world.use_spawner(spawner);
        started.map_err(|error| Failure::new(Exit::SYSTEM, format!("no thread: {error}")))?;
    }
    daemon.set_confinement(confinement::tell(world.sandbox()));
    // As the user that will read them again. Mail is taken all the same, and waits.
    configuration::key_faults(&loaded).iter().for_each(|line| log::error!("{line}"));
    configuration::protection_faults(&loaded).iter().for_each(|line| log::error!("{line}"));
    let Loaded { mut config, file, .. } = loaded;
    let mut aliases = read_aliases(&mut config).unwrap_or_default();
    daemon.reload(config.clone());
    announce(&config, file.as_deref(), &listen, &world);
    let held = Held { context, permitted };
    let mut events = Vec::with_capacity(World::EVENTS_MAX);
    let mut timeout = Some(Duration::ZERO);
    loop {
        take(timeout, &mut world, &mut events, &mut daemon, &mut aliases, &held)?;
        for _ in 0..GATHER_MAX {
            if !daemon.may_gather() {
                break;
            }
            let at_once = Some(Duration::ZERO);
            take(at_once, &mut world, &mut events, &mut daemon, &mut aliases, &held)?;
            if events.is_empty() {
                break;
            }
        }
        let deadline = daemon.settle(&mut world);
        let now = world.now().instant;
        if daemon.is_finished(now) {
            log::info!("leaving");
            output::drain();
            return Ok(Exit::OK);
        }
        timeout = earliest(deadline, aliases.deadline()).map(|deadline| deadline.since(now));
    }
}

/// What holds as long as this process.
struct Held<'a> {
    context: &'a Context,
    /// Where files may be opened.
    permitted: Places,
}

/// Waits, and lets the daemon take what has come.
fn take(
    timeout: Option<Duration>,
    world: &mut World,
    events: &mut Vec<Event>,
    daemon: &mut Daemon,
    aliases: &mut AliasFiles,
    held: &Held<'_>,
) -> Result<(), Failure> {
    world
        .wait(timeout, events)
        .map_err(|error| Failure::new(Exit::SYSTEM, format!("cannot wait: {error}")))?;
    if events.iter().any(|event| matches!(event, Event::Reload)) {
        reload(held, daemon, aliases, world);
    }
    let now = world.now();
    if aliases.have_changed(now.instant, now.unix.seconds) {
        let mut config = daemon.config().clone();
        match read_aliases(&mut config) {
            Some(files) => {
                *aliases = files;
                daemon.reload(config);
            }
            None => aliases.settle(),
        }
    }
    daemon.take(world, events);
    Ok(())
}

fn open(
    config: &Config,
    places: &[(u8, world::Listen)],
    user: Option<User>,
    permitted: Places,
    is_system: bool,
) -> Result<(World, Daemon), Failure> {
    let listen: Vec<world::Listen> = places.iter().map(|(_, place)| place.clone()).collect();
    let settings = Settings {
        heir: user.map(|user| confinement::heir(config, user, &listen)),
        places: Some(permitted),
        listen,
        certificates: configuration::certificates(config),
        run_directory: PathBuf::from(&config.run),
        spool_directory: PathBuf::from(&config.spool),
        spool_size: config.spool_size,
        message_size: config.message_size,
        is_system,
        hostname: config.hostname.clone(),
        resolver: config.resolver,
        tokens: tokens(config),
        mailbox_slots: config.senders.max(1),
    };
    let created = crate::os::clock::SystemClock::new().now().unix.seconds;
    let mut random = SystemRandom::open()
        .map_err(|error| Failure::new(Exit::SYSTEM, format!("no random numbers: {error}")))?;
    let mut world = World::open(&settings, |disk| {
        let mut seed = [0; 24];
        random.fill(&mut seed);
        format(disk, seed, created)
    })
    .map_err(|error| {
        let exit = match () {
            () if error.is_busy() => Exit::TEMPORARY,
            () if error.is_config() => Exit::CONFIG,
            () => Exit::SYSTEM,
        };
        Failure::new(exit, error.to_string())
    })?;
    let now = world.now().instant;
    let image = settings.image_path();
    resize(&mut world, config, now).map_err(|error| unopened(&image, error))?;
    let recovered = recover(&mut world, now, batch_max(config), None);
    let (queue, found) = recovered.map_err(|error| unopened(&image, error))?;
    log_found(&found);
    // The sockets submit and control come behind those of the config.
    let numbers = places.iter().map(|(number, _)| *number).chain(core::iter::repeat(0));
    let door = |(kind, number): (&ListenerKind, u8)| match kind {
        ListenerKind::Smtp(_) => Door::Smtp(number),
        ListenerKind::Submit => Door::Submit,
        ListenerKind::Control => Door::Control,
    };
    let doors: Vec<Door> = world.listeners().iter().zip(numbers).map(door).collect();
    let vias = config.routes.iter().map(|route| &route.via).chain([&config.via]);
    for via in vias {
        if let Via::Maildir(directory) = via {
            mailbox::tidy(Path::new(directory));
        }
    }
    let mut daemon = Daemon::new(config.clone(), queue, &doors, &mut world);
    daemon.set_owner(process::user_id());
    if let Ok(true) = is_volatile(Path::new(&config.spool)) {
        log::warn!("this spool does not survive a reboot: {} is in memory", config.spool);
        daemon.set_volatile();
    }
    Ok((world, daemon))
}

/// Gives the image the size that the config asks for; an image has what it was made with where
/// the config says nothing.
fn resize(world: &mut World, config: &Config, now: Instant) -> Result<(), RecoverError> {
    let blocks = |size: u64| u32::try_from(size / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
    let kibibytes = |blocks: u32| u64::from(blocks) * BLOCK_BYTES as u64 / 1024;
    // As `spool-size` counts: with the blocks that hold no mail.
    let whole = |slots: u32| kibibytes(blocks_for(slots));
    match fit(world, config.spool_size.map(blocks), now)? {
        Fit::Same => {}
        Fit::Grown { from, to } => {
            log::info!("spool: grown from {} to {} KiB", whole(from), whole(to));
        }
        Fit::Shrunk { from, to } => {
            log::info!("spool: shrunk from {} to {} KiB", whole(from), whole(to));
        }
        Fit::Occupied { used, slots } => log::warn!(
            "spool-size is less than the spool has, and {} KiB of mail stand in what would go: it \
             stays at {} KiB. Let the mail go, or remove it, and start again; or set spool-size \
             back",
            kibibytes(used),
            whole(slots)
        ),
        Fit::NoRoom { slots } => log::warn!(
            "spool-size is more than the disk has room for: the spool stays at {} KiB. Make room, \
             and start again",
            whole(slots)
        ),
    }
    Ok(())
}

fn level(config: &Config, context: &Context) -> log::LevelFilter {
    match config.log {
        _ if context.verbose => log::LevelFilter::Debug,
        Log::Error => log::LevelFilter::Error,
        Log::Warn => log::LevelFilter::Warn,
        Log::Info => log::LevelFilter::Info,
        Log::Debug => log::LevelFilter::Debug,
    }
}

/// systemd says by this variable that stderr leads to its journal, which reads `<N>`.
fn has_priorities() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some()
}

/// What runs where, so that a person can send it a mail at once.
fn announce(config: &Config, file: Option<&Path>, places: &[(u8, world::Listen)], world: &World) {
    match file {
        Some(file) => log::info!("mote {} by {}", env!("CARGO_PKG_VERSION"), file.display()),
        None => log::info!("mote {} by its defaults", env!("CARGO_PKG_VERSION")),
    }
    let mut first = None;
    for (kind, (number, _)) in world.listeners().iter().zip(places) {
        if let ListenerKind::Smtp(address) = kind {
            let words = match config.listener(*number).tls {
                ListenerTls::Off => "",
                ListenerTls::Starttls(_) => ", STARTTLS",
                ListenerTls::Implicit(_) => ", TLS",
            };
            log::info!("listening on {address}{words}");
            first.get_or_insert(*address);
        }
    }
    log::info!("local mail: {}", world::submit_path(Path::new(&config.run)).display());
    match &config.via {
        Via::Relay(number) => {
            if let Some(relay) = config.relays.get(usize::from(*number)) {
                log::info!("mail goes to {}:{}", relay.host, relay.port);
            }
        }
        Via::Mx => log::info!("mail goes to the mail hosts of each domain"),
        Via::Maildir(path) => log::info!("mail goes into {path}"),
        Via::Hold => log::warn!("no relay is configured: mail is held in the queue"),
        Via::Discard => log::warn!("mail is thrown away"),
        Via::Reject => log::warn!("mail is refused"),
    }
    if let Ok(false) = is_space_guaranteed(Path::new(&config.spool)) {
        log::info!("the file system of {} guarantees no space: keep some free", config.spool);
    }
    if let (None, Some(address)) = (file, first) {
        log::info!(
            "try: printf 'Subject: hello\\r\\n\\r\\nhello\\r\\n' | curl -sS smtp://{address} \
             --mail-from me@example.net --mail-rcpt you@example.net -T -"
        );
    }
}

/// Brings the aliases into `config`. A fault in a line concerns the names that lead there: their
/// mail waits, and the rest is served. None: the file cannot be used, and nothing has changed.
fn read_aliases(config: &mut Config) -> Option<AliasFiles> {
    let Reading { files, aliases, faults } = AliasFiles::read(config);
    faults.iter().for_each(|line| log::error!("{line}"));
    match aliases {
        Ok(aliases) => {
            if let (Some(path), true) = (&config.aliases_file, files.is_there()) {
                log::info!("{path}: {} aliases", aliases.count());
            }
            config.aliases = aliases;
            Some(files)
        }
        Err(why) => {
            log::error!("{why}; the aliases stay as they were");
            None
        }
    }
}

/// HUP. A config with faults changes nothing.
fn reload(held: &Held<'_>, daemon: &mut Daemon, aliases: &mut AliasFiles, world: &mut World) {
    let Held { context, permitted } = held;
    let checked = configuration::read(context).and_then(|loaded| {
        let faults = configuration::list_faults(&loaded);
        if faults.is_empty() { Ok(loaded) } else { Err(Broken(faults)) }
    });
    match checked {
        Ok(loaded) => {
            configuration::key_faults(&loaded).iter().for_each(|line| log::error!("{line}"));
            let faults = configuration::protection_faults(&loaded);
            faults.iter().for_each(|line| log::error!("{line}"));
            let Loaded { mut config, file, .. } = loaded;
            *aliases = read_aliases(&mut config).unwrap_or_default();
            let old = daemon.config();
            let fixed = [
                ("listen", !config.clone().keep_listeners(old)),
                ("spool", config.spool != old.spool),
                ("spool-size", config.spool_size != old.spool_size),
                ("run", config.run != old.run),
                ("sessions", config.sessions != old.sessions),
                ("senders", config.senders != old.senders),
                ("resolver", config.resolver != old.resolver),
                ("user", config.user != old.user),
            ];
            for (key, _) in fixed.iter().filter(|(_, changed)| *changed) {
                log::warn!("{key} has changed: restart needed");
            }
            confinement::tell_beyond(&config, file.as_deref(), aliases, permitted);
            output::set_level(level(&config, context));
            daemon.reload(config);
            world.reload_certificates(&configuration::certificates(daemon.config()));
            let name = file.map_or("the defaults".to_owned(), |file| file.display().to_string());
            log::info!("reloaded {name}");
        }
        Err(Broken(lines)) => {
            for line in lines {
                log::error!("{line}");
            }
            log::error!("the config has faults; the old one stays in effect");
        }
    }
}

//! The configuration as the commands get it: which file, what the machine is called, what is wrong.
//!
//! The file is the one of `-C`, else `/etc/mote.conf`; where there is none, the embedded default:
//! loopback:2525 and everything under one home, which is `$MOTE_HOME`, else `/var/lib/mote` for
//! root, else `$XDG_STATE_HOME/mote`, by default `~/.local/state/mote`. A file that is there but
//! cannot be read is a fault, never the default. Variables `MOTE_…` go before the file.
//!
//! Not here: what anything in the file means ([`crate::config`]).

use super::Context;
use super::exit::{Exit, Failure, tell};
use crate::config::{self, Config, Host, Listener, ListenerTls};
use crate::os::alias_files::AliasFiles;
use crate::os::{keyring, plain_file, process, secret_file, tls, vault};
use std::env;
use std::fs::Metadata;
use std::io::{self, ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where the configuration lies when nobody says.
pub const SYSTEM_FILE: &str = "/etc/mote.conf";
const MAILNAME_FILE: &str = "/etc/mailname";
const SYSTEM_RUN: &str = "/run/mote";
const ROOT_HOME: &str = "/var/lib/mote";
/// Variables that say where things are, to programs without a configuration; not keys.
const NOT_KEYS: [&str; 2] = ["MOTE_HOME", "MOTE_SOCKET"];

/// A configuration, and where it comes from.
#[derive(Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// Its file; none: the embedded default.
    pub file: Option<PathBuf>,
    /// What stands in the file; it may hold a password.
    pub text: Zeroizing<Vec<u8>>,
}

/// Lines, at least one, that say what is wrong, each with its file, and line where it has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken(pub Vec<String>);

/// The configuration for a verb. Of several faults, all but the last are told on stderr at once,
/// and the last goes into the failure.
pub fn load(context: &Context) -> Result<Config, Failure> {
    match read(context) {
        Ok(loaded) => Ok(loaded.config),
        Err(Broken(lines)) => {
            let (last, before) = lines.split_last().map_or(("", &[][..]), |(l, b)| (l, b));
            before.iter().for_each(|line| tell(context.program, line));
            Err(Failure::new(Exit::CONFIG, last))
        }
    }
}

/// The configuration, or everything that is wrong with it.
pub fn read(context: &Context) -> Result<Loaded, Broken> {
    let path = context.config.as_deref();
    let text = match read_file(path.unwrap_or(Path::new(SYSTEM_FILE))) {
        Ok(read) => Some(read),
        Err(error) if path.is_none() && error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            let path = path.unwrap_or(Path::new(SYSTEM_FILE)).display();
            return Err(Broken(vec![format!("{path}: cannot be read: {error}")]));
        }
    };
    let home = home(context.trust_home);
    if text.is_none() && home.is_none() {
        let line = "this user has no home directory: set MOTE_HOME, or name a file with -C";
        return Err(Broken(vec![line.into()]));
    }
    let run = run_directory();
    let host = Host {
        hostname: &process::hostname(),
        home: home.as_deref().unwrap_or_default(),
        is_embedded: text.is_none(),
        run: run.as_deref(),
    };
    let file = text.is_some().then(|| path.unwrap_or(Path::new(SYSTEM_FILE)).to_path_buf());
    let pairs = if context.trust_home { variables() } else { Vec::new() };
    let (text, about) =
        text.map_or((Zeroizing::default(), None), |(text, about)| (text, Some(about)));
    match config::parse_with_environment(&text, &pairs, &host) {
        Ok(mut config) => {
            // Whom this file's owner trusts with his spool and his secrets.
            if let Some(user) = config.user.as_deref().and_then(process::user_by_name) {
                process::set_daemon_user(user);
            }
            let is_set = config::find_line(&text, "", "", "origin").is_some()
                || pairs.iter().any(|(name, _)| name == "MOTE_ORIGIN");
            // Under one home nothing of the machine's own settings counts.
            if let Some(name) = mailname().filter(|_| !is_set && file.is_some()) {
                config.origin.clone_from(&name);
                config.mailname = Some(name);
            }
            let loaded = Loaded { config, file, text };
            let exposed = about.and_then(|about| exposed(&loaded, &about));
            exposed.map_or(Ok(loaded), |line| Err(Broken(vec![line])))
        }
        Err(faults) => {
            let name = file.unwrap_or_default();
            let line = |fault: &config::Fault| match fault.line {
                0 => format!("environment: {}", fault.message),
                line => format!("{}:{line}: {}", name.display(), fault.message),
            };
            Err(Broken(faults.iter().map(line).collect()))
        }
    }
}

/// What is wrong if a password stands in the file, and others can read it (decisions 20).
fn exposed(loaded: &Loaded, about: &Metadata) -> Option<String> {
    let (relay, key) = loaded.config.literal_key()?;
    // It may stand in the environment, which is its owner's.
    let in_section = config::find_line(&loaded.text, "relay", relay, key);
    let line = in_section.or_else(|| config::find_line(&loaded.text, "", "", key))?;
    let error = secret_file::check(about).err()?;
    let name = loaded.file.as_ref()?.display();
    Some(format!(
        "{name}:{line}: {key}: {error}; or write {key} = file:/etc/mote.secret, and the {key} into \
         that file (chmod 640, chown root:mote)"
    ))
}

/// What is wrong with what is needed to log in at the relays, as far as it can be seen without
/// running anything.
pub fn key_faults(loaded: &Loaded) -> Vec<String> {
    let fault = |relay: &config::Relay| {
        let login = relay.login.as_ref()?;
        let why = keyring::examine(&login.key).err()?;
        let key = if login.is_token { "token" } else { "password" };
        let in_section = config::find_line(&loaded.text, "relay", &relay.name, key);
        let line = in_section.or_else(|| config::find_line(&loaded.text, "", "", key));
        Some(match (&loaded.file, line) {
            (Some(file), Some(line)) => format!("{}:{line}: {key}: {why}", file.display()),
            _ => format!("environment: {key}: {why}"),
        })
    };
    loaded.config.relays.iter().filter_map(fault).collect()
}

/// What is wrong with the files by which relays are verified, and those that this machine shows
/// there. As with keys, mail waits meanwhile.
pub fn protection_faults(loaded: &Loaded) -> Vec<String> {
    let Loaded { config, file, text } = loaded;
    let told = |relay: &config::Relay, key: &str, why: String| {
        let in_section = config::find_line(text, "relay", &relay.name, key);
        let line = in_section.or_else(|| config::find_line(text, "", "", key));
        match (file, line) {
            (Some(file), Some(line)) => format!("{}:{line}: {key}: {why}", file.display()),
            _ => format!("relay {}: {why}", relay.name),
        }
    };
    let mut lines = Vec::new();
    for relay in config.relays.iter().filter(|relay| relay.scheme != config::Scheme::Smtp) {
        let ca = relay.tls.ca.as_ref().or(config.ca.as_ref().filter(|_| relay.tls.pins.is_empty()));
        // Whether this system has CAs of its own is told when they are needed.
        if let Some(Err(why)) = ca.map(|ca| tls::examine_ca(Some(Path::new(ca)))) {
            lines.push(told(relay, "ca", why));
        }
        let Some(client) = &relay.tls.client else { continue };
        let (cert, key) = (PathBuf::from(&client.cert), PathBuf::from(&client.key));
        let files = tls::Files { listener: relay.name.clone(), cert, key };
        if let Err(unusable) = tls::examine(&files) {
            let is_cert = unusable.is_about(&files.cert);
            let key = if is_cert { "client-cert" } else { "client-key" };
            lines.push(told(relay, key, unusable.to_string()));
        }
    }
    lines.dedup();
    lines
}

/// The files of each listener that speaks TLS, by its number.
pub fn certificates(config: &Config) -> Vec<Option<tls::Files>> {
    let files = |listener: &Listener| match &listener.tls {
        ListenerTls::Off => None,
        ListenerTls::Starttls(files) | ListenerTls::Implicit(files) => Some(tls::Files {
            listener: listener.name.clone(),
            cert: PathBuf::from(&files.cert),
            key: PathBuf::from(&files.key),
        }),
    };
    config.listen.iter().map(files).collect()
}

/// What is wrong with the users and aliases that it names: by the config's line where a file cannot
/// be used at all, else by the file's own.
pub fn list_faults(loaded: &Loaded) -> Vec<String> {
    let Loaded { config, file, text } = loaded;
    let named = |key: &str, path: &str, line: Option<u32>, fault: String| match (file, line) {
        (Some(file), Some(line)) if fault.starts_with(&format!("{path}: ")) => {
            format!("{}:{line}: {key}: {fault}", file.display())
        }
        _ => fault,
    };
    let mut lines = Vec::new();
    for path in config.users_files() {
        let line = users_line(loaded, path);
        let faults = vault::read_users(Path::new(path)).err().unwrap_or_default();
        lines.extend(faults.into_iter().map(|fault| named("users", path, line, fault)));
    }
    if let (Some(path), Err(why)) = (&config.aliases_file, AliasFiles::read(config).aliases) {
        let line = config::find_line(text, "", "", "aliases");
        lines.push(named("aliases", path, line, why));
    }
    lines
}

fn users_line(loaded: &Loaded, path: &str) -> Option<u32> {
    let is_its = |l: &&Listener| l.auth.as_ref().is_some_and(|auth| auth.users == path);
    let listener = loaded.config.listen.iter().find(is_its)?;
    let in_section = config::find_line(&loaded.text, "listen", &listener.name, "users");
    in_section.or_else(|| config::find_line(&loaded.text, "", "", "users"))
}

/// Whether the files that it names can be used; what is wrong with them if not.
pub fn examine(loaded: &Loaded) -> Result<(), Broken> {
    let mut lines = Vec::new();
    for files in certificates(&loaded.config).iter().flatten() {
        let Err(unusable) = tls::examine(files) else { continue };
        let key = if unusable.is_about(&files.cert) { "cert" } else { "key" };
        let line = config::find_line(&loaded.text, "listen", &files.listener, key);
        lines.push(match (&loaded.file, line) {
            (Some(file), Some(line)) => format!("{}:{line}: {key}: {unusable}", file.display()),
            _ => format!("environment: {key}: {unusable}"),
        });
    }
    lines.extend(list_faults(loaded));
    if lines.is_empty() { Ok(()) } else { Err(Broken(lines)) }
}

/// What `/etc/mailname` says, as Debian has it: the domain of this machine's mail.
fn mailname() -> Option<String> {
    let (text, _) = read_file(Path::new(MAILNAME_FILE)).ok()?;
    let name = core::str::from_utf8(&text).ok()?.lines().next()?.trim();
    config::is_host_name(name).then(|| name.to_string())
}

/// A line on stderr without the program's name before it: editors look for FILE:LINE at the start.
pub fn complain(line: &str) {
    let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    // Nobody is left to be told that stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The file's bytes; of one that is too large, enough for the parser to refuse it.
fn read_file(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, Metadata)> {
    let (file, about) = plain_file::open(path)?;
    let most = config::FILE_BYTES_MAX as u64 + 1;
    // All at once, so that no half of it stays behind where the vector was before it grew.
    let room = usize::try_from(about.len().min(most)).unwrap_or(0);
    let mut text = Zeroizing::new(Vec::with_capacity(room + 1));
    file.take(most).read_to_end(&mut text)?;
    Ok((text, about))
}

/// Where everything lies without a file, as an absolute path; none: this user has no home.
fn home(trust_home: bool) -> Option<String> {
    let variable = |name| env::var_os(name).map(PathBuf::from).filter(|path| path != Path::new(""));
    let home = match variable("MOTE_HOME").filter(|_| trust_home) {
        Some(named) => named,
        None if process::user_id() == 0 => ROOT_HOME.into(),
        None => {
            let state = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
            state.or_else(|| Some(user_home(variable("HOME"))?.join(".local/state")))?.join("mote")
        }
    };
    // The working directory may be gone; then a relative name has no absolute one.
    std::path::absolute(home).ok()?.into_os_string().into_string().ok()
}

fn user_home(variable: Option<PathBuf>) -> Option<PathBuf> {
    let listed = || process::user_by_id(process::user_id()).map(|user| PathBuf::from(user.home));
    variable.or_else(listed).filter(|home| home.is_absolute())
}

/// The run directory for a file that names none; none: the spool directory.
fn run_directory() -> Option<String> {
    if process::user_id() == 0 {
        return Some(SYSTEM_RUN.into());
    }
    let runtime = env::var("XDG_RUNTIME_DIR").ok().filter(|path| path.starts_with('/'))?;
    Some(format!("{runtime}/mote"))
}

/// The variables that are settings.
fn variables() -> Vec<(String, String)> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    let mut pairs: Vec<(String, String)> = env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .filter(|(name, _)| name.starts_with(config::ENVIRONMENT_PREFIX))
        .filter(|(name, _)| !NOT_KEYS.contains(&name.as_str()))
        .collect();
    pairs.sort();
    pairs
}

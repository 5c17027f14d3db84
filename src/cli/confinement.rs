//! What the daemon gives up when everything is open: who it becomes, where it may open files from
//! then on, and who runs programs for it (decisions 7, threats 21).
//!
//! The user is the one that the config names, else `mote` if there is one. That is for root on a
//! full system: whoever starts mote as himself, or with a home of its own (MOTE_HOME), stays who he
//! is. The rest is for everyone, as far as the kernel has it.

use super::exit::{Exit, Failure};
use crate::config::{Config, KeySource, ListenerTls, Via};
use crate::daemon::control::Confinement;
use crate::os::alias_files::AliasFiles;
use crate::os::handover::Heir;
use crate::os::keyring::COMMAND_TIMEOUT;
use crate::os::process::{self, User};
use crate::os::sandbox::{Places, Sandbox};
use crate::os::spawner::Spawner;
use crate::os::world::Listen;
use std::path::{Path, PathBuf};

/// Whom to become; None: nobody else.
pub(super) fn user(config: &Config, is_system: bool) -> Result<Option<User>, Failure> {
    if !is_system || process::user_id() != 0 {
        return Ok(None);
    }
    // The config's own is known to `process` since it was read.
    let user = match &config.user {
        Some(name) => Some(process::user_by_name(name).ok_or_else(|| {
            let text = format!("user: there is no user {name}: make one, or name another");
            Failure::new(Exit::CONFIG, text)
        })?),
        None => process::daemon_user(),
    };
    match user {
        Some(user) if user.uid != 0 => Ok(Some(user)),
        Some(_) => Ok(None),
        None => {
            log::warn!(
                "there is no user mote, so it runs as root: make one (useradd --system mote), or \
                 name another by user ="
            );
            Ok(None)
        }
    }
}

/// The child that runs the programs of `config`; None: it names none.
pub(super) fn spawner(config: &Config, user: Option<&User>) -> Result<Option<Spawner>, Failure> {
    let programs = programs(config);
    if programs.is_empty() {
        return Ok(None);
    }
    Spawner::start(programs, user, COMMAND_TIMEOUT).map(Some).map_err(|error| {
        Failure::new(Exit::SYSTEM, format!("cannot fork to run programs (cmd:): {error}"))
    })
}

/// Those that print keys.
fn programs(config: &Config) -> Vec<Vec<String>> {
    let mut programs: Vec<Vec<String>> = Vec::new();
    for login in config.relays.iter().filter_map(|relay| relay.login.as_ref()) {
        if let KeySource::Command(words) = &login.key
            && !programs.contains(words)
        {
            programs.push(words.clone());
        }
    }
    programs
}

/// What `user` gets of what is root's.
pub(super) fn heir(config: &Config, user: User, listen: &[Listen]) -> Heir {
    let is_bound = |listen: &Listen| matches!(listen, Listen::Interface { .. });
    Heir { user, keeps_interfaces: listen.iter().any(is_bound), maildirs: maildirs(config) }
}

fn maildirs(config: &Config) -> Vec<PathBuf> {
    let vias = config.routes.iter().map(|route| &route.via).chain([&config.via]);
    let path = |via: &Via| match via {
        Via::Maildir(path) => Some(PathBuf::from(path)),
        _ => None,
    };
    vias.filter_map(path).collect()
}

/// Where `config`, which stands in `file`, needs files; `aliases` are the files that it led to.
pub(super) fn places(config: &Config, file: Option<&Path>, aliases: &AliasFiles) -> Places {
    let mut places = Places::new();
    places.add_tree(Path::new(&config.spool));
    maildirs(config).iter().for_each(|maildir| places.add_tree(maildir));
    let mut add = |path: &str| places.add_file(Path::new(path));
    file.and_then(Path::to_str).into_iter().for_each(&mut add);
    config.aliases_file.iter().chain(&config.users).for_each(|path| add(path));
    aliases.paths().for_each(&mut add);
    for listener in &config.listen {
        listener.auth.iter().for_each(|auth| add(&auth.users));
        if let ListenerTls::Starttls(files) | ListenerTls::Implicit(files) = &listener.tls {
            add(&files.cert);
            add(&files.key);
        }
    }
    config.ca.iter().for_each(|path| add(path));
    for relay in &config.relays {
        relay.tls.ca.iter().for_each(|path| add(path));
        if let Some(client) = &relay.tls.client {
            add(&client.cert);
            add(&client.key);
        }
        if let Some(KeySource::File(path)) = relay.login.as_ref().map(|login| &login.key) {
            add(path);
        }
    }
    if let Some(credentials) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        places.add_file(&Path::new(&credentials).join("any"));
    }
    places
}

/// The config was read again: names what it has come to need that this process has given up.
pub(super) fn tell_beyond(
    config: &Config,
    file: Option<&Path>,
    aliases: &AliasFiles,
    permitted: &Places,
) {
    for place in places(config, file, aliases).beyond(permitted) {
        log::warn!("files in {} are out of reach: restart needed", place.display());
    }
}

/// What is told of it by `status`; what does not hold is told by the log.
pub(super) fn tell(sandbox: Option<&Sandbox>) -> Confinement {
    let uid = process::user_id();
    let Some(sandbox) = sandbox else { return Confinement { uid, ..Confinement::default() } };
    for (name, held) in [
        ("no new privileges", &sandbox.no_new_privileges),
        ("landlock", &sandbox.landlock),
        ("seccomp", &sandbox.seccomp),
    ] {
        if let Err(why) = held {
            log::info!("goes on without {name}: {why}");
        }
    }
    Confinement {
        uid,
        no_new_privileges: sandbox.no_new_privileges.is_ok(),
        landlock: sandbox.landlock.is_ok(),
        seccomp: sandbox.seccomp.is_ok(),
    }
}

/// For tests, in builds with assertions: tries what somebody would who has taken the daemon over,
/// and logs what came of it. The variable names a file that has nothing to do with mail.
#[cfg(debug_assertions)]
pub(super) fn try_to_escape() {
    use crate::os::process::trace_me;
    let Some(path) = std::env::var_os("TEST_ESCAPE_FROM_MOTE") else { return };
    let told = |what: &str, result: std::io::Result<()>| match result {
        Ok(()) => log::error!("escape: {what} went well"),
        Err(error) => log::info!("escape: {what} failed: {error}"),
    };
    told("a foreign open", std::fs::File::open(&path).map(drop));
    told("a foreign file", std::fs::write(Path::new(&path).with_extension("new"), "").map(drop));
    told("an exec", std::process::Command::new("/bin/true").status().map(drop));
    told("a ptrace", trace_me());
}

//! What `serve` listens on: the places that the config names, with the sockets that were open when
//! it began in the place of each `inherited`.
//!
//! `address = inherited` in `[listen NAME]` stands for the sockets that the starter calls NAME,
//! `listen = inherited` for all that no section has by its name. One that stands for none is a
//! fault, and a socket that nothing stands for is told: somebody expects to be heard there.

use super::exit::{Exit, Failure};
use crate::config::{Config, Listen, Listener, ListenerTls};
use crate::os::inherited::{self, Inherited};
use crate::os::world;

/// Every place to listen, with the number of its listener in the config.
pub fn places(config: &Config) -> Result<Vec<(u8, world::Listen)>, Failure> {
    let inherited = inherited::take().map_err(|why| Failure::new(Exit::SYSTEM, why))?;
    let places = plan(config, &inherited)?;
    let is_used = |socket: &Inherited| {
        places.iter().any(|(_, place)| *place == world::Listen::Inherited(socket.clone()))
    };
    for socket in inherited.iter().filter(|socket| !is_used(socket)) {
        log::warn!(
            "nobody listens on the socket '{}' that was handed over: write listen = inherited, or \
             address = inherited in [listen {}]",
            socket.name,
            socket.name
        );
    }
    Ok(places)
}

fn plan(config: &Config, inherited: &[Inherited]) -> Result<Vec<(u8, world::Listen)>, Failure> {
    let mut found = Vec::new();
    for (number, listener) in (0..).zip(&config.listen) {
        for place in &listener.places {
            let place = match place {
                Listen::Address(address) => world::Listen::Address(*address),
                Listen::Interface { name, port } => {
                    world::Listen::Interface { name: name.clone(), port: *port }
                }
                Listen::Unix(path) => world::Listen::Unix(path.clone()),
                Listen::Inherited => {
                    let sockets = matching(config, listener, inherited)?;
                    let sockets = sockets.map(|socket| world::Listen::Inherited(socket.clone()));
                    found.extend(sockets.map(|socket| (number, socket)));
                    continue;
                }
            };
            found.push((number, place));
        }
    }
    Ok(found)
}

/// Those that `inherited` stands for in `listener`.
fn matching<'a>(
    config: &'a Config,
    listener: &'a Listener,
    inherited: &'a [Inherited],
) -> Result<impl Iterator<Item = &'a Inherited>, Failure> {
    let has_section = |name: &str| {
        let waits = |other: &&Listener| other.places.contains(&Listen::Inherited);
        config.listen.iter().skip(1).filter(waits).any(|other| other.name == name)
    };
    let is_mine = move |socket: &&Inherited| match listener.name.as_str() {
        "" => !has_section(&socket.name),
        name => socket.name == name,
    };
    let mut mine = inherited.iter().filter(is_mine).peekable();
    if mine.peek().is_none() {
        let key = match listener.name.as_str() {
            "" => "listen = inherited".to_owned(),
            name => format!("[listen {name}]: address = inherited"),
        };
        let text = format!("{key}: no such socket was handed over (LISTEN_FDS, LISTEN_FDNAMES)");
        return Err(Failure::new(Exit::CONFIG, text));
    }
    let mut unix = inherited.iter().filter(is_mine).filter(|socket| socket.is_unix());
    if listener.tls != ListenerTls::Off && unix.next().is_some() {
        let name = &listener.name;
        let text = format!("[listen {name}]: there is no TLS on a Unix socket, as was handed over");
        return Err(Failure::new(Exit::CONFIG, text));
    }
    Ok(mine)
}

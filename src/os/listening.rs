//! The listeners: from the places that the config names to bound sockets, in the order in which
//! they are numbered.
//!
//! A listener on an interface is bound to its number, which changes when the interface is made
//! anew: [`Interfaces`] binds it again.

use crate::limits::LISTENERS_MAX;
use crate::os::inherited::Inherited;
use crate::os::links;
use crate::os::reactor::Reactor;
use crate::os::socket;
use crate::os::world::{OpenError, Settings, control_path, submit_path};
use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::Path;

/// Where mail comes in, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// An address; `[::]` serves IPv4 as well, unless `0.0.0.0` has the same port.
    Address(SocketAddr),
    /// All addresses, for what arrives through one interface.
    Interface {
        /// The interface's name.
        name: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(String),
    /// One that was open when this process began.
    Inherited(Inherited),
}

/// What speaks to a listener's connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenerKind {
    /// SMTP over TCP, with the address that it was bound to.
    Smtp(SocketAddr),
    /// SMTP of local users, over a Unix socket.
    Submit,
    /// The control protocol.
    Control,
}

/// Makes all of them; what each is, and which have to follow an interface.
pub(super) fn listen(
    reactor: &mut Reactor,
    settings: &Settings,
) -> Result<(Vec<ListenerKind>, Interfaces), OpenError> {
    let mut kinds = Vec::with_capacity(LISTENERS_MAX);
    let mut interfaces = Interfaces::default();
    for listen in &settings.listen {
        let made = match listen {
            Listen::Address(address) => {
                let only_v6 = has_v4_wildcard(settings, *address);
                listen_tcp(reactor, *address, None, only_v6)
            }
            Listen::Interface { name, port } => {
                interfaces.add(kinds.len(), name);
                listen_interface(reactor, name, *port)
            }
            Listen::Unix(path) => {
                let mode = if settings.is_system { 0o666 } else { 0o600 };
                listen_unix(reactor, Path::new(path), mode).map(|()| ListenerKind::Submit)
            }
            Listen::Inherited(inherited) => listen_inherited(reactor, inherited),
        };
        kinds.push(made.map_err(|error| OpenError::Listen { place: place(listen), error })?);
    }
    let (submit_mode, control_mode) =
        if settings.is_system { (0o666, 0o660) } else { (0o600, 0o600) };
    let local = [
        (submit_path(&settings.run_directory), submit_mode, ListenerKind::Submit),
        (control_path(&settings.run_directory), control_mode, ListenerKind::Control),
    ];
    for (path, mode, kind) in local {
        listen_unix(reactor, &path, mode)
            .map_err(|error| OpenError::Listen { place: path.display().to_string(), error })?;
        kinds.push(kind);
    }
    Ok((kinds, interfaces))
}

/// The listeners that are bound to an interface, with its number when they were.
#[derive(Default)]
pub(super) struct Interfaces(Vec<(usize, CString, u32)>);

impl Interfaces {
    fn add(&mut self, listener: usize, name: &str) {
        // A name with a zero in it has no number, and cannot be bound to.
        let name = CString::new(name).unwrap_or_default();
        let index = links::index(&name);
        self.0.push((listener, name, index));
    }

    /// Interfaces have come or gone: binds those anew that were made anew.
    pub(super) fn follow(&mut self, reactor: &Reactor) {
        for (listener, name, bound) in &mut self.0 {
            let index = links::index(name);
            if index == *bound {
                continue;
            }
            let words = name.to_str().unwrap_or_default();
            if index == 0 {
                log::warn!("interface {words} is gone; nobody can come in by it");
            } else if let Err(error) = reactor.bind_device(*listener, words) {
                log::error!("cannot listen on interface {words} anew: {error}; restart needed");
            } else {
                log::info!("interface {words} was made anew; listening on it again");
            }
            *bound = index;
        }
    }
}

fn place(listen: &Listen) -> String {
    match listen {
        Listen::Address(address) => address.to_string(),
        Listen::Interface { name, port } => format!("interface {name}, port {port}"),
        Listen::Unix(path) => path.clone(),
        Listen::Inherited(inherited) => format!(
            "descriptor {}, handed over by LISTEN_FDS as '{}'",
            inherited.number(),
            inherited.name
        ),
    }
}

/// Both wildcards of one port are wanted, so the one must leave IPv4 to the other.
fn has_v4_wildcard(settings: &Settings, address: SocketAddr) -> bool {
    let other = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
    settings.listen.contains(&Listen::Address(other))
}

fn listen_tcp(
    reactor: &mut Reactor,
    address: SocketAddr,
    device: Option<&str>,
    only_v6: bool,
) -> io::Result<ListenerKind> {
    let listener = socket::listen_tcp(address, device, only_v6)?;
    let address = listener.local_addr()?;
    reactor.add_tcp(listener)?;
    Ok(ListenerKind::Smtp(address))
}

fn listen_interface(reactor: &mut Reactor, name: &str, port: u16) -> io::Result<ListenerKind> {
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    match listen_tcp(reactor, v6, Some(name), false) {
        // No IPv6 in this kernel, or switched off.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
            ) =>
        {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
            listen_tcp(reactor, v4, Some(name), false)
        }
        result => result,
    }
}

fn listen_inherited(reactor: &mut Reactor, inherited: &Inherited) -> io::Result<ListenerKind> {
    let socket = inherited.socket()?;
    if socket::is_unix(socket.as_fd())? {
        reactor.add_unix(socket.into())?;
        return Ok(ListenerKind::Submit);
    }
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    reactor.add_tcp(listener)?;
    Ok(ListenerKind::Smtp(address))
}

fn listen_unix(reactor: &mut Reactor, path: &Path, mode: u32) -> io::Result<()> {
    reactor.add_unix(socket::listen_unix(path, mode)?)
}

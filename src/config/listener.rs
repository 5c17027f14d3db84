//! Places to listen, as they are filled in: the key `listen`, and each `[listen NAME]`.
//!
//! Part of the draft. The port that an address does not name depends on `tls`, which may come
//! after it, so addresses are looked at twice: when they are given, and when all is known.

use super::draft::{Draft, Given, check_name};
use super::value;
use super::{Certificate, Fault, Listen, Listener, ListenerAuth, ListenerTls};
use crate::limits::LISTENERS_MAX;

/// The submit and control sockets are listeners too.
const PLACES_MAX: usize = LISTENERS_MAX - 2;

/// A `[listen NAME]` so far.
pub(super) struct ListenerDraft {
    pub(super) name: String,
    pub(super) line: u32,
    address: Option<(String, u32)>,
    tls: Option<(Mode, u32)>,
    cert: Option<(String, u32)>,
    key: Option<(String, u32)>,
    auth: Option<(Login, u32)>,
    users: Option<(String, u32)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Login {
    Off,
    Optional,
    Required,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Starttls,
    Implicit,
}

impl ListenerDraft {
    pub(super) fn new(name: &str, line: u32) -> Result<ListenerDraft, String> {
        check_name(name, "a listener")?;
        Ok(ListenerDraft {
            name: name.into(),
            line,
            address: None,
            tls: None,
            cert: None,
            key: None,
            auth: None,
            users: None,
        })
    }

    /// What it comes to, with what is missing or contradicts itself written to `faults`.
    fn finish(
        self,
        before: &[Listener],
        users: Option<&String>,
        faults: &mut Vec<Fault>,
    ) -> Listener {
        let auth = self.finish_auth(users, faults);
        let mode = self.tls.map_or(Mode::Off, |(mode, _)| mode);
        let places = self.finish_places(mode, before, faults);
        let ListenerDraft { name, line, tls, cert, key, .. } = self;
        let mut complain = |line, message: &str| {
            faults.push(Fault { line, message: message.into() });
            ListenerTls::Off
        };
        let tls = match (mode, cert, key) {
            (Mode::Off, None, None) => ListenerTls::Off,
            (Mode::Off, Some((_, line)), _) | (Mode::Off, None, Some((_, line))) => complain(
                line,
                "a certificate is of no use with tls = off; write tls = starttls or tls = implicit",
            ),
            (_, Some((_, line)), None) => complain(
                line,
                "cert: it needs its key; if both are in one file, name that in key as well",
            ),
            (_, None, Some((_, line))) => {
                complain(line, "key: it needs the certificate that it belongs to; add cert")
            }
            (_, None, None) => complain(
                tls.map_or(line, |(_, line)| line),
                "tls: it needs a certificate; add cert and key ('mote gencert' makes them for a \
                 network of your own)",
            ),
            (Mode::Starttls, Some((cert, _)), Some((key, _))) => {
                ListenerTls::Starttls(Certificate { cert, key })
            }
            (Mode::Implicit, Some((cert, _)), Some((key, _))) => {
                ListenerTls::Implicit(Certificate { cert, key })
            }
        };
        Listener { name, places, tls, auth }
    }

    /// `global` is what the key `users` says above all sections.
    fn finish_auth(
        &self,
        global: Option<&String>,
        faults: &mut Vec<Fault>,
    ) -> Option<ListenerAuth> {
        let mut complain = |line, message: &str| {
            faults.push(Fault { line, message: message.into() });
            None
        };
        let users = self.users.as_ref().map(|(users, _)| users).or(global);
        match (self.auth, users) {
            (Some((Login::Off, _)), _) => match &self.users {
                Some((_, line)) => {
                    complain(*line, "users: of no use with auth = off; leave one of the two out")
                }
                None => None,
            },
            (None, None) => None,
            (Some((_, line)), None) => {
                complain(line, "auth: who may log in? Add users, a file that 'mote passwd' writes")
            }
            (auth, Some(users)) => {
                let is_required = auth.is_some_and(|(login, _)| login == Login::Required);
                Some(ListenerAuth { users: users.clone(), is_required })
            }
        }
    }

    fn finish_places(
        &self,
        mode: Mode,
        before: &[Listener],
        faults: &mut Vec<Fault>,
    ) -> Vec<Listen> {
        let Some((text, line)) = &self.address else {
            let message = format!(
                "[listen {}] has no address; add a line like address = 192.168.1.1",
                self.name
            );
            faults.push(Fault { line: self.line, message });
            return Vec::new();
        };
        let mut complain = |message| faults.push(Fault { line: *line, message });
        let port = if mode == Mode::Implicit { value::SUBMISSIONS_PORT } else { value::SMTP_PORT };
        let places = parse_places(text, port).unwrap_or_else(|why| {
            complain(format!("address: {why}"));
            Vec::new()
        });
        for place in &places {
            let written = value::write_listen(place);
            let is_taken = before.iter().any(|other| other.places.contains(place));
            // Inherited ones are told apart by their names.
            if is_taken && *place != Listen::Inherited {
                complain(format!("address: {written} is listened on already"));
            }
            if mode != Mode::Off && matches!(place, Listen::Unix(_)) {
                complain(format!("address: there is no TLS on a Unix socket such as {written}"));
            }
        }
        places
    }
}

impl Draft {
    /// `listen`.
    pub(super) fn set_listen(&mut self, given: &Given<'_>) -> Result<(), String> {
        let places = match given.text {
            "off" => Vec::new(),
            text => parse_places(text, value::SMTP_PORT)?,
        };
        self.is_listen_given = true;
        if let Some(listener) = self.config.listen.first_mut() {
            listener.places = places;
        }
        Ok(())
    }

    /// `address` of the current listener.
    pub(super) fn set_listen_address(&mut self, given: &Given<'_>) -> Result<(), String> {
        let read = parse_places(given.text, value::SMTP_PORT);
        if let Some(listener) = self.listeners.get_mut(self.current) {
            // One with a bad address has been told so once.
            let text = if read.is_ok() { given.text } else { "" };
            listener.address = Some((text.into(), given.line));
        }
        match read?.is_empty() {
            true => Err("expected an address, an interface or the path of a Unix socket".into()),
            false => Ok(()),
        }
    }

    /// `tls` of the current listener.
    pub(super) fn set_listen_tls(&mut self, given: &Given<'_>) -> Result<(), String> {
        let word = given.word();
        let mode = match word {
            Ok("off") => Mode::Off,
            Ok("implicit") => Mode::Implicit,
            // After a slip, too: what else is said of the listener is likely meant for TLS.
            Ok(_) | Err(_) => Mode::Starttls,
        };
        if let Some(listener) = self.listeners.get_mut(self.current) {
            listener.tls = Some((mode, given.line));
        }
        if word? != "off" && !cfg!(feature = "tls") {
            return Err("this build has no TLS: it was made without the feature tls".into());
        }
        Ok(())
    }

    /// `cert` of the current listener.
    pub(super) fn set_listen_cert(&mut self, given: &Given<'_>) -> Result<(), String> {
        let path = given.path();
        if let Some(listener) = self.listeners.get_mut(self.current) {
            listener.cert = Some((path.clone().unwrap_or_default(), given.line));
        }
        path.map(drop)
    }

    /// `key` of the current listener.
    pub(super) fn set_listen_key(&mut self, given: &Given<'_>) -> Result<(), String> {
        let path = given.path();
        if let Some(listener) = self.listeners.get_mut(self.current) {
            listener.key = Some((path.clone().unwrap_or_default(), given.line));
        }
        path.map(drop)
    }

    /// `auth` of the current listener.
    pub(super) fn set_listen_auth(&mut self, given: &Given<'_>) -> Result<(), String> {
        let word = given.word()?;
        let login = match word {
            "off" => Login::Off,
            "required" => Login::Required,
            _ => Login::Optional,
        };
        if let Some(listener) = self.listeners.get_mut(self.current) {
            listener.auth = Some((login, given.line));
        }
        if word == "off" { Ok(()) } else { has_cryptography() }
    }

    /// `users` of the current listener.
    pub(super) fn set_listen_users(&mut self, given: &Given<'_>) -> Result<(), String> {
        let path = given.path()?;
        if let Some(listener) = self.listeners.get_mut(self.current) {
            listener.users = Some((path, given.line));
        }
        has_cryptography()
    }

    /// `users` above all sections.
    pub(super) fn set_users(&mut self, given: &Given<'_>) -> Result<(), String> {
        self.config.users = Some(given.path()?);
        has_cryptography()
    }

    /// All of them. Whoever names listeners of his own has no use for the default.
    pub(super) fn finish_listeners(&mut self, faults: &mut Vec<Fault>) {
        let drafts = core::mem::take(&mut self.listeners);
        if let (Some(users), Some(default)) = (&self.config.users, self.config.listen.first_mut()) {
            default.auth = Some(ListenerAuth { users: users.clone(), is_required: false });
        }
        if let (false, false, Some(default)) =
            (drafts.is_empty(), self.is_listen_given, self.config.listen.first_mut())
        {
            default.places.clear();
        }
        for draft in drafts {
            let line = draft.line;
            let users = self.config.users.as_ref();
            let listener = draft.finish(&self.config.listen, users, faults);
            self.config.listen.push(listener);
            let count: usize = self.config.listen.iter().map(|other| other.places.len()).sum();
            if count > PLACES_MAX {
                let message = format!("at most {PLACES_MAX} places to listen, in all");
                faults.push(Fault { line, message });
            }
        }
    }
}

fn has_cryptography() -> Result<(), String> {
    match cfg!(feature = "tls") {
        true => Ok(()),
        false => {
            Err("this build cannot check passwords: it was made without the feature tls".into())
        }
    }
}

/// A list of places; one without a port has `port`.
fn parse_places(text: &str, port: u16) -> Result<Vec<Listen>, String> {
    let mut places = Vec::new();
    for part in value::parts(text) {
        let place = value::listen(part, port)?;
        if places.contains(&place) {
            return Err(format!("'{part}' is there twice"));
        }
        places.push(place);
    }
    if places.len() > PLACES_MAX {
        return Err(format!("at most {PLACES_MAX} places to listen"));
    }
    Ok(places)
}

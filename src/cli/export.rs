//! A message as two files: `ID.eml`, its bytes as they are stored (CRLF, as they were submitted:
//! our Received field comes when it is sent), and `ID.envelope`, a `name: value` a line, for people
//! and scripts.
//!
//! They are the caller's own files: whoever reads an image by his own rights writes by them too,
//! and a daemon that is asked sends the bytes over its control socket, so that it never writes for
//! somebody else into a directory of his choice. Nothing that is there is written over. The
//! envelope is written last and both are synced, so an envelope that is there means that the
//! message beside it is whole.

use super::exit::{Exit, Failure};
use super::json::Object;
use super::mailq::clean;
use crate::base::time::UnixTime;
use crate::mail::stamp::write_date;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Sees to it that the directory is there; a new one is for its owner alone.
pub fn ensure_directory(directory: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(uncreated(directory, &error))
        }
        _ if directory.is_dir() => Ok(()),
        _ => Err(uncreated(directory, &io::ErrorKind::NotADirectory.into())),
    }
}

fn uncreated(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::CANT_CREATE, format!("{}: cannot be made: {error}", path.display()))
}

/// One message on its way into a directory.
pub struct Export {
    message: PathBuf,
    envelope: PathBuf,
    text: String,
    file: Option<BufWriter<File>>,
    error: Option<io::Error>,
}

impl Export {
    /// Of the message called `id`, which is letters and digits.
    pub fn new(directory: &Path, id: &str) -> Export {
        Export {
            message: directory.join(format!("{id}.eml")),
            envelope: directory.join(format!("{id}.envelope")),
            text: String::new(),
            file: None,
            error: None,
        }
    }

    /// Takes the next line of an `export`.
    pub fn take(&mut self, object: &Object) {
        if self.error.is_some() {
            return;
        }
        let taken = if object.get("data").is_some() {
            self.write(object.text("data"))
        } else {
            self.begin(object)
        };
        self.error = taken.err();
    }

    fn begin(&mut self, object: &Object) -> io::Result<()> {
        describe(&mut self.text, object);
        self.file = Some(BufWriter::new(create(&self.message)?));
        Ok(())
    }

    fn write(&mut self, data: &str) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::InvalidData.into()) };
        for letter in data.chars() {
            // Each stands for a byte.
            let byte = u8::try_from(u32::from(letter)).or(Err(io::ErrorKind::InvalidData))?;
            file.write_all(&[byte])?;
        }
        Ok(())
    }

    /// Completes both files, with a `note` in the envelope if there is something to say.
    pub fn finish(mut self, note: &str) -> Result<(), Failure> {
        if !note.is_empty() {
            let _ = writeln!(self.text, "note: {note}");
        }
        let done = self.complete();
        if done.is_err() {
            self.discard();
        }
        done.map_err(|error| uncreated(&self.message, &error))
    }

    fn complete(&mut self) -> io::Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::UnexpectedEof)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        let mut envelope = create(&self.envelope)?;
        envelope.write_all(self.text.as_bytes())?;
        envelope.sync_all()
    }

    /// Takes away what was made so far.
    pub fn discard(&mut self) {
        // Only a file of our own: it was made and not found.
        if self.file.take().is_some() {
            let _ = std::fs::remove_file(&self.message);
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn describe(text: &mut String, message: &Object) {
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name}: {}", clean(value));
    };
    let number = |name| message.number(name).unwrap_or(0);
    line("id", message.text("id"));
    line("sender", &format!("<{}>", message.text("from")));
    for recipient in message.objects("recipients") {
        // One who is done has got it, or the sender has a report.
        let name = if recipient.text("state") == "done" { "done" } else { "recipient" };
        line(name, &format!("<{}>", recipient.text("to")));
    }
    if !message.text("client").is_empty() {
        line("client", message.text("client"));
    }
    if let Some(uid) = message.number("login") {
        line("login", &uid.to_string());
    }
    if !message.text("account").is_empty() {
        line("account", message.text("account"));
    }
    let mut arrival = String::new();
    let time = UnixTime { seconds: number("arrival"), trusted: true };
    // Only what it writes to could fail, and a String does not.
    let _ = write_date(&mut arrival, time, 0);
    line("arrival", &arrival);
    line("age", &number("age").to_string());
    line("size", &number("size").to_string());
    line("state", message.text("state"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::json::parse;

    const HEAD: &str = r#"{"id":"7","from":"a@b","size":4,"arrival":0,"age":1,"state":"held",
        "recipients":[{"to":"c@d","state":"pending"},{"to":"e@f","state":"done"}],
        "client":"[::1] x","login":7}"#;

    #[test]
    fn a_message_becomes_two_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        ensure_directory(&path).unwrap();
        ensure_directory(&path).unwrap();
        let export = |note: &str| {
            let mut export = Export::new(&path, "7");
            for line in [HEAD, r#"{"data":"a\r\n\u00ff"}"#, r#"{"data":"\u0000\""}"#] {
                export.take(&parse(line).unwrap());
            }
            export.finish(note)
        };
        export("lost").unwrap();
        assert_eq!(std::fs::read(path.join("7.eml")).unwrap(), b"a\r\n\xff\0\"");
        let envelope = std::fs::read_to_string(path.join("7.envelope")).unwrap();
        let expected = "id: 7\nsender: <a@b>\nrecipient: <c@d>\ndone: <e@f>\nclient: [::1] x\n\
            login: 7\narrival: Thu, 1 Jan 1970 00:00:00 +0000\nage: 1\nsize: 4\nstate: held\n\
            note: lost\n";
        assert_eq!(envelope, expected);
        assert_eq!(export("").unwrap_err().exit, Exit::CANT_CREATE);
        assert_eq!(std::fs::read(path.join("7.eml")).unwrap().len(), 6, "not written over");
    }

    #[test]
    fn what_is_not_whole_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for lines in [&[][..], &[HEAD, r#"{"data":"ā"}"#], &[r#"{"data":"x"}"#]] {
            let mut export = Export::new(directory.path(), "7");
            lines.iter().for_each(|line| export.take(&parse(line).unwrap()));
            assert!(export.finish("").is_err());
        }
        let mut export = Export::new(directory.path(), "7");
        export.take(&parse(HEAD).unwrap());
        export.discard();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(ensure_directory(&directory.path().join("a/b")).is_err());
    }
}

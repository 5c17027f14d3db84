//! A message as two files: `ID.eml`, its bytes as they are stored (CRLF, as they were submitted:
//! our Received field comes when it is sent), and `ID.envelope`, a `name: value` a line, for people
//! and scripts.
//!
//! They are the caller's own files: whoever reads an image by his own rights writes by them too,
//! and a daemon that is asked sends the bytes over its control socket, so that it never writes for
//! somebody else into a directory of his choice.
//!
//! Each is written and synced under a temporary name, `.ID.eml.new`, and then gets its own; the
//! envelope comes last. So an envelope that is there means that the message beside it is whole, and
//! what is cut off anywhere is completed when the same is done again: an `ID.eml` without an
//! envelope that is the beginning of the message is what such a cut has left, and is replaced.
//! Nothing else that is there is written over.

use super::exit::{Exit, Failure};
use super::json::Object;
use super::mailq::clean;
use crate::base::time::UnixTime;
use crate::mail::stamp::write_date;
use crate::os::folder::make_directory;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Sees to it that the directory is there; a new one is for its owner alone.
pub fn ensure_directory(directory: &Path) -> Result<(), Failure> {
    match make_directory(directory, 0o700) {
        Err(error) => Err(uncreated(directory, &error)),
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

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exported {
    /// Both files are there now.
    Made,
    /// They were there before, with the same message.
    Before,
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
        self.file = Some(BufWriter::new(create(&temporary(&self.message))?));
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
    pub fn finish(mut self, note: &str) -> Result<Exported, Failure> {
        if !note.is_empty() {
            let _ = writeln!(self.text, "note: {note}");
        }
        let done = self.complete();
        self.discard();
        done.map_err(|error| uncreated(&self.message, &error))
    }

    fn complete(&mut self) -> io::Result<Exported> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::UnexpectedEof)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        let written = temporary(&self.message);
        let is_complete = self.envelope.symlink_metadata().is_ok();
        let bytes = file.get_ref().metadata()?.len();
        match begins_like(&self.message, &written)? {
            None => {}
            Some(length) if is_complete && length == bytes => return Ok(Exported::Before),
            Some(_) if !is_complete => {}
            Some(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        }
        std::fs::rename(&written, &self.message)?;
        let written = temporary(&self.envelope);
        let mut envelope = create(&written)?;
        envelope.write_all(self.text.as_bytes())?;
        envelope.sync_all()?;
        std::fs::rename(&written, &self.envelope)?;
        Ok(Exported::Made)
    }

    /// Takes away what has no name of its own yet.
    pub fn discard(&mut self) {
        if self.file.take().is_some() {
            let _ = std::fs::remove_file(temporary(&self.message));
            let _ = std::fs::remove_file(temporary(&self.envelope));
        }
    }
}

/// The name that a file is written under.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Makes a file, in the place of what a try that was cut off has left.
fn create(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// The length of the file at `path`, if there is one; an error if it is no beginning of `whole`.
fn begins_like(path: &Path, whole: &Path) -> io::Result<Option<u64>> {
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if !found.is_file() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let (mut one, mut other) =
        (BufReader::new(File::open(path)?), BufReader::new(File::open(whole)?));
    loop {
        let (some, same) = (one.fill_buf()?, other.fill_buf()?);
        let count = some.len().min(same.len());
        if some.is_empty() {
            return Ok(Some(found.len()));
        }
        if count == 0 || some.get(..count) != same.get(..count) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        one.consume(count);
        other.consume(count);
    }
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
        assert_eq!(export("").unwrap(), Exported::Before);
        let names = |path: &Path| std::fs::read_dir(path).unwrap().count();
        assert_eq!(names(&path), 2, "nothing else is left");
        // Another message of that name stays, and so does its envelope.
        for other in [&b"a\r\n\xff\0\"more"[..], b"b", b"a"] {
            std::fs::write(path.join("7.eml"), other).unwrap();
            assert_eq!(export("").unwrap_err().exit, Exit::CANT_CREATE);
            assert_eq!(std::fs::read(path.join("7.eml")).unwrap(), other);
        }
        assert_eq!(std::fs::read_to_string(path.join("7.envelope")).unwrap(), expected);
        // What was cut off in the middle is completed, whatever it had come to.
        std::fs::remove_file(path.join("7.envelope")).unwrap();
        for left in [&b""[..], b"a\r", b"a\r\n\xff\0\""] {
            std::fs::write(path.join("7.eml"), left).unwrap();
            for name in [".7.eml.new", ".7.envelope.new"] {
                std::fs::write(path.join(name), "a half").unwrap();
            }
            assert_eq!(export("lost").unwrap(), Exported::Made);
            assert_eq!(std::fs::read(path.join("7.eml")).unwrap(), b"a\r\n\xff\0\"");
            std::fs::remove_file(path.join("7.envelope")).unwrap();
            assert_eq!(names(&path), 1);
        }
        // Without an envelope, and no beginning of it: somebody's.
        std::fs::write(path.join("7.eml"), "x").unwrap();
        assert_eq!(export("").unwrap_err().exit, Exit::CANT_CREATE);
        std::fs::remove_file(path.join("7.eml")).unwrap();
        std::os::unix::fs::symlink("/nowhere", path.join("7.eml")).unwrap();
        assert_eq!(export("").unwrap_err().exit, Exit::CANT_CREATE);
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

//! `sendmail`: takes a message from stdin and gives it to the daemon, or leaves it in the drop
//! directory while there is no daemon. Also as `msmtp`.
//!
//! [`arguments`] understands the call, [`message`] reads and frames, [`envelope`] says who it is
//! from and for, [`submission`] speaks SMTP to the daemon. With -bs the caller does that himself,
//! in a [`conversation`], or with a [`deputy`] while there is no daemon. One process, no fork, no
//! config file needed: Date, Message-ID, a missing From and the removal of Bcc are the daemon's.
//! Memory does not depend on the message. More than `TRANSACTION_RECIPIENTS_MAX` recipients are
//! several transactions.
//!
//! Exit 0 says that the message is on disk, in the queue or in the drop directory. 75 says that it
//! may not be, and the caller keeps it. The other codes are final, and name what was refused; the
//! mail has then gone to the recipients that were not named.
//!
//! Called by the name of `sendmail` or `msmtp`, `-C` and `$MOTE_HOME` count only for root and for
//! the owner of what they name (decisions 19, threats 6).

pub mod arguments;
pub mod conversation;
pub mod deputy;
pub mod ends;
pub mod envelope;
pub mod message;
pub mod outcome;
pub mod submission;

use super::exit::{Exit, Failure, finish, tell};
use super::places::Places;
use super::{Context, flush, mailq, newaliases};
use crate::mail::fields::Fields;
use crate::os::drops::{self, LeaveError};
use crate::os::process;
use crate::os::world::{drop_path, image_path};
use crate::queue::envelope::Record;
use crate::smtp::parameter::{Return, Xtext};
use crate::smtp::reply::RemoteReply;
use arguments::{Arguments, Dialect, Mode};
use envelope::Envelope;
use message::Message;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use submission::{Session, Terms, Verdict};

/// Recipients of one transaction: what every server must take (RFC 5321 §4.5.3.1.8).
const TRANSACTION_RECIPIENTS_MAX: usize = 100;
/// What may lie in the drop directory of a spool that has no image yet: an image's usual size.
const DROP_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Runs `mote sendmail` with the words after it.
pub fn run(context: Context, words: Vec<OsString>) -> ExitCode {
    dispatch(Dialect::Sendmail, context, words)
}

/// Runs what was called by the name of `sendmail`.
pub fn run_as_sendmail(mut context: Context, words: Vec<OsString>) -> ExitCode {
    context.trust_home = std::env::var_os("MOTE_HOME").is_some_and(|home| counts(home.as_ref()));
    dispatch(Dialect::Sendmail, context, words)
}

/// Runs what was called by the name of `msmtp`.
pub fn run_as_msmtp(mut context: Context, words: Vec<OsString>) -> ExitCode {
    context.trust_home = std::env::var_os("MOTE_HOME").is_some_and(|home| counts(home.as_ref()));
    dispatch(Dialect::Msmtp, context, words)
}

/// Whether the caller may choose that file or home: root, and its owner.
fn counts(path: &Path) -> bool {
    let caller = process::user_id();
    caller == 0 || std::fs::metadata(path).is_ok_and(|metadata| metadata.uid() == caller)
}

fn dispatch(dialect: Dialect, mut context: Context, words: Vec<OsString>) -> ExitCode {
    let mut arguments = match arguments::parse(dialect, words) {
        Ok(arguments) => arguments,
        Err(failure) => return finish(context.program, Err(failure)),
    };
    context.verbose |= arguments.verbose;
    if let Some(file) = arguments.config.take().filter(|file| counts(file)) {
        context.config = Some(file);
    }
    match arguments.mode {
        Mode::Submit => {
            let result = submit(&context, &arguments);
            finish(context.program, result)
        }
        Mode::Converse => finish(context.program, conversation::run(&context)),
        Mode::List => mailq::run(&context, Vec::new()),
        Mode::Flush => flush::run(&context, Vec::new()),
        Mode::Aliases => newaliases::run(&context, &[]),
    }
}

fn submit(context: &Context, arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.recipients.is_empty() && !arguments.header_recipients {
        let text = "no recipients: name them, or take them from the header with -t";
        return Err(Failure::usage(text));
    }
    let stdin = std::io::stdin().lock();
    let mut message =
        Message::read_from(stdin, arguments.dots_are_text).map_err(|error| unreadable(&error))?;
    let reads_header = arguments.header_recipients || arguments.header_sender;
    if reads_header && !message.header().is_whole {
        let text = format!("the header is longer than {} bytes", message::HELD_BYTES_MAX);
        return Err(Failure::new(Exit::DATA, text));
    }
    let envelope = Envelope::new(arguments, message.fields(), login)?;
    complete(&mut message, arguments, &envelope);

    let places = context.places()?;
    let terms = Terms {
        sender: &envelope.sender,
        size: message.size(),
        body: arguments.body,
        notify: arguments.notify,
        returns: arguments.returns,
        envelope_id: &arguments.envelope_id,
    };
    let groups: Vec<_> = envelope.recipients.chunks(TRANSACTION_RECIPIENTS_MAX).collect();
    if groups.len() > 1 {
        let keep = |error| Failure::new(Exit::TEMPORARY, format!("cannot keep the mail: {error}"));
        message.keep().map_err(keep)?;
    }
    let mut delivery =
        Delivery { context, places, session: None, reason: None, worst: None, queued: Vec::new() };
    for (number, group) in groups.iter().enumerate() {
        if number > 0 {
            message.rewind().map_err(|error| unreadable(&error))?;
        }
        let is_last = number + 1 == groups.len();
        if let Err(failure) = delivery.give(&terms, group, &mut message, is_last) {
            if let Some(before) = &delivery.worst {
                tell(context.program, &before.message);
            }
            return Err(failure);
        }
    }
    if arguments.waits {
        outcome::wait_for(context, &delivery.queued);
    }
    delivery.worst.map_or(Ok(Exit::OK), Err)
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(Exit::SYSTEM, format!("cannot read the message: {error}"))
}

/// Who calls, by the user database; a number if that does not know.
fn login() -> String {
    let uid = process::real_user_id();
    process::user_by_id(uid).map_or_else(|| format!("uid{uid}"), |user| user.name)
}

/// Puts the From first that -F asks for, if there is none.
fn complete<R: Read>(message: &mut Message<R>, arguments: &Arguments, envelope: &Envelope) {
    let Some(name) = arguments.full_name.as_ref().filter(|name| !name.trim_ascii().is_empty())
    else {
        return;
    };
    let has_from = Fields::new(message.fields()).any(|field| field.name_is("From"));
    if !has_from && !envelope.sender.is_empty() {
        message.prepend(envelope::from_field(name, &envelope.sender).as_bytes());
    }
}

/// One call's way to the daemon.
struct Delivery<'a> {
    context: &'a Context,
    places: Places,
    session: Option<Session>,
    /// Why the daemon is not asked (any more).
    reason: Option<String>,
    /// What some recipients were refused with.
    worst: Option<Failure>,
    /// Ids of what the daemon has taken.
    queued: Vec<String>,
}

impl Delivery<'_> {
    /// Gives the message to the daemon for these recipients; else leaves it.
    fn give<R: Read>(
        &mut self,
        terms: &Terms,
        recipients: &[String],
        message: &mut Message<R>,
        is_last: bool,
    ) -> Result<(), Failure> {
        if self.session.is_none() && self.reason.is_none() {
            self.connect();
        }
        let Some(session) = &mut self.session else {
            return self.leave(terms, recipients, message);
        };
        match session.submit(terms, recipients, message, is_last) {
            Verdict::Queued(reply, refusals) => {
                let reply = reply.to_string();
                self.say(&reply);
                self.queued.extend(outcome::id_of(&reply).map(str::to_owned));
                for (place, reply) in refusals {
                    self.refused(recipients.get(place), &reply);
                }
                Ok(())
            }
            // DATA was not answered with 354, or with no recipient behind it: what state the
            // session is in is of no interest; the next transaction has a fresh one.
            Verdict::NoRecipients(refusals) => {
                self.session = None;
                for (place, reply) in refusals {
                    self.refused(recipients.get(place), &reply);
                }
                Ok(())
            }
            Verdict::Refused(reply) => {
                Err(Failure::new(exit_for_mail(&reply), format!("the mail was refused: {reply}")))
            }
            Verdict::NotNow(reason) => {
                self.session = None;
                self.reason = Some(reason);
                self.leave(terms, recipients, message)
            }
            Verdict::Lost(reason) => {
                let text = format!("lost the daemon while it took the mail: {reason}");
                Err(Failure::new(Exit::TEMPORARY, text))
            }
            Verdict::Unreadable(error) => Err(unreadable(&error)),
        }
    }

    /// Connects to the first daemon that answers.
    fn connect(&mut self) {
        let greeted = Session::first(&self.places.submit);
        let opened = greeted.and_then(|(mut session, _)| session.hello().map(|()| session));
        match opened {
            Ok(session) => self.session = Some(session),
            Err(reason) => self.reason = Some(reason),
        }
    }

    /// Leaves the message in the drop directory, for a daemon to come.
    fn leave<R: Read>(
        &self,
        terms: &Terms,
        recipients: &[String],
        message: &mut Message<R>,
    ) -> Result<(), Failure> {
        let reason = self.reason.as_deref().unwrap_or_default();
        let Some((directory, bytes_max)) = drop_room(&self.places) else {
            return Err(Failure::new(Exit::TEMPORARY, leave_reason(reason)));
        };
        let envelope = records(terms, recipients);
        let place = directory.display();
        match drops::leave(&directory, bytes_max, &envelope, message) {
            Ok(_) => {
                self.say(&format!("{reason}; left in {place}"));
                Ok(())
            }
            Err(LeaveError::Message(error)) => Err(unreadable(&error)),
            Err(error) => {
                let text = format!("{reason}, and {place} does not take the mail: {error}");
                Err(Failure::new(Exit::TEMPORARY, text))
            }
        }
    }

    /// Tells of a refused recipient at once, and remembers to exit with it.
    fn refused(&mut self, recipient: Option<&String>, reply: &RemoteReply) {
        let recipient = recipient.map_or("", String::as_str);
        let failure =
            Failure::new(exit_for_recipient(reply), format!("<{recipient}> was refused: {reply}"));
        // The last is told by whoever ends the program.
        if let Some(before) = self.worst.replace(failure) {
            tell(self.context.program, &before.message);
        }
    }

    fn say(&self, text: &str) {
        if self.context.verbose {
            tell(self.context.program, text);
        }
    }
}

/// The drop directory, and how much may lie there.
fn drop_room(places: &Places) -> Option<(PathBuf, u64)> {
    let has_drops = |spool: &&PathBuf| is_drop_directory(&drop_path(spool));
    let spool = places.spools.iter().find(has_drops)?;
    let image = std::fs::metadata(image_path(spool));
    Some((drop_path(spool), image.map_or(DROP_BYTES_MAX, |image| image.len())))
}

fn leave_reason(reason: &str) -> String {
    format!("{reason}, and there is no drop directory to leave the mail in")
}

/// A directory, not a link to one, of somebody who may be trusted with mail.
fn is_drop_directory(path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_dir() && process::is_trusted_owner(metadata.uid()))
}

/// The envelope as it lies in a drop file.
fn records(terms: &Terms, recipients: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let id = Xtext::parse(terms.envelope_id.as_bytes()).map(|id| id.to_string());
    let id = id.as_deref().filter(|id| !id.is_empty());
    let returns =
        terms.returns.map(|what| Record::Return(if what == Return::Full { 1 } else { 2 }));
    let sender = core::iter::once(Record::Sender(terms.sender.as_bytes()))
        .chain(returns)
        .chain(id.map(|id| Record::EnvelopeId(id.as_bytes())));
    let notify = terms.notify.map(|notify| Record::Notify(notify.bits()));
    let recipients = recipients
        .iter()
        .flat_map(|recipient| notify.into_iter().chain([Record::Recipient(recipient.as_bytes())]));
    // The daemon takes it only if the file belongs to that user.
    let login = core::iter::once(Record::Login(process::user_id()));
    for record in sender.chain(recipients).chain(login) {
        let _: Result<(), core::convert::Infallible> = record.encode(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
    }
    bytes
}

/// A refusal of a recipient, as sysexits know it.
fn exit_for_recipient(reply: &RemoteReply) -> Exit {
    let detail = reply.status.map(|status| (status.subject, status.detail));
    match (reply.code, detail) {
        // RFC 3463 §3.8: policy, as relaying denied.
        (_, Some((7, _))) => Exit::PERMISSION,
        // RFC 3463 §3.2: the address is malformed, or ambiguous.
        (501 | 553 | 555, _) | (_, Some((1, 3 | 4) | (5, _))) => Exit::DATA,
        _ => Exit::NO_USER,
    }
}

/// A refusal of the sender, or of the message as a whole.
fn exit_for_mail(reply: &RemoteReply) -> Exit {
    match (reply.code, reply.status.map(|status| status.subject)) {
        (_, Some(7)) | (530 | 550, None) => Exit::PERMISSION,
        (500..=504, None | Some(5)) => Exit::UNAVAILABLE,
        _ => Exit::DATA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::envelope::RecordReader;
    use crate::smtp::parameter::Notify;
    use crate::smtp::reply::{Parsed, ReplyParser};

    fn reply(line: &str) -> RemoteReply {
        let mut parser = ReplyParser::new();
        let line = format!("{line}\r\n");
        let (_, parsed) = parser.step(line.as_bytes());
        assert!(matches!(parsed, Parsed::Line { is_last: true, .. }));
        parser.take()
    }

    #[test]
    fn refusals_and_their_codes() {
        for (line, exit) in [
            ("550 5.1.1 No such user here", Exit::NO_USER),
            ("551 moved", Exit::NO_USER),
            ("501 5.1.3 Not an address", Exit::DATA),
            ("550 5.1.3 The local part names another host", Exit::DATA),
            ("553 no", Exit::DATA),
            ("550 5.7.1 You may not", Exit::PERMISSION),
        ] {
            assert_eq!(exit_for_recipient(&reply(line)), exit, "{line}");
        }
        for (line, exit) in [
            ("552 5.3.4 larger", Exit::DATA),
            ("501 5.1.7 Not an address", Exit::DATA),
            ("554 5.4.6 loop", Exit::DATA),
            ("550 5.7.1 no", Exit::PERMISSION),
            ("503 5.5.1 no", Exit::UNAVAILABLE),
        ] {
            assert_eq!(exit_for_mail(&reply(line)), exit, "{line}");
        }
    }

    #[test]
    fn records_are_read_back() {
        let terms = Terms {
            notify: Some(Notify::NEVER),
            returns: Some(Return::Full),
            envelope_id: "a+2Bb",
            ..Terms::default()
        };
        let bytes = records(&terms, &["a@x".to_owned(), "root".to_owned()]);
        let mut reader = RecordReader::new();
        let mut found = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let taken = reader.step(rest).unwrap();
            if reader.is_complete() {
                found.push(format!("{:?}", reader.record().unwrap()));
            }
            rest = &rest[taken..];
        }
        let expected = [
            Record::Sender(b""),
            Record::Return(1),
            Record::EnvelopeId(b"a+b"),
            Record::Notify(0),
            Record::Recipient(b"a@x"),
            Record::Notify(0),
            Record::Recipient(b"root"),
            Record::Login(process::user_id()),
        ];
        assert_eq!(found, expected.map(|record| format!("{record:?}")));
        assert!(reader.is_between());
    }
}

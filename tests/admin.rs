//! The administrator's side through the binary: the queue with a daemon and without, dead and
//! damaged images, and a spool whose size is changed.

// A test may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "admin/offline.rs"]
mod offline;

use mote::base::ascii::parse_base62;
use mote::os::image_reader::ImageReader;
use mote::queue::block::{Data, Foreign, Seal, read_data, read_identity};
use mote::queue::disk::BLOCK_BYTES;
use mote::queue::layout;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A config whose mail stays in the queue, a run directory and a spool.
struct Place {
    folder: tempfile::TempDir,
}

/// What came of a command.
#[derive(Debug, PartialEq)]
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new(lines: &str) -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        place.configure(lines);
        place
    }

    fn configure(&self, lines: &str) {
        let folder = self.folder.path().display();
        let text = format!(
            "hostname = mote.test\nlisten = off\nrelay = hold\nspool = {folder}/spool\n\
             run = {folder}/run\n{lines}\n"
        );
        fs::write(self.path("mote.conf"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.path("spool/queue")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mote"));
        command.env_clear().arg("-C").arg(self.path("mote.conf")).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str]) -> Outcome {
        let output = self.command(words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        Outcome { code, out: text(output.stdout), err: text(output.stderr) }
    }

    fn serve(&self) -> Daemon {
        self.watch(self.command(&["serve"]))
    }

    fn watch(&self, mut command: Command) -> Daemon {
        let log = fs::File::create(self.path("log")).unwrap();
        command.stderr(log).stdout(Stdio::null());
        let mut daemon = Daemon(command.spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(20);
        // The last line of what it says at its start.
        while !self.log().contains("local mail: ") {
            let has_ended = daemon.0.try_wait().unwrap().is_some();
            assert!(Instant::now() < end && !has_ended, "{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Hands a mail in, and gives its id.
    fn send(&self, text: &str) -> String {
        let before = self.ids();
        let mut command =
            self.command(&["sendmail", "-i", "-f", "me@mote.test", "you@example.net"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        self.ids().into_iter().find(|id| !before.contains(id)).unwrap()
    }

    /// In the order they came.
    fn ids(&self) -> Vec<String> {
        let listed = self.run(&["queue", "ls", "--json"]);
        assert_eq!(listed.code, 0, "{listed:?}");
        let id = |line: &str| line.split('"').nth(3).unwrap().to_owned();
        let mut ids: Vec<String> = listed.out.lines().map(id).collect();
        ids.sort_by_key(|id| parse_base62(id));
        ids
    }

    fn state(&self, id: &str) -> String {
        let shown = self.run(&["queue", "show", id]);
        let state = shown.out.lines().find_map(|line| line.strip_prefix("state   "));
        state.unwrap_or_else(|| panic!("{shown:?}")).to_owned()
    }

    /// Spoils bytes of the image.
    fn spoil(&self, block: u32, at: usize) {
        let mut bytes = fs::read(self.image()).unwrap();
        bytes[block as usize * BLOCK_BYTES + at] ^= 0x40;
        fs::write(self.image(), bytes).unwrap();
    }

    /// A block in the middle of a message.
    fn body(&self) -> u32 {
        let bytes = fs::read(self.image()).unwrap();
        let block = |number: u32| -> [u8; BLOCK_BYTES] {
            bytes[number as usize * BLOCK_BYTES..][..BLOCK_BYTES].try_into().unwrap()
        };
        let seal: Result<Seal, Foreign> = read_identity(&block(layout::IDENTITY));
        let seal = seal.ok().unwrap();
        let slots = layout::slots_in((bytes.len() / BLOCK_BYTES) as u32);
        let is_body = |number: &u32| {
            let data = read_data(*number, &block(*number), &seal);
            matches!(data, Some((Data::Body { index: 1, .. }, _)))
        };
        (0..slots).map(layout::block_of).find(is_body).unwrap()
    }
}

struct Daemon(Child);

impl Daemon {
    /// SIGKILL: stopping is crashing.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const MAIL: &str = "Subject: one\nX-Long: a\n\tb\n\n.\nbody \u{e9}\n";

#[test]
fn a_mail_is_shown_and_exported_alike_with_a_daemon_and_without() {
    let place = Place::new("");
    let daemon = place.serve();
    let id = place.send(MAIL);
    let check = |directory: &str| {
        let shown = place.run(&["queue", "show", &id]).out;
        for line in ["from    <me@mote.test>", "to      <you@example.net> pending", "login   "] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        assert!(shown.contains("header  Subject: one\n        X-Long: a\n"), "{shown}");
        assert!(!shown.contains("body"), "{shown}");
        let path = place.path(directory);
        let exported = place.run(&["queue", "export", &id, path.to_str().unwrap()]);
        assert_eq!(exported.code, 0, "{exported:?}");
        let message = fs::read(path.join(format!("{id}.eml"))).unwrap();
        let text = String::from_utf8_lossy(&message).into_owned();
        assert!(
            text.ends_with("Subject: one\r\nX-Long: a\r\n\tb\r\n\r\n.\r\nbody \u{e9}\r\n"),
            "{text}"
        );
        let envelope = fs::read_to_string(path.join(format!("{id}.envelope"))).unwrap();
        assert!(envelope.contains("sender: <me@mote.test>\nrecipient: <you@example.net>\n"));
        let again = place.run(&["queue", "export", "all", path.to_str().unwrap()]);
        assert_eq!(again.code, 73, "nothing is written over: {again:?}");
        message
    };
    let message = check("one");
    daemon.kill();
    let before = fs::read(place.image()).unwrap();
    assert!(check("two") == message);
    assert!(place.run(&["mailq"]).out.contains("you@example.net"));
    assert!(fs::read(place.image()).unwrap() == before, "looking has written");
    assert_eq!(place.run(&["queue", "show", "nosuch"]).code, 65);
    for words in [["queue", "retry", &id], ["queue", "bounce", &id]] {
        let outcome = place.run(&words);
        assert!(outcome.code == 75 && outcome.err.contains("daemon is not running"), "{outcome:?}");
    }
}

#[test]
fn holds_releases_and_removals_last_with_a_daemon_and_without() {
    let place = Place::new("");
    let daemon = place.serve();
    let ids: Vec<String> = (0..4).map(|_| place.send(MAIL)).collect();
    let done = |words: &[&str]| {
        let outcome = place.run(words);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    };
    done(&["queue", "hold", &ids[0], &ids[1]]);
    done(&["queue", "rm", &ids[3]]);
    daemon.kill();
    assert_eq!(place.ids(), ids[..3]);
    assert_eq!((place.state(&ids[0]), place.state(&ids[1])), ("held".into(), "held".into()));
    // Without a daemon nothing is tried.
    assert_eq!(place.state(&ids[2]), "waiting");
    done(&["queue", "release", &ids[0]]);
    done(&["queue", "hold", &ids[2]]);
    done(&["queue", "rm", &ids[1]]);
    let missing = place.run(&["queue", "rm", &ids[1]]);
    assert_eq!(missing.code, 65, "{missing:?}");
    let _daemon = place.serve();
    assert_eq!(place.ids(), [ids[0].clone(), ids[2].clone()]);
    done(&["queue", "rm", "all"]);
    assert!(place.ids().is_empty());
}

/// What a cut between the commit of an import and the removal of its file leaves.
#[test]
fn who_is_removed_does_not_come_in_again_by_his_drop_file() {
    let place = Place::new("");
    place.serve().kill();
    let mut command = place.command(&["sendmail", "-f", "me@mote.test", "you@example.net"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(MAIL.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let files = || -> Vec<PathBuf> {
        fs::read_dir(place.path("spool/drop")).unwrap().map(|file| file.unwrap().path()).collect()
    };
    let left = files().pop().unwrap();
    let bytes = fs::read(&left).unwrap();
    let daemon = place.serve();
    let end = Instant::now() + Duration::from_secs(20);
    while place.ids().is_empty() || !files().is_empty() {
        assert!(Instant::now() < end, "{}", place.log());
    }
    daemon.kill();
    fs::write(&left, bytes).unwrap();
    let id = place.ids().pop().unwrap();
    assert_eq!(place.run(&["queue", "rm", &id]).code, 0);
    assert!(files().is_empty());
    let _daemon = place.serve();
    assert!(place.ids().is_empty());
}

#[test]
fn a_start_takes_old_litter_out_of_the_maildir() {
    let place = Place::new("");
    place.configure(&format!("[route *]\nvia = maildir:{}", place.path("Maildir").display()));
    fs::create_dir_all(place.path("Maildir/tmp")).unwrap();
    let days = std::time::SystemTime::now() - Duration::from_secs(3 * 86_400);
    for name in ["1.a.b.0", "1.a.b.not-ours"] {
        let file = fs::File::create(place.path("Maildir/tmp").join(name)).unwrap();
        file.set_modified(days).unwrap();
    }
    let _daemon = place.serve();
    assert!(!place.path("Maildir/tmp/1.a.b.0").exists());
    assert!(place.path("Maildir/tmp/1.a.b.not-ours").exists());
}

#[test]
fn a_daemon_that_starts_waits_for_those_who_only_look() {
    let place = Place::new("");
    place.serve().kill();
    let reader = ImageReader::open(&place.image()).unwrap();
    let image = place.image();
    let leaves = std::thread::spawn(move || {
        while ImageReader::open(&image).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(reader);
    });
    let _daemon = place.serve();
    leaves.join().unwrap();
    let outcome = place.run(&["serve"]);
    assert!(outcome.code == 75 && outcome.err.contains("is already working on it"), "{outcome:?}");
}

#[test]
fn a_mail_goes_back_to_its_sender() {
    let place = Place::new("");
    let _daemon = place.serve();
    let id = place.send(MAIL);
    assert_eq!(place.run(&["queue", "hold", &id]).code, 0);
    let start = Instant::now();
    let outcome = place.run(&["queue", "bounce", "all"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(start.elapsed() < Duration::from_secs(3), "answered when it was durable");
    let ids = place.ids();
    assert!(ids.len() == 1 && ids[0] != id, "{ids:?}");
    let path = place.path("out");
    assert_eq!(place.run(&["queue", "export", &ids[0], path.to_str().unwrap()]).code, 0);
    let report = fs::read_to_string(path.join(format!("{}.eml", ids[0]))).unwrap();
    assert!(report.contains("To: <me@mote.test>\r\n"), "{report}");
    assert!(report.contains("returns it to you."), "{report}");
    assert!(report.contains("x-mote; returned by the administrator\r\n"), "{report}");
    assert!(report.contains("Subject: one\r\n"), "{report}");
    let envelope = fs::read_to_string(path.join(format!("{}.envelope", ids[0]))).unwrap();
    assert!(envelope.contains("sender: <>\nrecipient: <me@mote.test>\n"), "{envelope}");
    // A report has nobody to go back to.
    assert_eq!(place.run(&["queue", "bounce", &ids[0]]).code, 0);
    assert!(place.ids().is_empty());
    assert_eq!(place.run(&["queue", "bounce", &id]).code, 65);
    assert!(place.log().contains("status=returned (returned by the administrator)"));
}

#[test]
fn images_that_are_whole_damaged_or_none() {
    let place = Place::new("spool-size = 256K");
    let daemon = place.serve();
    let long = format!("Subject: long\n\n{}", "0123456789\n".repeat(2000));
    let ids = [place.send(MAIL), place.send(&long), place.send(MAIL), place.send(MAIL)];
    assert_eq!(place.run(&["spool", "check"]).code, 75, "the daemon works on it");
    daemon.kill();
    let image = place.image();
    let image = image.to_str().unwrap();
    let whole = fs::read(image).unwrap();
    let outcome = place.run(&["spool", "check"]);
    assert!(outcome.code == 0 && outcome.out.contains("4 messages whole"), "{outcome:?}");
    assert_eq!(place.run(&["spool", "check", image]).out, outcome.out);
    let check = |words: &[&str]| {
        let before = fs::read(image).unwrap();
        let outcome = place.run(&["spool", "check", image]);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        words.iter().for_each(|word| assert!(outcome.out.contains(word), "{word}: {outcome:?}"));
        assert!(fs::read(image).unwrap() == before);
    };
    let salvage = |name: &str, saved: usize| {
        let directory = place.path(name);
        let outcome = place.run(&["spool", "salvage", image, directory.to_str().unwrap()]);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2 * saved, "{outcome:?}");
        directory
    };
    let part = place.body();

    place.spoil(0, 100);
    place.spoil(layout::IDENTITY, 40);
    check(&["superblock, block 0: its seal", "identity, block 2: its seal", "4 messages whole"]);
    salvage("roots", 4);

    place.spoil(part, 3000);
    let (named, block) = (format!("message {}, slot ", ids[1]), format!("part 2, block {part}: "));
    check(&[&named, &block, "its seal does not hold", "3 messages whole", "1 damaged"]);
    let directory = salvage("part", 3);
    assert!(!directory.join(format!("{}.eml", ids[1])).exists());
    assert!(directory.join(format!("{}.eml", ids[3])).exists());

    place.spoil(3, 2000);
    place.spoil(4, 2000);
    check(&["state of group 0, block 3: both copies are lost"]);
    let directory = salvage("blind", 3);
    let envelope = fs::read_to_string(directory.join(format!("{}.envelope", ids[0]))).unwrap();
    assert!(envelope.contains("note: its state is lost: recipients may have got it"), "{envelope}");

    fs::write(image, &whole[..whole.len() / 2]).unwrap();
    check(&["image, block 32: the file ends here"]);

    place.spoil(0, 100);
    place.spoil(1, 100);
    place.spoil(2, 100);
    assert_eq!(place.run(&["spool", "check"]).code, 65);
    fs::write(image, "no image").unwrap();
    let directory = place.path("none");
    let outcome = place.run(&["spool", "salvage", image, directory.to_str().unwrap()]);
    assert_eq!(outcome.code, 65, "{outcome:?}");
    assert!(!directory.exists());
    assert_eq!(place.run(&["spool", "check", "/nowhere/queue"]).code, 66);
    for words in [&["spool"][..], &["spool", "check", "a", "b"], &["spool", "mend"]] {
        assert_eq!(place.run(words).code, 64, "{words:?}");
    }
}

#[test]
fn the_spool_follows_its_size() {
    let place = Place::new("spool-size = 256K");
    let length = || fs::metadata(place.image()).unwrap().len();
    let daemon = place.serve();
    let id = place.send(MAIL);
    let filling = format!("Subject: x\n\n{}", "0123456789\n".repeat(10_000));
    daemon.kill();
    assert_eq!(length(), 256 << 10);

    place.configure("spool-size = 2M");
    let daemon = place.serve();
    assert!(place.log().contains("grown from 256 to 2048 KiB"), "{}", place.log());
    assert_eq!((length(), place.ids()), (2 << 20, vec![id.clone()]));
    for _ in 0..12 {
        place.send(&filling);
    }
    daemon.kill();

    place.configure("spool-size = 300K");
    let daemon = place.serve();
    assert!(place.log().contains("it stays at 2048 KiB"), "{}", place.log());
    assert_eq!(place.ids().len(), 13);
    assert_eq!(place.run(&["queue", "rm", "all"]).code, 0);
    daemon.kill();

    let daemon = place.serve();
    assert!(place.log().contains("shrunk from 2048 to 300 KiB"), "{}", place.log());
    assert_eq!(length(), 300 << 10);
    place.send(MAIL);
    daemon.kill();
    assert_eq!(place.run(&["spool", "check"]).code, 0);
}

/// It stayed for ever, and was told as the spool's size.
#[test]
fn what_a_power_cut_left_of_growing_is_given_back() {
    let place = Place::new("spool-size = 256K");
    let length = || fs::metadata(place.image()).unwrap().len();
    let grow_by_a_cut = || {
        let image = fs::File::options().write(true).open(place.image()).unwrap();
        image.set_len(3 << 20).unwrap();
    };
    let daemon = place.serve();
    let id = place.send(MAIL);
    daemon.kill();
    grow_by_a_cut();
    place.configure("spool-size = 4M");
    let mut command = Command::new("sh");
    // A disk of 3 MiB, as far as this process is concerned.
    command.args(["-c", "trap '' XFSZ; ulimit -f 6144; exec \"$@\"", "sh"]);
    let serve = place.command(&["serve"]);
    command.arg(serve.get_program()).args(serve.get_args());
    let daemon = place.watch(command);
    assert!(place.log().contains("the spool stays at 256 KiB"), "{}", place.log());
    assert_eq!((length(), place.ids()), (256 << 10, vec![id.clone()]));
    daemon.kill();
    grow_by_a_cut();
    place.configure("");
    let daemon = place.serve();
    assert_eq!((length(), place.ids()), (256 << 10, vec![id.clone()]));
    daemon.kill();
    grow_by_a_cut();
    place.configure("spool-size = 2M");
    let daemon = place.serve();
    assert!(place.log().contains("grown from 256 to 2048 KiB"), "{}", place.log());
    assert_eq!((length(), place.ids()), (2 << 20, vec![id]));
    daemon.kill();
    assert_eq!(place.run(&["spool", "check"]).code, 0);
}

/// Behind an id that was not there the others were not changed, nor was it said which one it was.
#[test]
fn one_id_that_is_gone_kept_the_others_from_being_removed() {
    let place = Place::new("");
    let _daemon = place.serve();
    let ids: Vec<String> = (0..3).map(|_| place.send(MAIL)).collect();
    let mut words = vec!["queue", "rm", &ids[0], "gone"];
    words.extend(std::iter::repeat_n(ids[0].as_str(), 40));
    words.extend([ids[1].as_str(), "lost"]);
    let outcome = place.run(&words);
    assert_eq!(outcome.code, 65, "{outcome:?}");
    for id in ["gone", "lost"] {
        assert!(outcome.err.contains(&format!("mote: {id}: not in the queue\n")), "{outcome:?}");
    }
    assert_eq!(place.ids(), ids[2..]);
    let outcome = place.run(&["queue", "rm", &ids[0], "all"]);
    assert!(outcome.code == 64 && outcome.err.contains("'all' and ids at once"), "{outcome:?}");
    assert_eq!(place.ids(), ids[2..]);
}

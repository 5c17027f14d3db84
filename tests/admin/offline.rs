//! The offline tools where they are hard to use: many ids, small machines, files that are no
//! spools, and daemons that start meanwhile.

use super::{MAIL, Outcome, Place};
use mote::os::image_reader::ImageReader;
use mote::queue::disk::BLOCK_BYTES;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

impl Place {
    /// Hands a mail in, and does not look for it.
    fn leave(&self, text: &str) {
        let mut command = self.command(&["sendmail", "-f", "me@mote.test", "you@example.net"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn age(&self) -> u64 {
        let listed = self.run(&["queue", "ls", "--json"]).out;
        let age = listed.split("\"age\":").nth(1).unwrap();
        age.split(',').next().unwrap().parse().unwrap()
    }

    fn epoch(&self) -> u64 {
        let checked = self.run(&["spool", "check"]).out;
        checked.split("epoch ").nth(1).unwrap().lines().next().unwrap().parse().unwrap()
    }
}

#[test]
fn changes_of_many_ids_are_one_opening_and_age_no_mail() {
    let place = Place::new("");
    let daemon = place.serve();
    let id = place.send(MAIL);
    daemon.kill();
    let (age, epoch) = (place.age(), place.epoch());
    let mut words = vec!["queue", "hold"];
    words.extend(std::iter::repeat_n(id.as_str(), 100));
    for (count, verb) in ["hold", "release", "hold", "release"].into_iter().enumerate() {
        words[1] = verb;
        assert_eq!(place.run(&words).code, 0);
        assert_eq!((place.age(), place.epoch()), (age, epoch + 1 + count as u64));
    }
    let daemon = place.serve();
    assert!(place.age() >= age + 60, "a start counts");
    daemon.kill();
}

#[test]
fn a_long_look_gives_way_to_a_daemon_that_starts() {
    let place = Place::new("");
    let daemon = place.serve();
    let text = format!("Subject: long\n\n{}", "0123456789\n".repeat(10_000));
    (0..60).for_each(|_| place.leave(&text));
    daemon.kill();
    let directory = place.path("out");
    let words = ["queue", "export", "all", directory.to_str().unwrap()];
    let export = place.command(&words).spawn().unwrap();
    let pid = export.id().to_string();
    let signal = |name: &str| {
        Command::new("kill").args([name, &pid]).status().unwrap();
    };
    let end = Instant::now() + Duration::from_secs(20);
    while fs::read_dir(&directory).map_or(0, Iterator::count) < 2 {
        assert!(Instant::now() < end);
    }
    signal("-STOP");
    std::thread::scope(|scope| {
        let starts = scope.spawn(|| place.serve());
        while ImageReader::open(&place.image()).is_ok() {
            assert!(Instant::now() < end, "{}", place.log());
        }
        signal("-CONT");
        let _daemon = starts.join().unwrap();
        let outcome = export.wait_with_output().unwrap();
        assert!(outcome.status.success(), "{outcome:?}");
    });
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 120, "the daemon told the rest");
}

#[test]
fn a_salvage_that_was_cut_off_goes_on() {
    let place = Place::new("spool-size = 256K");
    let daemon = place.serve();
    let ids = [place.send(MAIL), place.send(MAIL)];
    daemon.kill();
    let directory = place.path("out");
    let message = directory.join(format!("{}.eml", ids[0]));
    let salvage = || place.run(&["spool", "salvage", directory.to_str().unwrap()]);
    fs::create_dir(&directory).unwrap();
    fs::write(&message, "Received: ").unwrap();
    fs::write(directory.join(format!(".{}.eml.new", ids[1])), "Rec").unwrap();
    let refused = salvage();
    // It begins otherwise, so it is somebody's.
    let whole = fs::read(directory.join(format!("{}.eml", ids[1]))).unwrap();
    if !whole.starts_with(b"Received: ") {
        assert_eq!(refused.code, 1, "{refused:?}");
    }
    fs::write(&message, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(salvage().code, 0);
    let again = salvage();
    assert!(again.code == 0 && again.out.contains("2 were there already"), "{again:?}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 4);
    assert_eq!(fs::read(message).unwrap().len(), whole.len());
}

#[test]
fn a_file_larger_than_memory_or_than_any_spool_is_refused_with_its_size() {
    let place = Place::new("spool-size = 256K");
    place.serve().kill();
    let image = place.image();
    let mut bytes = fs::read(&image).unwrap();
    bytes[..2 * BLOCK_BYTES].fill(0);
    fs::write(&image, bytes).unwrap();
    let file = fs::File::options().write(true).open(&image).unwrap();
    let (small, large) = (60u64 << 30, 400u64 << 30);
    if file.set_len(large).is_err() {
        println!("skipped: no sparse file of 400 GiB here");
        return;
    }
    let limited = |words: &str| {
        let (mote, config) = (env!("CARGO_BIN_EXE_mote"), place.path("mote.conf"));
        let line = format!("ulimit -v 500000; exec {mote} -C {} {words}", config.display());
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        Outcome { code, out: text(output.stdout), err: text(output.stderr) }
    };
    let outcome = limited("spool check");
    assert!(outcome.code == 65 && outcome.err.contains("400 GiB"), "{outcome:?}");
    file.set_len(small).unwrap();
    for words in ["spool check", "spool salvage /tmp", "queue ls"] {
        let outcome = limited(words);
        assert!(outcome.code == 71 && outcome.err.contains("raise the limit"), "{outcome:?}");
    }
}

#[test]
fn an_empty_file_is_called_that() {
    let place = Place::new("spool-size = 256K");
    place.serve().kill();
    let bytes = fs::read(place.image()).unwrap();
    for (count, words) in [(0, "the file is empty"), (100, "the file has 100 bytes")] {
        fs::write(place.image(), &bytes[..count]).unwrap();
        for command in
            [&["serve"][..], &["queue", "ls"], &["queue", "rm", "all"], &["spool", "check"]]
        {
            let outcome = place.run(command);
            assert!(outcome.err.contains(words), "{command:?}: {outcome:?}");
            assert!(outcome.err.contains("remove it"), "{command:?}: {outcome:?}");
        }
        assert_eq!(fs::read(place.image()).unwrap().len(), count);
    }
    // Any other file is not for removal.
    fs::write(place.image(), vec![0; bytes.len()]).unwrap();
    let outcome = place.run(&["serve"]);
    assert!(outcome.err.contains("move it away"), "{outcome:?}");
}

#[test]
fn an_image_that_others_may_write_is_told_of_and_served() {
    let place = Place::new("spool-size = 256K");
    place.serve().kill();
    assert!(!place.log().contains("others may"), "{}", place.log());
    for (mode, words) in
        [(0o666, "forge and read mail (mode 0666"), (0o755, "read mail (mode 0755")]
    {
        fs::set_permissions(place.image(), fs::Permissions::from_mode(mode)).unwrap();
        place.serve().kill();
        assert!(place.log().contains(words), "{}", place.log());
        assert!(place.log().contains("chmod 600"), "{}", place.log());
    }
}

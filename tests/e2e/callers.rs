//! Programs that others wrote and that call `sendmail`, as they are: what they hand in goes out by
//! one sender to one reader, and is legal at the next hop.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::instance::{Mote, Place, binary};
use crate::load::{shared, wait_for};
use crate::next_hop::NextHop;
use crate::peers::{command, skipped};

/// A daemon, its next hop, and a `sendmail` that finds it.
struct Scene {
    place: Place,
    _mote: Mote,
    hop: NextHop,
}

impl Scene {
    fn new() -> Scene {
        let hop = NextHop::start(&["PIPELINING", "8BITMIME"]);
        let place = Place::new(&format!(
            "relay = smtp://127.0.0.1:{}\nfrom = router@example.net\nto = me@example.net\n\
             aliases = off",
            hop.port
        ));
        let mote = place.serve();
        let scene = Scene { place, _mote: mote, hop };
        let sendmail = scene.sendmail();
        let text = format!(
            "#!/bin/sh\nexec {} -C {} sendmail \"$@\"\n",
            binary().display(),
            scene.place.config().display()
        );
        fs::write(&sendmail, text).unwrap();
        fs::set_permissions(sendmail, Permissions::from_mode(0o755)).unwrap();
        scene
    }

    fn sendmail(&self) -> PathBuf {
        self.place.path("sendmail")
    }

    /// Runs a program with its input, and tells what came out at the next hop.
    #[track_caller]
    fn run(&self, program: &mut Command, input: &str) -> String {
        let path = self.place.path("input");
        fs::write(&path, input).unwrap();
        program.env("HOME", self.place.path("")).stdin(fs::File::open(path).unwrap());
        let output = program.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program:?}: {said}");
        self.sent(Duration::from_secs(20))
    }

    #[track_caller]
    fn sent(&self, limit: Duration) -> String {
        wait_for("the mail", limit, || self.hop.heard_of("Received: ").len() == 1);
        assert_eq!(self.hop.heard_of("RCPT"), ["RCPT TO:<me@example.net>"]);
        assert!(self.hop.heard_of("MAIL")[0].starts_with("MAIL FROM:<router@example.net>"));
        let message = self.hop.heard_of("Received: ").remove(0);
        assert!(message.contains("\r\n <router@example.net>\r\n"), "{message}");
        let to = message.lines().find(|line| line.starts_with("To: ")).unwrap();
        let is_there = ["To: me@example.net", "To: root <me@example.net>"].contains(&to);
        assert!(is_there, "{message}");
        message
    }
}

#[test]
fn s_nail() {
    let _running = shared();
    let Some(mut program) = command("s-nail", "s-nail") else { return };
    let scene = Scene::new();
    program.args(["-n", "-s", "by s-nail", "-S"]);
    program.arg(format!("mta={}", scene.sendmail().display())).arg("root");
    let message = scene.run(&mut program, "The body.\n.\nThe end.\n");
    assert!(message.contains("\r\nSubject: by s-nail\r\n"), "{message}");
    assert!(message.contains("\r\n..\r\nThe end.\r\n"), "{message}");
}

#[test]
fn mutt() {
    let _running = shared();
    let Some(mut program) = command("mutt", "mutt") else { return };
    let scene = Scene::new();
    program.args(["-n", "-F", "/dev/null", "-e"]);
    program.arg(format!("set sendmail='{} -oem -oi'", scene.sendmail().display()));
    program.args(["-e", "set copy=no; set hostname=mote.test", "-s", "by mutt", "--", "root"]);
    let message = scene.run(&mut program, "The body.\n");
    assert!(message.contains("\r\nSubject: by mutt\r\n"), "{message}");
}

#[test]
fn perl() {
    let _running = shared();
    let Some(mut program) = command("perl", "perl") else { return };
    let scene = Scene::new();
    let script = "open(M, '|-', $ARGV[0], '-t', '-oi') or die; print M <STDIN>; close(M) or die";
    program.args(["-e", script]);
    program.arg(scene.sendmail());
    let message = scene.run(&mut program, "From: root\nTo: root\nSubject: by perl\n\n.\nx\n");
    assert!(message.contains("\r\nX-Original-From: root\r\n"), "{message}");
}

#[test]
fn python() {
    let _running = shared();
    let Some(mut program) = command("python3", "python3") else { return };
    let scene = Scene::new();
    let script = "import subprocess, sys\nfrom email.message import EmailMessage\n\
                  m = EmailMessage()\nm['From'] = 'Jürgen (Büro) <root>'\nm['To'] = 'root'\n\
                  m['Subject'] = 'Grüße'\nm.set_content(sys.stdin.read())\n\
                  subprocess.run([sys.argv[1], '-t', '-oi'], input=m.as_bytes(), check=True)\n";
    program.args(["-c", script]).arg(scene.sendmail()).env("PYTHONUTF8", "1");
    let message = scene.run(&mut program, "Schöne Grüße\n");
    assert!(message.contains("=?utf-8?"), "{message}");
}

#[test]
fn git_send_email() {
    let _running = shared();
    let Some(mut program) = command("git", "git") else { return };
    let found = Command::new("git").args(["send-email", "-h"]).stderr(Stdio::piped()).output();
    if found
        .is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("not a git command"))
    {
        return skipped("git send-email", "this git comes without it");
    }
    let scene = Scene::new();
    let patch = scene.place.path("0001.patch");
    let text = "From 0123456789 Mon Sep 17 00:00:00 2001\nFrom: root <root@mote.test>\n\
                Date: Tue, 1 Dec 2026 10:00:00 +0000\nSubject: [PATCH] by git\n\n\
                x\n---\n a | 2 +-\n";
    fs::write(&patch, text).unwrap();
    program.current_dir(scene.place.path("")).args(["send-email", "--no-thread", "--quiet"]);
    program.args([
        "--confirm=never",
        "--suppress-cc=all",
        "--from=root@mote.test",
        "--to=root@mote.test",
    ]);
    program.arg(format!("--sendmail-cmd={}", scene.sendmail().display())).arg(patch);
    for who in ["AUTHOR", "COMMITTER"] {
        program.env(format!("GIT_{who}_NAME"), "root");
        program.env(format!("GIT_{who}_EMAIL"), "root@mote.test");
    }
    let message = scene.run(&mut program, "");
    assert!(message.contains("\r\nSubject: [PATCH] by git\r\n"), "{message}");
}

/// Debian's cron, which has the path of sendmail compiled in: it gets a file system of its own.
#[test]
fn cron() {
    let _running = shared();
    let Some(program) = command("cron", "cron") else { return };
    let scene = Scene::new();
    let script = format!(
        "set -e; mount -t tmpfs none /var/spool; mount -t tmpfs none /run; \
         mkdir -p /var/spool/cron/crontabs; cd /var/spool/cron/crontabs; \
         echo '* * * * * echo it is time' >root; chmod 600 root; \
         mount -t tmpfs none /usr/sbin; cp {} /usr/sbin/sendmail; exec {} -f",
        scene.sendmail().display(),
        program.get_program().to_string_lossy(),
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script]);
    unshare.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let Ok(mut running) = unshare.spawn() else {
        return skipped("cron", "there is no unshare");
    };
    std::thread::sleep(Duration::from_secs(1));
    if running.try_wait().unwrap().is_some() {
        let said = running.wait_with_output().unwrap();
        return skipped("cron", &String::from_utf8_lossy(&said.stderr));
    }
    let heard = || scene.hop.heard_of("Received: ").len() == 1;
    let began = std::time::Instant::now();
    while !heard() && began.elapsed() < Duration::from_secs(100) {
        std::thread::sleep(Duration::from_millis(200));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let message = scene.sent(Duration::from_secs(1));
    assert!(message.contains("From: \"Cron Daemon on mote.test\"\r\n"), "{message}");
    assert!(message.contains("\r\nX-Original-From: root (Cron Daemon)\r\n"), "{message}");
    assert!(message.contains("\r\nSubject: Cron <root@"), "{message}");
    assert!(message.contains("\r\nit is time\r\n"), "{message}");
}

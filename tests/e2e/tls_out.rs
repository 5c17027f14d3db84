//! TLS towards next hops that others wrote: what is right goes through and is logged, and for each
//! thing that can be wrong the mail waits, with words that name the cure.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::auth::PASSWORD;
use crate::instance::{Mote, Place};
use crate::load::{shared, wait_for};
use crate::peers::{Server, script};
use crate::session::{Session, message};

const LONG: Duration = Duration::from_secs(30);

/// The folder with what `certificates.sh` makes, once.
fn certificates() -> PathBuf {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let folder = MADE.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let made = Command::new("sh").arg(script("certificates.sh")).arg(folder.path()).output();
        let made = made.unwrap();
        assert!(folder.path().join("ready").exists(), "{made:?}");
        folder
    });
    folder.path().to_owned()
}

/// A next hop with that certificate.
fn hop(certificate: &str, how: &str, options: &[&str]) -> Option<Server> {
    let folder = certificates();
    let cert = folder.join(format!("{certificate}.pem"));
    let options: Vec<String> = options
        .iter()
        .map(|option| option.replace("{certificates}", &folder.display().to_string()))
        .collect();
    Server::tls_hop(&cert, &cert.with_extension("key"), how, &options)
}

/// A place that sends all mail to `url`, with `{port}` for the server's port in it.
fn place(server: &Server, url: &str, lines: &str) -> Place {
    let url = url.replace("{port}", &server.port.to_string());
    let folder = certificates().display().to_string();
    let lines = lines.replace("{certificates}", &folder);
    let (above, below): (Vec<&str>, Vec<&str>) =
        lines.lines().partition(|line| line.starts_with("!"));
    let above: String = above.iter().map(|line| format!("{}\n", &line[1..])).collect();
    let below = below.join("\n");
    Place::new(&format!(
        "retry = 1h\nca = {folder}/ca.pem\n{above}[relay default]\nurl = {url}\n{below}"
    ))
}

fn send(place: &Place, number: usize) {
    let mut session = Session::open(place.port);
    assert!(session.deliver("you@example.net", &message(number, 500)).unwrap());
}

/// The mail is still there, nothing was returned, and `status` says why in these words.
fn waits(mote: &Mote, place: &Place, words: &str) {
    wait_for(words, LONG, || mote.logged(words) > 0 && mote.logged("next try in") > 0);
    let output = place.run(&["status"]);
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{status}");
    assert!(status.contains(words), "{status}");
    assert_eq!(mote.logged("status=bounced"), 0);
    assert_eq!(mote.logged("status=sent"), 0);
}

fn no_message(server: &Server) {
    let heard = server.heard();
    let is_mail = |line: &&String| line.contains("MAIL") || line.contains("message");
    assert_eq!(heard.iter().find(is_mail), None, "{heard:?}");
}

/// Both ways, both versions, by name and by address.
#[test]
fn what_is_right_goes_through() {
    let _running = shared();
    for (how, url) in [
        ("implicit", "smtps://localhost:{port}"),
        ("starttls", "starttls://localhost:{port}"),
        ("implicit", "smtps://127.0.0.1:{port}"),
        ("starttls", "127.0.0.1:{port}"),
    ] {
        for version in ["1.2", "1.3"] {
            let versions = format!("versions={version}-{version}");
            let Some(server) = hop("good", how, &[&versions]) else { return };
            let place = place(&server, url, "");
            let mote = place.serve();
            send(&place, 1);
            wait_for("the mail", LONG, || server.heard().iter().any(|l| l.starts_with("message")));
            let line = format!(":{}, tls={version}, delay=", server.port);
            wait_for("the line", LONG, || mote.logged(&line) == 1);
            let heard = server.heard();
            let clear: Vec<&String> = heard
                .iter()
                .filter(|line| !line.starts_with("tls ") && !line.starts_with("message"))
                .collect();
            match how {
                "implicit" => assert!(clear.is_empty(), "{heard:?}"),
                _ => assert_eq!(clear, ["EHLO mote.test", "STARTTLS"], "{heard:?}"),
            }
        }
    }
}

/// Each certificate that is wrong in one way.
#[test]
fn certificates_that_are_wrong() {
    let _running = shared();
    for (certificate, words) in [
        ("otherwise", "for other.test, *.other.test, not for localhost; write its name in url"),
        ("expired", "has a certificate that expired on 2020-02-01; it has to be renewed there"),
        ("early", "has a certificate that is valid only from 2099-01-01 on"),
        ("selfmade", "has a certificate that is signed by itself; if it is yours: pin = sha256:"),
        ("foreign", "has a certificate that no CA in /"),
        ("lonely", "has a certificate that no CA in /"),
        ("misused", "has a certificate that is not for servers (its extended key usage)"),
        ("chain", "has more certificates than are read here"),
    ] {
        for (how, url) in
            [("implicit", "smtps://localhost:{port}"), ("starttls", "starttls://localhost:{port}")]
        {
            let Some(server) = hop(certificate, how, &[]) else { return };
            let place = place(&server, url, "");
            let mote = place.serve();
            send(&place, 1);
            waits(&mote, &place, words);
            no_message(&server);
        }
    }
}

/// With what stands between it and the CA.
#[test]
fn one_between() {
    let _running = shared();
    let Some(server) = hop("deep", "implicit", &[]) else { return };
    let place = place(&server, "smtps://localhost:{port}", "");
    let mote = place.serve();
    send(&place, 1);
    wait_for("the mail", LONG, || mote.logged("status=sent") == 1);
}

/// Next hops that do something else than TLS, or not to its end. Nothing is ever sent in the clear.
#[test]
fn what_is_no_tls() {
    let _running = shared();
    let (smtps, starttls) = ("smtps://localhost:{port}", "starttls://localhost:{port}");
    for (how, url, words) in [
        ("plain", smtps, "speaks no TLS from the first byte on; write starttls:// in url"),
        ("missing", starttls, "offers no STARTTLS, and nothing is sent without"),
        ("refuses", starttls, "refuses STARTTLS, and nothing is sent without: 454 4.7.0 not now"),
        ("injects", starttls, "says more before TLS than it was asked"),
        ("text", starttls, "answers STARTTLS with 220 and then speaks no TLS"),
        ("leaves", starttls, "closed the connection in the middle of the TLS handshake"),
        ("leaves-implicit", smtps, "closed the connection in the middle of the TLS handshake"),
        ("silent", smtps, "does not bring the TLS handshake to its end"),
        ("silent-tls", starttls, "does not bring the TLS handshake to its end"),
        ("slow", starttls, "does not bring the TLS handshake to its end"),
        ("half", starttls, "does not bring the TLS handshake to its end"),
        ("silent", starttls, "did not greet us in time; if it waits for TLS, as on port 465"),
    ] {
        let Some(server) = hop("good", how, &[]) else { return };
        let place = place(&server, url, "!reply-timeout = 2s");
        let mote = place.serve();
        send(&place, 1);
        waits(&mote, &place, words);
        no_message(&server);
    }
}

/// Versions that are too old.
#[test]
fn versions_that_are_too_old() {
    let _running = shared();
    for (versions, lines) in [("1.1-1.1", ""), ("1.2-1.2", "tls-min = 1.3")] {
        let Some(server) = hop("good", "starttls", &[&format!("versions={versions}")]) else {
            return;
        };
        let place = place(&server, "starttls://localhost:{port}", lines);
        let mote = place.serve();
        send(&place, 1);
        waits(&mote, &place, "speaks no TLS that is as new as tls-min");
        no_message(&server);
    }
}

/// A user and a password: inside TLS only, whatever is offered before it.
#[test]
fn a_login_inside_tls() {
    let _running = shared();
    for (how, url) in [
        ("implicit", "smtps://alice@localhost:{port}"),
        ("starttls", "starttls://alice@localhost:{port}"),
    ] {
        let auth = format!("auth=alice:{PASSWORD}");
        let Some(server) = hop("good", how, &[&auth]) else { return };
        let place = place(&server, url, &format!("password = cmd:/bin/echo {PASSWORD}"));
        let mote = place.serve();
        send(&place, 1);
        let line = format!(":{}, tls=1.3, auth=PLAIN, delay=", server.port);
        wait_for("the line", LONG, || mote.logged(&line) == 1);
        let heard = server.heard();
        let logins: Vec<&String> = heard.iter().filter(|line| line.contains("AUTH")).collect();
        assert_eq!(logins, ["tls AUTH *"], "{heard:?}");
        assert!(!mote.log().contains(PASSWORD));
    }
    // Who takes STARTTLS out of the offer gets neither mail nor password.
    let auth = format!("auth=alice:{PASSWORD}");
    let Some(server) = hop("good", "missing", &[&auth]) else { return };
    let place = place(
        &server,
        "starttls://alice@localhost:{port}",
        &format!("password = cmd:/bin/echo {PASSWORD}"),
    );
    let mote = place.serve();
    send(&place, 1);
    waits(&mote, &place, "offers no STARTTLS, and nothing is sent without");
    assert_eq!(server.heard(), ["EHLO mote.test"]);
}

/// The pin of a certificate made by `certificates.sh`: of its key, or of itself.
fn pin(certificate: &str, of: &str) -> String {
    let path = certificates().join(format!("{certificate}.pem"));
    let command = match of {
        "key" => "openssl x509 -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform der",
        _ => "openssl x509 -in \"$0\" -outform der",
    };
    let command = format!("{command} | sha256sum");
    let output = Command::new("sh").args(["-c", &command]).arg(path).output().unwrap();
    let digits = String::from_utf8(output.stdout).unwrap();
    format!("pin = sha256:{}", digits.split(' ').next().unwrap())
}

/// A pin alone decides; beside a CA both must hold. A CA of one's own, and a certificate of ours.
#[test]
fn trust_of_ones_own() {
    let _running = shared();
    let url = "smtps://localhost:{port}";
    let both = |certificate: &str, ca: &str| {
        format!("{}\nca = {{certificates}}/{ca}.pem", pin(certificate, "key"))
    };
    for (certificate, lines, words) in [
        ("selfmade", pin("selfmade", "key"), ""),
        ("selfmade", pin("selfmade", "certificate"), ""),
        ("expired", format!("{} sha256:{}", pin("good", "key"), "0".repeat(64)), "another key"),
        ("expired", format!("pin = sha256:{} {}", "0".repeat(64), &pin("expired", "key")[6..]), ""),
        ("good", pin("selfmade", "key"), "has another key than the pinned one: sha256:"),
        ("good", both("good", "ca"), ""),
        ("good", both("good", "stranger"), "has a certificate that no CA in "),
        ("good", both("deep", "ca"), "has another key than the pinned one"),
        ("foreign", "ca = {certificates}/stranger.pem".into(), ""),
    ] {
        let Some(server) = hop(certificate, "implicit", &[]) else { return };
        let place = place(&server, url, &lines);
        let mote = place.serve();
        send(&place, 1);
        if words.is_empty() {
            wait_for("the mail", LONG, || mote.logged(", tls=1.3, delay=") == 1);
        } else {
            waits(&mote, &place, words);
            no_message(&server);
        }
    }
}

/// A certificate of ours, to a server that wants one.
#[test]
fn a_certificate_of_ours() {
    let _running = shared();
    for version in ["1.2", "1.3"] {
        let options = [&*format!("versions={version}-{version}"), "ca={certificates}/ca.pem"];
        let url = "starttls://localhost:{port}";
        let Some(server) = hop("good", "starttls", &options) else { return };
        let lines = "client-cert = {dir}/misused.pem\nclient-key = {dir}/misused.key";
        let with = place(&server, url, lines);
        for name in ["misused.pem", "misused.key"] {
            std::fs::copy(certificates().join(name), with.path(name)).unwrap();
        }
        let mode = |mode| {
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(with.path("misused.key"), permissions).unwrap();
        };
        mode(0o644);
        let check = with.run(&["check"]);
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(check.status.code() == Some(78) && said.contains("client-key: "), "{said}");
        mode(0o600);
        assert_eq!(with.run(&["check"]).status.code(), Some(0));
        let mote = with.serve();
        send(&with, 1);
        wait_for("the mail", LONG, || mote.logged("status=sent") == 1);
        assert!(server.heard().contains(&"client misused".into()), "{:?}", server.heard());
        let without = place(&server, url, "");
        let mote = without.serve();
        send(&without, 1);
        let words = match version {
            "1.2" => "it may be too old, or want a client-cert",
            _ => "add client-cert and client-key to its [relay]",
        };
        waits(&mote, &without, words);
    }
}

/// What stands in place of a file of CAs: nothing hangs, nothing is sent, and each is told.
#[test]
fn files_of_cas_that_are_none() {
    let _running = shared();
    for (make, words) in [
        ("true", "cannot be used: No such file"),
        (": >ca", "cannot be used: there is no certificate in it"),
        ("head -c 10000000 /dev/zero >ca", "cannot be used: it is larger than 4 MiB"),
        ("mkdir ca", "cannot be used: it is not a file"),
        ("mkfifo ca", "cannot be used: it is not a file"),
        (
            "yes -- -----BEGIN CERTIFICATE----- | head -c 1000000 >ca",
            "there is no certificate in it",
        ),
    ] {
        let Some(server) = hop("good", "implicit", &[]) else { return };
        let place = place(&server, "smtps://localhost:{port}", "ca = {dir}/ca");
        let folder = place.path("");
        let made = Command::new("sh").args(["-c", make]).current_dir(folder).status().unwrap();
        assert!(made.success());
        let check = place.run(&["check"]);
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(check.status.code() == Some(78) && said.contains(words), "{said}");
        let mote = place.serve();
        send(&place, 1);
        waits(&mote, &place, words);
        no_message(&server);
        // It counts as soon as it is there.
        let _ = std::fs::remove_file(place.path("ca"));
        let _ = std::fs::remove_dir(place.path("ca"));
        std::fs::copy(certificates().join("ca.pem"), place.path("ca")).unwrap();
        place.run(&["flush"]);
        wait_for("the mail", LONG, || mote.logged("status=sent") == 1);
    }
}

/// HUP with another pin: the open connection is not used on.
#[test]
fn what_was_agreed_on_counts_no_more() {
    let _running = shared();
    let Some(server) = hop("good", "implicit", &[]) else { return };
    let place = place(&server, "smtps://localhost:{port}", "");
    let mote = place.serve();
    send(&place, 1);
    wait_for("the mail", LONG, || mote.logged("status=sent") == 1);
    let config = std::fs::read_to_string(place.config()).unwrap();
    std::fs::write(place.config(), format!("{config}{}\n", pin("selfmade", "key"))).unwrap();
    mote.signal("HUP");
    wait_for("the new config", LONG, || mote.logged("reloaded") == 1);
    send(&place, 2);
    wait_for("the reason", LONG, || mote.logged("has another key than the pinned one") > 0);
    assert_eq!(mote.logged("status=sent"), 1);
}

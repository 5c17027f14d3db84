//! TLS towards next hops that others wrote: what is right goes through and is logged, and for each
//! thing that can be wrong the mail waits, with words that name the cure.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

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
    let lines =
        if lines.contains("ca = ") { lines } else { format!("ca = {folder}/ca.pem\n{lines}") };
    let (above, below): (Vec<&str>, Vec<&str>) =
        lines.lines().partition(|line| line.starts_with("!"));
    let above: String = above.iter().map(|line| format!("{}\n", &line[1..])).collect();
    let below = below.join("\n");
    Place::new(&format!("retry = 1h\n{above}[relay default]\nurl = {url}\n{below}"))
}

fn send(place: &Place, number: usize) {
    let mut session = Session::open(place.port);
    assert!(session.deliver("you@example.net", &message(number, 500)).unwrap());
}

/// The mail is still there, nothing was returned, and `status` says why in these words.
fn waits(mote: &Mote, place: &Place, words: &str) {
    wait_for(words, LONG, || mote.logged(words) > 0);
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

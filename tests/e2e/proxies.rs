//! Load balancers and mail proxies before the real binary: haproxy, and swaks as both.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::instance::{Mote, Place, free_port};
use crate::load::{shared, wait_for};
use crate::peers::{self, maildir};
use crate::session::{Session, message};

/// Each address of loopback is a device of its own; 127.0.0.70 is the proxy.
const CLIENTS: &str = "relay = maildir:{dir}/Maildir\n\
     [clients 127.0.0.0/8]\nrelay = no\n[clients 127.0.0.80]\nrelay = yes\nconnections = 2\n";

/// haproxy with this backend; it ends with the value.
struct Balancer {
    child: Child,
    port: u16,
}

impl Balancer {
    fn start(place: &Place, server: &str) -> Option<Balancer> {
        let mut command = peers::command("haproxy", "haproxy")?;
        let (port, file) = (free_port(), place.path("haproxy.cfg"));
        let text = format!(
            "global\n maxconn 100\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n \
             timeout server 30s\nfrontend in\n bind 127.0.0.1:{port}\n default_backend out\n\
             backend out\n source 127.0.0.70\n server mote {server}\n"
        );
        fs::write(&file, text).unwrap();
        command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let balancer = Balancer { child, port };
        let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait_for("haproxy", Duration::from_secs(20), answers);
        Some(balancer)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn served(key: &str) -> (Place, Mote) {
    let place = Place::in_memory(&format!("{CLIENTS}[clients 127.0.0.70]\nrelay = yes\n{key}\n"));
    let mote = place.serve();
    (place, mote)
}

fn output(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn haproxy_tells_whom_it_speaks_for() {
    let _running = shared();
    for (number, word) in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"]
        .into_iter()
        .enumerate()
    {
        let (place, mote) = served("proxy = yes");
        let server = format!("127.0.0.1:{} {word}", place.port);
        let Some(balancer) = Balancer::start(&place, &server) else { return };
        let connect = |source| Session::connect_from(source, balancer.port).unwrap();
        let (mut one, greeting) = connect("127.0.0.80");
        assert_eq!(greeting.code, 220, "{word}");
        one.ask("EHLO nas.test").unwrap();
        assert!(one.deliver("you@example.net", &message(number, 200)).unwrap());
        wait_for("the mail", Duration::from_secs(20), || mote.logged("status=sent") == 1);
        let mail = fs::read_to_string(&maildir(&place.path("Maildir"))[0]).unwrap();
        assert!(mail.contains("Received: from nas.test ([127.0.0.80])"), "{mail}");
        assert_eq!(mote.logged("client=127.0.0.80"), 1);
        // Its number of connections is its own, and so is that of others.
        let (_two, greeting) = connect("127.0.0.80");
        assert_eq!(greeting.code, 220);
        assert_eq!(connect("127.0.0.80").1.text, "421 4.7.0 Too many connections from there\r\n");
        let (mut other, _) = connect("127.0.0.81");
        other.ask("EHLO other.test").unwrap();
        other.ask("MAIL FROM:<a@other.test>").unwrap();
        assert_eq!(other.ask("RCPT TO:<you@example.net>").unwrap().code, 550);
        let status = String::from_utf8(place.run(&["status"]).stdout).unwrap();
        assert!(status.contains("127.0.0.81") && status.contains("other.test"), "{status}");
    }
}

/// haproxy asks whether somebody is there by LOCAL, and takes a server out that is not.
#[test]
fn haproxy_finds_that_somebody_is_there() {
    let _running = shared();
    let (place, mote) = served("proxy = yes");
    let server =
        format!("127.0.0.1:{} send-proxy-v2 check inter 100ms check-send-proxy", place.port);
    let Some(balancer) = Balancer::start(&place, &server) else { return };
    std::thread::sleep(Duration::from_millis(500));
    let (_, greeting) = Session::connect_from("127.0.0.80", balancer.port).unwrap();
    assert_eq!((greeting.code, mote.logged("no PROXY header")), (220, 0));
}

/// By the letter: who must tell and does not, and who tells without being asked.
#[test]
fn headers_that_are_missing_or_not_asked_for() {
    let _running = shared();
    let (place, mote) = served("proxy = yes");
    let Some(balancer) = Balancer::start(&place, &format!("127.0.0.1:{}", place.port)) else {
        return;
    };
    let mut stream = TcpStream::connect(("127.0.0.1", balancer.port)).unwrap();
    stream.write_all(b"EHLO x\r\n").unwrap();
    let mut told = String::new();
    let _ = stream.read_to_string(&mut told);
    assert_eq!(told, "");
    wait_for("the log", Duration::from_secs(5), || {
        mote.logged("client=127.0.0.70: no PROXY header, as it must send; closed") >= 1
    });
    drop(balancer);
    drop(mote);

    let (place, _mote) = served("proxy = no");
    for word in ["send-proxy", "send-proxy-v2"] {
        let server = format!("127.0.0.1:{} {word}", place.port);
        let Some(balancer) = Balancer::start(&place, &server) else { return };
        let mut stream = TcpStream::connect(("127.0.0.1", balancer.port)).unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        assert!(told.ends_with("421 4.7.0 No PROXY header is taken from here; closing\r\n"));
    }
}

#[test]
fn swaks_as_a_load_balancer_and_as_a_proxy() {
    let _running = shared();
    let ask = |key: &str, client: &str, words: &[&str]| {
        let (place, mote) = served(key);
        let mut command = peers::command("swaks", "swaks")?;
        command.args(["--server", "127.0.0.1", "--port", &place.port.to_string()]);
        command.args(["--local-interface", "127.0.0.70", "--to", "you@example.net"]);
        command.args(["--from", "me@nas.test", "--helo", "nas.test"]).args(words);
        let told = output(command);
        let relays = mote.logged(&format!("client={client}")) == 1;
        Some((relays, told))
    };
    for (client, may_relay) in [("127.0.0.80", true), ("203.0.113.7", false)] {
        for version in ["1", "2"] {
            let family = if version == "1" { "TCP4" } else { "AF_INET" };
            let mut words = vec!["--proxy-version", version, "--proxy-family", family];
            words.extend(["--proxy-source", client, "--proxy-source-port", "1025"]);
            words.extend(["--proxy-dest", "127.0.0.1", "--proxy-dest-port", "25"]);
            if version == "2" {
                words.extend(["--proxy-protocol", "STREAM", "--proxy-command", "PROXY"]);
            }
            let Some((relays, told)) = ask("proxy = yes", client, &words) else { return };
            assert_eq!(relays, may_relay, "version {version}, {client}: {told}");
            assert_eq!(told.contains("550 5.7.1"), !may_relay, "{told}");
        }
        let words = ["--xclient-addr", client, "--xclient-name", "nas", "--xclient-port", "1025"];
        let Some((relays, told)) = ask("xclient = yes", client, &words) else { return };
        assert_eq!(relays, may_relay, "{told}");
        assert!(told.contains("XCLIENT ") && told.matches("220 mote.test").count() == 2, "{told}");
    }
    // Without a word of whom it speaks for.
    let Some((_, told)) = ask("xclient = yes", "127.0.0.70", &[]) else { return };
    assert!(told.contains("550 5.7.0 Say by XCLIENT who it is first"), "{told}");
}

/// The header comes before TLS.
#[cfg(feature = "tls")]
#[test]
fn haproxy_before_implicit_tls() {
    let _running = shared();
    let port = free_port();
    let lines = format!(
        "{CLIENTS}[clients 127.0.0.70]\nproxy = yes\n[listen smtps]\naddress = 127.0.0.1:{port}\n\
         tls = implicit\ncert = {{dir}}/cert.pem\nkey = {{dir}}/key.pem\n"
    );
    let place = Place::in_memory(&lines);
    crate::tls::install(&place, "p256");
    let mote = place.serve();
    for word in ["send-proxy", "send-proxy-v2"] {
        let Some(balancer) = Balancer::start(&place, &format!("127.0.0.1:{port} {word}")) else {
            return;
        };
        let Some(mut swaks) = peers::command("swaks", "swaks") else { return };
        swaks.args(["--server", "127.0.0.1", "--port", &balancer.port.to_string(), "--tlsc"]);
        swaks.args(["--local-interface", "127.0.0.80", "--to", "you@example.net"]);
        swaks.args(["--from", "me@nas.test", "--helo", "nas.test"]);
        let told = output(swaks);
        assert!(told.contains("queued as"), "{told}");
    }
    assert_eq!(mote.logged("client=127.0.0.80, tls=1."), 2);
}

//! Mail programs that others wrote, each in every way that it can: in clear text, by STARTTLS and
//! by TLS from the first byte, and each of these with a login. The mail stands in the Maildir as it
//! was written, and log and Received say how it came.
//!
//! What a program cannot do is said in the table that its test prints, with the reason.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::instance::{Mote, Place, free_port};
use crate::load::{shared, wait_for};
use crate::peers::{self, maildir, script};

const BODY: &str = "The body.\n.\n..two dots\nThe end.\n";
const HEADER: &str =
    "From: alice@client.test\nTo: someone@example.net\nSubject: hand-in\nX-Program: yes\n";
const PASSWORD: &str = "open-Sesame_1";

/// How a program connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Clear,
    Starttls,
    Implicit,
}

/// One column of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Way {
    link: Link,
    login: bool,
}

const WAYS: [(&str, Way); 6] = [
    ("clear", Way { link: Link::Clear, login: false }),
    ("clear+AUTH", Way { link: Link::Clear, login: true }),
    ("STARTTLS", Way { link: Link::Starttls, login: false }),
    ("STARTTLS+AUTH", Way { link: Link::Starttls, login: true }),
    ("TLS", Way { link: Link::Implicit, login: false }),
    ("TLS+AUTH", Way { link: Link::Implicit, login: true }),
];

impl Way {
    /// For scripts: the link, then `login` or nothing.
    fn words(self) -> [&'static str; 2] {
        let link = match self.link {
            Link::Clear => "clear",
            Link::Starttls => "starttls",
            Link::Implicit => "implicit",
        };
        [link, if self.login { "login" } else { "" }]
    }

    /// RFC 3848.
    fn protocol(self) -> &'static str {
        match (self.link, self.login) {
            (Link::Clear, false) => "ESMTP",
            (Link::Clear, true) => "ESMTPA",
            (_, false) => "ESMTPS",
            (_, true) => "ESMTPSA",
        }
    }
}

/// Who serves, and where.
struct Scene {
    place: Place,
    mote: Mote,
    starttls: u16,
    implicit: u16,
}

impl Scene {
    fn new() -> Scene {
        let (starttls, implicit) = (free_port(), free_port());
        let files = "cert = {dir}/cert.pem\nkey = {dir}/key.pem";
        let place = Place::in_memory(&format!(
            "listen = 127.0.0.1:{{port}}\nrelay = maildir:{{dir}}/Maildir\nusers = {{dir}}/users\n\
             [clients 127.0.0.0/8]\nrelay = yes\nclear-auth = yes\n\
             [listen sub]\naddress = 127.0.0.1:{starttls}\ntls = starttls\n{files}\n\
             [listen smtps]\naddress = 127.0.0.1:{implicit}\ntls = implicit\n{files}"
        ));
        for (from, to, mode) in [("p256.crt", "cert.pem", 0o644), ("p256.key", "key.pem", 0o600)] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(from);
            fs::copy(from, place.path(to)).unwrap();
            fs::set_permissions(place.path(to), Permissions::from_mode(mode)).unwrap();
        }
        let mut passwd = place.command(&["passwd", "alice"]);
        let (succeeded, said) = fed(&mut passwd, &format!("{PASSWORD}\n"));
        assert!(succeeded, "{said}");
        let mote = place.serve();
        Scene { place, mote, starttls, implicit }
    }

    fn port(&self, way: Way) -> String {
        let port = match way.link {
            Link::Clear => self.place.port,
            Link::Starttls => self.starttls,
            Link::Implicit => self.implicit,
        };
        port.to_string()
    }

    fn cert(&self) -> String {
        self.place.path("cert.pem").display().to_string()
    }

    /// Words for a script of ours: link, login, port, certificate, password.
    fn words(&self, way: Way) -> Vec<String> {
        let [link, login] = way.words();
        [link, login, &self.port(way), &self.cert(), PASSWORD].map(str::to_owned).to_vec()
    }
}

/// Runs a program on `input`; whether it succeeded, and what it said.
fn fed(program: &mut Command, input: &str) -> (bool, String) {
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What a program is given to do it in that way: its input; or why it cannot.
type Prepare = fn(&mut Command, &Scene, Way) -> Result<String, &'static str>;

/// Lets the program submit a mail in each way.
fn submits(name: &str, program: impl Fn() -> Option<Command>, prepare: Prepare) {
    let _running = shared();
    if program().is_none() {
        return;
    }
    let scene = Scene::new();
    let mut told = Vec::new();
    let mut count = 0;
    for (column, way) in WAYS {
        let mut command = program().unwrap();
        command.env("HOME", scene.place.path("")).current_dir(scene.place.path(""));
        let input = match prepare(&mut command, &scene, way) {
            Ok(input) => input,
            Err(why) => {
                told.push(format!("{column}: {why}"));
                continue;
            }
        };
        let (succeeded, said) = fed(&mut command, &input);
        assert!(succeeded, "{name}, {column}: {said}\n{}", scene.mote.log());
        count += 1;
        assert_arrived(&scene, way, count, &format!("{name}, {column}: {said}"));
        told.push(column.to_owned());
    }
    assert!(count > 0);
    println!("{name}: {}", told.join(", "));
}

/// The mail number `count` has come in that way.
fn assert_arrived(scene: &Scene, way: Way, count: usize, what: &str) {
    let path = scene.place.path("Maildir");
    wait_for(what, Duration::from_secs(10), || maildir(&path).len() == count);
    let log = scene.mote.log();
    let line = log.lines().rfind(|line| line.contains(": from=<alice@client.test>")).unwrap();
    assert_eq!(line.contains(" login=alice"), way.login, "{what}\n{line}");
    assert_eq!(line.contains(", tls=1."), way.link != Link::Clear, "{what}\n{line}");
    let id = line.split([' ', ':']).find(|word| word.len() == 6).unwrap_or_default();
    let id = format!(" id {id}");
    let texts = maildir(&path).into_iter().map(|file| fs::read_to_string(file).unwrap());
    let found: Vec<String> = texts.filter(|text| text.contains(&id)).collect();
    let [text] = &found[..] else { panic!("{what}: {} mails {id}\n{line}", found.len()) };
    let text = text.replace("\r\n", "\n");
    // Some say HELO where they want no extension.
    let with = text.split_once(" with ").and_then(|(_, rest)| rest.split(' ').next()).unwrap();
    assert!(with == way.protocol() || (with == "SMTP" && !way.login), "{what}\n{text}");
    assert!(text.contains("\nSubject: hand-in\n"), "{what}\n{text}");
    // Some clients end with an empty line more.
    assert!(text.trim_end().ends_with(&format!("\n\n{}", BODY.trim_end())), "{what}\n{text}");
}

fn mail() -> String {
    format!("{HEADER}\n{BODY}")
}

fn peer(name: &'static str, command: &'static str) -> impl Fn() -> Option<Command> {
    move || peers::command(name, command)
}

#[test]
fn openssl_s_client() {
    submits("openssl s_client", peer("openssl", "openssl"), |command, scene, way| {
        let connect = format!("127.0.0.1:{}", scene.port(way));
        command.args(["s_client", "-quiet", "-crlf", "-verify_return_error", "-CAfile"]);
        command.args([&scene.cert(), "-connect", &connect]);
        match way.link {
            Link::Clear => return Err("it speaks nothing but TLS"),
            Link::Starttls => _ = command.args(["-starttls", "smtp"]),
            Link::Implicit => _ = command.args(["-alpn", "smtp"]),
        }
        // "\0alice\0open-Sesame_1"
        let login = "AUTH PLAIN AGFsaWNlAG9wZW4tU2VzYW1lXzE=\n";
        let login = if way.login { login } else { "" };
        let text = mail().replace("\n.", "\n..");
        Ok(format!(
            "EHLO client.test\n{login}MAIL FROM:<alice@client.test>\n\
             RCPT TO:<someone@example.net>\nDATA\n{text}.\nQUIT\n"
        ))
    });
}

#[test]
fn swaks() {
    submits("swaks", peer("swaks", "swaks"), |command, scene, way| {
        command.args(["--server", "127.0.0.1", "--port", &scene.port(way), "--data", "-"]);
        command.args(["--from", "alice@client.test", "--to", "someone@example.net"]);
        match way.link {
            Link::Clear => (),
            Link::Starttls => _ = command.arg("--tls"),
            Link::Implicit => _ = command.arg("--tls-on-connect"),
        }
        if way.login {
            command.args(["--auth-user", "alice", "--auth-password", PASSWORD]);
            command.args(["--auth", "PLAIN"]);
        } else {
            command.arg("--pipeline");
        }
        Ok(mail())
    });
}

#[test]
fn curl() {
    submits("curl", peer("curl", "curl"), |command, scene, way| {
        let scheme = if way.link == Link::Implicit { "smtps" } else { "smtp" };
        command.arg(format!("{scheme}://127.0.0.1:{}", scene.port(way)));
        command.args(["-sS", "--crlf", "--upload-file", "-", "--cacert", &scene.cert()]);
        command.args(["--mail-from", "alice@client.test", "--mail-rcpt", "someone@example.net"]);
        if way.link == Link::Starttls {
            command.arg("--ssl-reqd");
        }
        if way.login {
            command.args(["--user", &format!("alice:{PASSWORD}")]);
        }
        Ok(mail())
    });
}

#[test]
fn python_smtplib() {
    submits("smtplib", peer("python3", "python3"), |command, scene, way| {
        command.arg(script("programs.py")).arg("smtplib").args(scene.words(way));
        Ok(mail())
    });
}

#[test]
fn aiosmtplib() {
    let program = || peers::python("aiosmtplib");
    submits("aiosmtplib", program, |command, scene, way| {
        command.arg(script("programs.py")).arg("aiosmtplib").args(scene.words(way));
        Ok(mail())
    });
}

#[test]
fn nodemailer() {
    let program = || {
        let mut node = peers::command("nodemailer", "node")?;
        let modules = peers::unpacked("nodemailer")?.join("node_modules");
        node.env("NODE_PATH", modules);
        Some(node)
    };
    submits("nodemailer", program, |command, scene, way| {
        let program = "const fs = require('fs');\n\
            const [link, login, port, cert, pass] = process.argv.slice(1);\n\
            const transport = require('nodemailer').createTransport({\n\
              host: '127.0.0.1', port: Number(port), secure: link === 'implicit',\n\
              requireTLS: link === 'starttls', ignoreTLS: link === 'clear',\n\
              tls: {ca: fs.readFileSync(cert)}, auth: login ? {user: 'alice', pass} : undefined,\n\
            });\n\
            transport.sendMail({raw: fs.readFileSync(0),\n\
              envelope: {from: 'alice@client.test', to: ['someone@example.net']},\n\
            }).catch((error) => { console.error(error); process.exit(1); });\n";
        command.args(["-e", program, "--"]).args(scene.words(way));
        Ok(mail())
    });
}

#[test]
fn perl_net_smtp() {
    submits("Net::SMTP", peer("perl-smtp", "with-perl-smtp"), |command, scene, way| {
        let program = "use strict; use Net::SMTP;\n\
            my ($link, $login, $port, $cert, $password) = @ARGV;\n\
            my @tls = (SSL_ca_file => $cert);\n\
            my $smtp = Net::SMTP->new('127.0.0.1', Port => $port, Hello => 'client.test',\n\
              $link eq 'implicit' ? (SSL => 1, @tls) : ()) or die \"no connection: $@\";\n\
            $link ne 'starttls' or $smtp->starttls(@tls) or die $smtp->message;\n\
            !$login or $smtp->auth('alice', $password) or die $smtp->message;\n\
            $smtp->mail('alice@client.test') or die $smtp->message;\n\
            $smtp->to('someone@example.net') or die $smtp->message;\n\
            $smtp->data([<STDIN>]) or die $smtp->message;\n\
            $smtp->quit or die $smtp->message;\n";
        command.args(["perl", "-e", program]).args(scene.words(way));
        Ok(mail())
    });
}

#[test]
fn msmtp() {
    submits("msmtp", peer("msmtp", "msmtp"), |command, scene, way| {
        command.args(["--file=/dev/null", "--host=127.0.0.1", "--from=alice@client.test"]);
        command.args([format!("--port={}", scene.port(way))]);
        match way.link {
            Link::Clear => command.arg("--tls=off"),
            Link::Starttls => command.args(["--tls=on", "--tls-starttls=on"]),
            Link::Implicit => command.args(["--tls=on", "--tls-starttls=off"]),
        };
        if way.link != Link::Clear {
            command.arg(format!("--tls-trust-file={}", scene.cert()));
        }
        if way.login {
            // It refuses PLAIN in clear text, by itself.
            let mechanism = if way.link == Link::Clear { "scram-sha-256" } else { "plain" };
            command.arg(format!("--auth={mechanism}")).arg("--user=alice");
            command.arg(format!("--passwordeval=echo {PASSWORD}"));
        }
        command.arg("someone@example.net");
        Ok(mail())
    });
}

#[test]
fn s_nail() {
    submits("s-nail", peer("s-nail", "s-nail"), |command, scene, way| {
        let scheme = if way.link == Link::Implicit { "smtps" } else { "smtp" };
        let user = if way.login { format!("alice:{PASSWORD}@") } else { String::new() };
        let login = if way.login { "smtp-auth=plain" } else { "smtp-auth=none" };
        // It looks for names in certificates, never for addresses.
        let mta = format!("mta={scheme}://{user}localhost:{}", scene.port(way));
        let trust = format!("tls-ca-file={}", scene.cert());
        command.env("MAILRC", "/dev/null").arg("-:/");
        let mut set = vec!["v15-compat", &mta, login, &trust, "tls-verify=strict", "sendwait"];
        set.extend(["from=alice@client.test", "tls-ca-no-defaults", "DEAD=/dev/null"]);
        if way.link == Link::Starttls {
            set.push("smtp-use-starttls");
        }
        set.iter().for_each(|setting| _ = command.args(["-S", setting]));
        command.args(["-s", "hand-in", "someone@example.net"]);
        Ok(BODY.to_owned())
    });
}

#[test]
fn mutt() {
    submits("mutt", peer("mutt", "mutt"), |command, scene, way| {
        let scheme = if way.link == Link::Implicit { "smtps" } else { "smtp" };
        let user = if way.login { "alice@" } else { "" };
        let url = format!("smtp_url={scheme}://{user}127.0.0.1:{}/", scene.port(way));
        let trust = format!("certificate_file={}", scene.cert());
        let (force, starttls) = match way.link {
            Link::Clear => ("ssl_force_tls=no", "ssl_starttls=no"),
            _ => ("ssl_force_tls=yes", "ssl_starttls=yes"),
        };
        let pass = format!("smtp_pass={PASSWORD}");
        let settings = [&url, &trust, &pass, force, starttls, "smtp_authenticators=plain"];
        command.args(["-n", "-F", "/dev/null"]);
        let more = ["from=alice@client.test", "use_envelope_from=yes", "copy=no", "record=''"];
        for setting in settings.into_iter().chain(more) {
            command.args(["-e", &format!("set {setting}")]);
        }
        command.args(["-s", "hand-in", "someone@example.net"]);
        Ok(BODY.to_owned())
    });
}

#[test]
fn git_send_email() {
    submits("git send-email", peer("perl-smtp", "with-perl-smtp"), |command, scene, way| {
        let file = scene.place.path("mail.patch");
        fs::write(&file, mail()).unwrap();
        let encryption = match way.link {
            Link::Clear => "none",
            Link::Starttls => "tls",
            Link::Implicit => "ssl",
        };
        command.args(["git", "send-email", "--quiet", "--confirm=never", "--suppress-cc=all"]);
        command.args(["--from=alice@client.test", "--to=someone@example.net"]);
        command.args(["--smtp-server=127.0.0.1", "--smtp-domain=client.test"]);
        command.arg(format!("--smtp-server-port={}", scene.port(way)));
        command.arg(format!("--smtp-encryption={encryption}"));
        command.arg(format!("--smtp-ssl-cert-path={}", scene.cert()));
        if way.login {
            command.args(["--smtp-user=alice", &format!("--smtp-pass={PASSWORD}")]);
        }
        command.arg(&file).env("GIT_CONFIG_NOSYSTEM", "1");
        for (name, value) in [("NAME", "Alice"), ("EMAIL", "alice@client.test")] {
            command.env(format!("GIT_AUTHOR_{name}"), value);
            command.env(format!("GIT_COMMITTER_{name}"), value);
        }
        Ok(String::new())
    });
}

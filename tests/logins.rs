//! Sessions that log in, without any socket or clock: what a wrong password costs, and whom; what a
//! login allows, and when it is forgotten.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use mote::base::time::{Instant, Now};
use mote::config::{Config, Host, parse};
use mote::daemon::world::Secured;
use mote::intake::admission::Admission;
use mote::intake::peer::Peer;
use mote::intake::session::{Context, Session, Stand};
use mote::intake::throttle::{FAILURES_MAX, FORGET_AFTER};
use mote::intake::users::{Keys, Users, Vault};
use mote::intake::visitors::Visitors;
use mote::os::crypto::RingCrypto;
use mote::queue::Queue;
use mote::queue::disk::{Block, Disk, DiskError};
use mote::queue::recovery::{format, recover};
use mote::smtp::reply::Reply;
use mote::smtp::sasl::credentials::{Credential, Salt, Verifier};
use mote::smtp::sasl::server::OFFERED;
use mote::smtp::sasl::{Mechanisms, encode};
use std::num::NonZeroU32;
use std::time::Duration;

const CLEAR: &str = "relay = hold\nusers = /users\n[clients 0.0.0.0/0]\nclear-auth = yes\n\
                     [clients ::/0]\nclear-auth = yes\n";

/// What a queue lies on, and who may log in; nobody can when there are no users.
struct World {
    blocks: Vec<Block>,
    users: Option<Users>,
}

impl Disk for World {
    fn blocks(&self) -> u32 {
        self.blocks.len() as u32
    }
    fn read(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        *into = *self.blocks.get(number as usize).ok_or(DiskError::Io)?;
        Ok(())
    }
    fn read_medium(&mut self, number: u32, into: &mut Block) -> Result<(), DiskError> {
        self.read(number, into)
    }
    fn write(&mut self, number: u32, from: &Block) -> Result<(), DiskError> {
        *self.blocks.get_mut(number as usize).ok_or(DiskError::Io)? = *from;
        Ok(())
    }
    fn sync(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

impl Vault for World {
    fn users(&mut self, path: &str) -> Option<Keys<'_>> {
        assert_eq!(path, "/users");
        Some(Keys { users: self.users.as_ref()?, crypto: &RingCrypto })
    }
}

struct House {
    config: Config,
    world: World,
    queue: Queue,
    visitors: Visitors,
    now: Now,
}

impl House {
    fn new(text: &str) -> House {
        let host = Host { hostname: "mx.test", home: "/h", is_embedded: false, run: None };
        let config = parse(text.as_bytes(), &host).unwrap();
        let users = Some(users("user", "pencil", ""));
        let mut world = World { blocks: vec![[0; 4096]; 64], users };
        format(&mut world, [9; 24], 0).unwrap();
        let now = Now { instant: Instant::from_millis(1_000_000), ..Now::default() };
        let (queue, _) = recover(&mut world, now.instant, 16, None).unwrap();
        House { config, world, queue, visitors: Visitors::default(), now }
    }

    fn wait(&mut self, time: Duration) {
        self.now.instant = self.now.instant + time;
    }

    /// Somebody who has said EHLO.
    fn enter(&mut self, address: &str) -> Session {
        let mut session = self.connect(Peer::Tcp(address.parse().unwrap()), OFFERED);
        self.ask(&mut session, "EHLO client");
        session
    }

    fn connect(&mut self, peer: Peer, mechanisms: Mechanisms) -> Session {
        let admission = match peer {
            Peer::Tcp(address) => Admission::new(&self.config, self.config.client(address.ip())),
            Peer::Unix { .. } => Admission::local(&self.config, false),
        };
        let mut session = Session::new();
        session.open(peer, 0, admission, 0, self.now.instant);
        session.offer_login(mechanisms);
        session.greet(&self.config, self.now.instant);
        self.told(&mut session);
        session
    }

    /// What it is told on the line, in a turn of its own.
    fn ask(&mut self, session: &mut Session, line: &str) -> String {
        self.say(session, line);
        self.proceed(session);
        self.visitors.throttle.end_turn();
        self.told(session)
    }

    fn say(&self, session: &mut Session, line: &str) {
        let text = format!("{line}\r\n");
        session.input_mut()[..text.len()].copy_from_slice(text.as_bytes());
        session.received(text.len(), self.now.instant);
    }

    fn proceed(&mut self, session: &mut Session) {
        let House { config, world, queue, visitors, now } = self;
        let (disk, now) = (world, *now);
        session.proceed(&mut Context { config, queue, disk, lookout: &(), visitors, now });
    }

    fn told(&self, session: &mut Session) -> String {
        let text = String::from_utf8(session.output().to_vec()).unwrap();
        session.sent(text.len(), self.now.instant);
        text
    }
}

fn users(name: &str, password: &str, senders: &str) -> Users {
    let (rounds, salt) = (NonZeroU32::new(4096).unwrap(), Salt::new(&[7; 16]).unwrap());
    let verifier = Verifier::of(password.as_bytes(), rounds, salt, &RingCrypto);
    let mut hash = String::new();
    Credential::Password(verifier).write(&mut hash).unwrap();
    Users::parse(format!("{name}:{hash} {senders}\n").as_bytes()).ok().unwrap()
}

fn plain(name: &str, password: &str) -> String {
    let mut room = [0; 400];
    let raw = format!("\0{name}\0{password}");
    format!("AUTH PLAIN {}", encode(raw.as_bytes(), &mut room).unwrap())
}

#[test]
fn from_the_third_failure_on_the_answer_takes_longer() {
    let mut house = House::new(CLEAR);
    let mut session = house.enter("203.0.113.7:1");
    let wrong = plain("user", "wrong");
    for _ in 0..2 {
        assert!(house.ask(&mut session, &wrong).starts_with("535 5.7.8 "));
    }
    for seconds in [2, 4] {
        assert_eq!(house.ask(&mut session, &wrong), "");
        let deadline = session.deadline(&house.config).unwrap();
        assert_eq!(deadline.since(house.now.instant), Duration::from_secs(seconds));
        // Nothing is parsed meanwhile, and it does not come earlier.
        assert_eq!(house.ask(&mut session, "NOOP"), "");
        house.wait(Duration::from_secs(seconds) - Duration::from_millis(1));
        house.proceed(&mut session);
        assert_eq!(house.told(&mut session), "");
        house.wait(Duration::from_millis(1));
        house.proceed(&mut session);
        let told = house.told(&mut session);
        assert!(told.starts_with("535 5.7.8 ") && told.ends_with("\r\n250 2.0.0 Ok\r\n"), "{told}");
    }
    assert_eq!(house.ask(&mut session, &wrong), "");
    house.wait(Duration::from_secs(8));
    house.proceed(&mut session);
    assert!(house.told(&mut session).starts_with("421 4.7.0 "));
    assert!(session.stand() == Stand::Closing && session.deadline(&house.config).is_none());
}

#[test]
fn who_hangs_up_and_comes_again_is_not_forgotten() {
    let mut house = House::new(CLEAR);
    let mut failures = 0;
    while failures < FAILURES_MAX {
        let mut session = house.enter("[2001:db8::1]:1");
        assert!(house.ask(&mut session, "NOOP").starts_with("250"));
        let told = house.ask(&mut session, &plain("user", "wrong"));
        failures += 1;
        assert_eq!(told.is_empty(), failures > 2, "{told}");
        session.close(&mut house.queue);
    }
    // Another address of the same network, with the right password.
    let mut session = house.enter("[2001:db8::ffff:1]:1");
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("421 4.7.0 "));
    let mut session = house.enter("[2001:db8:1::1]:1");
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("235"));
    house.wait(FORGET_AFTER);
    let mut session = house.enter("[2001:db8::1]:1");
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("235"));
}

/// One check of a password stops everybody: the next waits for a turn, and only he.
#[test]
fn one_password_a_turn() {
    let mut house = House::new(CLEAR);
    let mut sessions: Vec<Session> =
        (1..=3).map(|last| house.enter(&format!("203.0.113.{last}:1"))).collect();
    for session in &mut sessions {
        house.say(session, &plain("user", "pencil"));
    }
    let mut bystander = house.enter("203.0.113.9:1");
    for turn in 1..=3 {
        sessions.iter_mut().for_each(|session| house.proceed(session));
        assert!(house.ask_in_turn(&mut bystander, "NOOP").starts_with("250"));
        assert_eq!(house.visitors.throttle.end_turn(), turn < 3);
        let told = |session: &mut Session| house.told(session).starts_with("235");
        assert_eq!(
            sessions.iter_mut().filter_map(|session| told(session).then_some(())).count(),
            1
        );
    }
}

impl House {
    /// The same without ending the turn.
    fn ask_in_turn(&mut self, session: &mut Session, line: &str) -> String {
        self.say(session, line);
        self.proceed(session);
        self.told(session)
    }
}

/// Asking for a name costs nothing, so it keeps nobody waiting.
#[test]
fn only_passwords_are_counted() {
    let mut house = House::new(CLEAR);
    let mut session = house.enter("203.0.113.7:1");
    for line in ["AUTH LOGIN", "dXNlcg==", "*", "AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9YWJj", "eA=="] {
        house.ask_in_turn(&mut session, line);
        assert!(!house.visitors.throttle.is_spent(), "{line}");
    }
    house.ask_in_turn(&mut session, &plain("user", "pencil"));
    assert!(house.visitors.throttle.is_spent());
}

/// A pipeline of guesses is no way around it.
#[test]
fn one_password_a_turn_of_one_peer() {
    let mut house = House::new(CLEAR);
    let mut session = house.enter("203.0.113.7:1");
    let wrong = plain("user", "wrong");
    house.say(&mut session, &format!("{wrong}\r\n{wrong}\r\nNOOP"));
    for expected in [1, 2] {
        house.proceed(&mut session);
        assert!(house.visitors.throttle.is_spent());
        let told = house.told(&mut session);
        assert_eq!(told.matches("\r\n").count(), expected, "{told}");
        house.visitors.throttle.end_turn();
    }
}

#[test]
fn a_session_that_ends_while_its_answer_is_held_back() {
    let mut house = House::new(CLEAR);
    let wrong = plain("user", "wrong");
    for end in 0..3 {
        let mut session = house.enter(&format!("203.0.113.{end}:1"));
        for _ in 0..3 {
            house.ask(&mut session, &wrong);
        }
        match end {
            0 => session.dismiss(Reply::SHUTTING_DOWN, &mut house.queue),
            1 => session.deserted(),
            _ => session.close(&mut house.queue),
        }
        house.wait(Duration::from_secs(60));
        if end == 0 {
            assert!(session.deadline(&house.config).is_none(), "the loop would never sleep");
            house.proceed(&mut session);
            assert!(house.told(&mut session).starts_with("421 4.3.2 "));
        }
        assert!(session.is_over());
        session.close(&mut house.queue);
        // The slot's next tenant knows nothing of it.
        let peer = Peer::Tcp("198.51.100.1:1".parse().unwrap());
        let admission =
            Admission::new(&house.config, house.config.client([198, 51, 100, 1].into()));
        session.open(peer, 0, admission, 0, house.now.instant);
        session.offer_login(OFFERED);
        session.greet(&house.config, house.now.instant);
        house.told(&mut session);
        house.ask(&mut session, "EHLO next");
        assert!(house.ask(&mut session, &wrong).starts_with("535"));
        house.wait(FORGET_AFTER);
    }
}

#[test]
fn a_login_lets_relay_and_binds_to_senders() {
    let mut house = House::new(CLEAR);
    house.world.users = Some(users("user", "pencil", "user@example.net"));
    let mut session = house.enter("203.0.113.7:1");
    assert!(house.ask(&mut session, "MAIL FROM:<other@example.net>").starts_with("250"));
    assert!(house.ask(&mut session, "RCPT TO:<far@example.org>").starts_with("550 5.7.1"));
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("503"));
    house.ask(&mut session, "RSET");
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("235"));
    assert!(house.ask(&mut session, "MAIL FROM:<other@example.net>").starts_with("553 5.7.1"));
    assert!(house.ask(&mut session, "MAIL FROM:<user@example.net>").starts_with("250"));
    assert!(house.ask(&mut session, "RCPT TO:<far@example.org>").starts_with("250"));
    house.ask(&mut session, "RSET");
    house.world.users = Some(users("another", "pencil", ""));
    assert!(house.ask(&mut session, "MAIL FROM:<user@example.net>").starts_with("530 5.7.0"));
    // Whether he still is one cannot be known now.
    house.world.users = None;
    assert!(house.ask(&mut session, "MAIL FROM:<user@example.net>").starts_with("454 4.7.0"));
    let mut session = house.enter("203.0.113.7:1");
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("454 4.7.0"));
}

/// Threats 2: a login before STARTTLS is none behind it.
#[test]
fn tls_forgets_who_had_logged_in() {
    let mut house = House::new(
        "relay = hold\nlisten = off\n\
         [listen a]\naddress = 127.0.0.1\ntls = starttls\ncert = /c\nkey = /k\n\
         auth = required\nusers = /users\n[clients 0.0.0.0/0]\nclear-auth = yes\n",
    );
    let peer = Peer::Tcp("203.0.113.7:1".parse().unwrap());
    let admission = Admission::new(&house.config, house.config.client([203, 0, 113, 7].into()));
    let mut session = Session::new();
    session.open(peer, 1, admission, 0, house.now.instant);
    session.offer_login(OFFERED);
    session.greet(&house.config, house.now.instant);
    house.told(&mut session);
    assert!(house.ask(&mut session, "EHLO client").contains("250-AUTH "));
    assert!(house.ask(&mut session, "MAIL FROM:<a@b.c>").starts_with("530 5.7.0"));
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("235"));
    assert!(house.ask(&mut session, "MAIL FROM:<a@b.c>").starts_with("250"));
    house.ask(&mut session, "RSET");
    assert!(house.ask(&mut session, "STARTTLS").starts_with("220"));
    assert!(session.begins_tls().is_some());
    session.securing();
    let secured = Secured { version: "TLSv1.3", cipher: "any" };
    session.secured(secured, &house.config, house.now.instant);
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("503"));
    house.ask(&mut session, "EHLO client");
    assert!(house.ask(&mut session, "MAIL FROM:<a@b.c>").starts_with("530 5.7.0"));
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("235"));
    assert!(house.ask(&mut session, "MAIL FROM:<a@b.c>").starts_with("250"));
}

#[test]
fn only_inside_tls_unless_the_range_says_otherwise() {
    let text = "relay = hold\nusers = /users\n[clients 192.0.2.0/24]\nclear-auth = yes\n";
    let mut house = House::new(text);
    for (address, is_offered) in
        [("203.0.113.7:1", false), ("127.0.0.1:1", false), ("192.0.2.1:1", true)]
    {
        let mut session = house.connect(Peer::Tcp(address.parse().unwrap()), OFFERED);
        let hello = house.ask(&mut session, "EHLO client");
        assert_eq!(hello.contains("AUTH"), is_offered, "{address}");
        let told = house.ask(&mut session, &plain("user", "pencil"));
        assert!(told.starts_with(if is_offered { "235" } else { "538 5.7.11" }), "{told}");
    }
    // Local users are known by the kernel's word.
    let mut session = house.connect(Peer::Unix { uid: 1000 }, Mechanisms::NONE);
    assert!(!house.ask(&mut session, "EHLO client").contains("AUTH"));
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("500"));
}

/// Whatever is said, nobody gets in without the password, and nothing breaks.
#[test]
fn garbage() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let good = plain("user", "pencil").split_off(11);
    let pieces: [&str; 20] = [
        "AUTH ",
        "PLAIN",
        "LOGIN",
        "SCRAM-SHA-256",
        " ",
        "=",
        "*",
        "\r\n",
        "\r",
        "\n",
        "dXNlcg==",
        "cGVuY2ls",
        "biwsbj11c2VyLHI9YWJj",
        "MAIL FROM:<a@b.c>",
        "RCPT TO:<d@e.f>",
        "RSET",
        "DATA",
        "STARTTLS",
        &good[..good.len() - 4],
        "AAAA",
    ];
    for _ in 0..300 {
        let mut house = House::new(CLEAR);
        let mut session = house.enter("203.0.113.7:1");
        for _ in 0..30 {
            let text: String = (0..random(7)).map(|_| pieces[random(pieces.len())]).collect();
            if session.stand() != Stand::Open || session.input_mut().len() < text.len() + 2 {
                break;
            }
            let told = house.ask(&mut session, &text);
            assert!(!told.contains("235 "), "{text:?}: {told}");
            if random(3) == 0 {
                house.wait(Duration::from_secs(10));
            }
        }
        session.dismiss(Reply::BUSY, &mut house.queue);
        if session.stand() != Stand::AwaitCommit {
            session.close(&mut house.queue);
        }
    }
}

/// A mail proxy's client, told by XCLIENT: failures are the address's that was told, and LOGIN is
/// one of a user of here only.
#[test]
fn a_proxy_s_clients_log_in_as_themselves() {
    let text = "[clients 203.0.113.1]\nrelay = no\nxclient = yes\n\
                [clients 198.51.100.0/24]\nrelay = no\nclear-auth = yes\n";
    let mut house = House::new(&format!("{CLEAR}{text}"));
    house.world.users = Some(users("user", "pencil", "user@example.net"));
    let speak_for = |house: &mut House, client: &str| {
        let mut session = house.enter("203.0.113.1:1");
        house.ask(&mut session, &format!("XCLIENT {client}"));
        assert!(session.take_new_face());
        session.greet(&house.config, house.now.instant);
        assert!(house.told(&mut session).starts_with("220 "));
        house.ask(&mut session, "EHLO client");
        session
    };
    for _ in 0..FAILURES_MAX {
        let mut session = speak_for(&mut house, "ADDR=198.51.100.7");
        house.ask(&mut session, &plain("user", "wrong"));
    }
    let mut session = speak_for(&mut house, "ADDR=198.51.100.7");
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("421 4.7.0 "));
    let mut session = speak_for(&mut house, "ADDR=198.51.100.8");
    assert!(house.ask(&mut session, &plain("user", "pencil")).starts_with("235"));

    for (login, is_one) in [("user", true), ("User", false), ("us+65r", true), ("nobody", false)] {
        let client = format!("ADDR=198.51.100.9 LOGIN={login}");
        let mut session = speak_for(&mut house, &client);
        let told = house.ask(&mut session, "MAIL FROM:<other@example.net>");
        assert_eq!(told.starts_with("553 5.7.1"), is_one, "{told}");
        house.ask(&mut session, "RSET");
        assert!(house.ask(&mut session, "MAIL FROM:<user@example.net>").starts_with("250"));
        let told = house.ask(&mut session, "RCPT TO:<far@example.org>");
        assert_eq!(told.starts_with("250"), is_one, "{login}: {told}");
    }
}

/// RFC 3207 §4.2, threats 2: what XCLIENT has told in the clear may be the word of somebody in
/// between, and must not decide inside TLS who may do what. Nor may whoever was told of tell of
/// others there: by STARTTLS through a proxy that passes his bytes on he could be anybody.
#[test]
fn who_was_told_of_in_the_clear_does_not_get_into_tls() {
    let mut house = House::new(
        "relay = hold\n[clients 192.0.2.1]\nxclient = yes\n[clients 198.51.100.0/24]\nrelay = yes\n\
         [listen tls]\naddress = ::1\ntls = starttls\ncert = /c\nkey = /k\n",
    );
    let peer = Peer::Tcp("192.0.2.1:1".parse().unwrap());
    let admission =
        Admission::new(&house.config, house.config.client("192.0.2.1".parse().unwrap()));
    let mut session = Session::new();
    session.open(peer, 1, admission, 0, house.now.instant);
    session.greet(&house.config, house.now.instant);
    // Somebody between the proxy and this machine.
    house.ask(&mut session, "XCLIENT ADDR=198.51.100.7");
    assert!(session.take_new_face());
    session.greet(&house.config, house.now.instant);
    house.told(&mut session);
    assert!(!house.ask(&mut session, "EHLO x").contains("STARTTLS"));
    let told = house.ask(&mut session, "STARTTLS");
    assert!(told.starts_with("500"), "{told}");
    assert_eq!(session.stand(), Stand::Open);
    // The slot's next tenant may.
    session.close(&mut house.queue);
    session.open(peer, 1, admission, 0, house.now.instant);
    session.greet(&house.config, house.now.instant);
    house.told(&mut session);
    assert!(house.ask(&mut session, "EHLO proxy").contains("250-STARTTLS"));
    assert!(house.ask(&mut session, "STARTTLS").starts_with("220"));
    assert!(session.begins_tls().is_some());
    session.securing();
    let secured = Secured { version: "1.3", cipher: "TLS_AES_128_GCM_SHA256" };
    session.secured(secured, &house.config, house.now.instant);
    house.ask(&mut session, "EHLO proxy");
    house.ask(&mut session, "XCLIENT ADDR=198.51.100.7");
    assert!(session.take_new_face());
    assert_eq!(session.peer(), Peer::Tcp("198.51.100.7:0".parse().unwrap()));
}

/// A line that no login can come of was held until the next turn, for which nobody waited: it lay
/// there until the session's deadline.
#[test]
fn who_cannot_log_in_does_not_wait_for_those_who_can() {
    let mut house = House::new(CLEAR);
    let mut session = house.connect(Peer::Tcp("203.0.113.7:1".parse().unwrap()), Mechanisms::NONE);
    house.ask(&mut session, "EHLO client");
    // Somebody else has had his password checked in this turn.
    house.visitors.throttle.spend();
    house.say(&mut session, "AUTH PLAIN AHVzZXIAcGVuY2ls");
    house.proceed(&mut session);
    let told = house.told(&mut session);
    assert!(house.visitors.throttle.end_turn() || !told.is_empty(), "held, and nobody comes back");
}

/// `sendmail -bs` under inetd: logins were offered by the peer of the socket, which is root, and
/// whoever that told of was offered none.
#[test]
fn who_comes_by_inetd_may_log_in_as_if_he_had_connected() {
    let mut house = House::new(CLEAR);
    let mut session = Session::new();
    let admission = Admission::local(&house.config, true);
    session.open(Peer::Unix { uid: 0 }, 0, admission, 0, house.now.instant);
    session.greet(&house.config, house.now.instant);
    house.told(&mut session);
    house.ask(&mut session, "XCLIENT ADDR=203.0.113.7 PORT=1");
    assert!(session.take_new_face());
    session.greet(&house.config, house.now.instant);
    let told = house.told(&mut session);
    assert!(told.starts_with("220"), "{told}");
    let told = house.ask(&mut session, "EHLO client");
    assert!(told.contains("250-AUTH "), "a direct client of this listener is offered it: {told}");
}

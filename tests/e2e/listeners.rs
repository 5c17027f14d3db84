//! Where mail comes in, through the real binary: sockets that were handed over, Unix sockets, and
//! an interface whose addresses change, or that is made anew.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::instance::{Place, binary, free_port};
use crate::load::{shared, wait_for};
use crate::session::{Session, message};

/// What the server says first, and to a hello.
fn greeted(stream: &mut (impl Read + Write)) -> String {
    stream.write_all(b"EHLO x\r\nQUIT\r\n").unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    told
}

#[test]
fn sockets_that_were_handed_over() {
    let _running = shared();
    let place = Place::in_memory(
        "relay = hold\n[listen lan]\naddress = inherited\n\
         [clients 127.0.0.0/8]\nrelay = yes\nrecipients = 7\n",
    );
    // The key `listen` stands for what no section names.
    let text = fs::read_to_string(place.config()).unwrap();
    let listen = format!("listen = 127.0.0.1:{}", place.port);
    fs::write(place.config(), text.replace(&listen, &format!("{listen} inherited"))).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let path = place.path("handed-over");
    let unix = UnixListener::bind(&path).unwrap();
    // This one comes before anybody serves: it waits in the backlog.
    let mut early = TcpStream::connect(address).unwrap();
    let sockets = [OwnedFd::from(tcp), OwnedFd::from(unix)];
    let mut mote = place.serve_inheriting("lan:mote.socket", sockets);
    let told = greeted(&mut early);
    assert_eq!(mote.logged(&format!("listening on {address}")), 1);
    assert_eq!(mote.logged("nobody listens on"), 0);
    assert!(told.contains("250-LIMITS RCPTMAX=7\r\n"), "{told}");
    assert!(greeted(&mut TcpStream::connect(address).unwrap()).starts_with("220 mote.test"));
    // By the Unix socket it is the kernel's word who comes, and who has an account may send.
    let mut local = BufReader::new(UnixStream::connect(&path).unwrap());
    let commands = "EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\nhi\r\n.\r\n";
    local.get_mut().write_all(commands.as_bytes()).unwrap();
    let queued = local.lines().map(Result::unwrap).find(|line| line.contains("queued as"));
    assert!(queued.is_some());
    wait_for("the log", Duration::from_secs(5), || mote.logged("client=local uid=") == 1);
    mote.signal("TERM");
    assert!(mote.ended(Duration::from_secs(15)).success());
}

#[test]
fn sockets_that_are_missing_or_unused_are_told() {
    let _running = shared();
    let place = Place::in_memory("relay = hold\n[listen smtps]\naddress = inherited\n");
    let output = place.run(&["serve"]);
    assert_eq!(output.status.code(), Some(78));
    let told = String::from_utf8(output.stderr).unwrap();
    let expected = "[listen smtps]: address = inherited: no such socket was handed over";
    assert!(told.contains(expected), "{told}");

    let place = Place::in_memory("relay = hold\n");
    let sockets = || {
        let socket = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        [socket(), socket()]
    };
    let mote = place.serve_inheriting("one:two", sockets());
    let expected = "nobody listens on the socket 'one' that was handed over";
    wait_for("the log", Duration::from_secs(5), || mote.logged(expected) == 1);
    drop(mote);

    // Neither is a listener: this is what Accept=yes hands over.
    let (near, _far) = UnixStream::pair().unwrap();
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_mote"), "-C"]).arg(place.config());
    let output = command.arg("serve").stdin(OwnedFd::from(near)).output().unwrap();
    assert_eq!(output.status.code(), Some(71));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("descriptor 3") && told.contains("not a listening"), "{told}");
}

/// By the program that systemd has for trying this.
#[test]
fn as_systemd_hands_sockets_over() {
    let _running = shared();
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        eprintln!("skipped: systemd-socket-activate: it is not installed");
        return;
    }
    let place = Place::in_memory("relay = hold");
    let text = fs::read_to_string(place.config()).unwrap();
    let listen = format!("listen = 127.0.0.1:{}", place.port);
    fs::write(place.config(), text.replace(&listen, "listen = inherited")).unwrap();
    let mut command = Command::new("systemd-socket-activate");
    command.args([
        "-l",
        &format!("127.0.0.1:{}", place.port),
        &binary().display().to_string(),
        "-C",
    ]);
    command.arg(place.config()).arg("serve").stdin(Stdio::null()).stderr(Stdio::null());
    let _activator = Ended(command.spawn().unwrap());
    let mut session = None;
    wait_for("the socket", Duration::from_secs(10), || {
        session = Session::connect(place.port).ok();
        session.is_some()
    });
    let (mut session, greeting) = session.unwrap();
    assert_eq!(greeting.code, 220);
    assert_eq!(session.ask("EHLO x").unwrap().code, 250);
    assert!(session.deliver("you@example.net", &message(1, 200)).unwrap());
}

/// A child that ends with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const INSIDE: &str = "TEST_INSIDE";

/// Runs this test again, alone in a network of its own; false there.
pub(crate) fn is_outside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let probe = Command::new("unshare").args(["-n", "ip", "link", "add", "type", "veth"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {name}: it needs root, unshare and ip for a network of its own");
        return true;
    }
    let own = std::env::current_exe().unwrap();
    let mut inside = Command::new("unshare");
    inside.args(["-n", "sh", "-c", "ip link set lo up && exec \"$0\" --exact --nocapture \"$1\""]);
    let output = inside.arg(own).arg(name).env(INSIDE, "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}\n{errors}");
    true
}

/// A second network, joined to this one by the interfaces v0 (here) and v1 (there).
pub(crate) struct Neighbour(Ended);

impl Neighbour {
    pub(crate) fn new() -> Neighbour {
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", "ip link set lo up; echo up; exec sleep 600"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 3];
        child.stdout.take().unwrap().read_exact(&mut line).unwrap();
        Neighbour(Ended(child))
    }

    fn pid(&self) -> u32 {
        self.0.0.id()
    }

    /// Makes the pair, anew if need be.
    pub(crate) fn join(&self, here: &str, there: &str) {
        let pid = self.pid();
        sh(&format!(
            "ip link del v0 2>/dev/null; ip link add v0 type veth peer name v1 && \
             ip link set v1 netns {pid} && ip addr add {here} dev v0 && ip link set v0 up && \
             nsenter -t {pid} -n ip addr add {there} dev v1 && \
             nsenter -t {pid} -n ip link set v1 up"
        ));
    }

    /// A listener there.
    pub(crate) fn listen(&self, address: &str) -> TcpListener {
        let address = address.to_owned();
        self.there(move || TcpListener::bind(address).unwrap())
    }

    /// Whether somebody there is greeted at `address`.
    fn is_greeted(&self, address: &str) -> bool {
        let address = address.parse().unwrap();
        self.there(move || {
            let patience = Duration::from_secs(2);
            TcpStream::connect_timeout(&address, patience)
                .is_ok_and(|mut stream| greeted(&mut stream).starts_with("220 mote.test"))
        })
    }

    /// Does something there.
    #[allow(unsafe_code)]
    fn there<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        let moved = move || {
            // SAFETY: the descriptor is open; only this thread moves there.
            assert_eq!(unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            what()
        };
        std::thread::spawn(moved).join().unwrap()
    }
}

pub(crate) fn sh(script: &str) {
    assert!(Command::new("sh").args(["-c", script]).status().unwrap().success(), "{script}");
}

#[test]
fn an_interface_is_listened_on_whatever_becomes_of_it() {
    let _running = shared();
    if is_outside("listeners::an_interface_is_listened_on_whatever_becomes_of_it") {
        return;
    }
    let neighbour = Neighbour::new();
    neighbour.join("10.77.0.1/24", "10.77.0.2/24");
    sh("ip link add w0 type veth peer name w1; ip addr add 10.88.0.1/24 dev w0; ip link set w0 up");
    let port = free_port();
    let place = Place::in_memory(&format!("relay = hold\n[listen lan]\naddress = v0:{port}\n"));
    let mote = place.serve();
    let is_greeted = |address: &str| neighbour.is_greeted(&format!("{address}:{port}"));
    assert!(is_greeted("10.77.0.1"));
    // Another address of this machine is no address of that interface, and this one is.
    sh(&format!("nsenter -t {} -n ip route add 10.88.0.0/24 via 10.77.0.1", neighbour.pid()));
    assert!(is_greeted("10.88.0.1"), "what arrives through the interface is served");
    assert!(TcpStream::connect(("10.88.0.1", port)).is_err(), "and nothing else");
    sh("ip addr del 10.77.0.1/24 dev v0; ip addr add 10.77.0.9/24 dev v0");
    assert!(is_greeted("10.77.0.9"), "a new address");
    sh("ip -6 addr add fd77::1/64 dev v0 nodad");
    let pid = neighbour.pid();
    sh(&format!("nsenter -t {pid} -n ip -6 addr add fd77::2/64 dev v1 nodad"));
    wait_for("IPv6", Duration::from_secs(10), || is_greeted("[fd77::1]"));
    // What a router does that restarts its network.
    neighbour.join("10.77.0.1/24", "10.77.0.2/24");
    wait_for("the interface", Duration::from_secs(10), || is_greeted("10.77.0.1"));
    assert!(mote.logged("interface v0 was made anew; listening on it again") > 0);
}

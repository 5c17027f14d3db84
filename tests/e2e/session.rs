//! A small, strict SMTP client: one session, one reply at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::FromRawFd as _;
use std::time::Duration;

/// What the server said, all its lines.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) text: String,
}

/// One connection to a server on loopback.
pub(crate) struct Session {
    stream: BufReader<TcpStream>,
}

impl Session {
    /// Connects and greets; the server must be willing.
    #[track_caller]
    pub(crate) fn open(port: u16) -> Session {
        let (mut session, greeting) = Session::connect(port).unwrap();
        assert_eq!(greeting.code, 220, "{greeting:?}");
        let hello = session.ask("EHLO client.test").unwrap();
        assert_eq!(hello.code, 250, "{hello:?}");
        session
    }

    pub(crate) fn connect(port: u16) -> io::Result<(Session, Reply)> {
        Session::over(TcpStream::connect(("127.0.0.1", port))?)
    }

    /// Connects from another address of loopback: another device, as far as mote can know.
    pub(crate) fn connect_from(source: &str, port: u16) -> io::Result<(Session, Reply)> {
        Session::over(connect_from(source.parse().unwrap(), port)?)
    }

    /// Connects from there and says `header` first, as a load balancer does.
    pub(crate) fn connect_behind(
        source: &str,
        header: &str,
        port: u16,
    ) -> io::Result<(Session, Reply)> {
        let mut stream = connect_from(source.parse().unwrap(), port)?;
        stream.write_all(header.as_bytes())?;
        Session::over(stream)
    }

    fn over(stream: TcpStream) -> io::Result<(Session, Reply)> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        let mut session = Session { stream: BufReader::new(stream) };
        let greeting = session.reply()?;
        Ok((session, greeting))
    }

    pub(crate) fn ask(&mut self, command: &str) -> io::Result<Reply> {
        self.write(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one reply; a line that does not end in CRLF is an error.
    pub(crate) fn reply(&mut self) -> io::Result<Reply> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let strict = line.ends_with("\r\n") && line.len() >= 5;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let (true, Some(code)) = (strict, code) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{line:?}")));
            };
            text.push_str(&line);
            if line.as_bytes()[3] == b' ' {
                return Ok(Reply { code, text });
            }
        }
    }

    /// Envelope and the 354; then the message may be written.
    #[track_caller]
    pub(crate) fn begin(&mut self, recipient: &str) {
        for (command, code) in [
            ("MAIL FROM:<sender@client.test>".to_owned(), 250),
            (format!("RCPT TO:<{recipient}>"), 250),
            ("DATA".to_owned(), 354),
        ] {
            let reply = self.ask(&command).unwrap();
            assert_eq!(reply.code, code, "{command}: {reply:?}");
        }
    }

    /// Sends one message, which must be without lines that begin with a dot; true if it was
    /// acknowledged.
    pub(crate) fn deliver(&mut self, recipient: &str, message: &[u8]) -> io::Result<bool> {
        let envelope =
            format!("MAIL FROM:<sender@client.test>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n");
        self.write(envelope.as_bytes())?;
        for code in [250, 250, 354] {
            if self.reply()?.code != code {
                return Ok(false);
            }
        }
        self.write(message)?;
        self.write(b".\r\n")?;
        Ok(self.reply()?.code == 250)
    }

    /// What is left until the server closes.
    pub(crate) fn rest(mut self) -> io::Result<String> {
        let mut text = String::new();
        self.stream.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// A message of about so many bytes with a number in its header.
pub(crate) fn message(number: usize, bytes: usize) -> Vec<u8> {
    let mut message = format!(
        "From: sender@client.test\r\nTo: someone@example.net\r\nSubject: {number}\r\n\
         Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <{number}@client.test>\r\n\
         X-Number: {number}\r\n\r\n"
    )
    .into_bytes();
    let line = b"The quick brown fox jumps over the lazy dog, and so does this line of text.\r\n";
    while message.len() + line.len() <= bytes {
        message.extend_from_slice(line);
    }
    message
}

/// Std does not bind before it connects.
#[allow(unsafe_code)]
fn connect_from(source: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let name = |address: Ipv4Addr, port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    let (near, far) = (name(source, 0), name(Ipv4Addr::LOCALHOST, port));
    let len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let checked =
        |result: i32| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: the descriptor is new and nobody else's; both names live, and are `len` bytes long.
    unsafe {
        let raw = checked(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
        let stream = TcpStream::from_raw_fd(raw);
        checked(libc::bind(raw, (&raw const near).cast(), len))?;
        checked(libc::connect(raw, (&raw const far).cast(), len))?;
        Ok(stream)
    }
}

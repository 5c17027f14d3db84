//! A next hop of our own: offers what it is told to offer, says yes to all but the recipients it is
//! told to refuse, and writes down what it hears.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// See the module's head. Its threads end with the test.
pub(crate) struct NextHop {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl NextHop {
    /// `offers` are lines of the answer to EHLO; whoever has `refused` in his address gets 550,
    /// whoever has `later` 450.
    pub(crate) fn start(offers: &[&str]) -> NextHop {
        NextHop::by(TcpListener::bind("127.0.0.1:0").unwrap(), offers)
    }

    /// By a listener of somebody else's making.
    pub(crate) fn by(listener: TcpListener, offers: &[&str]) -> NextHop {
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let offers: Vec<String> = offers.iter().map(ToString::to_string).collect();
        let written = heard.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (offers, written) = (offers.clone(), written.clone());
                thread::spawn(move || talk(stream.unwrap(), &offers, &written));
            }
        });
        NextHop { port, heard }
    }

    /// Commands in their order; a message is one entry, as it was sent, behind DATA or BDAT.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Those that begin so.
    pub(crate) fn heard_of(&self, word: &str) -> Vec<String> {
        self.heard().into_iter().filter(|line| line.starts_with(word)).collect()
    }
}

fn talk(stream: TcpStream, offers: &[String], heard: &Mutex<Vec<String>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"220 hop.test ESMTP\r\n").ok()?;
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_string();
        heard.lock().unwrap().push(line.clone());
        let note = |bytes: &[u8]| {
            heard.lock().unwrap().push(String::from_utf8_lossy(bytes).into_owned());
        };
        let reply = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => {
                let lines = offers.iter().map(|offer| format!("250-{offer}\r\n"));
                format!("250-hop.test\r\n{}250 HELP", lines.collect::<String>())
            }
            "RCPT" if line.contains("refused") => "550 5.1.1 refused".into(),
            "RCPT" if line.contains("later") => "450 4.2.1 later".into(),
            "DATA" => {
                stream.get_mut().write_all(b"354 Go\r\n").ok()?;
                let mut text = Vec::new();
                while text != b".\r\n" && !text.ends_with(b"\r\n.\r\n") {
                    stream.read_until(b'\n', &mut text).ok()?;
                }
                note(&text);
                "250 2.0.0 taken".into()
            }
            "BDAT" => {
                let count = line.split(' ').nth(1)?.parse().ok()?;
                let mut chunk = vec![0; count];
                stream.read_exact(&mut chunk).ok()?;
                note(&chunk);
                "250 2.0.0 taken".into()
            }
            "QUIT" => "221 2.0.0 Bye".into(),
            _ => "250 2.0.0 Ok".into(),
        };
        stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).ok()?;
    }
}

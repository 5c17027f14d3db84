//! What a peer may send as the beginning of TLS: records put together in the buffers that all
//! share, with buffers left and without.

use super::Cuts;
use mote::daemon::world::{NetError, Token, Transfer};
use mote::os::tls::{Connection, Files, Tls, Wire};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

/// More peers than there are buffers.
const CROWD: u16 = 12;

/// Takes the input for all that a peer sends, up to its end.
pub(super) fn record(input: &[u8]) {
    thread_local! {
        static TLS: RefCell<Tls> = RefCell::new(open());
    }
    let (mut cuts, bytes) = Cuts::read(input);
    TLS.with_borrow_mut(|tls| {
        tls.begin_turn(Instant::now());
        let whole = play(tls, &[bytes]);
        assert_eq!(play(tls, &cuts.pieces(bytes)), whole);
        // The same while others hold all the buffers with half a record each.
        let mut crowd: Vec<(Connection, Pipe)> =
            (1..=CROWD).map(|number| serve(tls, number)).collect();
        for (connection, pipe) in &mut crowd {
            pipe.incoming.extend([22, 3, 1, 1, 0, 1]);
            assert_eq!(connection.receive(pipe, &mut [0; 100], tls), Transfer::NotReady);
        }
        play(tls, &[bytes]);
        play(tls, &cuts.pieces(bytes));
        crowd.iter_mut().for_each(|(connection, pipe)| connection.close(pipe, tls));
    });
}

fn open() -> Tls {
    let folder = std::env::temp_dir().join(format!("mote-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&cert, include_str!("../../tls/p256.crt")).unwrap();
    fs::write(&key, include_str!("../../tls/p256.key")).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let files = Files { listener: "fuzz".into(), cert, key };
    let opened = Tls::open(&[Some(files)], 2 * CROWD, Instant::now());
    // It is read by now.
    let _ = fs::remove_dir_all(&folder);
    opened.unwrap().unwrap()
}

fn serve(tls: &mut Tls, number: u16) -> (Connection, Pipe) {
    let address = [192, 0, 2, number as u8].into();
    (tls.serve(0, true, Token(number), address).unwrap(), Pipe::default())
}

/// How it ends.
fn play(tls: &mut Tls, pieces: &[&[u8]]) -> Option<NetError> {
    let (mut connection, mut pipe) = serve(tls, 0);
    let mut ended = None;
    let pieces = pieces.iter().copied().filter(|piece| !piece.is_empty());
    for piece in pieces.chain([&[][..]]) {
        pipe.incoming.extend(piece);
        pipe.is_ended = piece.is_empty();
        loop {
            match connection.receive(&mut pipe, &mut [0; 100], tls) {
                Transfer::Bytes(_) => panic!("text, though nothing was agreed on"),
                Transfer::NotReady | Transfer::Closed => {}
                Transfer::Failed(error) => ended = Some(error),
            }
            assert!(connection.secured().is_none());
            if tls.next_event().is_none() {
                break;
            }
        }
        let sent = connection.send(&mut pipe, b"250", tls);
        assert!(!matches!(sent, Transfer::Bytes(_)), "{sent:?}");
    }
    connection.close(&mut pipe, tls);
    ended
}

/// The server's end of a connection.
#[derive(Default)]
struct Pipe {
    incoming: VecDeque<u8>,
    is_ended: bool,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(into)? {
            0 if self.is_ended => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire for Pipe {
    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there: Vec<u8> = self.incoming.iter().copied().take(into.len()).collect();
        into[..there.len()].copy_from_slice(&there);
        Ok(there.len())
    }
}

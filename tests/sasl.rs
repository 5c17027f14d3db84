//! Logging in, both sides of it: the vectors of the RFCs, each mechanism against its other side,
//! everything that is malformed, and garbage by the hundred thousand.
//!
//! The arithmetic is the product's own (ring); only the nonces are fixed where a vector wants it.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use mote::base::secret::Secret;
use mote::os::crypto::RingCrypto;
use mote::smtp::sasl::client::{self, ClientError, Login, SecretKind, choose, status_of};
use mote::smtp::sasl::cram::CramKey;
use mote::smtp::sasl::credentials::{Credential, Keys, Salt, Verifier};
use mote::smtp::sasl::server::{Account, Accounts, Books, Challenge, Exchange, OFFERED, Progress};
use mote::smtp::sasl::{Crypto, Hash, Mechanism, Mechanisms, Nonce};
use std::cell::Cell;
use std::num::NonZeroU32;

/// Ring with a nonce that is known beforehand, and a count of what takes time.
struct Fixed {
    nonce: &'static str,
    derived: Cell<u32>,
}

impl Fixed {
    fn new(nonce: &'static str) -> Fixed {
        Fixed { nonce, derived: Cell::new(0) }
    }
}

impl Crypto for Fixed {
    fn hmac(&self, key: &[u8], parts: &[&[u8]]) -> Hash {
        RingCrypto.hmac(key, parts)
    }
    fn digest(&self, bytes: &[u8]) -> Hash {
        RingCrypto.digest(bytes)
    }
    fn pbkdf2(&self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Hash {
        self.derived.set(self.derived.get() + iterations.get());
        RingCrypto.pbkdf2(password, salt, iterations)
    }
    fn random(&self, bytes: &mut [u8]) {
        RingCrypto.random(bytes);
    }
    fn nonce(&self) -> Nonce {
        Nonce::from(self.nonce)
    }
}

const ROUNDS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
const SALT: [u8; 16] = [
    0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81,
];

/// One user.
struct One {
    name: &'static str,
    verifier: Verifier,
    cram: Option<CramKey>,
}

impl One {
    fn new(name: &'static str, password: &str) -> One {
        let salt = Salt::new(&SALT).unwrap();
        let verifier = Verifier::of(password.as_bytes(), ROUNDS, salt, &RingCrypto);
        One { name, verifier, cram: Some(CramKey::of(password.as_bytes())) }
    }
}

impl Accounts for One {
    fn look_up(&self, name: &str, crypto: &dyn Crypto) -> Account {
        let decoy = Verifier::decoy(name, &[7; 32], &self.verifier, crypto);
        if name == self.name {
            Account { verifier: self.verifier, cram: self.cram, exists: true }
        } else {
            Account { verifier: decoy, cram: None, exists: false }
        }
    }
}

/// The server's side of a whole exchange: what it said, and how it ended.
fn play(
    accounts: &dyn Accounts,
    crypto: &dyn Crypto,
    mechanism: Mechanism,
    messages: &[&[u8]],
) -> (Vec<String>, Progress) {
    let books = Books { accounts, crypto };
    let mut exchange = Exchange::new();
    let mut challenge = Challenge::new();
    let mut said = Vec::new();
    let mut progress = exchange.begin(mechanism, None, books, &mut challenge);
    for message in messages {
        if progress != Progress::Challenge {
            break;
        }
        said.push(challenge.as_str().to_owned());
        progress = exchange.respond(message, books, &mut challenge);
    }
    if progress == Progress::Challenge {
        said.push(challenge.as_str().to_owned());
    }
    (said, progress)
}

fn ended(mechanism: Mechanism, messages: &[&[u8]]) -> Progress {
    play(&One::new("user", "pencil"), &RingCrypto, mechanism, messages).1
}

/// RFC 7677 §3.
const VECTOR: [&str; 4] = [
    "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
];
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

#[test]
fn scram_of_rfc_7677_on_the_server() {
    let crypto = Fixed::new(SERVER_NONCE);
    let user = One::new("user", "pencil");
    let messages: [&[u8]; 3] = [VECTOR[0].as_bytes(), VECTOR[2].as_bytes(), b""];
    let (said, progress) = play(&user, &crypto, Mechanism::ScramSha256, &messages);
    assert_eq!(said, ["", VECTOR[1], VECTOR[3]]);
    assert_eq!(progress, Progress::Accepted);
    assert_eq!(crypto.derived.get(), 0, "the server has no need of PBKDF2");
}

#[test]
fn scram_of_rfc_7677_on_the_client() {
    let crypto = Fixed::new("rOprNGfwEbeRWgbNEkqO");
    let login = login("user", SecretKind::Password(b"pencil"));
    let mut exchange = client::Exchange::new(Mechanism::ScramSha256, &crypto);
    let mut out = Secret::<4096>::new();
    assert_eq!(exchange.initial(&login, &mut out), Ok(true));
    assert_eq!(out.expose(), VECTOR[0].as_bytes());
    exchange.respond(VECTOR[1].as_bytes(), &login, &crypto, &mut out).unwrap();
    assert_eq!(out.expose(), VECTOR[2].as_bytes());
    assert_eq!(exchange.is_proven(), Err(ClientError::Impostor), "235 too early");
    exchange.respond(VECTOR[3].as_bytes(), &login, &crypto, &mut out).unwrap();
    assert_eq!(exchange.is_proven(), Ok(()));
    assert_eq!(out.expose(), b"");
}

/// What an impostor shows is no proof, and afterwards nothing is.
#[test]
fn an_impostor_is_found_out() {
    let crypto = Fixed::new("rOprNGfwEbeRWgbNEkqO");
    let login = login("user", SecretKind::Password(b"pencil"));
    for forged in ["", "v=", "v=6rri", "e=other-error", &VECTOR[3].replace("6rri", "7rri")] {
        let mut exchange = client::Exchange::new(Mechanism::ScramSha256, &crypto);
        let mut out = Secret::<4096>::new();
        exchange.initial(&login, &mut out).unwrap();
        exchange.respond(VECTOR[1].as_bytes(), &login, &crypto, &mut out).unwrap();
        let mut respond = |text: &str| exchange.respond(text.as_bytes(), &login, &crypto, &mut out);
        assert_eq!(respond(forged), Err(ClientError::Impostor), "{forged}");
        assert_eq!(respond(VECTOR[3]), Err(ClientError::Challenge));
        assert!(exchange.is_proven().is_err());
    }
}

/// A server that asks again for what it has, and then says 235 to the cancellation.
#[test]
fn after_an_error_nothing_is_proven() {
    let login = login("user", SecretKind::Password(b"pencil"));
    let mut exchange = client::Exchange::new(Mechanism::Plain, &RingCrypto);
    let mut out = Secret::<4096>::new();
    exchange.initial(&login, &mut out).unwrap();
    let error = exchange.respond(b"", &login, &RingCrypto, &mut out);
    assert_eq!(error, Err(ClientError::Challenge));
    assert!(out.is_empty() && exchange.is_proven().is_err());
}

#[test]
fn the_keys_of_a_password() {
    // What PostgreSQL keeps for the same password and salt; and the hash as PBKDF2 alone has it.
    let One { verifier, .. } = One::new("user", "pencil");
    let mut text = String::new();
    Credential::Password(verifier).write(&mut text).unwrap();
    let expected = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                    WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                    wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    assert_eq!(text, expected);
    let hash = RingCrypto.pbkdf2(b"pencil", &SALT, ROUNDS);
    for keys in [verifier.keys, Keys::Pbkdf2(hash)] {
        let verifier = Verifier { keys, ..verifier };
        assert!(verifier.is_password(b"pencil", &RingCrypto));
        for wrong in [&b""[..], b"pencil ", b"Pencil", b"pencilpencil"] {
            assert!(!verifier.is_password(wrong, &RingCrypto));
        }
    }
}

/// RFC 7914 §11.
#[test]
fn pbkdf2_of_rfc_7914() {
    let key = RingCrypto.pbkdf2(b"passwd", b"salt", NonZeroU32::MIN);
    let expected = "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";
    assert_eq!(key.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), expected);
}

#[test]
fn plain() {
    let ended = |message: &[u8]| ended(Mechanism::Plain, &[message]);
    assert_eq!(ended(b"\0user\0pencil"), Progress::Accepted);
    assert_eq!(ended(b"user\0user\0pencil"), Progress::Accepted);
    // Threats 26: any other count of NULs, at any place; and empty fields.
    for bad in [
        &b""[..],
        b"\0",
        b"\0\0",
        b"\0\0\0",
        b"user",
        b"user\0pencil",
        b"\0user",
        b"\0user\0",
        b"\0\0pencil",
        b"user\0\0pencil",
        b"\0user\0pencil\0",
        b"\0user\0\0pencil",
        b"\0user\0pen\0cil",
        b"\0\0user\0pencil",
        b"\0us\0er\0pencil",
        b"root\0user\0pencil",
        b"\0User\0pencil",
        b"\0user\0pencil\r\n",
        b"\0user \0pencil",
        b"\0user\xff\0pencil",
        b"\0user\0Pencil",
        b"\0user\0penci",
    ] {
        assert_eq!(ended(bad), Progress::Refused, "{}", bad.escape_ascii());
    }
    let name = [&b"\0"[..], &[b'u'; 65], b"\0pencil"].concat();
    let password = [&b"\0user\0"[..], &[b'p'; 257]].concat();
    let zeros = [0; 1500];
    assert_eq!(ended(&name), Progress::Refused);
    assert_eq!(ended(&password), Progress::Refused);
    assert_eq!(ended(&zeros), Progress::Refused);
}

#[test]
fn login_in_two_steps_and_with_the_name_in_the_first() {
    let user = One::new("user", "pencil");
    let (said, progress) = play(&user, &RingCrypto, Mechanism::Login, &[b"user", b"pencil"]);
    assert_eq!(said, ["Username:", "Password:"]);
    assert_eq!(progress, Progress::Accepted);
    let books = Books { accounts: &user, crypto: &RingCrypto };
    let (mut exchange, mut challenge) = (Exchange::new(), Challenge::new());
    let progress = exchange.begin(Mechanism::Login, Some(b"user"), books, &mut challenge);
    assert_eq!((progress, challenge.as_str()), (Progress::Challenge, "Password:"));
    assert_eq!(exchange.respond(b"pencil", books, &mut challenge), Progress::Accepted);
    assert_eq!(exchange.name(), "user");
    // It is over: nothing more is accepted.
    assert_eq!(exchange.respond(b"pencil", books, &mut challenge), Progress::Refused);
    for (name, password) in [
        (&b""[..], &b"pencil"[..]),
        (b"user", b""),
        (b"user\0", b"pencil"),
        (b"user", b"pencil\0"),
        (b"\xff", b"pencil"),
        (&[b'u'; 1500], b"pencil"),
        (b"user", &[b'p'; 1500]),
        (b"nobody", b"pencil"),
    ] {
        assert_eq!(ended(Mechanism::Login, &[name, password]), Progress::Refused);
    }
}

/// Threats 26: the same words after the same work, whether there is such a user or not.
#[test]
fn nobody_looks_like_somebody() {
    let user = One::new("user", "pencil");
    for (mechanism, messages) in [
        (Mechanism::Plain, [b"\0NAME\0wrong".to_vec(), vec![]]),
        (Mechanism::Plain, [b"\0NAME\0".to_vec(), vec![]]),
        (Mechanism::Plain, [[&b"\0NAME\0"[..], &[b'x'; 300]].concat(), vec![]]),
        (Mechanism::Login, [b"NAME".to_vec(), b"wrong".to_vec()]),
        (Mechanism::ScramSha256, [b"n,,n=NAME,r=abc".to_vec(), b"c=biws,r=abcN,p=AAAA".to_vec()]),
    ] {
        let told = |name: &str| {
            let crypto = Fixed::new("N");
            let named = |message: &Vec<u8>| {
                let text = String::from_utf8(message.clone()).unwrap();
                text.replace("NAME", name).into_bytes()
            };
            let messages: Vec<Vec<u8>> = messages.iter().map(named).collect();
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let (said, progress) = play(&user, &crypto, mechanism, &messages);
            let said: Vec<usize> = said.iter().map(String::len).collect();
            (said, progress, crypto.derived.get())
        };
        let (_, progress, _) = told("user");
        assert_eq!(progress, Progress::Refused);
        assert_eq!(told("user"), told("nope"), "{mechanism:?}");
        assert_eq!(told("user"), told("no=3Dpe"), "{mechanism:?}");
    }
    // His salt is the same each time, and not another's.
    let salt_of = |name: &str| {
        let verifier = user.look_up(name, &RingCrypto).verifier;
        verifier.salt.as_slice().to_vec()
    };
    assert_eq!(salt_of("nobody"), salt_of("nobody"));
    assert_ne!(salt_of("nobody"), salt_of("anybody"));
}

#[test]
fn scram_that_is_refused() {
    let user = One::new("user", "pencil");
    let refused = |messages: &[&[u8]]| {
        let crypto = Fixed::new(SERVER_NONCE);
        play(&user, &crypto, Mechanism::ScramSha256, messages).1 == Progress::Refused
    };
    let [first, _, last, _] = VECTOR.map(str::as_bytes);
    for bad in [
        &b""[..],
        b"n,,",
        b"n,,n=us=er,r=abc",
        b"n,a=root,n=user,r=abc",
        b"p=tls-server-end-point,,n=user,r=abc",
        b"n,,m=x,n=user,r=abc",
        &[b"n,,n=user,r=abc,x=", &[b'x'; 600][..]].concat(),
    ] {
        assert!(refused(&[bad]), "{}", bad.escape_ascii());
    }
    let change = |from: &str, to: &str| VECTOR[2].replace(from, to).into_bytes();
    for bad in [
        Vec::new(),
        change("biws", "eSws"),
        change("biws", ""),
        change("c=biws,", ""),
        change("r=rOpr", "r=sOpr"),
        change("NlF$k0", "NlF$k1"),
        change("NlF$k0", "NlF$k00"),
        change("p=dHzb", "p=dHza"),
        change("ndVQ=", "ndVR="),
        change("ndVQ=", "ndVQ"),
        change("p=dHzb", "p="),
        change(",p=", ",q="),
        change("c=biws,r", "c=biws,x=1,r"),
    ] {
        assert!(refused(&[first, &bad]), "{}", bad.escape_ascii());
    }
    assert!(refused(&[first, last, b"x"]), "more after all was said");
    assert!(!refused(&[first, last, b""]));
    // Who fears a man in the middle repeats his fear.
    let y = VECTOR[0].replace("n,,", "y,,").into_bytes();
    assert!(refused(&[&y, last]));
    // Somebody with a hash that is not for SCRAM.
    let keys = Keys::Pbkdf2([0; 32]);
    let other = One { verifier: Verifier { keys, ..user.verifier }, ..One::new("user", "pencil") };
    let (said, progress) =
        play(&other, &Fixed::new(SERVER_NONCE), Mechanism::ScramSha256, &[first, last]);
    assert_eq!((said.len(), progress), (2, Progress::Refused));
}

fn login<'a>(user: &'a str, secret: SecretKind<'a>) -> Login<'a> {
    Login { user, secret, host: "mail.example.net", port: 587 }
}

/// Both sides, step by step: true if both are content.
fn converse(mechanism: Mechanism, server: &One, login: &Login<'_>) -> bool {
    let crypto = RingCrypto;
    let books = Books { accounts: server, crypto: &crypto };
    let mut client = client::Exchange::new(mechanism, &crypto);
    let (mut out, mut challenge) = (Secret::<2048>::new(), Challenge::new());
    let mut exchange = Exchange::new();
    let has_initial = client.initial(login, &mut out).unwrap();
    let initial = has_initial.then(|| out.expose());
    let mut progress = exchange.begin(mechanism, initial, books, &mut challenge);
    while progress == Progress::Challenge {
        let text = challenge.as_str().to_owned();
        if client.respond(text.as_bytes(), login, &crypto, &mut out).is_err() {
            return false;
        }
        progress = exchange.respond(out.expose(), books, &mut challenge);
    }
    progress == Progress::Accepted && client.is_proven().is_ok()
}

#[test]
fn each_side_understands_the_other() {
    let mechanisms = OFFERED.iter().chain([Mechanism::CramMd5]);
    for mechanism in mechanisms.filter(|mechanism| mechanism.is_built()) {
        for (name, password) in [
            ("user", "pencil"),
            ("a", "b"),
            ("me@example.net", "pass word, with = and \" and \\"),
            ("a,b=c", "=2C=3D"),
            ("jürgen", "mit Wörtern"),
            ("0123456789012345678901234567890123456789012345678901234567890123", "x"),
        ] {
            let server = One::new(name, password);
            let good = login(name, SecretKind::Password(password.as_bytes()));
            assert!(converse(mechanism, &server, &good), "{mechanism:?} {name}");
            let bad = login(name, SecretKind::Password(b"wrong"));
            assert!(!converse(mechanism, &server, &bad), "{mechanism:?} {name}");
            let other = login("other", SecretKind::Password(password.as_bytes()));
            assert!(!converse(mechanism, &server, &other), "{mechanism:?} {name}");
        }
    }
}

#[test]
fn the_best_that_both_have() {
    let (password, token) = (SecretKind::Password(b"p"), SecretKind::Token(b"t"));
    for (offered, secret, chosen) in [
        (&b"LOGIN PLAIN SCRAM-SHA-256 XOAUTH2"[..], password, Some(Mechanism::ScramSha256)),
        (b"LOGIN PLAIN XOAUTH2", password, Some(Mechanism::Plain)),
        (b"LOGIN", password, Some(Mechanism::Login)),
        (b"XOAUTH2 OAUTHBEARER", password, None),
        (b"XOAUTH2 OAUTHBEARER PLAIN", token, Some(Mechanism::OauthBearer)),
        (b"PLAIN XOAUTH2", token, Some(Mechanism::Xoauth2)),
        (b"PLAIN LOGIN", token, None),
        (b"GSSAPI", password, None),
        (b"", password, None),
    ] {
        assert_eq!(choose(Mechanisms::parse(offered), secret), chosen);
    }
    let cram = choose(Mechanisms::NONE.with(Mechanism::CramMd5), password);
    assert_eq!(cram.is_some(), cfg!(feature = "cram-md5"));
}

#[test]
fn tokens() {
    let mut out = Secret::<4096>::new();
    // RFC 7628 §4.1, and Google's description of XOAUTH2.
    let token = SecretKind::Token(b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
    let first =
        Login { user: "user@example.com", secret: token, host: "server.example.com", port: 143 };
    let mut exchange = client::Exchange::new(Mechanism::OauthBearer, &RingCrypto);
    assert_eq!(exchange.initial(&first, &mut out), Ok(true));
    let expected = b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01\
                     auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
    assert_eq!(out.expose(), expected);
    let refusal = br#"{"status":"invalid_token","scope":"example_scope"}"#;
    exchange.respond(refusal, &first, &RingCrypto, &mut out).unwrap();
    assert_eq!(out.expose(), b"\x01");
    assert_eq!(status_of(refusal), Some("invalid_token"));

    let token = SecretKind::Token(b"ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg");
    let second = login("someuser@example.com", token);
    let mut exchange = client::Exchange::new(Mechanism::Xoauth2, &RingCrypto);
    assert_eq!(exchange.initial(&second, &mut out), Ok(true));
    let expected = b"user=someuser@example.com\x01\
                     auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01";
    assert_eq!(out.expose(), expected);
    exchange.respond(br#"{"status":"401"}"#, &second, &RingCrypto, &mut out).unwrap();
    assert_eq!(out.expose(), b"");
    let long = [b'x'; 5000];
    let long = login("u", SecretKind::Token(&long));
    let result = client::Exchange::new(Mechanism::Xoauth2, &RingCrypto).initial(&long, &mut out);
    assert_eq!(result, Err(ClientError::TooLong));

    for (text, status) in [
        (&br#"{ "schemes": "bearer", "status" : 401 }"#[..], Some("401")),
        (br#"{"status":"","scope":""}"#, None),
        (b"{\"status\":\"a\\\"b\r\n\"}", None),
        (br#"{"status"#, None),
        (b"", None),
        (b"\xff", None),
    ] {
        assert_eq!(status_of(text), status, "{}", text.escape_ascii());
    }
}

#[test]
fn a_hostile_server_gets_nothing() {
    let crypto = Fixed::new("abc");
    let login = login("user", SecretKind::Password(b"pencil"));
    for (challenge, error) in [
        ("", ClientError::Challenge),
        ("r=abc,s=AAAAAAAAAAA=,i=4096", ClientError::Challenge),
        ("r=abd,s=AAAAAAAAAAA=,i=4096", ClientError::Challenge),
        ("r=abcx,s=!,i=4096", ClientError::Challenge),
        ("r=abcx,s=AAAAAAAAAAA=,i=0", ClientError::Challenge),
        ("r=abcx,s=AAAAAAAAAAA=,i=1e3", ClientError::Challenge),
        ("r=abcx,s=AAAAAAAAAAA=,i=99999999999999999999", ClientError::Challenge),
        ("r=abcx,s=AAAAAAAAAAA=,i=1", ClientError::Iterations),
        ("r=abcx,s=AAAAAAAAAAA=,i=4294967295", ClientError::Iterations),
        ("m=x,r=abcx,s=AAAAAAAAAAA=,i=4096", ClientError::Challenge),
    ] {
        let mut exchange = client::Exchange::new(Mechanism::ScramSha256, &crypto);
        let mut out = Secret::<512>::new();
        exchange.initial(&login, &mut out).unwrap();
        let result = exchange.respond(challenge.as_bytes(), &login, &crypto, &mut out);
        assert_eq!(result, Err(error), "{challenge}");
        assert!(exchange.is_proven().is_err());
    }
    assert_eq!(crypto.derived.get(), 0);
}

/// Whatever comes, nothing panics, and nobody gets in.
#[test]
fn garbage() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    /// Without PBKDF2, which is not what this is about.
    struct Quick;
    impl Crypto for Quick {
        fn hmac(&self, key: &[u8], parts: &[&[u8]]) -> Hash {
            RingCrypto.hmac(key, parts)
        }
        fn digest(&self, bytes: &[u8]) -> Hash {
            RingCrypto.digest(bytes)
        }
        fn pbkdf2(&self, password: &[u8], salt: &[u8], _: NonZeroU32) -> Hash {
            RingCrypto.hmac(password, &[salt])
        }
        fn random(&self, bytes: &mut [u8]) {
            bytes.fill(1);
        }
    }
    let pieces: [&[u8]; 16] = [
        b"n,,",
        b"n=user",
        b",r=",
        b"abc",
        b"c=biws",
        b",p=",
        b"user",
        b"\0",
        b"pencil",
        b"=2C",
        b"\xff",
        b",",
        b"=",
        b" ",
        b"v=",
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ];
    let user = One::new("user", "pencil");
    let books = Books { accounts: &user, crypto: &Quick };
    for _ in 0..200_000 {
        let (mut exchange, mut challenge) = (Exchange::new(), Challenge::new());
        let mechanism = Mechanism::ALL[random(Mechanism::ALL.len())];
        let mut message = Vec::new();
        let mut progress = Progress::Challenge;
        for step in 0..4 {
            message.clear();
            for _ in 0..random(8) {
                message.extend_from_slice(pieces[random(pieces.len())]);
            }
            progress = match step {
                0 => {
                    let initial = (random(2) == 0).then_some(message.as_slice());
                    exchange.begin(mechanism, initial, books, &mut challenge)
                }
                _ => exchange.respond(&message, books, &mut challenge),
            };
            if progress != Progress::Challenge {
                break;
            }
        }
        assert_ne!(progress, Progress::Accepted, "{}", message.escape_ascii());
    }
}

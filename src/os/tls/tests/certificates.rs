//! Certificates and keys of every kind, those that cannot be used, and new ones.

use super::super::certificate::examine;
use super::*;
use std::time::Duration;

#[test]
fn every_kind_of_key_serves() {
    for (cert, key) in [
        ("p256.crt", "p256.key"),
        ("p256.crt", "p256-sec1.key"),
        ("p384.crt", "p384.key"),
        ("rsa.crt", "rsa.key"),
        ("rsa.crt", "rsa-pkcs1.key"),
        ("ed25519.crt", "ed25519.key"),
    ] {
        let (_folder, mut tls) = shared(cert, key);
        for version in VERSIONS {
            connected(&mut tls, client_config(version));
        }
    }
}

#[test]
fn what_cannot_be_used_is_told_with_its_cure() {
    let folder = tempfile::tempdir().unwrap();
    let reason = |files: &Files| examine(files).unwrap_err().reason;
    for (cert, key, words) in [
        ("p256.crt", "p384.key", "not the key of that certificate"),
        ("p256.crt", "encrypted.key", "passphrase"),
        ("p256.crt", "encrypted-sec1.key", "passphrase"),
        ("p256.crt", "p256.crt", "no private key in it"),
        ("p256.key", "p256.key", "no certificate in it"),
        ("p521.crt", "p521.key", "of this kind cannot be used"),
        ("rsa1024.crt", "rsa1024.key", "of this kind cannot be used"),
    ] {
        let told = reason(&files(&folder, cert, key));
        assert!(told.contains(words), "{cert} {key}: {told}");
    }
    let good = files(&folder, "p256.crt", "p256.key");
    assert_eq!(examine(&good), Ok(()));
    let mode = |mode| fs::set_permissions(&good.key, Permissions::from_mode(mode)).unwrap();
    for bad in [0o644, 0o604, 0o660, 0o610] {
        mode(bad);
        assert!(reason(&good).contains("chmod 640"), "{bad:o}");
    }
    for fine in [0o640, 0o400] {
        mode(fine);
        assert_eq!(examine(&good), Ok(()));
    }
    let absent = Files { cert: folder.path().join("absent"), ..good.clone() };
    assert!(reason(&absent).contains("cannot be read: "));
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for other in [&pipe, folder.path(), Path::new("/dev/zero")] {
        let cert = Files { cert: other.into(), ..good.clone() };
        let key = Files { key: other.into(), ..good.clone() };
        for told in [reason(&cert), reason(&key)] {
            assert!(told.contains("is not a file"), "{told}");
        }
    }
    let text = fs::read_to_string(&good.cert).unwrap();
    fs::write(&good.cert, text.replace("MII", "MIJ")).unwrap();
    assert!(reason(&good).contains("damaged"), "{}", reason(&good));
    fs::write(&good.cert, text.repeat(40)).unwrap();
    assert!(reason(&good).contains("too many certificates"));
}

/// The files are looked at again, and what cannot be used changes nothing.
#[test]
fn a_new_certificate_is_taken_into_use() {
    let folder = tempfile::tempdir().unwrap();
    let now = Instant::now();
    let first = files(&folder, "p256.crt", "p256.key");
    let mut tls = Tls::open(&[None, Some(first.clone())], TOKENS, now).unwrap().unwrap();
    let shown = |tls: &mut Tls| {
        let (_, client) = connected(tls, client_config(VERSIONS[1]));
        client.peer_certificates().unwrap()[0].to_vec()
    };
    let old = shown(&mut tls);
    let put = |name: &str, to: &Path| {
        let from = files(&folder, name, name);
        fs::rename(from.cert, to).unwrap();
    };
    put("p384.crt", &first.cert);
    assert_eq!(shown(&mut tls), old);
    tls.begin_turn(now + Duration::from_secs(10));
    // The key is not there yet.
    assert_eq!(shown(&mut tls), old);
    put("p384.key", &first.key);
    tls.begin_turn(now + Duration::from_secs(20));
    let new = shown(&mut tls);
    assert_ne!(new, old);
    fs::write(&first.cert, "spoiled").unwrap();
    tls.begin_turn(now + Duration::from_secs(30));
    assert_eq!(shown(&mut tls), new);
    // HUP with other files, and with some that cannot be used.
    let second = files(&folder, "rsa.crt", "rsa.key");
    tls.reload(&[None, Some(second.clone())]);
    let third = shown(&mut tls);
    assert!(third != new && third != old);
    let bad = Files { key: first.key.clone(), ..second };
    tls.reload(&[None, Some(bad)]);
    tls.begin_turn(now + Duration::from_secs(40));
    assert_eq!(shown(&mut tls), third);
}

//! The configuration file.

use mote::config::{Host, parse, warnings, write_effective};

/// Takes the input for a file: what is understood can be written back, and means the same then.
pub(super) fn config(input: &[u8]) {
    let host = Host { hostname: "pi.test", home: "/home", is_embedded: false, run: None };
    match parse(input, &host) {
        Ok(config) => {
            assert!(warnings(&config).iter().all(|warning| !warning.contains('\n')));
            let mut text = String::new();
            write_effective(&mut text, &config).unwrap();
            assert_eq!(parse(text.as_bytes(), &host).as_ref(), Ok(&config), "{text}");
        }
        Err(faults) => {
            let lines = input.split(|byte| *byte == b'\n').count();
            assert!(!faults.is_empty() && faults.len() <= 51);
            for fault in faults {
                assert!((fault.line as usize) <= lines && !fault.message.is_empty());
                assert!(!fault.message.contains(['\n', '\r', '\0']), "{:?}", fault.message);
            }
        }
    }
}

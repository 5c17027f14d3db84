//! Replays what fuzzing has found: every input in `tests/fuzz/corpus`, which are few and small and
//! lead to different places, through its target.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, unreachable_pub, reason = "shared with the package that fuzzes")]
#[path = "fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

/// All corpora together.
const BYTES_MAX: u64 = 200 * 1024;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name)
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|_| panic!("{}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_input_is_replayed() {
    for (name, target) in targets::TARGETS {
        let paths = inputs(&corpus(name));
        assert!(!paths.is_empty(), "{name} has no corpus");
        for path in paths {
            // What panics below is preceded by this.
            println!("{}", path.display());
            let input = fs::read(path).unwrap();
            target(&input);
            // The same bytes whole, and one by one.
            for choice in [0, 1] {
                if let [_, _, rest @ ..] = &input[..] {
                    target(&[&[choice, 0], rest].concat());
                }
            }
        }
    }
}

/// Headers made of what matters in them, by chance: the same ones each time, and others by SEED.
#[test]
fn headers_by_chance_are_rewritten_whatever_the_cuts() {
    const WORDS: &[&str] = &[
        "From",
        "from ",
        "Sender",
        "To",
        "Cc",
        "Reply-To",
        "Resent-From",
        "Resent-To",
        "Subject",
        ":",
        ": ",
        ":",
        ",",
        ", ",
        ";",
        "<",
        ">",
        "(",
        ")",
        "\"",
        "\\",
        "@",
        ".",
        "[",
        "]",
        "root",
        "me@home.test",
        "pi@isp.test",
        "pi@isp.test",
        "a.b",
        "x@y",
        "@a,@b:",
        "Us:",
        "\r\n",
        "\r\n ",
        "\r\n\t",
        "\r\n",
        "\r\n\r\n",
        "=?utf-8?q?J=C3=B6rg?=",
        "j\u{f6}",
        "\0",
        " ",
        "\t",
        "Cron Daemon",
        "word word word word word word word word word word word word word word ",
    ];
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1u64);
    let mut state = seed | 1 << 40;
    let mut chance = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    for _ in 0..20_000 {
        let mut input = vec![chance(256) as u8, chance(256) as u8];
        for _ in 0..chance(60) {
            let word = WORDS[chance(WORDS.len())];
            let times = if chance(40) == 0 { 30 } else { 1 };
            input.extend(word.repeat(times).bytes());
        }
        // What panics below is preceded by this.
        println!("SEED={seed}: {}", input.escape_ascii());
        targets::run("rewrite", &input);
    }
}

#[test]
fn the_corpora_are_small_and_all_have_targets() {
    let mut sum = 0;
    for folder in inputs(&corpus("")) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(targets::TARGETS.iter().any(|(known, _)| *known == name), "{name} is no target");
        let door = corpus("..").join("fuzz_targets").join(format!("{name}.rs"));
        assert!(door.exists(), "{}", door.display());
        sum += inputs(&folder).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    }
    assert!(sum <= BYTES_MAX, "{sum} bytes: MINIMISE=1 make fuzz keeps less");
}

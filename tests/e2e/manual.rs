//! The manual pages before mandoc, and the completion in a real bash.

use crate::instance::binary;
use crate::{load, peers};
use std::io::Write;
use std::process::{Command, Stdio};

fn help(words: &[&str]) -> Vec<u8> {
    let output = Command::new(binary()).arg("help").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    output.stdout
}

#[test]
fn mandoc_has_nothing_to_say_about_the_pages() {
    let _load = load::shared();
    for page in ["mote", "mote.conf", "sendmail", "mailq"] {
        let Some(mut mandoc) = peers::command("mandoc", "mandoc") else { return };
        let mut child = mandoc
            .args(["-Tlint", "-Wstyle"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&help(&["--man", page])).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        // Whether the other pages are installed says nothing about this one.
        let said: Vec<&str> =
            text.lines().filter(|line| !line.contains("referenced manual not found")).collect();
        assert!(said.is_empty(), "{page}: {said:#?}");
    }
}

#[test]
fn bash_completes_verbs_options_and_words() {
    let _load = load::shared();
    let Some(mut bash) = peers::command("bash", "bash") else { return };
    let script = "eval \"$0\"; for line in \"$@\"; do IFS=, read -ra COMP_WORDS <<<\"$line\"; \
                  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _mote; echo \"${COMPREPLY[*]}\"; done";
    let lines = ["mote,sta", "mote,--v", "mote,-C,a.conf,queue,re", "mote,help,list", "mote,-C,s"];
    let completion = String::from_utf8(help(&["--completion", "bash"])).unwrap();
    let output = bash.args(["-c", script, &completion]).args(lines).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "status\n--version\nrelease retry\nlisten\n\n", "{output:?}");
}

//! `status`: whether mail is safe and moves, for people, for JSON readers, and as an exit code.
//!
//! 0: fine. 1: it works, but somebody should look: a relay fails, mail is held or damaged, the
//! spool or the session slots are nearly used up, or the clock is certainly wrong. 2: mail does not
//! move: mail has waited for `STUCK_AGE` seconds while every relay fails, or no block is free. A
//! spool that does not survive a reboot is told, but is what was configured, so it is fine.
//!
//! A relay fails as long as it has a `last_error`, which its next success clears.

use super::exit::{Exit, Failure, finish, print};
use super::json::{Object, Value};
use super::mailq::{clean, write_size, write_span};
use super::{Context, control};
use crate::os::process;
use crate::queue::disk::BLOCK_BYTES;
use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

/// Seconds that mail may wait for a relay that fails before that is called stuck: longer than the
/// reboot of a router on the way.
const STUCK_AGE: i64 = 15 * 60;

/// Runs `status` with the words after it.
pub fn run(context: &Context, words: Vec<OsString>) -> ExitCode {
    finish(context.program, tell(context, &words))
}

fn tell(context: &Context, words: &[OsString]) -> Result<Exit, Failure> {
    let json = words.iter().any(|word| word == "--json");
    if let Some(word) = words.iter().find(|word| *word != "--json") {
        let text = format!("status takes --json, not '{}'", word.to_string_lossy());
        return Err(Failure::usage(text));
    }
    let mut found = None;
    let mut text = String::new();
    control::ask(context, "status", |line, object| {
        if json {
            text.push_str(line);
            text.push('\n');
        }
        found = Some(object.clone());
    })?;
    let Some(status) = found else {
        return Err(Failure::new(Exit::SOFTWARE, "the daemon told no status"));
    };
    let (exit, reasons) = judge(&status);
    if !json {
        describe(&mut text, &status, exit, &reasons);
    }
    print(&text)?;
    Ok(exit)
}

/// The exit code, and every reason for it to be other than 0.
fn judge(status: &Object) -> (Exit, Vec<String>) {
    let number = |name| status.number(name).unwrap_or(0);
    let failing = status.objects("relays").filter(|relay| !relay.text("last_error").is_empty());
    let failing: Vec<&Object> = failing.collect();
    let mut reasons = Vec::new();
    for relay in &failing {
        let (name, error) = (clean(relay.text("name")), clean(relay.text("last_error")));
        reasons.push(format!("relay {name} fails: {error}"));
    }
    for (name, words) in [("damaged", "damaged in the spool"), ("held", "on hold")] {
        if number(name) > 0 {
            reasons.push(format!("{} {words}", count(number(name))));
        }
    }
    if number("free") < number("blocks") / 16 {
        reasons.push("the spool is nearly full".to_owned());
    }
    if number("sessions_max") > 0 && number("sessions") >= number("sessions_max") {
        reasons.push("all session slots are taken".to_owned());
    }
    if number("rejected") > 0 {
        let (files, spool) = (number("rejected"), clean(status.text("spool")));
        reasons.push(format!("{files} files left for sendmail are no mail: see {spool}/rejected"));
    }
    if status.truth("stopping") == Some(true) {
        reasons.push("the daemon is stopping; sendmail leaves mail in the drop directory".into());
    }
    if status.truth("clock_trusted") == Some(false) {
        reasons.push("the clock is wrong; waiting for time sync".to_owned());
    }
    let relays = status.objects("relays").count();
    let nothing_moves = relays > 0 && failing.len() == relays && number("waiting") > 0;
    let is_full = status.number("free") == Some(0);
    let exit = if is_full || (nothing_moves && number("oldest_age") >= STUCK_AGE) {
        Exit::STUCK
    } else if reasons.is_empty() {
        Exit::OK
    } else {
        Exit::DEGRADED
    };
    (exit, reasons)
}

/// Who it runs as, and what it could do if somebody took it over.
fn describe_confinement(text: &mut String, status: &Object) {
    let Some(uid) = status.number("uid").and_then(|uid| u32::try_from(uid).ok()) else { return };
    let user = process::user_by_id(uid).map_or_else(|| uid.to_string(), |user| user.name);
    let _ = write!(text, "runs as   {user}");
    let kept =
        [("no_new_privs", "no new privileges"), ("landlock", "landlock"), ("seccomp", "seccomp")];
    for (name, words) in kept {
        let without = if status.truth(name) == Some(true) { "" } else { "without " };
        let _ = write!(text, ", {without}{words}");
    }
    let _ = writeln!(text);
}

fn describe(text: &mut String, status: &Object, exit: Exit, reasons: &[String]) {
    let number = |name| status.number(name).unwrap_or(0);
    let words = |name| clean(status.text(name));
    let _ = writeln!(text, "mote {} on {}", words("version"), words("hostname"));
    let safe = match status.truth("volatile") {
        Some(true) => "does not survive a reboot",
        _ => "survives a reboot",
    };
    let blocks = |name| {
        let blocks = u64::try_from(number(name)).unwrap_or(0);
        write_size(blocks.saturating_mul(BLOCK_BYTES as u64))
    };
    let (free, all) = (blocks("free"), blocks("blocks"));
    let _ = writeln!(text, "spool     {}, {free} of {all} free, {safe}", words("spool"));
    describe_confinement(text, status);
    let messages = count(number("messages"));
    let _ = write!(text, "queue     {messages}, {} waiting", number("waiting"));
    if number("messages") > 0 {
        let _ = write!(text, ", oldest {}", write_span(status.number("oldest_age")));
    }
    let _ = writeln!(text);
    let _ = writeln!(
        text,
        "since start {} accepted, {} delivered, {} deferred, {} bounced, {} syncs",
        number("accepted"),
        number("delivered"),
        number("deferred"),
        number("bounced"),
        number("syncs"),
    );
    let _ = writeln!(text, "sessions  {} of {}", number("sessions"), number("sessions_max"));
    for relay in status.objects("relays") {
        let success = match relay.get("last_success") {
            Some(Value::Number(_)) => ago(relay.number("last_success")),
            _ => "no success yet".to_owned(),
        };
        let (name, state) = (clean(relay.text("name")), clean(relay.text("state")));
        let _ = writeln!(text, "relay     {name}: {state}, {success}");
    }
    for device in status.objects("devices") {
        describe_device(text, device);
    }
    let verdict = match exit {
        Exit::OK => "fine",
        Exit::DEGRADED => "degraded",
        _ => "stuck",
    };
    let _ = writeln!(text, "state     {verdict}");
    for reason in reasons {
        let _ = writeln!(text, "          {reason}");
    }
}

fn describe_device(text: &mut String, device: &Object) {
    let words = |name| clean(device.text(name));
    let _ = write!(text, "device    {}", words("address"));
    if !words("hello").is_empty() {
        let _ = write!(text, " ({})", words("hello"));
    }
    let _ = match device.number("last_mail") {
        None => writeln!(text, ": no mail yet"),
        last => {
            let mails = device.number("mails").unwrap_or(0);
            let mails = if mails == 1 { "1 mail".to_owned() } else { format!("{mails} mails") };
            writeln!(text, ": {mails}, the last {} ago", write_span(last))
        }
    };
    // What was wrong before its last mail is over.
    let error_age = device.number("last_error_age");
    let is_over = device.number("last_mail").is_some_and(|mail| error_age > Some(mail));
    if let Some(age) = error_age.filter(|_| !is_over) {
        let _ = writeln!(text, "          {} ago: {}", write_span(Some(age)), words("last_error"));
    }
    if !words("change").is_empty() {
        let _ = writeln!(text, "          what would help: {}", words("change"));
    }
}

fn ago(seconds: Option<i64>) -> String {
    format!("last success {} ago", write_span(seconds))
}

fn count(messages: i64) -> String {
    match messages {
        1 => "1 message".to_owned(),
        _ => format!("{messages} messages"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::json::parse;

    fn status(changes: &str) -> Object {
        // The first member of a name counts.
        let rest = r#""version":"0.1.0","hostname":"router","spool":"/var/spool/mote",
            "volatile":false,"blocks":4096,"free":4000,"messages":2,"waiting":1,"held":0,
            "damaged":0,"oldest_age":1000,"sessions":0,"sessions_max":16,"accepted":9,
            "delivered":7,"deferred":1,"bounced":0,"clock_trusted":true,"syncs":9,"relays":
            [{"name":"smtp.example.net","state":"idle","last_success":60,"last_error":null}]}"#;
        parse(&format!("{{{changes}{rest}")).unwrap()
    }

    #[test]
    fn verdicts() {
        let failing = r#""relays":[{"name":"r","last_error":"refused"}],"#;
        let half = r#""relays":[{"name":"r","last_error":"refused"},{"name":"s"}],"#;
        for (changes, exit) in [
            ("", Exit::OK),
            (r#""volatile":true,"#, Exit::OK),
            (r#""held":1,"#, Exit::DEGRADED),
            (r#""damaged":1,"#, Exit::DEGRADED),
            (r#""free":100,"#, Exit::DEGRADED),
            (r#""free":0,"#, Exit::STUCK),
            (r#""sessions":16,"#, Exit::DEGRADED),
            (r#""clock_trusted":false,"#, Exit::DEGRADED),
            (half, Exit::DEGRADED),
            (failing, Exit::STUCK),
            (&format!("{failing}\"oldest_age\":60,"), Exit::DEGRADED),
            (&format!("{failing}\"waiting\":0,"), Exit::DEGRADED),
        ] {
            assert_eq!(judge(&status(changes)).0, exit, "{changes}");
        }
    }

    #[test]
    fn words() {
        let devices = r#""devices":[
            {"address":"192.168.1.20","hello":"printer","mails":0,"last_mail":null,
             "last_error":"500 5.5.2 A line","last_error_age":60,
             "change":"[clients 192.168.1.20] relay = yes, lenient = yes"},
            {"address":"192.168.1.21","hello":"nas","mails":7,"last_mail":60,
             "last_error":"550 5.7.1 You may not","last_error_age":61,"change":null},
            {"address":"2001:db8::1","hello":"","mails":1,"last_mail":7200,
             "last_error":null,"last_error_age":null,"change":null}],"#;
        let status = status(&format!("\"held\":1,{devices}"));
        let (exit, reasons) = judge(&status);
        let mut text = String::new();
        describe(&mut text, &status, exit, &reasons);
        let expected = "\
mote 0.1.0 on router
spool     /var/spool/mote, 16M of 16M free, survives a reboot
queue     2 messages, 1 waiting, oldest 16m
since start 9 accepted, 7 delivered, 1 deferred, 0 bounced, 9 syncs
sessions  0 of 16
relay     smtp.example.net: idle, last success 60s ago
device    192.168.1.20 (printer): no mail yet
          60s ago: 500 5.5.2 A line
          what would help: [clients 192.168.1.20] relay = yes, lenient = yes
device    192.168.1.21 (nas): 7 mails, the last 60s ago
device    2001:db8::1: 1 mail, the last 2h ago
state     degraded
          1 message on hold
";
        assert_eq!(text, expected);
    }
}

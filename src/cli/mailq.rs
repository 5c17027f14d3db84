//! `mailq` and `queue ls`: what waits, as a table for people or as JSON lines for programs.
//!
//! The table has a line a message and recipient, in the daemon's order, columns aligned; the last
//! words of the next hop stand below the recipient they were about. With `--json` the daemon's
//! objects are passed on untouched, one a line.

use super::exit::{Exit, Failure, finish, print};
use super::json::Object;
use super::{Context, control};
use crate::base::time::UnixTime;
use crate::mail::timestamp::write_timestamp;
use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

/// Runs `mailq` with the words after its name.
pub fn run(context: &Context, words: Vec<OsString>) -> ExitCode {
    finish(context.program, list(context, &words))
}

/// Lists the queue on stdout.
pub fn list(context: &Context, words: &[OsString]) -> Result<Exit, Failure> {
    let mut json = false;
    for word in words {
        match word.to_str() {
            Some("--json") => json = true,
            // What scripts give the mailq of other systems.
            Some("-v" | "-Ac") => {}
            _ => {
                let word = word.to_string_lossy();
                return Err(Failure::usage(format!("mailq takes --json, not '{word}'")));
            }
        }
    }
    let mut table = Table::default();
    let mut lines = String::new();
    control::ask(context, "ls", |line, object| {
        if json {
            lines.push_str(line);
            lines.push('\n');
        } else {
            table.add(object);
        }
    })?;
    print(if json { &lines } else { table.finish() })?;
    Ok(Exit::OK)
}

const COLUMNS: usize = 6;
const HEADINGS: [&str; COLUMNS] = ["ID", "SIZE", "AGE", "STATE", "NEXT", "FROM"];

/// A line of the table: the cells to be aligned, then the recipient, which ends the line.
struct Row {
    cells: [String; COLUMNS],
    to: String,
    reply: String,
}

/// Messages, collected until their widths are known.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    messages: u64,
    bytes: u64,
    text: String,
}

impl Table {
    fn add(&mut self, message: &Object) {
        let size = message.number("size").and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
        self.messages += 1;
        self.bytes += size;
        let mut cells = [
            message.text("id").to_owned(),
            write_size(size),
            write_span(message.number("age")),
            write_state(message),
            write_span(message.number("next")),
            clean(&format!("<{}>", message.text("from"))),
        ];
        for recipient in message.objects("recipients") {
            if recipient.text("state") == "done" {
                continue;
            }
            let to = clean(recipient.text("to"));
            let reply = clean(recipient.text("reply"));
            self.rows.push(Row { cells: core::mem::take(&mut cells), to, reply });
        }
        // A message whose recipients cannot be read, or are all done, still takes room.
        if cells.iter().any(|cell| !cell.is_empty()) {
            self.rows.push(Row { cells, to: "-".to_owned(), reply: String::new() });
        }
    }

    fn finish(&mut self) -> &str {
        if self.messages == 0 {
            self.text.push_str("The queue is empty.\n");
            return &self.text;
        }
        let mut widths = HEADINGS.map(str::len);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        write_line(&mut self.text, &widths, HEADINGS, "TO");
        for row in &self.rows {
            write_line(&mut self.text, &widths, row.cells.each_ref().map(String::as_str), &row.to);
            if !row.reply.is_empty() {
                let indent = widths.iter().sum::<usize>() + 2 * COLUMNS;
                let _ = writeln!(self.text, "{:indent$}({})", "", row.reply);
            }
        }
        let plural = if self.messages == 1 { "message" } else { "messages" };
        let size = write_size(self.bytes);
        let _ = writeln!(self.text, "{} {plural}, {size}", self.messages);
        &self.text
    }
}

fn write_line(text: &mut String, widths: &[usize], cells: [&str; COLUMNS], last: &str) {
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let (cell, width) = (*cell, *width);
        let _ = match column {
            // Numbers are compared by their right ends.
            1 | 2 | 4 => write!(text, "{cell:>width$}  "),
            _ => write!(text, "{cell:<width$}  "),
        };
    }
    text.push_str(last);
    text.push('\n');
}

/// What its sender wants held is held until a time, or, where the clock is not set, for a while.
fn write_state(message: &Object) -> String {
    let mut state = message.text("state").to_owned();
    if state == "later" {
        state = "held".to_owned();
        if let Some(until) = message.number("until") {
            state.push_str(" until ");
            // Into a String nothing fails.
            let _ = write_timestamp(&mut state, UnixTime { seconds: until, trusted: true });
        }
    }
    state
}

/// Bytes as people read them: three or four characters, and a letter.
pub fn write_size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes}B"),
        10_000..10_240_000 => format!("{}K", bytes.div_ceil(1024)),
        _ => format!("{}M", bytes.div_ceil(1024 * 1024)),
    }
}

/// Seconds as people read them; a dash if there are none.
pub fn write_span(seconds: Option<i64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds @ ..120) => format!("{}s", seconds.max(0)),
        Some(seconds @ 120..7200) => format!("{}m", seconds / 60),
        Some(seconds @ 7200..172_800) => format!("{}h", seconds / 3600),
        Some(seconds) => format!("{}d", seconds / 86_400),
    }
}

/// Control characters masked: addresses and replies were once a peer's.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::json::parse;

    #[test]
    fn a_table() {
        let mut table = Table::default();
        for line in [
            r#"{"id":"1kQ7d","from":"cron@router","size":812,"age":300,"state":"waiting","next":40,
               "recipients":[{"to":"me@example.net","state":"pending","reply":"450 4.2.0 busy"},
               {"to":"x@y","state":"done"},{"to":"you@example.net","state":"pending"}]}"#,
            r#"{"id":"1kQ7e","from":"a@b","size":1,"age":60,"state":"later","next":3000,
               "until":1000000000,"recipients":[{"to":"c@d","state":"pending","reply":""}]}"#,
            r#"{"id":"2","from":"","size":3145728,"age":7300,"state":"held","next":null,
               "recipients":[]}"#,
        ] {
            table.add(&parse(line).unwrap());
        }
        let expected = "\
ID      SIZE  AGE  STATE                            NEXT  FROM           TO
1kQ7d   812B   5m  waiting                           40s  <cron@router>  me@example.net
                                                                         (450 4.2.0 busy)
                                                                         you@example.net
1kQ7e     1B  60s  held until 2001-09-09T01:46:40Z   50m  <a@b>          c@d
2      3072K   2h  held                                -  <>             -
3 messages, 3073K
";
        assert_eq!(table.finish(), expected);
        assert_eq!(Table::default().finish(), "The queue is empty.\n");
    }

    #[test]
    fn spans_and_sizes() {
        let spans = [(-1, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172_800, "2d")];
        for (seconds, text) in spans {
            assert_eq!(write_span(Some(seconds)), text);
        }
        assert_eq!(write_size(u64::MAX), "17592186044416M");
        assert_eq!(clean("a\u{1b}[1mb\n"), "a?[1mb?");
    }
}

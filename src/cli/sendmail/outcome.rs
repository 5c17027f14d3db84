//! -odi: waits for the first outcome of what was just handed in.
//!
//! The daemon tries new mail at once, whoever asks; this only looks on, through the control socket,
//! until the mail has left the queue or waits for another try, for a minute at most. Whoever may
//! not ask the daemon, or finds it gone, does not wait. Nothing that is seen changes the exit code:
//! the mail is on disk, and what fails comes back as a report.

use crate::cli::Context;
use crate::cli::control;
use crate::cli::exit::tell;
use std::time::{Duration, Instant};

/// For all of a call's mail.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked; the first time at once.
const AGAIN: Duration = Duration::from_millis(50);

/// The queue's id in the daemon's last reply.
pub fn id_of(reply: &str) -> Option<&str> {
    let (_, id) = reply.rsplit_once("queued as ")?;
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_id.then_some(id)
}

/// Waits for those; with -v tells what was seen.
pub fn wait_for(context: &Context, ids: &[String]) {
    let end = Instant::now() + PATIENCE;
    for id in ids {
        let seen = loop {
            let mut state = None;
            let request = format!("show {id}");
            let mut each = |_: &str, object: &crate::cli::json::Object| {
                state.get_or_insert_with(|| object.text("state").to_owned());
            };
            match control::ask_daemon(context, &request, &mut each) {
                None => return,
                // It is not in the queue any more.
                Some(Err(_)) => break "it has left the queue",
                Some(Ok(())) => {}
            }
            match state.as_deref() {
                Some("active") if Instant::now() < end => std::thread::sleep(AGAIN),
                Some("active") => break "it is still being tried",
                _ => break "it waits in the queue",
            }
        };
        if context.verbose {
            tell(context.program, &format!("{id}: {seen}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_replies() {
        assert_eq!(id_of("250 2.0.0 Ok: queued as 1kQ7d"), Some("1kQ7d"));
        for reply in ["250 2.0.0 Ok", "250 queued as ", "250 queued as a\nb", "250 queued as a b"] {
            assert_eq!(id_of(reply), None, "{reply}");
        }
    }
}

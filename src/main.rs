//! The program: its arguments go to [`mote::cli`], which answers with an exit code. Nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    mote::cli::main(std::env::args_os())
}

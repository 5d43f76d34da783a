//! The `menshen` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    menshen::cli::run()
}

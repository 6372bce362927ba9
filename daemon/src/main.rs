//! The program `kith`. Everything is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    kith::cli::main()
}

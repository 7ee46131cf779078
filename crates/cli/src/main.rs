//! The `headwater` command; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = headwater_cli::main(std::env::args().collect());
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

//! `cargo run -p contracts --features build --example build [-- --check]`, from the root of the checkout.

use std::process::ExitCode;

fn main() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    match contracts::build::run(".".as_ref(), check) {
        Ok(written) => written.iter().for_each(|file| eprintln!("wrote {file}")),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

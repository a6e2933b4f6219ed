//! `florin`: the one executable, a subcommand for every role.

mod chain;
mod commands;
mod config;
mod document;
mod key;
mod logging;
mod values;
mod words;

use std::process::ExitCode;

use commands::Command;

/// Many small pieces for each request, in many threads: the C library's `malloc` and `free` took an eighth of the market's processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// USDC settlement for software agents: sell and buy over HTTP with x402, run the services, use the contracts.
///
/// Every flag can also be set by its environment variable (named in each command's help) or in a file: `florin.toml` in the working
/// directory, or the one `--config` names, with a table per command (`[facilitator]`, keys as the long flags). A flag beats the
/// environment, the environment beats the file, the file beats the default.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration; `florin pay` adds 3 refused by your own limits, 4 payment refused,
/// 5 outcome not known yet.
#[derive(clap::Parser, Debug)]
#[command(name = "florin", version, max_term_width = 110, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    logging: logging::Options,

    /// File with settings, a table per command [default: florin.toml if it exists]
    #[arg(long, global = true, env = "FLORIN_CONFIG", value_name = "FILE", help_heading = "Global")]
    config: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    let cli = match config::parse::<Cli>(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    logging::init(&cli.logging);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(cli.command.run()).unwrap_or_else(|error| {
        eprintln!("error: {}", words::printable(&words::without_secrets(&chain(&error))));
        ExitCode::FAILURE
    })
}

/// An error and its causes on one line, without the repetition of a cause that its parent already quotes.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// Two flags of one name, or a flag that requires one that is not there, panic only when somebody uses that command.
    #[test]
    fn every_command_is_put_together_soundly() {
        super::Cli::command().debug_assert();
    }
}

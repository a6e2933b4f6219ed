use std::process::ExitCode;

use clap::CommandFactory;

/// Print a completion script, e.g. `florin completions bash > ~/.local/share/bash-completion/completions/florin`.
#[derive(clap::Args, Debug)]
pub(crate) struct Completions {
    /// Shell to complete for
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        clap_complete::generate(self.shell, &mut crate::Cli::command(), "florin", &mut std::io::stdout());
        Ok(ExitCode::SUCCESS)
    }
}

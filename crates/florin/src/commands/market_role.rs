use std::process::ExitCode;

use anyhow::{Result, bail};
use api::Role;

/// Give a person a role at the marketplace: how it gets its first administrator, who gives all others theirs.
///
/// The person registers first: POST /api/v1/creators/register.
#[derive(clap::Args, Debug)]
pub(crate) struct MarketRole {
    /// Email address the person registered with
    email: String,

    /// user, support, moderator, arbiter, finance or admin
    #[arg(value_parser = role)]
    role: Role,

    /// Database of the marketplace
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

impl MarketRole {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        if !market::grant(&self.database_url, &self.email, self.role).await? {
            bail!("nobody has registered {}: register at the marketplace first", self.email);
        }
        eprintln!("{} has the role now", self.email);
        Ok(ExitCode::SUCCESS)
    }
}

fn role(text: &str) -> Result<Role, String> {
    serde_json::from_value(text.into()).map_err(|_| "use user, support, moderator, arbiter, finance or admin".into())
}

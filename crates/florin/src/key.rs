//! Where a command gets its private key: the environment or a keystore file, never a flag, so that it is in no process list.

use std::path::{Path, PathBuf};

use alloy::{primitives::B256, signers::local::PrivateKeySigner};
use anyhow::{Context, bail};

/// A private key from `FLORIN_KEY`, or from a keystore file.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct KeyOptions {
    /// Private key, 64 hex digits with or without 0x; only from the environment, so that it shows in no process list
    #[arg(long = "key-from-env", env = "FLORIN_KEY", hide = true, hide_env_values = true, value_parser = parse_key, global = true)]
    key: Option<Secret>,

    /// Encrypted keystore file (Web3 secret storage, as `cast wallet` writes) instead of FLORIN_KEY
    #[arg(long, env = "FLORIN_KEYSTORE", value_name = "FILE", global = true)]
    keystore: Option<PathBuf>,

    /// File whose first line is the keystore's password; without it the terminal is asked
    #[arg(long, env = "FLORIN_KEYSTORE_PASSWORD_FILE", value_name = "FILE", global = true)]
    keystore_password_file: Option<PathBuf>,
}

/// A key that never shows itself.
#[derive(Clone)]
struct Secret(B256);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a private key is 64 hex digits, with or without 0x in front (the value is not shown here)")]
struct MalformedKey;

fn parse_key(text: &str) -> Result<Secret, MalformedKey> {
    let digits = text.trim();
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    if digits.len() != 64 {
        return Err(MalformedKey);
    }
    let key: B256 = digits.parse().map_err(|_| MalformedKey)?;
    PrivateKeySigner::from_bytes(&key).map_err(|_| MalformedKey)?;
    Ok(Secret(key))
}

impl KeyOptions {
    /// The signer, or an error that says where a key can come from.
    pub(crate) fn signer(&self) -> anyhow::Result<PrivateKeySigner> {
        if let Some(path) = &self.keystore {
            let password = self.password(path)?;
            return PrivateKeySigner::decrypt_keystore(path, password)
                .with_context(|| format!("cannot open the keystore {}: wrong file or wrong password", path.display()));
        }
        if let Some(file) = &self.keystore_password_file {
            bail!("{} is the password of which keystore? Name it with --keystore (or set FLORIN_KEYSTORE)", file.display());
        }
        match &self.key {
            Some(Secret(key)) => Ok(PrivateKeySigner::from_bytes(key).expect("checked when it was parsed")),
            None => bail!("no key to sign with: set FLORIN_KEY (64 hex digits) or name a keystore file with --keystore"),
        }
    }

    /// The keystore's password: from its file, else typed where nobody sees it. Never an argument.
    fn password(&self, keystore: &Path) -> anyhow::Result<String> {
        let shown = keystore.display();
        let Some(file) = &self.keystore_password_file else {
            let typed = rpassword::prompt_password(format!("password of {shown}: "));
            return typed.with_context(|| {
                format!(
                    "the keystore {shown} needs its password and there is no terminal: name a file with --keystore-password-file"
                )
            });
        };
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the password file {}", file.display()))?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

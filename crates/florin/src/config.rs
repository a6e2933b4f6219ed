//! One precedence for every setting (flag, environment, file, default) and one report of everything that is wrong.
//!
//! The file's values become clap defaults before parsing, so that `--help`, types and messages are clap's own. When parsing fails,
//! the offending argument is made to accept anything and parsing is repeated until nothing else fails: a user sees every mistake at once.

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{
    Arg, ArgAction, ArgMatches, Command, Parser,
    builder::ValueParser,
    error::{ContextKind, ContextValue, Error, ErrorKind},
    parser::ValueSource,
};

const DEFAULT_FILE: &str = "florin.toml";
/// More mistakes than this are not looked for.
const MISTAKES_MAX: usize = 50;

/// Why there is nothing to run.
#[derive(Debug)]
enum Refusal {
    /// Clap's own answer: help, version, an unknown flag.
    Clap(Error),
    /// Everything that is wrong with the settings.
    Mistakes(Vec<String>),
}

/// Parses `args` (the program's name first), or prints every mistake and gives the exit code.
pub(crate) fn parse<C: Parser>(args: Vec<OsString>) -> Result<C, ExitCode> {
    read(&args).map_err(|refusal| match refusal {
        Refusal::Clap(error) => {
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
        }
        Refusal::Mistakes(mistakes) => {
            for mistake in &mistakes {
                eprintln!("error: {mistake}");
            }
            let count = if mistakes.len() == 1 { "1 mistake".into() } else { format!("{} mistakes", mistakes.len()) };
            eprintln!("\n{count} to mend; `--help` after the command explains each setting.");
            ExitCode::from(2)
        }
    })
}

fn read<C: Parser>(args: &[OsString]) -> Result<C, Refusal> {
    let mut mistakes = Vec::new();
    let command = with_file_values(C::command(), args, &mut mistakes);
    let secrets = environment_only(&command);
    let found = matches(command, args, &mut mistakes).map_err(Refusal::Clap)?;
    mistakes.extend(
        secrets
            .iter()
            .filter(|(id, _)| is_flag(&found, id))
            .map(|(_, variable)| format!("a key on the command line shows in every list of processes: set {variable} instead")),
    );
    if !mistakes.is_empty() {
        return Err(Refusal::Mistakes(mistakes));
    }
    C::from_arg_matches(&found).map_err(Refusal::Clap)
}

/// Parses until nothing is wrong with single arguments any more. What is not about one argument (help, an unknown flag) ends at once.
fn matches(mut command: Command, args: &[OsString], mistakes: &mut Vec<String>) -> Result<ArgMatches, Error> {
    let mut shape = command.clone();
    shape.build();
    let mut told = Vec::new();
    loop {
        let error = match command.clone().try_get_matches_from(args) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let mendable =
            matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::MissingRequiredArgument);
        // What was told once and is still wrong cannot be looked past. What follows the flag's name changes when it is relaxed.
        let named = arguments(&error);
        let flags: Vec<String> = named.iter().filter_map(|name| name.split(' ').next()).map(str::to_owned).collect();
        if flags.iter().any(|flag| told.contains(flag)) {
            return Ok(ArgMatches::default());
        }
        told.extend(flags);
        if !mendable || named.is_empty() || mistakes.len() >= MISTAKES_MAX {
            if mistakes.is_empty() || !error.use_stderr() {
                return Err(error);
            }
            mistakes.push(message(&shape, &error));
            return Ok(ArgMatches::default());
        }
        if error.kind() == ErrorKind::MissingRequiredArgument {
            mistakes.extend(named.iter().map(|name| format!("{name} is missing{}", environment_hint(&shape, name))));
        } else {
            mistakes.push(message(&shape, &error));
        }
        let ids: Vec<&str> = named.iter().filter_map(|name| find(&shape, name)).map(|arg| arg.get_id().as_str()).collect();
        command = tolerate(command, &ids);
    }
}

/// Ids and variables of the arguments that nobody is to type: hidden, and secret.
fn environment_only(command: &Command) -> Vec<(String, String)> {
    let hidden = command.get_arguments().filter(|arg| arg.is_hide_set() && arg.is_hide_env_values_set());
    let named = hidden.filter_map(|arg| Some((arg.get_id().to_string(), arg.get_env()?.to_string_lossy().into_owned())));
    let mut found: Vec<_> = named.chain(command.get_subcommands().flat_map(environment_only)).collect();
    found.sort();
    found.dedup();
    found
}

/// Whether an argument was given on the command line, to the command or to what is below it.
fn is_flag(found: &ArgMatches, id: &str) -> bool {
    let known = found.try_contains_id(id).is_ok();
    let here = known && found.value_source(id) == Some(ValueSource::CommandLine);
    here || found.subcommand().is_some_and(|(_, below)| is_flag(below, id))
}

fn arguments(error: &Error) -> Vec<String> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => vec![name.clone()],
        Some(ContextValue::Strings(names)) => names.clone(),
        _ => Vec::new(),
    }
}

/// Clap's message without its prefix and its usage text; without the value where the argument is a secret.
fn message(command: &Command, error: &Error) -> String {
    if let [name] = arguments(error).as_slice()
        && find(command, name).is_some_and(Arg::is_hide_env_values_set)
    {
        let variable = find(command, name).and_then(Arg::get_env).unwrap_or_default().to_string_lossy().into_owned();
        let reason = std::error::Error::source(error).map_or("cannot be read".into(), ToString::to_string);
        return format!("{variable}: {reason}");
    }
    let text = error.to_string();
    let first = text.split("\n\nUsage:").next().unwrap_or(&text).split("\n\nFor more information").next().unwrap_or(&text);
    first.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn environment_hint(command: &Command, name: &str) -> String {
    let variable = find(command, name).and_then(Arg::get_env);
    variable.map_or(String::new(), |variable| format!(" (or set {})", variable.to_string_lossy()))
}

/// The argument that clap's messages call `name`, anywhere below `command`, which has been built.
fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|arg| arg.to_string() == name);
    own.or_else(|| command.get_subcommands().find_map(|sub| find(sub, name)))
}

/// The same command, in which these arguments take any text or none.
fn tolerate(command: Command, ids: &[&str]) -> Command {
    let relax = |arg: Arg| {
        if !ids.contains(&arg.get_id().as_str()) {
            return arg;
        }
        let arg = arg.required(false).value_parser(ValueParser::os_string());
        if arg.get_action().takes_values() { arg.num_args(0..) } else { arg }
    };
    let subcommands: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    subcommands.into_iter().fold(command.mut_args(relax), |command, name| command.mut_subcommand(name, |sub| tolerate(sub, ids)))
}

/// Puts the file's values in as defaults; notes what in the file means nothing.
fn with_file_values(command: Command, args: &[OsString], mistakes: &mut Vec<String>) -> Command {
    let named = command
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(args)
        .ok()
        .and_then(|found| found.get_one::<std::path::PathBuf>("config").cloned());
    let file = named.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return command,
        Err(error) => {
            mistakes.push(format!("cannot read {}: {error}", file.display()));
            return command;
        }
    };
    match text.parse::<toml::Table>() {
        Ok(table) => table.into_iter().fold(command, |command, (key, value)| apply(command, &file, &key, value, mistakes)),
        Err(error) => {
            mistakes.push(format!("{} is not TOML: {}", file.display(), error.message()));
            command
        }
    }
}

/// One top-level entry: a table for a command, or a global setting.
fn apply(command: Command, file: &Path, key: &str, value: toml::Value, mistakes: &mut Vec<String>) -> Command {
    let at = |setting: &str| format!("{}: {setting}", file.display());
    let toml::Value::Table(table) = value else {
        return set(command, key, value, &at(key), mistakes);
    };
    if command.find_subcommand(key).is_none() {
        mistakes.push(format!("{} is no command of florin", at(&format!("[{key}]"))));
        return command;
    }
    table.into_iter().fold(command, |command, (name, value)| {
        command.mut_subcommand(key, |sub| set(sub, &name, value, &at(&format!("{key}.{name}")), mistakes))
    })
}

fn set(command: Command, name: &str, value: toml::Value, place: &str, mistakes: &mut Vec<String>) -> Command {
    let long = name.replace('_', "-");
    let Some(id) = command.get_arguments().find(|arg| arg.get_long() == Some(&long)).map(|arg| arg.get_id().clone()) else {
        mistakes.push(format!("{place} is no setting of this command"));
        return command;
    };
    let Some(values) = scalars(value) else {
        mistakes.push(format!("{place} must be a text, a number, true or false, or a list of those"));
        return command;
    };
    command.mut_arg(id, |arg| {
        let counted = matches!(arg.get_action(), ArgAction::Count | ArgAction::SetTrue);
        let arg = arg.required(false);
        if counted { arg.default_value(values.into_iter().next().unwrap_or_default()) } else { arg.default_values(values) }
    })
}

fn scalars(value: toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Array(items) => {
            items.into_iter().map(|item| scalars(item).filter(|one| one.len() == 1).map(|mut one| one.remove(0))).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser, Debug)]
    struct Toy {
        #[command(subcommand)]
        command: ToyCommand,
        #[arg(long, global = true)]
        config: Option<std::path::PathBuf>,
    }

    #[derive(clap::Subcommand, Debug)]
    enum ToyCommand {
        Serve(Serve),
    }

    #[derive(clap::Args, Debug)]
    struct Serve {
        #[arg(long, default_value_t = 1)]
        port: u16,
        // Cargo sets this variable for every test: an environment value that needs no set_var.
        #[arg(long, env = "CARGO_PKG_NAME")]
        name: String,
        #[arg(long)]
        size: u32,
        #[arg(long)]
        depth: Option<u8>,
        #[arg(long, env = "CARGO_PKG_VERSION", hide_env_values = true, value_parser = refuse)]
        secret: Option<String>,
        #[arg(long)]
        loud: bool,
    }

    fn refuse(_: &str) -> Result<String, std::fmt::Error> {
        Err(std::fmt::Error)
    }

    fn run(file: &str, args: &[&str]) -> Result<Serve, Vec<String>> {
        let path = std::env::temp_dir()
            .join(format!("florin-config-{}.toml", std::thread::current().name().unwrap_or("x").replace(':', "_")));
        std::fs::write(&path, file).unwrap();
        let words = ["toy", "serve", "--config"].map(OsString::from).into_iter();
        let words: Vec<OsString> = words.chain([path.into_os_string()]).chain(args.iter().map(OsString::from)).collect();
        match read::<Toy>(&words) {
            Ok(Toy { command: ToyCommand::Serve(serve), .. }) => Ok(serve),
            Err(Refusal::Mistakes(mistakes)) => Err(mistakes),
            Err(Refusal::Clap(error)) => panic!("{error}"),
        }
    }

    /// The secret's variable is always set and always refused, so every run reports it: it stands in for "one more mistake".
    fn mistakes(file: &str, args: &[&str]) -> Vec<String> {
        run(file, args).expect_err("the secret is refused")
    }

    #[test]
    fn every_mistake_of_flags_environment_and_file_is_reported_at_once() {
        let found = mistakes("[serve]\nport = 70000\nprot = 3\n[sevre]\n", &["--depth", "900"]).join("\n");
        for expected in [
            "'70000' for '--port",
            "'900' for '--depth",
            "--size <SIZE> is missing",
            "serve.prot is no setting",
            "[sevre] is no command",
        ] {
            assert!(found.contains(expected), "{expected:?} not in:\n{found}");
        }
    }

    #[test]
    fn a_refused_secret_is_named_but_never_shown() {
        let found = mistakes("", &["--size", "1"]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("CARGO_PKG_VERSION: "), "{found:?}");
        assert!(!found[0].contains(env!("CARGO_PKG_VERSION")), "{found:?}");
    }

    #[test]
    fn a_flag_beats_the_environment_and_the_environment_beats_the_file() {
        let command = || {
            with_file_values(
                <Toy as clap::CommandFactory>::command(),
                &file_args("name = \"filed\"\nsize = 7\nport = 9\nloud = true"),
                &mut Vec::new(),
            )
        };
        let get = |args: &[&str]| {
            let words: Vec<OsString> = ["toy", "serve"].iter().chain(args).map(OsString::from).collect();
            matches(command(), &words, &mut Vec::new()).unwrap().remove_subcommand().unwrap().1
        };
        let env_and_file = get(&["--port", "5"]);
        assert_eq!(env_and_file.get_one::<String>("name").unwrap(), "florin");
        assert_eq!(env_and_file.get_one::<u32>("size"), Some(&7));
        assert_eq!(env_and_file.get_one::<u16>("port"), Some(&5));
        assert!(env_and_file.get_flag("loud"));
        assert_eq!(get(&["--name", "flag"]).get_one::<String>("name").unwrap(), "flag");
    }

    fn file_args(body: &str) -> Vec<OsString> {
        let path = std::env::temp_dir().join("florin-config-precedence.toml");
        std::fs::write(&path, format!("[serve]\n{body}\n")).unwrap();
        vec!["toy".into(), "serve".into(), "--config".into(), path.into()]
    }
}

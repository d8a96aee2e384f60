//! Settings from the environment, and secrets from files: what `--help` lists, and what is said
//! when one is missing or wrong.

use std::{env, fs, io::Write, process::ExitCode};

use clap::{
    Arg, Command, Parser,
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// What stands in the names of settings that are, or hold, secrets.
const SECRETS: [&str; 3] = ["PASSWORD", "DATABASE_URL", "SECRET"];

/// Reads a program's settings. The error is the exit code: what is wrong was said in one sentence,
/// or `--help` or `--version` was printed.
pub(crate) fn parse<P: Parser>(name: &'static str, about: &'static str) -> Result<P, ExitCode> {
    let command = P::command()
        .name(name)
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .hide_possible_values(false);
    if let Some(flag) = secret_flag(env::args()) {
        return Err(fail(
            name,
            &format!(
                "{flag} would show a secret to everyone on this machine: set it in the environment, see --help"
            ),
        ));
    }
    let mut unreadable = None;
    let chosen = env::args().nth(1);
    let command = for_each_arg(command, &mut |arg, task| {
        // What another task than the chosen one needs is not read.
        let is_read = task.is_none() || task == chosen.as_deref();
        with_file(arg, is_read, &mut unreadable)
    });
    let refuse = |error: clap::Error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = write!(std::io::stdout(), "{}", error.render());
            ExitCode::SUCCESS
        }
        _ => fail(
            name,
            &unreadable.clone().unwrap_or_else(|| sentence(&error)),
        ),
    };
    let matches = command.try_get_matches().map_err(refuse)?;
    match unreadable {
        Some(sentence) => Err(fail(name, &sentence)),
        None => P::from_arg_matches(&matches).map_err(|error| fail(name, &sentence(&error))),
    }
}

pub(crate) fn fail(name: &str, sentence: &str) -> ExitCode {
    // Nothing is left to be done when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{name}: {sentence}");
    ExitCode::FAILURE
}

/// Changes every argument of a program and of its tasks; `change` is told of which task it is.
fn for_each_arg(command: Command, change: &mut impl FnMut(Arg, Option<&str>) -> Arg) -> Command {
    let tasks: Vec<String> = command
        .get_subcommands()
        .map(|task| task.get_name().to_owned())
        .collect();
    let command = command.mut_args(|arg| change(arg, None));
    tasks.into_iter().fold(command, |command, name| {
        let change = |arg| change(arg, Some(&name));
        command.mut_subcommand(&name, |task| task.mut_args(change))
    })
}

/// Names a setting by its environment variable, and lets a secret come from the file that
/// `NAME_FILE` names. `unreadable` is set where that file cannot be used.
fn with_file(arg: Arg, is_read: bool, unreadable: &mut Option<String>) -> Arg {
    let arg = arg.hide_env_values(true);
    let env = arg
        .get_env()
        .and_then(|env| env.to_str())
        .map(str::to_owned);
    let Some(setting) = env else {
        return arg;
    };
    let arg = arg.value_name(setting.clone());
    if !is_secret(&setting) {
        return arg;
    }
    let about = arg.get_help().map(StyledStr::to_string).unwrap_or_default();
    let arg = arg.help(format!("{about} [or {setting}_FILE: a file that holds it]"));
    if !is_read {
        return arg;
    }
    match from_file(&setting) {
        Ok(Some(secret)) => arg
            .required(false)
            .default_value(secret)
            .hide_default_value(true),
        Ok(None) => arg,
        Err(sentence) => {
            unreadable.get_or_insert(sentence);
            arg
        }
    }
}

/// The secret in the file that a setting's `…_FILE` names, without the line end that editors add.
#[expect(
    clippy::disallowed_methods,
    reason = "clap reads the other variables; these change what it is told"
)]
fn from_file(setting: &str) -> Result<Option<String>, String> {
    let file_setting = format!("{setting}_FILE");
    let Some(path) = env::var_os(&file_setting) else {
        return Ok(None);
    };
    if env::var_os(setting).is_some() {
        return Err(format!(
            "set {setting} or {file_setting}, not both: it is not clear which one counts"
        ));
    }
    let shown = path.to_string_lossy();
    match fs::read_to_string(&path) {
        Ok(text) => {
            let secret = text.trim_end_matches(['\r', '\n']);
            if secret.is_empty() {
                Err(format!(
                    "{file_setting}={shown} is empty: the file must hold the value of {setting}"
                ))
            } else {
                Ok(Some(secret.to_owned()))
            }
        }
        Err(error) => Err(format!(
            "{file_setting}={shown} cannot be read ({error}): it must be a text file that holds the value of {setting}"
        )),
    }
}

fn is_secret(setting: &str) -> bool {
    SECRETS.iter().any(|secret| setting.contains(secret))
}

/// What clap has to say, in one sentence and without a refused secret.
fn sentence(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::MissingRequiredArgument
        && let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg)
    {
        let settings: Vec<String> = missing.iter().map(|arg| setting_of(arg)).collect();
        return format!("not set: {} (see --help)", settings.join(", "));
    }
    let text = error.render().to_string();
    let sentence = text.split("\n\n").next().unwrap_or(&text);
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let sentence = words.join(" ");
    let sentence = sentence.trim_start_matches("error: ");
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let value = context(ContextKind::InvalidValue);
    if !value.is_empty() && is_secret(context(ContextKind::InvalidArg)) {
        sentence.replace(value, "…")
    } else {
        sentence.to_owned()
    }
}

/// `NATTER_X` of `--x <NATTER_X>`, and the file it may come from.
fn setting_of(arg: &str) -> String {
    let setting = arg.split_once('<').map_or(arg, |(_, name)| name);
    let setting = setting.trim_end_matches(['>', '.']);
    if is_secret(setting) {
        format!("{setting} (or {setting}_FILE)")
    } else {
        setting.to_owned()
    }
}

/// A flag of the command line whose value is a secret.
fn secret_flag(arguments: impl Iterator<Item = String>) -> Option<String> {
    let mut flags = arguments.filter_map(|argument| {
        let name = argument.strip_prefix("--")?.split('=').next()?;
        Some(format!("--{name}"))
    });
    flags.find(|flag| is_secret(&flag.to_uppercase().replace('-', "_")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_no_flags() {
        let flag =
            |argument: &str| secret_flag(["natter".to_owned(), argument.to_owned()].into_iter());
        for argument in [
            "--users-nats-password=x",
            "--messages-database-url",
            "--media-s3-secret-access-key",
        ] {
            let name = argument.split('=').next().map(str::to_owned);
            assert_eq!(flag(argument), name);
        }
        for argument in [
            "--help",
            "--listen=127.0.0.1:0",
            "--users-database-connections",
        ] {
            assert_eq!(flag(argument), None, "{argument}");
        }
    }
}

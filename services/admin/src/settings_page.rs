//! `deploy/SETTINGS.md`, made from the settings as the programs read them.

use clap::{Arg, Args, Command};

use crate::{Broker, setup::Owners};

const HEAD: &str = "# Settings

Every setting is an environment variable; `--help` of a program lists those that it reads, and `natter-admin check` tries them. A secret may come from a file instead: `NATTER_X_FILE` names it. Where the default is *must be set*, the program does not start without the setting; what is missing or wrong stops the start with one sentence.

This page is made from the code by the test `the_page_of_settings_is_as_the_code_is` in `services/admin`.
";

/// The sections of the page: which programs read the settings, and the settings.
fn sections() -> [(&'static str, Command); 11] {
    fn of<S: Args>() -> Command {
        S::augment_args(Command::new("settings"))
    }
    [
        (
            "Every service: the process and its listener",
            of::<natter_process::ProcessSettings>(),
        ),
        (
            "Every service and natter-admin: NATS",
            of::<natter_bus::BusSettings>(),
        ),
        ("Every service: tokens", of::<natter_auth::AuthSettings>()),
        (
            "users, messages and gateway: the media store",
            of::<natter_media::MediaSettings>(),
        ),
        ("users", of::<natter_users::Settings>()),
        ("friendships", of::<natter_friendships::Settings>()),
        ("messages", of::<natter_messages::Settings>()),
        ("gateway", of::<natter_gateway::Settings>()),
        (
            "natter-admin: the streams",
            of::<natter_bus::StreamSettings>(),
        ),
        (
            "natter-admin: its roles and its NATS user",
            Owners::augment_args(of::<Broker>()),
        ),
        ("natter-admin smoke", of::<crate::smoke::Smoke>()),
    ]
}

fn row(arg: &Arg) -> String {
    let name = arg
        .get_env()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    let default = match defaults.join(",") {
        given if !given.is_empty() => format!("`{given}`"),
        _ if arg.is_required_set() => "must be set".to_owned(),
        _ => "unset".to_owned(),
    };
    let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values = arg.get_possible_values();
    let values: Vec<String> = values
        .iter()
        .map(|one| format!("`{}`", one.get_name()))
        .collect();
    let about = if values.is_empty() {
        about
    } else {
        format!("{about} ({})", values.join(" or "))
    };
    format!("| `{name}` | {default} | {} |\n", about.replace('|', "\\|"))
}

#[test]
fn the_page_of_settings_is_as_the_code_is() {
    let mut page = HEAD.to_owned();
    let mut shown = Vec::new();
    for (title, command) in sections() {
        page.push_str(&format!(
            "\n## {title}\n\n| setting | default | what it is |\n| --- | --- | --- |\n"
        ));
        for arg in command.get_arguments() {
            // The broker's are shown once.
            if !shown.contains(arg.get_id()) {
                shown.push(arg.get_id().clone());
                page.push_str(&row(arg));
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/SETTINGS.md");
    natter_test_support::check_generated(path, &page);
}

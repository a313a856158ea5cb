//! The options as a configuration file has them, from what the flags say of themselves.

use clap::{Arg, Args, Command, FromArgMatches};
use toml::Value;

use super::settings::{Settings, keys};

/// Every option as `section.key`, with an example of its value.
pub fn options() -> Vec<(String, Value)> {
    arguments().filter_map(|arg| example(&arg)).collect()
}

/// A configuration file with every option, each commented out.
pub fn commented() -> String {
    let mut text = String::from(
        "# Configuration of `edge-seg run --config FILE`. Every option is also a flag, and the flag wins. Words, background and the log's\n\
         # level follow this file while it runs; `edge-seg config check FILE` says whether it is right.\n",
    );
    let mut current = String::new();
    for arg in arguments() {
        let Some((name, value)) = example(&arg) else { continue };
        let (section, key) = name.split_once('.').unwrap_or(("", &name));
        if section != current {
            text += &format!("\n[{section}]\n");
            current = section.into();
        }
        let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
        help.lines().for_each(|line| text += &format!("# {line}\n"));
        let choices: Vec<_> = arg.get_possible_values().iter().filter(|v| !v.is_hide_set()).map(|v| v.get_name().to_owned()).collect();
        if !choices.is_empty() && choices != ["true", "false"] {
            text += &format!("# One of {}.\n", choices.join(", "));
        }
        text += &format!("#{key} = {value}\n");
    }
    text
}

fn command() -> Command {
    Settings::augment_args(Command::new("run").no_binary_name(true))
}

fn arguments() -> impl Iterator<Item = Arg> {
    command().get_arguments().cloned().collect::<Vec<_>>().into_iter()
}

/// The key that a flag sets and a value that it takes, found by giving it one.
fn example(arg: &Arg) -> Option<(String, Value)> {
    let flag = arg.get_long()?;
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default = help.rsplit_once("[default: ").and_then(|(_, rest)| rest.split_once(']')).map(|(value, _)| value.to_owned());
    let choices = arg.get_possible_values().into_iter().map(|v| v.get_name().to_owned());
    let names = arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str().to_lowercase());
    let others = ["1", "0.5", "true", "127.0.0.1:8080", "text", "photo.jpg:10,20,90,80=name", "2026-05-01T08:00:00Z"].map(String::from);
    default.into_iter().filter(|d| !d.contains(' ')).chain(choices).chain(names).chain(others).find_map(|value| {
        let matches = command().try_get_matches_from([format!("--{flag}={value}")]).ok()?;
        let settings = Settings::from_arg_matches(&matches).ok()?;
        keys(&settings.table().ok()?).pop()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_a_key_and_the_commented_file_is_right_without_its_comments() {
        let options = options();
        for arg in arguments() {
            assert!(example(&arg).is_some(), "--{} has no key", arg.get_long().unwrap_or("?"));
        }
        let uncommented: Vec<_> = commented()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if !key.starts_with(' ') => key.to_owned(),
                _ => line.to_owned(),
            })
            .collect();
        let settings: Settings = toml::from_str(&uncommented.join("\n")).unwrap();
        assert_eq!(keys(&settings.table().unwrap()).len(), options.len());
    }
}

//! Flags for the settings, made from their table, and `--config`.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches, builder::NonEmptyStringValueParser, value_parser};

use crate::config::{
    Invalid, Problem, Resolved, file,
    layers::{self, Layer},
    resolve,
    setting::{SETTINGS, Setting},
};

/// The environment name of `--config`.
const CONFIG_ENV: &str = "QUORUS_CONFIG";

/// What was given of the settings on the command line.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingArgs {
    file: Option<PathBuf>,
    given: BTreeMap<&'static str, String>,
}

impl SettingArgs {
    /// Merges file, environment and flags. Returns the warnings, too.
    pub(super) fn resolve(&self, variables: impl IntoIterator<Item = (String, String)>) -> Result<(Resolved, Vec<Problem>), Invalid> {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let from_file = self.file.as_deref().map_or_else(Layer::new, |path| file::read(path, &mut problems));
        let from_env = layers::environment(variables, &mut warnings);
        let from_flags = layers::flags(|flag| self.given.get(flag).cloned());
        Ok((resolve([from_file, from_env, from_flags], problems)?, warnings))
    }
}

impl FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        if let Some(file) = matches.get_one::<PathBuf>("config") {
            self.file = Some(file.clone());
        }
        for setting in SETTINGS {
            if let Some(text) = matches.get_one::<String>(setting.flag) {
                self.given.insert(setting.flag, text.clone());
            }
        }
        Ok(())
    }
}

impl Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .env(CONFIG_ENV)
            .value_parser(value_parser!(PathBuf))
            .help("Read settings from a TOML file; environment and flags win over it");
        SETTINGS.iter().map(flag).fold(command.arg(config), Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The flag of a setting. Its text is checked later, with those of the other layers, so that all problems are told at once.
fn flag(setting: &'static Setting) -> Arg {
    let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    let (table, _) = setting.key.split_once('.').unwrap_or_default();
    let arg = Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(setting.placeholder())
        .value_parser(NonEmptyStringValueParser::new())
        // Given twice, the last one counts: scripts append to what others wrote.
        .overrides_with(setting.flag)
        .help(format!("{}{default} [env: {}]", setting.about, setting.env()));
    match table {
        "raft" => arg.help_heading("Consensus"),
        "limits" => arg.help_heading("Limits"),
        "log" => arg.help_heading("Log"),
        _ => arg.help_heading("Node"),
    }
}

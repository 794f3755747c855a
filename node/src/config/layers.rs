//! The layers of environment and flags, and what a layer is.

use std::collections::BTreeMap;

use super::{
    problem::{Origin, Problem, did_you_mean},
    setting::{SETTINGS, Setting},
};

/// What one source says: texts by key.
pub type Layer = BTreeMap<&'static str, Text>;

/// A text with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// As written.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

/// Environment names with the prefix that are not settings but known all the same.
const OTHER_NAMES: &[&str] = &["QUORUS_CONFIG", "QUORUS_ENDPOINTS", "QUORUS_GAME_DAY_CLOCK_FILE", "QUORUS_LOG"];

/// Collects the environment's layer. Near misses of a setting's name become warnings, not errors: platforms put names of their own there.
pub fn environment(variables: impl IntoIterator<Item = (String, String)>, warnings: &mut Vec<Problem>) -> Layer {
    let variables: BTreeMap<String, String> = variables.into_iter().collect();
    let names: Vec<String> = SETTINGS.iter().map(Setting::env).collect();
    let mut layer = Layer::new();
    for setting in SETTINGS {
        let own = setting.env();
        let found = std::iter::once(own.as_str()).chain(setting.env_fallback.iter().copied()).find_map(|name| {
            // An empty variable is how a shell says "not set".
            variables.get(name).filter(|text| !text.is_empty()).map(|text| (name, text))
        });
        if let Some((name, text)) = found {
            layer.insert(setting.key, Text { text: text.clone(), origin: Origin::Env(name.to_owned()) });
        }
    }
    for name in variables.keys().filter(|name| name.starts_with("QUORUS_")) {
        if !names.contains(name) && !OTHER_NAMES.contains(&name.as_str()) {
            let hint = did_you_mean(name, names.iter().map(String::as_str));
            // A name that shares only the prefix with the settings is somebody else's.
            if !hint.is_empty() && names.iter().any(|known| strsim::levenshtein(known, name) <= 3) {
                warnings.push(Problem::new(Origin::Env(name.clone()), format!("is not a setting and is ignored{hint}")));
            }
        }
    }
    layer
}

/// Collects the flags' layer; `given` answers with what was given for a flag.
pub fn flags(given: impl Fn(&'static str) -> Option<String>) -> Layer {
    let text = |setting: &'static Setting| given(setting.flag).map(|text| Text { text, origin: Origin::Flag(setting.flag.to_owned()) });
    SETTINGS.iter().filter_map(|setting| Some((setting.key, text(setting)?))).collect()
}

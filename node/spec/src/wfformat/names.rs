//! Names that fit, from names that don't.

use std::collections::BTreeSet;

/// The longest step id and the longest workflow name, in characters.
const CHARS_MAX: usize = 63;

/// A step id for each task id, in order: `[a-z][a-z0-9_]*`, unique, and as near to the original as that allows.
pub(super) fn step_ids<'a>(tasks: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    tasks
        .map(|task| {
            let wanted = shortened(&words(task, '_'), '_');
            let wanted = if wanted.starts_with(|c: char| c.is_ascii_lowercase()) { wanted } else { shortened(&format!("t_{wanted}"), '_') };
            let mut id = wanted.clone();
            let mut number = 2;
            while !taken.insert(id.clone()) {
                let suffix = format!("_{number}");
                id = format!("{}{suffix}", &wanted[..wanted.len().min(CHARS_MAX - suffix.len())]);
                number += 1;
            }
            id
        })
        .collect()
}

/// A workflow name: `[a-z0-9-]+`.
pub(super) fn workflow_name(name: &str) -> String {
    let name = shortened(&words(name, '-'), '-');
    if name.is_empty() { "imported".into() } else { name }
}

/// Lower-case ASCII letters and digits; whatever stands between them becomes one separator.
fn words(text: &str, separator: char) -> String {
    let mut words = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            words.push(c.to_ascii_lowercase());
        } else if !words.is_empty() && !words.ends_with(separator) {
            words.push(separator);
        }
    }
    words.trim_end_matches(separator).to_owned()
}

/// Without its first words if it is too long: the last ones tell tasks apart.
fn shortened(text: &str, separator: char) -> String {
    if text.len() <= CHARS_MAX {
        return text.to_owned();
    }
    let tail = &text[text.len() - CHARS_MAX..];
    let whole_words = tail.split_once(separator).map(|(_, rest)| rest).filter(|rest| rest.len() > CHARS_MAX / 2);
    whole_words.unwrap_or(tail).trim_start_matches(separator).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_and_stay_apart() {
        let long = "NFCORE_SAREK.SAREK.PREPARE_GENOME.GATK4_CREATESEQUENCEDICTIONARY_8";
        let longest = "x".repeat(80);
        let ids = step_ids(
            ["mProject_ID0000001", "mproject-id0000001", "mproject_id0000001", "9lives", "--", long, &longest, &longest].into_iter(),
        );
        assert_eq!(ids[..5], ["mproject_id0000001", "mproject_id0000001_2", "mproject_id0000001_3", "t_9lives", "t_"]);
        assert_eq!(ids[5], "sarek_sarek_prepare_genome_gatk4_createsequencedictionary_8");
        assert_ne!(ids[6], ids[7]);
        assert!(ids.iter().all(|id| id.len() <= CHARS_MAX));
    }

    #[test]
    fn names_fit() {
        assert_eq!(workflow_name("forkjoin-10-5000-0.6.json"), "forkjoin-10-5000-0-6-json");
        assert_eq!(workflow_name("-- --"), "imported");
    }
}

//! Runs `testscripts/*.txt`. With `UPDATE=1` in the environment the recorded output is written anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::laws;
use super::script::Script;

#[test]
#[expect(clippy::disallowed_methods, reason = "a test may ask whether to write its recordings anew")]
fn every_script_gives_its_recorded_output() {
    let update = env::var("UPDATE").is_ok();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "the scripts are there");
    let mut different = Vec::new();
    let mut panicked = false;
    for file in files {
        let recorded = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let Ok(actual) = std::panic::catch_unwind(|| replay(&recorded)) else {
            different.push((name, "it panicked".to_owned()));
            panicked = true;
            continue;
        };
        if actual != recorded {
            if update {
                fs::write(&file, &actual).unwrap();
            }
            different.push((name, first_difference(&recorded, &actual)));
        }
    }
    assert!((update && !panicked) || different.is_empty(), "run with UPDATE=1 and look at the difference: {different:#?}");
}

/// Comments and commands stay; what is below `---` is replaced by what the commands give.
fn replay(text: &str) -> String {
    let mut script = Script::new();
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line != "---" {
            writeln!(out, "{line}").unwrap();
            continue;
        }
        // The commands of the block are the lines since the last empty one.
        let block = out.trim_end().rsplit("\n\n").next().unwrap().to_owned();
        writeln!(out, "---").unwrap();
        let commands: Vec<&str> = block.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).collect();
        for command in &commands {
            let given = script.command(command);
            if commands.len() > 1 && !given.is_empty() {
                writeln!(out, "> {command}").unwrap();
            }
            for line in given {
                writeln!(out, "{line}").unwrap();
            }
        }
        while lines.peek().is_some_and(|line| !line.is_empty()) {
            lines.next();
        }
    }
    script.finish();
    out
}

impl Script {
    /// Every script also proves that its history can be replayed from any point.
    fn finish(&self) {
        if let Some(world) = self.world_ref().filter(|world| world.events.len() < 500) {
            laws::prefixes(world);
        }
    }
}

fn first_difference(recorded: &str, actual: &str) -> String {
    let pair = recorded.lines().zip(actual.lines()).enumerate().find(|(_, (recorded, actual))| recorded != actual);
    match pair {
        Some((line, (recorded, actual))) => format!("line {}: recorded `{recorded}`, got `{actual}`", line + 1),
        None => "one has more lines".to_owned(),
    }
}

//! The clock of one node, set forward or back while the machine's stays right: the node reads the offset from a file (`QUORUS_GAME_DAY_CLOCK_FILE`).

use std::{fs, path::Path};

use anyhow::Context as _;

/// The node's environment variable that names the file.
pub const VARIABLE: &str = "QUORUS_GAME_DAY_CLOCK_FILE";

/// Writes the offset; a node that reads the file sees the old or the new one, nothing between. It looks every 100 ms.
pub fn set(file: &Path, offset_ms: i64) -> anyhow::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, format!("{offset_ms}\n")).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, file).with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_one_line_with_milliseconds() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        set(&file, 300).unwrap();
        set(&file, -5000).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "-5000\n");
    }
}

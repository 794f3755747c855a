//! The examples of the repository are what people copy first: each must load without a warning, print, and read back.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

#[test]
fn every_example_loads_without_a_warning_and_survives_printing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let loaded = quorus_spec::load(&text, &path.display().to_string())
            .unwrap_or_else(|diagnostics| panic!("{}", quorus_spec::render_all(&diagnostics, &text, false)));
        assert!(loaded.warnings.is_empty(), "{}", quorus_spec::render_all(&loaded.warnings, &text, false));
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), loaded.workflow.metadata.as_ref().unwrap().name);
        let printed = quorus_spec::to_yaml(&loaded.workflow);
        assert_eq!(quorus_spec::read(&printed, "printed").workflow.as_ref(), Some(&loaded.workflow), "{printed}");
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} examples found");
}

//! Holds the pages of figures, and the README's section on speed, against the figures that were measured: nothing in them is typed by
//! hand. `target/release/bench pages` writes them anew without measuring.

use std::path::Path;

use dcv_tests::bench::{FIGURES, ROOT, figures, page, readme_with};

#[test]
fn pages_and_readme_say_what_was_measured() {
    let figures = figures().expect("tests/figures/figures.json; tests/bench writes it");
    for (name, text) in page::pages(&figures) {
        let there = std::fs::read_to_string(Path::new(FIGURES).join(name)).unwrap_or_default();
        assert!(there == text, "tests/figures/{name} is not what was measured; `bench pages` writes it");
    }
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).expect("README.md");
    let expected = readme_with(&readme, &page::short(&figures)).expect("README.md has the marks");
    assert!(readme == expected, "README.md does not say what was measured; `bench pages` writes it");
}

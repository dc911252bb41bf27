//! What the documents name exists: every path of a source in backticks.
//!
//! A path begins with a folder of the repository. Behind it on its line, others may be named from the
//! same folder: `origin/src/pull.rs`, `io/line.rs`.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_source_that_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut documents = files_in(&root);
    documents.extend(files_in(&root.join("docs")));
    documents.push(root.join("tests/real-clients/README.md"));
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut missing = Vec::new();
    let mut named = 0;
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        let (paths, gone) = check(&root, document.parent().unwrap(), &text);
        named += paths;
        missing.extend(gone.iter().map(|path| format!("{}: {path}", document.display())));
    }
    assert!(missing.is_empty(), "named, but not there:\n{}", missing.join("\n"));
    assert!(documents.len() >= 5 && named > 40, "{named} paths in {documents:?}");
}

#[test]
fn a_path_that_is_not_there_is_noticed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = "`deploy/src/lib.rs`, `main.rs`, `none.rs`, `cli/` and `/metrics`\n\
                `deploy/src/nothing/`, `docs/none.md`, `io/` and `a b/c.rs`\n\
                ```\n`deploy/none.rs`\n```\n\
                `none.rs` of no folder, `README.md`";
    let gone = ["none.rs", "deploy/src/nothing/", "docs/none.md", "io/", "none.rs"];
    let gone = gone.map(str::to_owned);
    assert_eq!(check(&root, &root, text), (9, gone.to_vec()));
}

/// How many paths a document names, and those that are not there. `folder` is the document's own.
fn check(root: &Path, folder: &Path, text: &str) -> (usize, Vec<String>) {
    let (mut named, mut missing) = (0, Vec::new());
    let prose = text.split("```").step_by(2);
    for line in prose.flat_map(str::lines) {
        let mut beside: Option<PathBuf> = None;
        for path in line.split('`').skip(1).step_by(2).filter(|text| is_path(text)) {
            let first = path.split('/').next().unwrap_or_default();
            let exists = if path.contains('/') && root.join(first).join("Cargo.toml").exists()
                || first == "docs"
            {
                beside = Path::new(path).parent().map(|parent| root.join(parent));
                root.join(path).exists()
            } else if let Some(beside) = &beside {
                beside.join(path).exists()
            } else if is_source(path) {
                // A name without a folder: of the document's own, or what every crate has.
                folder.join(path).exists() || path == "main.rs"
            } else {
                continue;
            };
            named += 1;
            if !exists {
                missing.push(path.to_owned());
            }
        }
    }
    (named, missing)
}

/// Whether it can be the path of a source, written from somewhere inside the repository.
fn is_path(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    !text.starts_with(['/', '.'])
        && text.chars().all(plain)
        && (text.ends_with('/') || is_source(text))
}

fn is_source(text: &str) -> bool {
    [".rs", ".mjs", ".js", ".proto", ".md"].iter().any(|end| text.ends_with(end))
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

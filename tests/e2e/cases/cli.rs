//! `sluice check` and what `sluice start` refuses; no broker is asked.

use crate::harness::TempDir;
use crate::harness::config::Crud;
use crate::harness::gateway::command;
use crate::harness::tool::{Finished, run};
use std::fs;
use std::path::Path;

/// What the shipped files ask the environment for.
const VARIABLES: [(&str, &str); 5] = [
    ("KAFKA_BOOTSTRAP_SERVER", "localhost:9092"),
    ("ECHO_SERVER_HOST", "localhost"),
    ("ECHO_SERVER_PORT", "50051"),
    ("UPSTREAM_HOST", "localhost"),
    ("UPSTREAM_PORT", "8080"),
];

fn check(file: &Path) -> Finished {
    run(
        command().envs(VARIABLES).args(["check", "-c"]).arg(file),
        b"",
    )
}

pub(crate) fn good_file() {
    let dir = TempDir::new();
    let finished = check(&dir.file("good.yaml", &Crud::over("items").timeout("3s").yaml()));
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

pub(crate) fn shipped_files() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut count = 0;
    for entry in fs::read_dir(config).expect("config/") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let finished = check(&path);
            assert_eq!(finished.code, Some(0), "{}: {finished:?}", path.display());
            count += 1;
        }
    }
    assert!(count >= 2, "{count} files in config/");
}

/// A file with three mistakes, and for each the line, the column and a word that the message must have.
fn three_mistakes(dir: &TempDir) -> (std::path::PathBuf, Vec<(String, &'static str)>) {
    let good = Crud::over("items").timeout("3s").yaml();
    let mistakes = [
        ("topic: items", "tpoic: items", "`topic`"),
        ("timeout: 3s", "timeout: soon", "soon"),
        ("kind: cache_client", "kind: cache_clint", "`cache_client`"),
    ];
    let bad = mistakes.iter().fold(good, |text, (right, wrong, _)| {
        text.replacen(right, wrong, 1)
    });
    let places = mistakes.map(|(_, wrong, word)| {
        let (line, text) = bad
            .lines()
            .enumerate()
            .find(|(_, text)| text.contains(wrong))
            .expect("it is there");
        let (key, value) = (
            text.find(wrong).expect("there"),
            text.find(": ").expect("there") + 2,
        );
        // An unknown key is at the key, a bad value at the value.
        let column = if wrong.starts_with("tpoic") {
            key
        } else {
            value
        } + 1;
        (format!("bad.yaml:{}:{column}: ", line + 1), word)
    });
    (dir.file("bad.yaml", &bad), places.to_vec())
}

#[track_caller]
fn names_all(finished: &Finished, places: &[(String, &str)]) {
    assert_eq!(finished.code, Some(2), "{finished:?}");
    for (place, word) in places {
        let mut lines = finished.stderr.lines();
        let line = lines.find(|line| line.contains(place));
        let line = line.unwrap_or_else(|| panic!("nothing at {place}\n{}", finished.stderr));
        assert!(line.contains(word), "no {word}: {line}");
    }
}

pub(crate) fn bad_file() {
    let dir = TempDir::new();
    let (file, places) = three_mistakes(&dir);
    names_all(&check(&file), &places);
    let finished = check(&dir.file("broken.yaml", "name: x\nbindings: [\n"));
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("broken.yaml:"), "{finished:?}");
}

pub(crate) fn start_with_a_bad_file() {
    let dir = TempDir::new();
    let (file, places) = three_mistakes(&dir);
    let mut start = command();
    start
        .envs(VARIABLES)
        .args(["start", "--cores", "none:1", "-c"])
        .arg(file);
    let finished = run(&mut start, b"");
    names_all(&finished, &places);
    assert!(
        !finished.stdout.contains("http://"),
        "it listened: {finished:?}"
    );
}

pub(crate) fn unset_variable() {
    let dir = TempDir::new();
    let text = Crud::over("items").yaml();
    let file = dir.file("env.yaml", &text);
    let line = text
        .lines()
        .position(|line| line.contains("env.KAFKA"))
        .expect("there")
        + 1;
    for arguments in [&["check", "-c"][..], &["start", "--cores", "none:1", "-c"]] {
        let finished = run(command().args(arguments).arg(&file), b"");
        assert_eq!(finished.code, Some(2), "{arguments:?}: {finished:?}");
        assert!(
            finished.stderr.contains("KAFKA_BOOTSTRAP_SERVER"),
            "{finished:?}"
        );
        assert!(
            finished.stderr.contains(&format!("env.yaml:{line}:")),
            "{finished:?}"
        );
    }
}

pub(crate) fn missing_file() {
    for arguments in [&["check", "-c"][..], &["start", "--cores", "none:1", "-c"]] {
        let finished = run(command().args(arguments).arg("/nowhere/zilla.yaml"), b"");
        assert_eq!(finished.code, Some(2), "{arguments:?}: {finished:?}");
        assert!(
            finished.stderr.contains("/nowhere/zilla.yaml"),
            "{finished:?}"
        );
    }
}

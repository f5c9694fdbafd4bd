//! What lints cannot check: which layer may name what, how files begin, and what may not be in the repository at all.
//!
//! Reads the source tree as text. Its one rule: a failing check lists every finding with file and line, not only the first.

use std::fs;
use std::path::Path;

/// Protocols, routes, mappings, configuration and the Kafka machines: bytes, time and messages come to them as arguments.
const SANS_IO: [&str; 23] = [
    "src/config/",
    "src/exchange/",
    "src/grpc/",
    "src/guard/",
    "src/http/",
    "src/kafka/cache/",
    "src/kafka/correlation/",
    "src/kafka/error_code.rs",
    "src/kafka/fetcher/",
    "src/kafka/group/assignor/",
    "src/kafka/group/events.rs",
    "src/kafka/group/holdings.rs",
    "src/kafka/group/member/",
    "src/kafka/group/requests.rs",
    "src/kafka/group/subscription.rs",
    "src/kafka/metadata.rs",
    "src/kafka/partition.rs",
    "src/kafka/producer/",
    "src/kafka/record_batch/",
    "src/kafka/wire.rs",
    "src/mapping/",
    "src/route/",
    "src/tls/",
];
/// What they may not name.
const IO: [&str; 5] = [
    "crate::net",
    "crate::runtime",
    "glommio",
    "std::net",
    "tokio",
];
/// What a configuration may hold all the same: plain values.
const ADDRESSES: [&str; 4] = ["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr"];
/// Folders with what is built, found or downloaded.
const SKIPPED: [&str; 5] = [".git", "artifacts", "corpus", "coverage", "target"];

/// A text file of the repository.
struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is_source(&self) -> bool {
        self.path.starts_with("src/")
            && Path::new(&self.path)
                .extension()
                .is_some_and(|extension| extension == "rs")
    }

    fn is_yaml(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "yaml")
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        (1..).zip(self.text.lines()).map(|(number, text)| Line {
            path: &self.path,
            number,
            text,
        })
    }

    /// The lines without their comments. What follows `//` within a string is lost with them, unless it is a URL.
    fn code(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines().map(|line| {
            let comment = line
                .text
                .match_indices("//")
                .map(|(at, _)| at)
                .find(|at| !line.text[..*at].ends_with(':'));
            Line {
                text: &line.text[..comment.unwrap_or(line.text.len())],
                ..line
            }
        })
    }
}

#[derive(Clone, Copy)]
struct Line<'f> {
    path: &'f str,
    number: usize,
    text: &'f str,
}

impl Line<'_> {
    /// Whether `name` stands in it and is not a part of a longer one.
    fn names(&self, name: &str) -> bool {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let bytes = self.text.as_bytes();
        self.text.match_indices(name).any(|(at, _)| {
            let before = at.checked_sub(1).map(|before| bytes[before]);
            !before.is_some_and(is_part)
                && !bytes.get(at + name.len()).copied().is_some_and(is_part)
        })
    }
}

/// All text files of the repository, in the order of their paths.
fn files() -> Vec<File> {
    let mut files = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
    files.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(
        files.iter().filter(|file| file.is_source()).count() > 100,
        "this is not the source tree"
    );
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let entry = entry.expect("an entry of it");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() {
            if !SKIPPED.contains(&&*name) {
                collect(&entry.path(), &format!("{path}/"), files);
            }
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push(File { path, text });
        }
    }
}

/// Fails with all `findings`, if there are any.
fn none<'f>(rule: &str, findings: impl Iterator<Item = Line<'f>>) {
    let listed: Vec<_> = findings
        .map(|line| format!("{}:{}: {}", line.path, line.number, line.text.trim()))
        .collect();
    assert!(listed.is_empty(), "{rule}\n{}", listed.join("\n"));
}

/// Whether all that a line takes from `std::net` are addresses.
fn names_only_addresses(line: &Line<'_>) -> bool {
    let mut taken = line.text.split("std::net::").skip(1).flat_map(|rest| {
        let end = rest.find(|mark| {
            if rest.starts_with('{') {
                mark == '}'
            } else {
                !char::is_alphanumeric(mark)
            }
        });
        rest[..end.unwrap_or(rest.len())]
            .split(['{', ',', ' '])
            .filter(|name| !name.is_empty())
    });
    taken.all(|name| ADDRESSES.contains(&name))
}

#[test]
fn sans_io_code_names_neither_sockets_nor_executors() {
    let files = files();
    let sans_io = files.iter().filter(|file| {
        file.is_source() && SANS_IO.iter().any(|place| file.path.starts_with(place))
    });
    let named = sans_io
        .flat_map(File::code)
        .filter(|line| IO.iter().any(|name| line.names(name)));
    let of_config = |line: &Line<'_>| {
        line.path.starts_with("src/config/") && line.names("std::net") && names_only_addresses(line)
    };
    none(
        "time, bytes and messages are arguments here",
        named.filter(|line| !of_config(line)),
    );
    for place in SANS_IO {
        assert!(
            files.iter().any(|file| file.path.starts_with(place)),
            "{place} has moved: move its rule too"
        );
    }
}

#[test]
fn glommio_is_named_by_the_runtime_alone() {
    let files = files();
    let others = files
        .iter()
        .filter(|file| file.is_source() && !file.path.starts_with("src/runtime/"));
    none(
        "the executor can be exchanged in one folder",
        others
            .flat_map(File::code)
            .filter(|line| line.names("glommio")),
    );
}

#[test]
fn unsafe_code_is_in_one_file() {
    let files = files();
    // This file has it in strings, and the peers are packages of their own, outside the workspace.
    let exempt = ["src/runtime/ring.rs", "tests/tidy.rs"];
    let ours = files.iter().filter(|file| {
        Path::new(&file.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
            && !file.path.starts_with("bench/peers/")
    });
    let others = ours.filter(|file| !exempt.contains(&&*file.path));
    none(
        "what needs it belongs to src/runtime/ring.rs",
        others
            .flat_map(File::code)
            .filter(|line| line.names("unsafe")),
    );
}

#[test]
fn every_file_says_first_what_it_is() {
    let files = files();
    let silent = files.iter().filter(|file| {
        // The crate's own text is a file of its own.
        let is_crate = file.path == "src/lib.rs"
            && file
                .text
                .starts_with("#![doc = include_str!(\"ARCHITECTURE.md\")]");
        file.is_source() && !file.text.starts_with("//! ") && !is_crate
    });
    none(
        "a source file begins with `//!`",
        silent.filter_map(|file| file.lines().next()),
    );
}

#[test]
fn nothing_is_left_for_later() {
    let files = files();
    let sources = || files.iter().filter(|file| file.is_source());
    let unfinished = |line: &Line<'_>| {
        ["todo!", "unimplemented!", "dbg!"]
            .iter()
            .any(|name| line.names(name))
    };
    let marked = sources()
        .flat_map(File::lines)
        .filter(|line| line.names("FIXME"));
    none(
        "unfinished",
        sources()
            .flat_map(File::code)
            .filter(unfinished)
            .chain(marked),
    );
}

#[test]
fn no_text_knows_the_machine_it_was_written_on() {
    let files = files();
    // Put together here, or this file would be the first finding.
    let folders = ["home", "root", "Users", "work", "mnt"].map(|folder| format!("/{folder}/"));
    let hosts = [
        ("index.crates", "io"),
        ("static.crates", "io"),
        ("repo1.maven", "org"),
        ("registry.npmjs", "org"),
        ("pypi", "org"),
        ("ghcr", "io"),
        ("docker", "io"),
    ];
    let hosts = hosts.map(|(name, end)| format!("{name}.{end}"));
    let starts_path = |line: &Line<'_>, folder: &String| {
        line.text
            .match_indices(folder)
            .any(|(at, _)| !line.text[..at].ends_with(is_path_mark))
    };
    let knows = |line: &Line<'_>| {
        folders.iter().any(|folder| starts_path(line, folder))
            || hosts.iter().any(|host| line.text.contains(host))
    };
    none(
        "paths of a machine and hosts of registries",
        files.iter().flat_map(File::lines).filter(knows),
    );
}

/// Whether a path that begins after this mark goes on, rather than begins.
fn is_path_mark(mark: char) -> bool {
    mark.is_alphanumeric() || matches!(mark, '.' | '}' | '_' | '-' | '*')
}

#[test]
fn every_configuration_that_is_shipped_loads_without_a_warning() {
    let files = files();
    let shipped: Vec<_> = files
        .iter()
        .filter(|file| file.path.starts_with("config/") && file.is_yaml())
        .collect();
    assert!(!shipped.is_empty());
    for file in shipped {
        let env = |name: &str| match name {
            "KAFKA_BOOTSTRAP_SERVER" => Some("localhost:9092".to_owned()),
            "ECHO_SERVER_HOST" | "UPSTREAM_HOST" => Some("localhost".to_owned()),
            "ECHO_SERVER_PORT" | "UPSTREAM_PORT" => Some("50051".to_owned()),
            _ => None,
        };
        let surroundings = sluice::config::Surroundings {
            env: &env,
            directory: Path::new("config"),
            read_file: &|path| fs::read(path),
        };
        let plan = sluice::config::load(&file.path, &file.text, &surroundings).unwrap_or_else(
            |mistakes| {
                let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
                panic!("{}", lines.join("\n"))
            },
        );
        assert!(
            plan.warnings.is_empty(),
            "{}: {:?}",
            file.path,
            plan.warnings
        );
    }
}

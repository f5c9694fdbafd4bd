//! `sluice`: the commands and what they print.
//!
//! Rule: exit code 0 when it did what it was asked, 2 when the configuration or the arguments are at fault, 1 for anything else; every error says what to do.

mod embedded;
mod metrics;
mod start;
mod topics;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Mistake, Plan, Surroundings};
use crate::gateway::StoreFile;
use crate::runtime::placement::CoreSet;

/// The configuration that is run when none is named.
const QUICKSTART: &str = include_str!("../../config/quickstart.yaml");
const QUICKSTART_NAME: &str = "quickstart.yaml";
/// The variable that example configurations take the cluster's address from.
const SERVERS_VARIABLE: &str = "KAFKA_BOOTSTRAP_SERVER";
const EXIT_CONFIG: u8 = 2;

/// A gateway between HTTP clients and Apache Kafka.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway. Without a file: a small REST API on port 7114, on an embedded broker unless `KAFKA_BOOTSTRAP_SERVER` is set.
    Start(StartArguments),
    /// Checks a configuration and says all that is wrong with it.
    Check {
        /// The file.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Lists, creates and deletes topics.
    Topics(topics::TopicsArguments),
    /// Prints what a running gateway has counted.
    Metrics(metrics::MetricsArguments),
    /// Prints the version.
    Version,
}

#[derive(Debug, Args)]
struct StartArguments {
    /// The configuration (zilla.yaml).
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Processors to run on, one core each: `0-3`, `0,2`, or `none:2` for two that are not pinned. Default: all that the process may use.
    #[arg(long, value_name = "CORES")]
    cores: Option<CoreSet>,
    /// Bytes of cached records on each core, such as 512MiB. Default: a quarter of the memory over all cores.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    cache_bytes: Option<usize>,
    /// Runs a one-node broker inside the process, for development, and sets `KAFKA_BOOTSTRAP_SERVER` to it.
    #[arg(long)]
    embedded: bool,
    /// The embedded broker's port. Default: a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    embedded_port: u16,
    /// Where the embedded broker keeps its records. Default: in memory, gone with the process.
    #[arg(long, value_name = "DIR")]
    embedded_dir: Option<PathBuf>,
    /// Writes a line for each request to standard output: time, client, method, path without its query, status, bytes, milliseconds, route.
    #[arg(long)]
    access_log: bool,
    /// Says more.
    #[arg(short, long)]
    verbose: bool,
}

/// Runs a command.
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Start(arguments) => start::run(&arguments),
        Command::Check { config } => check(&config),
        Command::Topics(arguments) => topics::run(&arguments),
        Command::Metrics(arguments) => metrics::run(&arguments),
        Command::Version => {
            println!("sluice {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

fn check(file: &Path) -> ExitCode {
    match load_file(file, &environment) {
        Ok(plan) => {
            print_warnings(&plan);
            println!("{}: good", file.display());
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads and checks a file; prints what is wrong.
fn load_file(file: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Plan, ExitCode> {
    Ok(Source::of_file(file)?.load_or_say(env)?.plan)
}

/// The text of a configuration, and where it lies.
#[derive(Debug)]
struct Source {
    name: String,
    text: String,
    directory: PathBuf,
    file: Option<PathBuf>,
}

/// A configuration that can be used.
#[derive(Debug)]
struct Loaded {
    plan: Plan,
    /// What it was read from besides its own text.
    stores: Vec<StoreFile>,
}

impl Source {
    fn of_file(file: &Path) -> Result<Self, ExitCode> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            eprintln!("sluice: cannot read {}: {error}", file.display());
            ExitCode::from(EXIT_CONFIG)
        })?;
        Ok(Self {
            name: file.display().to_string(),
            text,
            directory: file.parent().unwrap_or(Path::new("")).to_owned(),
            file: Some(file.to_owned()),
        })
    }

    fn quickstart() -> Self {
        Self {
            name: QUICKSTART_NAME.to_owned(),
            text: QUICKSTART.to_owned(),
            directory: PathBuf::new(),
            file: None,
        }
    }

    /// Whether its file says something else by now.
    fn has_changed(&self) -> bool {
        let text = self.file.as_ref().map(std::fs::read_to_string);
        text.is_some_and(|text| text.is_ok_and(|text| text != self.text))
    }

    /// Checks it, with the stores as they are now.
    fn load(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Vec<Mistake>> {
        let stores = RefCell::new(Vec::new());
        let surroundings = Surroundings {
            env,
            directory: &self.directory,
            read_file: &|path| {
                // Services are as they were when the process started; keys are read anew when they change.
                if path
                    .extension()
                    .is_none_or(|extension| extension != "proto")
                {
                    stores.borrow_mut().push(StoreFile::at(path));
                }
                std::fs::read(path)
            },
        };
        let plan = config::load(&self.name, &self.text, &surroundings)?;
        let stores = stores.take();
        Ok(Loaded { plan, stores })
    }

    /// Checks it; prints what is wrong.
    fn load_or_say(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, ExitCode> {
        self.load(env).map_err(|mistakes| {
            for mistake in &mistakes {
                eprintln!("{mistake}");
            }
            let plural = if mistakes.len() == 1 { "" } else { "s" };
            eprintln!(
                "sluice: {} mistake{plural} in {}; nothing was started",
                mistakes.len(),
                self.name
            );
            ExitCode::from(EXIT_CONFIG)
        })
    }
}

fn print_warnings(plan: &Plan) {
    for warning in &plan.warnings {
        eprintln!("warning: {warning}");
    }
}

/// `1048576`, `512MiB`, `2GB`.
fn parse_bytes(text: &str) -> Result<usize, String> {
    let digits = text
        .find(|symbol: char| !symbol.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => {
            return Err(format!(
                "`{unit}` is no unit: write bytes, or KiB, MiB, GiB, kB, MB, GB"
            ));
        }
    };
    let number: usize = number
        .parse()
        .map_err(|_| format!("`{text}` is no number of bytes: write 1048576 or 512MiB"))?;
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("`{text}` is more memory than there can be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse_bytes("512MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert_eq!(parse_bytes("2kB"), Ok(2000));
        for bad in ["", "MiB", "12XB", "-1", "99999999999999999999GiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_arguments_make_sense() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}

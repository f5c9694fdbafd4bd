//! The command line: args → config → cores → signal; nothing else.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    sluice::cli::run(sluice::cli::Arguments::parse())
}

//! `load`: what wrk cannot do for `bench/run`. Prints one line of `name=value`, for the script to read.

mod arguments;
mod connection;
mod fanout;
mod first_answer;
mod open_loop;
mod response;
mod wait;

use std::process::ExitCode;

use arguments::{Arguments, Mode, USAGE};

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let line = match arguments.mode {
        Mode::OpenLoop => open_loop::run(&arguments).map(|figures| figures.to_string()),
        Mode::FirstAnswer => first_answer::run(&arguments)
            .map(|elapsed| format!("first_answer_us={}", elapsed.as_micros())),
        Mode::Wait => wait::run(&arguments).map(|figures| figures.to_string()),
        Mode::FanOut => fanout::run(&arguments).map(|figures| figures.to_string()),
    };
    match line {
        Ok(line) => println!("{line}"),
        Err(error) => {
            eprintln!("load: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

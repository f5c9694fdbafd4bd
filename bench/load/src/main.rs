//! `load`: what wrk cannot do for `bench/run`. Prints one line of `name=value`, for the script to read.

mod arguments;
mod first_answer;
mod open_loop;
mod response;

use std::process::ExitCode;

use arguments::{Arguments, USAGE};

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let line = if arguments.first_answer {
        first_answer::run(&arguments)
            .map(|elapsed| format!("first_answer_us={}", elapsed.as_micros()))
    } else {
        open_loop::run(&arguments).map(|figures| {
            let at = |quantile| figures.latency_us.value_at_quantile(quantile);
            format!(
                "requests={} errors={} duration_us={} p50_us={} p99_us={} p999_us={}",
                figures.answered,
                figures.failed,
                figures.elapsed.as_micros(),
                at(0.5),
                at(0.99),
                at(0.999)
            )
        })
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

//! The service of `bench/run`: answers request records as a service behind the gateway does, and measures the same way without one.
//!
//! `echo` answers each record of a topic on the topic that `zilla:reply-to` names; `probe` is a client without a gateway: it writes such requests at a rate, reads
//! the replies itself, and so gives the time that is the service's own; `wake` measures from the ack of a foreign record to the answer of a GET that waits for
//! it; `fill` writes the records that many such GETs wait for.
//!
//! On librdkafka, not rskafka: rskafka 0.6 writes a request in two parts on a socket without TCP_NODELAY and has no option for it, so as soon as requests overlap
//! each waits for the broker's delayed ack (p50 44 ms, where librdkafka takes a fraction of one). It would be the only thing one sees in a round trip.

mod arguments;
mod client;
mod echo;
mod probe;
mod wake;

use std::error::Error;
use std::io::stdin;
use std::process::ExitCode;

use arguments::{Arguments, Command, USAGE};

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("service: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    // Sleeps end when they should, not 50 microseconds later; threads inherit it.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    match arguments.command {
        Command::Echo => echo::run(arguments),
        Command::Fill => echo::fill(arguments),
        Command::Probe => probe::run(arguments),
        Command::Wake => wake::run(arguments),
    }
}

/// Says that everything is connected, and with `--hold` waits for a line on standard input.
fn ready(arguments: &Arguments) -> std::io::Result<()> {
    println!("ready");
    if arguments.hold {
        stdin().read_line(&mut String::new())?;
    }
    Ok(())
}

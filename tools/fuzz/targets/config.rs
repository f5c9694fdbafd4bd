//! Any text as a configuration: a plan or a list of mistakes, never a panic.
//!
//! Every mistake has a place, and says nothing of what variables that hold secrets are set to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::config;

fuzz_target!(|text: &str| {
    let env = |name: &str| match name {
        "KAFKA_BOOTSTRAP_SERVER" => Some("localhost:9092".to_owned()),
        "EMPTY" => Some(String::new()),
        "LINES" => Some("a: 1\n- b".to_owned()),
        _ => None,
    };
    let surroundings = config::Surroundings {
        env: &env,
        directory: "".as_ref(),
        // Whatever is asked for, the same bytes: most stores fail to open, which is a mistake like any other.
        read_file: &|_| Ok(text.as_bytes().to_vec()),
    };
    match config::load("fuzz.yaml", text, &surroundings) {
        Ok(plan) => assert!(!plan.listeners.is_empty()),
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert!(mistake.to_string().starts_with("fuzz.yaml:"), "{mistake}");
            }
        }
    }
});

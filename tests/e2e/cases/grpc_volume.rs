//! Much of it: long streams, large messages, many calls at once, and readers that take their time.

use crate::cases::grpc_foreign::{Running, assert_all_well};
use crate::harness::Env;
use crate::harness::grpc::{Grpc, framed, said};
use crate::harness::grpc_site::{Loop, grpc_echo};
use crate::harness::programs::{Language, Service};

const BOTH: [Language; 2] = [Language::Python, Language::Go];

/// Longer than anything that waits anywhere.
pub(crate) fn long_streams_make_the_loop(env: &Env) {
    let running = Running::new(env, Service::start(Language::Go));
    for client in BOTH {
        for arguments in [
            ["client-stream", "--messages", "1000"],
            ["server-stream", "--count", "1000"],
            ["bidi", "--messages", "300"],
        ] {
            assert_all_well(&running.call(client, &arguments), 1);
        }
    }
    // A service that takes its time over each message is waited for.
    let slow: Vec<String> = (0..150).map(|n| format!("sleep=0.01;{n}")).collect();
    let mut arguments = vec!["client-stream"];
    for text in &slow {
        arguments.extend(["--say", text]);
    }
    assert_all_well(&running.call(Language::Go, &arguments), 1);
}

pub(crate) fn large_messages_make_the_loop_or_are_refused(env: &Env) {
    let running = Running::new(env, Service::start(Language::Go));
    let size = |size: &str| {
        let arguments = ["unary", "--size", size, "--timeout", "30"];
        running.call(Language::Python, &arguments)
    };
    assert_all_well(&size("900000"), 1);
    // What the topic does not take, nobody is kept waiting for.
    let refused = size("2000000");
    assert_eq!(refused["code"], "RESOURCE_EXHAUSTED", "{refused}");
    // The same of the answer: twenty messages that are small become one that is large.
    let text = "x".repeat(100_000);
    let arguments: Vec<&str> = std::iter::once("client-stream")
        .chain((0..20).flat_map(|_| ["--say", &*text]))
        .collect();
    let refused = running.call(Language::Python, &arguments);
    assert_eq!(refused["code"], "RESOURCE_EXHAUSTED", "{refused}");
    assert_all_well(&size("10"), 1);
}

/// More than a core sees to at once.
pub(crate) fn thousands_of_slow_calls_are_all_answered(env: &Env) {
    let running = Running::new(env, Service::start(Language::Go));
    let arguments = [
        "unary",
        "--count",
        "3000",
        "--concurrency",
        "2500",
        "--channels",
        "20",
        "--text",
        "sleep=2;slow",
    ];
    assert_all_well(&running.call(Language::Python, &arguments), 3_000);
}

/// More streams of clients than a core sees to at once, each of whose messages lie behind those of all others.
pub(crate) fn more_streams_than_there_is_room_for_end_nevertheless(env: &Env) {
    let running = Running::over(env, Service::start(Language::Go), 1);
    let arguments = [
        "client-stream",
        "--streams",
        "1100",
        "--messages",
        "3",
        "--channels",
        "11",
        "--give-up",
        "50",
    ];
    assert_all_well(&running.call(Language::Python, &arguments), 1_100);
}

/// A client that takes nothing is waited for, and others are not.
pub(crate) fn a_caller_that_takes_its_time_gets_everything(env: &Env) {
    const COUNT: usize = 60;
    let service = grpc_echo("").start("");
    let gateway = env.site(&Loop::new(env, 1, service.address().port()).site());
    let large = "x".repeat(100_000);
    let slow = Grpc::connect(gateway.address());
    let mut stream = slow.begin("BidirectionalStreamingEcho", &[]);
    for n in 0..COUNT {
        stream.send(&framed(&said(&format!("{n}{large}"))));
    }
    stream.finish();
    let other = Grpc::connect(gateway.address());
    for n in 0..50 {
        let text = format!("{n}");
        other.unary(&text, &[]).expect_texts(&[&text]);
    }
    for n in 0..COUNT {
        let message = stream.next().expect("a message");
        assert!(message == said(&format!("{n}{large}")), "message {n}");
    }
    assert!(stream.end().expect(0).messages.is_empty());
}

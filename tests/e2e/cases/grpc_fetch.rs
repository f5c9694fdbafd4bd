//! grpc-kafka `fetch`: the records of a topic as a stream of messages, and where each says to go on.

use crate::harness::grpc::{Grpc, framed, said};
use crate::harness::grpc_site::grpc_kafka;
use crate::harness::programs::{Language, web};
use crate::harness::records::Record;
use crate::harness::site::Site;
use crate::harness::{Env, PATIENCE, eventually};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;
use std::collections::BTreeSet;

const METHOD: &str = "example.FanoutService/FanoutServerStream";
/// The tag of field 32767, of wire type 2.
const PROGRESS: [u8; 3] = [0xfa, 0xff, 0x0f];

fn site(topic: &str) -> Site {
    grpc_kafka("", METHOD, &format!("capability: fetch\ntopic: {topic}"))
}

fn record(text: &str) -> Record {
    Record {
        value: Some(said(text)),
        ..Record::new(text, "")
    }
}

/// The text of a message and what comes behind the progress field's tag and length.
#[track_caller]
fn parts(message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let at = message.windows(3).rposition(|bytes| bytes == PROGRESS);
    let at = at.unwrap_or_else(|| panic!("no field 32767 in {message:?}"));
    let progress = &message[at + 4..];
    assert_eq!(usize::from(message[at + 3]), progress.len());
    (message[..at].to_vec(), progress.to_vec())
}

pub(crate) fn records_are_messages_that_say_where_to_go_on(env: &Env) {
    let topic = env.topic(1, &[]);
    let texts = ["test", "second", "third"];
    env.kafka.append(&topic, 0, &texts.map(record));
    let gateway = env.site(&site(&topic));
    let client = Grpc::connect(gateway.address());
    let path = format!("/{METHOD}");
    let begin = |headers: &[(&str, &str)]| {
        let mut stream = client.begin_at(&path, headers);
        stream.send(&framed(b""));
        stream.finish();
        stream
    };
    let mut all = begin(&[]);
    // The vector of Zilla.
    let first = all.next().expect("a message");
    assert_eq!(first, b"\x0a\x04test\xfa\xff\x0f\x04\x01\x02\x00\x02");
    let mut progresses = vec![parts(&first).1];
    for text in &texts[1..] {
        let (message, progress) = parts(&all.next().expect("a message"));
        assert_eq!(message, said(text));
        progresses.push(progress);
    }
    // What comes later comes at once.
    env.kafka.append(&topic, 0, &[record("live")]);
    assert_eq!(parts(&all.next().expect("a message")).0, said("live"));
    all.cancel();
    // From every one of them, in each form of base64, by either name.
    let texts = ["test", "second", "third", "live"];
    for (at, progress) in progresses.iter().enumerate() {
        let forms = [STANDARD.encode(progress), URL_SAFE.encode(progress)];
        let bare = forms[1].trim_end_matches('=').to_owned();
        for form in [&forms[0], &forms[1], &bare] {
            for name in ["last-message-id", "last-message-id-bin"] {
                let mut rest = begin(&[(name, form)]);
                for text in &texts[at + 1..] {
                    let (message, _) = parts(&rest.next().expect("a message"));
                    assert_eq!(message, said(text), "after {at} by {name}: {form}");
                }
                rest.cancel();
            }
        }
    }
    // Whoever says anything in the message means something that nobody knows.
    let mut wrong = client.begin_at(&path, &[]);
    wrong.say("from the begin, please");
    wrong.finish();
    wrong.end().expect(3);
    // A gateway that ends ends its streams.
    let mut open = begin(&[]);
    open.next().expect("a message");
    gateway.signal("TERM");
    open.end().expect(14);
}

fn texts_of(result: &Value) -> Vec<String> {
    let messages = result["messages"].as_array().expect("messages");
    let text = |message: &Value| message["message"].as_str().expect("a text").to_owned();
    messages.iter().map(text).collect()
}

#[track_caller]
fn last_progress(result: &Value) -> String {
    let messages = result["messages"].as_array().expect("messages");
    let last = messages.last().expect("a message");
    last["progress"].as_str().expect("a progress").to_owned()
}

pub(crate) fn three_hundred_records_are_taken_in_pieces(env: &Env) {
    let topic = env.topic(3, &[]);
    for partition in 0..3 {
        let texts = (0..100).map(|n| format!("{partition}/{n}"));
        let records: Vec<Record> = texts.map(|text| record(&text)).collect();
        env.kafka.append(&topic, partition, &records);
    }
    let gateway = env.site(&site(&topic));
    let take = |take: &str, resume: &[&str]| {
        let arguments = [&["fanout", "--take", take][..], resume].concat();
        let result = Language::Python.client(gateway.address(), &arguments);
        assert_eq!(result["complete"], true, "{result}");
        result
    };
    for is_binary in [false, true] {
        let mut seen = Vec::new();
        let mut resume: Vec<String> = Vec::new();
        for _ in 0..3 {
            let arguments: Vec<&str> = resume.iter().map(|word| &**word).collect();
            let result = take("100", &arguments);
            seen.extend(texts_of(&result));
            let progress = last_progress(&result);
            resume = if is_binary {
                // The library encodes it once more, in the other alphabet.
                let bytes = URL_SAFE.decode(&progress).expect("base64url");
                let standard = STANDARD.encode(bytes);
                vec![
                    "--metadata".to_owned(),
                    format!("last-message-id-bin={standard}"),
                ]
            } else {
                vec!["--last-message-id".to_owned(), progress]
            };
        }
        let all: BTreeSet<&String> = seen.iter().collect();
        assert_eq!((seen.len(), all.len()), (300, 300), "{seen:?}");
        // Each partition's are in their order.
        for partition in 0..3 {
            let begin = format!("{partition}/");
            let of_it = seen.iter().filter_map(|text| text.strip_prefix(&begin));
            let numbers: Vec<usize> = of_it.map(|n| n.parse().expect("a number")).collect();
            assert_eq!(
                numbers,
                (0..100).collect::<Vec<_>>(),
                "partition {partition}"
            );
        }
        // And then live.
        let arguments: Vec<&str> = resume.iter().map(|word| &**word).collect();
        std::thread::scope(|scope| {
            let live = scope.spawn(|| take("2", &arguments));
            // Whether it listens already or not, it gets both, in their order.
            env.kafka.append(&topic, 1, &[record("live 1")]);
            env.kafka.append(&topic, 1, &[record("live 2")]);
            assert_eq!(
                texts_of(&live.join().expect("a client")),
                ["live 1", "live 2"]
            );
        });
        if !is_binary {
            // The next round is to find what this one found.
            env.kafka.recreate_topic(&topic, 3, &[]);
            for partition in 0..3 {
                let texts = (0..100).map(|n| format!("{partition}/{n}"));
                let records: Vec<Record> = texts.map(|text| record(&text)).collect();
                env.kafka.append(&topic, partition, &records);
            }
            let is_anew = || {
                let result = take("300", &[]);
                let texts = texts_of(&result);
                (!texts.iter().any(|text| text.starts_with("live"))).then_some(())
            };
            eventually("the gateway has the new topic", PATIENCE, is_anew);
        }
    }
}

/// A browser reads a stream too, message by message.
pub(crate) fn a_browser_reads_the_records(env: &Env) {
    let topic = env.topic(1, &[]);
    env.kafka.append(&topic, 0, &["1", "2", "3"].map(record));
    let gateway = env.site(&site(&topic));
    for mode in ["binary", "text"] {
        let arguments = [METHOD, "--message", "", "--mode", mode, "--take", "3"];
        let result = web(gateway.address(), &arguments);
        assert_eq!(result["status"], 200, "{result}");
        let messages = result["messages"].as_array().expect("messages");
        assert_eq!(messages.len(), 3, "{result}");
        for (n, message) in messages.iter().enumerate() {
            let message = STANDARD.decode(message.as_str().expect("base64"));
            let (text, _) = parts(&message.expect("base64"));
            assert_eq!(text, said(&(n + 1).to_string()));
        }
    }
}

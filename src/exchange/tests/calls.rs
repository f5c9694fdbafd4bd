//! Replies of calls whose requests were run more than once, in all orders of their records.

use bytes::Bytes;

use crate::exchange::calls::{CallOutput, CallReply};
use crate::grpc::status::{Code, Status};
use crate::mapping::grpc::Metadata;
use crate::mapping::grpc_kafka::reply::{Attempt, ReplyBody, ReplyPart};

fn attempt(name: &'static str) -> Attempt {
    (!name.is_empty()).then(|| Bytes::from_static(name.as_bytes()))
}

fn metadata(value: &'static str) -> Metadata {
    vec![(Bytes::from_static(b"run"), Bytes::from(value))]
}

fn message(run: &'static str, text: &str) -> ReplyPart {
    ReplyPart {
        attempt: attempt(run),
        metadata: Metadata::new(),
        body: ReplyBody::Message(Bytes::from(format!("{run}{text}"))),
    }
}

fn end_with(run: &'static str, status: Status) -> ReplyPart {
    let trailers = metadata(run);
    ReplyPart {
        attempt: attempt(run),
        metadata: Metadata::new(),
        body: ReplyBody::End {
            status,
            trailers,
            is_served: true,
        },
    }
}

fn end(run: &'static str) -> ReplyPart {
    end_with(run, Status::ok())
}

/// A run with so many messages, the first of its records with metadata.
fn run(name: &'static str, messages: usize, has_end: bool) -> Vec<ReplyPart> {
    let mut parts: Vec<_> = (0..messages)
        .map(|number| message(name, &number.to_string()))
        .collect();
    parts.extend(has_end.then(|| end(name)));
    if let Some(first) = parts.first_mut() {
        first.metadata = metadata(name);
    }
    parts
}

fn outputs(mut reply: CallReply, parts: &[ReplyPart]) -> Vec<CallOutput> {
    let mut outputs = Vec::new();
    for part in parts {
        reply.handle(part.clone());
        while let Some(output) = reply.poll() {
            outputs.push(output);
        }
    }
    let has_end = matches!(outputs.last(), Some(CallOutput::End(..)));
    assert_eq!(reply.is_over(), has_end);
    outputs
}

fn single(parts: &[ReplyPart]) -> Vec<CallOutput> {
    outputs(CallReply::new(true), parts)
}

fn streaming(parts: &[ReplyPart]) -> Vec<CallOutput> {
    outputs(CallReply::new(false), parts)
}

/// The whole of a run that is passed on.
fn whole(name: &'static str, messages: usize) -> Vec<CallOutput> {
    let mut outputs = vec![CallOutput::Begin(metadata(name))];
    outputs.extend(
        (0..messages).map(|number| CallOutput::Message(Bytes::from(format!("{name}{number}")))),
    );
    outputs.push(CallOutput::End(Status::ok(), metadata(name)));
    outputs
}

fn ended(outputs: &[CallOutput]) -> String {
    match outputs.last() {
        Some(CallOutput::End(status, _)) => status.to_string(),
        other => panic!("no end: {other:?}"),
    }
}

#[test]
fn a_run_is_passed_on_as_it_comes_where_there_may_be_many_messages() {
    let parts = run("a", 2, true);
    assert_eq!(streaming(&parts), whole("a", 2));
    let mut reply = CallReply::new(false);
    reply.handle(parts[0].clone());
    assert_eq!(reply.poll(), Some(CallOutput::Begin(metadata("a"))));
    assert_eq!(
        reply.poll(),
        Some(CallOutput::Message(Bytes::from_static(b"a0")))
    );
    assert_eq!(reply.poll(), None);
    assert!(!reply.is_over());
}

#[test]
fn one_message_is_held_until_its_run_has_ended() {
    let parts = run("a", 1, true);
    assert_eq!(single(&parts[..1]), []);
    assert_eq!(single(&parts), whole("a", 1));
}

#[test]
fn a_service_that_does_not_tell_runs_apart_has_one() {
    assert_eq!(single(&run("", 1, true)), whole("", 1));
    assert_eq!(streaming(&run("", 2, true)), whole("", 2));
}

#[test]
fn a_stream_may_have_no_message_and_no_other_method_may() {
    assert_eq!(streaming(&run("a", 0, true)), whole("a", 0));
    let status = Status::new(
        Code::UNIMPLEMENTED,
        "the service answered without a message",
    );
    assert_eq!(
        single(&run("a", 0, true)),
        [
            CallOutput::Begin(metadata("a")),
            CallOutput::End(status.clone(), metadata("a"))
        ]
    );
    let bare = [end("a")];
    assert_eq!(single(&bare), [CallOutput::End(status, metadata("a"))]);
}

#[test]
fn a_failure_at_once_is_nothing_but_a_status() {
    let status = Status::new(Code::NOT_FOUND, "no such thing");
    let parts = [end_with("a", status.clone())];
    let expected = [CallOutput::End(status, metadata("a"))];
    assert_eq!(single(&parts), expected);
    assert_eq!(streaming(&parts), expected);
}

#[test]
fn a_failure_may_come_with_metadata() {
    let status = Status::new(Code::NOT_FOUND, "no such thing");
    let mut part = end_with("a", status.clone());
    part.metadata = metadata("a");
    let expected = [
        CallOutput::Begin(metadata("a")),
        CallOutput::End(status, metadata("a")),
    ];
    assert_eq!(single(std::slice::from_ref(&part)), expected);
    assert_eq!(streaming(&[part]), expected);
}

#[test]
fn a_failure_after_a_message_is_a_failure() {
    let parts = [
        message("a", "0"),
        end_with("a", Status::bare(Code::DATA_LOSS)),
    ];
    assert_eq!(
        single(&parts),
        [CallOutput::End(
            Status::bare(Code::DATA_LOSS),
            metadata("a")
        )],
        "a method with one message has it or fails"
    );
    let streamed = streaming(&parts);
    assert_eq!(streamed.len(), 3);
    assert_eq!(ended(&streamed), "DATA_LOSS");
}

#[test]
fn a_method_with_one_message_has_no_second_one() {
    let outputs = single(&run("a", 2, true));
    assert_eq!(
        ended(&outputs),
        "UNIMPLEMENTED: the service answered with more than one message"
    );
    assert!(
        !outputs
            .iter()
            .any(|output| matches!(output, CallOutput::Message(_)))
    );
}

#[test]
fn nothing_comes_after_the_end() {
    let parts = [run("a", 1, true), run("a", 1, true), run("b", 1, true)].concat();
    assert_eq!(single(&parts), whole("a", 1));
    assert_eq!(streaming(&parts), whole("a", 1));
}

#[test]
fn a_run_that_was_broken_off_gives_way_to_the_next_one() {
    let parts = [run("a", 1, false), run("b", 1, true)].concat();
    assert_eq!(single(&parts), whole("b", 1));
    let outputs = streaming(&parts);
    assert_eq!(outputs.len(), 3, "{outputs:?}");
    assert!(ended(&outputs).starts_with("ABORTED"), "{outputs:?}");
}

#[test]
fn the_run_that_is_known_to_have_ended_is_the_answer() {
    let runs = [run("a", 1, false), run("b", 1, true), run("c", 1, true)];
    for is_single in [true, false] {
        let mut reply = CallReply::new(is_single);
        reply.choose(attempt("b"));
        assert_eq!(outputs(reply, &runs.concat()), whole("b", 1));
    }
}

#[test]
fn runs_that_never_end_do_not_pile_up() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut parts: Vec<_> = names.iter().flat_map(|name| run(name, 1, false)).collect();
    parts.push(end("f"));
    assert_eq!(single(&parts), whole("f", 1));
}

/// Every order in which the records of these runs can lie in a log.
fn for_each_order(runs: &[Vec<ReplyPart>], check: &mut impl FnMut(&[ReplyPart])) {
    fn go(
        runs: &[Vec<ReplyPart>],
        taken: &mut [usize],
        order: &mut Vec<ReplyPart>,
        check: &mut impl FnMut(&[ReplyPart]),
    ) {
        let mut is_last = true;
        for index in 0..runs.len() {
            let Some(part) = runs[index].get(taken[index]) else {
                continue;
            };
            is_last = false;
            taken[index] += 1;
            order.push(part.clone());
            go(runs, taken, order, check);
            order.pop();
            taken[index] -= 1;
        }
        if is_last {
            check(order);
        }
    }
    go(runs, &mut vec![0; runs.len()], &mut Vec::new(), check);
}

/// The runs that are tried together: with up to two messages, ended or not.
fn for_each_pair(mut check: impl FnMut(&[Vec<ReplyPart>; 2], &[ReplyPart])) {
    for (ours, theirs) in (0..3).flat_map(|ours| (0..3).map(move |theirs| (ours, theirs))) {
        for ends in 0..4 {
            let runs = [
                run("a", ours, ends & 1 != 0),
                run("b", theirs, ends & 2 != 0),
            ];
            for_each_order(&runs, &mut |order| check(&runs, order));
        }
    }
}

/// What is true of all outputs: one beginning, messages of one run without a gap, one end, which comes last.
fn check_shape(outputs: &[CallOutput], order: &[ReplyPart]) {
    let mut seen: Vec<&[u8]> = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        match output {
            CallOutput::Begin(_) => assert_eq!(index, 0, "{outputs:?}"),
            CallOutput::Message(message) => {
                assert!(index > 0, "{outputs:?}");
                seen.push(message);
            }
            CallOutput::End(..) => assert_eq!(index + 1, outputs.len(), "{outputs:?}"),
        }
    }
    for (index, message) in seen.iter().enumerate() {
        let expected = [&seen[0][..1], index.to_string().as_bytes()].concat();
        assert_eq!(*message, expected, "{outputs:?} of {order:?}");
    }
    if let (Some(CallOutput::Begin(metadata)), Some(message)) = (outputs.first(), seen.first()) {
        assert_eq!(
            &metadata[0].1[..],
            &message[..1],
            "metadata of the same run"
        );
    }
}

fn ends(order: &[ReplyPart]) -> Vec<&Attempt> {
    let ends = order
        .iter()
        .filter(|part| matches!(part.body, ReplyBody::End { .. }));
    ends.map(|part| &part.attempt).collect()
}

#[test]
fn a_method_with_one_message_is_answered_by_the_run_that_ends_first() {
    for_each_pair(|runs, order| {
        let outputs = single(order);
        check_shape(&outputs, order);
        let Some(first) = ends(order).first().copied() else {
            assert_eq!(outputs, [], "{order:?}");
            return;
        };
        let run = runs
            .iter()
            .find(|run| run.first().is_some_and(|part| part.attempt == *first));
        let messages = run.unwrap().len() - 1;
        assert_eq!(
            ended(&outputs) == "OK",
            messages == 1,
            "{outputs:?} of {order:?}"
        );
        let count = |output: &&CallOutput| matches!(output, CallOutput::Message(_));
        assert_eq!(
            outputs.iter().filter(count).count(),
            usize::from(messages == 1)
        );
    });
}

#[test]
fn a_stream_is_of_the_first_run_and_whole_or_aborted() {
    for_each_pair(|runs, order| {
        let outputs = streaming(order);
        check_shape(&outputs, order);
        let Some(first) = order.first() else {
            assert_eq!(outputs, []);
            return;
        };
        let run = runs.iter().find(|run| {
            run.first()
                .is_some_and(|part| part.attempt == first.attempt)
        });
        let count = |output: &&CallOutput| matches!(output, CallOutput::Message(_));
        let passed = outputs.iter().filter(count).count();
        match ends(order).first() {
            None => assert!(!matches!(outputs.last(), Some(CallOutput::End(..)))),
            Some(ended_first) if **ended_first == first.attempt => {
                assert_eq!(ended(&outputs), "OK", "{order:?}");
                assert_eq!(passed, run.unwrap().len() - 1, "{order:?}");
            }
            Some(_) => assert!(ended(&outputs).starts_with("ABORTED"), "{order:?}"),
        }
    });
}

#[test]
fn a_replay_is_of_the_run_that_has_ended_whatever_lies_between() {
    for_each_pair(|runs, order| {
        for (name, parts) in ["a", "b"].into_iter().zip(runs) {
            let has_end = ends(order).contains(&&attempt(name));
            if !has_end {
                continue;
            }
            let mut reply = CallReply::new(false);
            reply.choose(attempt(name));
            assert_eq!(
                outputs(reply, order),
                whole(name, parts.len() - 1),
                "{order:?}"
            );
            let mut reply = CallReply::new(true);
            reply.choose(attempt(name));
            let outputs = outputs(reply, order);
            check_shape(&outputs, order);
            if parts.len() == 2 {
                assert_eq!(outputs, whole(name, 1), "{order:?}");
            }
        }
    });
}

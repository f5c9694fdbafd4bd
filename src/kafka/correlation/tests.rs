//! A shard's promises, one by one. What it puts out is compared as text: `produce a`, `tell 1 Stored`, `look up`.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::{Instant, UnixMillis};
use crate::kafka::producer::{ProduceFault, Unavailable};

const LINGER: Duration = Duration::from_secs(10);
const UNREACHABLE: ProduceFault = ProduceFault::Unavailable(Unavailable::Unreachable);

/// A shard whose waiters are numbers and whose requests are words.
struct Fixture(Shard<u32, &'static str>);

impl Fixture {
    fn new() -> Self {
        Self::with_room(100)
    }

    fn with_room(exchanges_max: usize) -> Self {
        let limits = Limits {
            exchanges_max,
            replies_max: 100,
            listeners_max: 3,
            linger: LINGER,
        };
        Self(Shard::new(limits))
    }

    /// A request with a key that the client chose.
    fn submit(&mut self, name: &'static str, token: u32, wants: Wants) -> String {
        self.submit_as(name, token, wants, false)
    }

    fn submit_as(&mut self, name: &'static str, token: u32, wants: Wants, is_ours: bool) -> String {
        let refused = self.0.submit(id(name), is_ours, name, waiter(token, wants));
        refused.map_or_else(|Overloaded| "overloaded".to_owned(), |()| self.outputs())
    }

    fn watch(&mut self, name: &str, token: u32, wants: Wants) -> String {
        let refused = self.0.watch(id(name), waiter(token, wants));
        refused.map_or_else(|Overloaded| "overloaded".to_owned(), |()| self.outputs())
    }

    fn ends(&mut self, ends: &[i64]) -> String {
        self.0.handle_ends(Some(ends));
        self.outputs()
    }

    /// Nothing but progress of partition 0.
    fn indexed(&mut self, next_offset: i64) -> String {
        self.0.handle_indexed(0, false, Vec::new(), next_offset);
        self.outputs()
    }

    /// The reply to `name` is seen at the end of partition 0.
    fn reply(&mut self, name: &str, offset: i64) -> String {
        let seen = vec![reply(name, offset)];
        self.0.handle_indexed(0, false, seen, offset + 1);
        self.outputs()
    }

    /// The last reply to `name` is seen at the end of partition 0.
    fn closing(&mut self, name: &str, offset: i64) -> String {
        let seen = SeenReply {
            is_closing: true,
            ..reply(name, offset)
        };
        self.0.handle_indexed(0, false, vec![seen], offset + 1);
        self.outputs()
    }

    fn listen(&mut self, name: &str, token: u32) -> String {
        let refused = self.0.listen(id(name), token);
        refused.map_or_else(|Overloaded| "overloaded".to_owned(), |()| self.outputs())
    }

    fn look(&mut self, name: &str, token: u32) -> String {
        let refused = self.0.look(id(name), token);
        refused.map_or_else(|Overloaded| "overloaded".to_owned(), |()| self.outputs())
    }

    fn stored(&mut self, name: &str, result: Result<(), ProduceFault>, second: u64) -> String {
        self.0.handle_stored(&id(name), result, at(second));
        self.outputs()
    }

    fn cancel(&mut self, name: &str, token: u32) {
        self.0.cancel(&id(name), &token);
    }

    /// A request that is stored, and whose client still waits.
    fn store(&mut self, name: &'static str, token: u32) {
        assert_eq!(self.submit(name, token, Wants::Reply), "look up");
        assert_eq!(self.ends(&[0]), "");
        assert_eq!(self.indexed(0), format!("produce {name}"));
        assert_eq!(self.stored(name, Ok(()), 0), "");
    }

    fn outputs(&mut self) -> String {
        let mut outputs = Vec::new();
        while let Some(output) = self.0.poll_output() {
            outputs.push(match output {
                ShardOutput::Produce { request, .. } => format!("produce {request}"),
                ShardOutput::LookUpEnds => "look up".to_owned(),
                ShardOutput::Pass { token, record } => {
                    let closing = if record.is_closing { " closing" } else { "" };
                    format!("pass {token} {}{closing}", record.reply.place.offset)
                }
                ShardOutput::Looked {
                    token,
                    looked,
                    indexed,
                } => match looked {
                    Looked::Known(None) => format!("looked {token} none"),
                    Looked::Known(Some(known)) => {
                        let closing = known.closing.map_or(-1, |place| place.offset);
                        let first = known.first.offset;
                        format!("looked {token} {first}..{closing} of {indexed}")
                    }
                    other => format!("looked {token} {other:?}"),
                },
                ShardOutput::Tell { token, verdict } => match verdict {
                    Verdict::Reply(reply) => format!("tell {token} reply {}", reply.place.offset),
                    Verdict::ReplyAt(place) => format!("tell {token} at {}", place.offset),
                    Verdict::Fault(ProduceFault::OutcomeUnknown) => format!("tell {token} unknown"),
                    Verdict::Fault(_) => format!("tell {token} fault"),
                    other => format!("tell {token} {other:?}"),
                },
            });
        }
        outputs.join(", ")
    }
}

fn id(name: &str) -> CorrelationId {
    CorrelationId {
        header: 0,
        id: Bytes::copy_from_slice(name.as_bytes()),
    }
}

const fn waiter(token: u32, wants: Wants) -> Waiter<u32> {
    Waiter {
        token,
        wants,
        deadline: Instant::FAR_FUTURE,
    }
}

fn reply(name: &str, offset: i64) -> SeenReply {
    let place = Place {
        partition: 0,
        offset,
    };
    let reply = Reply {
        place,
        inflated: Bytes::new(),
        position: 0,
        timestamps: TimestampBase::CreateTime(UnixMillis(0)),
    };
    SeenReply {
        id: id(name),
        reply,
        is_closing: false,
    }
}

fn at(second: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(second)
}

#[test]
fn an_id_of_our_own_is_produced_at_once() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit_as("a", 1, Wants::Reply, true), "produce a");
    assert_eq!(shard.stored("a", Ok(()), 0), "");
    assert_eq!(shard.reply("a", 7), "tell 1 reply 7");
    assert_eq!(shard.0.exchanges_open(), 0);
}

#[test]
fn an_id_of_a_client_waits_until_every_partition_is_indexed_up_to_its_end() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Stored), "look up");
    assert_eq!(shard.indexed(3), "");
    assert_eq!(shard.ends(&[4, 2]), "");
    assert_eq!(shard.indexed(4), "", "the other partition is not there yet");
    shard.0.handle_indexed(1, false, Vec::new(), 2);
    assert_eq!(shard.outputs(), "produce a");
    assert_eq!(shard.stored("a", Ok(()), 0), "tell 1 Stored");
}

#[test]
fn a_reply_that_is_found_on_the_way_to_the_end_answers_and_nothing_is_produced() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Reply), "look up");
    assert_eq!(shard.ends(&[5]), "");
    assert_eq!(shard.reply("a", 4), "tell 1 reply 4");
    assert_eq!(shard.indexed(9), "");
    assert_eq!(shard.submit("a", 2, Wants::Reply), "tell 2 at 4");
    assert_eq!(shard.watch("a", 3, Wants::ReplyNow), "tell 3 at 4");
}

#[test]
fn repeats_join_what_is_open_and_all_get_the_reply() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Reply), "look up");
    assert_eq!(shard.submit("a", 2, Wants::Reply), "");
    assert_eq!(shard.ends(&[0]), "");
    assert_eq!(shard.indexed(0), "produce a");
    assert_eq!(shard.submit("a", 3, Wants::Stored), "");
    assert_eq!(shard.stored("a", Ok(()), 0), "tell 3 Stored");
    assert_eq!(shard.submit("a", 4, Wants::Stored), "tell 4 Stored");
    assert_eq!(shard.submit("a", 5, Wants::Reply), "");
    let told = "tell 1 reply 6, tell 2 reply 6, tell 5 reply 6";
    assert_eq!(shard.reply("a", 6), told);
}

#[test]
fn whoever_asks_during_a_look_up_gets_the_next_one() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Reply), "look up");
    assert_eq!(shard.submit("b", 2, Wants::Reply), "");
    assert_eq!(shard.ends(&[0]), "look up", "for b");
    assert_eq!(shard.indexed(0), "produce a");
    assert_eq!(shard.ends(&[1]), "");
    assert_eq!(shard.indexed(1), "produce b");
}

#[test]
fn ends_that_cannot_be_found_out_are_told_and_nothing_is_produced() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Reply), "look up");
    shard.0.handle_ends(None);
    assert_eq!(shard.outputs(), "tell 1 Unavailable");
    assert_eq!(shard.0.exchanges_open(), 0);
    assert_eq!(shard.submit("a", 2, Wants::Reply), "look up");
}

#[test]
fn a_request_that_is_refused_may_come_again() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit_as("a", 1, Wants::Reply, true), "produce a");
    assert_eq!(shard.stored("a", Err(UNREACHABLE), 0), "tell 1 fault");
    assert_eq!(shard.0.exchanges_open(), 0);
}

#[test]
fn whoever_only_asks_is_not_told_that_a_repeat_was_refused() {
    let mut shard = Fixture::new();
    assert_eq!(shard.watch("a", 1, Wants::Reply), "look up");
    assert_eq!(shard.ends(&[0]), "");
    assert_eq!(shard.indexed(0), "");
    assert_eq!(shard.submit("a", 2, Wants::Reply), "look up");
    assert_eq!(shard.ends(&[0]), "produce a");
    assert_eq!(shard.stored("a", Err(UNREACHABLE), 0), "tell 2 fault");
    assert_eq!(shard.reply("a", 0), "tell 1 reply 0", "to an earlier one");
}

#[test]
fn a_repeat_after_an_unknown_outcome_looks_again_before_it_produces() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Stored), "look up");
    assert_eq!(shard.ends(&[0]), "");
    assert_eq!(shard.indexed(0), "produce a");
    let unknown = Err(ProduceFault::OutcomeUnknown);
    assert_eq!(shard.stored("a", unknown, 0), "tell 1 unknown");
    assert_eq!(shard.submit("a", 2, Wants::Reply), "look up");
    assert_eq!(shard.ends(&[3]), "");
    assert_eq!(
        shard.reply("a", 2),
        "tell 2 reply 2",
        "it was stored after all"
    );
}

#[test]
fn an_exchange_survives_its_clients_for_a_while_when_its_id_may_come_again() {
    let mut shard = Fixture::new();
    shard.store("a", 1);
    shard.cancel("a", 1);
    shard.0.handle_timeout(at(9));
    assert_eq!(
        shard.submit("a", 2, Wants::Reply),
        "",
        "joins what is stored"
    );
    shard.cancel("a", 2);
    shard.0.handle_timeout(at(10));
    assert_eq!(shard.0.exchanges_open(), 0);
    assert_eq!(shard.0.poll_timeout(), None);
}

#[test]
fn an_exchange_with_an_id_of_our_own_goes_with_its_client() {
    let mut shard = Fixture::new();
    shard.submit_as("a", 1, Wants::Reply, true);
    shard.stored("a", Ok(()), 0);
    shard.cancel("a", 1);
    assert_eq!(shard.0.exchanges_open(), 0);
}

#[test]
fn whoever_asks_for_a_reply_is_told_once_it_is_sure_that_there_is_none() {
    let mut shard = Fixture::new();
    assert_eq!(shard.watch("a", 1, Wants::ReplyNow), "look up");
    assert_eq!(shard.watch("a", 2, Wants::Reply), "");
    assert_eq!(shard.ends(&[2]), "");
    assert_eq!(shard.indexed(2), "tell 1 NoReply");
    assert_eq!(
        shard.watch("a", 3, Wants::ReplyNow),
        "look up",
        "it may have come since"
    );
    assert_eq!(shard.reply("a", 2), "tell 2 reply 2, tell 3 reply 2");
}

#[test]
fn those_nobody_waits_for_make_room_and_others_do_not() {
    let mut shard = Fixture::with_room(1);
    shard.store("a", 1);
    assert_eq!(shard.submit("b", 2, Wants::Reply), "overloaded");
    assert_eq!(shard.watch("b", 2, Wants::Reply), "overloaded");
    let mut shard = Fixture::with_room(1);
    shard.store("a", 1);
    shard.cancel("a", 1);
    assert_eq!(shard.submit("b", 2, Wants::Reply), "look up");
    assert_eq!(shard.0.exchanges_open(), 1);
}

#[test]
fn an_id_that_came_went_and_came_again_is_not_settled_by_the_old_look_up() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Reply), "look up");
    shard.cancel("a", 1);
    assert_eq!(shard.submit("a", 2, Wants::Reply), "");
    assert_eq!(shard.ends(&[0]), "look up");
    assert_eq!(shard.indexed(0), "");
    assert_eq!(shard.ends(&[0]), "produce a");
}

#[test]
fn a_reply_that_is_gone_is_looked_for_again() {
    let mut shard = Fixture::new();
    shard.reply("a", 3);
    assert_eq!(shard.submit("a", 1, Wants::Reply), "tell 1 at 3");
    let place = Place {
        partition: 0,
        offset: 3,
    };
    shard.0.forget(&id("a"), place);
    assert_eq!(shard.submit("a", 2, Wants::Reply), "look up");
    assert_eq!(shard.ends(&[4]), "produce a");
}

#[test]
fn a_look_up_says_nothing_to_a_request_that_came_after_it_began() {
    let mut shard = Fixture::new();
    assert_eq!(shard.watch("a", 1, Wants::Reply), "look up");
    assert_eq!(shard.submit("a", 2, Wants::Reply), "");
    assert_eq!(shard.watch("a", 3, Wants::ReplyNow), "");
    assert_eq!(shard.ends(&[4]), "");
    assert_eq!(
        shard.indexed(4),
        "look up",
        "a reply may have come between the two"
    );
    assert_eq!(shard.ends(&[6]), "");
    let told = "tell 1 reply 5, tell 2 reply 5, tell 3 reply 5";
    assert_eq!(shard.reply("a", 5), told);
}

#[test]
fn a_repeat_is_not_produced_by_the_look_up_of_one_that_is_gone() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Reply), "look up");
    assert_eq!(shard.submit("a", 2, Wants::Reply), "");
    shard.cancel("a", 1);
    assert_eq!(shard.ends(&[0]), "");
    assert_eq!(shard.indexed(0), "look up");
    assert_eq!(shard.ends(&[0]), "produce a");
}

#[test]
fn repeats_that_keep_coming_do_not_hold_up_the_first() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Reply), "look up");
    for token in 2..9 {
        assert_eq!(shard.submit("a", token, Wants::Reply), "");
    }
    assert_eq!(shard.ends(&[0]), "");
    assert_eq!(shard.indexed(0), "produce a");
}

#[test]
fn an_exchange_that_does_not_linger_goes_with_its_last_client() {
    let mut shard = Fixture::new();
    shard.submit_as("a", 1, Wants::Reply, true);
    shard.stored("a", Ok(()), 0);
    assert_eq!(shard.submit("a", 2, Wants::Reply), "", "with our id");
    shard.cancel("a", 1);
    shard.cancel("a", 2);
    assert_eq!(shard.0.exchanges_open(), 0);
}

#[test]
fn a_log_that_begins_anew_does_not_hold_up_those_who_wait_for_the_end_of_the_old_one() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Reply), "look up");
    assert_eq!(shard.ends(&[100]), "");
    assert_eq!(shard.submit("b", 2, Wants::Reply), "look up");
    shard.0.handle_indexed(0, true, Vec::new(), 3);
    assert_eq!(shard.outputs(), "", "one look-up is under way");
    assert_eq!(shard.ends(&[100]), "look up", "perhaps of the old log");
    assert_eq!(shard.ends(&[2]), "look up, produce a");
    assert_eq!(shard.ends(&[2]), "produce b");
}

#[test]
fn those_who_come_and_go_while_a_look_up_hangs_are_not_kept() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Reply), "look up");
    for token in 0..10_000 {
        assert_eq!(shard.submit("b", token, Wants::Reply), "");
        shard.cancel("b", token);
    }
    assert!(shard.0.look_ups_waiting() < 2_000);
}

#[test]
fn a_record_that_may_be_repeated_has_the_time_until_its_fate_is_known_and_ours_that_of_its_clients()
{
    let deadline = |is_ours| {
        let mut shard = Shard::new(Limits::default());
        let asked = waiter(1, Wants::Reply);
        let until = asked.deadline;
        assert!(shard.submit(id("a"), is_ours, "a", asked).is_ok());
        shard.handle_ends(Some(&[]));
        let produced = std::iter::from_fn(|| shard.poll_output()).find_map(|output| match output {
            ShardOutput::Produce { deadline, .. } => Some(deadline),
            _ => None,
        });
        (produced, until)
    };
    let (produced, _) = deadline(false);
    assert_eq!(produced, Some(Instant::FAR_FUTURE));
    let (produced, until) = deadline(true);
    assert_eq!(produced, Some(until));
}

#[test]
fn who_waits_for_the_reply_to_a_request_that_may_be_stored_is_not_told_that_a_repeat_was_not() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Reply), "look up");
    assert_eq!(shard.ends(&[0]), "");
    assert_eq!(shard.indexed(0), "produce a");
    assert_eq!(shard.stored("a", Err(ProduceFault::OutcomeUnknown), 0), "");
    // The repeat finds no reply, and cannot be stored.
    assert_eq!(shard.submit("a", 2, Wants::Reply), "look up");
    assert_eq!(shard.ends(&[0]), "produce a");
    assert_eq!(shard.stored("a", Err(UNREACHABLE), 1), "tell 2 fault");
    // Nor can the next one be looked up.
    assert_eq!(shard.submit("a", 3, Wants::Reply), "look up");
    shard.0.handle_ends(None);
    assert_eq!(shard.outputs(), "tell 3 Unavailable");
    assert_eq!(shard.reply("a", 0), "tell 1 reply 0");
}

#[test]
fn who_watches_for_a_reply_is_not_told_that_another_s_question_failed() {
    let mut shard = Fixture::new();
    assert_eq!(shard.watch("a", 1, Wants::Reply), "look up");
    assert_eq!(shard.indexed(0), "");
    assert_eq!(shard.ends(&[0]), "");
    assert_eq!(shard.watch("a", 2, Wants::ReplyNow), "look up");
    shard.0.handle_ends(None);
    assert_eq!(shard.outputs(), "tell 2 Unavailable");
    assert_eq!(shard.reply("a", 0), "tell 1 reply 0");
}

#[test]
fn every_reply_is_passed_to_every_listener_in_order_until_it_goes() {
    let mut shard = Fixture::new();
    assert_eq!(shard.listen("a", 1), "");
    assert_eq!(shard.listen("a", 2), "");
    assert_eq!(shard.reply("a", 3), "pass 1 3, pass 2 3");
    assert_eq!(shard.reply("b", 4), "", "nobody listens to it");
    let seen = vec![reply("a", 5), reply("b", 6), reply("a", 7)];
    shard.0.handle_indexed(0, false, seen, 8);
    assert_eq!(shard.outputs(), "pass 1 5, pass 2 5, pass 1 7, pass 2 7");
    shard.0.unlisten(&id("a"), &1);
    shard.0.unlisten(&id("a"), &1);
    assert_eq!(shard.closing("a", 8), "pass 2 8 closing");
    assert_eq!(shard.reply("a", 9), "pass 2 9", "who goes on is to say");
    shard.0.unlisten(&id("a"), &2);
    assert_eq!(
        (shard.reply("a", 10), shard.0.listeners()),
        (String::new(), 0)
    );
}

#[test]
fn listeners_and_exchanges_of_an_id_do_not_know_of_each_other() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit_as("a", 1, Wants::Reply, true), "produce a");
    assert_eq!(shard.listen("a", 2), "");
    assert_eq!(shard.reply("a", 0), "tell 1 reply 0, pass 2 0");
    assert_eq!(shard.reply("a", 1), "pass 2 1");
    assert_eq!(shard.submit("a", 3, Wants::Reply), "tell 3 at 0");
}

#[test]
fn there_are_only_so_many_listeners_and_looks() {
    let mut shard = Fixture::new();
    for token in 0..3 {
        assert_eq!(shard.listen("a", token), "");
        assert_eq!(
            shard.look("b", token),
            ["look up", ""][token.min(1) as usize]
        );
    }
    assert_eq!(shard.listen("c", 4), "overloaded");
    assert_eq!(shard.look("c", 4), "overloaded");
    shard.0.unlisten(&id("a"), &1);
    shard.0.cancel_look(&id("b"), &2);
    assert_eq!(shard.listen("c", 4), "");
    assert_eq!(shard.look("c", 4), "");
}

#[test]
fn who_looks_is_told_once_all_is_indexed_up_to_where_it_ended() {
    let mut shard = Fixture::new();
    assert_eq!(shard.look("a", 1), "look up");
    assert_eq!(shard.look("b", 2), "");
    assert_eq!(shard.indexed(3), "");
    assert_eq!(shard.ends(&[5]), "look up", "for b");
    assert_eq!(shard.reply("a", 3), "");
    assert_eq!(shard.indexed(5), "looked 1 3..-1 of 5");
    assert_eq!(shard.ends(&[5]), "looked 2 none");
    assert_eq!(shard.look("a", 3), "look up", "it may be closed by now");
    assert_eq!(shard.ends(&[7]), "");
    assert_eq!(shard.closing("a", 6), "looked 3 3..6 of 7");
    assert_eq!(
        shard.look("a", 4),
        "looked 4 3..6 of 7",
        "nothing changes that"
    );
}

#[test]
fn who_goes_while_it_looks_is_told_nothing() {
    let mut shard = Fixture::new();
    assert_eq!(shard.look("a", 1), "look up");
    assert_eq!(shard.look("a", 2), "");
    shard.0.cancel_look(&id("a"), &1);
    assert_eq!(shard.ends(&[0]), "look up");
    assert_eq!(shard.indexed(0), "");
    assert_eq!(shard.ends(&[0]), "looked 2 none");
}

#[test]
fn who_looks_is_told_that_the_ends_cannot_be_found_out() {
    let mut shard = Fixture::new();
    assert_eq!(shard.look("a", 1), "look up");
    shard.0.handle_ends(None);
    assert_eq!(shard.outputs(), "looked 1 Unavailable");
    assert_eq!(shard.look("a", 1), "look up");
}

#[test]
fn a_log_that_begins_anew_is_asked_again_for_its_end_by_those_who_look_and_not_told_to_listeners() {
    let mut shard = Fixture::new();
    assert_eq!(shard.listen("a", 9), "");
    assert_eq!(shard.reply("a", 50), "pass 9 50");
    assert_eq!(shard.look("a", 1), "look up");
    assert_eq!(shard.ends(&[100]), "");
    shard.0.handle_indexed(0, true, Vec::new(), 0);
    assert_eq!(shard.outputs(), "look up");
    assert_eq!(shard.look("b", 2), "");
    shard.0.handle_indexed(0, true, Vec::new(), 0);
    assert_eq!(shard.outputs(), "", "one is under way");
    assert_eq!(shard.ends(&[100]), "look up", "perhaps of the old log");
    assert_eq!(shard.ends(&[2]), "look up", "for the first");
    assert_eq!(shard.reply("a", 1), "pass 9 1, looked 2 none");
    assert_eq!(shard.ends(&[2]), "looked 1 1..-1 of 2");
}

#[test]
fn looks_that_come_and_go_while_a_look_up_hangs_are_not_kept() {
    let mut shard = Fixture::new();
    assert_eq!(shard.submit("a", 1, Wants::Reply), "look up");
    for token in 0..10_000 {
        assert_eq!(shard.look("b", token), "");
        shard.0.cancel_look(&id("b"), &token);
    }
    assert!(shard.0.look_ups_waiting() < 2_000);
}

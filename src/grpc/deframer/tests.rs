//! Messages out of bodies that are cut anywhere.

use proptest::prelude::*;

use super::*;

const MAX: usize = 1_000;

fn framed(messages: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for message in messages {
        frame(&mut body, message, Encoding::Identity);
    }
    body
}

fn drain(deframer: &mut Deframer) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while let Some(message) = deframer.poll_message().unwrap() {
        messages.push(message);
    }
    messages
}

fn fault(encoding: Encoding, body: &[u8]) -> FrameFault {
    let mut deframer = Deframer::new(encoding, MAX);
    deframer.push(Bytes::copy_from_slice(body));
    deframer.poll_message().unwrap_err()
}

#[test]
fn a_message_is_its_length_and_its_bytes() {
    // EchoRequest { message: "test" }
    assert_eq!(framed(&[b"\n\x04test"]), b"\0\0\0\0\x06\n\x04test");
    assert_eq!(frame_prefix(0x0102_0304), [0, 1, 2, 3, 4]);
}

#[test]
fn messages_of_one_piece_are_slices_of_it() {
    let piece = Bytes::from(framed(&[b"one", b"", b"three"]));
    let range = piece.as_ptr_range();
    let mut deframer = Deframer::new(Encoding::Identity, MAX);
    deframer.push(piece.clone());
    let messages = drain(&mut deframer);
    assert_eq!(messages, [&b"one"[..], b"", b"three"]);
    assert!(range.contains(&messages[0].as_ptr()) && range.contains(&messages[2].as_ptr()));
    assert_eq!(deframer.buffered_bytes(), 0);
    assert_eq!(deframer.finish(), Ok(()));
}

#[test]
fn a_message_is_not_given_before_it_is_whole() {
    let body = framed(&[b"abc"]);
    let mut deframer = Deframer::new(Encoding::Identity, MAX);
    for (at, byte) in body.iter().enumerate() {
        assert_eq!(deframer.poll_message(), Ok(None), "{at}");
        deframer.push(Bytes::copy_from_slice(&[*byte]));
    }
    assert_eq!(
        deframer.poll_message(),
        Ok(Some(Bytes::from_static(b"abc")))
    );
    assert_eq!(deframer.poll_message(), Ok(None));
}

#[test]
fn a_body_may_not_end_within_a_message() {
    let body = framed(&[b"abc", b"de"]);
    for end in 0..=body.len() {
        let mut deframer = Deframer::new(Encoding::Identity, MAX);
        deframer.push(Bytes::copy_from_slice(&body[..end]));
        drain(&mut deframer);
        let whole = matches!(end, 0 | 8 | 15);
        let expected = if whole {
            Ok(())
        } else {
            Err(FrameFault::Truncated)
        };
        assert_eq!(deframer.finish(), expected, "{end}");
    }
}

#[test]
fn a_length_past_the_limit_is_refused_before_the_message_comes() {
    let mut deframer = Deframer::new(Encoding::Identity, MAX);
    deframer.push(Bytes::from_static(b"\0\0\0\x03"));
    assert_eq!(deframer.poll_message(), Ok(None));
    deframer.push(Bytes::from_static(b"\xe9"));
    let fault = FrameFault::TooLarge {
        bytes: 1_001,
        max: 1_000,
    };
    assert_eq!(deframer.poll_message(), Err(fault));
    deframer.push(Bytes::from(framed(&[b"fine"])));
    assert_eq!(deframer.poll_message(), Err(fault), "a fault stays");
    assert_eq!(deframer.buffered_bytes(), 0, "and nothing is kept for it");
    assert_eq!(deframer.finish(), Err(fault));
    assert_eq!(fault.status().code, Code::RESOURCE_EXHAUSTED);
}

#[test]
fn a_message_as_long_as_the_limit_is_taken() {
    let mut deframer = Deframer::new(Encoding::Identity, MAX);
    deframer.push(Bytes::from(framed(&[&[1; MAX]])));
    assert_eq!(drain(&mut deframer), [&[1; MAX][..]]);
}

#[test]
fn flags_are_plain_or_compressed() {
    let identity = |body| fault(Encoding::Identity, body);
    let gzip = |body| fault(Encoding::Gzip, body);
    assert_eq!(
        identity(b"\x01\0\0\0\x01a"),
        FrameFault::CompressedWithoutEncoding
    );
    assert_eq!(identity(b"\x02\0\0\0\0"), FrameFault::BadFlag(2));
    // The trailers of grpc-web, which only a server sends.
    assert_eq!(gzip(b"\x80\0\0\0\0"), FrameFault::BadFlag(0x80));
    assert_eq!(gzip(b"\x01\0\0\0\x01a"), FrameFault::Inflate);
    assert_eq!(gzip(b"\x01\0\0\0\0"), FrameFault::Inflate);
    assert_eq!(FrameFault::Inflate.status().code, Code::INTERNAL);
}

#[test]
fn compressed_and_plain_messages_may_follow_each_other() {
    let (long, short) = ([b'x'; 500], b"short");
    let mut body = Vec::new();
    frame(&mut body, &long, Encoding::Gzip);
    let compressed_bytes = body.len();
    frame(&mut body, short, Encoding::Gzip);
    assert_eq!(body[0], 1);
    assert!(compressed_bytes < 100);
    assert_eq!(
        body[compressed_bytes..],
        framed(&[short]),
        "longer compressed than plain"
    );
    let mut deframer = Deframer::new(Encoding::Gzip, MAX);
    deframer.push(body.into());
    assert_eq!(drain(&mut deframer), [&long[..], short]);
}

#[test]
fn a_compressed_message_is_measured_by_what_comes_out() {
    let mut body = Vec::new();
    frame(&mut body, &[0; MAX + 1], Encoding::Gzip);
    let fault = fault(Encoding::Gzip, &body);
    assert_eq!(fault, FrameFault::InflatedTooLarge { max: MAX });
    assert_eq!(fault.status().code, Code::RESOURCE_EXHAUSTED);
}

#[test]
fn many_small_pieces_are_kept_as_few() {
    let long = vec![7; 100_000];
    let body = framed(&[&long]);
    let mut deframer = Deframer::new(Encoding::Identity, 100_000);
    for byte in &body {
        deframer.push(Bytes::copy_from_slice(&[*byte]));
        if deframer.buffered_bytes() < 100_000 {
            assert_eq!(deframer.poll_message(), Ok(None));
        }
        assert!(deframer.pieces.len() < 20);
    }
    assert_eq!(drain(&mut deframer), [&long[..]]);
}

#[test]
fn what_a_prefix_claims_takes_no_memory() {
    let mut deframer = Deframer::new(Encoding::Identity, usize::MAX);
    deframer.push(Bytes::from_static(b"\0\xff\xff\xff\xff"));
    assert_eq!(deframer.poll_message(), Ok(None));
    assert_eq!(deframer.pieces.capacity(), 4, "{deframer:?}");
    assert_eq!(deframer.tail.capacity(), 0);
}

proptest! {
    #[test]
    fn any_cut_of_a_body_gives_the_same_messages(
        messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..3_000), any::<bool>()), 0..8),
        cuts in prop::collection::vec(0_usize..3_000, 0..40),
        polls in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut body = Vec::new();
        for (message, compressed) in &messages {
            frame(&mut body, message, if *compressed { Encoding::Gzip } else { Encoding::Identity });
        }
        let mut rest = Bytes::from(body);
        let mut deframer = Deframer::new(Encoding::Gzip, 3_000);
        let mut taken = Vec::new();
        for (cut, poll) in cuts.into_iter().zip(polls) {
            deframer.push(rest.split_to(cut.min(rest.len())));
            if poll {
                taken.extend(drain(&mut deframer));
            }
        }
        deframer.push(rest);
        taken.extend(drain(&mut deframer));
        let sent: Vec<_> = messages.into_iter().map(|(message, _)| message).collect();
        prop_assert_eq!(taken, sent);
        prop_assert_eq!(deframer.buffered_bytes(), 0);
        prop_assert_eq!(deframer.finish(), Ok(()));
    }

    #[test]
    fn no_body_makes_it_panic(pieces in prop::collection::vec(prop::collection::vec(0_u8..4, 0..30), 0..20)) {
        let mut deframer = Deframer::new(Encoding::Gzip, 100);
        for piece in pieces {
            deframer.push(piece.into());
            while let Ok(Some(_)) = deframer.poll_message() {}
        }
        let _ = deframer.finish();
    }
}

//! Frames that cost the gateway work and bring nothing: pings, settings, resets, priorities, window updates and empty frames without end (CVE-2019-9511 to 9518,
//! CVE-2023-44487).
//!
//! Reads along with what comes in; the `h2` crate does the protocol. Rule: frames that a well-behaved client needs are paid for by what it is sent.

use std::time::Duration;

use super::PREFACE;
use crate::clock::Instant;

/// Credit that a connection begins with, and the most that it can save up.
const CREDIT_MAX: u64 = 4_000;
/// Credit that comes with time: one a millisecond.
const CREDIT_INTERVAL: Duration = Duration::from_millis(1);
/// Bytes sent that bring one credit: clients answer data with window updates.
const SENT_BYTES_PER_CREDIT: u64 = 512;
/// Bytes sent that are counted before they are turned into credit.
const SENT_BYTES_MAX: u64 = CREDIT_MAX * SENT_BYTES_PER_CREDIT;
/// What taking a request back costs: its work is done already.
const RESET_COST: u64 = 4;
const HEADER_BYTES: usize = 9;

/// The client sends more than it may of what brings nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood;

/// Counts what a client sends.
#[derive(Debug)]
pub struct FloodMeter {
    preface_left: usize,
    header: [u8; HEADER_BYTES],
    header_have: usize,
    payload_left: usize,
    credit: u64,
    sent: u64,
    paid_until: Instant,
}

impl FloodMeter {
    /// A connection that begins with the client's preface.
    pub const fn new(now: Instant) -> Self {
        Self {
            preface_left: PREFACE.len(),
            header: [0; HEADER_BYTES],
            header_have: 0,
            payload_left: 0,
            credit: CREDIT_MAX,
            sent: 0,
            paid_until: now,
        }
    }

    /// Bytes have been sent to the client.
    pub const fn handle_sent(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(count as u64);
        if self.sent > SENT_BYTES_MAX {
            self.sent = SENT_BYTES_MAX;
        }
    }

    /// Bytes have come.
    ///
    /// # Errors
    ///
    /// [`Flood`] when the connection is to be closed.
    pub fn handle_input(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Flood> {
        let skipped = bytes.len().min(self.preface_left);
        self.preface_left -= skipped;
        bytes = &bytes[skipped..];
        let mut cost = 0;
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skipped = bytes.len().min(self.payload_left);
                self.payload_left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let count = bytes.len().min(HEADER_BYTES - self.header_have);
            self.header[self.header_have..self.header_have + count]
                .copy_from_slice(&bytes[..count]);
            self.header_have += count;
            bytes = &bytes[count..];
            if self.header_have == HEADER_BYTES {
                self.header_have = 0;
                let [high, middle, low, kind, flags, ..] = self.header;
                self.payload_left =
                    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                cost += frame_cost(kind, flags, self.payload_left);
            }
        }
        self.pay(cost, now)
    }

    fn pay(&mut self, cost: u64, now: Instant) -> Result<(), Flood> {
        if cost <= self.credit {
            self.credit -= cost;
            return Ok(());
        }
        let waited = now.saturating_duration_since(self.paid_until);
        let earned = waited.as_nanos() / CREDIT_INTERVAL.as_nanos();
        self.paid_until = now;
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        let sent = std::mem::take(&mut self.sent) / SENT_BYTES_PER_CREDIT;
        let credit = self
            .credit
            .saturating_add(earned)
            .min(CREDIT_MAX)
            .saturating_add(sent);
        self.credit = credit.checked_sub(cost).ok_or(Flood)?;
        Ok(())
    }
}

/// What a frame costs (types of RFC 9113 6).
const fn frame_cost(kind: u8, flags: u8, length: usize) -> u64 {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const CONTINUATION: u8 = 9;
    const END_STREAM_OR_ACK: u8 = 1;
    match kind {
        DATA => (length == 0 && flags & END_STREAM_OR_ACK == 0) as u64,
        // The answer to our own, which are few.
        SETTINGS => (flags & END_STREAM_OR_ACK == 0) as u64,
        HEADERS | CONTINUATION => (length == 0) as u64,
        RST_STREAM => RESET_COST,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_nanos(1);

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let length_bytes = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = length_bytes[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.resize(HEADER_BYTES + length, 0);
        frame
    }

    fn begun() -> FloodMeter {
        let mut meter = FloodMeter::new(START);
        meter.handle_input(PREFACE, START).unwrap();
        meter
    }

    /// How many of a frame pass at once.
    fn passing(kind: u8, flags: u8, length: usize) -> usize {
        let mut meter = begun();
        let frame = frame(kind, flags, length);
        (0..20_000)
            .take_while(|_| meter.handle_input(&frame, START).is_ok())
            .count()
    }

    #[test]
    fn frames_that_bring_nothing_run_out_and_those_of_requests_do_not() {
        for (kind, flags, length) in [
            (6, 0, 8),
            (4, 0, 6),
            (2, 0, 5),
            (8, 0, 4),
            (0, 0, 0),
            (9, 0, 0),
            (250, 0, 3),
        ] {
            assert_eq!(passing(kind, flags, length), 4_000, "type {kind}");
        }
        assert_eq!(passing(3, 0, 4), 1_000, "resets");
        for (kind, flags, length) in [(0, 0, 1), (0, 1, 0), (1, 4, 30), (4, 1, 0)] {
            assert_eq!(passing(kind, flags, length), 20_000, "type {kind}");
        }
    }

    #[test]
    fn credit_comes_with_time_and_with_what_is_sent() {
        let ping = frame(6, 0, 8);
        let mut meter = begun();
        while meter.handle_input(&ping, START).is_ok() {}
        assert_eq!(
            meter.handle_input(&ping, START + Duration::from_millis(2)),
            Ok(())
        );
        assert_eq!(
            meter.handle_input(&ping, START + Duration::from_millis(2)),
            Ok(())
        );
        assert_eq!(
            meter.handle_input(&ping, START + Duration::from_millis(2)),
            Err(Flood)
        );
        meter.handle_sent(512);
        assert_eq!(
            meter.handle_input(&ping, START + Duration::from_millis(2)),
            Ok(())
        );
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut stream = PREFACE.to_vec();
        for _ in 0..5_000 {
            stream.extend(frame(0, 0, 3));
            stream.extend(frame(6, 0, 8));
        }
        for size in [1, 7, 9, 4_096] {
            let mut meter = FloodMeter::new(START);
            let flooded = stream
                .chunks(size)
                .position(|piece| meter.handle_input(piece, START).is_err());
            let at = flooded.unwrap() * size;
            let expected = PREFACE.len() + 4_000 * (12 + 17);
            assert!(at.abs_diff(expected) < 4_096 + 29, "{size}: {at}");
        }
    }
}

//! `grpc-timeout`: how long a caller waits, in at most eight digits and a unit.
//!
//! Read from a client's request, written into our own. Its one rule: what is passed on is never longer than what was given.

use std::time::Duration;

const DIGITS_MAX: usize = 8;
const VALUE_MAX: u64 = 99_999_999;
const NANOS_PER_S: u128 = 1_000_000_000;

/// The units with their nanoseconds, finest first.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', NANOS_PER_S),
    (b'M', 60 * NANOS_PER_S),
    (b'H', 3_600 * NANOS_PER_S),
];

/// Reads a timeout: one to eight digits and one of `H M S m u n`. `None`: it is none.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (&unit, digits) = value.split_last()?;
    let is_number =
        (1..=DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    if !is_number {
        return None;
    }
    let number = digits.iter().fold(0, |number: u64, digit| {
        number * 10 + u64::from(digit - b'0')
    });
    Some(match unit {
        b'n' => Duration::from_nanos(number),
        b'u' => Duration::from_micros(number),
        b'm' => Duration::from_millis(number),
        b'S' => Duration::from_secs(number),
        b'M' => Duration::from_secs(number * 60),
        b'H' => Duration::from_secs(number * 3_600),
        _ => return None,
    })
}

/// Writes a timeout in the finest unit that has room for it, rounded down; what no unit has room for is the longest there is, 11,000 years.
pub fn encode_timeout(timeout: Duration) -> String {
    let nanos = timeout.as_nanos();
    let fitting = UNITS.iter().find_map(|&(unit, unit_nanos)| {
        let number = u64::try_from(nanos / unit_nanos).ok()?;
        (number <= VALUE_MAX).then_some((number, unit))
    });
    let (number, unit) = fitting.unwrap_or((VALUE_MAX, b'H'));
    format!("{number}{}", char::from(unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        let table = [
            ("1H", Duration::from_secs(3_600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
            ("0S", Duration::ZERO),
            ("00000001S", Duration::from_secs(1)),
            ("99999999H", Duration::from_secs(99_999_999 * 3_600)),
        ];
        for (text, timeout) in table {
            assert_eq!(parse_timeout(text.as_bytes()), Some(timeout), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_timeout() {
        for text in [
            "",
            "S",
            "1",
            "1s",
            "1h",
            "123456789S",
            "-1S",
            "+1S",
            "1.5S",
            " 1S",
            "1S ",
            "1SS",
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_finest_unit_with_room_is_taken() {
        let table = [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(1), "1n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_999), "100000u"),
            (Duration::from_secs(1), "1000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(100_000_059), "1666667M"),
            (Duration::from_secs(100_000_000 * 60), "1666666H"),
            (Duration::MAX, "99999999H"),
        ];
        for (timeout, text) in table {
            assert_eq!(encode_timeout(timeout), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_never_longer_and_hardly_shorter(secs in 0_u64..1_000_000_000_000, nanos in 0_u32..1_000_000_000) {
            let timeout = Duration::new(secs, nanos);
            let passed = parse_timeout(encode_timeout(timeout).as_bytes()).unwrap();
            prop_assert!(passed <= timeout);
            let longest = Duration::from_secs(VALUE_MAX * 3_600);
            prop_assert!(passed + timeout / 10_000 >= timeout.min(longest));
            prop_assert_eq!(passed.is_zero(), timeout.is_zero());
        }
    }
}

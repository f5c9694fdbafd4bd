//! `date` header text (RFC 9110 5.6.7 IMF-fixdate) from wall-clock milliseconds.
//!
//! Used by the shells, which keep the text and renew it once per second.

use crate::clock::UnixMillis;

/// The length of an IMF-fixdate in bytes.
pub const DATE_LEN: usize = 29;

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
/// 9999-12-31T23:59:59Z, the last second that four year digits can tell.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Writes a time as `Sun, 06 Nov 1994 08:49:37 GMT`; a time outside 1970 to 9999 becomes the nearest inside.
pub fn imf_fixdate(time: UnixMillis) -> [u8; DATE_LEN] {
    let seconds = u64::try_from(time.0 / 1000).unwrap_or(0).min(SECONDS_MAX);
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[to_index(days % 7)]);
    two_digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTHS[to_index(month - 1)]);
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], seconds / 3600 % 24);
    two_digits(&mut text[20..22], seconds / 60 % 60);
    two_digits(&mut text[23..25], seconds % 60);
    text
}

/// Year, month and day of a day count since 1970-01-01, by counting eras of 400 years from a March 1st.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn two_digits(text: &mut [u8], number: u64) {
    for (digit, power) in text.iter_mut().zip([10, 1]) {
        *digit = b'0' + u8::try_from(number / power % 10).unwrap_or(0);
    }
}

fn to_index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_rfc_shows_them() {
        let cases: [(i64, &[u8]); 6] = [
            (784_111_777_999, b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (-5_000, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400_000, b"Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399_000, b"Sun, 28 Feb 2100 23:59:59 GMT"),
            (i64::MAX, b"Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (millis, text) in cases {
            assert_eq!(imf_fixdate(UnixMillis(millis)).as_slice(), text, "{millis}");
        }
    }
}

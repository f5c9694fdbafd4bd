//! The notations of single values: durations, sizes, ports, addresses, names.
//!
//! Each parser takes the text of one value and says what is wrong with it in words that go on from the text, which the caller
//! quotes: `30` has no unit.

use std::net::IpAddr;
use std::time::Duration;

use super::plan::Cidr;

/// Reads a duration such as `30s`, `1.5h` or (ISO 8601) `PT1M30S`; bounds inclusive.
pub(super) fn duration(text: &str, low: Duration, high: Duration) -> Result<Duration, String> {
    let nanos = if text.starts_with(['P', 'p']) {
        iso_nanos(text)?
    } else {
        unit_nanos(text)?
    };
    let duration = u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos);
    if (low..=high).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("is not from {} to {}", shown(low), shown(high)))
    }
}

/// Writes a whole duration the way [`duration`] reads it.
fn shown(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis > 0 && millis.is_multiple_of(86_400_000) => {
            format!("{}d", millis / 86_400_000)
        }
        millis if millis > 0 && millis.is_multiple_of(3_600_000) => {
            format!("{}h", millis / 3_600_000)
        }
        millis if millis > 0 && millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        millis if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}

const NANOS: [(&str, u128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

fn unit_nanos(text: &str) -> Result<u128, String> {
    let (number, unit) = split_number(text);
    if number.is_empty() {
        return Err("is not a duration (write one as `30s` or `500ms`)".to_owned());
    }
    if unit.is_empty() {
        return Err(format!("has no unit (write `{number}s` or `{number}ms`)"));
    }
    let (_, nanos) = NANOS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| {
            format!("has the unknown unit `{unit}` (known are `ms`, `s`, `m`, `h` and `d`)")
        })?;
    scaled(number, *nanos).ok_or_else(|| "is not a number that fits".to_owned())
}

/// `PnDTnHnMnS`, parts optional but not all, in this order.
fn iso_nanos(text: &str) -> Result<u128, String> {
    let wrong = || "is not an ISO 8601 duration (write one as `PT30S`, or simply `30s`)".to_owned();
    let upper = text.to_ascii_uppercase();
    let (date, time) = upper[1..]
        .split_once('T')
        .map_or((&upper[1..], None), |(date, time)| (date, Some(time)));
    let mut total = 0_u128;
    let mut parts = 0;
    for (mut rest, mut units) in [
        (date, &[("D", 6)][..]),
        (
            time.unwrap_or_default(),
            &[("H", 5), ("M", 4), ("S", 3)][..],
        ),
    ] {
        while !rest.is_empty() {
            let (number, after) = split_number(rest);
            let unit = units
                .iter()
                .position(|(unit, _)| after.starts_with(unit))
                .ok_or_else(wrong)?;
            let nanos = scaled(number, NANOS[units[unit].1].1).ok_or_else(wrong)?;
            total = total.checked_add(nanos).ok_or_else(wrong)?;
            units = &units[unit + 1..];
            rest = &after[1..];
            parts += 1;
        }
    }
    if parts == 0 || time == Some("") {
        Err(wrong())
    } else {
        Ok(total)
    }
}

/// Reads a size such as `512B`, `64KiB` or `900kB`; bounds inclusive.
pub(super) fn size(text: &str, low: usize, high: usize) -> Result<usize, String> {
    const UNITS: [(&str, u128); 8] = [
        ("B", 1),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    let (number, unit) = split_number(text);
    if number.is_empty() {
        return Err("is not a size (write one as `64KiB` or `900kB`)".to_owned());
    }
    if unit.is_empty() {
        return Err(format!(
            "has no unit (write `{number}B`, or use `kB`, `KiB`, `MB`, `MiB`)"
        ));
    }
    let (_, bytes) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| format!("has the unknown unit `{unit}` (known are `B`, `kB`, `MB`, `GB`, `KiB`, `MiB` and `GiB`)"))?;
    let bytes = scaled(number, *bytes).ok_or_else(|| "is not a number that fits".to_owned())?;
    usize::try_from(bytes)
        .ok()
        .filter(|bytes| (low..=high).contains(bytes))
        .ok_or_else(|| format!("is not from {low} to {high} bytes"))
}

/// Splits a text into a leading decimal number and what follows it.
fn split_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (number, rest.trim_start())
}

/// A decimal number times `scale`, cut to a whole number; `None` if it is no number or does not fit.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || !digits(whole)
        || !digits(fraction)
        || fraction.len() > 9
        || number.ends_with('.')
    {
        return None;
    }
    let tenths = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let all = whole
        .parse::<u128>()
        .ok()?
        .checked_mul(tenths)?
        .checked_add(fraction)?;
    Some(all.checked_mul(scale)? / tenths)
}

/// The most ports that one list of ports may open.
pub(super) const PORTS_MAX: usize = 1024;

/// Reads `n` or `lo-hi` as a range of ports; 0 is the system's choice.
pub(super) fn ports(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let range = match text.split_once('-') {
        None => port(text).map(|port| port..=port),
        Some((low, high)) => port(low.trim())
            .zip(port(high.trim()))
            .map(|(low, high)| low..=high),
    };
    match range {
        Some(range) if range.start() > range.end() => Err("ends before it starts".to_owned()),
        Some(range) => Ok(range),
        None => {
            Err("is not a port (a number up to 65535, or a range such as `7114-7120`)".to_owned())
        }
    }
}

/// Reads `host:port`, IPv6 in brackets.
pub(super) fn server(text: &str) -> Result<(String, u16), String> {
    if let Some((scheme, address)) = text.split_once("://") {
        return Err(format!(
            "has a scheme (leave out `{scheme}://`, write `{address}`)"
        ));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("has `[` without `]`")?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| format!("has brackets, but `{host}` is not an IPv6 address"))?;
            (host, after.strip_prefix(':'))
        }
        None if text.parse::<std::net::Ipv6Addr>().is_ok() => {
            return Err(format!(
                "is an IPv6 address without brackets and port (write `[{text}]:9092`)"
            ));
        }
        None => text
            .rsplit_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let Some(port) = port else {
        return Err(format!("has no port (write `{text}:9092`)"));
    };
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| "has a port that is not a number from 1 to 65535".to_owned())?;
    host_name(host)?;
    Ok((host.to_owned(), port))
}

/// Checks the name or address of a host, without brackets.
pub(super) fn host_name(host: &str) -> Result<(), String> {
    let name = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if host.is_empty() {
        Err("has no host".to_owned())
    } else if host.len() > 255 || !(name || host.parse::<IpAddr>().is_ok()) {
        Err("is not a host name or address".to_owned())
    } else {
        Ok(())
    }
}

/// Reads `address/length`.
pub(super) fn cidr(text: &str) -> Result<Cidr, String> {
    let wrong = || "is not a network (write one as `10.0.0.0/8` or `fd00::/8`)".to_owned();
    let (address, length) = text.split_once('/').ok_or_else(wrong)?;
    let network: IpAddr = address.parse().map_err(|_| wrong())?;
    let prefix_len: u8 = length.parse().map_err(|_| wrong())?;
    Cidr::new(network, prefix_len).ok_or_else(wrong)
}

/// Checks the name of a namespace or binding.
pub(super) fn name(text: &str) -> Result<(), String> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if plain && text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        Ok(())
    } else {
        Err("is no name (a letter, then letters, digits, `.`, `_` and `-`)".to_owned())
    }
}

/// Reads the name of an HTTP header, as lower case; `:name` too when `pseudo` headers may stand here.
pub(super) fn header_name(text: &str, pseudo: bool) -> Result<String, String> {
    let token = text.strip_prefix(':').filter(|_| pseudo).unwrap_or(text);
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_token) {
        return Err("is not the name of a header".to_owned());
    }
    if token.len() < text.len() && !["method", "scheme", "authority", "path"].contains(&token) {
        return Err("is not one of `:method`, `:scheme`, `:authority` and `:path`".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Result<u128, String> {
        duration(text, Duration::ZERO, Duration::MAX).map(|duration| duration.as_nanos())
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(nanos("30s"), Ok(30_000_000_000));
        assert_eq!(nanos("1.5 ms"), Ok(1_500_000));
        assert_eq!(nanos("PT30S"), Ok(30_000_000_000));
        assert_eq!(nanos("P1DT2H3M4.5S"), Ok(93_784_500_000_000));
        assert!(nanos("30").unwrap_err().contains("write `30s` or `30ms`"));
        assert!(nanos("30 lightyears").unwrap_err().contains("unknown unit"));
        for wrong in [
            "", "s", "-1s", "1..5s", "P", "PT", "P1H", "PT1M1H", "PTS", "1.s", "PT1H1H",
        ] {
            assert!(nanos(wrong).is_err(), "{wrong}");
        }
        assert!(nanos(&format!("{}d", "9".repeat(60))).is_err());
    }

    #[test]
    fn a_duration_has_bounds() {
        let bounded = |text| duration(text, Duration::from_millis(1), Duration::from_secs(3600));
        assert_eq!(bounded("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(bounded("61m"), Err("is not from 1ms to 1h".into()));
        assert_eq!(bounded("0s"), Err("is not from 1ms to 1h".into()));
        assert_eq!(
            bounded("9999999999999999d"),
            Err("is not from 1ms to 1h".into())
        );
    }

    #[test]
    fn sizes_have_a_unit_and_bounds() {
        let bounded = |text| size(text, 1, 1 << 30);
        assert_eq!(bounded("1MiB"), Ok(1 << 20));
        assert_eq!(bounded("64 KiB"), Ok(64 << 10));
        assert_eq!(bounded("900kB"), Ok(900_000));
        assert_eq!(bounded("0.5GiB"), Ok(1 << 29));
        assert_eq!(
            bounded("2GiB"),
            Err("is not from 1 to 1073741824 bytes".into())
        );
        assert!(bounded("900").unwrap_err().contains("write `900B`"));
        assert!(bounded("KiB").is_err());
        assert!(bounded("1Kib").is_err());
    }

    #[test]
    fn ports_are_numbers_or_ranges() {
        assert_eq!(ports("7114"), Ok(7114..=7114));
        assert_eq!(ports("0"), Ok(0..=0));
        assert_eq!(ports("1-3"), Ok(1..=3));
        assert!(ports("3-1").is_err());
        for wrong in ["", "65536", "+1", "-1", "1-", "http"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn servers_have_a_host_and_a_port() {
        assert_eq!(server("kafka:9092"), Ok(("kafka".into(), 9092)));
        assert_eq!(server("[::1]:9092"), Ok(("::1".into(), 9092)));
        assert!(server("kafka").unwrap_err().contains("`kafka:9092`"));
        assert!(server("::1").unwrap_err().contains("`[::1]:9092`"));
        assert!(
            server("PLAINTEXT://kafka:9092")
                .unwrap_err()
                .contains("write `kafka:9092`")
        );
        for wrong in [
            "",
            ":9092",
            "kafka:",
            "kafka:0",
            "kafka:65536",
            "[::1]",
            "[::1",
            "[kafka]:1",
            "a b:1",
            "[::1]9092",
        ] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_headers_become_lower_case() {
        assert_eq!(header_name("X-Tenant", false), Ok("x-tenant".into()));
        assert_eq!(header_name(":path", true), Ok(":path".into()));
        for (wrong, pseudo) in [
            (":path", false),
            (":status", true),
            ("", false),
            (":", true),
            ("a b", true),
        ] {
            assert!(header_name(wrong, pseudo).is_err(), "{wrong}");
        }
    }
}

//! Durations ("10s", "1h30m") and sizes ("64KiB") as people write them.

use std::time::Duration;

/// Reads one or more whole numbers with a unit each: `500ms`, `10s`, `24h`, `1h30m`, `7d`.
///
/// `None` for anything else, and for what does not fit into 64 bits of milliseconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let unit_millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        millis = millis.checked_add(number.checked_mul(unit_millis)?)?;
        rest = after;
    }
    if text.is_empty() { None } else { Some(Duration::from_millis(millis)) }
}

/// Reads a number of bytes: `65536`, `64KiB`, `1MiB`, `2GiB`.
///
/// `KB` and `MB` mean different things to different people and are refused.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text)?;
    let unit_bytes: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit_bytes)
}

/// A duration as [`duration`] reads it back, in the largest units that lose nothing.
pub(super) fn show_duration(value: Duration) -> String {
    let mut millis = value.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut shown = String::new();
    for (unit, unit_millis) in
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
    {
        let count = millis / unit_millis;
        if count > 0 {
            shown.push_str(&format!("{count}{unit}"));
        }
        millis %= unit_millis;
    }
    shown
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_every_unit_and_combine() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("0s", 0),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1s500ms", 1_500),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn durations_without_unit_or_number_are_refused() {
        for text in
            ["", "10", "s", "10 s", "-1s", "1.5s", "10S", "10sec", "1h30", "99999999999999999999s"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration(&format!("{}d", u64::MAX)), None);
    }

    #[test]
    fn shown_durations_read_back() {
        for text in ["500ms", "10s", "1m", "1d", "1h30m", "1d1ms", "0s"] {
            let value = duration(text).unwrap();
            assert_eq!(show_duration(value), text);
        }
    }

    #[test]
    fn sizes_are_plain_bytes_or_binary_units() {
        for (text, bytes) in
            [("0", 0), ("1048576", 1 << 20), ("512B", 512), ("64KiB", 65_536), ("2GiB", 2 << 30)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "KiB", "1MB", "1kb", "1 MiB", "-1", "1.5MiB", "18446744073709551615GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}

//! Moments as DuckLake writes them: `2026-11-24 17:01:25.064061+00`. Days and microseconds since 1970 inside.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Howard Hinnant's `days_from_civil`, <https://howardhinnant.github.io/date_algorithms.html>.
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_index = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_index + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_index + 2) / 5 + 1) as u32;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// `None` for what is not a plain date of years 0 to 9999, such as `infinity` or dates before Christ.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days_from_civil(year, month as u32, day as u32))
}

/// Nanoseconds since midnight of `HH:MM:SS[.fraction]`.
pub(crate) fn parse_time_nanos(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let bytes = clock.as_bytes();
    if bytes.len() != 8 || bytes[2] != b':' || bytes[5] != b':' || fraction.len() > 9 {
        return None;
    }
    let seconds = digits(&clock[..2])? * 3600 + digits(&clock[3..5])? * 60 + digits(&clock[6..])?;
    let nanos = match fraction {
        "" => 0,
        _ => digits(fraction)? * 10_i64.pow(9 - fraction.len() as u32),
    };
    Some(seconds * 1_000_000_000 + nanos)
}

/// Nanoseconds since 1970 of `YYYY-MM-DD HH:MM:SS[.fraction][±HH[:MM]]`; without an offset the text is taken as UTC.
pub(crate) fn parse_timestamp_nanos(text: &str) -> Option<i128> {
    if !text.is_ascii() || text.len() < 19 || !matches!(text.as_bytes()[10], b' ' | b'T') {
        return None;
    }
    let days = parse_date(&text[..10])?;
    let rest = text[11..].strip_suffix('Z').unwrap_or(&text[11..]);
    let (clock, offset_seconds) = match rest.find(['+', '-']) {
        None => (rest, 0),
        Some(at) => {
            let sign = if rest.as_bytes()[at] == b'-' { -1 } else { 1 };
            let (hours, minutes) = rest[at + 1..].split_once(':').unwrap_or((&rest[at + 1..], "0"));
            (&rest[..at], sign * (digits(hours)? * 3600 + digits(minutes)? * 60))
        }
    };
    let nanos = parse_time_nanos(clock)?;
    Some(i128::from(days * 86_400 - offset_seconds) * 1_000_000_000 + i128::from(nanos))
}

pub(crate) fn format_date(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Without a fraction where it is zero, and without its trailing zeros, as DuckDB does.
pub(crate) fn format_time_nanos(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = nanos % 1_000_000_000;
    if fraction != 0 {
        text.push_str(format!(".{fraction:09}").trim_end_matches('0'));
    }
    text
}

pub(crate) fn format_timestamp_nanos(nanos: i128) -> String {
    let per_day = i128::from(MICROS_PER_DAY) * 1000;
    let (days, rest) = (nanos.div_euclid(per_day), nanos.rem_euclid(per_day));
    format!("{} {}", format_date(days as i64), format_time_nanos(rest as i64))
}

/// A snapshot's time, to the microsecond.
pub(crate) fn format_moment(time: SystemTime) -> String {
    format!("{}+00", format_timestamp_nanos(i128::from(micros_since_epoch(time)) * 1000))
}

pub(crate) fn parse_moment(text: &str) -> Option<SystemTime> {
    let micros = i64::try_from(parse_timestamp_nanos(text)? / 1000).ok()?;
    Some(from_micros(micros))
}

pub(crate) fn micros_since_epoch(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_micros() as i64,
        Err(before) => -(before.duration().as_micros() as i64),
    }
}

pub(crate) fn from_micros(micros: i64) -> SystemTime {
    match u64::try_from(micros) {
        Ok(after) => UNIX_EPOCH + Duration::from_micros(after),
        Err(_) => UNIX_EPOCH - Duration::from_micros(micros.unsigned_abs()),
    }
}

fn digits(text: &str) -> Option<i64> {
    match !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_the_round_trip() {
        for text in
            ["1970-01-01 00:00:00", "2020-02-29 23:59:59.5", "0001-01-01 10:00:00.000001", "9999-12-31 00:00:00"]
        {
            let nanos = parse_timestamp_nanos(text).unwrap();
            assert_eq!(format_timestamp_nanos(nanos), text);
        }
        assert_eq!(parse_timestamp_nanos("1970-01-01 01:00:00+01"), Some(0));
        assert_eq!(parse_timestamp_nanos("1970-01-01 00:00:00-00:30"), Some(1_800_000_000_000));
        assert_eq!(parse_timestamp_nanos("infinity"), None);
        assert_eq!(parse_date("0044-03-15 (BC)"), None);
        let moment = parse_moment("2026-11-24 17:01:25.14075+00").unwrap();
        assert_eq!(format_moment(moment), "2026-11-24 17:01:25.14075+00");
    }
}

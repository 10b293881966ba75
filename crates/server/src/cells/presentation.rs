//! How a client wants dates, times, timestamps and binary values written, where it says so.

use arrow::array::timezone::Tz;
use frazil_common::client_settings::{BINARY_OUTPUT_FORMAT, TIME_ZONE};
use frazil_common::output_format::{OutputFormat, Parts};
use frazil_common::{ErrorCode, Failure};

const SECONDS_A_DAY: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01, and in 400 years.
const DAYS_TO_EPOCH: i64 = 719_468;
const DAYS_OF_ERA: i64 = 146_097;

/// What is `None` has the API's own form: numbers since the epoch, hexadecimal digits.
#[derive(Clone, Debug, Default)]
pub struct Presentation {
    pub date: Option<OutputFormat>,
    pub time: Option<OutputFormat>,
    pub timestamp: Option<OutputFormat>,
    /// Of timestamps with a time zone.
    pub zoned: Option<OutputFormat>,
    /// In which they are shown, instead of their own.
    pub zone: Option<Tz>,
    pub base64: bool,
}

impl Presentation {
    /// From settings by their full names; the last of a name counts.
    pub fn of(settings: &[(String, String)]) -> Result<Self, Failure> {
        let given = |name: &str| settings.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let format = |names: &[&str]| -> Result<Option<OutputFormat>, Failure> {
            for name in names {
                if let Some(text) = given(name)
                    && let Some(format) = OutputFormat::parse(text).map_err(|what| invalid(name, &what))?
                {
                    return Ok(Some(format));
                }
            }
            Ok(None)
        };
        let zone = given(TIME_ZONE).map(|zone| {
            zone.trim().parse::<Tz>().map_err(|_| invalid(TIME_ZONE, &format!("time zone {zone:?} is not known")))
        });
        Ok(Self {
            date: format(&["date_output_format"])?,
            time: format(&["time_output_format"])?,
            timestamp: format(&["timestamp_ntz_output_format", "timestamp_output_format"])?,
            zoned: format(&["timestamp_tz_output_format", "timestamp_ltz_output_format", "timestamp_output_format"])?,
            zone: zone.transpose()?,
            base64: given(BINARY_OUTPUT_FORMAT).is_some_and(|form| form.trim().eq_ignore_ascii_case("base64")),
        })
    }
}

fn invalid(name: &str, what: &str) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, format!("setting {name:?}: {what}"))
}

/// A moment taken apart: seconds since the epoch in UTC, and what its zone adds.
pub fn parts(seconds: i64, nanosecond: u32, offset_minutes: i64) -> Parts {
    let local = seconds.saturating_add(offset_minutes * 60);
    let (days, of_day) = (local.div_euclid(SECONDS_A_DAY), local.rem_euclid(SECONDS_A_DAY) as u32);
    let (year, month, day) = civil(days);
    Parts {
        year,
        month,
        day,
        // The epoch was a Thursday.
        weekday: (days + 3).rem_euclid(7) as u32,
        hour: of_day / 3600,
        minute: of_day / 60 % 60,
        second: of_day % 60,
        nanosecond,
        offset_minutes,
    }
}

/// Year, month and day of a number of days since the epoch, in the proleptic Gregorian calendar. Years are counted from
/// March, so that a leap day is the last of them (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u32, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (19_782, (2024, 2, 29)),
            (11_016, (2000, 2, 29)),
            (-25_509, (1900, 2, 28)),
            (-25_508, (1900, 3, 1)),
            (-719_162, (1, 1, 1)),
            (-719_163, (0, 12, 31)),
            (2_932_896, (9999, 12, 31)),
        ] {
            assert_eq!(civil(days), date, "{days}");
        }
        // Each day follows the one before.
        let mut last = civil(-800_000);
        for days in -799_999..800_000 {
            let next = civil(days);
            let follows = next.2 == last.2 + 1 && (next.0, next.1) == (last.0, last.1) || next.2 == 1;
            assert!(follows && next > last, "{last:?} {next:?}");
            last = next;
        }
    }

    #[test]
    fn a_zone_moves_the_day() {
        let parts = parts(1_709_164_800, 5, -60);
        assert_eq!((parts.year, parts.month, parts.day, parts.hour, parts.weekday), (2024, 2, 28, 23, 2));
    }
}

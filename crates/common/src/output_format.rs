//! Formats of dates, times and timestamps as clients give them: `YYYY-MM-DD HH24:MI:SS.FF3 TZH:TZM`.
//!
//! | element | what |
//! |---|---|
//! | `YYYY`, `YY` | year; its last two digits |
//! | `MM`, `MON`, `MMMM` | month: number, `Jan`, `January` |
//! | `DD`, `DY` | day of the month; `Mon` |
//! | `HH24`, `HH12`, `AM` or `PM` | hour, and the half of the day |
//! | `MI`, `SS` | minute, second |
//! | `FF`, `FF0` to `FF9` | that many digits of the second's fraction; `FF` is nine |
//! | `TZH`, `TZM`, `TZHTZM`, `TZH:TZM` | the zone's hours with their sign, and minutes |
//! | `"text"` | as it is, and so are `T` and what is no letter |
//!
//! Elements may be written in lower case. The names are Snowflake's.

use std::fmt::Write as _;

/// Longer formats are refused.
const FORMAT_BYTES_MAX: usize = 256;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

#[derive(Clone, PartialEq, Eq, Debug)]
enum Element {
    Text(String),
    Year,
    YearOfCentury,
    Month,
    MonthShort,
    MonthLong,
    Day,
    DayOfWeek,
    Hour,
    HourOfHalf,
    Half,
    Minute,
    Second,
    Fraction(usize),
    ZoneHour,
    ZoneMinute,
}

/// A moment, taken apart. What a type does not have is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parts {
    pub year: i64,
    /// From 1.
    pub month: u32,
    pub day: u32,
    /// From 0, Monday.
    pub weekday: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    pub nanosecond: u32,
    /// East of Greenwich.
    pub offset_minutes: i64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutputFormat(Vec<Element>);

impl OutputFormat {
    /// Fails with what is wrong with it. `AUTO`, and nothing at all, are no format.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.eq_ignore_ascii_case("auto") {
            return Ok(None);
        }
        if text.len() > FORMAT_BYTES_MAX {
            return Err(format!("a format has at most {FORMAT_BYTES_MAX} bytes"));
        }
        let mut elements = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                let Some(end) = rest[1..].find('"') else { return Err("a quote of the format is open".to_owned()) };
                push_text(&mut elements, &rest[1..end + 1]);
                rest = &rest[end + 2..];
                continue;
            }
            match element(rest) {
                Some((element, length)) => {
                    elements.push(element);
                    rest = &rest[length..];
                }
                None if first.is_ascii_alphabetic() && first != 'T' => {
                    return Err(format!("{rest:?} begins with no element of a format"));
                }
                None => {
                    push_text(&mut elements, &rest[..first.len_utf8()]);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        Ok(Some(Self(elements)))
    }

    pub fn write(&self, parts: &Parts, out: &mut String) {
        for element in &self.0 {
            write_element(element, parts, out).expect("writing into memory cannot fail");
        }
    }
}

fn push_text(elements: &mut Vec<Element>, text: &str) {
    match elements.last_mut() {
        Some(Element::Text(before)) => before.push_str(text),
        _ => elements.push(Element::Text(text.to_owned())),
    }
}

/// The element that a text begins with, and its length. Longer ones come before those that they begin with.
fn element(text: &str) -> Option<(Element, usize)> {
    let begins = |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if begins("FF") {
        let digit = text.as_bytes().get(2).filter(|byte| byte.is_ascii_digit());
        return Some(match digit {
            Some(digit) => (Element::Fraction(usize::from(digit - b'0')), 3),
            None => (Element::Fraction(9), 2),
        });
    }
    let known = [
        ("YYYY", Element::Year),
        ("YY", Element::YearOfCentury),
        ("MMMM", Element::MonthLong),
        ("MON", Element::MonthShort),
        ("MM", Element::Month),
        ("MI", Element::Minute),
        ("DD", Element::Day),
        ("DY", Element::DayOfWeek),
        ("HH24", Element::Hour),
        ("HH12", Element::HourOfHalf),
        ("AM", Element::Half),
        ("PM", Element::Half),
        ("SS", Element::Second),
        ("TZH", Element::ZoneHour),
        ("TZM", Element::ZoneMinute),
    ];
    known.into_iter().find(|(word, _)| begins(word)).map(|(word, element)| (element, word.len()))
}

fn write_element(element: &Element, parts: &Parts, out: &mut String) -> std::fmt::Result {
    match element {
        Element::Text(text) => out.write_str(text),
        Element::Year if parts.year < 0 => write!(out, "-{:04}", -parts.year),
        Element::Year => write!(out, "{:04}", parts.year),
        Element::YearOfCentury => write!(out, "{:02}", parts.year.rem_euclid(100)),
        Element::Month => write!(out, "{:02}", parts.month),
        Element::MonthShort => out.write_str(&month(parts)[..3]),
        Element::MonthLong => out.write_str(month(parts)),
        Element::Day => write!(out, "{:02}", parts.day),
        Element::DayOfWeek => out.write_str(DAYS[parts.weekday as usize % DAYS.len()]),
        Element::Hour => write!(out, "{:02}", parts.hour),
        Element::HourOfHalf => write!(out, "{:02}", (parts.hour + 11) % 12 + 1),
        Element::Half => out.write_str(if parts.hour < 12 { "AM" } else { "PM" }),
        Element::Minute => write!(out, "{:02}", parts.minute),
        Element::Second => write!(out, "{:02}", parts.second),
        Element::Fraction(digits) => {
            let all = format!("{:09}", parts.nanosecond);
            out.write_str(&all[..*digits])
        }
        Element::ZoneHour => {
            let sign = if parts.offset_minutes < 0 { '-' } else { '+' };
            write!(out, "{sign}{:02}", parts.offset_minutes.abs() / 60)
        }
        Element::ZoneMinute => write!(out, "{:02}", parts.offset_minutes.abs() % 60),
    }
}

fn month(parts: &Parts) -> &'static str {
    MONTHS[(parts.month.max(1) - 1) as usize % MONTHS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: &str, parts: Parts, wanted: &str) {
        let mut out = String::new();
        OutputFormat::parse(format).unwrap().unwrap().write(&parts, &mut out);
        assert_eq!(out, wanted, "{format}");
    }

    #[test]
    fn each_element_is_written() {
        let parts = Parts {
            year: 2024,
            month: 2,
            day: 9,
            weekday: 4,
            hour: 15,
            minute: 4,
            second: 5,
            nanosecond: 67_000_000,
            offset_minutes: -210,
        };
        check("YYYY-MM-DD HH24:MI:SS.FF3 TZHTZM", parts, "2024-02-09 15:04:05.067 -0330");
        check("dy, dd mon yy", parts, "Fri, 09 Feb 24");
        check("MMMM DD\" of \"YYYYTHH12:MI AM", parts, "February 09 of 2024T03:04 PM");
        check("FF0|FF|TZH:TZM", Parts { offset_minutes: 330, ..parts }, "|067000000|+05:30");
        check("HH12 PM", Parts { hour: 0, ..parts }, "12 AM");
        check("YYYY", Parts { year: -44, ..parts }, "-0044");
        check("YYYY年", parts, "2024年");
    }

    #[test]
    fn what_is_no_format_is_refused() {
        assert_eq!(OutputFormat::parse(" Auto "), Ok(None));
        for wrong in ["QQ", "YYYY-\"MM", "YYYY Z", "Y", &"-".repeat(300)] {
            assert!(OutputFormat::parse(wrong).is_err(), "{wrong}");
        }
    }
}

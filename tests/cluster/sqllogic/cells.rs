//! How the suites write types and values, and when two of them are the same.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sqllogictest::{ColumnType, Normalizer};

use crate::support::engine::Answer;

/// Looser than between our own answers, because some engines computed in 32 bits.
const RELATIVE: f64 = 1e-6;

/// `I` integer, `R` float or decimal, `T` text, `B` boolean, `D` date, `P` timestamp, `?` anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter(pub char);

impl Letter {
    pub fn of(kind: &DataType) -> Self {
        Self(match kind {
            DataType::Boolean => 'B',
            kind if kind.is_integer() => 'I',
            kind if kind.is_numeric() => 'R',
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => 'T',
            DataType::Date32 | DataType::Date64 => 'D',
            DataType::Timestamp(..) => 'P',
            DataType::Dictionary(_, value) => return Self::of(value),
            _ => '?',
        })
    }
}

impl ColumnType for Letter {
    fn from_char(value: char) -> Option<Self> {
        Some(Self(value))
    }

    fn to_char(&self) -> char {
        self.0
    }
}

#[expect(clippy::ptr_arg, reason = "the type is the runner's")]
pub fn same_types(actual: &Vec<Letter>, expected: &Vec<Letter>) -> bool {
    actual.len() == expected.len() && actual.iter().zip(expected).all(|(a, b)| a == b || a.0 == '?' || b.0 == '?')
}

/// Line by line; numbers with a fraction to [`RELATIVE`], everything else as text.
pub fn same_rows(normalize: Normalizer, actual: &[Vec<String>], expected: &[String]) -> bool {
    let expected: Vec<String> = expected.iter().map(normalize).collect();
    // A value with line breaks takes several lines in a file.
    let actual: Vec<String> = actual
        .iter()
        .flat_map(|row| line(row).split('\n').map(|l| normalize(&l.to_owned())).collect::<Vec<_>>())
        .collect();
    actual.len() == expected.len() && actual.iter().zip(&expected).all(|(a, b)| same_line(a, b))
}

pub fn line(row: &[String]) -> String {
    row.join(" ")
}

fn same_line(actual: &str, expected: &str) -> bool {
    let (actual_words, expected_words) = (actual.split(' '), expected.split(' '));
    actual == expected
        || (actual_words.clone().count() == expected_words.clone().count()
            && actual_words.zip(expected_words).all(|(a, b)| same_word(a, b)))
}

/// The suites come from several engines, each with its own way to write a value.
fn same_word(actual: &str, expected: &str) -> bool {
    actual == expected
        || same_number(actual, expected)
        || matches!((actual, expected), ("true", "t") | ("false", "f") | ("Infinity", "inf") | ("-Infinity", "-inf"))
}

fn same_number(a: &str, b: &str) -> bool {
    // Integers are exact; more digits than an integer has were a float or a decimal somewhere.
    let inexact = |text: &str| text.contains(['.', 'e', 'E']) || text.trim_start_matches('-').len() > 18;
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => (inexact(a) || inexact(b)) && (x - y).abs() <= RELATIVE * x.abs().max(y.abs()),
        _ => false,
    }
}

/// As DataFusion's own runner writes them: `NULL`, `(empty)`, floats rounded to twelve digits.
pub fn rows(answer: &Answer) -> Result<Vec<Vec<String>>, ArrowError> {
    let mut all = Vec::with_capacity(answer.rows());
    for batch in &answer.batches {
        let columns: Vec<Vec<String>> = batch.columns().iter().map(|c| column(c.as_ref())).collect::<Result<_, _>>()?;
        all.extend((0..batch.num_rows()).map(|i| columns.iter().map(|column| column[i].clone()).collect()));
    }
    Ok(all)
}

fn column(values: &dyn Array) -> Result<Vec<String>, ArrowError> {
    // A 32-bit float has its own shortest digits, which the cast below would not give.
    if values.data_type().is_floating() && *values.data_type() != DataType::Float32 {
        let floats = cast(values, &DataType::Float64)?;
        return Ok(floats.as_primitive::<Float64Type>().iter().map(|v| v.map_or("NULL".to_owned(), float)).collect());
    }
    let text = matches!(values.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let (timestamp, zoned) = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%:z");
    let options = FormatOptions::default()
        .with_null("NULL")
        .with_timestamp_format(Some(timestamp))
        .with_timestamp_tz_format(Some(zoned));
    let formatter = ArrayFormatter::try_new(values, &options)?;
    (0..values.len())
        .map(|i| match formatter.value(i).try_to_string()? {
            empty if empty.is_empty() && text && values.is_valid(i) => Ok("(empty)".to_owned()),
            value => Ok(value),
        })
        .collect()
}

fn float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else {
        let text = format!("{value:.12}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if text == "-0" { "0".to_owned() } else { text.to_owned() }
    }
}

//! One column's statistics over all files of a table, a few bytes each.

use crate::prune::{ColumnStatistics, RangeTest};
use crate::scalar::{Scalar, compare};
use crate::types::ColumnType;

const HAS_MIN: u8 = 1;
const HAS_MAX: u8 = 2;
const NAN_KNOWN: u8 = 4;
const HAS_NAN: u8 = 8;

pub(crate) struct StatisticsColumn {
    pub(crate) column_type: ColumnType,
    flags: Vec<u8>,
    /// -1 for unknown.
    null_counts: Vec<i64>,
    bounds: Bounds,
}

/// Least and greatest values by the index of their file.
enum Bounds {
    Narrow(Vec<[i64; 2]>),
    Wide(Vec<[i128; 2]>),
    Float(Vec<[f64; 2]>),
    Text(Vec<[Option<std::sync::Arc<str>>; 2]>),
    Unknown,
}

impl StatisticsColumn {
    pub(crate) fn new(column_type: ColumnType) -> Self {
        use ColumnType as T;
        let bounds = match &column_type {
            T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 => {
                Bounds::Narrow(Vec::new())
            }
            T::Date | T::Time | T::TimeNs => Bounds::Narrow(Vec::new()),
            T::UInt64 | T::Decimal(..) => Bounds::Wide(Vec::new()),
            T::TimestampS | T::TimestampMs | T::Timestamp | T::TimestampNs | T::TimestampTz => Bounds::Wide(Vec::new()),
            T::Float32 | T::Float64 => Bounds::Float(Vec::new()),
            T::Varchar | T::Uuid => Bounds::Text(Vec::new()),
            T::Int128 | T::UInt128 | T::TimeTz | T::Interval | T::Json | T::Blob => Bounds::Unknown,
            T::Struct | T::List | T::Map | T::Other(_) => Bounds::Unknown,
        };
        Self { column_type, flags: Vec::new(), null_counts: Vec::new(), bounds }
    }

    pub(crate) fn resize(&mut self, files: usize) {
        self.flags.resize(files, 0);
        self.null_counts.resize(files, -1);
        match &mut self.bounds {
            Bounds::Narrow(bounds) => bounds.resize(files, [0; 2]),
            Bounds::Wide(bounds) => bounds.resize(files, [0; 2]),
            Bounds::Float(bounds) => bounds.resize(files, [0.0; 2]),
            Bounds::Text(bounds) => bounds.resize(files, [None, None]),
            Bounds::Unknown => {}
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.flags.len()
    }

    /// The files of another column of the same type, behind its own.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.flags.append(&mut other.flags);
        self.null_counts.append(&mut other.null_counts);
        match (&mut self.bounds, &mut other.bounds) {
            (Bounds::Narrow(bounds), Bounds::Narrow(other)) => bounds.append(other),
            (Bounds::Wide(bounds), Bounds::Wide(other)) => bounds.append(other),
            (Bounds::Float(bounds), Bounds::Float(other)) => bounds.append(other),
            (Bounds::Text(bounds), Bounds::Text(other)) => bounds.append(other),
            // Bounds that are not understood take no room.
            _ => {}
        }
    }

    /// Takes what another column of the same type knows of a file.
    pub(crate) fn move_from(&mut self, at: usize, other: &mut Self, from: usize) {
        self.flags[at] = other.flags[from];
        self.null_counts[at] = other.null_counts[from];
        match (&mut self.bounds, &mut other.bounds) {
            (Bounds::Narrow(bounds), Bounds::Narrow(other)) => bounds[at] = other[from],
            (Bounds::Wide(bounds), Bounds::Wide(other)) => bounds[at] = other[from],
            (Bounds::Float(bounds), Bounds::Float(other)) => bounds[at] = other[from],
            (Bounds::Text(bounds), Bounds::Text(other)) => bounds[at] = std::mem::take(&mut other[from]),
            _ => {}
        }
    }

    /// No more files are coming for now.
    pub(crate) fn trim(&mut self) {
        self.flags.shrink_to_fit();
        self.null_counts.shrink_to_fit();
        match &mut self.bounds {
            Bounds::Narrow(bounds) => bounds.shrink_to_fit(),
            Bounds::Wide(bounds) => bounds.shrink_to_fit(),
            Bounds::Float(bounds) => bounds.shrink_to_fit(),
            Bounds::Text(bounds) => bounds.shrink_to_fit(),
            Bounds::Unknown => {}
        }
    }

    pub(crate) fn set(
        &mut self,
        at: usize,
        null_count: Option<i64>,
        min: Option<&str>,
        max: Option<&str>,
        contains_nan: Option<bool>,
    ) {
        self.null_counts[at] = null_count.unwrap_or(-1);
        let mut flags = match contains_nan {
            None => 0,
            Some(false) => NAN_KNOWN,
            Some(true) => NAN_KNOWN | HAS_NAN,
        };
        for (side, text, flag) in [(0, min, HAS_MIN), (1, max, HAS_MAX)] {
            let Some(value) = text.and_then(|text| Scalar::parse(&self.column_type, text)) else { continue };
            if self.put(at, side, value) {
                flags |= flag;
            }
        }
        self.flags[at] = flags;
    }

    fn put(&mut self, at: usize, side: usize, value: Scalar) -> bool {
        match (&mut self.bounds, value) {
            (Bounds::Narrow(bounds), Scalar::Bool(value)) => bounds[at][side] = i64::from(value),
            (Bounds::Narrow(bounds), Scalar::Date(value) | Scalar::Time(value)) => bounds[at][side] = value,
            (Bounds::Narrow(bounds), Scalar::Int(value)) => match i64::try_from(value) {
                Ok(value) => bounds[at][side] = value,
                Err(_) => return false,
            },
            (Bounds::Wide(bounds), Scalar::Int(value) | Scalar::Timestamp(value)) => bounds[at][side] = value,
            (Bounds::Wide(bounds), Scalar::Decimal(digits, scale)) => match self.column_type {
                // Widening keeps the texts of older files, with fewer digits behind the point.
                ColumnType::Decimal(_, wanted) if scale <= wanted => {
                    let scaled = 10_i128.checked_pow((wanted - scale) as u32).and_then(|p| p.checked_mul(digits));
                    let Some(scaled) = scaled else { return false };
                    bounds[at][side] = scaled;
                }
                _ => return false,
            },
            (Bounds::Float(bounds), Scalar::Float(value)) => bounds[at][side] = value,
            (Bounds::Text(bounds), Scalar::Text(value)) => bounds[at][side] = Some(value),
            _ => return false,
        }
        true
    }

    fn bound(&self, at: usize, side: usize) -> Option<Scalar> {
        use ColumnType as T;
        match &self.bounds {
            Bounds::Narrow(bounds) => Some(match self.column_type {
                T::Boolean => Scalar::Bool(bounds[at][side] != 0),
                T::Date => Scalar::Date(bounds[at][side]),
                T::Time | T::TimeNs => Scalar::Time(bounds[at][side]),
                _ => Scalar::Int(i128::from(bounds[at][side])),
            }),
            Bounds::Wide(bounds) => Some(match self.column_type {
                T::Decimal(_, scale) => Scalar::Decimal(bounds[at][side], scale),
                T::UInt64 => Scalar::Int(bounds[at][side]),
                _ => Scalar::Timestamp(bounds[at][side]),
            }),
            Bounds::Float(bounds) => Some(Scalar::Float(bounds[at][side])),
            Bounds::Text(bounds) => bounds[at][side].clone().map(Scalar::Text),
            Bounds::Unknown => None,
        }
    }

    pub(crate) fn get(&self, at: usize) -> ColumnStatistics {
        let flags = self.flags[at];
        ColumnStatistics {
            null_count: Some(self.null_counts[at]).filter(|count| *count >= 0),
            min: if flags & HAS_MIN != 0 { self.bound(at, 0) } else { None },
            max: if flags & HAS_MAX != 0 { self.bound(at, 1) } else { None },
            contains_nan: (flags & NAN_KNOWN != 0).then_some(flags & HAS_NAN != 0),
        }
    }

    pub(crate) fn may_match(&self, at: usize, rows: i64, test: &RangeTest) -> bool {
        self.get(at).may_match(&self.column_type, rows, test)
    }
}

/// Statistics of a column over several files.
pub(crate) struct StatisticsSum {
    null_count: Option<i64>,
    contains_nan: Option<bool>,
    /// `None` until a file has values.
    bounds: Option<(Option<Scalar>, Option<Scalar>)>,
    files: u64,
}

impl Default for StatisticsSum {
    fn default() -> Self {
        Self { null_count: Some(0), contains_nan: Some(false), bounds: None, files: 0 }
    }
}

impl StatisticsSum {
    /// Adds a file of `rows` rows.
    pub(crate) fn add(&mut self, file: &ColumnStatistics, rows: i64) {
        self.files += 1;
        self.null_count = self.null_count.zip(file.null_count).map(|(a, b)| a + b);
        self.contains_nan = match (self.contains_nan, file.contains_nan) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        };
        // A file of nulls alone has no bounds and does not need any.
        if file.null_count.is_some_and(|nulls| nulls >= rows) {
            return;
        }
        self.bounds = Some(match self.bounds.take() {
            None => (file.min.clone(), file.max.clone()),
            Some((min, max)) => (
                wider(min, file.min.as_ref(), std::cmp::Ordering::Less),
                wider(max, file.max.as_ref(), std::cmp::Ordering::Greater),
            ),
        });
    }

    pub(crate) fn finish(self) -> ColumnStatistics {
        if self.files == 0 {
            return ColumnStatistics { null_count: Some(0), ..Default::default() };
        }
        let (min, max) = self.bounds.unwrap_or_default();
        ColumnStatistics { null_count: self.null_count, min, max, contains_nan: self.contains_nan }
    }
}

/// The bound of both, if both are known; `order` is how a wider one compares with a narrower.
pub(crate) fn wider(mine: Option<Scalar>, theirs: Option<&Scalar>, order: std::cmp::Ordering) -> Option<Scalar> {
    let (mine, theirs) = (mine?, theirs?);
    compare(theirs, &mine).map(|found| if found == order { theirs.clone() } else { mine })
}

//! Names of types that DataFusion's SQL does not have: Snowflake's, and some of the standard's.
//!
//! [`SqlTypes`] gives them to every client. [`as_snowflake_means`] is for clients of Snowflake alone: there some names that DataFusion
//! knows mean something wider. It changes the statement, so that a view that is made keeps the meaning.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTableOperation, CastKind, DataType as SqlType, ExactNumberInfo, Expr, Statement,
    TimezoneInfo, Value, VisitMut, VisitorMut,
};

/// Digits of a number whose type says none.
const NUMBER_PRECISION: u8 = 38;

/// A type as Snowflake's catalogs name it.
pub struct SnowflakeType {
    pub name: &'static str,
    pub precision: Option<i64>,
    pub scale: Option<i64>,
    pub length: Option<i64>,
    /// Of seconds.
    pub decimals: Option<i64>,
}

impl SnowflakeType {
    /// `NUMBER(10,2)`.
    pub fn full_name(&self) -> String {
        match (self.precision, self.length, self.decimals) {
            (Some(precision), ..) => format!("{}({precision},{})", self.name, self.scale.unwrap_or(0)),
            (_, Some(length), _) if self.name == "TEXT" => format!("VARCHAR({length})"),
            (_, Some(length), _) => format!("{}({length})", self.name),
            (.., Some(decimals)) => format!("{}({decimals})", self.name),
            _ => self.name.to_owned(),
        }
    }
}

pub fn snowflake_type(data_type: &DataType) -> SnowflakeType {
    let plain = |name| SnowflakeType { name, precision: None, scale: None, length: None, decimals: None };
    let number = |precision: i64, scale: i64| SnowflakeType {
        precision: Some(precision),
        scale: Some(scale),
        ..plain("NUMBER")
    };
    let timed = |name, unit: &TimeUnit| {
        let decimals = match unit {
            TimeUnit::Second => 0,
            TimeUnit::Millisecond => 3,
            TimeUnit::Microsecond => 6,
            TimeUnit::Nanosecond => 9,
        };
        SnowflakeType { decimals: Some(decimals), ..plain(name) }
    };
    match data_type {
        DataType::Boolean => plain("BOOLEAN"),
        DataType::Int8 | DataType::UInt8 => number(3, 0),
        DataType::Int16 | DataType::UInt16 => number(5, 0),
        DataType::Int32 | DataType::UInt32 => number(10, 0),
        DataType::Int64 => number(19, 0),
        DataType::UInt64 => number(20, 0),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => number((*precision).into(), (*scale).into()),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => plain("FLOAT"),
        DataType::Date32 | DataType::Date64 => plain("DATE"),
        DataType::Time32(unit) | DataType::Time64(unit) => timed("TIME", unit),
        DataType::Timestamp(unit, None) => timed("TIMESTAMP_NTZ", unit),
        DataType::Timestamp(unit, Some(_)) => timed("TIMESTAMP_TZ", unit),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            SnowflakeType { length: Some(8 << 20), ..plain("BINARY") }
        }
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => plain("ARRAY"),
        DataType::Struct(_) | DataType::Map(_, _) => plain("OBJECT"),
        DataType::Union(_, _) => plain("VARIANT"),
        DataType::Dictionary(_, values) => snowflake_type(values),
        DataType::RunEndEncoded(_, values) => snowflake_type(values.data_type()),
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Null
        | DataType::Interval(_)
        | DataType::Duration(_) => SnowflakeType { length: Some(16 << 20), ..plain("TEXT") },
    }
}

#[derive(Debug)]
pub struct SqlTypes;

impl TypePlanner for SqlTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let data_type = match sql_type {
            SqlType::Custom(name, arguments) => custom(&name.to_string(), arguments)?,
            SqlType::TimestampNtz(decimals) => Some(DataType::Timestamp(unit(*decimals)?, None)),
            SqlType::Datetime(decimals) => Some(DataType::Timestamp(unit(*decimals)?, None)),
            SqlType::Time(Some(0..=9), TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                Some(DataType::Time64(TimeUnit::Nanosecond))
            }
            SqlType::Binary(_) | SqlType::Varbinary(_) | SqlType::Blob(_) | SqlType::Bytes(_) => Some(DataType::Binary),
            SqlType::Nvarchar(_) | SqlType::Character(_) | SqlType::CharacterVarying(_) | SqlType::CharVarying(_) => {
                Some(DataType::Utf8View)
            }
            _ => None,
        };
        Ok(data_type.map(|data_type| Arc::new(Field::new("", data_type, true)) as FieldRef))
    }
}

fn custom(name: &str, arguments: &[String]) -> Result<Option<DataType>> {
    let numbers = || {
        let parsed: std::result::Result<Vec<u64>, _> = arguments.iter().map(|argument| argument.parse()).collect();
        parsed.map_err(|_| DataFusionError::Plan(format!("type {name}({}) is not known", arguments.join(","))))
    };
    Ok(Some(match name.to_ascii_uppercase().as_str() {
        "NUMBER" => match numbers()?.as_slice() {
            [] => DataType::Decimal128(NUMBER_PRECISION, 0),
            [precision] => decimal(*precision, 0)?,
            [precision, scale] => decimal(*precision, *scale)?,
            _ => return Err(DataFusionError::Plan("type NUMBER takes a precision and a scale".to_owned())),
        },
        "BYTEINT" => DataType::Int8,
        "TIMESTAMP_LTZ" | "TIMESTAMP_TZ" => {
            // Instants: the offset that a value was written with is not kept.
            DataType::Timestamp(unit(numbers()?.first().copied())?, Some("UTC".into()))
        }
        "VARIANT" | "OBJECT" | "GEOGRAPHY" | "GEOMETRY" | "VECTOR" => {
            let hint = "keep JSON as VARCHAR";
            return Err(DataFusionError::NotImplemented(format!(
                "type {} is not supported: {hint}",
                name.to_uppercase()
            )));
        }
        _ => return Ok(None),
    }))
}

fn decimal(precision: u64, scale: u64) -> Result<DataType> {
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=NUMBER_PRECISION), Ok(scale)) if scale as u8 <= precision => {
            Ok(DataType::Decimal128(precision, scale))
        }
        _ => {
            Err(DataFusionError::Plan(format!("type NUMBER({precision},{scale}) is not known: 38 digits are the most")))
        }
    }
}

fn unit(decimals: Option<u64>) -> Result<TimeUnit> {
    Ok(match decimals {
        Some(0) => TimeUnit::Second,
        Some(1..=3) => TimeUnit::Millisecond,
        Some(4..=6) => TimeUnit::Microsecond,
        None | Some(7..=9) => TimeUnit::Nanosecond,
        Some(more) => return Err(DataFusionError::Plan(format!("a time of {more} decimals is not supported"))),
    })
}

/// Numbers with a point are exact, whole numbers have at least 18 digits, `FLOAT` has 64 bits, and a `DECIMAL` of which nothing is said has 38 digits and no decimals.
pub fn as_snowflake_means(statement: &mut ParsedStatement) {
    let inner = match statement {
        ParsedStatement::Statement(inner) => inner.as_mut(),
        ParsedStatement::Explain(explain) => return as_snowflake_means(&mut explain.statement),
        _ => return,
    };
    match inner {
        Statement::CreateTable(create) => create.columns.iter_mut().for_each(|column| widen(&mut column.data_type)),
        Statement::AlterTable(alter) => alter.operations.iter_mut().for_each(|operation| match operation {
            AlterTableOperation::AddColumn { column_def, .. } => widen(&mut column_def.data_type),
            AlterTableOperation::AlterColumn { op: AlterColumnOperation::SetDataType { data_type, .. }, .. } => {
                widen(data_type);
            }
            _ => {}
        }),
        _ => {}
    }
    let _ = VisitMut::visit(inner, &mut Widen);
}

struct Widen;

impl VisitorMut for Widen {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Value(found) => {
                if let Value::Number(digits, false) = &found.value
                    && let Some(exact) = exact_number(digits)
                {
                    *expr = exact;
                }
            }
            Expr::Cast { data_type, .. } => widen(data_type),
            Expr::TypedString(typed) => widen(&mut typed.data_type),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// A number with a point, or of more digits than 64 bits hold, as a decimal. DataFusion would make it a floating-point number.
fn exact_number(digits: &str) -> Option<Expr> {
    if digits.contains(['e', 'E', '_']) || (!digits.contains('.') && digits.parse::<u64>().is_ok()) {
        return None;
    }
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let (whole, scale) = (whole.trim_start_matches('0').len(), decimals.len());
    let precision = (whole + scale).max(1);
    if precision > usize::from(NUMBER_PRECISION) {
        return None;
    }
    Some(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(Value::SingleQuotedString(digits.to_owned()).into())),
        data_type: SqlType::Decimal(ExactNumberInfo::PrecisionAndScale(precision as u64, scale as i64)),
        array: false,
        format: None,
    })
}

fn widen(sql_type: &mut SqlType) {
    *sql_type = match sql_type {
        SqlType::Float(ExactNumberInfo::None) | SqlType::Real | SqlType::Float4 | SqlType::Float8 => {
            SqlType::DoublePrecision
        }
        SqlType::TinyInt(None) | SqlType::SmallInt(None) | SqlType::Int(None) | SqlType::Integer(None) => {
            SqlType::BigInt(None)
        }
        SqlType::Custom(name, arguments)
            if arguments.is_empty() && name.to_string().eq_ignore_ascii_case("byteint") =>
        {
            SqlType::BigInt(None)
        }
        SqlType::Decimal(ExactNumberInfo::None) | SqlType::Numeric(ExactNumberInfo::None) => {
            SqlType::Decimal(ExactNumberInfo::PrecisionAndScale(NUMBER_PRECISION.into(), 0))
        }
        _ => return,
    };
}

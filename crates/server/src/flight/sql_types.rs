//! `GetXdbcTypeInfo`: the types that columns can be declared with.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{CommandGetXdbcTypeInfo, Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};
use frazil_common::Failure;

use super::catalog::failed;

pub fn schema() -> SchemaRef {
    XdbcTypeInfoDataBuilder::new().schema()
}

/// All of them, or those of one of ODBC's numbers.
pub fn rows(command: CommandGetXdbcTypeInfo) -> Result<RecordBatch, Failure> {
    let data = all().map_err(failed)?;
    data.record_batch(command.data_type).map_err(failed)
}

fn all() -> arrow_flight::error::Result<XdbcTypeInfoData> {
    use XdbcDataType as X;
    let mut types = XdbcTypeInfoDataBuilder::new();
    let texts = [("VARCHAR", X::XdbcVarchar), ("TEXT", X::XdbcLongvarchar), ("CHAR", X::XdbcChar)];
    for (name, data_type) in texts {
        types.append(XdbcTypeInfo {
            literal_prefix: Some("'".to_owned()),
            literal_suffix: Some("'".to_owned()),
            case_sensitive: true,
            searchable: Searchable::Full,
            ..of(name, data_type, Some(i32::MAX))
        });
    }
    types.append(of("BOOLEAN", X::XdbcBit, Some(1)));
    let whole = [
        ("TINYINT", X::XdbcTinyint, 3),
        ("SMALLINT", X::XdbcSmallint, 5),
        ("INTEGER", X::XdbcInteger, 10),
        ("BIGINT", X::XdbcBigint, 19),
    ];
    for (name, data_type, digits) in whole {
        types.append(XdbcTypeInfo {
            unsigned_attribute: Some(false),
            num_prec_radix: Some(10),
            minimum_scale: Some(0),
            maximum_scale: Some(0),
            ..of(name, data_type, Some(digits))
        });
    }
    for (name, data_type, bits) in [("REAL", X::XdbcReal, 24), ("DOUBLE", X::XdbcDouble, 53)] {
        let (unsigned_attribute, num_prec_radix) = (Some(false), Some(2));
        types.append(XdbcTypeInfo { unsigned_attribute, num_prec_radix, ..of(name, data_type, Some(bits)) });
    }
    types.append(XdbcTypeInfo {
        create_params: Some(vec!["precision".to_owned(), "scale".to_owned()]),
        unsigned_attribute: Some(false),
        num_prec_radix: Some(10),
        minimum_scale: Some(0),
        maximum_scale: Some(38),
        ..of("DECIMAL", X::XdbcDecimal, Some(38))
    });
    let times = [
        // One number with that of a date.
        ("DATE", X::XdbcDate, 10, XdbcDatetimeSubcode::XdbcSubcodeYear),
        ("TIME", X::XdbcTime, 18, XdbcDatetimeSubcode::XdbcSubcodeTime),
        ("TIMESTAMP", X::XdbcTimestamp, 29, XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
    ];
    for (name, data_type, characters, subcode) in times {
        types.append(XdbcTypeInfo {
            literal_prefix: Some(format!("{name} '")),
            literal_suffix: Some("'".to_owned()),
            sql_data_type: X::XdbcDatetime,
            datetime_subcode: Some(subcode),
            ..of(name, data_type, Some(characters))
        });
    }
    types.append(XdbcTypeInfo {
        literal_prefix: Some("X'".to_owned()),
        literal_suffix: Some("'".to_owned()),
        ..of("BYTEA", X::XdbcVarbinary, Some(i32::MAX))
    });
    types.build()
}

fn of(name: &str, data_type: XdbcDataType, column_size: Option<i32>) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        local_type_name: Some(name.to_owned()),
        data_type,
        sql_data_type: data_type,
        column_size,
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Basic,
        ..XdbcTypeInfo::default()
    }
}

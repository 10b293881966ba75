//! The columns of `events`.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    use DataType::{Boolean, Date32, Decimal128, Float64, Int32, Int64, Timestamp, Utf8};
    let required = |name: &str, data_type| Field::new(name, data_type, false);
    let nullable = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        required("event_id", Int64),
        required("event_time", Timestamp(TimeUnit::Microsecond, None)),
        required("event_date", Date32),
        required("user_id", Int64),
        required("session_id", Utf8),
        required("event_type", Utf8),
        required("page_url", Utf8),
        nullable("referrer", Utf8),
        required("user_agent", Utf8),
        nullable("country", Utf8),
        nullable("city", Utf8),
        required("device", Utf8),
        required("os", Utf8),
        required("browser", Utf8),
        required("screen_width", Int32),
        required("screen_height", Int32),
        nullable("duration_ms", Int64),
        nullable("scroll_depth", Float64),
        nullable("revenue", Decimal128(12, 2)),
        nullable("currency", Utf8),
        nullable("product_id", Int64),
        nullable("category", Utf8),
        nullable("quantity", Int32),
        nullable("discount", Float64),
        nullable("search_phrase", Utf8),
        nullable("campaign", Utf8),
        required("is_mobile", Boolean),
        nullable("is_logged_in", Boolean),
        nullable("experiment", Utf8),
        required("latency_us", Int64),
        nullable("error_code", Int32),
        nullable("tags", Utf8),
    ]))
});

/// The schema of `events`, as the Parquet files have it.
pub fn events_schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

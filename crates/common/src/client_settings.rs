//! Settings of a session or a statement that say how its client is answered, by their full names.

/// What a client calls the work that a statement is part of; shown in the history.
pub const QUERY_TAG: &str = "query_tag";
pub const QUERY_TAG_BYTES_MAX: usize = 2000;
pub const BINARY_OUTPUT_FORMAT: &str = "binary_output_format";
/// How dates, times and timestamps are written for a client that asks for text.
pub const OUTPUT_FORMATS: [&str; 6] = [
    "date_output_format",
    "time_output_format",
    "timestamp_output_format",
    "timestamp_ntz_output_format",
    "timestamp_ltz_output_format",
    "timestamp_tz_output_format",
];
pub const TIME_ZONE: &str = "datafusion.execution.time_zone";

/// Whether a setting says how a client is answered. The zone says both that and what is computed.
pub fn is_client_setting(key: &str) -> bool {
    key == QUERY_TAG || key == BINARY_OUTPUT_FORMAT || key == TIME_ZONE || OUTPUT_FORMATS.contains(&key)
}

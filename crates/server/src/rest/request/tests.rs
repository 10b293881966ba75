use super::*;

fn parsed(body: &str) -> Result<StatementRequest, Failure> {
    statement_request(body.as_bytes(), Delivery::Spooled, None)
}

fn check_refused(body: &str, code: ErrorCode, parts: &[&str]) {
    let failure = parsed(body).unwrap_err();
    assert_eq!(failure.code, code, "{body}: {failure}");
    for part in parts {
        assert!(failure.message.contains(part), "{body}: {failure} does not say {part:?}");
    }
}

#[test]
fn every_field_reaches_the_request() {
    let id = Uuid::from_u128(7);
    let body = r#"{"statement": "SELECT '🦀\u0000'", "timeout": 12, "database": "d", "schema": "s", "warehouse": "w",
        "role": "r", "bindings": {}, "parameters": {"query_tag": "t", "rows": 5, "on": true}}"#;
    let request = statement_request(body.as_bytes(), Delivery::Streamed, Some(id)).unwrap();
    assert_eq!(request.sql, "SELECT '🦀\0'");
    assert_eq!(request.delivery, Delivery::Streamed);
    assert_eq!(request.time_limit, Some(Duration::from_secs(12)));
    assert_eq!((request.database.as_deref(), request.schema.as_deref()), (Some("d"), Some("s")));
    assert_eq!(request.request_id, Some(id));
    let mut settings = request.settings;
    settings.sort();
    let expected = [("on", "true"), ("query_tag", "t"), ("rows", "5")];
    assert_eq!(settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn what_is_left_out_or_null_is_the_default() {
    let request = parsed(r#"{"statement": "SELECT 1", "timeout": null, "bindings": null}"#).unwrap();
    assert_eq!((request.time_limit, request.database, request.settings), (None, None, Vec::new()));
    let unlimited = parsed(r#"{"statement": "SELECT 1", "timeout": 0}"#).unwrap();
    assert_eq!(unlimited.time_limit, Some(Duration::from_secs(604_800)));
}

#[test]
fn unknown_and_wrong_fields_are_refused_by_name() {
    use ErrorCode::{InvalidArgument, NotSupported};
    check_refused(r#"{"statement": "SELECT 1", "warhouse": "w"}"#, InvalidArgument, &["warhouse", "warehouse"]);
    check_refused(r#"{"statement": "A", "statement": "B"}"#, InvalidArgument, &["duplicate", "statement"]);
    check_refused("{}", InvalidArgument, &["\"statement\" is missing"]);
    check_refused(r#"{"statement": 5}"#, InvalidArgument, &["\"statement\""]);
    check_refused(r#"{"statement": "S", "role": []}"#, InvalidArgument, &["\"role\""]);
    for timeout in ["-1", "1.5", "604801", "\"5\""] {
        check_refused(&format!(r#"{{"statement": "S", "timeout": {timeout}}}"#), InvalidArgument, &["\"timeout\""]);
    }
    check_refused(
        r#"{"statement": "S", "bindings": {"1": {"type": "GEOGRAPHY", "value": "1"}}}"#,
        NotSupported,
        &["GEOGRAPHY"],
    );
    check_refused(r#"{"statement": "S", "bindings": {"1": {"value": "1"}}}"#, InvalidArgument, &["binding \"1\""]);
    check_refused(r#"{"statement": "S", "bindings": {"2": {"type": "TEXT", "value": "1"}}}"#, InvalidArgument, &["1"]);
    check_refused(r#"{"statement": "S", "parameters": {"date_output_format": "QQ"}}"#, InvalidArgument, &["QQ"]);
    check_refused(r#"{"statement": "S", "parameters": {"a": {}}}"#, InvalidArgument, &["\"a\""]);
}

#[test]
fn malformed_json_is_refused_with_its_position() {
    use ErrorCode::InvalidArgument;
    check_refused("{\"statement\":\n  nope}", InvalidArgument, &["not json", "line 2 column 4"]);
    check_refused(r#"{"statement": "SELECT 1"#, InvalidArgument, &["not json", "line 1"]);
    check_refused(r#"["SELECT 1"]"#, InvalidArgument, &["refused"]);
    check_refused("", InvalidArgument, &["not json"]);
    let deep = format!(r#"{{"statement": "S", "parameters": {}"#, "[".repeat(100_000));
    check_refused(&deep, InvalidArgument, &["recursion limit"]);
    let bad_utf8 = statement_request(b"{\"statement\": \"\xff\"}", Delivery::Spooled, None).unwrap_err();
    assert_eq!(bad_utf8.code, InvalidArgument);
}

#[test]
fn query_strings_are_checked_by_name() {
    let parse = |text: &str| query::<SubmitQuery>(&text.parse().unwrap());
    let known = parse("/s?requestId=00000000-0000-0000-0000-000000000007&async=true&nullable=false").ok().unwrap();
    assert_eq!((known.request_id, known.asynchronous, known.nullable), (Some(Uuid::from_u128(7)), true, Some(false)));
    assert!(parse("/s").is_ok());
    for wrong in ["/s?asinc=true", "/s?async=maybe", "/s?requestId=7"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(name, value.parse().unwrap())])
}

#[test]
fn only_json_in_utf8_is_taken() {
    for good in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
        assert!(check_content(&headers(header::CONTENT_TYPE, good)).is_ok(), "{good}");
    }
    for bad in ["text/plain", "application/json; charset=latin1", "application/jsonp", ""] {
        assert!(check_content(&headers(header::CONTENT_TYPE, bad)).is_err(), "{bad}");
    }
    assert!(check_content(&HeaderMap::new()).is_err());
    let mut zipped = headers(header::CONTENT_TYPE, "application/json");
    zipped.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    assert!(check_content(&zipped).is_err());
}

#[test]
fn arrow_is_asked_for_by_its_media_type() {
    assert!(accepts_arrow(&headers(header::ACCEPT, "application/vnd.apache.arrow.stream")));
    assert!(accepts_arrow(&headers(header::ACCEPT, "text/html, Application/vnd.apache.arrow.stream;q=0.9")));
    assert!(!accepts_arrow(&headers(header::ACCEPT, "application/json, */*")));
    assert!(!accepts_arrow(&HeaderMap::new()));
}

fn read(body: Body, headers: &HeaderMap, options: &RestOptions) -> Result<Bytes, StatusCode> {
    use axum::response::IntoResponse;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(read_body(body, headers, options)).map_err(|refused| refused.into_response().status())
}

#[test]
fn bodies_are_bounded_in_size_and_time() {
    let options = RestOptions {
        body_bytes_max: frazil_common::ByteSize(10),
        body_read_limit: Duration::from_millis(20),
        ..RestOptions::default()
    };
    let pieces = |texts: &[&'static str]| {
        let pieces: Vec<Result<Bytes, std::io::Error>> =
            texts.iter().map(|text| Ok(Bytes::from_static(text.as_bytes()))).collect();
        Body::from_stream(futures::stream::iter(pieces))
    };
    let none = HeaderMap::new();
    assert_eq!(read(Body::from("0123456789"), &none, &options), Ok(Bytes::from_static(b"0123456789")));
    assert_eq!(read(pieces(&["01234", "", "567", "89"]), &none, &options), Ok(Bytes::from_static(b"0123456789")));
    assert_eq!(read(pieces(&["01234", "567890"]), &none, &options), Err(StatusCode::PAYLOAD_TOO_LARGE));
    let announced = headers(header::CONTENT_LENGTH, "1000000000");
    assert_eq!(read(Body::empty(), &announced, &options), Err(StatusCode::PAYLOAD_TOO_LARGE));
    let stalled = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    assert_eq!(read(stalled, &none, &options), Err(StatusCode::REQUEST_TIMEOUT));
}

#[test]
fn a_text_holds_as_many_statements_as_its_client_says() {
    let parts = |count: &str, sql: &str| {
        let body = serde_json::json!({ "statement": sql, "parameters": { "MULTI_STATEMENT_COUNT": count } });
        parsed(&body.to_string()).map(|request| request.parts)
    };
    assert_eq!(parts("0", "select 1; select ';' ; -- none\n").unwrap(), ["select 1", "select ';'"]);
    assert_eq!(parts("2", "a;b;").unwrap(), ["a", "b"]);
    assert!(parts("1", "select 1;").unwrap().is_empty());
    assert_eq!(parts("1", "a;b").unwrap_err().code, ErrorCode::InvalidStatement);
    assert_eq!(parts("3", "a;b").unwrap_err().code, ErrorCode::InvalidStatement);
    assert_eq!(parts("many", "a").unwrap_err().code, ErrorCode::InvalidArgument);
    assert_eq!(parts("0", &"a;".repeat(101)).unwrap_err().code, ErrorCode::TooComplex);
}

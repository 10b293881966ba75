//! Answers that are gzip-compressed: partitions of a result behind the first.

use std::io::Write as _;

use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use frazil_common::Failure;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::answer::json_bytes;

/// Whether an answer may be compressed. A client that does not say takes it, as those of Snowflake do.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT_ENCODING).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    let codings = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut any = None;
    for coding in codings {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|part| {
            part.strip_prefix("q=")
                .and_then(|weight| weight.trim().parse::<f32>().ok())
                .is_some_and(|weight| weight == 0.0)
        });
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return !refused,
            "*" => any = Some(!refused),
            _ => {}
        }
    }
    any.unwrap_or(false)
}

/// A JSON answer, compressed.
pub fn gzipped(body: &[u8]) -> Result<Response, Failure> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    let compressed = encoder.write_all(body).and_then(|()| encoder.finish());
    let compressed = compressed.map_err(|error| Failure::internal(format!("compressing an answer: {error}")))?;
    let mut response = json_bytes(StatusCode::OK, compressed);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_whether_it_takes_gzip() {
        for (accepted, wanted) in [
            (None, true),
            (Some("gzip, deflate, br"), true),
            (Some("identity"), false),
            (Some("br;q=1.0, *;q=0.5"), true),
            (Some("*;q=0"), false),
            (Some("gzip;q=0, *"), false),
            (Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accepted) = accepted {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            }
            assert_eq!(accepts_gzip(&headers), wanted, "{accepted:?}");
        }
    }
}

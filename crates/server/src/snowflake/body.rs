//! Bodies of requests: JSON, mostly packed, and bounded either way.

use std::io::Read;

use axum::body::Body;
use bytes::Bytes;
use flate2::read::GzDecoder;
use frazil_common::{ByteSize, ErrorCode, Failure};
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::Door;
use super::envelope::Refused;
use crate::RestOptions;
use crate::rest::read_body;

/// Of requests that carry no statement.
pub const SMALL: ByteSize = ByteSize::mib(1);
/// Of statements with their values, unpacked.
pub const LARGE: ByteSize = ByteSize::mib(128);

/// The body as it was before it was packed. A large one waits for others to be read.
pub async fn read<T: DeserializeOwned + Send + 'static>(
    door: &Door,
    headers: &HeaderMap,
    body: Body,
    most: ByteSize,
) -> Result<T, Refused> {
    let options = RestOptions { body_bytes_max: most, ..door.options.clone() };
    let packed = headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes().to_ascii_lowercase());
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let small = announced.is_some_and(|length| length <= SMALL.0) && packed.is_none();
    // What is packed may be small and become large.
    let _turn = match small || most.0 <= SMALL.0 {
        true => None,
        false => door.large_bodies.acquire().await.ok(),
    };
    let bytes = read_body(body, headers, &options).await.map_err(|refused| Refused::from(refused.into_failure()))?;
    match packed.as_deref() {
        None | Some(b"identity") => parse(&bytes).map_err(Refused::from),
        Some(b"gzip") => {
            let work = move || unpacked(&bytes, most).and_then(|bytes| parse(&bytes));
            let parsed = tokio::task::spawn_blocking(work).await;
            parsed
                .unwrap_or_else(|_| Err(Failure::internal("panic while a request was unpacked")))
                .map_err(Refused::from)
        }
        Some(other) => {
            let encoding = String::from_utf8_lossy(other).into_owned();
            Err(invalid(format!("content encoding {encoding:?} is not supported")).into())
        }
    }
}

fn unpacked(bytes: &Bytes, most: ByteSize) -> Result<Vec<u8>, Failure> {
    let mut plain = Vec::new();
    let mut decoder = GzDecoder::new(bytes.as_ref()).take(most.0 + 1);
    decoder.read_to_end(&mut plain).map_err(|error| invalid(format!("request body cannot be unpacked: {error}")))?;
    match plain.len() as u64 > most.0 {
        true => Err(invalid(format!("request body is over the limit of {most}"))),
        false => Ok(plain),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| invalid(format!("request body is refused: {error}")))
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, message)
}

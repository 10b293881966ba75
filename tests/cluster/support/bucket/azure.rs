//! Azure's Blob service: blobs whole or as lists of blocks, lists, and batches of deletions.

use std::fmt::Write;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;

use super::{Contents, Object, Parameters, percent_decoded, refusal, response, tag, xml};

pub(super) fn answer(contents: &mut Contents, parts: &Parts, key: &str, query: &Parameters, body: Bytes) -> Response {
    let of = |name: &str| query.get(name).map_or("", String::as_str);
    match (&parts.method, key, of("comp")) {
        (&Method::GET, "", "list") => list(contents, query),
        (&Method::POST, "", "batch") => delete_batch(contents, &body),
        (_, "", _) => refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        (&Method::PUT, key, "block") => {
            // Blocks belong to the blob's name until a list names them.
            let upload = contents.uploads.iter().find(|(_, upload)| upload.key == key).map(|(id, _)| id.clone());
            let upload = upload.unwrap_or_else(|| contents.begin_upload(key));
            let parts = contents.uploads.get_mut(&upload).map(|upload| &mut upload.parts);
            parts.expect("it was just found").insert(of("blockid").to_owned(), body);
            created(None)
        }
        (&Method::PUT, key, "blocklist") => put_block_list(contents, key, &body),
        (&Method::PUT, key, _) if parts.headers.contains_key("x-ms-copy-source") => {
            let from = parts.headers.get("x-ms-copy-source").and_then(|from| from.to_str().ok()).unwrap_or_default();
            // `http://host/container/key`.
            let from = percent_decoded(from).splitn(5, '/').nth(4).unwrap_or_default().to_owned();
            let if_absent = parts.headers.contains_key(header::IF_NONE_MATCH);
            match contents.copy(&from, key, if_absent) {
                Ok(tag) => created(Some(&tag)),
                Err(status) => refusal(status, "BlobAlreadyExists"),
            }
        }
        (&Method::PUT, key, _) => {
            contents.seen.puts += 1;
            let object = Object::new(body);
            let tag = object.tag();
            contents.objects.insert(key.to_owned(), object);
            created(Some(&tag))
        }
        (&Method::GET | &Method::HEAD, key, _) => contents.read(&parts.method, key, &parts.headers),
        _ => refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
    }
}

fn created(tag: Option<&str>) -> Response {
    let answer = response(StatusCode::CREATED).header(header::ETAG, tag.unwrap_or("\"none\""));
    answer.body(Body::empty()).expect("valid headers")
}

fn put_block_list(contents: &mut Contents, key: &str, body: &Bytes) -> Response {
    let text = String::from_utf8_lossy(body);
    let named = text.split("<Uncommitted>").skip(1).filter_map(|rest| rest.split("</Uncommitted>").next());
    let id = contents.uploads.iter().find(|(_, upload)| upload.key == key).map(|(id, _)| id.clone());
    let blocks = id.and_then(|id| contents.uploads.remove(&id)).map(|upload| upload.parts).unwrap_or_default();
    let mut whole = Vec::new();
    for name in named {
        match blocks.get(name) {
            Some(block) => whole.extend_from_slice(block),
            None => return refusal(StatusCode::BAD_REQUEST, "InvalidBlockList"),
        }
    }
    let whole = Bytes::from(whole);
    let tag = tag(&whole);
    contents.seen.uploads_completed += 1;
    contents.objects.insert(key.to_owned(), Object::new(whole));
    created(Some(&tag))
}

fn list(contents: &mut Contents, query: &Parameters) -> Response {
    let of = |name: &str| query.get(name).map_or("", String::as_str);
    let page = contents.page(of("prefix"), of("delimiter"), of("marker"));
    let mut text = String::new();
    for (key, object) in page.objects {
        // Here without quotes.
        let tag = object.tag().replace('"', "");
        let (size, changed) = (object.bytes.len(), object.modified_http());
        let _ = write!(
            text,
            "<Blob><Name>{key}</Name><Properties><Last-Modified>{changed}</Last-Modified><Etag>{tag}</Etag>\
             <Content-Length>{size}</Content-Length><Content-Type>application/octet-stream</Content-Type></Properties></Blob>"
        );
    }
    for folder in page.folders {
        let _ = write!(text, "<BlobPrefix><Name>{folder}</Name></BlobPrefix>");
    }
    let next = page.next.unwrap_or_default();
    xml(format!("<EnumerationResults><Blobs>{text}</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"))
}

/// A part for each `DELETE /container/key HTTP/1.1`.
fn delete_batch(contents: &mut Contents, body: &Bytes) -> Response {
    const BOUNDARY: &str = "batchresponse_of_the_tests";
    let text = String::from_utf8_lossy(body);
    let mut answer = String::new();
    let paths = text.lines().filter_map(|line| line.strip_prefix("DELETE /")?.strip_suffix(" HTTP/1.1"));
    for (index, path) in paths.enumerate() {
        let path = percent_decoded(path);
        let key = path.split_once('/').map_or("", |(_, key)| key);
        contents.seen.deleted += 1;
        let status = if contents.objects.remove(key).is_some() { "202 Accepted" } else { "404 Not Found" };
        let _ = write!(
            answer,
            "--{BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: {index}\r\n\r\nHTTP/1.1 {status}\r\n\
             x-ms-version: 2023-11-03\r\n\r\n"
        );
    }
    let _ = write!(answer, "--{BOUNDARY}--\r\n");
    let kind = format!("multipart/mixed; boundary={BOUNDARY}");
    let answer = response(StatusCode::ACCEPTED).header(header::CONTENT_TYPE, kind).body(answer.into());
    answer.expect("valid headers")
}

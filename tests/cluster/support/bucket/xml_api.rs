//! S3's API, and Google's XML API, which is the same where it matters: `object_store` deletes there one object at a time, and writes
//! slashes of keys as `%2F`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;

use super::{Contents, Object, Parameters, percent_decoded, refusal, response, tag, xml};

pub(super) fn answer(contents: &mut Contents, parts: &Parts, key: &str, query: &Parameters, body: Bytes) -> Response {
    match key {
        "" => of_bucket(contents, &parts.method, query, &body),
        key => of_object(contents, parts, key, query, body),
    }
}

fn of_bucket(contents: &mut Contents, method: &Method, query: &Parameters, body: &Bytes) -> Response {
    let of = |name: &str| query.get(name).map_or("", String::as_str);
    if method == Method::GET && of("list-type") == "2" {
        return list(contents, query);
    }
    if method == Method::GET && query.contains_key("uploads") {
        return list_uploads(contents, of("prefix"), of("key-marker"), of("upload-id-marker"));
    }
    if method == Method::POST && query.contains_key("delete") {
        let text = String::from_utf8_lossy(body);
        let mut deleted = String::new();
        for key in text.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()) {
            contents.objects.remove(key);
            contents.seen.deleted += 1;
            let _ = write!(deleted, "<Deleted><Key>{key}</Key></Deleted>");
        }
        return xml(format!("<DeleteResult>{deleted}</DeleteResult>"));
    }
    refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented")
}

fn list(contents: &mut Contents, query: &Parameters) -> Response {
    let of = |name: &str| query.get(name).map_or("", String::as_str);
    let page = contents.page(of("prefix"), of("delimiter"), of("continuation-token").max(of("start-after")));
    let mut text = String::new();
    for (key, object) in page.objects {
        let (size, changed, tag) = (object.bytes.len(), rfc3339(object.modified), object.tag());
        let _ = write!(
            text,
            "<Contents><Key>{key}</Key><LastModified>{changed}</LastModified><ETag>{tag}</ETag><Size>{size}</Size>\
             </Contents>"
        );
    }
    for folder in page.folders {
        let _ = write!(text, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
    }
    if let Some(next) = page.next {
        let _ = write!(text, "<NextContinuationToken>{next}</NextContinuationToken>");
    }
    xml(format!("<ListBucketResult>{text}</ListBucketResult>"))
}

/// Two in a page.
fn list_uploads(contents: &mut Contents, prefix: &str, after_key: &str, after_id: &str) -> Response {
    const PAGE_UPLOADS: usize = 2;
    let uploads: BTreeMap<_, _> = contents.uploads.iter().map(|(id, upload)| ((&upload.key, id), upload)).collect();
    let is_next =
        |(key, id): (&String, &String)| key.starts_with(prefix) && (key.as_str(), id.as_str()) > (after_key, after_id);
    let mut all = uploads.into_iter().filter(|((key, id), _)| is_next((key, id)));
    let mut text = String::new();
    for ((key, id), upload) in all.by_ref().take(PAGE_UPLOADS) {
        let begun = rfc3339(upload.begun);
        let _ = write!(
            text,
            "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{begun}</Initiated></Upload>\
             <NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>"
        );
    }
    // Only the last of the markers counts.
    let cut = |text: &mut String, name: &str| {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        while text.matches(&open).count() > 1 {
            let (from, to) = (text.find(&open).unwrap_or(0), text.find(&close).unwrap_or(0) + close.len());
            text.replace_range(from..to, "");
        }
    };
    cut(&mut text, "NextKeyMarker");
    cut(&mut text, "NextUploadIdMarker");
    let more = all.next().is_some();
    xml(format!("<ListMultipartUploadsResult><IsTruncated>{more}</IsTruncated>{text}</ListMultipartUploadsResult>"))
}

fn of_object(contents: &mut Contents, parts: &Parts, key: &str, query: &Parameters, body: Bytes) -> Response {
    let upload = query.get("uploadId");
    match parts.method {
        Method::PUT if upload.is_none() && is_copy(parts) => {
            let if_absent = parts.headers.contains_key("x-goog-if-generation-match");
            let from = ["x-amz-copy-source", "x-goog-copy-source"].iter().find_map(|name| parts.headers.get(*name));
            let from = from.and_then(|from| from.to_str().ok()).map(percent_decoded).unwrap_or_default();
            let from = from.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key).to_owned();
            match contents.copy(&from, key, if_absent) {
                Ok(tag) => xml(format!("<CopyObjectResult><ETag>{tag}</ETag></CopyObjectResult>")),
                Err(StatusCode::CONFLICT) => refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
                Err(status) => refusal(status, "NoSuchKey"),
            }
        }
        Method::PUT => {
            let tag = tag(&body);
            match upload {
                None => {
                    contents.seen.puts += 1;
                    contents.objects.insert(key.to_owned(), Object::new(body));
                }
                Some(upload) => {
                    let number = query.get("partNumber").and_then(|number| number.parse::<u32>().ok());
                    let (Some(upload), Some(number)) = (contents.uploads.get_mut(upload), number) else {
                        return refusal(StatusCode::NOT_FOUND, "NoSuchUpload");
                    };
                    upload.parts.insert(format!("{number:05}"), body);
                }
            }
            response(StatusCode::OK).header(header::ETAG, tag).body(Body::empty()).expect("valid headers")
        }
        Method::POST if query.contains_key("uploads") => {
            let id = contents.begin_upload(key);
            xml(format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"))
        }
        Method::POST => {
            let Some(upload) = upload.and_then(|upload| contents.uploads.remove(upload)) else {
                return refusal(StatusCode::NOT_FOUND, "NoSuchUpload");
            };
            // All parts that the client names must be there, and no others.
            let named = String::from_utf8_lossy(&body).matches("<PartNumber>").count();
            if upload.parts.keys().cloned().ne((1..=named).map(|number| format!("{number:05}"))) {
                return refusal(StatusCode::BAD_REQUEST, "InvalidPart");
            }
            let whole: Bytes = upload.parts.into_values().collect::<Vec<_>>().concat().into();
            let tag = tag(&whole);
            contents.seen.uploads_completed += 1;
            contents.objects.insert(key.to_owned(), Object::new(whole));
            xml(format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"))
        }
        Method::DELETE => {
            let was_there = match upload {
                Some(upload) => {
                    contents.seen.uploads_aborted += 1;
                    contents.uploads.remove(upload).is_some()
                }
                None => {
                    contents.seen.deleted += 1;
                    contents.objects.remove(key).is_some()
                }
            };
            match was_there {
                true => response(StatusCode::NO_CONTENT).body(Body::empty()).expect("valid headers"),
                false => refusal(StatusCode::NOT_FOUND, "NoSuchKey"),
            }
        }
        Method::GET | Method::HEAD => contents.read(&parts.method, key, &parts.headers),
        _ => refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
    }
}

fn is_copy(parts: &Parts) -> bool {
    parts.headers.contains_key("x-amz-copy-source") || parts.headers.contains_key("x-goog-copy-source")
}

/// With parts of a second, which a header does not have: `1994-11-06T08:49:37.123Z`, of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn rfc3339(time: SystemTime) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = httpdate::fmt_http_date(time);
    let parts: Vec<&str> = text.split(' ').collect();
    let month = MONTHS.iter().position(|month| *month == parts[2]).expect("a month") + 1;
    format!("{}-{month:02}-{}T{}.123Z", parts[3], parts[1], parts[4])
}

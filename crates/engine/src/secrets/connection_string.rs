//! Azure's connection strings: `AccountName=…;AccountKey=…;…`, as its portal shows them.

use std::collections::BTreeMap;

use frazil_common::Failure;

use super::check::invalid;

const SUFFIX: &str = "core.windows.net";

/// Puts the parts of `connection_string` in its place.
pub(super) fn expand(options: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    let Some(text) = options.remove("connection_string") else { return Ok(()) };
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let wrong = |why: &str| Err(invalid(format!("CONNECTION_STRING of a secret {why}")));
        let Some((name, value)) = part.split_once('=') else {
            return wrong("is not like AccountName=…;AccountKey=…");
        };
        let key = match name.to_ascii_lowercase().as_str() {
            "accountname" => "account_name",
            "accountkey" => "account_key",
            "sharedaccesssignature" => "sas_token",
            "blobendpoint" => "endpoint",
            "defaultendpointsprotocol" if value.eq_ignore_ascii_case("https") => continue,
            "defaultendpointsprotocol" => return wrong("says DefaultEndpointsProtocol, which is https"),
            "endpointsuffix" if value.eq_ignore_ascii_case(SUFFIX) => continue,
            "endpointsuffix" => return wrong("says EndpointSuffix, which is core.windows.net: give BlobEndpoint"),
            // Of other services.
            "queueendpoint" | "tableendpoint" | "fileendpoint" => continue,
            _ => return wrong("has a part that is not known"),
        };
        if options.insert(key.to_owned(), value.to_owned()).is_some() {
            return wrong(&format!("says {} again", key.to_uppercase()));
        }
    }
    Ok(())
}

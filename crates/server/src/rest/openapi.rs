//! The description of this API for programs: OpenAPI 3.1.

use axum::response::Response;
use http::StatusCode;

use super::answer::json_bytes;

/// Written by hand: what it says is checked against the answers by the tests.
const DOCUMENT: &str = include_str!("openapi.json");

pub async fn document() -> Response {
    json_bytes(
        StatusCode::OK,
        DOCUMENT.replacen("\"VERSION\"", concat!("\"", env!("CARGO_PKG_VERSION"), "\""), 1).into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let source = include_str!("../rest.rs");
        let routes: Vec<&str> = source.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(routes.len() > 10);
        for route in &routes {
            assert!(paths.contains_key(*route), "{route} is not described");
        }
        for path in paths.keys() {
            assert!(routes.contains(&path.as_str()), "{path} is no route");
        }
    }
}

//! The description of the API is true of the router: as many paths, as many methods.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Request, header},
};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::*;
use crate::server::{access::Role, events};

#[test]
fn the_shipped_description_is_what_the_types_say() {
    let told = serde_json::to_string_pretty(&openapi::document()).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(path, &told).unwrap();
    }
    let shipped = std::fs::read_to_string(path).unwrap();
    assert!(shipped == told, "run it again with UPDATE_OPENAPI=1, and commit openapi.json");
}

#[tokio::test]
async fn every_route_is_described_and_every_description_has_its_route() {
    let described = |path: &str| -> BTreeSet<String> {
        let rows = openapi::OPERATIONS.iter().filter(|row| row.path == path);
        rows.map(|row| row.method.to_uppercase()).collect()
    };
    let routed: BTreeSet<&str> = PATHS.iter().map(|Path(path, _)| *path).collect();
    assert_eq!(routed, openapi::OPERATIONS.iter().map(|row| row.path).collect());
    let (feed, ..) = events::feed();
    let deliver = Deliver(Arc::new(drop));
    let service =
        TowerToHyperService::new(router(Api { deliver, feed, body_bytes: 0, counts: Arc::default() }));
    for path in routed {
        let request = Request::builder().method("BREW").uri(path.replace(['{', '}'], "1"));
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Client { caller: Default::default(), role: Role::ReadWrite });
        let answer = service.call(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = answer.headers()[header::ALLOW].to_str().unwrap().split(',');
        let allowed: BTreeSet<String> = allowed.filter(|name| *name != "HEAD").map(Into::into).collect();
        assert_eq!(allowed, described(path), "{path}");
    }
}

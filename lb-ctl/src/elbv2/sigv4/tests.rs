//! Requests that botocore 1.44.5 signed at 2026-11-23T10:43:09Z, and what becomes of them when something is changed.

use std::time::UNIX_EPOCH;

use http::Request;

use super::*;
use crate::config::Secret;

/// A request as its signer made it.
struct Signed {
    request: http::request::Builder,
    body: &'static str,
}

const POST_SIGNATURE: &str = "5eb15faf46262f273e6e55d68c33eac9dfb2200e753df013eb282e83314eb658";

fn request(method: &str, uri: &str, headers: &str, signature: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "127.0.0.1:9180")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .header("x-amz-date", "20261123T104309Z")
        .header("authorization", authorization("20261123/local/elasticloadbalancing", headers, signature))
}

fn authorization(scope: &str, headers: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}/aws4_request, SignedHeaders={headers}, Signature={signature}"
    )
}

fn post() -> Signed {
    let request = request("POST", "/", "content-type;host;x-amz-date", POST_SIGNATURE);
    Signed { request, body: "Action=DescribeTags&Version=2015-12-01" }
}

/// The code of the refusal at a time, in seconds since the request was signed.
fn refusal_after(signed: Signed, seconds: i64) -> Option<String> {
    let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into());
    let key = AccessKey { id: "AKIDEXAMPLE".into(), secret, is_read_only: false };
    let now = UNIX_EPOCH + Duration::from_secs((1_795_430_589 + seconds) as u64);
    let (head, ()) = signed.request.body(()).unwrap().into_parts();
    verify(&head, signed.body.as_bytes(), "local", &[key], now).err().map(|fault| fault.code.into_owned())
}

fn refusal(signed: Signed) -> Option<String> {
    refusal_after(signed, 0)
}

#[test]
fn what_botocore_signed_is_accepted() {
    assert_eq!(refusal(post()), None);
    let query = request(
        "GET",
        "/?Version=2015-12-01&Action=DescribeTags&X=a%20b%2Fc~",
        "content-type;host;x-amz-date",
        "a9304e9b5772fb59f6789a6f17c0b0314ded826c12581d1b6b8db42f26ed67cb",
    );
    assert_eq!(refusal(Signed { request: query, body: "" }), None);
    let odd = request(
        "POST",
        "/",
        "content-type;host;x-amz-date;x-amz-security-token;x-spaces",
        "b580f41154d994a24198bfc321a350c8829e031bb07be40a38b4166b1377ecdd",
    )
    .header("x-spaces", "  a   b ")
    .header("x-amz-security-token", "se/ss+ion=");
    assert_eq!(refusal(Signed { request: odd, body: "Action=X" }), None);
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    let other_body = Signed { body: "Action=DeleteTags&Version=2015-12-01", ..post() };
    assert_eq!(refusal(other_body).as_deref(), Some("SignatureDoesNotMatch"));
    let other_signature =
        request("POST", "/", "content-type;host;x-amz-date", &POST_SIGNATURE.replace('5', "6"));
    let twice = post().request.header("content-type", "text/plain");
    let host_unsigned = request("POST", "/", "content-type;x-amz-date", POST_SIGNATURE);
    let absent = request("POST", "/", "content-type;host;x-absent;x-amz-date", POST_SIGNATURE);
    let no_hex = request("POST", "/", "content-type;host;x-amz-date", "5eb1");
    for request in [other_signature, twice, host_unsigned, absent, no_hex] {
        assert_eq!(refusal(Signed { request, ..post() }).as_deref(), Some("SignatureDoesNotMatch"));
    }
}

#[test]
fn signatures_hold_for_five_minutes_either_way() {
    for (seconds, refused) in [(300, false), (301, true), (-300, false), (-301, true)] {
        let expected = refused.then_some("SignatureDoesNotMatch");
        assert_eq!(refusal_after(post(), seconds).as_deref(), expected, "{seconds}");
    }
}

#[test]
fn who_signs_for_what_must_be_said_in_full() {
    let with = |header: &str| {
        let bare = Request::builder().method("POST").uri("/").header("host", "127.0.0.1:9180");
        let request = bare.header("x-amz-date", "20261123T104309Z").header("authorization", header);
        refusal(Signed { request, ..post() })
    };
    let headers = "host;x-amz-date";
    for (header, code) in [
        ("Basic dTpw".to_owned(), "IncompleteSignature"),
        ("AWS4-HMAC-SHA256".to_owned(), "IncompleteSignature"),
        (
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00".to_owned(),
            "IncompleteSignature",
        ),
        (authorization("20261123/local/s3", headers, POST_SIGNATURE), "IncompleteSignature"),
        (
            authorization("20261123/other/elasticloadbalancing", headers, POST_SIGNATURE),
            "SignatureDoesNotMatch",
        ),
        (
            authorization("20261122/local/elasticloadbalancing", headers, POST_SIGNATURE),
            "SignatureDoesNotMatch",
        ),
        (
            authorization("20261123/local/elasticloadbalancing", headers, POST_SIGNATURE)
                .replace("AKIDEXAMPLE", "AKIDOTHER"),
            "InvalidClientTokenId",
        ),
    ] {
        assert_eq!(with(&header).as_deref(), Some(code), "{header}");
    }
    let unsigned = Request::builder().method("POST").uri("/").header("host", "127.0.0.1:9180");
    assert_eq!(
        refusal(Signed { request: unsigned, ..post() }).as_deref(),
        Some("MissingAuthenticationToken")
    );
    let undated = Request::builder().header("host", "127.0.0.1:9180").header(
        "authorization",
        authorization("20261123/local/elasticloadbalancing", headers, POST_SIGNATURE),
    );
    assert_eq!(refusal(Signed { request: undated, ..post() }).as_deref(), Some("IncompleteSignature"));
}

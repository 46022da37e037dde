//! Checks signatures: AWS Signature Version 4 in the `Authorization` header ("Create a signed AWS API request").
//!
//! The body is hashed here, whatever `x-amz-content-sha256` says of it. Signatures are compared in constant time.

use std::{borrow::Cow, time::Duration, time::SystemTime};

use http::{HeaderMap, request::Parts};
use ring::{digest, hmac};

use super::fault::Fault;
use crate::{config::AccessKey, hex, timestamp::rfc3339};

/// The key that a request is signed by. Its path must be `/`, which is all that this API has.
///
/// # Errors
/// What the API answers to a request without a signature, by an unknown key, or whose signature is wrong, old or from the future.
pub(super) fn verify<'k>(
    head: &Parts,
    body: &[u8],
    region: &str,
    keys: &'k [AccessKey],
    now: SystemTime,
) -> Result<&'k AccessKey, Fault> {
    let header = header(&head.headers, "authorization")?
        .ok_or_else(|| Fault::new("MissingAuthenticationToken", "Request is missing Authentication Token"))?;
    let signed = Authorization::parse(&header)?;
    let time = header_of_time(&head.headers)?;
    signed.check_scope(&time, region)?;
    check_time(&time, now)?;
    let key = keys.iter().find(|key| key.id == signed.key_id).ok_or_else(|| {
        Fault::new("InvalidClientTokenId", "The security token included in the request is invalid.")
    })?;
    let request = canonical_request(head, &signed, body)?;
    let to_sign = format!("{ALGORITHM}\n{time}\n{}\n{}", signed.scope(), sha256(request.as_bytes()));
    let signature = hex::bytes::<32>(signed.signature).ok_or_else(mismatch)?;
    hmac::verify(&signing_key(key, &signed), to_sign.as_bytes(), &signature).map_err(|_| mismatch())?;
    Ok(key)
}

/// The header's parts: `AWS4-HMAC-SHA256 Credential=ID/DATE/REGION/SERVICE/aws4_request, SignedHeaders=A;B, Signature=HEX`.
struct Authorization<'h> {
    key_id: &'h str,
    date: &'h str,
    region: &'h str,
    signed_headers: &'h str,
    signature: &'h str,
}

impl<'h> Authorization<'h> {
    fn parse(header: &'h str) -> Result<Authorization<'h>, Fault> {
        let parts = header.strip_prefix(ALGORITHM).ok_or_else(|| {
            incomplete(format!("Authorization header requires the algorithm '{ALGORITHM}'"))
        })?;
        let part = |name: &str| {
            let value = parts.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            value.ok_or_else(|| incomplete(format!("Authorization header requires '{name}' parameter")))
        };
        let (credential, signed_headers, signature) =
            (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
        // A key's id may have slashes, the rest has none.
        let mut scope = credential.rsplitn(5, '/');
        let (Some(TERMINATOR), Some(SERVICE), Some(region), Some(date), Some(key_id)) =
            (scope.next(), scope.next(), scope.next(), scope.next(), scope.next())
        else {
            return Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, KEY/DATE/REGION/{SERVICE}/{TERMINATOR}, got '{credential}'"
            )));
        };
        if !signed_headers.split(';').any(|name| name == "host") {
            return Err(mismatch_because("'Host' must be a 'SignedHeader' in the AWS Authorization."));
        }
        Ok(Authorization { key_id, date, region, signed_headers, signature })
    }

    /// The scope is for one day and one region.
    fn check_scope(&self, time: &str, region: &str) -> Result<(), Fault> {
        if self.region != region {
            let message = format!(
                "Credential should be scoped to a valid region, not '{}': this endpoint's region is '{region}'",
                self.region
            );
            return Err(mismatch_because(message));
        }
        if !time.starts_with(self.date) || self.date.len() != DATE_CHARACTERS {
            return Err(mismatch_because(
                "Date in Credential scope does not match YYYYMMDD from the request's date",
            ));
        }
        Ok(())
    }

    fn scope(&self) -> String {
        format!("{}/{}/{SERVICE}/{TERMINATOR}", self.date, self.region)
    }
}

/// `X-Amz-Date`, as `YYYYMMDDTHHMMSSZ`.
fn header_of_time(headers: &HeaderMap) -> Result<Cow<'_, str>, Fault> {
    let time = header(headers, "x-amz-date")?
        .ok_or_else(|| incomplete("Authorization header requires existence of an 'X-Amz-Date' header."))?;
    let is_valid = time.len() == TIME_SHAPE.len()
        && time.bytes().zip(TIME_SHAPE.bytes()).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            letter => byte == letter,
        });
    match is_valid {
        true => Ok(time),
        false => Err(incomplete("Date must be in ISO-8601 'basic format', such as 20261123T104309Z")),
    }
}

/// Times of this format compare as texts.
fn check_time(time: &str, now: SystemTime) -> Result<(), Fault> {
    let (earliest, latest) = (basic(now - CLOCK_SKEW), basic(now + CLOCK_SKEW));
    if time < earliest.as_str() {
        let message =
            format!("Signature expired: {time} is now earlier than {earliest} ({} - 5 min.)", basic(now));
        return Err(mismatch_because(message));
    }
    if time > latest.as_str() {
        let message = format!(
            "Signature not yet current: {time} is still later than {latest} ({} + 5 min.)",
            basic(now)
        );
        return Err(mismatch_because(message));
    }
    Ok(())
}

/// A time in the format that signatures have: `YYYYMMDDTHHMMSSZ`.
fn basic(time: SystemTime) -> String {
    rfc3339(time).chars().filter(|character| !"-:".contains(*character)).collect()
}

fn canonical_request(head: &Parts, signed: &Authorization<'_>, body: &[u8]) -> Result<String, Fault> {
    let mut headers = String::new();
    for name in signed.signed_headers.split(';') {
        let value = header(&head.headers, name)?
            .ok_or_else(|| mismatch_because(format!("the signed header '{name}' is not in the request")))?;
        headers.push_str(&format!("{name}:{value}\n"));
    }
    let query = canonical_query(head.uri.query().unwrap_or_default());
    let body = sha256(body);
    Ok(format!("{}\n/\n{query}\n{headers}\n{}\n{body}", head.method, signed.signed_headers))
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .map(|(key, value)| (percent_encode(&key), percent_encode(&value)))
        .collect();
    pairs.sort();
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
}

/// All but the unreserved characters of RFC 3986, section 2.3.
fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// A header's values, joined; spaces at the ends are cut and those within count as one.
fn header<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<Cow<'h, str>>, Fault> {
    let mut values = Vec::new();
    for value in headers.get_all(name) {
        let text =
            value.to_str().map_err(|_| incomplete(format!("the header '{name}' is not ASCII text")))?;
        values.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    Ok((!values.is_empty()).then(|| values.join(",").into()))
}

fn signing_key(key: &AccessKey, signed: &Authorization<'_>) -> hmac::Key {
    let first = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{}", key.secret.reveal()).as_bytes());
    [signed.date, signed.region, SERVICE, TERMINATOR].into_iter().fold(first, |key, part| {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex::digits(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn incomplete(message: impl Into<String>) -> Fault {
    Fault::new("IncompleteSignature", message)
}

fn mismatch() -> Fault {
    mismatch_because(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
         and signing method.",
    )
}

fn mismatch_because(message: impl Into<String>) -> Fault {
    Fault::new("SignatureDoesNotMatch", message)
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "elasticloadbalancing";
const TERMINATOR: &str = "aws4_request";
const TIME_SHAPE: &str = "00000000T000000Z";
const DATE_CHARACTERS: usize = 8;

/// How far a client's clock may be off.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;

//! Error answers: a code, its HTTP status and who is to blame, as the API's common errors and each operation's have them.

use std::borrow::Cow;

use http::StatusCode;

use super::xml::Element;

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: Cow<'static, str>,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Fault {
        Fault { code: code.into(), message: message.into() }
    }

    /// A parameter breaks a rule.
    pub(super) fn validation(message: impl Into<String>) -> Fault {
        Fault::new("ValidationError", message)
    }

    /// A parameter breaks a constraint of the API's model. `value` is what was given, `None` nothing.
    pub(super) fn constraint(path: &str, value: Option<&str>, constraint: &str) -> Fault {
        let value = value.map_or("null".into(), |value| format!("'{}'", shortened(value)));
        Fault::validation(format!(
            "1 validation error detected: Value {value} at '{path}' failed to satisfy constraint: {constraint}"
        ))
    }

    /// What the caller asks for cannot be in this combination, or not here.
    pub(super) fn configuration(message: impl Into<String>) -> Fault {
        Fault::new("InvalidConfigurationRequest", message)
    }

    pub(super) fn status(&self) -> StatusCode {
        COMMON
            .iter()
            .find(|(code, _)| *code == self.code)
            .map_or(StatusCode::BAD_REQUEST, |(_, status)| *status)
    }

    /// The answer's document.
    pub(super) fn document(&self, request_id: &str) -> String {
        let blamed = if self.status().is_server_error() { "Receiver" } else { "Sender" };
        let error = Element::new("Error")
            .with_text("Type", blamed)
            .with_text("Code", &self.code)
            .with_text("Message", &self.message);
        Element::new("ErrorResponse").with(error).with_text("RequestId", request_id).document()
    }
}

fn shortened(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.into(),
    }
}

const SHOWN_CHARACTERS: usize = 200;

/// Errors whose status is another than 400 ("Common Errors" of the API's reference, and those of the operations' model).
const COMMON: [(&str, StatusCode); 9] = [
    ("AccessDenied", StatusCode::FORBIDDEN),
    ("InvalidClientTokenId", StatusCode::FORBIDDEN),
    ("MissingAuthenticationToken", StatusCode::FORBIDDEN),
    ("SignatureDoesNotMatch", StatusCode::FORBIDDEN),
    ("RequestEntityTooLarge", StatusCode::PAYLOAD_TOO_LARGE),
    ("RequestTimeout", StatusCode::REQUEST_TIMEOUT),
    ("HealthUnavailable", StatusCode::INTERNAL_SERVER_ERROR),
    ("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR),
    ("ServiceUnavailable", StatusCode::SERVICE_UNAVAILABLE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_who_is_to_blame() {
        let fault = Fault::new("TargetGroupNotFound", "One or more target groups <x> not found");
        assert_eq!(fault.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            fault.document("7"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ErrorResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\"><Error><Type>Sender</Type>\
             <Code>TargetGroupNotFound</Code><Message>One or more target groups &lt;x&gt; not found</Message></Error>\
             <RequestId>7</RequestId></ErrorResponse>"
        );
        let ours = Fault::new("ServiceUnavailable", "stopping");
        assert_eq!(ours.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(ours.document("7").contains("<Type>Receiver</Type>"));
    }

    #[test]
    fn what_was_given_is_shown_shortened() {
        let fault = Fault::constraint("port", Some(&"9".repeat(1000)), "Member must be small");
        assert!(fault.message.len() < 400, "{}", fault.message);
        let fault = Fault::constraint("port", None, "Member must not be null");
        assert_eq!(
            fault.message,
            "1 validation error detected: Value null at 'port' failed to satisfy constraint: Member must not be null"
        );
    }
}

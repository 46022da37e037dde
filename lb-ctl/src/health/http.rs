//! HTTP check: one GET, of whose answer the head is read (RFC 9112).

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    Cause, HttpProbe,
    socket::{Place, Stream},
};

impl HttpProbe {
    pub(super) async fn check(&self, endpoint: SocketAddr, place: &Place) -> Result<(), Cause> {
        let stream = Stream::connect(endpoint, place).await?;
        let code = match &self.tls {
            None => self.ask(stream).await?,
            Some(tls) => self.ask(tls.connect(stream, endpoint, &[b"http/1.1"]).await?).await?,
        };
        if self.matcher.matches(code) { Ok(()) } else { Err(Cause::Code(code)) }
    }

    /// The final status code.
    async fn ask(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<u16, Cause> {
        let Self { path, host, .. } = self;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut head = Head::default();
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            let count = stream.read(&mut chunk).await?;
            if let Some(code) = head.take(&chunk[..count])? {
                return Ok(code);
            }
        }
    }
}

/// What was received of a response.
#[derive(Default)]
struct Head {
    bytes: Vec<u8>,
}

impl Head {
    /// Takes the next bytes, none at the end of the stream; gives the final status code when its head is whole.
    fn take(&mut self, chunk: &[u8]) -> Result<Option<u16>, Cause> {
        if chunk.is_empty() {
            return Err(Cause::Closed);
        }
        // Parsing starts over each time: once a line, so that a target that sends byte by byte costs little.
        let is_first = self.bytes.is_empty();
        self.bytes.extend_from_slice(chunk);
        let code = if is_first || chunk.contains(&b'\n') { self.parse()? } else { None };
        if code.is_none() && self.bytes.len() > HEAD_BYTES {
            return Err(Cause::HeaderTooLong);
        }
        Ok(code)
    }

    fn parse(&self) -> Result<Option<u16>, Cause> {
        let mut rest = self.bytes.as_slice();
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            match (parser().parse_response(&mut response, rest), response.code) {
                (Ok(httparse::Status::Complete(length)), Some(code)) if is_interim(code) => {
                    rest = &rest[length..]
                }
                (Ok(httparse::Status::Complete(_)), code) => return Ok(code),
                (Ok(httparse::Status::Partial), _) => return Ok(None),
                (Err(httparse::Error::TooManyHeaders), _) => return Err(Cause::HeaderTooLong),
                (Err(_), _) => return Err(Cause::Malformed),
            }
        }
    }
}

/// Whether another response follows (RFC 9110, section 15.2). Nobody asked for the protocol to be switched.
fn is_interim(code: u16) -> bool {
    (100..200).contains(&code) && code != SWITCHING_PROTOCOLS
}

/// The verdict is the status code's: headers need not be better than what clients put up with.
fn parser() -> httparse::ParserConfig {
    let mut parser = httparse::ParserConfig::default();
    parser
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    parser
}

/// What checks call themselves, as NLB's do.
pub(super) const USER_AGENT: &str = "ELB-HealthChecker/2.0";

const SWITCHING_PROTOCOLS: u16 = 101;
/// Longest head that is read, interim responses included.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 100;
const CHUNK_BYTES: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_code_is_what_the_head_says_and_nothing_else() {
        let many = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(HEAD_BYTES));
        for (bytes, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\nbody", Ok(Some(200))),
            ("HTTP/1.0 404\r\n\r\n", Ok(Some(404))),
            ("HTTP/1.1 503 Busy\r\nbad header\r\n\r\n", Ok(Some(503))),
            ("HTTP/1.1 100 Continue\r\n\r\n", Ok(None)),
            ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", Ok(Some(204))),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Ok(Some(101))),
            ("HTTP/1.1 200 OK\r\n", Ok(None)),
            (&many(100), Ok(Some(200))),
            (&many(101), Err(Cause::HeaderTooLong)),
            (&long, Err(Cause::HeaderTooLong)),
            ("SSH-2.0-OpenSSH_9.2\r\n", Err(Cause::Malformed)),
            ("\0\0\x18\x04\0\0\0", Err(Cause::Malformed)),
            ("", Err(Cause::Closed)),
        ] {
            assert_eq!(Head::default().take(bytes.as_bytes()), expected, "{bytes:.60}");
        }
    }

    #[test]
    fn a_head_may_come_byte_by_byte() {
        let mut head = Head::default();
        let codes = b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n".chunks(1).map(|byte| head.take(byte));
        let codes: Vec<_> = codes.collect::<Result<_, _>>().unwrap();
        assert_eq!(codes.iter().position(Option::is_some), Some(codes.len() - 1));
    }
}

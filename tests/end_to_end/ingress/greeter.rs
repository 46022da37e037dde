//! A server that speaks first, behind a shim that reads PROXY headers: it greets whom the header names, then repeats what it hears.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use lb_core::wire::proxy::SIGNATURE;
use lbd::testbed::namespace::Namespace;
use libtest_mimic::Failed;

/// The server. It serves for as long as the test process lives.
pub struct Greeter {
    headers: Headers,
}

/// Each client's header as it came.
type Headers = Arc<Mutex<HashMap<SocketAddr, Vec<u8>>>>;

impl Greeter {
    /// Listens on some ports, at all addresses of a namespace.
    pub fn start(namespace: &Namespace, ports: [u16; 2]) -> io::Result<Greeter> {
        let headers = Headers::default();
        for port in ports {
            let listener = namespace.within(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))?;
            let headers = headers.clone();
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let headers = headers.clone();
                    // A connection that breaks is its client's matter.
                    thread::spawn(move || drop(greet(stream, &headers)));
                }
            });
        }
        Ok(Greeter { headers })
    }

    /// The header that named a client.
    pub fn header_of(&self, client: SocketAddr) -> Result<Vec<u8>, Failed> {
        let headers = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(headers.get(&client).cloned().ok_or_else(|| format!("no header has named {client}"))?)
    }
}

fn greet(mut stream: TcpStream, headers: &Headers) -> io::Result<()> {
    let header = read_header(&mut stream)?;
    let Some(client) = client_of(&header) else { return Ok(()) };
    headers.lock().unwrap_or_else(PoisonError::into_inner).insert(client, header);
    writeln!(stream, "hello {}", client.ip())?;
    let mut out = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        writeln!(out, "{}", line?)?;
    }
    Ok(())
}

/// A header of version 2, whole (the PROXY protocol's specification, section 2.2).
fn read_header(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut header = vec![0; 16];
    stream.read_exact(&mut header)?;
    if header[..12] != SIGNATURE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let length = u16::from_be_bytes([header[14], header[15]]);
    stream.take(length.into()).read_to_end(&mut header)?;
    Ok(header)
}

/// Whom it names; nobody in a health check's.
fn client_of(header: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| Some(u16::from_be_bytes([*header.get(at)?, *header.get(at + 1)?]));
    match header.get(13)? {
        0x11 => {
            let octets: [u8; 4] = header.get(16..20)?.try_into().ok()?;
            Some((IpAddr::from(Ipv4Addr::from(octets)), port(24)?).into())
        }
        0x21 => {
            let octets: [u8; 16] = header.get(16..32)?.try_into().ok()?;
            Some((IpAddr::from(octets), port(48)?).into())
        }
        _ => None,
    }
}

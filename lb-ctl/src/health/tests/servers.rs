//! Servers to check: each lives on loopback for as long as the test process.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    thread,
};

/// An address of loopback's that nobody else has: a port of it that is given up stays closed, and can be taken again.
pub(super) fn address_apart() -> Ipv4Addr {
    static TAKEN: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, 2 + TAKEN.fetch_add(1, Relaxed))
}

/// Serves each connection by `behave`, one after the other. A check may go away at any time: it begins again after an absence.
pub(super) fn serve(mut behave: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(|stream| behave(stream.unwrap())));
    endpoint
}

/// Answers each request with these bytes, in pieces of this size, and closes.
pub(super) fn serve_answer(answer: &'static [u8], piece_bytes: usize) -> SocketAddr {
    serve(move |mut stream| {
        request(&mut stream);
        for piece in answer.chunks(piece_bytes) {
            if stream.write_all(piece).is_err() {
                return; // The check has heard enough.
            }
        }
    })
}

/// Speaks HTTP/1.1 with whom does not.
pub(super) fn serve_refusal() -> SocketAddr {
    serve(|mut stream| {
        let _ = stream.read(&mut [0; 4_096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    })
}

/// Reads the head of a request.
pub(super) fn request(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

//! Requests with something wrong: valid ones, cut, doubled, and with bytes changed.

/// A source of requests, the same for the same seed.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Of a seed that is not 0.
    pub fn new(seed: u64) -> Mutator {
        Mutator { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) }
    }

    /// A request with one to four mutations.
    pub fn next(&mut self) -> Vec<u8> {
        let mut request = REQUESTS[self.below(REQUESTS.len())].as_bytes().to_vec();
        for _ in 0..=self.below(4) {
            self.mutate(&mut request);
        }
        request
    }

    fn mutate(&mut self, request: &mut Vec<u8>) {
        if request.is_empty() {
            return;
        }
        let at = self.below(request.len());
        let byte = self.below(256) as u8;
        match self.below(6) {
            0 => request[at] = byte,
            1 => request[at] ^= 1 << (byte % 8),
            2 => request.truncate(at),
            3 => drop(request.remove(at)),
            4 => request.insert(at, byte),
            _ => {
                let end = (at + self.below(64)).min(request.len());
                let piece = request[at..end].to_vec();
                let to = self.below(request.len());
                request.splice(to..to, piece);
            }
        }
    }

    /// xorshift64*.
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

const REQUESTS: &[&str] = &[
    "GET /v1/status HTTP/1.1\r\nhost: lbd\r\n\r\n",
    "GET /v1/flows?limit=5 HTTP/1.1\r\nhost: lbd\r\naccept: */*\r\n\r\n",
    "GET /v1/target-groups/web%20/targets HTTP/1.1\r\nhost: lbd\r\n\r\n",
    "GET /v1/events?since=17 HTTP/1.1\r\nhost: lbd\r\n\r\n",
    "POST /v1/reload HTTP/1.1\r\nhost: lbd\r\ncontent-length: 0\r\n\r\n",
    "POST /v1/target-groups/web/targets HTTP/1.1\r\nhost: lbd\r\ncontent-type: application/json\r\ncontent-length: 63\r\n\r\n\
     {\"register\":[{\"address\":\"198.19.1.2\",\"port\":80,\"weight\":1}]}    ",
    "POST /v1/target-groups/web/targets HTTP/1.1\r\nhost: lbd\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\
     \r\nexpect: 100-continue\r\n\r\n1e\r\n{\"deregister\":[{\"address\":\"::\"\r\n3\r\n}]}\r\n0\r\n\r\n",
    "GET /v1/status HTTP/1.1\r\nhost: lbd\r\n\r\nGET /v1/stats HTTP/1.1\r\nhost: lbd\r\nconnection: close\r\n\r\n",
    "GET /v1/status HTTP/1.0\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

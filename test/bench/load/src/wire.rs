//! The load protocol: the first byte a client sends on a stream says what the stream is for.
//!
//! | byte | then from the client | from the server |
//! |---|---|---|
//! | `C` control | any number of further `C` bytes, one at a time | a `Usage` for each, the first included |
//! | `U` upload | data to the end | a `Received`, end |
//! | `D` download | how long, u64 milliseconds, end | data for so long, end |
//! | `E` echo | data to the end | the same data, end |
//!
//! Numbers are little endian.

pub const CONTROL: u8 = b'C';
pub const UPLOAD: u8 = b'U';
pub const DOWNLOAD: u8 = b'D';
pub const ECHO: u8 = b'E';

/// What the server's process has used so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    pub cpu_ns: u64,
    pub resident_bytes: u64,
}

/// What arrived on one stream, and when on the clock that both processes share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Received {
    pub bytes: u64,
    pub first_ns: u64,
    pub last_ns: u64,
}

impl Usage {
    pub const LEN: usize = 16;

    pub fn now() -> Self {
        Usage {
            cpu_ns: crate::meter::cpu_time().as_nanos() as u64,
            resident_bytes: crate::meter::resident_bytes(),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        [self.cpu_ns, self.resident_bytes].iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    pub fn decode(message: [u8; Self::LEN]) -> Self {
        Usage { cpu_ns: number(&message, 0), resident_bytes: number(&message, 1) }
    }
}

impl Received {
    pub const LEN: usize = 24;

    pub fn encode(&self) -> Vec<u8> {
        [self.bytes, self.first_ns, self.last_ns].iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    pub fn decode(message: [u8; Self::LEN]) -> Self {
        Received {
            bytes: number(&message, 0),
            first_ns: number(&message, 1),
            last_ns: number(&message, 2),
        }
    }

    /// All streams of one transfer taken together.
    pub fn merge(parts: impl IntoIterator<Item = Received>) -> Self {
        let none = Received { bytes: 0, first_ns: u64::MAX, last_ns: 0 };
        parts.into_iter().fold(none, |sum, part| Received {
            bytes: sum.bytes + part.bytes,
            first_ns: sum.first_ns.min(part.first_ns),
            last_ns: sum.last_ns.max(part.last_ns),
        })
    }

    pub fn seconds(&self) -> f64 {
        self.last_ns.saturating_sub(self.first_ns) as f64 / 1e9
    }
}

pub fn number(message: &[u8], index: usize) -> u64 {
    let at = index * 8;
    u64::from_le_bytes(message[at..at + 8].try_into().expect("eight bytes were cut out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let usage = Usage { cpu_ns: 1, resident_bytes: u64::MAX };
        assert_eq!(Usage::decode(usage.encode().try_into().unwrap()), usage);
        let received = Received { bytes: 3, first_ns: 4, last_ns: 5 };
        assert_eq!(Received::decode(received.encode().try_into().unwrap()), received);
    }

    #[test]
    fn streams_of_a_transfer_are_one_span_of_time() {
        let a = Received { bytes: 10, first_ns: 5, last_ns: 7 };
        let b = Received { bytes: 20, first_ns: 6, last_ns: 9 };
        assert_eq!(Received::merge([a, b]), Received { bytes: 30, first_ns: 5, last_ns: 9 });
    }
}

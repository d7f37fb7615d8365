//! The perf protocol of docs/protocol-perf.md, the same that `km-node perf` speaks.
//!
//! Each command is one bidirectional stream: its letter, a big-endian argument of 8 bytes, whatever
//! belongs to it, and the end; then comes the answer.

pub const ALPN: &[u8] = b"km/perf/1";
pub const HEAD_BYTES: usize = 9;
pub const REQUEST_MAX: u64 = 1 << 20;
pub const DOWNLOAD_MAX_MS: u64 = 3_600_000;

/// Zeros to send: as large a piece as `km-node perf` writes at once.
pub static ZEROS: [u8; 65536] = [0; 65536];

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// Bytes follow to the end; the answer is how many (8 bytes).
    Upload,
    /// The answer is zeros for so many milliseconds.
    Download { ms: u64 },
    /// Bytes follow to the end; the answer is so many zeros.
    Request { bytes: u64 },
    /// The answer is a `Usage`.
    Usage,
}

impl Command {
    pub fn encode(self) -> [u8; HEAD_BYTES] {
        let (letter, argument) = match self {
            Command::Upload => (b'U', 0),
            Command::Download { ms } => (b'D', ms),
            Command::Request { bytes } => (b'R', bytes),
            Command::Usage => (b'S', 0),
        };
        let mut head = [letter; HEAD_BYTES];
        head[1..].copy_from_slice(&u64::to_be_bytes(argument));
        head
    }

    pub fn decode(head: &[u8; HEAD_BYTES]) -> Option<Self> {
        let argument = number(&head[1..]);
        match head[0] {
            b'U' => Some(Command::Upload),
            b'D' => Some(Command::Download { ms: argument.min(DOWNLOAD_MAX_MS) }),
            b'R' => Some(Command::Request { bytes: argument.min(REQUEST_MAX) }),
            b'S' => Some(Command::Usage),
            _ => None,
        }
    }
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub cpu_ns: u64,
    pub resident_bytes: u64,
}

impl Usage {
    pub const LEN: usize = 16;

    pub fn encode(self) -> [u8; Self::LEN] {
        let mut message = [0; Self::LEN];
        message[..8].copy_from_slice(&self.cpu_ns.to_be_bytes());
        message[8..].copy_from_slice(&self.resident_bytes.to_be_bytes());
        message
    }

    pub fn decode(message: &[u8; Self::LEN]) -> Self {
        Usage { cpu_ns: number(&message[..8]), resident_bytes: number(&message[8..]) }
    }
}

/// The big-endian number of these 8 bytes.
pub fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("a number is 8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_a_letter_and_a_big_endian_number() {
        assert_eq!(Command::Download { ms: 0x0102 }.encode(), *b"D\0\0\0\0\0\0\x01\x02");
        for command in [
            Command::Upload,
            Command::Download { ms: DOWNLOAD_MAX_MS },
            Command::Request { bytes: 1 },
            Command::Usage,
        ] {
            assert_eq!(Command::decode(&command.encode()), Some(command));
        }
        assert_eq!(Command::decode(b"X\0\0\0\0\0\0\0\0"), None);
    }

    #[test]
    fn arguments_are_capped() {
        let huge = Command::Request { bytes: u64::MAX }.encode();
        assert_eq!(Command::decode(&huge), Some(Command::Request { bytes: REQUEST_MAX }));
    }

    #[test]
    fn usage_survives_the_wire() {
        let usage = Usage { cpu_ns: 1, resident_bytes: u64::MAX };
        assert_eq!(Usage::decode(&usage.encode()), usage);
    }
}

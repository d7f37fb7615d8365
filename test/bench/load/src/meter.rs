//! What this process has used so far, and percentiles.

use crate::wire::Usage;
use std::time::Duration;

pub fn usage() -> Usage {
    Usage { cpu_ns: cpu_time().as_nanos() as u64, resident_bytes: resident_bytes() }
}

/// User and system time.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place to write to for the duration of the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "the process CPU clock exists on every Linux");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Resident memory once freed memory has been given back; 0 where there is no /proc.
///
/// smaps_rollup walks the page tables and is exact; statm's counters are kept per CPU and lag.
fn resident_bytes() -> u64 {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time; it locks the arenas itself.
    unsafe {
        libc::malloc_trim(0);
    }
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib: Option<u64> = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0) * 1024
}

/// The value below which `percent` of the samples lie. Sorts them.
pub fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    samples.get(last * percent / 100).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples: Vec<_> = (0..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(percentile(&mut samples, 50), Duration::from_micros(50));
        assert_eq!(percentile(&mut samples, 99), Duration::from_micros(99));
        assert_eq!(percentile(&mut samples[..1], 99), Duration::ZERO);
        assert_eq!(percentile(&mut [], 50), Duration::ZERO);
    }

    #[test]
    fn memory_that_is_touched_is_counted() {
        let before = resident_bytes();
        let block = std::hint::black_box(vec![1u8; 32 << 20]);
        assert!(resident_bytes() >= before + (30 << 20));
        drop(block);
    }
}

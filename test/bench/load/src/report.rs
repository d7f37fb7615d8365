//! One line of JSON a result, with the members of docs/protocol-perf.md in their order.

use std::fmt::Write;
use std::time::Duration;

pub struct Report {
    line: String,
}

impl Report {
    pub fn new(mode: &str) -> Self {
        Report { line: format!("{{\"event\":\"perf\",\"mode\":\"{mode}\"") }
    }

    pub fn count(mut self, name: &str, value: u64) -> Self {
        write!(self.line, ",\"{name}\":{value}").expect("a String takes everything");
        self
    }

    pub fn number(mut self, name: &str, value: f64) -> Self {
        // JSON has neither infinity nor NaN.
        let value = if value.is_finite() { value } else { 0.0 };
        write!(self.line, ",\"{name}\":{value}").expect("a String takes everything");
        self
    }

    pub fn micros(self, name: &str, value: Duration) -> Self {
        self.number(name, value.as_nanos() as f64 / 1000.0)
    }

    pub fn finish(self) -> String {
        self.line + "}"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_object() {
        let report = Report::new("latency")
            .count("count", 3)
            .micros("p50_us", Duration::from_nanos(1500))
            .number("x", f64::NAN);
        let expected = r#"{"event":"perf","mode":"latency","count":3,"p50_us":1.5,"x":0}"#;
        assert_eq!(report.finish(), expected);
    }
}

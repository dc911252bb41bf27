//! A line of an edge to its upstream, as the edge tells it.
//!
//! Unlike what clients are handed, this is for operators alone, so nothing in it is a reason to refuse
//! an edge: a line whose ends cannot be read is left out, and a number that cannot be is put into
//! its bounds.

use shared::line::LineEnd;
use shared::wire::control::LineReport;

/// A line; in and out are seen from the edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The edge's number for it.
    pub number: u32,
    /// Where it begins.
    pub local: LineEnd,
    /// Where it ends.
    pub remote: LineEnd,
    /// The node at its end.
    pub upstream: String,
    /// Whether anything is heard on it.
    pub up: bool,
    /// What the edge thinks of it, in a word.
    pub state: String,
    /// Whether it is the one that messages to the edge are sent on first.
    pub primary_in: bool,
    /// The same of what the edge sends.
    pub primary_out: bool,
    /// What was measured on it.
    pub measured: Measured,
}

/// What an edge measured on a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Round trip in milliseconds.
    pub rtt_ms: f64,
    /// Jitter of the delay towards the edge.
    pub jitter_ms: f64,
    /// How far that delay stands above its least of late.
    pub delay_rise_ms: f64,
    /// Share of datagrams towards the edge that get lost.
    pub loss_in: f64,
    /// Share of datagrams from the edge that get lost.
    pub loss_out: f64,
    /// Mean run of losses towards the edge, in datagrams.
    pub burst: f64,
    /// Messages that it brought first, since the edge's start as all that follows.
    pub firsts: u64,
    /// Messages that had come by another line.
    pub repeats: u64,
    /// Bytes towards the edge.
    pub bytes_in: u64,
    /// Bytes from the edge.
    pub bytes_out: u64,
    /// Time without a connection.
    pub down_ms: u64,
    /// 95th percentile of five-minute rates towards the edge.
    pub bits_in_p95: f64,
    /// 95th percentile of five-minute rates from the edge.
    pub bits_out_p95: f64,
}

impl Line {
    /// Reads what an edge tells of a line; `None` where its ends or words are nonsense.
    pub fn from_report(report: &LineReport) -> Option<Self> {
        let number =
            |value: f64, most: f64| if value.is_nan() { 0.0 } else { value.clamp(0.0, most) };
        let ms = |value| number(value, MS_MAX);
        let any = |value| number(value, f64::MAX);
        Some(Self {
            number: report.line,
            local: line_end(&report.local, &report.local_carrier)?,
            remote: line_end(&report.remote, &report.remote_carrier)?,
            upstream: word(&report.upstream)?,
            up: report.up,
            state: word(&report.state)?,
            primary_in: report.primary,
            primary_out: report.primary_up,
            measured: Measured {
                rtt_ms: ms(report.rtt_ms),
                jitter_ms: ms(report.jitter_ms),
                delay_rise_ms: ms(report.delay_rise_ms),
                loss_in: number(report.loss, 1.0),
                loss_out: number(report.loss_up, 1.0),
                burst: any(report.burst),
                firsts: report.firsts,
                repeats: report.repeats,
                bytes_in: report.bytes_in,
                bytes_out: report.bytes_out,
                down_ms: report.down_ms,
                bits_in_p95: any(report.bits_in_p95),
                bits_out_p95: any(report.bits_out_p95),
            },
        })
    }
}

fn line_end(address: &str, carrier: &str) -> Option<LineEnd> {
    format!("{address} {carrier}").parse().ok()
}

fn word(text: &str) -> Option<String> {
    let fits = text.len() <= WORD_BYTES_MAX && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// Lines of one edge that are looked at: 16 addresses of the upstream from 8 local ones.
pub const LINES_MAX: usize = 128;

/// An hour: nothing on a line takes longer.
const MS_MAX: f64 = 3_600_000.0;

/// Longest name or state.
const WORD_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::line_report;

    #[test]
    fn a_report_becomes_a_line() {
        let report =
            LineReport { primary: true, loss: 0.25, loss_up: 0.5, firsts: 7, ..line_report() };
        let line = Line::from_report(&report).unwrap();
        assert_eq!(line.remote.to_string(), "203.0.113.1:7401 telecom");
        assert_eq!(line.local.to_string(), "0.0.0.0:0");
        assert_eq!((line.primary_in, line.primary_out, line.state.as_str()), (true, false, "good"));
        let Measured { rtt_ms, loss_in, loss_out, firsts, .. } = line.measured;
        assert_eq!((rtt_ms, loss_in, loss_out, firsts), (40.0, 0.25, 0.5, 7));
    }

    #[test]
    fn numbers_that_cannot_be_are_bounded() {
        let report = LineReport {
            rtt_ms: f64::INFINITY,
            jitter_ms: -1.0,
            loss: 1.5,
            loss_up: f64::NAN,
            ..line_report()
        };
        let Measured { rtt_ms, jitter_ms, loss_in, loss_out, .. } =
            Line::from_report(&report).unwrap().measured;
        assert_eq!((rtt_ms, jitter_ms, loss_in, loss_out), (MS_MAX, 0.0, 1.0, 0.0));
    }

    #[test]
    fn nonsense_is_no_line() {
        let changes: [fn(&mut LineReport); 5] = [
            |line| line.local = "here".to_owned(),
            |line| line.remote = String::new(),
            |line| line.remote_carrier = "a,b".to_owned(),
            |line| line.upstream = "a\nb".to_owned(),
            |line| line.state = "a".repeat(65),
        ];
        for change in changes {
            let mut report = line_report();
            change(&mut report);
            assert_eq!(Line::from_report(&report), None, "{report:?}");
        }
    }
}

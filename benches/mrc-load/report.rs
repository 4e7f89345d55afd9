//! What is printed: a line for each measurement, or one JSON document.

use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::measure::Measured;
use crate::process::Used;

#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    rows: Vec<Row>,
    facts: Vec<Fact>,
}

#[derive(Debug, Serialize)]
struct Row {
    what: String,
    clients: usize,
    depth: usize,
    per_second: f64,
    median_us: f64,
    p99_us: f64,
    /// Of the MRC, for each operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    mrc: Option<Cost>,
    /// Of this program, for each operation.
    own: Cost,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    cpu_us: f64,
    switches: f64,
    written_bytes: f64,
}

#[derive(Debug, Serialize)]
struct Fact {
    what: String,
    value: f64,
    unit: &'static str,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Report { json, rows: Vec::new(), facts: Vec::new() }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn row(&mut self, what: &str, clients: usize, depth: usize, measured: &Measured) {
        let cost = |used: Used| Cost::of(used, measured.operations);
        let row = Row {
            what: what.to_owned(),
            clients,
            depth,
            per_second: measured.count as f64 / measured.elapsed.as_secs_f64(),
            median_us: micros(measured.median),
            p99_us: micros(measured.p99),
            mrc: measured.mrc.map(cost),
            own: cost(measured.own),
        };
        if !self.json {
            if self.rows.is_empty() {
                println!(
                    "{:24} {:>7} {:>5} {:>11} {:>10} {:>10}   MRC: {:>7} {:>8} {:>9}   {:>9}",
                    "operation",
                    "clients",
                    "depth",
                    "per second",
                    "median",
                    "p99",
                    "CPU",
                    "switches",
                    "written",
                    "load CPU"
                );
            }
            println!("{}", row.text());
        }
        self.rows.push(row);
    }

    pub(crate) fn fact(&mut self, what: &str, value: f64, unit: &'static str) {
        if !self.json {
            println!("{what}: {value:.1} {unit}");
        }
        self.facts.push(Fact { what: what.to_owned(), value, unit });
    }

    /// On standard error, if that is a terminal.
    pub(crate) fn progress(&self, files: u64) -> ProgressBar {
        let style = "{bar:30} {pos}/{len} files, {per_sec}, {eta} left";
        let style = ProgressStyle::with_template(style);
        ProgressBar::new(files).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    pub(crate) fn end(self) -> Result<()> {
        if self.json {
            let all = serde_json::json!({ "rates": self.rows, "facts": self.facts });
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        Ok(())
    }
}

impl Row {
    fn text(&self) -> String {
        let Row { what, clients, depth, per_second, median_us, p99_us, .. } = self;
        let mrc = self.mrc.map_or("-".into(), |cost| {
            let Cost { cpu_us, switches, written_bytes } = cost;
            format!("{cpu_us:>7.1} us {switches:>8.2} {written_bytes:>7.0} B")
        });
        let own = self.own.cpu_us;
        format!(
            "{what:24} {clients:>7} {depth:>5} {per_second:>11.0} {median_us:>7.0} us {p99_us:>7.0} us   {mrc:>34}   \
             {own:>6.1} us"
        )
    }
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn of(used: Used, operations: u64) -> Cost {
        let each = |total: f64| total / operations.max(1) as f64;
        Cost {
            cpu_us: each(micros(used.cpu)),
            switches: each(used.switches as f64),
            written_bytes: each(used.written as f64),
        }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

//! The table, the JSON file.

use std::{fs, path::Path, time::Duration};

use serde_json::{Map, Value, json};

use crate::{
    Result,
    common::{machine, rank},
};

/// Beside what cargo builds.
const FILE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../wake.json");

/// What has been measured, and where.
pub struct Figures {
    machine: Map<String, Value>,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    unit: Unit,
    values: Values,
}

enum Values {
    One {
        value: f64,
        bar: Option<f64>,
    },
    /// Sorted, in microseconds.
    Many {
        times: Vec<f64>,
        bars: Option<(f64, f64)>,
    },
}

/// What a single figure counts.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    Count,
    Kib,
    Micros,
    Percent,
}

// === impl Figures ===

impl Figures {
    /// None yet. What else the machine does is written down too.
    pub fn begin(daemon: &Path) -> Result<Self> {
        let mut machine = machine::facts()?;
        machine.insert("daemon".to_owned(), daemon.display().to_string().into());
        machine.insert("bytes".to_owned(), fs::metadata(daemon)?.len().into());
        Ok(Self {
            machine,
            rows: Vec::new(),
        })
    }

    /// A single figure, and what it must not exceed.
    pub fn one(&mut self, name: &str, value: f64, unit: Unit, bar: Option<f64>) {
        self.add(name, unit, Values::One { value, bar });
    }

    /// Times, and what their 50th and 99th percentiles must not exceed, in microseconds.
    pub fn many(&mut self, name: &str, times: &[Duration], bars: Option<(f64, f64)>) {
        let mut times: Vec<f64> = times.iter().map(|t| t.as_secs_f64() * 1e6).collect();
        times.sort_by(f64::total_cmp);
        self.add(name, Unit::Micros, Values::Many { times, bars });
    }

    fn add(&mut self, name: &str, unit: Unit, values: Values) {
        let name = name.to_owned();
        self.rows.push(Row { name, unit, values });
    }

    /// Prints the table and writes the file.
    ///
    /// # Errors
    /// Where a bar was missed, after all has been said.
    pub fn end(mut self) -> Result<()> {
        let load = machine::load()?;
        self.machine.insert("load_after".to_owned(), load.into());
        println!();
        for (name, value) in &self.machine {
            println!(
                "{name:<12} {}",
                value.as_str().unwrap_or(&value.to_string())
            );
        }
        println!(
            "\n{:<48} {:>10} {:>10} {:>10} {:>10} {:>5}",
            "", "p50", "p90", "p99", "most", "n"
        );
        for row in &self.rows {
            row.print();
        }
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let all = json!({ "machine": self.machine, "rows": rows });
        fs::write(FILE, serde_json::to_string_pretty(&all)? + "\n")?;
        println!("\nwritten to {}", Path::new(FILE).canonicalize()?.display());
        let missed: Vec<&str> = self
            .rows
            .iter()
            .filter(|r| r.missed())
            .map(|r| &*r.name)
            .collect();
        if missed.is_empty() {
            return Ok(());
        }
        Err(format!("over the bar: {}", missed.join("; ")).into())
    }
}

// === impl Row ===

impl Row {
    fn missed(&self) -> bool {
        match &self.values {
            Values::One { value, bar } => bar.is_some_and(|bar| *value > bar),
            Values::Many { times, bars } => bars.is_some_and(|(p50, p99)| {
                percentile(times, 50) > p50 || percentile(times, 99) > p99
            }),
        }
    }

    fn print(&self) {
        let unit = self.unit;
        let verdict = if self.missed() { "  OVER THE BAR" } else { "" };
        match &self.values {
            Values::One { value, .. } => {
                println!("{:<48} {:>10}{verdict}", self.name, unit.show(*value));
            }
            Values::Many { times, .. } => {
                let [p50, p90, p99, most] =
                    [50, 90, 99, 100].map(|p| unit.show(percentile(times, p)));
                let count = times.len();
                println!(
                    "{:<48} {p50:>10} {p90:>10} {p99:>10} {most:>10} {count:>5}{verdict}",
                    self.name
                );
            }
        }
    }

    fn json(&self) -> Value {
        let (name, unit) = (&self.name, self.unit.word());
        match &self.values {
            Values::One { value, bar } => {
                json!({ "name": name, "unit": unit, "value": value, "bar": bar })
            }
            Values::Many { times, bars } => json!({
                "name": name,
                "unit": unit,
                "p50": percentile(times, 50),
                "p90": percentile(times, 90),
                "p99": percentile(times, 99),
                "most": percentile(times, 100),
                "count": times.len(),
                "bar_p50": bars.map(|bars| bars.0),
                "bar_p99": bars.map(|bars| bars.1),
            }),
        }
    }
}

// === impl Unit ===

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Kib => "KiB",
            Self::Micros => "us",
            Self::Percent => "%",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Count => format!("{value:.0}"),
            Self::Kib => format!("{value:.0} KiB"),
            Self::Micros => format!("{:.3} ms", value / 1000.0),
            Self::Percent => format!("{value:.2} %"),
        }
    }
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    rank::percentile(sorted, percent).unwrap_or(f64::NAN)
}

//! Medians, ratios to the best rival, verdicts.

use serde_json::{Map, Value, json};

use crate::{
    common::rank::percentile,
    relays::Candidate,
    rounds::Round,
    rows::{Bar, Figure, Row},
};

/// Who is measured against the rivals.
pub const OURS: &str = "sleepingd";

/// The same program once more: how far it is from itself is how far figures can be trusted.
pub const AGAIN: &str = "sleepingd-again";

/// One figure of one row, of all candidates.
pub struct Line {
    /// Its row.
    pub row: &'static str,
    /// The figure.
    pub figure: Figure,
    /// Its unit.
    pub unit: &'static str,
    /// Each candidate's, in the order of the table.
    pub values: Vec<Values>,
    /// What became of the comparison, where there is a rival.
    pub outcome: Option<Outcome>,
    /// [`AGAIN`] to [`OURS`].
    pub again: Option<Ratio>,
}

/// One candidate's, one for each round.
#[derive(Clone)]
pub struct Values(Vec<f64>);

/// We beside the best rival.
pub struct Outcome {
    /// The best rival, of that figure.
    pub rival: String,
    /// Ours to its.
    pub ratio: Ratio,
    /// What it must reach.
    pub bar: Bar,
    /// Whether it does.
    pub met: bool,
}

/// How two compare.
pub struct Ratio {
    /// Of their medians.
    pub median: f64,
    /// The least of any round.
    pub least: f64,
    /// The most of any round.
    pub most: f64,
}

/// All lines of these rows.
pub fn lines(candidates: &[&Candidate], rows: &[&'static Row], rounds: &[Round]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        for &(figure, bar) in row.figures {
            let value = |round: &Round, which: usize| {
                let report = &round.reports[number][which];
                figure.of(row.work, report, round.idle).unwrap_or(f64::NAN)
            };
            let values = (0..candidates.len())
                .map(|which| Values(rounds.iter().map(|round| value(round, which)).collect()))
                .collect();
            lines.push(Line::new(row, figure, bar, candidates, values));
        }
    }
    lines
}

// === impl Line ===

impl Line {
    fn new(
        row: &'static Row,
        figure: Figure,
        bar: Bar,
        candidates: &[&Candidate],
        values: Vec<Values>,
    ) -> Self {
        let named = |name: &str| candidates.iter().position(|c| c.name == name);
        let ours = named(OURS).map(|at| &values[at]);
        let rival = (0..candidates.len())
            .filter(|at| candidates[*at].is_rival())
            .min_by(|a, b| {
                let (a, b) = (values[*a].median(), values[*b].median());
                let order = a.total_cmp(&b);
                if figure.more_is_better() {
                    order.reverse()
                } else {
                    order
                }
            });
        let outcome = ours.zip(rival).map(|(ours, rival)| {
            let ratio = Ratio::of(ours, &values[rival]);
            Outcome {
                rival: candidates[rival].name.clone(),
                met: bar.is_met(figure, ratio.median),
                ratio,
                bar,
            }
        });
        let again = named(AGAIN).map(|at| &values[at]).zip(ours);
        Self {
            row: row.name,
            figure,
            unit: figure.unit(row.part),
            outcome,
            again: again.map(|(again, ours)| Ratio::of(again, ours)),
            values,
        }
    }

    /// For the file: every value of every round.
    pub fn json(&self, candidates: &[&Candidate]) -> Value {
        let mut values = Map::new();
        for (candidate, of_it) in candidates.iter().zip(&self.values) {
            let both = json!({ "median": of_it.median(), "rounds": of_it.0 });
            values.insert(candidate.name.clone(), both);
        }
        json!({
            "row": self.row,
            "figure": self.figure.to_string(),
            "unit": self.unit,
            "more_is_better": self.figure.more_is_better(),
            "values": values,
            "outcome": self.outcome.as_ref().map(Outcome::json),
            "again_to_sleepingd": self.again.as_ref().map(Ratio::json),
        })
    }
}

// === impl Values ===

impl Values {
    /// The value in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        percentile(&sorted, 50).unwrap_or(f64::NAN)
    }
}

// === impl Outcome ===

impl Outcome {
    fn json(&self) -> Value {
        let bar = match self.bar {
            Bar::None => Value::Null,
            Bar::Best(bar) => bar.into(),
        };
        json!({
            "best_rival": self.rival,
            "ratio": self.ratio.json(),
            "bar": bar,
            "met": self.met,
        })
    }
}

// === impl Bar ===

impl Bar {
    fn is_met(self, figure: Figure, ratio: f64) -> bool {
        match self {
            Self::None => true,
            Self::Best(bar) if figure.more_is_better() => ratio >= bar,
            Self::Best(bar) => ratio <= bar,
        }
    }
}

// === impl Ratio ===

impl Ratio {
    fn of(ours: &Values, theirs: &Values) -> Self {
        let each = || {
            ours.0
                .iter()
                .zip(&theirs.0)
                .map(|(ours, theirs)| ours / theirs)
        };
        Self {
            median: ours.median() / theirs.median(),
            least: each().fold(f64::INFINITY, f64::min),
            most: each().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    fn json(&self) -> Value {
        json!({ "medians": self.median, "least": self.least, "most": self.most })
    }
}

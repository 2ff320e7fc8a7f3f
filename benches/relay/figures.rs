//! Medians, ratios to the best rival, verdicts.

use serde_json::{Map, Value, json};

use crate::{
    common::rank::percentile,
    memory::{Memory, Weighing},
    relays::{Candidate, Family, Kind},
    rounds::Round,
    rows::Row,
};

/// Who is measured against the rivals.
pub const OURS: &str = "sleepingd";

/// The same program once more: how far it is from itself is how far figures can be trusted.
pub const AGAIN: &str = "again";

/// Processors that may be in use while nothing happens: what the system itself takes now and then.
/// With more, others have a part in the figures.
pub const QUIET: f64 = 0.1;

/// What a line is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Its row.
    pub row: &'static str,
    /// The figure.
    pub figure: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Or less is.
    pub more_is_better: bool,
    /// What it is worth where others use the machine, too.
    pub disturbed: Disturbed,
    /// What must be reached.
    pub bar: Bar,
}

/// What becomes of a figure where others use the machine, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbed {
    /// It is the relay's alone.
    Unharmed,
    /// It is theirs as well, and not judged.
    Doubtful,
    /// It is mostly theirs, and not shown.
    Void,
}

/// What must be reached. Ratios are at least that where more is better, at most where less is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// Nothing: it is told because it explains.
    None,
    /// This ratio to the best rival.
    Best(f64),
    /// This ratio to the best rival of a family.
    Than(Family, f64),
    /// This value at most.
    Most(f64),
}

/// One figure of one row, of all candidates.
pub struct Line {
    /// What it is about.
    pub subject: Subject,
    /// Each candidate's, in the order of the table.
    pub values: Vec<Values>,
    /// We beside the best rival, where there is one.
    pub rival: Option<(String, Ratio)>,
    /// What became of the bar.
    pub verdict: Verdict,
    /// Whether nobody else used the machine.
    pub quiet: bool,
    /// Each other sleepingd beside the one that counts.
    pub siblings: Vec<(String, Ratio)>,
}

/// One candidate's, one for each round; none where it does not take part.
#[derive(Clone)]
pub struct Values(Vec<f64>);

/// How two compare.
pub struct Ratio {
    /// Of their medians.
    pub median: f64,
    /// The least of any round.
    pub least: f64,
    /// The most of any round.
    pub most: f64,
    /// Round by round, where there are rounds enough to say.
    pub paired: Option<Paired>,
}

/// The mean of the rounds' own ratios. A machine that is faster in one minute than in the next
/// spoils medians of a few rounds; it hardly spoils what was measured one right after the other.
pub struct Paired {
    /// The geometric mean, without the first and the last tenth.
    pub mean: f64,
    /// Its standard error, as a part of it.
    pub error: f64,
}

/// Fewer rounds than that say nothing about their error.
const ROUNDS_TO_PAIR: usize = 6;

/// What became of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is none, or nobody to compare with.
    None,
    /// It is reached.
    Met,
    /// It is not.
    Missed,
    /// Others used the machine, too.
    Unknown,
}

/// All lines of the rounds.
pub fn of_rounds(candidates: &[Candidate], rows: &[&'static Row], rounds: &[Round]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let quiet = rounds.iter().all(|round| round.rows[number].others < QUIET);
        for &(figure, bar) in row.figures {
            let value = |round: &Round, which: usize| {
                row.value(figure, &round.rows[number].seen[which], round.others())
            };
            let values = (0..candidates.len())
                .map(|which| Values(rounds.iter().filter_map(|r| value(r, which)).collect()))
                .collect();
            lines.push(Line::new(
                row.subject(figure, bar),
                candidates,
                values,
                quiet,
            ));
        }
    }
    lines
}

/// All lines of what candidates weigh.
pub fn of_memory(candidates: &[Candidate], weighing: &Weighing) -> Vec<Line> {
    let line = |row, figure, unit, bar, value: fn(&Memory) -> Option<f64>| {
        let values = weighing
            .each
            .iter()
            .map(|times| Values(times.iter().filter_map(value).collect()));
        let subject = Subject {
            row,
            figure,
            unit,
            more_is_better: false,
            // The slab is everybody's, the rest is the relay's own.
            disturbed: match figure {
                "kernel" => Disturbed::Doubtful,
                _ => Disturbed::Unharmed,
            },
            bar,
        };
        Line::new(subject, candidates, values.collect(), weighing.quiet)
    };
    let each = "idle connection";
    vec![
        line("idle process", "PSS", "KiB", Bar::Best(1.0), |m| m.idle),
        line(each, "user", "KiB", Bar::Most(1.5), |m| m.user),
        line(each, "kernel", "KiB", Bar::Than(Family::Nginx, 1.0), |m| {
            m.kernel
        }),
        line(each, "descriptors", "", Bar::None, |m| m.descriptors),
    ]
}

// === impl Line ===

impl Line {
    fn new(subject: Subject, candidates: &[Candidate], values: Vec<Values>, quiet: bool) -> Self {
        let ours = candidates.iter().position(|one| one.name == OURS);
        let ratio = |of: usize, to: usize| Ratio::of(&values[of], &values[to]);
        let best = subject.best(candidates, &values);
        let rival = ours.zip(best).map(|(ours, best)| {
            let name = candidates[best].name.clone();
            (name, ratio(ours, best))
        });
        let is_sibling = |at: &usize| {
            matches!(candidates[*at].kind, Kind::Sleepingd { .. }) && Some(*at) != ours
        };
        let siblings = (0..candidates.len()).filter(is_sibling).filter_map(|at| {
            let name = candidates[at].name.clone();
            Some((name, ratio(at, ours?)))
        });
        let verdict = match ours.and_then(|ours| values[ours].median()) {
            Some(_) if subject.bar == Bar::None => Verdict::None,
            Some(_) if !quiet && subject.disturbed != Disturbed::Unharmed => Verdict::Unknown,
            Some(value) => subject.verdict(value, rival.as_ref().map(|(_, ratio)| ratio.median)),
            None => Verdict::None,
        };
        Self {
            siblings: siblings.collect(),
            quiet,
            subject,
            rival,
            verdict,
            values,
        }
    }

    /// Whether the values are worth to be looked at.
    pub fn is_void(&self) -> bool {
        !self.quiet && self.subject.disturbed == Disturbed::Void
    }

    /// For the file: every value of every round.
    pub fn json(&self, candidates: &[Candidate]) -> Value {
        let mut values = Map::new();
        for (candidate, of_it) in candidates.iter().zip(&self.values) {
            let both = json!({ "median": of_it.median(), "rounds": of_it.0 });
            values.insert(candidate.name.clone(), both);
        }
        let siblings: Map<String, Value> = self
            .siblings
            .iter()
            .map(|(name, ratio)| (name.clone(), ratio.json()))
            .collect();
        json!({
            "row": self.subject.row,
            "figure": self.subject.figure,
            "unit": self.subject.unit,
            "more_is_better": self.subject.more_is_better,
            "values": values,
            "best_rival": self.rival.as_ref().map(|(name, _)| name),
            "to_best_rival": self.rival.as_ref().map(|(_, ratio)| ratio.json()),
            "bar": self.subject.bar.words(),
            "verdict": self.verdict.word(),
            "to_sleepingd": siblings,
        })
    }
}

// === impl Subject ===

impl Subject {
    /// The best of those rivals that the bar is about.
    fn best(&self, candidates: &[Candidate], values: &[Values]) -> Option<usize> {
        let counts = |family: Family| match self.bar {
            Bar::Than(than, _) => family == than,
            _ => family != Family::None,
        };
        let sign = if self.more_is_better { -1.0 } else { 1.0 };
        (0..candidates.len())
            .filter(|at| counts(candidates[*at].family()))
            .filter_map(|at| Some((at, sign * values[at].median()?)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(at, _)| at)
    }

    fn verdict(&self, value: f64, ratio: Option<f64>) -> Verdict {
        let met = match (self.bar, ratio) {
            (Bar::None, _) | (Bar::Best(_) | Bar::Than(..), None) => return Verdict::None,
            (Bar::Best(bar) | Bar::Than(_, bar), Some(ratio)) if self.more_is_better => {
                ratio >= bar
            }
            (Bar::Best(bar) | Bar::Than(_, bar), Some(ratio)) => ratio <= bar,
            (Bar::Most(bar), _) => value <= bar,
        };
        if met { Verdict::Met } else { Verdict::Missed }
    }
}

// === impl Values ===

impl Values {
    /// The value in the middle.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        percentile(&sorted, 50)
    }
}

// === impl Bar ===

impl Bar {
    /// As it is printed.
    pub fn words(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Best(bar) => format!("{bar:.2}"),
            Self::Than(family, bar) => format!("{bar:.2} of {family:?}"),
            Self::Most(bar) => format!("at most {bar}"),
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Unknown => "unknown",
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
        let medians = ours.median().zip(theirs.median());
        Self {
            median: medians.map_or(f64::NAN, |(ours, theirs)| ours / theirs),
            least: each().fold(f64::INFINITY, f64::min),
            most: each().fold(f64::NEG_INFINITY, f64::max),
            paired: Paired::of(each().map(f64::ln).collect()),
        }
    }

    fn json(&self) -> Value {
        let paired = self.paired.as_ref();
        json!({
            "medians": self.median,
            "least": self.least,
            "most": self.most,
            "paired": paired.map(|paired| json!({ "mean": paired.mean, "error": paired.error })),
        })
    }
}

// === impl Paired ===

impl Paired {
    fn of(mut logarithms: Vec<f64>) -> Option<Self> {
        if logarithms.len() < ROUNDS_TO_PAIR {
            return None;
        }
        logarithms.sort_by(f64::total_cmp);
        let tenth = logarithms.len() / 10;
        let kept = &logarithms[tenth..logarithms.len() - tenth];
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let squares: f64 = kept.iter().map(|one| (one - mean).powi(2)).sum();
        Some(Self {
            mean: mean.exp(),
            error: (squares / (count - 1.0) / count).sqrt(),
        })
    }
}

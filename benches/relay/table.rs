//! The table, as it is printed.

use crate::{
    figures::{Line, Ratio},
    relays::Candidate,
    rows::Bar,
};

/// Prints all lines.
pub fn print(candidates: &[&Candidate], lines: &[Line]) {
    print!("{:<36}", "");
    for candidate in candidates {
        print!(" {:>width$}", candidate.name, width = width(candidate));
    }
    println!("   to the best rival");
    let mut row = "";
    for line in lines {
        if line.row != row {
            println!();
            row = line.row;
        }
        print!("{:<17} {:<11} {:<6}", line.row, line.figure, line.unit);
        for (candidate, values) in candidates.iter().zip(&line.values) {
            let value = number(values.median());
            print!(" {value:>width$}", width = width(candidate));
        }
        println!("{}", comparison(line));
    }
}

fn comparison(line: &Line) -> String {
    let again = line.again.as_ref().map_or(String::new(), |again| {
        format!("   again {:.3}", again.median)
    });
    let Some(outcome) = &line.outcome else {
        return again;
    };
    let Ratio {
        median,
        least,
        most,
    } = outcome.ratio;
    let verdict = match (outcome.bar, outcome.met) {
        (Bar::None, _) => String::new(),
        (Bar::Best(bar), true) => format!("{bar:.2} met"),
        (Bar::Best(bar), false) => format!("{bar:.2} MISSED"),
    };
    let rival = &outcome.rival;
    format!("   {median:5.3} of {rival:<12} {least:5.3}..{most:5.3}  {verdict:<11}{again}")
}

fn width(candidate: &Candidate) -> usize {
    candidate.name.len().max(8)
}

/// Four digits that count.
fn number(value: f64) -> String {
    match value {
        v if v.is_nan() => "-".to_owned(),
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 100.0 => format!("{v:.1}"),
        v if v >= 10.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

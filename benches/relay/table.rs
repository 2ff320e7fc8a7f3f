//! The table: for who runs the bench, and for who reads about it.

use serde_json::{Map, Value};

use crate::{
    figures::{AGAIN, Bar, Line, OURS, Ratio, Values, Verdict},
    relays::Candidate,
};

/// Prints all lines.
pub fn print(candidates: &[Candidate], lines: &[Line]) {
    print!("{:<38}", "");
    for candidate in candidates {
        print!(" {:>width$}", candidate.name, width = width(candidate));
    }
    println!("   {OURS} to the best rival, per round, bar; other sleepingd to it");
    let mut row = "";
    for line in lines {
        let subject = line.subject;
        if subject.row != row {
            println!();
            row = subject.row;
        }
        print!("{row:<17} {:<13} {:<6}", subject.figure, subject.unit);
        for (candidate, values) in candidates.iter().zip(&line.values) {
            let value = number(line, values);
            print!(" {value:>width$}", width = width(candidate));
        }
        println!("{}", comparison(line));
    }
}

/// The same in Markdown: what there is a bar for.
pub fn markdown(candidates: &[Candidate], lines: &[Line], machine: &Map<String, Value>) -> String {
    let shown: Vec<usize> = (0..candidates.len())
        .filter(|at| candidates[*at].name != AGAIN)
        .collect();
    let names: Vec<&str> = shown.iter().map(|at| &*candidates[*at].name).collect();
    let mut text = format!(
        "<!-- figures -->\n| | | {} | to the best rival |\n| --- | --- |{} --- |\n",
        names.join(" | "),
        " ---: |".repeat(names.len())
    );
    for line in lines.iter().filter(|line| line.subject.bar != Bar::None) {
        let cell = |at: &usize| number(line, &line.values[*at]);
        let cells: Vec<String> = shown.iter().map(cell).collect();
        let rival = line.rival.as_ref().filter(|_| !line.is_void());
        let ratio = rival.map_or(String::new(), |(rival, ratio)| {
            format!("{:.2} ({rival})", ratio.median)
        });
        let subject = line.subject;
        text += &format!(
            "| {} | {}, {} | {} | {ratio} |\n",
            subject.row,
            subject.figure,
            subject.unit,
            cells.join(" | "),
        );
    }
    let fact = |name: &str| machine.get(name).map_or("unknown".to_owned(), plain);
    text + &format!(
        "\n{}, {} cores, Linux {}, {}; `cargo bench --bench relay -- --markdown`.\n<!-- /figures -->\n",
        fact("processor"),
        fact("cores"),
        fact("kernel"),
        fact("date"),
    )
}

fn comparison(line: &Line) -> String {
    if line.is_void() {
        return format!("   {}", line.verdict.word());
    }
    let siblings: String = line
        .siblings
        .iter()
        .map(|(name, ratio)| format!("   {name} {:.3}", ratio.median))
        .collect();
    let Some((
        rival,
        Ratio {
            median,
            least,
            most,
            paired,
        },
    )) = &line.rival
    else {
        return siblings;
    };
    let verdict = match line.verdict {
        Verdict::None => String::new(),
        verdict => format!("{} {}", line.subject.bar.words(), verdict.word()),
    };
    let paired = paired.as_ref().map_or(String::new(), |paired| {
        format!("   paired {:.3} +- {:.3}", paired.mean, paired.error)
    });
    format!(
        "   {median:5.3} of {rival:<12} {least:5.3}..{most:5.3}  {verdict:<16}{siblings}{paired}"
    )
}

fn width(candidate: &Candidate) -> usize {
    candidate.name.len().max(7)
}

/// Four digits that count.
fn number(line: &Line, values: &Values) -> String {
    match values.median() {
        _ if line.is_void() => "-".to_owned(),
        None => "-".to_owned(),
        Some(v) if v >= 1000.0 => format!("{v:.0}"),
        Some(v) if v >= 100.0 => format!("{v:.1}"),
        Some(v) if v >= 10.0 => format!("{v:.2}"),
        Some(v) => format!("{v:.3}"),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or(value.to_string(), str::to_owned)
}

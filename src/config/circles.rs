//! Services whose TARGETs lead from one to the next and back to the first: each client of one
//! would be a client of all, and so on, until there are no descriptors left.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    path::Path,
};

use super::{
    Candidate,
    diagnostic::{Diagnostic, Report, Severity},
    validate::leads_to,
};
use crate::model::{Definition, Destination, ListenAddr, Origin};

/// What a listener and a destination have in common if one leads to the other; whether it does
/// is for [`leads_to`] to say.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Place<'a> {
    Port(u16),
    Path(&'a Path),
}

/// Reports every circle once, at the TARGET of the first in it. All in it are left out, unless
/// another is left out anyway, without which it is no circle. One that is its own destination is
/// reported elsewhere.
pub(super) fn check(candidates: &mut [Candidate], report: &mut Report) {
    let leads = leads(candidates);
    let mut found = vec![false; candidates.len()];
    for first in 0..candidates.len() {
        if found[first] {
            continue;
        }
        let Some(circle) = circle(first, &leads, |_| true) else {
            continue;
        };
        for &member in &circle {
            found[member] = true;
        }
        report.push(describe(&circle, candidates));
    }
    let served = |i: usize| candidates[i].serves();
    let left_out: Vec<usize> = (0..candidates.len())
        .filter(|&i| found[i] && served(i) && circle(i, &leads, served).is_some())
        .collect();
    for i in left_out {
        candidates[i].broken = true;
    }
}

/// For each service, the others that its destinations lead to.
fn leads(candidates: &[Candidate]) -> Vec<Vec<usize>> {
    let mut listeners: HashMap<Place, Vec<(usize, &ListenAddr)>> = HashMap::new();
    for (i, definition) in taking_part(candidates) {
        for address in &definition.listen {
            let place = match address {
                ListenAddr::Any(port) => Place::Port(*port),
                ListenAddr::Tcp(address) => Place::Port(address.port()),
                ListenAddr::Unix(path) => Place::Path(path),
            };
            listeners.entry(place).or_default().push((i, address));
        }
    }
    let mut leads = vec![Vec::new(); candidates.len()];
    for (i, definition) in taking_part(candidates) {
        for target in &definition.targets {
            let place = match target {
                Destination::Tcp(address) => Place::Port(address.port()),
                Destination::Host { port, .. } => Place::Port(*port),
                Destination::Unix(path) => Place::Path(path),
            };
            let there = listeners.get(&place).into_iter().flatten();
            let reached = there.filter(|(other, at)| *other != i && leads_to(at, target));
            leads[i].extend(reached.map(|(other, _)| *other));
        }
        leads[i].sort_unstable();
        leads[i].dedup();
    }
    leads
}

fn taking_part(candidates: &[Candidate]) -> impl Iterator<Item = (usize, &Definition)> {
    let active = candidates.iter().enumerate().filter(|(_, c)| c.active);
    active.filter_map(|(i, candidate)| Some((i, candidate.definition.as_ref()?)))
}

/// The shortest way from one service back to itself through those that are `open`, if there is
/// one: the services on it, in order, itself first.
fn circle(first: usize, leads: &[Vec<usize>], open: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
    let mut came_from: HashMap<usize, usize> = HashMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(here) = queue.pop_front() {
        for &next in leads[here].iter().filter(|next| open(**next)) {
            if next == first {
                let back = |at: &usize| came_from.get(at).copied();
                let mut circle: Vec<usize> = std::iter::successors(Some(here), back).collect();
                circle.reverse();
                return Some(circle);
            }
            if let Entry::Vacant(unseen) = came_from.entry(next) {
                unseen.insert(here);
                queue.push_back(next);
            }
        }
    }
    None
}

fn describe(circle: &[usize], candidates: &[Candidate]) -> Diagnostic {
    let first = &candidates[circle[0]];
    let mut way = String::new();
    for &i in circle {
        let Candidate { name, origin, .. } = &candidates[i];
        let (file, line) = (origin.file.display(), origin.line);
        way.push_str(&format!("'{name}' ({file}:{line}) -> "));
    }
    let message = format!(
        "TARGET: the way goes in a circle, {way}'{}': one client would become thousands",
        first.name
    );
    let origin = Origin {
        line: first.target_line,
        ..first.origin.clone()
    };
    Diagnostic::new(Severity::Error, Some(origin), None, &message)
}

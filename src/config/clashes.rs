//! What two services cannot both have: a slug, an address, an inherited socket.

use std::{collections::HashMap, path::PathBuf};

use super::{
    Candidate,
    diagnostic::{Diagnostic, Report, Severity},
};
use crate::model::{ListenAddr, Origin};

/// What a service wants for itself. Services that clash have one of these in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Claim {
    Slug(String),
    Socket(String),
    Path(PathBuf),
    /// An address with this port; whether two of them clash is for [`overlap`] to say.
    Port(u16),
}

/// Whether one socket at each of these addresses is one too many, bind(2). A wildcard takes in
/// every address of its family, and the bare port those of both.
pub(super) fn overlap(a: &ListenAddr, b: &ListenAddr) -> bool {
    match (a, b) {
        (ListenAddr::Unix(a), ListenAddr::Unix(b)) => a == b,
        (ListenAddr::Unix(_), _) | (_, ListenAddr::Unix(_)) => false,
        (ListenAddr::Any(_), _) | (_, ListenAddr::Any(_)) => a.port() == b.port(),
        (ListenAddr::Tcp(a), ListenAddr::Tcp(b)) => {
            let wild = a.ip().is_unspecified() || b.ip().is_unspecified();
            let one_family = a.is_ipv4() == b.is_ipv4();
            a.port() == b.port() && (a.ip() == b.ip() || (wild && one_family))
        }
    }
}

/// Reports every clash, at the later of two. That one is left out, and the earlier works on as if
/// the later had never been written; unless the earlier is left out anyway.
pub(super) fn check(candidates: &mut [Candidate], report: &mut Report) {
    let mut holders: HashMap<Claim, Vec<usize>> = HashMap::new();
    for later in 0..candidates.len() {
        let claims = claims_of(&candidates[later]);
        for claim in &claims {
            let Some((earlier, (line, message))) = find(claim, &holders, candidates, later) else {
                continue;
            };
            let candidate = &candidates[later];
            let origin = Origin {
                line,
                ..candidate.origin.clone()
            };
            let name = Some(candidate.name.clone());
            report.push(Diagnostic::new(
                Severity::Error,
                Some(origin),
                name,
                &message,
            ));
            candidates[later].broken |= candidates[earlier].serves();
            if matches!(claim, Claim::Slug(_)) {
                // The same section twice has everything in common; one word about it is enough.
                break;
            }
        }
        for claim in claims {
            holders.entry(claim).or_default().push(later);
        }
    }
}

/// Who has the claim already, and what to say about it: one that is going to be served if there
/// is one, as only that is a reason to leave the later one out.
fn find(
    claim: &Claim,
    holders: &HashMap<Claim, Vec<usize>>,
    candidates: &[Candidate],
    later: usize,
) -> Option<(usize, (usize, String))> {
    let holders = holders.get(claim)?;
    let with = |&i: &usize| Some((i, clash(claim, &candidates[i], &candidates[later])?));
    let mut served = holders.iter().filter(|i| candidates[**i].serves());
    served
        .find_map(with)
        .or_else(|| holders.iter().find_map(with))
}

fn claims_of(candidate: &Candidate) -> Vec<Claim> {
    let mut claims = Vec::new();
    if let Some(slug) = candidate.name.slug() {
        claims.push(Claim::Slug(slug.to_string()));
    }
    let Some(definition) = candidate.definition.as_ref().filter(|_| candidate.active) else {
        return claims;
    };
    claims.extend(definition.sockets.iter().cloned().map(Claim::Socket));
    for address in &definition.listen {
        let claim = match address {
            ListenAddr::Unix(path) => Claim::Path(path.clone()),
            ListenAddr::Any(port) => Claim::Port(*port),
            ListenAddr::Tcp(address) => Claim::Port(address.port()),
        };
        if !claims.contains(&claim) {
            claims.push(claim);
        }
    }
    claims
}

/// What two services with a claim in common quarrel about, and the line of the later one.
fn clash(claim: &Claim, earlier: &Candidate, later: &Candidate) -> Option<(usize, String)> {
    let there = || {
        let origin = &earlier.origin;
        format!(
            "'{}' ({}:{})",
            earlier.name,
            origin.file.display(),
            origin.line
        )
    };
    match claim {
        Claim::Slug(_) if earlier.name == later.name => {
            let message = format!("[{}] is there twice, first as {}", later.name, there());
            Some((later.origin.line, message))
        }
        Claim::Slug(slug) => {
            let message = format!(
                "'{}' and {} have the same slug, '{slug}'",
                later.name,
                there()
            );
            Some((later.origin.line, message))
        }
        Claim::Socket(name) => {
            let message = format!("SOCKET: '{name}' is taken by {} already", there());
            Some((later.socket_line, message))
        }
        Claim::Port(_) | Claim::Path(_) => {
            let theirs = &earlier.definition.as_ref()?.listen;
            let ours = &later.definition.as_ref()?.listen;
            let (a, b) = ours
                .iter()
                .find_map(|a| Some((a, theirs.iter().find(|b| overlap(a, b))?)))?;
            let message = format!(
                "PORT: {a} is taken by {} already, which listens on {b}",
                there()
            );
            Some((later.port_line, message))
        }
    }
}

//! Which destination is tried first; the others follow.

use crate::model::{Balance, Destination};

/// Puts the destinations into the order in which this client is to try them. `turn` counts
/// clients; `relays` says how many a destination has.
pub(super) fn order(
    balance: Balance,
    destinations: &[Destination],
    turn: usize,
    rng: &mut fastrand::Rng,
    relays: impl Fn(&Destination) -> usize,
) -> Vec<Destination> {
    let mut order = destinations.to_vec();
    if order.len() < 2 {
        return order;
    }
    match balance {
        Balance::First => {}
        Balance::Random => rng.shuffle(&mut order),
        Balance::RoundRobin => {
            let len = order.len();
            order.rotate_left(turn % len);
        }
        // Shuffled first, so that those with equally many are not always tried in one order.
        Balance::LeastConn => {
            rng.shuffle(&mut order);
            order.sort_by_key(relays);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Destination> {
        ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
            .iter()
            .map(|d| d.parse().unwrap())
            .collect()
    }

    #[test]
    fn each_policy_orders_as_it_says() {
        let three = three();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut first = |balance, turn| {
            order(balance, &three, turn, &mut rng, |d| {
                if *d == three[1] { 0 } else { 5 }
            })[0]
                .clone()
        };
        assert_eq!(first(Balance::First, 2), three[0]);
        assert_eq!(first(Balance::RoundRobin, 0), three[0]);
        assert_eq!(first(Balance::RoundRobin, 4), three[1]);
        assert_eq!(first(Balance::LeastConn, 0), three[1]);
        let mut seen: Vec<_> = (0..64).map(|_| first(Balance::Random, 0)).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn every_destination_stays_a_candidate() {
        let three = three();
        for balance in [
            Balance::First,
            Balance::Random,
            Balance::RoundRobin,
            Balance::LeastConn,
        ] {
            let mut got = order(balance, &three, 1, &mut fastrand::Rng::with_seed(1), |_| 0);
            got.sort();
            assert_eq!(got, three);
        }
    }
}

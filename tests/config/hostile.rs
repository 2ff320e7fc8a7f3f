//! Hostile and damaged files.

use super::*;

/// Random bytes, or random words of these.
fn nonsense(seed: u64, words: &[&str]) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    if seed % 2 == 0 {
        let bytes: Vec<u8> = (0..rng.usize(0..300)).map(|_| rng.u8(..)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    } else {
        (0..rng.usize(0..100))
            .map(|_| *rng.choice(words).unwrap())
            .collect()
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let words: Vec<&str> = keys::ALL
        .iter()
        .map(|key| key.name)
        .chain([
            "=",
            "=",
            "=",
            "\n",
            "\n",
            "\n",
            "[a]\n",
            "[b]\n",
            "\"",
            "'",
            "80",
            "127.0.0.1:1",
            "10min",
            " ",
            "no",
            "\\",
            "é",
            "\u{fffd}",
        ])
        .collect();
    let seeds = std::env::var("SLEEPINGD_FUZZ_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok());
    for seed in 0..seeds.unwrap_or(1000) {
        let loaded = load(&nonsense(seed, &words));
        for definition in &loaded.definitions {
            assert!(!config::explain(definition).is_empty(), "seed {seed}");
        }
        for diagnostic in &loaded.diagnostics {
            assert!(
                !diagnostic.to_string().contains(char::is_control),
                "seed {seed}"
            );
        }
        // What is left out is told.
        assert!(
            loaded.broken.is_empty() || loaded.errors().count() > 0,
            "seed {seed}"
        );
    }
}

#[test]
fn a_file_of_nonsense_gives_a_bounded_number_of_complaints() {
    let loaded = load(&"x\n".repeat(500_000));
    assert_eq!(loaded.diagnostics.len(), 1001);
    assert_eq!(
        said(&loaded)[1000],
        "error: 499000 more errors and 0 more warnings are not shown"
    );
    let loaded = load(&"[a]\n".repeat(10_001));
    assert!(
        loaded
            .errors()
            .any(|d| d.message.starts_with("more than 10000 services")
                || d.message.contains("are not shown"))
    );
}

#[test]
fn files_survive_being_kept() {
    let kept = file("x.conf", "# \u{fffd}\n[s]\nPORT=\"1\n2\"\n");
    let json = serde_json::to_string(&kept).unwrap();
    assert_eq!(serde_json::from_str::<SourceFile>(&json).unwrap(), kept);
}

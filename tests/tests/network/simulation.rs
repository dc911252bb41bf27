//! The lines' acceptance matrix in virtual time. `simulate --seeds 1000` runs more of it.

use tests::simulation::{Summary, run, scenarios};

#[test]
fn every_row_of_the_matrix_keeps_its_promises() {
    for scenario in scenarios() {
        let figures: Vec<_> = (1..=SEEDS)
            .map(|seed| match run(&scenario, seed) {
                Ok(figures) => figures,
                Err(broken) => panic!(
                    "{broken}\nagain: cargo run -p tests --bin simulate -- --scenario {} --seed \
                     {seed} --seeds 1",
                    scenario.name
                ),
            })
            .collect();
        let missed = Summary::of(&figures).missed(&scenario.goals);
        assert!(missed.is_empty(), "{}: {missed:?}", scenario.name);
    }
}

#[test]
fn a_seed_is_a_run() {
    let scenario = scenarios().into_iter().find(|scenario| scenario.name == "bursts25");
    let scenario = scenario.expect("a scenario of this name");
    let latencies = |seed| run(&scenario, seed).expect("a run").delivered_ms;
    assert_eq!(latencies(7), latencies(7));
    assert_ne!(latencies(7), latencies(8));
}

const SEEDS: u64 = 4;

//! Rankings of edges against each other, and against an oracle, in a simulated network.
//!
//! A [`World`](world::World) has thirty provinces, three carriers, and edges with a drop rate for every cell; edges fall
//! ill for one carrier, die, and run full. A [`Policy`] decides where the new sessions of each cell go,
//! knowing what a svrlist would: reports of clients that come late or never, loads as they were a
//! while ago. The product's own ranking and learning are one of them, called as svrlist calls them. Time is
//! virtual: a seed is a run.
//!
//! What is unfair, and to whom:
//! - Sessions are a fluid: a cell's new sessions split exactly by the ranking's shares. Users, who are
//!   drawn by hash, follow them with the noise of their number.
//! - The oracle knows every true drop rate and every load of this moment, but keeps to the same
//!   quotas as the product. It is no bound: it looks at each tick alone.
//! - An edge beyond its capacity loses what is too much. Real ones refuse clients, which costs a policy less.
//! - Baselines have the constants of the evaluation they come from, and were not tuned further.

mod baselines;
mod dice;
mod drive;
mod month;
mod outcome;
mod plot;
mod policy;
mod report;
mod world;

pub use drive::{Scale, Variant, measure};
pub use month::{Month, bill};
pub use outcome::{Outcome, Table};
pub use policy::{NAMES, Policy, named};
pub use report::{CSV, Report};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_where_nothing_happens() {
        // Half an hour of the usual network.
        let calm = Scale { incidents: false, ticks: 360, ..Scale::USUAL };
        let ran = measure(Policy::Linecast, 1, &calm, &Variant::default());
        assert_eq!((ran.false_moves, ran.believed), ([0, 0], 0));
    }
}

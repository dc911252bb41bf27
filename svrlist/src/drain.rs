//! When an edge hears how many clients a second it is to send on: a machine for one line.
//!
//! An edge that drains sends its clients to the places that it was told of last. So it hears of a new rate after
//! places that were found since the rate changed: then these are as operators want them by now. Places found
//! later do as well, so the edge hears of it however fast plans follow each other. One that is to send nobody on needs
//! no places.

/// What the edge knows, and what it is to hear.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drains {
    told: Option<f64>,
    /// A rate that the edge does not know, and the plan in force when that was noted.
    noted: Option<(f64, u64)>,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The edge knows the rate.
    Nothing,
    /// To find out where its clients may go, by the plan in force or a later one.
    Find,
    /// To tell the rate.
    Tell,
}

impl Drains {
    /// The edge is to send on so many clients a second while `plan` is in force, and was told of places by plan
    /// `found` last. Plans are numbered in order. After [`Step::Tell`] it counts as told.
    pub fn handle_rate(&mut self, rate_per_s: f64, plan: u64, found: Option<u64>) -> Step {
        if self.told == Some(rate_per_s) {
            self.noted = None;
            return Step::Nothing;
        }
        let noted = self.noted.filter(|(rate, _)| *rate == rate_per_s);
        let (_, since) = *self.noted.insert(noted.unwrap_or((rate_per_s, plan)));
        if rate_per_s > 0.0 && found.is_none_or(|found| found < since) {
            return Step::Find;
        }
        (self.told, self.noted) = (Some(rate_per_s), None);
        Step::Tell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_hears_of_a_rate_after_the_places_found_since() {
        let mut drains = Drains::default();
        assert_eq!(drains.handle_rate(3.0, 4, None), Step::Find);
        assert_eq!(drains.handle_rate(3.0, 4, Some(3)), Step::Find);
        assert_eq!(drains.handle_rate(3.0, 4, Some(4)), Step::Tell);
        assert_eq!(drains.handle_rate(3.0, 9, Some(4)), Step::Nothing);
        assert_eq!(drains.handle_rate(5.0, 10, Some(9)), Step::Find);
        assert_eq!(drains.handle_rate(5.0, 10, Some(10)), Step::Tell);
        assert_eq!(drains.handle_rate(5.0, 10, Some(10)), Step::Nothing);
    }

    #[test]
    fn an_edge_that_is_to_send_nobody_on_hears_so_at_once() {
        let mut drains = Drains::default();
        assert_eq!(drains.handle_rate(0.0, 4, None), Step::Tell);
        assert_eq!(drains.handle_rate(3.0, 5, Some(5)), Step::Tell);
        assert_eq!(drains.handle_rate(0.0, 6, Some(5)), Step::Tell);
        assert_eq!(drains.handle_rate(0.0, 7, Some(5)), Step::Nothing);
    }

    #[test]
    fn plans_that_follow_faster_than_places_are_found_do_not_keep_it_from_the_edge() {
        let mut drains = Drains::default();
        // Whatever is found is of three plans ago.
        let mut plans = 4..100;
        let told = plans.find(|plan| drains.handle_rate(3.0, *plan, Some(plan - 3)) == Step::Tell);
        assert_eq!(told, Some(7));
    }

    #[test]
    fn a_rate_that_changes_again_waits_for_places_of_its_own() {
        let mut drains = Drains::default();
        drains.handle_rate(0.0, 1, Some(1));
        assert_eq!(drains.handle_rate(3.0, 2, Some(1)), Step::Find);
        assert_eq!(drains.handle_rate(5.0, 7, Some(6)), Step::Find);
        assert_eq!(drains.handle_rate(0.0, 8, Some(7)), Step::Nothing, "it knows this one");
        assert_eq!(drains.handle_rate(5.0, 9, Some(8)), Step::Find);
        assert_eq!(drains.handle_rate(5.0, 10, Some(9)), Step::Tell);
    }
}

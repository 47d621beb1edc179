//! How many requests one destination may have to answer at a time. Pure.
//!
//! It grows while requests wait for a slot, so that a distant destination is filled, and shrinks
//! when a whole request is refused because of a rate limit, or not answered in time. What single
//! shards refuse is not its business: a limiter slows what goes there, and fewer requests would
//! slow all the others.
//!
//! What began before a cut does not count afterwards: some of it may hang, and what is sent again
//! would wait behind it.

/// Where it begins: two requests fill what is near.
const FIRST: usize = 2;

/// What is left after a cut.
const CUT: f64 = 0.5;

#[derive(Clone, Debug)]
pub struct Controller {
    limit: f64,
    most: usize,
    /// Until the first cut it doubles with each round of answers.
    cut: bool,
    /// Requests that began since the last cut,
    under_way: usize,
    /// and before it.
    older: usize,
    /// Counts the requests. Those that began before a cut bring no other.
    begun: u64,
    cut_at: u64,
}

/// One request that is under way.
#[derive(Debug)]
pub struct Ticket(u64);

/// What a request tells of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It was answered.
    Answered,
    /// Too much is asked of it, or of the way to it.
    Overloaded,
    /// Nothing: the fault is another.
    None,
}

impl Default for Controller {
    fn default() -> Self {
        Controller { limit: FIRST as f64, most: 1, cut: false, under_way: 0, older: 0, begun: 0, cut_at: 0 }
    }
}

impl Controller {
    /// How many requests may be under way.
    pub fn limit(&self) -> usize {
        (self.limit as usize).clamp(1, self.most)
    }

    pub fn set_most(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// How many requests may begin now.
    pub fn free(&self) -> usize {
        let most = self.most.saturating_sub(self.under_way + self.older);
        self.limit().saturating_sub(self.under_way).min(most)
    }

    pub fn try_begin(&mut self) -> Option<Ticket> {
        if self.free() == 0 {
            return None;
        }
        self.under_way += 1;
        self.begun += 1;
        Some(Ticket(self.begun))
    }

    /// `waiting`: others wait for a slot.
    pub fn end(&mut self, ticket: Ticket, sign: Sign, waiting: bool) {
        match ticket.0 > self.cut_at {
            true => self.under_way -= 1,
            false => self.older -= 1,
        }
        match sign {
            Sign::Answered if waiting => {
                self.limit += if self.cut { 1.0 / self.limit } else { 1.0 };
                self.limit = self.limit.min(self.most as f64);
            }
            Sign::Overloaded if ticket.0 > self.cut_at => {
                self.limit = (self.limit * CUT).max(1.0);
                self.cut = true;
                self.cut_at = self.begun;
                self.older += std::mem::take(&mut self.under_way);
            }
            Sign::Answered | Sign::Overloaded | Sign::None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn controller(most: usize) -> Controller {
        let mut controller = Controller::default();
        controller.set_most(most);
        controller
    }

    /// Begins as many as may begin and ends them all.
    fn round(controller: &mut Controller, sign: Sign, waiting: bool) -> usize {
        let tickets: Vec<_> = std::iter::from_fn(|| controller.try_begin()).collect();
        let count = tickets.len();
        tickets.into_iter().for_each(|ticket| controller.end(ticket, sign, waiting));
        count
    }

    #[test]
    fn it_grows_only_while_requests_wait_and_up_to_its_most() {
        let mut controller = controller(16);
        assert_eq!(round(&mut controller, Sign::Answered, false), 2);
        assert_eq!(round(&mut controller, Sign::Answered, true), 2);
        assert_eq!(round(&mut controller, Sign::Answered, true), 4);
        assert_eq!(round(&mut controller, Sign::None, true), 8);
        assert_eq!(round(&mut controller, Sign::Answered, true), 8);
        assert_eq!(round(&mut controller, Sign::Answered, true), 16);
        assert_eq!(controller.limit(), 16);
        controller.set_most(4);
        assert_eq!(controller.limit(), 4);
    }

    #[test]
    fn a_round_of_refusals_is_one_cut_and_it_grows_slowly_afterwards() {
        let mut controller = controller(16);
        for _ in 0..4 {
            round(&mut controller, Sign::Answered, true);
        }
        round(&mut controller, Sign::Overloaded, true);
        assert_eq!(controller.limit(), 8);
        round(&mut controller, Sign::Overloaded, true);
        assert_eq!(controller.limit(), 4);
        round(&mut controller, Sign::Answered, true);
        assert!(controller.limit() <= 5);
        for _ in 0..10 {
            round(&mut controller, Sign::Overloaded, true);
        }
        assert_eq!(round(&mut controller, Sign::Answered, true), 1);
    }

    #[test]
    fn what_hangs_does_not_hold_up_what_is_sent_again() {
        let mut controller = controller(4);
        let (first, hangs) = (controller.try_begin().unwrap(), controller.try_begin().unwrap());
        controller.end(first, Sign::Overloaded, true);
        assert_eq!(controller.limit(), 1);
        let again = controller.try_begin().unwrap();
        assert!(controller.try_begin().is_none());
        controller.end(hangs, Sign::Overloaded, true);
        assert_eq!(controller.limit(), 1);
        controller.end(again, Sign::Answered, true);
        assert_eq!(controller.free(), 2);
    }

    proptest! {
        #[test]
        fn there_are_always_between_one_and_most(
            most in 1usize..64,
            steps in prop::collection::vec((0u8..4, any::<bool>()), 0..300),
        ) {
            let mut controller = controller(most);
            let mut tickets = Vec::new();
            for (step, waiting) in steps {
                if step == 3 {
                    tickets.extend(controller.try_begin());
                } else if let Some(ticket) = tickets.pop() {
                    let sign = [Sign::Answered, Sign::Overloaded, Sign::None][usize::from(step)];
                    controller.end(ticket, sign, waiting);
                }
                prop_assert!((1..=most).contains(&controller.limit()));
                prop_assert!(tickets.len() <= most);
                prop_assert!(!tickets.is_empty() || controller.free() > 0);
            }
        }
    }
}

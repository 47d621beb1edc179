//! How the memory budget is shared out among what the stages hold. One place, because the
//! limits of records and requests follow from it.

/// Bytes for each purpose; together they are the memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// For what is read and not yet settled, by all flows.
    pub read: usize,
    /// For events and long lines that are copied together from several reads, by all flows.
    pub copies: usize,
    /// For what requests take beside what was read, by all flows in equal shares: a destination
    /// that hangs must not hold up another's.
    pub bodies: usize,
}

/// What a buffer costs beside its bytes, and some to spare.
const BOOKKEEPING: usize = 1024;

/// So many requests have room beside each other: one that took all of the memory would leave a
/// distant destination idle.
const REQUESTS: usize = 28;
/// Smaller requests would cost more than they gain. Bytes.
const LEAST_REQUEST: usize = 512 * 1024;

/// What flows need memory for beside what they read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Some flow puts events of several lines together.
    pub copies: bool,
    /// Some flow compresses.
    pub compresses: bool,
}

/// A request of a flow takes so much. Bytes.
const LEAST_BODIES: usize = 96 * 1024;

impl Shares {
    /// Where flows have all needs.
    pub fn of(memory_budget: usize, flows: usize) -> Self {
        Self::with(memory_budget, flows, Needs { copies: true, compresses: true })
    }

    /// Where there is too little for all, it is that for reading which is short.
    pub fn with(memory_budget: usize, flows: usize, needs: Needs) -> Self {
        let bodies = memory_budget / if needs.compresses { 8 } else { 32 };
        let bodies = bodies.max(LEAST_BODIES * flows).min(memory_budget / 4);
        let copies = memory_budget / if needs.copies { 8 } else { 64 };
        Shares { read: memory_budget - bodies - copies, copies, bodies }
    }

    /// The largest record that each of `flows` can always read and send: half of what is for
    /// reading is reserved in equal shares. Where it is compressed, that has to fit, too. Bytes.
    pub fn largest_record(&self, flows: usize, compressed: bool) -> usize {
        let most = if compressed { self.bodies } else { self.read / 2 };
        (most / flows.max(1)).saturating_sub(BOOKKEEPING)
    }

    /// How large the requests of one of `flows` should be where several smaller ones do as well.
    /// Bytes of payload.
    pub fn request(&self, flows: usize) -> usize {
        (self.read / flows.max(1) / REQUESTS).max(LEAST_REQUEST)
    }

    /// The memory budget with which each of `flows` can read and send a record of so many bytes.
    pub fn budget_for(record: usize, flows: usize, compressed: bool) -> usize {
        let holds = |budget| Shares::of(budget, flows).largest_record(flows, compressed) >= record;
        let (mut low, mut high) = (0, (record + BOOKKEEPING + 1) * flows.max(1) * 8);
        while low < high {
            let middle = low.midpoint(high);
            if holds(middle) { high = middle } else { low = middle + 1 }
        }
        high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_whole_and_the_budget_for_a_buffer_holds_it() {
        let shares = Shares::of(32 << 20, 1);
        assert_eq!(shares.read + shares.copies + shares.bodies, 32 << 20);
        let plain = Shares::with(32 << 20, 1, Needs { copies: false, compresses: false });
        assert_eq!(plain, Shares { read: 61 << 19, copies: 1 << 19, bodies: 1 << 20 });
        for (buffer, flows) in [(1 << 20, 1), (1_024_000, 7), (100, 300)] {
            for compressed in [false, true] {
                let budget = Shares::budget_for(buffer, flows, compressed);
                assert!(Shares::of(budget, flows).largest_record(flows, compressed) >= buffer);
                assert!(Shares::of(budget - 1, flows).largest_record(flows, compressed) < buffer);
            }
        }
    }

    #[test]
    fn several_requests_have_room() {
        assert_eq!(Shares::of(32 << 20, 1).request(1), (24 << 20) / 28);
        assert_eq!(Shares::of(32 << 20, 10).request(10), LEAST_REQUEST);
    }
}

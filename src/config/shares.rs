//! How the memory budget is shared out among what the stages hold. One place, because the
//! limits of records and requests follow from it.

/// Bytes for each purpose; together they are the memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// For what is read and not yet settled, by all flows.
    pub read: usize,
    /// For events and long lines that are copied together from several reads, by all flows.
    pub copies: usize,
    /// For requests that are built or under way, by all flows in equal shares: a destination
    /// that hangs must not hold up another's.
    pub bodies: usize,
}

/// A request is held three times: as payload, as base64 (4/3) and in the buffers of the client.
const BODY_COPIES: usize = 3;
/// What a buffer costs beside its bytes, and some to spare.
const BOOKKEEPING: usize = 1024;

impl Shares {
    pub fn of(memory_budget: usize) -> Self {
        let (bodies, copies) = (memory_budget / 2, memory_budget / 8);
        Shares { read: memory_budget - bodies - copies, copies, bodies }
    }

    /// The largest record that each of `flows` can always read and send: half of what is for
    /// reading is reserved in equal shares, and a request must hold it. Bytes.
    pub fn largest_record(&self, flows: usize) -> usize {
        let buffer = self.read / 2 / flows.max(1);
        buffer.min(self.largest_batch(flows)).saturating_sub(BOOKKEEPING)
    }

    /// The largest request of one of `flows` that fits with its copies. Bytes of payload.
    pub fn largest_batch(&self, flows: usize) -> usize {
        self.bodies / flows.max(1) / BODY_COPIES
    }

    /// The memory budget with which each of `flows` can read and send a record of so many bytes.
    pub fn budget_for(record: usize, flows: usize) -> usize {
        (record + BOOKKEEPING + 1) * flows.max(1) * BODY_COPIES * 2 + 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_whole_and_the_budget_for_a_buffer_holds_it() {
        let shares = Shares::of(32 << 20);
        assert_eq!(shares.read + shares.copies + shares.bodies, 32 << 20);
        for (buffer, flows) in [(1 << 20, 1), (1_024_000, 7), (100, 300)] {
            let budget = Shares::budget_for(buffer, flows);
            assert!(Shares::of(budget).largest_record(flows) >= buffer);
            assert!(Shares::of(budget * 9 / 10).largest_record(flows) < buffer);
        }
    }
}

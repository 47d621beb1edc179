//! One batch as it falls into pieces while entries fail or are halved, and what an answer means
//! for each of its entries: settled, sent again, given up.
//!
//! Pure: the delivery around it sends, waits and tells the others. The pieces take turns, so
//! that one that never gets through does not keep the others from being tried.

use std::collections::VecDeque;

use super::entry::Entry;
use super::outcome::{Failure, FailureClass, Outcome};
use super::receipt::Receipt;

/// What of a batch is not settled.
#[derive(Debug)]
pub struct Pieces {
    waiting: VecDeque<Piece>,
    /// The last request got no answer in time.
    unanswered: bool,
}

/// Entries that are sent in one request.
#[derive(Debug)]
pub struct Piece {
    pub entries: Vec<Entry>,
    /// What the destination had accepted when it first refused these entries as invalid.
    refused_at: Option<u64>,
    /// One entry, which was refused by itself.
    stuck: bool,
}

/// What to do before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    None,
    /// `keep_slot`: nothing else of the flow should go in our place.
    Backoff {
        keep_slot: bool,
    },
    /// Somebody has to mend something first.
    ForHelp,
}

/// What follows from an answer, beside the pieces that are sent again.
#[derive(Debug)]
pub struct After {
    /// Entries that will never be accepted, and why.
    pub given_up: Vec<(Entry, String)>,
    /// Why entries were refused by themselves that are kept all the same.
    pub kept: Vec<String>,
    /// How many entries are sent again.
    pub again: u64,
    pub wait: Wait,
}

impl Pieces {
    pub fn new(entries: Vec<Entry>) -> Self {
        Pieces { waiting: [Piece { entries, refused_at: None, stuck: false }].into(), unanswered: false }
    }

    /// What is sent next. None when everything is settled or given up. While nothing is answered
    /// it is one entry, which gets the shortest time: the destination may be well again long
    /// before a large request would be given up.
    pub fn pop(&mut self) -> Option<Piece> {
        let mut piece = self.waiting.pop_front()?;
        if self.unanswered && piece.entries.len() > 1 {
            let entries = piece.entries.split_off(1);
            self.waiting.push_front(Piece { entries, refused_at: piece.refused_at, stuck: piece.stuck });
        }
        Some(piece)
    }

    /// It could not be sent yet.
    pub fn put_back(&mut self, piece: Piece) {
        self.waiting.push_front(piece);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The piece was answered entry by entry. `refused_at` is what the destination had accepted
    /// before, `accepted` what it has accepted now.
    pub fn answered(
        &mut self,
        piece: Piece,
        outcomes: Vec<Outcome>,
        refused_at: u64,
        accepted: u64,
    ) -> After {
        self.unanswered = false;
        let refused_at = piece.refused_at.unwrap_or(refused_at);
        let sent = piece.entries.len();
        let (mut again, mut refused) = (Vec::new(), Vec::new());
        for (entry, outcome) in piece.entries.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Delivered => {}
                Outcome::Retry(_) => again.push(entry),
                Outcome::Rejected(cause) => refused.push((entry, cause.to_string())),
            }
        }
        let mut after = After::new();
        if !again.is_empty() {
            let keep_slot = again.len() + refused.len() == sent;
            after.again = again.len() as u64;
            after.wait = Wait::Backoff { keep_slot };
            self.waiting.push_back(Piece { entries: again, refused_at: piece.refused_at, stuck: false });
        }
        for (entry, reason) in refused {
            self.refused(entry, refused_at, accepted, reason, &mut after);
        }
        after
    }

    /// The request of the piece failed as a whole.
    pub fn failed(&mut self, mut piece: Piece, failure: &Failure, accepted: u64) -> After {
        let mut after = After::new();
        self.unanswered = failure.class == FailureClass::TimedOut;
        if failure.class == FailureClass::Invalid {
            let refused_at = *piece.refused_at.get_or_insert(accepted);
            if piece.entries.len() > 1 {
                let [first, second] = piece.halves();
                self.waiting.push_front(second);
                self.waiting.push_front(first);
                return after;
            }
            let entry = piece.entries.pop().expect("a piece is never empty");
            self.refused(entry, refused_at, accepted, failure.to_string(), &mut after);
            return after;
        }
        after.again = piece.entries.len() as u64;
        after.wait = match failure.class {
            FailureClass::Waiting { .. } => Wait::ForHelp,
            _ => Wait::Backoff { keep_slot: true },
        };
        if failure.class == FailureClass::TimedOut && piece.entries.len() > 1 {
            self.waiting.extend(piece.halves());
        } else {
            self.waiting.push_back(piece);
        }
        after
    }

    /// An entry was refused by itself. If the destination accepted others since it first
    /// refused this one, the entry is at fault and given up; else it is kept and tried again.
    fn refused(&mut self, entry: Entry, refused_at: u64, accepted: u64, reason: String, after: &mut After) {
        if accepted != refused_at {
            after.given_up.push((entry, reason));
            return;
        }
        self.waiting.push_back(Piece { entries: vec![entry], refused_at: Some(refused_at), stuck: true });
        after.kept.push(reason);
        after.again += 1;
        if after.wait == Wait::None {
            after.wait = Wait::Backoff { keep_slot: self.has_untried() };
        }
    }

    /// While there are entries that were not yet refused by themselves the slot is kept: if
    /// everything is refused, the fault is not in the entries, and asking more helps nobody.
    /// Once all are, other batches have to show whether the destination accepts anything.
    fn has_untried(&self) -> bool {
        self.waiting.iter().any(|piece| !piece.stuck)
    }
}

impl Piece {
    /// What is settled by these outcomes of its entries.
    pub fn receipt(&self, outcomes: &[Outcome]) -> Receipt<'_> {
        let mut receipt = Receipt::default();
        for (entry, outcome) in self.entries.iter().zip(outcomes) {
            if *outcome == Outcome::Delivered {
                receipt.add(entry);
            }
        }
        receipt
    }

    /// Takes the entries out that do not go now, by their places.
    pub fn without<T>(&mut self, places: &[Option<T>]) -> Option<Piece> {
        let (mut places, mut rest) = (places.iter(), Vec::new());
        let entries = std::mem::take(&mut self.entries);
        for entry in entries {
            match places.next() {
                Some(Some(_)) => self.entries.push(entry),
                Some(None) | None => rest.push(entry),
            }
        }
        (!rest.is_empty()).then(|| Piece { entries: rest, refused_at: self.refused_at, stuck: self.stuck })
    }

    fn halves(mut self) -> [Piece; 2] {
        let second = self.entries.split_off(self.entries.len() / 2);
        let refused_at = self.refused_at;
        [self.entries, second].map(|entries| Piece { entries, refused_at, stuck: false })
    }
}

impl After {
    fn new() -> Self {
        After { given_up: Vec::new(), kept: Vec::new(), again: 0, wait: Wait::None }
    }
}

//! How fast entries may go to one shard, or to one stream whose limits are not known: a token
//! bucket whose rate follows what the destination refuses. Pure: it is given `now`.
//!
//! An entry passes while there are tokens at all, and may leave a debt: a large entry would
//! otherwise wait for ever beside a stream of small ones. An entry that was refused passes while
//! the debt is small, and so before all that is fresh. Tokens are never given back for what was
//! refused, so that a destination that refuses everything is not asked more often for it.
//!
//! The rate is a part of the known limits, or a multiple of a nominal rate where there are none.
//! Each second or so it falls by most of the part that was refused, and rises by a step while it
//! is made use of. So several agents settle at equal parts of a shard with little refused, and where
//! refusals do not depend on what we send, something still goes.

use std::collections::VecDeque;
use std::time::Duration;

/// Known limits are used up to this part, because AWS's seconds are not ours.
const HEADROOM: f64 = 0.97;

/// What may go at once after a pause, as a part of what goes in a second. It exceeds the limit of
/// a second if much more follows, so it is no larger.
const BURST: f64 = 0.2;

/// However even the rate, large entries may come together in one of AWS's seconds. So no more goes
/// in any second, and a little longer, than the limits allow. Their MB is 1,048,576 bytes.
const SECOND: Duration = Duration::from_millis(1030);
const MEGABYTE: f64 = 1.048_576;
/// Entries that go in so much time are counted together.
const SLOT: Duration = Duration::from_millis(10);

/// How large a debt an entry that was refused may add to, as a part of what goes in a second. It
/// is only to go before what is fresh: more would fill a second that is full.
const DEBT: f64 = 0.02;

/// No entry leaves a debt of more seconds: after an outage in which everything was refused the
/// rate is so low that one large entry would have all others wait for minutes.
const LONGEST_DEBT: f64 = 10.0;

/// After a refusal nothing goes to a shard for so long: the second that is used up has to end. A
/// stream has other shards. It doubles with each period in which nothing was accepted, so many
/// times.
const PAUSE: Duration = Duration::from_millis(100);
const LONGER_PAUSES: u32 = 4;

/// What is fresh waits a little longer, so that what was refused goes first.
const AFTER_OTHERS: Duration = Duration::from_millis(25);

/// How long refusals are counted before the rate changes,
const PERIOD: Duration = Duration::from_secs(1);
/// and longer while there are fewer tries than this, of which one refusal would say too much,
const TRIES: f64 = 10.0;
/// but no longer than this.
const LONGEST_PERIOD: Duration = Duration::from_secs(5);

/// How much of the part that was refused the rate falls by: by all of it fewer entries would be
/// refused, but less would go.
const CUT: f64 = 0.7;

/// The rate rises by this part of the known limits in each second; where they are not known, by
/// this part of the nominal rate, or of itself. With each period without a refusal the step grows:
/// somebody else may have gone.
const STEP: f64 = 0.002;
const STEP_OF_UNKNOWN: f64 = 0.2;
const STEP_OF_ITSELF: f64 = 0.02;
const MOST_STEPS: u32 = 10;

/// When something is accepted again after nothing was, the rate is at least this part of what it
/// was before, and doubles with each period until something is refused.
const REOPENED: f64 = 0.5;

/// A hundred agents may share a shard, and some hundred more.
const LEAST: f64 = 0.002;
/// Where nothing at all is accepted, how little is tried says nothing of how much would be taken.
const LEAST_REFUSED: f64 = 0.1;

/// Bytes, and entries: of one entry, of a second, of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amount {
    pub bytes: f64,
    pub records: f64,
}

impl Amount {
    /// Of one entry of so many bytes, its key included.
    pub fn of_entry(bytes: usize) -> Self {
        Amount { bytes: bytes as f64, records: 1.0 }
    }

    fn times(self, factor: f64) -> Self {
        Amount { bytes: self.bytes * factor, records: self.records * factor }
    }

    fn zip(self, other: Amount, f: impl Fn(f64, f64) -> f64) -> Self {
        Amount { bytes: f(self.bytes, other.bytes), records: f(self.records, other.records) }
    }

    /// How many seconds' worth of `rate` it is, by the one that is used more.
    fn seconds_of(self, rate: Amount) -> f64 {
        (self.bytes / rate.bytes).max(self.records / rate.records)
    }
}

/// Whether an entry was refused before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Fresh,
    Again,
}

#[derive(Clone, Debug)]
pub struct Limiter {
    /// What a scale of 1 stands for, a second.
    nominal: Amount,
    /// The largest scale; infinite where the limits are not known.
    most: f64,
    /// Infinite until the first refusal where the limits are not known.
    scale: f64,
    tokens: Amount,
    /// When the tokens were counted.
    at: Duration,
    /// What went in the last second, where the limits are known.
    second: Second,
    /// Nothing goes before.
    not_before: Duration,
    period: Period,
    /// For how long something has been refused in each period.
    refusing: Duration,
    /// For how many periods in a row nothing was.
    accepting: u32,
    /// For how many periods in a row nothing was accepted.
    closed: u32,
    /// What the scale was when refusals began.
    before: f64,
    /// Something is accepted again after nothing was, and nothing has been refused since.
    reopening: bool,
}

/// What went in the last second.
#[derive(Clone, Debug, Default)]
struct Second {
    most: Amount,
    sum: Amount,
    /// When the first of them went, and how much they are.
    slots: VecDeque<(Duration, Amount)>,
}

/// What became of entries since `began`.
#[derive(Clone, Copy, Debug, Default)]
struct Period {
    began: Duration,
    accepted: Amount,
    refused: Amount,
}

impl Limiter {
    /// Of a shard that takes so much in a second, as far as this agent is concerned. The bucket is
    /// empty: somebody may just have filled the shard's second.
    pub fn of_shard(limits: Amount, now: Duration) -> Self {
        let most = Amount { bytes: limits.bytes * MEGABYTE, records: limits.records };
        Limiter {
            second: Second { most, ..Second::default() },
            ..Self::new(limits.times(HEADROOM), 1.0, now)
        }
    }

    /// Of a stream whose limits nobody tells. Everything passes until something is refused.
    pub fn of_stream(nominal: Amount, now: Duration) -> Self {
        Self::new(nominal, f64::INFINITY, now)
    }

    fn new(nominal: Amount, most: f64, now: Duration) -> Self {
        Limiter {
            nominal,
            most,
            scale: most,
            tokens: Amount::default(),
            at: now,
            second: Second::default(),
            not_before: Duration::ZERO,
            period: Period { began: now, ..Period::default() },
            refusing: Duration::ZERO,
            accepting: 0,
            closed: 0,
            before: most,
            reopening: false,
        }
    }

    /// How long until this entry may go; zero if it may go now.
    pub fn wait(&mut self, entry: Amount, turn: Turn, now: Duration) -> Duration {
        let pause = match turn {
            Turn::Fresh if !self.not_before.is_zero() => self.not_before + AFTER_OTHERS,
            Turn::Fresh | Turn::Again => self.not_before,
        };
        let pause = pause.saturating_sub(now);
        if self.scale.is_infinite() {
            return pause;
        }
        self.refill(now);
        let rate = self.rate();
        let floor = match turn {
            Turn::Fresh => 0.0,
            Turn::Again => -DEBT,
        };
        let lacking = |tokens: f64, rate: f64| (floor * rate - tokens) / rate;
        let lacking = lacking(self.tokens.bytes, rate.bytes).max(lacking(self.tokens.records, rate.records));
        let lacking =
            if lacking < 0.0 { Duration::ZERO } else { seconds(lacking) + Duration::from_millis(1) };
        let full = if self.most.is_finite() { self.second.wait(entry, now) } else { Duration::ZERO };
        pause.max(lacking).max(full)
    }

    /// An entry goes.
    pub fn take(&mut self, entry: Amount, now: Duration) {
        if self.scale.is_finite() {
            self.refill(now);
            let rate = self.rate();
            let left = self.tokens.zip(entry, |tokens, entry| tokens - entry);
            self.tokens = left.zip(rate, |left, rate| left.max(-LONGEST_DEBT * rate));
        }
        if self.most.is_finite() {
            self.second.take(entry, now);
        }
    }

    pub fn accepted(&mut self, entry: Amount, now: Duration) {
        self.end_period(now);
        if self.closed > 0 {
            self.reopen(now);
        }
        self.period.accepted = self.period.accepted.zip(entry, |sum, entry| sum + entry);
    }

    /// An entry was refused because too much is sent.
    pub fn refused(&mut self, entry: Amount, now: Duration) {
        self.end_period(now);
        self.period.refused = self.period.refused.zip(entry, |sum, entry| sum + entry);
        if self.most.is_finite() {
            self.not_before = now + PAUSE * 2u32.pow(self.closed.min(LONGER_PAUSES));
        }
        if self.scale.is_infinite() {
            // What was accepted lately is what the destination takes.
            let seconds = (now - self.period.began).as_secs_f64().max(0.1);
            let taken = self.period.accepted.seconds_of(self.nominal) / seconds;
            self.scale = taken.max(1.0);
            self.before = self.scale;
            (self.tokens, self.at) = (Amount::default(), now);
        }
    }

    /// For how long something has been refused again and again.
    pub fn refusing(&self) -> Duration {
        self.refusing
    }

    /// What goes in a second.
    fn rate(&self) -> Amount {
        self.nominal.times(self.scale)
    }

    fn refill(&mut self, now: Duration) {
        let rate = self.rate();
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        let refilled = self.tokens.zip(rate, |tokens, rate| (tokens + rate * passed).min(rate * BURST));
        self.tokens = refilled;
    }

    /// How little was tried while nothing was accepted says nothing of how much is taken now, and
    /// what was refused then neither.
    fn reopen(&mut self, now: Duration) {
        if self.scale.is_finite() {
            self.set_scale(self.scale.max(self.before * REOPENED), now);
            self.tokens = self.tokens.zip(Amount::default(), f64::max);
        }
        (self.reopening, self.closed) = (true, 0);
        self.period = Period { began: now, ..Period::default() };
    }

    fn end_period(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.period.began);
        let tries = self.period.accepted.records + self.period.refused.records;
        if passed < PERIOD || (tries < TRIES && passed < LONGEST_PERIOD) {
            return;
        }
        let seconds = passed.min(LONGEST_PERIOD).as_secs_f64();
        let Period { accepted, refused, .. } = std::mem::take(&mut self.period);
        self.period.began = now;
        let part = |amount: Amount| amount.seconds_of(self.nominal);
        let (accepted, refused) = (part(accepted), part(refused));
        let tried = (accepted + refused) / passed.as_secs_f64();
        self.closed = if accepted > 0.0 { 0 } else { self.closed + 1 };
        if refused > 0.0 {
            if self.refusing.is_zero() || self.reopening {
                self.before = self.scale;
            }
            self.reopening = false;
            self.refusing += passed.min(LONGEST_PERIOD);
            self.accepting = 0;
            let part = refused / (accepted + refused);
            // A rate that is not made use of would fall without effect.
            let used = self.scale.min(1.2 * tried.max(LEAST));
            let cut = used * (1.0 - part * part.max(CUT)) + seconds * self.step() * (1.0 - part);
            self.set_scale(if accepted > 0.0 { cut } else { cut.max(LEAST_REFUSED) }, now);
            return;
        }
        self.refusing = Duration::ZERO;
        self.accepting += 1;
        if self.scale.is_finite() && tried > 0.7 * self.scale {
            let stepped = self.scale + seconds * self.step();
            self.set_scale(if self.reopening { stepped.max(self.doubled()) } else { stepped }, now);
        }
    }

    /// Known limits leave room for others: it only goes back to where it was.
    fn doubled(&self) -> f64 {
        let doubled = 2.0 * self.scale;
        if self.most.is_finite() { doubled.min(self.before) } else { doubled }
    }

    fn step(&self) -> f64 {
        let step = match self.most.is_finite() {
            true => STEP * self.most,
            false => STEP_OF_UNKNOWN.max(STEP_OF_ITSELF * self.scale),
        };
        step * f64::from(self.accepting.clamp(1, MOST_STEPS))
    }

    fn set_scale(&mut self, scale: f64, now: Duration) {
        self.refill(now);
        self.scale = scale.clamp(LEAST, self.most);
    }
}

impl Second {
    /// How long until the entry fits in; one that is larger than a second fits behind an empty one.
    fn wait(&mut self, entry: Amount, now: Duration) -> Duration {
        while self.slots.front().is_some_and(|(began, _)| *began + SECOND <= now) {
            let (_, gone) = self.slots.pop_front().expect("it was there");
            self.sum = self.sum.zip(gone, |sum, gone| sum - gone);
        }
        let mut sum = self.sum.zip(entry, |sum, entry| sum + entry);
        let mut wait = Duration::ZERO;
        for (began, gone) in &self.slots {
            if sum.bytes <= self.most.bytes && sum.records <= self.most.records {
                break;
            }
            sum = sum.zip(*gone, |sum, gone| sum - gone);
            wait = *began + SECOND - now;
        }
        wait
    }

    fn take(&mut self, entry: Amount, now: Duration) {
        self.sum = self.sum.zip(entry, |sum, entry| sum + entry);
        match self.slots.back_mut() {
            Some((began, slot)) if now < *began + SLOT => *slot = slot.zip(entry, |slot, entry| slot + entry),
            _ => self.slots.push_back((now, entry)),
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHARD: Amount = Amount { bytes: 1e6, records: 1000.0 };

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// AWS's shard, as ferrokinesis counts: so much in each second, which begins with the first
    /// entry after the one before has passed.
    struct Shard {
        began: Duration,
        taken: Amount,
        limits: Amount,
        refused: u32,
        accepted: Amount,
    }

    impl Shard {
        fn new(limits: Amount) -> Self {
            Shard {
                began: Duration::ZERO,
                taken: Amount::default(),
                limits,
                refused: 0,
                accepted: Amount::default(),
            }
        }

        fn take(&mut self, entry: Amount, now: Duration) -> bool {
            if now - self.began >= Duration::from_secs(1) {
                (self.began, self.taken) = (now, Amount::default());
            }
            let with = self.taken.zip(entry, |a, b| a + b);
            let fits = with.bytes <= self.limits.bytes && with.records <= self.limits.records;
            if fits {
                self.taken = with;
                self.accepted = self.accepted.zip(entry, |a, b| a + b);
            } else {
                self.refused += 1;
            }
            fits
        }
    }

    /// Agents that have more to send than the shard takes, each with entries of one size; they
    /// look every 20 ms, each at a time of its own. What each got in, and how many tries.
    fn saturate(agents: &[usize], seconds: u64, shard: &mut Shard) -> (Vec<f64>, u32) {
        let mut limiters: Vec<_> = agents.iter().map(|_| Limiter::of_shard(SHARD, Duration::ZERO)).collect();
        let (mut got, mut tries) = (vec![0.0; agents.len()], 0);
        for step in 0..seconds * 1000 {
            let now = millis(step);
            for (number, &size) in agents.iter().enumerate() {
                if !(step + number as u64 * 7).is_multiple_of(20) {
                    continue;
                }
                let entry = Amount::of_entry(size);
                while limiters[number].wait(entry, Turn::Fresh, now).is_zero() {
                    limiters[number].take(entry, now);
                    tries += 1;
                    if shard.take(entry, now) {
                        got[number] += entry.seconds_of(SHARD);
                        limiters[number].accepted(entry, now);
                    } else {
                        limiters[number].refused(entry, now);
                    }
                }
            }
        }
        (got, tries)
    }

    #[test]
    fn one_agent_fills_a_shard_and_is_hardly_ever_refused() {
        let limits = Amount { bytes: 1_048_576.0, records: 1000.0 };
        for size in [200, 1000, 5000, 50_000, 256_000] {
            let mut shard = Shard::new(limits);
            let (got, tries) = saturate(&[size], 60, &mut shard);
            assert!(got[0] >= 0.95 * 60.0, "{size}: {got:?}");
            assert!(shard.refused * 100 < tries, "{size}: {} of {tries} refused", shard.refused);
        }
    }

    #[test]
    fn agents_that_share_a_shard_settle_at_equal_parts() {
        for (size, refused) in [(200, 10), (5000, 10), (50_000, 5)] {
            let mut shard = Shard::new(SHARD);
            saturate(&[size; 4], 5, &mut shard);
            let mut shard = Shard::new(SHARD);
            let (got, tries) = saturate(&[size; 4], 120, &mut shard);
            let all: f64 = got.iter().sum();
            assert!(all > 0.85 * 120.0, "{size}: {got:?}");
            assert!(got.iter().all(|got| *got > 0.15 * all), "{size}: {got:?}");
            assert!(shard.refused < tries / refused, "{size}: {} of {tries} refused", shard.refused);
        }
    }

    #[test]
    fn a_stream_without_known_limits_passes_everything_until_it_refuses() {
        let mut limiter = Limiter::of_stream(SHARD, Duration::ZERO);
        let entry = Amount::of_entry(100_000);
        for at in 0..500 {
            assert_eq!(limiter.wait(entry, Turn::Fresh, millis(at)), Duration::ZERO);
            limiter.take(entry, millis(at));
            limiter.accepted(entry, millis(at));
        }
        limiter.refused(entry, millis(500));
        assert!(!limiter.wait(entry, Turn::Fresh, millis(500)).is_zero());
        // 50 MB went in half a second.
        assert!((limiter.scale - 100.0).abs() < 1.0, "{}", limiter.scale);
        limiter.accepted(entry, millis(1600));
        assert!(limiter.scale < 100.0);
        let cut = limiter.scale;
        for second in 2..400 {
            limiter.accepted(limiter.rate(), millis(second * 1000 + 700));
        }
        assert!(limiter.scale > 2.0 * cut, "{} after {cut}", limiter.scale);
    }

    /// Entries of 256 kB for so many seconds: how many MB were accepted.
    fn run(limiter: &mut Limiter, from: u64, seconds: u64, open: bool, most: f64) -> f64 {
        let (entry, mut accepted) = (Amount::of_entry(256_000), 0.0);
        for step in from * 1000..(from + seconds) * 1000 {
            let now = millis(step);
            while accepted < most * (step - from * 1000) as f64 / 1000.0
                && limiter.wait(entry, Turn::Again, now).is_zero()
            {
                limiter.take(entry, now);
                if open {
                    limiter.accepted(entry, now);
                    accepted += 0.256;
                } else {
                    limiter.refused(entry, now);
                }
            }
        }
        accepted
    }

    #[test]
    fn after_an_outage_in_which_all_was_refused_it_is_soon_as_fast_as_before() {
        for (mut limiter, demand, capacity) in [
            (Limiter::of_stream(SHARD, Duration::ZERO), 20.0, 100.0),
            (Limiter::of_shard(SHARD, Duration::ZERO), 0.9, 2.0),
        ] {
            for outage in [10, 60, 600] {
                let from = limiter.at.as_secs() + 1;
                run(&mut limiter, from, 20, true, demand);
                run(&mut limiter, from + 20, outage, false, f64::INFINITY);
                let accepted = run(&mut limiter, from + 20 + outage, 30, true, capacity);
                assert!(accepted >= 0.7 * demand * 30.0, "{accepted} MB in 30 s after {outage} s");
            }
        }
    }

    /// One entry for each that is accepted when `accepts` says so, else refused: how many tries.
    fn tries(limiter: &mut Limiter, seconds: u64, mut accepts: impl FnMut(Duration) -> bool) -> u32 {
        let (entry, mut tries) = (Amount::of_entry(250_000), 0);
        for step in 0..seconds * 1000 {
            let now = millis(step);
            while limiter.wait(entry, Turn::Again, now).is_zero() {
                limiter.take(entry, now);
                tries += 1;
                if accepts(now) { limiter.accepted(entry, now) } else { limiter.refused(entry, now) }
            }
        }
        tries
    }

    #[test]
    fn a_destination_that_takes_one_entry_each_ten_seconds_is_not_flooded() {
        let mut next = Duration::ZERO;
        let mut limiter = Limiter::of_stream(SHARD, Duration::ZERO);
        let tries = tries(&mut limiter, 600, |now| {
            let open = now >= next;
            if open {
                next = now + Duration::from_secs(10);
            }
            open
        });
        assert!(tries < 1200, "{tries} tries");
    }

    #[test]
    fn a_first_answer_that_is_mostly_refused_limits() {
        let mut limiter = Limiter::of_stream(SHARD, Duration::ZERO);
        let (entry, now) = (Amount::of_entry(250_000), Duration::from_secs(10));
        (0..19).for_each(|_| limiter.refused(entry, now));
        limiter.accepted(entry, now);
        let at_once = (0..1000).take_while(|_| {
            let passes = limiter.wait(entry, Turn::Again, now + millis(1)).is_zero();
            limiter.take(entry, now + millis(1));
            passes
        });
        assert!(at_once.count() < 10);
    }

    #[test]
    fn many_agents_that_share_a_shard_use_it_up() {
        let mut shard = Shard::new(SHARD);
        let (got, tries) = saturate(&[250_000; 20], 300, &mut shard);
        let all: f64 = got.iter().sum();
        assert!(all > 0.7 * 300.0, "{all} of 300 s");
        assert!(shard.refused * 10 < tries * 7, "{} of {tries} refused", shard.refused);
    }

    #[test]
    fn a_destination_that_never_took_anything_is_filled_when_it_does() {
        let mut limiter = Limiter::of_stream(SHARD, Duration::ZERO);
        run(&mut limiter, 0, 660, false, f64::INFINITY);
        let accepted = run(&mut limiter, 660, 60, true, 100.0);
        assert!(accepted > 4000.0, "{accepted} MB in a minute");
    }

    #[test]
    fn refusals_that_do_not_depend_on_the_rate_do_not_stop_everything() {
        for (mut limiter, least) in [
            (Limiter::of_shard(SHARD, Duration::ZERO), 15.0),
            (Limiter::of_stream(SHARD, Duration::ZERO), 250.0),
        ] {
            let (entry, mut accepted) = (Amount::of_entry(100), 0.0);
            for step in 0..120_000 {
                let now = millis(step);
                let mut sent = 0;
                while sent < 500 && limiter.wait(entry, Turn::Fresh, now).is_zero() {
                    limiter.take(entry, now);
                    sent += 1;
                }
                for number in 0..sent {
                    match number % 3 {
                        2 => limiter.refused(entry, now),
                        _ => {
                            limiter.accepted(entry, now);
                            accepted += 1.0;
                        }
                    }
                }
            }
            assert!(accepted > least * 120.0, "{accepted} in 120 s");
        }
    }

    #[test]
    fn a_large_entry_leaves_a_debt_and_what_was_refused_goes_first() {
        let mut limiter = Limiter::of_shard(SHARD, Duration::ZERO);
        let now = millis(1000);
        let entry = Amount::of_entry(400_000);
        assert_eq!(limiter.wait(entry, Turn::Fresh, now), Duration::ZERO);
        limiter.take(entry, now);
        let (fresh, again) = (limiter.wait(entry, Turn::Fresh, now), limiter.wait(entry, Turn::Again, now));
        assert!(fresh > millis(200) && fresh < millis(230), "{fresh:?}");
        assert!(again < fresh && again + millis(30) > fresh, "{again:?}");
    }

    #[test]
    fn a_shard_that_refuses_everything_is_asked_less_and_less() {
        let mut limiter = Limiter::of_shard(SHARD, Duration::ZERO);
        let mut tries = Vec::new();
        for second in 0..60u64 {
            let mut tried = 0;
            for at in 0..1000 {
                let now = millis(second * 1000 + at);
                while limiter.wait(Amount::of_entry(1000), Turn::Again, now).is_zero() {
                    limiter.take(Amount::of_entry(1000), now);
                    limiter.refused(Amount::of_entry(1000), now);
                    tried += 1;
                }
            }
            tries.push(tried);
        }
        assert!(tries[59] <= 3, "{tries:?}");
        assert!(limiter.refusing() > Duration::from_secs(40));
    }

    proptest! {
        #[test]
        fn no_more_goes_than_the_rate_allows(
            sizes in prop::collection::vec((0u64..300, 1usize..300_000), 1..200),
        ) {
            let mut limiter = Limiter::of_shard(SHARD, Duration::ZERO);
            let (mut now, mut taken, mut largest) = (Duration::ZERO, Amount::default(), 0.0f64);
            for (pause, size) in sizes {
                now += millis(pause);
                let entry = Amount::of_entry(size);
                let wait = limiter.wait(entry, Turn::Fresh, now);
                prop_assert!(wait <= SECOND);
                now += wait;
                prop_assert_eq!(limiter.wait(entry, Turn::Fresh, now), Duration::ZERO);
                limiter.take(entry, now);
                taken = taken.zip(entry, |a, b| a + b);
                largest = largest.max(entry.bytes);
                let allowed = SHARD.times(HEADROOM * (now.as_secs_f64() + BURST));
                prop_assert!(taken.bytes <= allowed.bytes + largest);
                prop_assert!(taken.records <= allowed.records + 1.0);
            }
        }
    }
}

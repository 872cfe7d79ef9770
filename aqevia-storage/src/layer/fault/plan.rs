//! What is to go wrong, and the dice that decide when.

use std::time::Duration;

use crate::{Error, ErrorKind, Result, StorageConfig};

/// Which faults befall calls, and how often. [`FaultPlan::new`] has none.
///
/// The seed decides which call is hit. Reads, claims and parts each have dice of their own, thrown
/// for every call, also while faults are ended: the n-th part after the layer was made meets the
/// same fault each time, whatever is read meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultPlan {
    /// What the dice begin with.
    pub seed: u64,
    /// For each call of `log`, `state`, `snapshot`, `worlds` and `usage`, and each read of a
    /// snapshot. A read cannot be `full` or `lost`.
    pub reads: FaultRates,
    /// For each call of `claim`.
    pub claims: FaultRates,
    /// For each part of a `persist_batch`.
    pub parts: FaultRates,
    /// The longest delay, up to [`StorageConfig::DURATION_MAX`]. Default 1 s.
    pub delay_max: Duration,
}

/// How many of a thousand calls meet each fault, at most one a call: together up to 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultRates {
    /// Not executed, and answered `Unavailable`.
    pub unavailable_permille: u16,
    /// Not executed, and answered `Full`.
    pub full_permille: u16,
    /// Executed, and answered `Ambiguous`, whatever the store answered.
    pub lost_permille: u16,
    /// Executed after a time between nothing and [`FaultPlan::delay_max`].
    pub delayed_permille: u16,
    /// Executed when faults are ended.
    pub hung_permille: u16,
}

impl FaultPlan {
    /// A plan without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            reads: FaultRates::default(),
            claims: FaultRates::default(),
            parts: FaultRates::default(),
            delay_max: Duration::from_secs(1),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let all = [
            ("reads", &self.reads),
            ("claims", &self.claims),
            ("parts", &self.parts),
        ];
        for (name, rates) in all {
            let sum: u32 = rates.table().iter().map(|(rate, _)| u32::from(*rate)).sum();
            if sum > 1000 {
                return Err(Error::invalid(format!(
                    "faults of {name}: {sum} of 1000 calls; the rates together are at most 1000"
                )));
            }
        }
        if (self.reads.full_permille, self.reads.lost_permille) != (0, 0) {
            let message = "faults of reads: a read cannot be full or lost";
            return Err(Error::invalid(message));
        }
        let (delay, most) = (self.delay_max, StorageConfig::DURATION_MAX);
        if delay > most {
            return Err(Error::invalid(format!(
                "longest delay: {delay:?}; allowed is up to {most:?}"
            )));
        }
        Ok(())
    }
}

impl FaultRates {
    /// Every call refused as `Unavailable`.
    #[must_use]
    pub fn all_unavailable() -> Self {
        Self {
            unavailable_permille: 1000,
            ..Self::default()
        }
    }

    const fn table(&self) -> [(u16, Sort); 5] {
        [
            (self.unavailable_permille, Sort::Unavailable),
            (self.full_permille, Sort::Full),
            (self.lost_permille, Sort::Lost),
            (self.delayed_permille, Sort::Delayed),
            (self.hung_permille, Sort::Hung),
        ]
    }
}

#[derive(Clone, Copy)]
enum Sort {
    Unavailable,
    Full,
    Lost,
    Delayed,
    Hung,
}

/// What befalls a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Refuse(ErrorKind),
    Lose,
    Delay(Duration),
    Hang,
}

/// The dice of one kind of call.
#[derive(Debug)]
pub(super) struct Dice {
    rates: FaultRates,
    delay_max: Duration,
    random: SplitMix64,
}

impl Dice {
    /// Those of reads, claims and parts.
    pub(super) fn of(plan: &FaultPlan) -> [Self; 3] {
        let mut seeds = SplitMix64(plan.seed);
        [plan.reads, plan.claims, plan.parts].map(|rates| Self {
            rates,
            delay_max: plan.delay_max,
            random: SplitMix64(seeds.next()),
        })
    }

    /// What befalls the next call.
    pub(super) fn throw(&mut self) -> Option<Act> {
        // Both are drawn for every call, so that no rate moves the faults of later calls.
        let (roll, length) = (self.random.next() % 1000, self.random.next());
        let mut below = 0;
        let hit = self.rates.table().into_iter().find(|(rate, _)| {
            below += u64::from(*rate);
            roll < below
        });
        hit.map(|(_, sort)| match sort {
            Sort::Unavailable => Act::Refuse(ErrorKind::Unavailable),
            Sort::Full => Act::Refuse(ErrorKind::Full),
            Sort::Lost => Act::Lose,
            Sort::Delayed => Act::Delay(self.delay(length)),
            Sort::Hung => Act::Hang,
        })
    }

    /// As much of the longest delay as `length` is of 2^64.
    fn delay(&self, length: u64) -> Duration {
        let nanos = (self.delay_max.as_nanos() * u128::from(length)) >> u64::BITS;
        // Invariant: the longest delay is below 2^62 ns.
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Sebastiano Vigna's generator: eight bytes of state, and the same numbers on every machine.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> FaultRates {
        FaultRates {
            unavailable_permille: 100,
            full_permille: 50,
            lost_permille: 200,
            delayed_permille: 100,
            hung_permille: 50,
        }
    }

    #[test]
    fn the_generator_gives_the_published_numbers() {
        let mut random = SplitMix64(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn faults_are_as_frequent_as_planned() {
        let mut plan = FaultPlan::new(1);
        plan.parts = rates();
        let [_, _, mut parts] = Dice::of(&plan);
        let acts: Vec<_> = (0..10_000).filter_map(|_| parts.throw()).collect();
        let count = |is: fn(&Act) -> bool| acts.iter().filter(|act| is(act)).count();
        let near = |count: usize, expected: usize| count.abs_diff(expected) < expected / 5;
        assert!(near(
            count(|act| *act == Act::Refuse(ErrorKind::Unavailable)),
            1000
        ));
        assert!(near(count(|act| *act == Act::Refuse(ErrorKind::Full)), 500));
        assert!(near(count(|act| *act == Act::Lose), 2000));
        assert!(near(count(|act| matches!(act, Act::Delay(_))), 1000));
        assert!(near(count(|act| *act == Act::Hang), 500));
    }

    #[test]
    fn a_seed_decides_every_fault_and_another_decides_otherwise() {
        let acts = |seed, reads: FaultRates| {
            let mut plan = FaultPlan::new(seed);
            plan.reads = reads;
            plan.parts = rates();
            let [mut reads, _, mut parts] = Dice::of(&plan);
            let throw = |_| {
                reads.throw();
                parts.throw()
            };
            (0..200).map(throw).collect::<Vec<_>>()
        };
        assert_eq!(acts(7, rates()), acts(7, FaultRates::default()));
        assert_ne!(acts(7, rates()), acts(8, rates()));
    }

    #[test]
    fn a_plan_that_cannot_be_is_refused() {
        assert!(FaultPlan::new(0).check().is_ok());
        let refused = |change: fn(&mut FaultPlan)| {
            let mut plan = FaultPlan::new(0);
            change(&mut plan);
            plan.check().unwrap_err().kind() == ErrorKind::Invalid
        };
        assert!(refused(|plan| {
            plan.parts = FaultRates::all_unavailable();
            plan.parts.hung_permille = 1;
        }));
        assert!(refused(|plan| plan.reads.lost_permille = 1));
        assert!(refused(|plan| plan.reads.full_permille = 1));
        assert!(refused(|plan| plan.delay_max = Duration::MAX));
    }
}

//! Water-filling in integers: the one algorithm behind every share in this crate.

use std::ops::{AddAssign, Div, Mul, Sub, SubAssign};

/// How many rounds of clamping are tried before the takers are sorted instead.
/// Random markets of a hundred need fewer than ten.
const ROUNDS: u32 = 16;

/// One that may take: at most `room`, in proportion to `weight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taker {
    /// Its part of what is there, beside the others'.
    pub weight: u64,
    /// The most that it takes.
    pub room: u64,
}

/// What became of the amount as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Σ of the weights of those whose room did not bind.
    pub open_weight: u128,
    /// What those shared.
    pub open_amount: u64,
    /// What nobody had room for.
    pub left: u64,
}

/// Who got how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Poured {
    /// What each one got, in the order of the takers.
    pub(crate) taken: Vec<u64>,
    pub(crate) rest: Rest,
}

/// As [`Pourer::pour`], for once.
pub(crate) fn pour(amount: u64, takers: &[Taker]) -> Poured {
    let mut pourer = Pourer::default();
    let rest = pourer.pour(amount, takers);
    Poured {
        taken: pourer.taken,
        rest,
    }
}

/// Divides amounts, and keeps its memory from one to the next.
#[derive(Clone, Debug, Default)]
pub struct Pourer {
    taken: Vec<u64>,
    /// The takers that are not full, by position.
    open: Vec<u32>,
    narrow: Vec<(u64, u32)>,
    wide: Vec<(u128, u32)>,
}

impl Pourer {
    /// Divides `amount` among `takers` in proportion to their weights, nobody above
    /// its room; what is not taken by the full goes to the others. Exact: the taken
    /// and the left add up to `amount`, and something is left only if every taker
    /// with a weight is full. Takers of weight zero take nothing.
    ///
    /// This is the optimum of `max Σ weight·log(taken)` under the rooms: a level
    /// `w` with `taken = min(room, weight·w)`. Filling the full can only raise the
    /// level, so who is full once stays full, and the loop ends at the optimum
    /// (Bitran and Hax 1981). Fractions go to the largest remainders; ties go to the earlier taker.
    ///
    /// Products stay in 64 bits where they can, else in 128: a weight is at most
    /// 2^44 and an amount below 2^64, for up to 2^20 takers. More than 2^32 are not looked at.
    pub fn pour(&mut self, amount: u64, takers: &[Taker]) -> Rest {
        self.taken.clear();
        self.taken.resize(takers.len(), 0);
        self.open.clear();
        let (mut weight, mut most, mut rooms) = (0u128, amount, 0u128);
        for (i, taker) in (0..u32::MAX).zip(takers) {
            if taker.weight > 0 && taker.room > 0 {
                self.open.push(i);
                weight += u128::from(taker.weight);
                rooms += u128::from(taker.room);
                most = most.max(taker.room);
            }
        }
        if rooms <= u128::from(amount) {
            return self.fill_all(amount, takers);
        }
        let basin = |taken, open| Basin {
            takers,
            taken,
            open,
        };
        if weight.saturating_mul(u128::from(most)) < u128::from(u64::MAX) {
            let weight = u64::try_from(weight).unwrap_or(u64::MAX);
            basin(&mut self.taken, &mut self.open).divide(
                (weight, amount),
                &mut self.narrow,
                ROUNDS,
            )
        } else {
            let all = (weight, u128::from(amount));
            basin(&mut self.taken, &mut self.open).divide(all, &mut self.wide, ROUNDS)
        }
    }

    /// The usual case: there is enough for all.
    fn fill_all(&mut self, amount: u64, takers: &[Taker]) -> Rest {
        let mut left = amount;
        for i in &self.open {
            let room = takers[*i as usize].room;
            self.taken[*i as usize] = room;
            left -= room;
        }
        Rest {
            left,
            ..Rest::default()
        }
    }

    /// What each one got of the last amount, in the order of the takers.
    pub fn taken(&self) -> &[u64] {
        &self.taken
    }
}

/// Numbers that products fit into.
trait Wide:
    Copy
    + Default
    + Ord
    + From<u64>
    + Into<u128>
    + AddAssign
    + SubAssign
    + Mul<Output = Self>
    + Div<Output = Self>
    + Sub<Output = Self>
{
    /// Amounts that came from 64 bits and only became smaller.
    fn narrow(self) -> u64;
}

impl Wide for u64 {
    fn narrow(self) -> u64 {
        self
    }
}

impl Wide for u128 {
    fn narrow(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }
}

struct Basin<'a> {
    takers: &'a [Taker],
    taken: &'a mut [u64],
    open: &'a mut Vec<u32>,
}

impl Basin<'_> {
    /// `weight`: Σ of those of the open.
    fn divide<W: Wide>(
        mut self,
        (mut weight, mut left): (W, W),
        remainders: &mut Vec<(W, u32)>,
        rounds: u32,
    ) -> Rest {
        if (0..rounds).all(|_| self.fill_the_full(&mut weight, &mut left)) {
            self.fill_in_order(&mut weight, &mut left);
        }
        let open_amount = if self.open.is_empty() {
            W::default()
        } else {
            left
        };
        self.share_out(weight, open_amount, remainders);
        Rest {
            open_weight: weight.into(),
            open_amount: open_amount.narrow(),
            left: (left - open_amount).narrow(),
        }
    }

    /// One round at one level. Whether anybody was full.
    fn fill_the_full<W: Wide>(&mut self, weight: &mut W, left: &mut W) -> bool {
        let (level_weight, level_left) = (*weight, *left);
        let before = self.open.len();
        let (takers, got) = (self.takers, &mut *self.taken);
        self.open.retain(|i| {
            let taker = takers[*i as usize];
            let is_full = is_full(taker, level_weight, level_left);
            if is_full {
                got[*i as usize] = taker.room;
                *left -= W::from(taker.room);
                *weight -= W::from(taker.weight);
            }
            !is_full
        });
        self.open.len() < before
    }

    /// All remaining rounds at once: by the level at which each one is full, lowest first.
    fn fill_in_order<W: Wide>(&mut self, weight: &mut W, left: &mut W) {
        let takers = self.takers;
        let cross = |a: u32, b: u32| {
            u128::from(takers[a as usize].room) * u128::from(takers[b as usize].weight)
        };
        self.open
            .sort_unstable_by(|a, b| cross(*a, *b).cmp(&cross(*b, *a)));
        let mut full = 0;
        for i in self.open.iter() {
            let taker = takers[*i as usize];
            if !is_full(taker, *weight, *left) {
                break;
            }
            self.taken[*i as usize] = taker.room;
            *left -= W::from(taker.room);
            *weight -= W::from(taker.weight);
            full += 1;
        }
        self.open.drain(..full);
    }

    /// Proportional shares of those that are not full, by largest remainder.
    ///
    /// Nobody overflows: who is not full has an exact share below its room, so
    /// the share rounded up is at most the room.
    fn share_out<W: Wide>(&mut self, weight: W, amount: W, remainders: &mut Vec<(W, u32)>) {
        remainders.clear();
        let mut rest = amount;
        for i in self.open.iter() {
            let product = W::from(self.takers[*i as usize].weight) * amount;
            let share = product / weight;
            self.taken[*i as usize] = share.narrow();
            rest -= share;
            remainders.push((product - share * weight, *i));
        }
        let rest = usize::try_from(rest.narrow()).unwrap_or(usize::MAX);
        if rest == 0 || rest > remainders.len() {
            return;
        }
        remainders.select_nth_unstable_by(rest - 1, |(a, i), (b, j)| b.cmp(a).then(i.cmp(j)));
        for (_, i) in &remainders[..rest] {
            self.taken[*i as usize] += 1;
        }
    }
}

/// The level reaches the taker's room: `weight · left / Σ weights ≥ room`, without a division.
fn is_full<W: Wide>(taker: Taker, weight: W, left: W) -> bool {
    W::from(taker.weight) * left >= W::from(taker.room) * weight
}

#[cfg(test)]
mod tests;

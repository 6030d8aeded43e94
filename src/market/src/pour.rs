//! Water-filling in integers: the one algorithm behind every share in this crate.

use std::hint::select_unpredictable;
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

impl Taker {
    /// What it takes where there is enough.
    fn most(&self) -> u64 {
        if self.weight > 0 { self.room } else { 0 }
    }
}

/// What takers have together.
struct Sums {
    weight: u128,
    /// Σ of what each takes where there is enough.
    rooms: u128,
    /// No room is larger; the largest may be half as large.
    most: u64,
}

impl Sums {
    fn of(takers: &[Taker]) -> Self {
        let (mut weight, mut rooms, mut weights, mut bits) = (0u64, 0u64, 0, 0);
        for taker in takers {
            weight = weight.wrapping_add(taker.weight);
            rooms = rooms.wrapping_add(taker.most());
            weights |= taker.weight;
            bits |= taker.room;
        }
        let most = u64::MAX.checked_shr(bits.leading_zeros()).unwrap_or(0);
        let sum = |of: fn(&Taker) -> u64| takers.iter().map(of).map(u128::from).sum();
        // So many of so few bits do not wrap around.
        if u64::can_rank((weights | bits).into(), takers.len()) {
            let (weight, rooms) = (weight.into(), rooms.into());
            return Self {
                weight,
                rooms,
                most,
            };
        }
        Self {
            weight: sum(|taker| taker.weight),
            rooms: sum(Taker::most),
            most,
        }
    }
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
    open: Vec<Open>,
    remainders: Vec<u64>,
}

impl Pourer {
    /// Divides `amount` among `takers` in proportion to their weights, nobody above
    /// its room; what is not taken by the full goes to the others. Exact: the taken
    /// and the left add up to `amount`, and something is left only if every taker
    /// with a weight is full. Takers of weight zero take nothing.
    ///
    /// This is the optimum of `max Σ weight·log(taken)` under the rooms: a level
    /// `w` with `taken = min(room, weight·w)`. Filling the full can only raise the
    /// level, so who is full once stays full, and the loop ends at the same optimum in any order
    /// (Bitran and Hax 1981). Fractions go to the largest remainders; ties go to the earlier taker.
    ///
    /// Products stay in 64 bits where they can, else in 128: a weight is at most
    /// 2^44 and an amount below 2^64, for up to 2^20 takers. More than 2^32 are not looked at.
    pub fn pour(&mut self, amount: u64, takers: &[Taker]) -> Rest {
        let Sums {
            weight,
            rooms,
            most,
        } = Sums::of(takers);
        let most = most.max(amount);
        self.taken.clear();
        self.taken.extend(takers.iter().map(Taker::most));
        // The usual case: there is enough for all.
        if let Some(left) = u128::from(amount).checked_sub(rooms) {
            return Rest {
                left: left.narrow(),
                ..Rest::default()
            };
        }
        self.open.clear();
        let open = (0..u32::MAX).zip(takers);
        self.open.extend(open.map(|(place, taker)| Open {
            taker: *taker,
            place,
        }));
        let basin = Basin {
            taken: &mut self.taken,
            open: &mut self.open,
        };
        let is_narrow = weight.saturating_mul(u128::from(most)) < u128::from(u64::MAX)
            && u64::can_rank(weight, takers.len());
        if is_narrow {
            let weight = u64::try_from(weight).unwrap_or(u64::MAX);
            basin.divide(Pool { weight, amount }, &mut self.remainders, ROUNDS)
        } else {
            let amount = u128::from(amount);
            basin.divide(Pool { weight, amount }, &mut Vec::new(), ROUNDS)
        }
    }

    /// What each one got of the last amount, in the order of the takers.
    pub fn taken(&self) -> &[u64] {
        &self.taken
    }
}

/// Numbers that products fit into.
///
/// A remainder and the taker that has it are one of them: the larger remainder is the greater, then
/// the earlier taker.
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
    /// How many bits say which taker it is.
    const PLACE: u32;

    /// Amounts that came from 64 bits and only became smaller.
    fn narrow(self) -> u64;

    /// This remainder of the taker at `place`.
    fn ranked(self, place: u32) -> Self;

    /// The taker of a ranked remainder.
    fn place(self) -> usize;

    /// Whether remainders of a pool of `weight` in all, and so many `takers`, are told apart.
    fn can_rank(weight: u128, takers: usize) -> bool {
        let bits = 8 * u32::try_from(size_of::<Self>()).unwrap_or(0);
        weight >> (bits - Self::PLACE) == 0 && takers >> Self::PLACE == 0
    }
}

/// The last place that 64 bits have room for.
const LAST_PLACE: u64 = (1 << u64::PLACE) - 1;

impl Wide for u64 {
    const PLACE: u32 = 20;

    fn narrow(self) -> u64 {
        self
    }

    fn ranked(self, place: u32) -> Self {
        self << Self::PLACE | (LAST_PLACE - Self::from(place))
    }

    fn place(self) -> usize {
        usize::try_from(LAST_PLACE - (self & LAST_PLACE)).unwrap_or(usize::MAX)
    }
}

impl Wide for u128 {
    const PLACE: u32 = 32;

    fn narrow(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }

    fn ranked(self, place: u32) -> Self {
        self << Self::PLACE | Self::from(u32::MAX - place)
    }

    fn place(self) -> usize {
        u32::MAX as usize - (self & Self::from(u32::MAX)) as usize
    }
}

/// What is not taken yet, and the weight of those who are not full.
#[derive(Clone, Copy)]
struct Pool<W> {
    weight: W,
    amount: W,
}

impl<W: Wide> Pool<W> {
    /// The level reaches the taker's room: `weight · amount / Σ weights ≥ room`, without a division.
    fn fills(&self, taker: Taker) -> bool {
        W::from(taker.weight) * self.amount >= W::from(taker.room) * self.weight
    }

    /// Lets the taker have its room, and go.
    fn fill(&mut self, taker: Taker) {
        self.weight -= W::from(taker.weight);
        self.amount -= W::from(taker.room);
    }
}

/// A taker that is not full, and its position among all.
#[derive(Clone, Copy, Debug)]
struct Open {
    taker: Taker,
    place: u32,
}

struct Basin<'a> {
    taken: &'a mut [u64],
    open: &'a mut Vec<Open>,
}

impl Basin<'_> {
    fn divide<W: Wide>(mut self, mut pool: Pool<W>, remainders: &mut Vec<W>, rounds: u32) -> Rest {
        // After a round or two most often nobody is full: then the shares are told at once, and tell
        // whether that is so.
        let is_shared = (0..rounds).any(|round| {
            let is_last = !self.fill_the_full(&mut pool);
            (is_last || round > 0) && self.share_out(pool, remainders)
        });
        if !is_shared {
            self.fill_in_order(&mut pool);
            self.share_out(pool, remainders);
        }
        let left = pool.amount;
        if self.open.is_empty() {
            pool.amount = W::default();
        }
        Rest {
            open_weight: pool.weight.into(),
            open_amount: pool.amount.narrow(),
            left: (left - pool.amount).narrow(),
        }
    }

    /// One round: each who is full raises the level for those after it. Whether anybody was.
    ///
    /// Without a branch: half of them are full, and no processor guesses which.
    fn fill_the_full<W: Wide>(&mut self, pool: &mut Pool<W>) -> bool {
        let (open, mut level, mut kept) = (self.open.as_mut_slice(), *pool, 0);
        for k in 0..open.len() {
            let one = open[k];
            let is_full = level.fills(one.taker);
            level.fill(select_unpredictable(is_full, one.taker, Taker::default()));
            open[kept] = one;
            kept += usize::from(!is_full);
        }
        *pool = level;
        let is_any_full = kept < open.len();
        self.open.truncate(kept);
        is_any_full
    }

    /// All remaining rounds at once: by the level at which each one is full, lowest first.
    #[cold]
    fn fill_in_order<W: Wide>(&mut self, pool: &mut Pool<W>) {
        let cross = |a: &Open, b: &Open| u128::from(a.taker.room) * u128::from(b.taker.weight);
        self.open
            .sort_unstable_by(|a, b| cross(a, b).cmp(&cross(b, a)));
        let mut full = 0;
        for one in self.open.iter() {
            if !pool.fills(one.taker) {
                break;
            }
            pool.fill(one.taker);
            full += 1;
        }
        self.open.drain(..full);
    }

    /// Proportional shares of those that are not full, by largest remainder. Whether all of them
    /// are not; else nothing is shared out.
    ///
    /// Nobody overflows: who is not full has an exact share below its room, so
    /// the share rounded up is at most the room.
    fn share_out<W: Wide>(&mut self, pool: Pool<W>, remainders: &mut Vec<W>) -> bool {
        let (mut rest, mut is_any_full) = (pool.amount, false);
        remainders.clear();
        remainders.extend(self.open.iter().map(|one| {
            let product = W::from(one.taker.weight) * pool.amount;
            let share = product / pool.weight;
            is_any_full |= share >= W::from(one.taker.room);
            self.taken[one.place as usize] = share.narrow();
            rest -= share;
            (product - share * pool.weight).ranked(one.place)
        }));
        if is_any_full {
            for one in self.open.iter() {
                self.taken[one.place as usize] = one.taker.most();
            }
            return false;
        }
        let rest = usize::try_from(rest.narrow()).unwrap_or(usize::MAX);
        let others = remainders.len().checked_sub(rest);
        if let Some(others) = others.filter(|_| rest > 0) {
            remainders.select_nth_unstable(others);
            for ranked in &remainders[others..] {
                self.taken[ranked.place()] += 1;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;

//! Water-filling in integers: the one algorithm behind every share in this crate.

/// How many rounds of clamping are tried before the takers are sorted instead.
/// Random markets of a hundred need fewer than ten.
const ROUNDS: u32 = 16;

/// One that may take: at most `room`, in proportion to `weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taker {
    pub(crate) weight: u64,
    pub(crate) room: u64,
}

/// Who got how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Poured {
    /// What each one got, in the order of the takers.
    pub(crate) taken: Vec<u64>,
    /// Σ of the weights of those whose room did not bind.
    pub(crate) open_weight: u128,
    /// What those shared.
    pub(crate) open_amount: u64,
    /// What nobody had room for.
    pub(crate) left: u64,
}

/// Divides `amount` among `takers` in proportion to their weights, nobody above
/// its room; what is not taken by the full goes to the others. Exact: the taken
/// and the left add up to `amount`, and something is left only if every taker
/// with a weight is full. Takers of weight zero take nothing.
///
/// This is the optimum of `max Σ weight·log(taken)` under the rooms: a level
/// `w` with `taken = min(room, weight·w)`. Filling the full can only raise the
/// level, so who is full once stays full, and the loop ends at the optimum.
/// Fractions go to the largest remainders; ties go to the earlier taker.
///
/// No overflow: a weight is a bid below 2^34 and an amount is below 2^64, so
/// products stay in 128 bits for up to 2^30 takers.
pub(crate) fn pour(amount: u64, takers: &[Taker]) -> Poured {
    let mut basin = Basin::new(amount, takers);
    let mut rounds = 0;
    while basin.fill_the_full() {
        rounds += 1;
        if rounds == ROUNDS {
            basin.fill_in_order();
            break;
        }
    }
    basin.share_out()
}

struct Basin<'a> {
    takers: &'a [Taker],
    taken: Vec<u64>,
    /// The takers that are not full, by position.
    open: Vec<usize>,
    weight: u128,
    left: u128,
}

impl<'a> Basin<'a> {
    fn new(amount: u64, takers: &'a [Taker]) -> Self {
        let able = |t: &Taker| t.weight > 0 && t.room > 0;
        let open: Vec<usize> = (0..takers.len()).filter(|i| able(&takers[*i])).collect();
        let weight = open.iter().map(|i| u128::from(takers[*i].weight)).sum();
        Self {
            takers,
            taken: vec![0; takers.len()],
            open,
            weight,
            left: u128::from(amount),
        }
    }

    /// The level reaches the taker's room: `weight · left / Σ weights ≥ room`, without a division.
    fn is_full(&self, taker: Taker) -> bool {
        u128::from(taker.weight) * self.left >= u128::from(taker.room) * self.weight
    }

    fn fill(&mut self, i: usize) {
        let taker = self.takers[i];
        self.taken[i] = taker.room;
        self.left -= u128::from(taker.room);
        self.weight -= u128::from(taker.weight);
    }

    /// One round at one level. Whether anybody was full.
    fn fill_the_full(&mut self) -> bool {
        let (full, open): (Vec<_>, Vec<_>) = self
            .open
            .iter()
            .partition(|i| self.is_full(self.takers[**i]));
        self.open = open;
        for i in &full {
            self.fill(*i);
        }
        !full.is_empty()
    }

    /// All remaining rounds at once: by the level at which each one is full, lowest first.
    fn fill_in_order(&mut self) {
        let takers = self.takers;
        let cross = |a: usize, b: usize| u128::from(takers[a].room) * u128::from(takers[b].weight);
        self.open
            .sort_unstable_by(|a, b| cross(*a, *b).cmp(&cross(*b, *a)));
        let mut full = 0;
        while let Some(i) = self
            .open
            .get(full)
            .copied()
            .filter(|i| self.is_full(takers[*i]))
        {
            self.fill(i);
            full += 1;
        }
        self.open.drain(..full);
    }

    /// Proportional shares of those that are not full, by largest remainder.
    ///
    /// Nobody overflows: who is not full has an exact share below its room, so
    /// the share rounded up is at most the room.
    fn share_out(mut self) -> Poured {
        let open_amount = if self.open.is_empty() { 0 } else { self.left };
        let mut rest = open_amount;
        let mut remainders = Vec::with_capacity(self.open.len());
        for i in &self.open {
            let product = u128::from(self.takers[*i].weight) * open_amount;
            let share = product / self.weight;
            self.taken[*i] = narrow(share);
            rest -= share;
            remainders.push((product % self.weight, *i));
        }
        remainders.sort_unstable_by(|(a, i), (b, j)| b.cmp(a).then(i.cmp(j)));
        for (_, i) in remainders
            .into_iter()
            .take(usize::try_from(rest).unwrap_or(usize::MAX))
        {
            self.taken[i] += 1;
        }
        Poured {
            taken: self.taken,
            open_weight: self.weight,
            open_amount: narrow(open_amount),
            left: narrow(self.left - open_amount),
        }
    }
}

/// Amounts that came from 64 bits and only became smaller.
fn narrow(amount: u128) -> u64 {
    u64::try_from(amount).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

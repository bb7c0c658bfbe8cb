//! The best split of one node of a tree.

use crate::table::trees::Growth;

/// Row count, weight and targets of a set of rows.
pub(super) type Sums = Vec<f64>;

/// The best split so far.
#[derive(Clone, Copy)]
pub(super) struct Best {
    pub(super) gain: f64,
    pub(super) column: u32,
    pub(super) bin: u8,
}

/// The search for the best split of one node.
pub(super) struct Search<'a> {
    growth: &'a Growth,
    sums: &'a Sums,
    parent: f64,
    left: Sums,
    pub(super) best: Option<Best>,
}

impl<'a> Search<'a> {
    pub(super) fn new(growth: &'a Growth, sums: &'a Sums) -> Self {
        let parent = score(growth.lambda, sums);
        // Ignore gains that are only rounding errors.
        let parent = parent + 1e-12 * parent.abs();
        Self { growth, sums, parent, left: vec![0.0; sums.len()], best: None }
    }

    /// Considers one category against all others. Returns false if the split is not allowed.
    pub(super) fn single(&mut self, column: u32, bin: usize, cell: &[f64]) -> bool {
        let Some(gain) = gain(self.growth, self.parent, self.sums, cell) else { return false };
        self.keep(Best { gain, column, bin: bin as u8 });
        true
    }

    /// Considers all cuts of a column of numbers, whose bins ascend. Returns false if no split is allowed.
    pub(super) fn cuts<'c>(&mut self, column: u32, cells: impl Iterator<Item = (usize, &'c [f64])>) -> bool {
        self.left.fill(0.0);
        let mut best: Option<(f64, usize)> = None;
        let mut bridge = 0; // the next bin with rows above the best one
        for (bin, cell) in cells {
            if best.is_some_and(|(_, at)| at == bridge) {
                bridge = bin;
            }
            self.left.iter_mut().zip(cell).for_each(|(left, cell)| *left += cell);
            let gain = gain(self.growth, self.parent, self.sums, &self.left);
            if let Some(gain) = gain.filter(|gain| best.is_none_or(|(most, _)| *gain > most)) {
                best = Some((gain, bin));
                bridge = bin;
            }
        }
        let Some((gain, bin)) = best else { return false };
        // In the middle of the bins without rows, as CART cuts halfway between two values.
        let bin = ((bin + bridge.max(bin + 1) - 1).div_ceil(2)) as u8;
        self.keep(Best { gain, column, bin });
        true
    }

    fn keep(&mut self, found: Best) {
        if self.best.is_none_or(|best| found.gain > best.gain) {
            self.best = Some(found);
        }
    }
}

/// Returns the gain of a split over `parent`; None if a side has too few rows or too little weight.
fn gain(growth: &Growth, parent: f64, sums: &[f64], left: &[f64]) -> Option<f64> {
    let (rows, weight) = (sums[0] - left[0], sums[1] - left[1]);
    let few = left[0].min(rows) < growth.min_rows.max(1) as f64;
    if few || left[1].min(weight) < growth.min_weight {
        return None;
    }
    let (mut ours, mut others) = (0.0, 0.0);
    for (left, sum) in left[2..].iter().zip(&sums[2..]) {
        ours += left * left;
        others += (sum - left) * (sum - left);
    }
    let over = |squares: f64, weight: f64| if weight > 0.0 { squares / weight } else { 0.0 };
    Some(over(ours, left[1] + growth.lambda) + over(others, weight + growth.lambda) - parent)
}

/// Returns Σ G²/(H + λ).
fn score(lambda: f64, sums: &[f64]) -> f64 {
    let weight = sums[1] + lambda;
    if weight > 0.0 { sums[2..].iter().map(|target| target * target).sum::<f64>() / weight } else { 0.0 }
}

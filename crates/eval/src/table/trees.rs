//! Histogram trees: one algorithm that grows trees for CART, forests and boosting.
//!
//! A node's score is Σₖ Gₖ²/(H + λ), where H is the sum of the rows' weights and G the sum of their targets.
//! The gain of a split is the score of the children minus that of the node. A leaf predicts G/(H + λ). With
//! targets w·[y = k], the gain is CART's weighted Gini impurity decrease (Breiman et al. 1984). With targets
//! w·y, it is its variance decrease. With gradients and Hessians, it is the gain of XGBoost (Chen & Guestrin
//! 2016, eq. 7).

use std::ops::Range;

use rayon::prelude::*;

use crate::table::bins::{Binned, Split};
use crate::table::splits::{Best, Search, Sums};
use waxwork_core::rng::Draws;

/// Number of row–column pairs above which several threads build a histogram.
const PARALLEL: usize = 1 << 16;
/// Nodes with fewer rows sort them instead of filling a table of all bins.
const FEW_ROWS: usize = 48;

/// The limits on the growth of a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// Maximum number of splits from the root to a leaf.
    pub max_depth: usize,
    /// Maximum number of leaves; the node with the greatest gain is split first. None: no limit.
    pub max_leaves: Option<usize>,
    /// Minimum number of rows per leaf.
    pub min_rows: usize,
    /// Minimum sum of weights per leaf.
    pub min_weight: f64,
    /// λ in the score.
    pub lambda: f64,
    /// Number of one-hot features that each node considers, drawn for each node; features that cannot split
    /// it do not count. None: all.
    pub features: Option<usize>,
}

/// A grown tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    nodes: Vec<Node>,
    /// `outputs` values per node.
    values: Vec<f64>,
    outputs: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Node {
    /// Column of the split; None for a leaf.
    column: Option<u32>,
    bin: u8,
    split: Split,
    /// The left child; the right one follows it.
    child: u32,
    /// The gain of the split; 0 for a leaf.
    gain: f64,
}

impl Tree {
    /// Returns the values of the leaf of `row`, (outputs,).
    pub fn predict(&self, data: &Binned, row: usize) -> &[f64] {
        let mut at = 0;
        while let Some(column) = self.nodes[at].column {
            let node = &self.nodes[at];
            let left = goes_left(node.split, data.columns[column as usize].bins[row], node.bin);
            at = node.child as usize + usize::from(!left);
        }
        &self.values[at * self.outputs..(at + 1) * self.outputs]
    }

    /// Iterates over the column and the gain of each split.
    pub fn gains(&self) -> impl Iterator<Item = (usize, f64)> {
        self.nodes.iter().filter_map(|node| Some((node.column? as usize, node.gain)))
    }

    /// Returns the number of leaves.
    pub fn leaves(&self) -> usize {
        self.nodes.iter().filter(|node| node.column.is_none()).count()
    }
}

fn goes_left(split: Split, bin: u8, at: u8) -> bool {
    match split {
        Split::UpTo => bin <= at,
        Split::Only => bin == at,
    }
}

/// A tree and the leaves of its training rows.
pub struct Grown {
    /// The tree.
    pub tree: Tree,
    order: Vec<u32>,
    leaves: Vec<(u32, Range<usize>)>,
}

impl Grown {
    /// Iterates over the values and the rows of each leaf.
    pub fn leaves(&self) -> impl Iterator<Item = (&[f64], &[u32])> {
        let outputs = self.tree.outputs;
        self.leaves.iter().map(move |(node, rows)| {
            let at = *node as usize * outputs;
            (&self.tree.values[at..at + outputs], &self.order[rows.clone()])
        })
    }
}

/// The data and settings from which a tree is grown.
#[derive(Clone, Copy)]
pub struct Grower<'a> {
    /// The rows.
    pub data: &'a Binned,
    /// The weight or Hessian of each row, (rows,).
    pub weights: &'a [f64],
    /// The weighted targets or negative gradients, (rows, outputs).
    pub targets: &'a [f64],
    /// Targets per row.
    pub outputs: usize,
    /// The limits.
    pub growth: &'a Growth,
}

/// The sums of each bin of each column; empty for columns that a node does not consider.
type Table = Vec<Vec<f64>>;

struct Pending {
    node: u32,
    depth: usize,
    rows: Range<usize>,
    table: Table,
    best: Best,
}

impl Grower<'_> {
    /// Grows a tree over `rows`. `draws` selects features if the limits allow only some.
    pub fn grow(&self, rows: Vec<u32>, mut draws: Option<Draws>) -> Grown {
        let mut tree = Tree { nodes: Vec::new(), values: Vec::new(), outputs: self.outputs };
        let mut order = rows;
        let mut candidates = if draws.is_some() { self.candidates(&order) } else { Vec::new() };
        let mut choose = |rows: &[u32], sums: &Sums, table: &Table| match (&mut draws, self.growth.features) {
            (Some(draws), Some(count)) => self.best_of_some(rows, sums, count, &mut candidates, draws),
            _ => self.best_of_all(sums, table),
        };
        let keeps_tables = self.growth.features.is_none();
        let table_of = |rows: &[u32]| if keeps_tables { self.table(rows) } else { Table::new() };

        let (mut pending, mut leaves): (Vec<Pending>, Vec<(u32, Range<usize>)>) = (Vec::new(), Vec::new());
        let sums = self.sums(&order);
        self.push(&mut tree, &sums);
        let whole = 0..order.len();
        let may_split =
            |depth: usize, rows: usize| depth < self.growth.max_depth && rows >= 2 * self.growth.min_rows;
        let mut root = None;
        if may_split(0, order.len()) && order.len() > 1 {
            let table = table_of(&order);
            root = choose(&order, &sums, &table).map(|best| Pending {
                node: 0,
                depth: 0,
                rows: whole.clone(),
                table,
                best,
            });
        }
        match root {
            Some(root) => pending.push(root),
            None => leaves.push((0, whole)),
        }
        while let Some(next) = self.next(&mut pending) {
            if self.growth.max_leaves.is_some_and(|most| leaves.len() + pending.len() + 1 >= most) {
                leaves.push((next.node, next.rows));
                continue;
            }
            let Pending { node, depth, rows, table, best } = next;
            let middle = rows.start + self.partition(&mut order[rows.clone()], best);
            let child = tree.nodes.len() as u32;
            let split = self.data.columns[best.column as usize].split;
            tree.nodes[node as usize] =
                Node { column: Some(best.column), bin: best.bin, split, child, gain: best.gain };
            let halves = [rows.start..middle, middle..rows.end];
            let sums = halves.clone().map(|half| self.sums(&order[half]));
            sums.iter().for_each(|sums| self.push(&mut tree, sums));
            let splits = halves.clone().map(|half| may_split(depth + 1, half.len()) && half.len() > 1);
            let mut tables = if keeps_tables {
                self.child_tables(table, &order, &halves, splits)
            } else {
                [Table::new(), Table::new()]
            };
            for side in 0..2 {
                let (node, rows) = (child + side as u32, halves[side].clone());
                let table = std::mem::take(&mut tables[side]);
                let best =
                    if splits[side] { choose(&order[rows.clone()], &sums[side], &table) } else { None };
                match best {
                    Some(best) => pending.push(Pending { node, depth: depth + 1, rows, table, best }),
                    None => leaves.push((node, rows)),
                }
            }
        }
        Grown { tree, order, leaves }
    }

    /// Takes the node with the greatest gain if leaves are limited, else the last one. Without a limit the
    /// order makes no difference, and the last one keeps few tables in memory.
    fn next(&self, pending: &mut Vec<Pending>) -> Option<Pending> {
        if self.growth.max_leaves.is_none() {
            return pending.pop();
        }
        let better = |best: usize, at: usize| {
            if pending[at].best.gain > pending[best].best.gain { at } else { best }
        };
        let best = (0..pending.len()).reduce(better)?;
        Some(pending.remove(best))
    }

    fn push(&self, tree: &mut Tree, sums: &Sums) {
        let weight = sums[1] + self.growth.lambda;
        let value = |&target: &f64| if weight > 0.0 { target / weight } else { 0.0 };
        tree.values.extend(sums[2..].iter().map(value));
        tree.nodes.push(Node { column: None, bin: 0, split: Split::UpTo, child: 0, gain: 0.0 });
    }

    /// Moves the rows of the left child to the front, keeping the order on both sides, and returns their
    /// number.
    fn partition(&self, rows: &mut [u32], best: Best) -> usize {
        let column = &self.data.columns[best.column as usize];
        let left = |row: &u32| goes_left(column.split, column.bins[*row as usize], best.bin);
        let (front, back): (Vec<u32>, Vec<u32>) = rows.iter().partition(|row| left(row));
        rows[..front.len()].copy_from_slice(&front);
        rows[front.len()..].copy_from_slice(&back);
        front.len()
    }

    fn sums(&self, rows: &[u32]) -> Sums {
        let mut sums = vec![0.0; 2 + self.outputs];
        rows.iter().for_each(|&row| self.add(&mut sums, row as usize));
        sums
    }

    fn add(&self, sums: &mut [f64], row: usize) {
        sums[0] += 1.0;
        sums[1] += self.weights[row];
        let targets = &self.targets[row * self.outputs..(row + 1) * self.outputs];
        sums[2..].iter_mut().zip(targets).for_each(|(sum, target)| *sum += target);
    }

    /// Returns the sums of each bin of each column, summed in the order of the rows.
    fn table(&self, rows: &[u32]) -> Table {
        let column = |index: usize| self.column_table(rows, index);
        let columns = self.data.columns.len();
        if rows.len() * columns < PARALLEL {
            (0..columns).map(column).collect()
        } else {
            (0..columns).into_par_iter().map(column).collect()
        }
    }

    fn column_table(&self, rows: &[u32], index: usize) -> Vec<f64> {
        let column = &self.data.columns[index];
        if self.outputs == 1 {
            let mut table = vec![[0.0; 3]; column.count];
            for &row in rows {
                let cell = &mut table[column.bins[row as usize] as usize];
                cell[0] += 1.0;
                cell[1] += self.weights[row as usize];
                cell[2] += self.targets[row as usize];
            }
            return table.into_flattened();
        }
        let stride = 2 + self.outputs;
        let mut table = vec![0.0; column.count * stride];
        for &row in rows {
            let at = column.bins[row as usize] as usize * stride;
            self.add(&mut table[at..at + stride], row as usize);
        }
        table
    }

    /// Computes the table of the smaller child, and that of the other as the difference from the parent.
    fn child_tables(
        &self,
        mut parent: Table,
        order: &[u32],
        halves: &[Range<usize>; 2],
        splits: [bool; 2],
    ) -> [Table; 2] {
        if splits == [false; 2] {
            return [Table::new(), Table::new()];
        }
        let small = usize::from(halves[1].len() < halves[0].len());
        let ours = self.table(&order[halves[small].clone()]);
        if splits[1 - small] {
            for (whole, part) in parent.iter_mut().zip(&ours) {
                whole.iter_mut().zip(part).for_each(|(whole, part)| *whole -= part);
            }
        }
        if small == 0 { [ours, parent] } else { [parent, ours] }
    }

    fn best_of_all(&self, sums: &Sums, table: &Table) -> Option<Best> {
        let mut search = Search::new(self.growth, sums);
        for (index, cells) in (0..).zip(table) {
            let cells = cells.chunks_exact(sums.len()).enumerate().filter(|(_, cell)| cell[0] > 0.0);
            match self.data.columns[index as usize].split {
                Split::UpTo => _ = search.cuts(index, cells),
                Split::Only => cells.for_each(|(bin, cell)| _ = search.single(index, bin, cell)),
            }
        }
        search.best.filter(|best| best.gain > 0.0)
    }

    /// Returns all features of a one-hot encoding: a column of numbers, or one category that occurs.
    fn candidates(&self, rows: &[u32]) -> Vec<(u32, Option<u8>)> {
        let mut candidates = Vec::new();
        for (index, column) in (0..).zip(&self.data.columns) {
            if column.split == Split::UpTo {
                candidates.push((index, None));
                continue;
            }
            let mut seen = vec![false; column.count];
            rows.iter().for_each(|&row| seen[column.bins[row as usize] as usize] = true);
            candidates.extend((0..column.count).filter(|&bin| seen[bin]).map(|bin| (index, Some(bin as u8))));
        }
        candidates
    }

    fn best_of_some(
        &self,
        rows: &[u32],
        sums: &Sums,
        count: usize,
        candidates: &mut [(u32, Option<u8>)],
        draws: &mut Draws,
    ) -> Option<Best> {
        let mut tables: Vec<Option<Cells>> = vec![None; self.data.columns.len()];
        let mut search = Search::new(self.growth, sums);
        let mut usable = 0;
        for at in 0..candidates.len() {
            let other = at + draws.below((candidates.len() - at) as u32) as usize;
            candidates.swap(at, other);
            let (column, only) = candidates[at];
            let cells =
                tables[column as usize].get_or_insert_with(|| self.cells(rows, column as usize, sums.len()));
            if cells.bins.len() < 2 {
                continue; // constant here
            }
            let stats = |place: usize| &cells.stats[place * sums.len()..(place + 1) * sums.len()];
            usable += usize::from(match only {
                None => search.cuts(
                    column,
                    cells.bins.iter().enumerate().map(|(place, &bin)| (bin as usize, stats(place))),
                ),
                Some(bin) => match cells.bins.binary_search(&bin) {
                    Ok(place) => search.single(column, bin as usize, stats(place)),
                    Err(_) => false,
                },
            });
            if usable >= count && search.best.is_some_and(|best| best.gain > 0.0) {
                break;
            }
        }
        search.best.filter(|best| best.gain > 0.0)
    }

    /// Returns the bins of a column that have rows, with their sums.
    fn cells(&self, rows: &[u32], index: usize, stride: usize) -> Cells {
        let column = &self.data.columns[index];
        let mut cells = Cells { bins: Vec::new(), stats: Vec::new() };
        if rows.len() >= FEW_ROWS {
            let table = self.column_table(rows, index);
            for (bin, cell) in table.chunks_exact(stride).enumerate().filter(|(_, cell)| cell[0] > 0.0) {
                cells.bins.push(bin as u8);
                cells.stats.extend_from_slice(cell);
            }
            return cells;
        }
        let mut sorted: Vec<(u8, u32)> = rows.iter().map(|&row| (column.bins[row as usize], row)).collect();
        sorted.sort_unstable();
        for (bin, row) in sorted {
            if cells.bins.last() != Some(&bin) {
                cells.bins.push(bin);
                cells.stats.resize(cells.stats.len() + stride, 0.0);
            }
            let last = cells.stats.len() - stride;
            self.add(&mut cells.stats[last..], row as usize);
        }
        cells
    }
}

/// The bins of one column that have rows, ascending, and the sums of each.
#[derive(Clone)]
struct Cells {
    bins: Vec<u8>,
    stats: Vec<f64>,
}

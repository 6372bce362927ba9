//! Folds leaves into an object's id and outboard as they are read, in memory for a path of the tree only: the
//! outboard of a big object would not fit a router. The result is that of [`kith_model::verify::fold`].

use std::io::{self, Write};

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};
use kith_model::object::ObjectId;
use kith_model::verify::Leaf;

/// A fold under way. Writes each parent as soon as both of its children are complete: post-order.
pub(crate) struct Fold<W> {
    /// Complete subtrees, the largest first.
    subtrees: Vec<[u8; 32]>,
    leaves: u64,
    outboard: W,
}

impl<W: Write> Fold<W> {
    pub(crate) fn new(outboard: W) -> Self {
        Self { subtrees: Vec::new(), leaves: 0, outboard }
    }

    /// Takes the next leaf.
    pub(crate) fn push(&mut self, leaf: Leaf) -> io::Result<()> {
        // As many complete subtrees as the count has binary ones. They are merged only when a further leaf shows
        // that they are not the root.
        while self.subtrees.len() > self.leaves.count_ones() as usize {
            self.merge()?;
        }
        self.subtrees.push(leaf.0);
        self.leaves += 1;
        Ok(())
    }

    /// The object of all leaves; nothing when there were less than two: a single leaf is no root.
    pub(crate) fn finish(mut self) -> io::Result<Option<(ObjectId, W)>> {
        while self.subtrees.len() > 2 {
            self.merge()?;
        }
        let [left, right] = self.subtrees[..] else { return Ok(None) };
        write_pair(&mut self.outboard, &left, &right)?;
        let id = merge_subtrees_root(&left, &right, Mode::Hash).into();
        Ok(Some((id, self.outboard)))
    }

    fn merge(&mut self) -> io::Result<()> {
        if let (Some(right), Some(left)) = (self.subtrees.pop(), self.subtrees.pop()) {
            write_pair(&mut self.outboard, &left, &right)?;
            self.subtrees.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
        Ok(())
    }
}

fn write_pair(outboard: &mut impl Write, left: &[u8; 32], right: &[u8; 32]) -> io::Result<()> {
    outboard.write_all(left)?;
    outboard.write_all(right)
}

#[cfg(test)]
mod tests {
    use kith_model::verify;

    use super::*;

    #[test]
    fn a_fold_on_the_way_is_the_fold_of_the_whole() {
        let all: Vec<Leaf> = (0..300u64).map(|group| verify::leaf(group, &group.to_le_bytes())).collect();
        for count in 0..all.len() {
            let mut fold = Fold::new(Vec::new());
            for leaf in &all[..count] {
                fold.push(*leaf).expect("memory");
            }
            let folded = fold.finish().expect("memory");
            let folded = folded.map(|(id, outboard)| verify::Folded { id, outboard });
            assert_eq!(folded, verify::fold(&all[..count]), "{count} leaves");
        }
    }
}

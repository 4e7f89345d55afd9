//! A file that does one thing after the other.

use super::history::Tag;
use super::search::Model;

#[derive(Debug)]
pub(super) struct File;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileOp {
    Reads(Vec<Tag>),
    HasSize(u64),
    Write {
        at: usize,
        len: usize,
        tag: Tag,
    },
    Append {
        len: usize,
        tag: Tag,
    },
    Cut {
        size: usize,
    },
    /// What is never right.
    Odd,
}

impl Model for File {
    type Op = FileOp;
    /// A file is empty when it is made.
    type State = Vec<Tag>;

    fn step(cells: &Vec<Tag>, op: &FileOp) -> Option<Vec<Tag>> {
        let write = |at: usize, len: usize, tag: Tag| {
            let mut cells = cells.clone();
            cells.resize(cells.len().max(at + len), 0);
            cells[at..at + len].fill(tag);
            cells
        };
        match op {
            FileOp::Reads(seen) => (seen == cells).then(|| cells.clone()),
            FileOp::HasSize(size) => (*size == cells.len() as u64).then(|| cells.clone()),
            FileOp::Write { at, len, tag } => Some(write(*at, *len, *tag)),
            FileOp::Append { len, tag } => Some(write(cells.len(), *len, *tag)),
            FileOp::Cut { size } => {
                let mut cells = cells.clone();
                cells.resize(*size, 0);
                Some(cells)
            }
            FileOp::Odd => None,
        }
    }

    fn only_looks(op: &FileOp) -> bool {
        matches!(op, FileOp::Reads(_) | FileOp::HasSize(_) | FileOp::Odd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &[Tag], op: FileOp, after: Option<&[Tag]>) {
        assert_eq!(File::step(&before.to_vec(), &op).as_deref(), after, "{op:?}");
    }

    #[test]
    fn a_file_is_written_cut_and_read() {
        check(&[], FileOp::Write { at: 2, len: 2, tag: 5 }, Some(&[0, 0, 5, 5]));
        check(&[1, 1, 1], FileOp::Write { at: 1, len: 1, tag: 5 }, Some(&[1, 5, 1]));
        check(&[1], FileOp::Append { len: 2, tag: 5 }, Some(&[1, 5, 5]));
        check(&[1, 2], FileOp::Cut { size: 1 }, Some(&[1]));
        check(&[1], FileOp::Cut { size: 3 }, Some(&[1, 0, 0]));
        check(&[1, 2], FileOp::Reads(vec![1, 2]), Some(&[1, 2]));
        check(&[1, 2], FileOp::Reads(vec![1]), None);
        check(&[1, 2], FileOp::HasSize(2), Some(&[1, 2]));
        check(&[1, 2], FileOp::HasSize(0), None);
        check(&[1, 2], FileOp::Odd, None);
    }
}

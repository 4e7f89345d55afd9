//! Numbers that are never handed out twice (P5): the proposer's side.

use super::command::NumberRange;

/// How many numbers one `Reserve` takes.
pub const RESERVE_COUNT: u64 = 100_000;

/// What is left of the range that the last durable `Reserve` answered with.
#[derive(Debug)]
pub struct Numbers {
    left: NumberRange,
    /// Reserved in time, used when `left` is empty.
    next: Option<NumberRange>,
}

impl Numbers {
    /// With the answer to the first `Reserve` of this leader.
    pub fn new(reserved: NumberRange) -> Self {
        Numbers { left: reserved, next: None }
    }

    /// A number that nobody had before. `None`: reserve first.
    pub fn take(&mut self) -> Option<u64> {
        if self.left.start == self.left.end {
            self.left = self.next.take()?;
        }
        let number = self.left.start;
        self.left.start += 1;
        Some(number)
    }

    /// Whether it is time to reserve the next range, so that nobody has to wait for it.
    pub fn is_low(&self) -> bool {
        self.next.is_none() && self.left.end - self.left.start < RESERVE_COUNT / 2
    }

    /// Adds the answer to another `Reserve`. What comes on top of a range that waits is left unused.
    pub fn add(&mut self, reserved: NumberRange) {
        self.next.get_or_insert(reserved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_comes_twice_and_none_before_it_is_reserved() {
        let mut numbers = Numbers::new(NumberRange { start: 3, end: 5 });
        assert!(numbers.is_low());
        numbers.add(NumberRange { start: 9, end: 10 });
        assert!(!numbers.is_low());
        numbers.add(NumberRange { start: 20, end: 30 });
        let taken: Vec<_> = std::iter::from_fn(|| numbers.take()).collect();
        assert_eq!(taken, [3, 4, 9]);
        assert!(numbers.is_low());
        numbers.add(NumberRange { start: 40, end: 41 });
        assert_eq!((numbers.take(), numbers.take()), (Some(40), None));
    }
}

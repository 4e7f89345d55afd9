//! Which targets a new file's columns go to. Pure: the same list and number give the same answer.

use std::collections::HashMap;

use xtfs_core::{DataNumber, Error, Result, TargetId};

/// A target with less of its capacity free than one part in this many takes no new files …
const NEARLY_FULL_PART: u64 = 50;
/// … however large it is, this many free bytes are enough.
const NEARLY_FULL_BYTES_MAX: u64 = 1 << 30;

/// What an operator, or the draining of a target, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Online,
    Locked,
    Draining,
    Removed,
}

/// What placement knows of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: TargetId,
    pub standing: Standing,
    /// It sends heartbeats and reports no fault.
    pub serves: bool,
    pub total_bytes: u64,
    /// Without the reserve.
    pub free_bytes: u64,
    pub node: String,
}

impl Candidate {
    fn is_nearly_full(&self) -> bool {
        let enough = (self.total_bytes / NEARLY_FULL_PART).min(NEARLY_FULL_BYTES_MAX);
        self.free_bytes == 0 || self.free_bytes < enough
    }
}

/// Targets for the columns of a new file, in the order of the columns: at most `width`, fewer where
/// fewer can be used, never one twice.
///
/// Each target draws a time from an exponential distribution whose rate is its free space, and the
/// earliest wins: so the first is chosen in proportion to free space, the next likewise among the
/// rest. The draw comes from a hash of `data` and the target, so a target that joins or leaves
/// changes nothing between the others. Hosts come before that: no host has a second column while
/// another has none.
pub fn place(candidates: &[Candidate], width: u16, data: DataNumber) -> Result<Vec<TargetId>> {
    let online = || candidates.iter().filter(|target| target.standing == Standing::Online);
    let mut drawn: Vec<Drawn<'_>> = online()
        .filter(|target| target.serves && !target.is_nearly_full())
        .map(|target| Drawn { target, time: draw(data, target), row: 0 })
        .collect();
    if drawn.is_empty() {
        return Err(refusal(online().count(), online().filter(|target| target.serves).count()));
    }
    drawn.sort_by(|a, b| a.time.total_cmp(&b.time).then(a.target.id.cmp(&b.target.id)));
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for drawn in &mut drawn {
        let row = on_node.entry(&drawn.target.node).or_default();
        drawn.row = *row;
        *row += 1;
    }
    // Stable: within a row the order of the draw stays.
    drawn.sort_by_key(|drawn| drawn.row);
    Ok(drawn.iter().take(width.into()).map(|drawn| drawn.target.id).collect())
}

struct Drawn<'a> {
    target: &'a Candidate,
    time: f64,
    /// How many of the same host were drawn earlier.
    row: usize,
}

fn refusal(online: usize, serving: usize) -> Error {
    match (online, serving) {
        (0, _) => Error::Unavailable(
            "no OSD is online; start one, or set one online (xtfs osd ls)".into(),
        ),
        (_, 0) => {
            Error::Unavailable(format!("none of the {online} online OSDs answers; see xtfs osd ls"))
        }
        _ => Error::NoSpace(format!(
            "all {serving} OSDs that serve are nearly full; add an OSD or delete files"
        )),
    }
}

/// Exponentially distributed with the free space as its rate.
fn draw(data: DataNumber, target: &Candidate) -> f64 {
    let (high, low) = target.id.0.as_u64_pair();
    let bits = mix(mix(mix(data.0) ^ high) ^ low);
    // 53 bits are what an f64 holds; the half keeps the logarithm finite.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let uniform = ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    #[expect(clippy::cast_precision_loss, reason = "a weight needs no more than 53 bits")]
    let rate = target.free_bytes as f64;
    -uniform.ln() / rate
}

/// Finalizer of SplitMix64: each bit of the input changes each bit of the output half of the time.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const G: u64 = 1 << 30;

    fn target(number: u128, node: &str, free_bytes: u64) -> Candidate {
        Candidate {
            id: TargetId(uuid::Uuid::from_u128(number)),
            standing: Standing::Online,
            serves: true,
            total_bytes: 100 * G,
            free_bytes,
            node: node.to_owned(),
        }
    }

    /// Columns for each target, and how many of them are column 0.
    fn loads(targets: &[Candidate], width: u16, files: u64) -> Vec<(u64, u64)> {
        let mut loads = vec![(0, 0); targets.len()];
        for data in 0..files {
            let placed = place(targets, width, DataNumber(2 * data + 17)).unwrap();
            for (column, id) in placed.iter().enumerate() {
                let at = targets.iter().position(|target| target.id == *id).unwrap();
                loads[at].0 += 1;
                loads[at].1 += u64::from(column == 0);
            }
        }
        loads
    }

    #[track_caller]
    fn assert_near(actual: u64, expected: u64, percent: u64) {
        let near = actual.abs_diff(expected) * 100 <= expected * percent;
        assert!(near, "{actual} is not within {percent} % of {expected}");
    }

    #[test]
    fn equal_targets_get_equal_shares_of_columns_and_of_first_columns() {
        for (count, width) in [(4, 1), (4, 4), (8, 4), (5, 2)] {
            let targets: Vec<_> = (1..=count).map(|n| target(n, "a", 50 * G)).collect();
            for (columns, first) in loads(&targets, width, 10_000) {
                let count = u64::try_from(count).unwrap();
                assert_near(columns, 10_000 * u64::from(width) / count, 10);
                assert_near(first, 10_000 / count, 10);
            }
        }
    }

    #[test]
    fn a_new_empty_target_gets_its_share_at_once() {
        let mut targets: Vec<_> = (1..=4).map(|n| target(n, "a", 25 * G)).collect();
        targets.push(target(5, "a", 100 * G));
        let loads = loads(&targets, 1, 10_000);
        assert_near(loads[4].0, 5_000, 10);
        assert_near(loads[0].0, 1_250, 10);
    }

    #[test]
    fn columns_are_spread_over_hosts_first() {
        let mut targets: Vec<_> = (1..=6).map(|n| target(n, "big", 90 * G)).collect();
        targets.push(target(7, "b", 10 * G));
        targets.push(target(8, "c", 10 * G));
        for data in 0..1000 {
            let placed = place(&targets, 3, DataNumber(data)).unwrap();
            let node = |id| &targets.iter().find(|target| target.id == id).unwrap().node;
            let mut nodes: Vec<_> = placed.into_iter().map(node).collect();
            nodes.sort();
            assert_eq!(nodes, ["b", "big", "c"]);
        }
    }

    #[test]
    fn what_cannot_take_files_is_left_out_and_the_width_shrinks() {
        let with = |change: fn(&mut Candidate)| {
            let mut changed = target(2, "a", 50 * G);
            change(&mut changed);
            vec![target(1, "a", 50 * G), changed]
        };
        let unusable = [
            with(|target| target.standing = Standing::Locked),
            with(|target| target.standing = Standing::Draining),
            with(|target| target.standing = Standing::Removed),
            with(|target| target.serves = false),
            with(|target| target.free_bytes = G - 1),
        ];
        for targets in unusable {
            assert_eq!(place(&targets, 2, DataNumber(1)).unwrap(), [targets[0].id]);
        }
    }

    #[test]
    fn nobody_to_place_on_says_why() {
        let check = |targets: &[Candidate]| place(targets, 1, DataNumber(1)).unwrap_err();
        assert!(matches!(check(&[]), Error::Unavailable(_)));
        let dead = Candidate { serves: false, ..target(1, "a", G) };
        assert!(matches!(check(&[dead]), Error::Unavailable(_)));
        assert!(matches!(check(&[target(1, "a", 0)]), Error::NoSpace(_)));
    }

    proptest! {
        #[test]
        fn no_target_is_used_twice_and_all_are_usable(
            free in proptest::collection::vec((0..20 * G, 0..4u8, 0..3u8), 1..20),
            width in 1..12u16,
            data: u64,
        ) {
            let targets: Vec<_> = free
                .iter()
                .enumerate()
                .map(|(n, &(free, standing, node))| Candidate {
                    standing: if standing == 0 { Standing::Locked } else { Standing::Online },
                    ..target(n as u128, &node.to_string(), free)
                })
                .collect();
            let usable = |target: &&Candidate| {
                target.standing == Standing::Online && !target.is_nearly_full()
            };
            let usable: Vec<_> = targets.iter().filter(usable).map(|target| target.id).collect();
            match place(&targets, width, DataNumber(data)) {
                Ok(mut placed) => {
                    prop_assert_eq!(placed.len(), usable.len().min(width.into()));
                    prop_assert!(placed.iter().all(|id| usable.contains(id)));
                    placed.sort();
                    placed.dedup();
                    prop_assert_eq!(placed.len(), usable.len().min(width.into()));
                }
                Err(_) => prop_assert!(usable.is_empty()),
            }
        }

        /// What a target that joins does not take stays where it was.
        #[test]
        fn a_target_that_joins_moves_nothing_between_the_others(data: u64) {
            let mut targets: Vec<_> = (1..=5).map(|n| target(n, "a", 50 * G)).collect();
            let before = place(&targets, 1, DataNumber(data)).unwrap()[0];
            targets.push(target(6, "a", 50 * G));
            let after = place(&targets, 1, DataNumber(data)).unwrap()[0];
            prop_assert!(after == before || after == targets[5].id);
        }
    }
}

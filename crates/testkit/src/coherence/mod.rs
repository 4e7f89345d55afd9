//! One change on a mount, and looks from the others at once: whatever they had kept, they see what a local folder beside
//! them shows after the same change.
//!
//! One process does all of it, call after call: that a call has returned is the signal. Before a change the same looks
//! are made on all mounts, mostly twice, so that whatever can be kept is. In some rounds others go on looking there while
//! it is changed, so that answers and recalls overtake each other; what they see is not judged.

mod act;
mod crowd;
mod draw;
mod look;
mod onlookers;
mod rounds;
mod view;

pub use crowd::Member;
pub use look::Way;
pub use rounds::{Plan, run};

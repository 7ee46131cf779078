//! The key order of the objects that came before.
//!
//! The key decision: **predict the text between two values, not the key.** The
//! rows of a topic come from a few programs, each of which writes its keys in
//! one order and with one style of whitespace. A slot keeps what stood from the
//! end of one value to the start of the next (`,"speed":` or `, "speed": `), and
//! which slots came after it the last two times. Where the text goes on as such
//! a slot, comma, quotes, key and colon are read and validated by one
//! comparison, because the same bytes in the same place were validated before.
//!
//! Learning is an optimisation only: a slot stands for bytes that mean the same
//! every time, so what was learned never changes a result.

use super::words::chunk;

/// The longest text that a slot can hold, in bytes; longer ones are read anew
/// each time.
const TEXT_BYTES_MAX: usize = 32;

/// The most slots of one layout; one more, and learning starts over. It bounds
/// the memory where keys are data, such as identifiers.
const SLOTS_MAX: usize = 64;

/// Stands for a key that the plan does not name.
pub(super) const UNNAMED: u32 = u32::MAX;

/// The slot before the first key of an object. The slots after it have no comma.
pub(super) const START: usize = 0;

/// The slot of a key that was not learned. The slots after it have a comma.
pub(super) const UNLEARNED: usize = 1;

#[derive(Debug)]
struct Slot {
    /// The text in two halves, and which of their bits count.
    text: [u128; 2],
    mask: [u128; 2],
    len: usize,
    child: u32,
    /// The slots that followed, the latest first. [`START`] follows nothing and
    /// stands for "none".
    next: [u16; 2],
}

impl Slot {
    /// A slot that no text matches: UTF-8 has no byte 255.
    const NOWHERE: Slot = Slot {
        text: [!0; 2],
        mask: [!0; 2],
        len: 0,
        child: UNNAMED,
        next: [START as u16; 2],
    };

    #[inline(always)]
    fn matches(&self, text: &[u8], at: usize) -> bool {
        (chunk(text, at) ^ self.text[0]) & self.mask[0] == 0
            && (self.len <= 16 || (chunk(text, at + 16) ^ self.text[1]) & self.mask[1] == 0)
    }
}

/// What is known about the objects at one place of the rows.
#[derive(Debug)]
pub(super) struct Layout {
    slots: Vec<Slot>,
}

/// A key that came as predicted.
pub(super) struct Predicted {
    /// Its slot.
    pub(super) slot: usize,
    /// The byte where its value starts, or whitespace before that.
    pub(super) at: usize,
    /// What [`Layout::learn`] was told about it.
    pub(super) child: u32,
}

impl Layout {
    pub(super) fn new() -> Self {
        Layout {
            slots: vec![Slot::NOWHERE, Slot::NOWHERE],
        }
    }

    /// The key at `at`, which follows the value of `previous`, if it is one that
    /// followed before.
    #[inline(always)]
    pub(super) fn predict(&mut self, previous: usize, text: &[u8], at: usize) -> Option<Predicted> {
        let [first, second] = self.slots[previous].next;
        let mut index = first as usize;
        let mut slot = &self.slots[index];
        if !slot.matches(text, at) {
            index = second as usize;
            slot = &self.slots[index];
            if second == START as u16 || !slot.matches(text, at) {
                return None;
            }
            let predicted = Predicted {
                slot: index,
                at: at + slot.len,
                child: slot.child,
            };
            self.slots[previous].next = [second, first];
            return Some(predicted);
        }
        Some(Predicted {
            slot: index,
            at: at + slot.len,
            child: slot.child,
        })
    }

    /// Remembers that `text`, validated, followed the value of `previous`.
    /// Returns its slot.
    #[inline(never)]
    pub(super) fn learn(&mut self, previous: usize, text: &[u8], child: u32) -> usize {
        if text.len() > TEXT_BYTES_MAX {
            return UNLEARNED;
        }
        let halves = [chunk(text, 0), chunk(text, 16)];
        let known = self
            .slots
            .iter()
            .position(|slot| slot.text == halves && slot.len == text.len());
        if known.is_none() && self.slots.len() == SLOTS_MAX {
            *self = Layout::new();
            return UNLEARNED;
        }
        let slot = known.unwrap_or_else(|| {
            let mask = [0, 16].map(|start| match text.len().saturating_sub(start) {
                len @ 0..16 => (1 << (8 * len)) - 1,
                _ => !0,
            });
            self.slots.push(Slot {
                text: halves,
                mask,
                len: text.len(),
                child,
                next: [START as u16; 2],
            });
            self.slots.len() - 1
        });
        let next = &mut self.slots[previous].next;
        *next = [slot as u16, next[0]];
        slot
    }
}

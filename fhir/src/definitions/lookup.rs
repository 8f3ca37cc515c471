use super::Element;

/// Finds an element of one type by its name: an open-addressing table, at most half full, with a hash of the name's
/// length and ends. It is on the way of every member of every resource.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// Index into the elements; [`EMPTY`] where there is none. The length is a power of two, or 0.
    slots: Box<[u16]>,
}

const EMPTY: u16 = u16::MAX;

impl Lookup {
    pub(super) fn new(elements: &[Element]) -> Self {
        if elements.is_empty() {
            return Self::default();
        }
        let mut slots = vec![EMPTY; (elements.len() * 2).next_power_of_two().max(4)].into_boxed_slice();
        let mask = slots.len() - 1;
        for (index, element) in (0..).zip(elements) {
            let mut slot = hash(element.name) & mask;
            while slots[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            slots[slot] = index;
        }
        Self { slots }
    }

    pub(super) fn find(&self, name: &str, elements: &[Element]) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut slot = hash(name) & mask;
        loop {
            let index = usize::from(self.slots[slot]);
            if index == usize::from(EMPTY) {
                return None;
            }
            if elements[index].name == name {
                return Some(index);
            }
            slot = (slot + 1) & mask;
        }
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "a hash has no value to lose")]
fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let word = |bytes: &[u8]| bytes.iter().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
    let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (word(bytes), 0),
    };
    let mixed = (first ^ last.rotate_left(29) ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 32)) as usize
}

//! Spare buffers of each thread: connections that wait give their buffers back, so that allocation costs nothing.

use std::cell::RefCell;

/// Maximum number of spare buffers per thread: a request needs one for reading and one for responses.
const MAX_BUFFERS: usize = 8;

/// Capacity above which a buffer is freed instead, bytes.
const MAX_CAPACITY: usize = 128 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Replaces `buffer` by a spare one if it has no memory.
pub(super) fn provide(buffer: &mut Vec<u8>) {
    if buffer.capacity() == 0
        && let Some(spare) = SPARE.with_borrow_mut(Vec::pop)
    {
        *buffer = spare;
    }
}

/// Takes the memory of `buffer`, and its contents.
pub(super) fn give_back(buffer: &mut Vec<u8>) {
    let mut spare = std::mem::take(buffer);
    spare.clear();
    if (1..=MAX_CAPACITY).contains(&spare.capacity()) {
        SPARE.with_borrow_mut(|buffers| {
            if buffers.len() < MAX_BUFFERS {
                buffers.push(spare);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_provided_again_and_large_or_surplus_ones_are_freed() {
        let provided = || {
            let mut buffer = Vec::new();
            provide(&mut buffer);
            buffer
        };
        for capacity in [100, MAX_CAPACITY + 1, 0] {
            give_back(&mut vec![1; capacity]);
        }
        let buffer = provided();
        assert!(buffer.is_empty() && buffer.capacity() == 100);
        assert_eq!(provided().capacity(), 0);
        for _ in 0..2 * MAX_BUFFERS {
            give_back(&mut vec![1; 100]);
        }
        let spare = (0..2 * MAX_BUFFERS).filter(|_| provided().capacity() == 100).count();
        assert_eq!(spare, MAX_BUFFERS);
    }
}

//! What of a request partition has been read and is not over: where the group may be told that it is. Sans-IO.
//!
//! ```text
//!  offsets   5   6   7   8   9        call A: 5 and 8, over   call B: 6, open   call C: 7 and 9, over
//!            A   B   C   A   C        committed: 5, since whoever began at 6 would take 8 for the beginning of a call
//! ```
//! Rule: what is committed is the first offset of the oldest open call, or less: never within the records of a call, so that whoever takes over finds each call whole.

use std::collections::BTreeMap;

/// A partition that is read ahead of what is over.
#[derive(Debug)]
pub struct Window {
    /// One past the last offset that was given to its call, or passed over.
    next_offset: i64,
    /// The open calls: their first and last offsets.
    open: BTreeMap<i64, i64>,
    /// Calls that are over, as long as others make their records matter.
    over: BTreeMap<i64, i64>,
    records_max: i64,
    committed: i64,
}

impl Window {
    /// A window from `start_offset` on that holds `records_max` records.
    pub fn new(start_offset: i64, records_max: usize) -> Self {
        Self {
            next_offset: start_offset,
            open: BTreeMap::new(),
            over: BTreeMap::new(),
            records_max: i64::try_from(records_max).unwrap_or(i64::MAX),
            committed: start_offset,
        }
    }

    /// All records below this have been given to their calls, or passed over.
    pub fn handle_given(&mut self, next_offset: i64) {
        self.next_offset = self.next_offset.max(next_offset);
    }

    /// A call begins with the record at `offset`.
    pub fn open(&mut self, offset: i64) {
        self.open.insert(offset, offset);
    }

    /// The record at `offset` belongs to the call that began at `first`.
    pub fn extend(&mut self, first: i64, offset: i64) {
        let call = self.open.get_mut(&first);
        if let Some(last) = call.or_else(|| self.over.get_mut(&first)) {
            *last = (*last).max(offset);
        }
    }

    /// The call that began at `first` is over.
    pub fn close(&mut self, first: i64) {
        if let Some(last) = self.open.remove(&first) {
            self.over.insert(first, last);
        }
    }

    /// Where the oldest open call began.
    pub fn oldest(&self) -> Option<i64> {
        self.open.keys().next().copied()
    }

    /// Whether a record at `offset` lies so far beyond what is over that it must not begin a call.
    pub fn is_beyond(&self, offset: i64) -> bool {
        offset - self.oldest().unwrap_or(offset) >= self.records_max
    }

    /// What is to be committed, if that is more than when this was last asked.
    pub fn poll_commit(&mut self) -> Option<i64> {
        let mut at = self.next_offset.min(self.oldest().unwrap_or(i64::MAX));
        // From the latest on, since each that is cut moves the cut to its beginning.
        for (first, last) in self.over.iter().rev() {
            if *first < at && at <= *last {
                at = *first;
            }
        }
        self.over.retain(|_, last| *last >= at);
        (at > self.committed).then(|| {
            self.committed = at;
            at
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_oldest_open_call_holds_the_commit_back() {
        let mut window = Window::new(5, 10);
        assert_eq!(window.poll_commit(), None);
        for offset in [5, 6, 8] {
            window.open(offset);
            window.handle_given(offset + 1);
        }
        assert_eq!(window.poll_commit(), None);
        window.close(6);
        assert_eq!(window.poll_commit(), None);
        window.close(5);
        assert_eq!(window.poll_commit(), Some(8));
        assert_eq!(window.poll_commit(), None);
        window.close(8);
        assert_eq!(window.poll_commit(), Some(9));
    }

    #[test]
    fn a_call_that_is_over_is_not_cut_by_the_commit() {
        let mut window = Window::new(0, 100);
        window.open(5);
        window.open(6);
        window.extend(5, 8);
        window.handle_given(9);
        window.close(5);
        assert_eq!(window.poll_commit(), Some(5), "6 would cut 5 from 8");
        window.close(6);
        assert_eq!(window.poll_commit(), Some(9));
    }

    #[test]
    fn no_call_begins_too_far_beyond_the_oldest_open_one() {
        let mut window = Window::new(0, 3);
        assert!(!window.is_beyond(100));
        window.open(0);
        assert!(!window.is_beyond(2));
        assert!(window.is_beyond(3));
        window.close(0);
        assert!(!window.is_beyond(3));
    }

    proptest! {
        #[test]
        fn whoever_begins_at_the_commit_finds_every_call_that_is_not_over_and_each_whole(
            calls in proptest::collection::vec((0..8_usize, any::<bool>()), 1..60),
        ) {
            let mut window = Window::new(0, 1_000);
            // Of each call that is under way its first offset, of all their spans and whether they are over.
            let mut under_way: [Option<usize>; 8] = [None; 8];
            let mut spans: Vec<(i64, i64, bool)> = Vec::new();
            for (offset, (slot, ends)) in (0..).zip(calls) {
                let index = if let Some(index) = under_way[slot] {
                    spans[index].1 = offset;
                    window.extend(spans[index].0, offset);
                    index
                } else {
                    window.open(offset);
                    spans.push((offset, offset, false));
                    spans.len() - 1
                };
                under_way[slot] = Some(index);
                if ends {
                    window.close(spans[index].0);
                    spans[index].2 = true;
                    under_way[slot] = None;
                }
                window.handle_given(offset + 1);
                if let Some(at) = window.poll_commit() {
                    for (first, last, is_over) in &spans {
                        prop_assert!(*is_over || at <= *first);
                        prop_assert!(at <= *first || at > *last);
                    }
                }
            }
        }
    }
}

//! Many ask for what has to be looked up *after* they asked: they share the next look-up, one is under way at a time.

/// Who waits for which round.
#[derive(Debug)]
pub struct Rounds<T> {
    /// Those whom the look-up under way will answer; `None` when none is.
    running: Option<Vec<T>>,
    /// Those who asked since it began.
    next: Vec<T>,
}

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self {
            running: None,
            next: Vec::new(),
        }
    }
}

impl<T> Rounds<T> {
    /// Asks; true when a look-up has to be begun.
    #[must_use]
    pub fn ask(&mut self, who: T) -> bool {
        if self.running.is_some() {
            self.next.push(who);
            return false;
        }
        self.running = Some(vec![who]);
        true
    }

    /// Whether a look-up is under way.
    pub const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// How many wait for the next look-up.
    pub const fn waiting(&self) -> usize {
        self.next.len()
    }

    /// Lets go of those who wait for the next look-up in vain.
    pub fn retain(&mut self, is_wanted: impl FnMut(&T) -> bool) {
        self.next.retain(is_wanted);
    }

    /// The look-up has ended: gives those whom it answers, and whether another has to be begun.
    pub fn finish(&mut self) -> (Vec<T>, bool) {
        let answered = self.running.take().unwrap_or_default();
        if !self.next.is_empty() {
            self.running = Some(std::mem::take(&mut self.next));
        }
        (answered, self.running.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_during_a_look_up_gets_the_next_one() {
        let mut rounds = Rounds::default();
        assert!(rounds.ask(1));
        assert!(!rounds.ask(2));
        assert!(!rounds.ask(3));
        assert_eq!(rounds.finish(), (vec![1], true));
        assert_eq!(rounds.finish(), (vec![2, 3], false));
        assert_eq!(rounds.finish(), (vec![], false));
    }
}

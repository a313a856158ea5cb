use parking_lot::{Condvar, Mutex, MutexGuard};

/// A queue of one place between two threads.
pub(crate) struct LatestQueue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    item: Option<T>,
    closed: bool,
}

impl<T> Default for LatestQueue<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { item: None, closed: false }), changed: Condvar::new() }
    }
}

impl<T> LatestQueue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock()
    }

    /// Puts an item in, in place of one that was not taken. Returns what is lost.
    pub fn put_newest(&self, item: T) -> Option<T> {
        let mut state = self.lock();
        if state.closed {
            return Some(item);
        }
        self.changed.notify_all();
        state.item.replace(item)
    }

    /// Waits for the place to be free. Returns the item if the queue was closed meanwhile.
    pub fn put_waiting(&self, item: T) -> Option<T> {
        let mut state = self.lock();
        while state.item.is_some() && !state.closed {
            self.changed.wait(&mut state);
        }
        if state.closed {
            return Some(item);
        }
        state.item = Some(item);
        self.changed.notify_all();
        None
    }

    /// Waits for an item; none once the queue is closed and empty.
    pub fn take(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.item.take() {
                self.changed.notify_all();
                return Some(item);
            }
            if state.closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// The item, if there is one by now.
    pub fn take_now(&self) -> Option<T> {
        let item = self.lock().item.take();
        self.changed.notify_all();
        item
    }

    /// Lets nothing more in and wakes everybody.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_wins_and_the_lost_come_back() {
        let queue = LatestQueue::default();
        assert_eq!(queue.put_newest(1), None);
        assert_eq!(queue.put_newest(2), Some(1));
        assert_eq!((queue.take_now(), queue.take_now()), (Some(2), None));
        assert_eq!(queue.put_newest(2), None);
        queue.close();
        assert_eq!(queue.put_newest(3), Some(3));
        assert_eq!(queue.put_waiting(4), Some(4));
        assert_eq!(queue.take(), Some(2));
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn waiting_loses_nothing() {
        let queue = LatestQueue::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..1000 {
                    assert_eq!(queue.put_waiting(i), None);
                }
                queue.close();
            });
            for i in 0..1000 {
                assert_eq!(queue.take(), Some(i));
            }
            assert_eq!(queue.take(), None);
        });
    }
}

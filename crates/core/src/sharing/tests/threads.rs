//! Processes that are threads, for the tests of work that processes divide. The module that declares this one
//! imports the names of `waxwork_core` that are used here.

use std::sync::{Arc, Barrier, Mutex};

use super::{Collective, Error, Reduction, Result, Tensor};

/// One of several threads that exchange bytes through shared memory, as processes would.
#[derive(Clone, Debug)]
struct Threads {
    rank: usize,
    places: Arc<Mutex<Vec<Vec<u8>>>>,
    barrier: Arc<Barrier>,
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.places.lock().unwrap().len()
    }

    fn reduce(&self, _: Vec<(Reduction, Tensor)>) -> Result<Vec<Tensor>> {
        Err(Error::Processes { reason: "nothing is reduced here".into() })
    }

    fn all(&self, here: bool) -> Result<bool> {
        Ok(self.gather(vec![u8::from(here)])?.iter().all(|here| *here == [1]))
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(self.gather(bytes)?.remove(0))
    }

    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        self.places.lock().unwrap()[self.rank] = bytes;
        self.barrier.wait();
        let all = self.places.lock().unwrap().clone();
        self.barrier.wait();
        Ok(all)
    }
}

/// Runs `each` on `size` processes and returns their results.
pub(super) fn on<R: Send>(size: usize, each: impl Fn(&dyn Collective) -> R + Sync) -> Vec<R> {
    let places = Arc::new(Mutex::new(vec![Vec::new(); size]));
    let barrier = Arc::new(Barrier::new(size));
    let process = |rank| Threads { rank, places: Arc::clone(&places), barrier: Arc::clone(&barrier) };
    let processes: Vec<Threads> = (0..size).map(process).collect();
    std::thread::scope(|scope| {
        let each = &each;
        let running: Vec<_> =
            processes.into_iter().map(|process| scope.spawn(move || each(&process))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

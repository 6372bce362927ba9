//! The tasks of the connections: who owns them and how they are stopped.
//!
//! The HTTP library runs each connection as a task and feeds the reader of an answer through a channel. A task that is
//! stopped tells its reader so (hyper 1.12): what it fed never looks complete.

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs and stops tasks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Stops all tasks and waits until they are gone. Tasks started later end at once.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Runs `task` unless there is no runtime any more, as when the program ends.
    pub(crate) fn run(&self, task: impl Future<Output: Send> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            self.tracker.spawn_on(self.stop.clone().run_until_cancelled_owned(task), &runtime);
        }
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.run(task);
    }
}

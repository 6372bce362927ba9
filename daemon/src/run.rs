//! `kith run`: start, wait for the order to stop, stop in order.
//!
//! Order of the end: listeners, connections, jobs, neighbours, the shelf last. A second signal ends the process at
//! once; nothing that was reported stored is lost by that.

use std::io::Write;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::exit::{Exit, Failure};
use crate::config::{self, Loaded};
use crate::wiring::House;

/// Runs the daemon in the foreground.
pub(crate) fn run(loaded: &Loaded, filter: &str) -> Result<Exit, Failure> {
    start_log(filter)?;
    for key in config::keys::unheeded(&loaded.settings) {
        tracing::warn!(key, "this key is set, but nothing in this build heeds it");
    }
    // What the house downloads is nobody else's business: all files and the control socket are the owner's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::General, format!("no runtime: {error}")))?;
    let outcome = runtime.block_on(serve(loaded));
    // A reader that hangs in a dead disk must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(loaded: &Loaded) -> Result<Exit, Failure> {
    let mut orders = Orders::listen()?;
    let house = House::open(loaded).await?;
    // Nobody may be reading what we print.
    let _ = writeln!(std::io::stdout(), "{}", house.welcome());
    orders.wait().await;
    let grace = Duration::from_secs(u64::from(loaded.settings.shutdown.grace_s));
    tracing::info!(grace_s = grace.as_secs(), "stopping; downloads may finish");
    tokio::select! {
        () = house.close(grace) => Ok(Exit::Ok),
        () = orders.wait() => {
            tracing::warn!("stopped at once by a second signal");
            Ok(Exit::Interrupted)
        }
    }
}

/// SIGTERM and SIGINT.
struct Orders {
    terminate: Signal,
    interrupt: Signal,
}

impl Orders {
    fn listen() -> Result<Self, Failure> {
        let on =
            |kind| signal(kind).map_err(|error| Failure::new(Exit::General, format!("signals: {error}")));
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Logs go to standard error; standard output is for what the user asked for.
fn start_log(filter: &str) -> Result<(), Failure> {
    let targets: Targets = filter.parse().map_err(|error: tracing_subscriber::filter::ParseError| {
        let message = format!("{filter:?} is no log filter: {error}");
        Failure::new(Exit::Usage, message).fix("try info, debug, or info,kith_fetch=debug")
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(targets).with(lines).init();
    Ok(())
}

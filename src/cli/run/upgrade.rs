//! An upgrade, as an operator orders it.

use super::reload::{Reload, told_lines};
use crate::{admin::ProcessRefusal, config::Loaded, route::Done};

impl Reload {
    /// A newer process takes over, or would.
    pub(super) fn upgrade(&self, dry_run: bool) -> Result<Done, ProcessRefusal> {
        let program = self.program.as_ref();
        let program =
            program.map_err(|error| ProcessRefusal::Refused(format!("the file of this program is not known: {error}")))?;
        let (path, sessions) = (program.path.display(), self.metrics.sessions());
        if dry_run {
            // The newer one reads the same file.
            let Loaded { warnings, .. } = self.args.written().load().map_err(ProcessRefusal::Invalid)?;
            if let Some(why) = self.reloader.upgrade_refusal() {
                return Err(ProcessRefusal::Refused(why));
            }
            return Ok(told_lines(format!("{path} would take over (open sessions: {sessions}, which stay)"), &warnings));
        }
        match self.reloader.upgrade(program, self.stopper.clone()) {
            Ok((pid, version)) => {
                self.manager.main_pid(pid);
                let own = std::process::id();
                let line = format!(
                    "mainstay {version} (process {pid}) has taken over; process {own} keeps {sessions} sessions until they end"
                );
                Ok(told_lines(line, &[]))
            }
            Err(error) => {
                let error = error.to_string();
                tracing::error!(error, "no newer mainstay has taken over: this one goes on");
                Err(ProcessRefusal::Refused(error))
            }
        }
    }
}

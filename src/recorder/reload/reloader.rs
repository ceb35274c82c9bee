//! Does the reloads, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::config_file::ConfigFile;
use super::reload_handle::{ReloadRequest, ReloadRequests};
use super::reload_report::{PipelineReload, ReloadOutcome, ReloadReport};
use super::running_config::RunningConfig;
use crate::archive::sha256_hash::Sha256Hash;
use crate::base::config_error::ConfigError;
use crate::base::secrets::Secrets;
use crate::base::time::{Clock, SystemClock};
use crate::config::{
    BuildPlace, Config, ConfigDiff, PipelineDiff, RunningSources, SectionsDiff, config_digest,
    merge_pipelines,
};
use crate::engine::{ConfigDigests, Pipeline, PipelineControl, SourceChange};
use crate::metrics::{ConfigStatus, ProcessStats};
use crate::recorder::logging::Log;
use crate::recorder::service_manager::{Notification, ServiceManager};
use crate::registry::Registry;

/// Does the reloads, one at a time.
pub(crate) struct Reloader {
    running: RunningConfig,
    pipelines: BTreeMap<String, Arc<PipelineControl>>,
    stats: Arc<ProcessStats>,
    /// Texts that must not be shown. Those of the file are added at each reload.
    secrets: Secrets,
    log: Arc<Log>,
    service: Option<Arc<ServiceManager>>,
    stop: CancellationToken,
}

/// A configuration that was read and checked, with the pipelines that differ.
struct CheckedConfig {
    text_hash: Sha256Hash,
    resolved: Value,
    diff: ConfigDiff,
    pipelines: Vec<Pipeline>,
    secrets: Secrets,
}

/// The pipelines whose sources are to be replaced.
type Replacements = BTreeMap<String, (Pipeline, SectionsDiff)>;

impl Reloader {
    pub(crate) fn new(
        running: RunningConfig,
        pipelines: &[Pipeline],
        stats: Arc<ProcessStats>,
        secrets: Secrets,
        log: Arc<Log>,
        service: Option<Arc<ServiceManager>>,
        stop: CancellationToken,
    ) -> Self {
        let control = |pipeline: &Pipeline| (pipeline.name.clone(), Arc::clone(&pipeline.control));
        let pipelines = pipelines.iter().map(control).collect();
        let reloader = Self { running, pipelines, stats, secrets, log, service, stop };
        reloader.publish(ConfigStatus::default());
        reloader
    }

    /// Does reloads until the task is dropped.
    pub(crate) async fn run(mut self, mut requests: ReloadRequests) {
        while let Some(request) = requests.recv().await {
            self.tell(Notification::Reloading);
            if matches!(request, ReloadRequest::Hangup) {
                self.log.reopen();
                info!("SIGHUP: reopened the log file");
            }
            let report = self.reload().await;
            if let Some(service) = &self.service {
                service.send_ready();
            }
            if let ReloadRequest::Query(reply) = request {
                // The client may be gone. The log has the report.
                drop(reply.send(report));
            }
        }
    }

    fn tell(&self, notification: Notification<'_>) {
        if let Some(service) = &self.service {
            service.send(notification);
        }
    }

    /// Reads the file and changes what differs.
    async fn reload(&mut self) -> ReloadReport {
        let report = if self.stop.is_cancelled() {
            ReloadReport::without_change(ReloadOutcome::Stopping, &self.running.digest)
        } else {
            match self.check_file().await {
                Ok(checked) => self.apply(checked).await,
                Err(problems) => ReloadReport {
                    error: Some(problems),
                    ..ReloadReport::without_change(ReloadOutcome::Failed, &self.running.digest)
                },
            }
        };
        log_report(&report);
        if report.outcome != ReloadOutcome::Stopping {
            self.publish(ConfigStatus {
                last_reload: Some(SystemClock.now().to_string()),
                last_reload_error: report.error.clone(),
                needs_restart: report.needs_restart.clone(),
                ..ConfigStatus::default()
            });
        }
        report
    }

    /// Reads and checks the file on a thread of its own, since it may be on a file system that does
    /// not answer.
    async fn check_file(&self) -> Result<CheckedConfig, String> {
        let RunningConfig { registry, pacer, run_id, resolved, file, .. } = &self.running;
        let registry = registry.clone();
        let pacer = Arc::clone(pacer);
        let run_id = run_id.clone();
        let running = resolved.clone();
        let file = Arc::clone(file);
        let stats = Arc::clone(&self.stats);
        let shards = |(name, control): (&String, &Arc<PipelineControl>)| {
            Some((name.clone(), control.shards()?))
        };
        let sources: BTreeMap<_, _> = self.pipelines.iter().filter_map(shards).collect();
        let checked = spawn_blocking(move || {
            let place = BuildPlace {
                stats: &stats,
                pacer: &pacer,
                run_id: &run_id,
                config_digest: String::new(),
            };
            check_config(&file, &registry, &running, &place, sources)
        });
        match checked.await {
            Ok(checked) => checked.map_err(|problems| self.secrets.mask(&problems.to_string())),
            Err(error) => Err(format!("internal error: {error}")),
        }
    }

    /// Changes the pipelines that can be changed while they run, and names everything else that
    /// differs.
    async fn apply(&mut self, checked: CheckedConfig) -> ReloadReport {
        let CheckedConfig { text_hash, resolved, diff, pipelines, secrets } = checked;
        self.secrets.add_all(&secrets);
        if diff.is_empty() {
            self.running.file.set_running(Some(text_hash));
            return ReloadReport::without_change(ReloadOutcome::Unchanged, &self.running.digest);
        }
        let mut needs_restart: Vec<String> =
            diff.settings.iter().map(|key| format!("`{key}`")).collect();
        let replacements = self.plan(&diff, pipelines, &mut needs_restart);
        let taken: BTreeSet<String> = replacements.keys().cloned().collect();
        let is_whole = needs_restart.is_empty();
        let merged = merge_pipelines(&self.running.resolved, &resolved, &taken);
        let digests =
            ConfigDigests { old: self.running.digest.clone(), new: config_digest(&merged) };
        let mut report = ReloadReport {
            needs_restart,
            ..ReloadReport::without_change(
                if is_whole { ReloadOutcome::Applied } else { ReloadOutcome::Partial },
                &digests.new,
            )
        };
        for (name, control) in &self.pipelines {
            if !taken.contains(name) && digests.old != digests.new {
                control.announce(&digests);
            }
        }
        for (name, (pipeline, sections)) in replacements {
            let Some(control) = self.pipelines.get(&name) else { continue };
            let change =
                if sections.is_topics_only() { SourceChange::Topics } else { SourceChange::Whole };
            let Some(applied) = control.replace_sources(pipeline.sources, change, &digests).await
            else {
                // It has ended just now, and has nothing to change.
                continue;
            };
            let mut reconnects_for = sections.source_keys;
            if change == SourceChange::Topics {
                reconnects_for.clear();
            }
            let done = PipelineReload {
                topics_added: applied.added,
                topics_removed: applied.removed,
                reconnects_for,
            };
            report.pipelines.insert(name, done);
        }
        self.running.resolved = merged;
        self.running.digest = digests.new;
        self.running.file.set_running(is_whole.then_some(text_hash));
        report
    }

    /// Returns the pipelines whose sources are to be replaced, and adds to `needs_restart` what else
    /// differs.
    fn plan(
        &self,
        diff: &ConfigDiff,
        pipelines: Vec<Pipeline>,
        needs_restart: &mut Vec<String>,
    ) -> Replacements {
        let mut built: BTreeMap<String, Pipeline> =
            pipelines.into_iter().map(|pipeline| (pipeline.name.clone(), pipeline)).collect();
        let mut replacements = Replacements::new();
        for (name, pipeline_diff) in &diff.pipelines {
            let sections = match pipeline_diff {
                PipelineDiff::Added => {
                    needs_restart.push(format!("pipeline {name}: it is new"));
                    continue;
                }
                PipelineDiff::Removed => {
                    needs_restart.push(format!("pipeline {name}: it is gone"));
                    continue;
                }
                PipelineDiff::Changed(sections) => sections,
            };
            let Some(pipeline) = built.remove(name) else {
                needs_restart.push(format!("pipeline {name}: it has ended"));
                continue;
            };
            let obstacle = self.pipelines.get(name).and_then(|control| {
                control.obstacle_to(&pipeline.sources, &pipeline.fixed_parts())
            });
            if !sections.sections.is_empty() {
                let sections = sections.sections.join("`, `");
                needs_restart.push(format!("pipeline {name}: `{sections}`"));
            } else if let Some(obstacle) = obstacle {
                needs_restart.push(format!("pipeline {name}: {obstacle}"));
            } else {
                replacements.insert(name.clone(), (pipeline, sections.clone()));
            }
        }
        replacements
    }

    /// Shows in the status what runs, and since when. `status` has what the last reload did.
    fn publish(&self, status: ConfigStatus) {
        let sha256 = &self.running.digest;
        let before = self.stats.config().filter(|before| before.sha256 == *sha256);
        let since = before.map_or_else(|| SystemClock.now().to_string(), |before| before.since);
        self.stats.set_config(ConfigStatus {
            file: self.running.file.path().display().to_string(),
            sha256: sha256.clone(),
            since,
            ..status
        });
    }
}

fn log_report(report: &ReloadReport) {
    for (name, pipeline) in &report.pipelines {
        info!(pipeline = name, "the configuration was changed: {pipeline}");
    }
    for what in &report.needs_restart {
        warn!("the configuration was changed, and this needs a restart: {what}");
    }
    let config = &report.config;
    match (report.outcome, &report.error) {
        (_, Some(problems)) => {
            error!("the configuration is not reloaded, and nothing was changed: {problems}");
        }
        (ReloadOutcome::Stopping, _) => {
            info!("the configuration is not reloaded: the recorder stops");
        }
        (ReloadOutcome::Unchanged, _) => info!("the configuration is unchanged"),
        (ReloadOutcome::Applied, _) => info!(config, "the configuration was reloaded"),
        (ReloadOutcome::Partial | ReloadOutcome::Failed, _) => {
            info!(config, "the configuration was reloaded in part");
        }
    }
}

/// Reads and checks the file, and builds the pipelines that differ from what runs.
fn check_config(
    file: &ConfigFile,
    registry: &Registry,
    running: &Value,
    place: &BuildPlace<'_>,
    mut sources: BTreeMap<String, RunningSources>,
) -> Result<CheckedConfig, ConfigError> {
    let config = Config::load(file.path(), registry)?;
    let diff = ConfigDiff::between(running, &config.resolved);
    let is_built = |(name, diff): (&String, &PipelineDiff)| match diff {
        PipelineDiff::Added => Some((name.clone(), None)),
        PipelineDiff::Changed(_) => Some((name.clone(), Some(sources.remove(name)?))),
        PipelineDiff::Removed => None,
    };
    let built: BTreeMap<_, _> = diff.pipelines.iter().filter_map(is_built).collect();
    let pipelines = config.pipelines.rebuild(place, &built)?;
    Ok(CheckedConfig {
        text_hash: config.text_hash,
        resolved: config.resolved,
        diff,
        pipelines,
        secrets: config.settings.secrets,
    })
}

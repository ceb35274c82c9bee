//! Does the reloads, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::checked_config::{CheckedConfig, RunningParts};
use super::pipeline_change::PipelineChange;
use super::reload_handle::{ReloadRequest, ReloadRequests};
use super::reload_report::{PipelineReload, PipelineStep, ReloadOutcome, ReloadReport};
use super::running_config::RunningConfig;
use crate::base::error_chain::error_chain;
use crate::base::secrets::Secrets;
use crate::base::time::{Clock, SystemClock};
use crate::config::{
    ArchiveConfig, BuiltPipeline, ConfigDiff, FormerPipeline, PipelineDiff, config_digest,
    merge_pipelines,
};
use crate::engine::ConfigDigests;
use crate::metrics::{ConfigStatus, ProcessStats};
use crate::recorder::pipeline_starter::{LogName, PipelineStarter, RunningPipeline};
use crate::recorder::service_manager::{Notification, ServiceManager};
use crate::recorder::sidecar::SharedJobs;

/// Does the reloads, one at a time.
pub(crate) struct Reloader {
    pub(crate) running: RunningConfig,
    pub(crate) pipelines: BTreeMap<String, RunningPipeline>,
    pub(crate) starter: PipelineStarter,
    /// Section `archive`, and the jobs of the sidecar.
    pub(crate) archive: Option<(ArchiveConfig, SharedJobs)>,
    pub(crate) stats: Arc<ProcessStats>,
    /// Texts that must not be shown. Those of the file are added at each reload.
    pub(crate) secrets: Secrets,
    pub(crate) service: Option<Arc<ServiceManager>>,
    pub(crate) stop: CancellationToken,
}

/// What a reload is going to do.
#[derive(Default)]
struct ReloadPlan {
    removed: Vec<String>,
    changed: BTreeMap<String, PipelineChange>,
    added: Vec<BuiltPipeline>,
    needs_restart: Vec<String>,
}

impl Reloader {
    /// Does reloads until the task is dropped.
    pub(crate) async fn run(mut self, mut requests: ReloadRequests) {
        self.publish(ConfigStatus::default());
        while let Some(request) = requests.recv().await {
            if let Some(service) = &self.service {
                service.send(Notification::Reloading);
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
        report.log();
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
        let former = |(name, running): (&String, &RunningPipeline)| {
            let sources = running.control.shards()?;
            let stats = self.stats.register_pipeline(name);
            Some((name.clone(), FormerPipeline { stats, sources }))
        };
        let parts = RunningParts {
            registry: self.running.registry.clone(),
            pacer: Arc::clone(&self.running.pacer),
            resolved: self.running.resolved.clone(),
            pipelines: self.pipelines.iter().filter_map(former).collect(),
        };
        let file = Arc::clone(&self.running.file);
        let checked = spawn_blocking(move || CheckedConfig::load(file.path(), parts));
        match checked.await {
            Ok(checked) => checked.map_err(|problems| self.secrets.mask(&problems.to_string())),
            Err(error) => Err(format!("internal error: {error}")),
        }
    }

    /// Changes what can be changed while the recorder runs, and names everything else that differs.
    async fn apply(&mut self, checked: CheckedConfig) -> ReloadReport {
        let CheckedConfig { text_hash, resolved, diff, pipelines, secrets } = checked;
        self.secrets.add_all(&secrets);
        if diff.is_empty() {
            self.running.file.set_running(Some(text_hash));
            return ReloadReport::without_change(ReloadOutcome::Unchanged, &self.running.digest);
        }
        let ReloadPlan { removed, changed, added, mut needs_restart } =
            self.plan(&diff, pipelines).await;
        let mut done = BTreeMap::new();
        // The recorder ends with its last pipeline, and must not before the first new one runs.
        let hold = self.starter.hold();
        self.stop_pipelines(removed, &mut done).await;
        self.start_pipelines(added, &mut done, &mut needs_restart).await;
        drop(hold);
        let taken = done.keys().chain(changed.keys()).cloned().collect();
        let merged = merge_pipelines(&self.running.resolved, &resolved, &taken);
        let old = self.running.digest.clone();
        let digests = ConfigDigests { old, new: config_digest(&merged) };
        self.change_pipelines(changed, &digests, &mut done).await;
        self.update_archive_jobs();
        let is_whole = needs_restart.is_empty();
        self.running.resolved = merged;
        self.running.digest.clone_from(&digests.new);
        self.running.file.set_running(is_whole.then_some(text_hash));
        let outcome = if is_whole { ReloadOutcome::Applied } else { ReloadOutcome::Partial };
        ReloadReport { outcome, config: digests.new, pipelines: done, needs_restart, error: None }
    }

    /// Returns what can be changed while the recorder runs, with the names of everything else.
    async fn plan(&self, diff: &ConfigDiff, built: Vec<BuiltPipeline>) -> ReloadPlan {
        let mut built: BTreeMap<String, BuiltPipeline> =
            built.into_iter().map(|built| (built.pipeline.name.clone(), built)).collect();
        let settings = diff.settings.iter().map(|key| format!("`{key}`"));
        let mut plan = ReloadPlan { needs_restart: settings.collect(), ..ReloadPlan::default() };
        for (name, diff) in &diff.pipelines {
            let running = self.pipelines.get(name);
            match (diff, built.remove(name), running) {
                (PipelineDiff::Removed, _, _) => plan.removed.push(name.clone()),
                (PipelineDiff::Added, Some(built), _) => plan.added.push(built),
                (PipelineDiff::Changed(sections), Some(built), Some(running)) => {
                    let new = built.pipeline;
                    match PipelineChange::prepare(running, new, sections.clone()).await {
                        Ok(change) => drop(plan.changed.insert(name.clone(), change)),
                        Err(what) => {
                            let what = self.secrets.mask(&what);
                            plan.needs_restart.push(format!("pipeline {name}: {what}"));
                        }
                    }
                }
                _ => plan.needs_restart.push(format!("pipeline {name}: it has ended")),
            }
        }
        plan
    }

    async fn stop_pipelines(
        &mut self,
        names: Vec<String>,
        done: &mut BTreeMap<String, PipelineReload>,
    ) {
        for name in names {
            if let Some(pipeline) = self.pipelines.remove(&name) {
                pipeline.stop().await;
            }
            self.stats.remove_pipeline(&name);
            done.insert(name, PipelineReload::of_step(PipelineStep::Stopped));
        }
    }

    async fn start_pipelines(
        &mut self,
        added: Vec<BuiltPipeline>,
        done: &mut BTreeMap<String, PipelineReload>,
        needs_restart: &mut Vec<String>,
    ) {
        for BuiltPipeline { mut pipeline, stats } in added {
            let name = pipeline.name.clone();
            let opened = spawn_blocking(move || match pipeline.open_required_sinks() {
                Ok(()) => Ok(pipeline),
                Err(error) => Err(error_chain(&error)),
            });
            match opened.await.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(pipeline) => {
                    let running = self.starter.start(pipeline, stats, LogName::Shown);
                    self.pipelines.insert(name.clone(), running);
                    done.insert(name, PipelineReload::of_step(PipelineStep::Started));
                }
                Err(error) => {
                    let error = self.secrets.mask(&error);
                    needs_restart.push(format!("pipeline {name}: it cannot be started: {error}"));
                }
            }
        }
    }

    /// Changes pipelines that run on, and tells the others of the configuration.
    async fn change_pipelines(
        &mut self,
        mut changed: BTreeMap<String, PipelineChange>,
        digests: &ConfigDigests,
        done: &mut BTreeMap<String, PipelineReload>,
    ) {
        for (name, running) in &mut self.pipelines {
            if let Some(change) = changed.remove(name) {
                done.insert(name.clone(), change.apply(running, digests).await);
            } else if digests.old != digests.new && !done.contains_key(name) {
                running.control.announce(digests);
            }
        }
    }

    /// Gives the sidecar the directories of the pipelines that run.
    fn update_archive_jobs(&self) {
        let Some((config, jobs)) = &self.archive else { return };
        let dirs: BTreeSet<_> =
            self.pipelines.values().flat_map(|it| it.sink_dirs.iter().flatten()).cloned().collect();
        let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
        *jobs = dirs.into_iter().map(|dir| config.job(dir)).collect();
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

//! Images: found, fetched or built. What takes long goes on by itself; asking again tells how it went.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    BuildImageOptionsBuilder, CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions,
};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::watch;
use tokio_util::io::ReaderStream;

use super::context::{Context, pack, scratch};
use super::daemon::{CHANGE, Daemon, Fault, LOOK, unless_missing};
use super::names::{SERVICE, filter, of_instance};
use crate::{DriverError, ImageBuild, ImageSource, PullPolicy};

/// Longest time to fetch or build an image.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Most bytes of the output of a failed build that are told.
const MAX_OUTPUT: usize = 2000;

/// The images of a data directory.
#[derive(Debug)]
pub(super) struct Images {
    daemon: Arc<Daemon>,
    instance: String,
    folder: PathBuf,
    /// How long the first one to ask waits for what was begun.
    patience: Duration,
    under_way: Mutex<BTreeMap<String, watch::Receiver<Option<Outcome>>>>,
    scratch: AtomicU64,
}

/// The id of an image, or why there is none.
type Outcome = Result<String, Failure>;

#[derive(Clone, Debug)]
enum Failure {
    /// The daemon could not be asked, or refused.
    Daemon(Fault),
    /// The image cannot be had.
    Image(String),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Daemon(fault)
    }
}

impl Images {
    pub(super) fn new(daemon: Arc<Daemon>, instance: String, folder: PathBuf, patience: Duration) -> Self {
        Self { daemon, instance, folder, patience, under_way: Mutex::default(), scratch: AtomicU64::new(0) }
    }

    /// The id of the image that a replica is to run.
    ///
    /// # Errors
    /// [`DriverError::Preparing`] while it is fetched or built; asking again tells how that went.
    pub(super) async fn of(
        self: &Arc<Self>,
        replica: &str,
        service: &str,
        source: &ImageSource,
        pull: PullPolicy,
    ) -> Result<String, DriverError> {
        let told = |failure| self.told(replica, source, failure);
        if let ImageSource::Reference(reference) = source
            && pull != PullPolicy::Always
        {
            let found = self.find(reference).await.map_err(|fault| told(Failure::Daemon(fault)))?;
            match found {
                Some(id) => return Ok(id),
                None if pull == PullPolicy::Never => return Err(told(Failure::Image(never()))),
                None => {}
            }
        }
        match self.long(service, source).await {
            Some(outcome) => outcome.map_err(told),
            None => {
                let what = match source {
                    ImageSource::Reference(reference) => format!("image {reference} is being fetched"),
                    ImageSource::Build(build) => {
                        format!("its image is being built from {}", build.context.display())
                    }
                };
                Err(DriverError::Preparing { replica: replica.into(), what })
            }
        }
    }

    fn told(&self, replica: &str, source: &ImageSource, failure: Failure) -> DriverError {
        match failure {
            Failure::Daemon(fault @ Fault::Away(_)) => self.daemon.error("find an image", fault),
            Failure::Daemon(Fault::Refused { message: why, .. }) | Failure::Image(why) => {
                DriverError::Image { replica: replica.into(), image: source.shown(), why }
            }
        }
    }

    async fn find(&self, reference: &str) -> Result<Option<String>, Fault> {
        let reference = reference.to_owned();
        let look = |docker: Docker| async move { docker.inspect_image(&reference).await };
        let found = unless_missing(self.daemon.ask(LOOK, look).await)?;
        Ok(found.and_then(|image| image.id))
    }

    /// Begins what takes long and waits a moment for it, or looks how far it is. Who is told the outcome takes it away,
    /// so that the next one begins anew.
    async fn long(self: &Arc<Self>, service: &str, source: &ImageSource) -> Option<Outcome> {
        let key = format!("{service}\n{}", serde_json::to_string(source).unwrap_or_default());
        let mut patience = Duration::ZERO;
        let mut outcome = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let begun = || {
                patience = self.patience;
                self.begin(service.to_owned(), source.clone())
            };
            under_way.entry(key.clone()).or_insert_with(begun).clone()
        };
        let waited = tokio::time::timeout(patience, outcome.wait_for(Option::is_some)).await;
        let told = match waited {
            Err(_) => None,
            Ok(Ok(value)) => value.clone(),
            // Its task is gone without a word.
            Ok(Err(_)) => Some(Err(Failure::Image("preparing it ended abnormally".into()))),
        };
        if told.is_some() {
            self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }
        told
    }

    fn begin(self: &Arc<Self>, service: String, source: ImageSource) -> watch::Receiver<Option<Outcome>> {
        let (sender, receiver) = watch::channel(None);
        let images = Arc::clone(self);
        tokio::spawn(async move {
            let made = async {
                match &source {
                    ImageSource::Reference(reference) => images.fetch(reference).await,
                    ImageSource::Build(build) => images.build(&service, build).await,
                }
            };
            let outcome = tokio::time::timeout(LONGEST, made).await.unwrap_or_else(|_| {
                Err(Failure::Image(format!("it was not ready within {} min", LONGEST.as_secs() / 60)))
            });
            sender.send_replace(Some(outcome));
        });
        receiver
    }

    async fn fetch(&self, reference: &str) -> Outcome {
        let name = reference.to_owned();
        let pulled = self.daemon.ask(LONGEST, |docker: Docker| async move {
            let options = CreateImageOptionsBuilder::new().from_image(&with_tag(&name)).build();
            docker.create_image(Some(options), None, None).try_for_each(async |_| Ok(())).await
        });
        match pulled.await {
            Ok(()) => {}
            Err(Fault::Refused { message, .. }) => return Err(Failure::Image(unfetched(&message))),
            Err(away) => return Err(Failure::Daemon(away)),
        }
        let found = self.find(reference).await?;
        found.ok_or_else(|| {
            Failure::Image("it was fetched and is not there; is it for another platform?".into())
        })
    }

    async fn build(&self, service: &str, build: &ImageBuild) -> Outcome {
        let scratch = scratch(&self.folder, self.scratch.fetch_add(1, Ordering::Relaxed));
        let folder = build.clone();
        let packed = tokio::task::spawn_blocking(move || pack(&folder, &scratch)).await;
        let context = packed.map_err(|error| Failure::Image(error.to_string()))?.map_err(Failure::Image)?;
        let tag = format!("sos-build-{}:{}", self.instance, context.hash);
        if let Some(id) = self.find(&tag).await? {
            return Ok(id);
        }
        self.send(service, build, context, &tag).await?;
        let id = self.find(&tag).await?.ok_or_else(|| Failure::Image("the build made no image".into()))?;
        self.tidy(service, &id).await;
        Ok(id)
    }

    async fn send(
        &self,
        service: &str,
        build: &ImageBuild,
        context: Context,
        tag: &str,
    ) -> Result<(), Failure> {
        let mut labels = of_instance(&self.instance);
        labels.insert(SERVICE.into(), service.into());
        let args: HashMap<String, String> = build.args.clone().into_iter().collect();
        let mut options = BuildImageOptionsBuilder::new()
            .dockerfile(&build.dockerfile)
            .t(tag)
            .rm(true)
            .forcerm(true)
            .labels(&labels)
            .buildargs(&args);
        if let Some(target) = &build.target {
            options = options.target(target);
        }
        let options = options.build();
        let output = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&output);
        let built = self.daemon.ask(LONGEST, |docker: Docker| async move {
            let body =
                bollard::body_try_stream(ReaderStream::new(tokio::fs::File::from_std(context.archive)));
            let mut told = docker.build_image(options, None, Some(body));
            while let Some(info) = told.next().await {
                keep_end(&heard, info?.stream.as_deref().unwrap_or_default());
            }
            Ok::<_, Error>(())
        });
        match built.await {
            Ok(()) => Ok(()),
            Err(Fault::Refused { message, .. }) => {
                let said = output.lock().unwrap_or_else(PoisonError::into_inner);
                Err(Failure::Image(unbuilt(&message, said.trim())))
            }
            Err(away) => Err(Failure::Daemon(away)),
        }
    }

    /// Removes what was built for the service before, unless a container still needs it.
    async fn tidy(&self, service: &str, present: &str) {
        let mut labelled = filter(&self.instance);
        labelled.entry("label".into()).or_default().push(format!("{SERVICE}={service}"));
        let options = ListImagesOptionsBuilder::new().filters(&labelled).build();
        let list = |docker: Docker| async move { docker.list_images(Some(options)).await };
        let found = self.daemon.ask(LOOK, list).await.unwrap_or_default();
        let older = found.into_iter().filter(|image| image.id != present);
        // By its names: one with several is not removed by its id. The last name takes the image along.
        for name in
            older.flat_map(|image| if image.repo_tags.is_empty() { vec![image.id] } else { image.repo_tags })
        {
            let remove = |docker: Docker| async move {
                docker.remove_image(&name, None::<RemoveImageOptions>, None).await
            };
            if let Err(fault) = self.daemon.ask(CHANGE, remove).await {
                tracing::debug!(service, ?fault, "an older image is kept");
            }
        }
    }
}

/// Without a tag the daemon would fetch all there are.
fn with_tag(reference: &str) -> String {
    let name = reference.rsplit_once('/').map_or(reference, |(_, name)| name);
    if name.contains([':', '@']) { reference.to_owned() } else { format!("{reference}:latest") }
}

fn never() -> String {
    "it is not on this machine and its pull policy is never; load it with docker load or docker build, or let it be \
     fetched with pull: missing"
        .into()
}

fn unfetched(message: &str) -> String {
    format!(
        "{message}; check its name and tag and that the registry can be reached and lets this machine in, or load it \
         with docker load"
    )
}

fn unbuilt(message: &str, said: &str) -> String {
    let said = if said.is_empty() { String::new() } else { format!("; the build said last: {said}") };
    format!("{message}{said}")
}

/// Keeps the end of what a build says.
fn keep_end(output: &Mutex<String>, more: &str) {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    output.push_str(more);
    let surplus = output.len().saturating_sub(MAX_OUTPUT);
    let from = (surplus..output.len()).find(|&at| output.is_char_boundary(at)).unwrap_or(surplus);
    output.drain(..from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_without_a_tag_means_the_latest() {
        for (reference, tagged) in [
            ("nginx", "nginx:latest"),
            ("nginx:1", "nginx:1"),
            ("localhost:5000/nginx", "localhost:5000/nginx:latest"),
            ("r.example/a/b@sha256:00", "r.example/a/b@sha256:00"),
        ] {
            assert_eq!(with_tag(reference), tagged);
        }
    }

    #[test]
    fn of_what_a_build_says_the_end_is_kept() {
        let output = Mutex::new(String::new());
        for _ in 0..1000 {
            keep_end(&output, "ü line\n");
        }
        let output = output.lock().unwrap();
        assert!(output.len() <= MAX_OUTPUT && output.len() > MAX_OUTPUT - 4 && output.ends_with("ü line\n"));
    }
}

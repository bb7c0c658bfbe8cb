//! The Hub's client. It fetches files of a repository into hf-hub's cache, resumes interrupted downloads,
//! checks files against the Hub's hashes, and pushes files.
//!
//! hf-hub implements the protocol. Its own downloads restart from zero after an interruption, check no hash
//! and never time out, so that part is here. `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`,
//! `HF_HUB_CACHE`, `HF_HUB_OFFLINE` and `HF_HUB_DOWNLOAD_TIMEOUT` have the same meaning as in Python's
//! huggingface_hub.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use hf_hub::progress::{ProgressEvent, ProgressHandler, UploadEvent};
use hf_hub::repository::{CommitOperation, HFRepository};
use hf_hub::{HFClient, HFError, RepoType, RepoTypeDataset, RepoTypeModel};

use super::listing::{Remote, is_below, listing};
use crate::{Error, Progress, Result};

/// Seconds without a byte after which a request times out.
const TIMEOUT: u64 = 10;
/// Retries of a request that the Hub temporarily refuses.
const RETRIES: usize = 3;
/// The wait before the first retry, doubled for each further one.
const DELAY: Duration = Duration::from_millis(200);
/// Interruptions in a row without a new byte after which a download fails.
const BREAKS: usize = 3;

/// The kind of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// A connection to the Hub, or only to its local cache.
pub struct Hub {
    client: HFClient,
    runtime: tokio::runtime::Runtime,
    offline: bool,
}

/// Some files of a repository at one commit, in hf-hub's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The commit.
    pub commit: String,
    /// The local path of each file, by its path in the repository.
    pub files: BTreeMap<String, PathBuf>,
}

/// The files to fetch.
#[derive(Clone, Copy)]
pub enum Wanted<'a> {
    /// All files in the listing that the function selects.
    All(&'a dyn Fn(&str) -> bool),
    /// This file only.
    One(&'a str),
}

/// Passes the bytes sent and the total from hf-hub's events to a function.
struct Sent<F>(F);

impl<F: Fn(u64, u64) + Send + Sync> ProgressHandler for Sent<F> {
    fn on_progress(&self, event: &ProgressEvent) {
        if let ProgressEvent::Upload(UploadEvent::Progress { bytes_completed, total_bytes, .. }) = event {
            (self.0)(*bytes_completed, *total_bytes);
        }
    }
}

impl Hub {
    /// Returns the Hub that the environment configures.
    ///
    /// # Errors
    /// [`Error::Hub`] if the environment is invalid.
    pub fn from_environment() -> Result<Self> {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let timeout = Duration::from_secs(number("HF_HUB_DOWNLOAD_TIMEOUT").unwrap_or(TIMEOUT).max(1));
        let value = std::env::var("HF_HUB_OFFLINE").unwrap_or_default().to_uppercase();
        let offline = ["1", "ON", "YES", "TRUE"].contains(&value.as_str());
        Self::new(HFClient::builder().retry_max_attempts(RETRIES).retry_base_delay(DELAY), timeout, offline)
    }

    pub(super) fn new(builder: hf_hub::HFClientBuilder, timeout: Duration, offline: bool) -> Result<Self> {
        let failed = |reason: &dyn std::fmt::Display| Error::Hub {
            repository: "anything".into(),
            reason: reason.to_string(),
        };
        let agent = concat!("waxwork/", env!("CARGO_PKG_VERSION"));
        let http =
            reqwest::Client::builder().connect_timeout(timeout).read_timeout(timeout).user_agent(agent);
        let http = http.build().map_err(|error| failed(&error))?;
        let client = builder.client(http).build().map_err(|error| failed(&error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Self { client, runtime: runtime.map_err(|error| failed(&error))?, offline })
    }

    /// Returns the paths of all files of `repository` on `revision`. Offline, returns those in the cache.
    ///
    /// # Errors
    /// As [`Hub::fetch`].
    pub fn list(&self, kind: Kind, repository: &str, revision: &str) -> Result<Vec<String>> {
        let all = Wanted::All(&|_| true);
        if self.offline {
            let cached = self.cached(&self.folder(kind, repository), repository, revision, all)?;
            return Ok(cached.files.into_keys().collect());
        }
        let (owner, name) = address(repository)?;
        let listed = self.runtime.block_on(async {
            match kind {
                Kind::Model => listing(&self.client.model(owner, name), revision, all).await,
                Kind::Dataset => listing(&self.client.dataset(owner, name), revision, all).await,
            }
        });
        let listed = listed.map_err(|error| self.error(repository, &error))?;
        Ok(listed.into_iter().map(|remote| remote.path).collect())
    }

    /// Fetches files of `repository` (`owner/name`) on `revision`, a branch, tag or commit. Files in the
    /// cache are not fetched again; offline, only they are available. `progress` gets the number of bytes
    /// present.
    ///
    /// # Errors
    /// [`Error::Hub`] with what to do about it, [`Error::Io`].
    pub fn fetch(
        &self,
        kind: Kind,
        repository: &str,
        revision: &str,
        wanted: Wanted<'_>,
        progress: &Progress<'_>,
    ) -> Result<Snapshot> {
        let (owner, name) = address(repository)?;
        if !is_below(revision) {
            let reason = format!("`{revision}` is not a valid revision name");
            return Err(Error::Hub { repository: repository.to_owned(), reason });
        }
        let folder = self.folder(kind, repository);
        if self.offline {
            return self.cached(&folder, repository, revision, wanted);
        }
        let failed = |error: HFError| self.error(repository, &error);
        self.runtime.block_on(async {
            match kind {
                Kind::Model => {
                    let repo = self.client.model(owner, name);
                    let info = repo.info().revision(revision).send().await.map_err(failed)?;
                    self.fetch_from(&repo, info.sha, &folder, repository, revision, wanted, progress).await
                }
                Kind::Dataset => {
                    let repo = self.client.dataset(owner, name);
                    let info = repo.info().revision(revision).send().await.map_err(failed)?;
                    self.fetch_from(&repo, info.sha, &folder, repository, revision, wanted, progress).await
                }
            }
        })
    }

    /// Pushes files into the model repository `repository` in one commit. Creates the repository if it does
    /// not exist. Returns its address. `progress` gets the number of bytes sent.
    ///
    /// # Errors
    /// [`Error::Hub`] with what to do about it.
    pub fn push(
        &self,
        repository: &str,
        private: bool,
        message: &str,
        files: Vec<(String, Vec<u8>)>,
        progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<String> {
        let (owner, name) = address(repository)?;
        if self.offline {
            let reason = "HF_HUB_OFFLINE is set: unset it to push".to_owned();
            return Err(Error::Hub { repository: repository.to_owned(), reason });
        }
        let failed = |error: HFError| self.error(repository, &error);
        self.runtime.block_on(async {
            let create = self.client.create_repository().repo_id(repository).repo_type(RepoTypeModel);
            create.private(private).exist_ok(true).send().await.map_err(failed)?;
            let files = files.into_iter().map(|(path, bytes)| CommitOperation::add_bytes(path, bytes));
            let repo = self.client.model(owner, name);
            let commit = repo.create_commit().operations(files.collect()).commit_message(message);
            commit.progress(Sent(progress)).send().await.map_err(failed)?;
            Ok(format!("{}/{repository}", self.client.endpoint()))
        })
    }

    async fn fetch_from<T: RepoType>(
        &self,
        repo: &HFRepository<T>,
        commit: Option<String>,
        folder: &Path,
        repository: &str,
        revision: &str,
        wanted: Wanted<'_>,
        progress: &Progress<'_>,
    ) -> Result<Snapshot> {
        let hub = |reason: String| Error::Hub { repository: repository.to_owned(), reason };
        let commit = commit.ok_or_else(|| hub("the server does not say which commit it serves".into()))?;
        if !is_below(&commit) {
            return Err(hub(format!("its newest revision is `{commit}`")));
        }
        let failed = |error: HFError| self.error(repository, &error);
        let remotes = listing(repo, &commit, wanted).await.map_err(failed)?;
        if let (Wanted::One(path), true) = (wanted, remotes.is_empty()) {
            return Err(hub(format!("there is no file `{path}` in it; look at {}", self.page(repository))));
        }
        let mut files = BTreeMap::new();
        let all = remotes.iter().map(|remote| remote.size).sum();
        let mut before = 0;
        for remote in remotes {
            let blob = folder.join("blobs").join(remote.hash.hex());
            let of_file = |there: u64| progress(before + there.min(remote.size), all);
            self.download(repo, repository, &commit, &remote, &blob, &of_file).await?;
            before += remote.size;
            let pointer = folder.join("snapshots").join(&commit).join(&remote.path);
            point(&pointer, &blob)?;
            files.insert(remote.path, pointer);
        }
        if revision != commit {
            let refs = folder.join("refs").join(revision);
            create_parent(&refs)?;
            fs::write(&refs, &commit).map_err(Error::io("write", &refs))?;
        }
        Ok(Snapshot { commit, files })
    }

    /// Downloads `remote` to `blob`, resuming an interrupted download.
    async fn download<T: RepoType>(
        &self,
        repo: &HFRepository<T>,
        repository: &str,
        commit: &str,
        remote: &Remote,
        blob: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<()> {
        if blob.is_file() {
            progress(remote.size);
            return Ok(());
        }
        create_parent(blob)?;
        let partial = blob.with_extension("incomplete");
        let file = OpenOptions::new().create(true).append(true).open(&partial);
        let mut file = file.map_err(Error::io("open", &partial))?;
        // Another process may have completed the same download in the meantime.
        file.lock().map_err(Error::io("lock", &partial))?;
        if blob.is_file() {
            progress(remote.size);
            return Ok(());
        }
        let length =
            |file: &File| file.metadata().map(|data| data.len()).map_err(Error::io("read", &partial));
        let resumed = length(&file)? > 0;
        let (mut breaks, mut most) = (0, 0);
        loop {
            let have = length(&file)?;
            if have >= remote.size {
                break;
            }
            (breaks, most) = if have > most { (0, have) } else { (breaks, most) };
            let broken = self.stream(repo, commit, remote, have, &mut file, &partial, progress).await?;
            if let Some(error) = broken {
                breaks += 1;
                if breaks > BREAKS || !is_break(&error) {
                    let kept = length(&file)?;
                    let kept = if kept == 0 {
                        String::new()
                    } else {
                        format!(
                            "; {kept} of {} bytes of `{}` are kept: run the same command again to resume",
                            remote.size, remote.path
                        )
                    };
                    let reason = self.reason(&error) + &kept;
                    return Err(Error::Hub { repository: repository.to_owned(), reason });
                }
            }
        }
        file.sync_all().map_err(Error::io("sync", &partial))?;
        if !remote.hash.fits(&partial)? || length(&file)? != remote.size {
            file.set_len(0).map_err(Error::io("write", &partial))?;
            if resumed {
                // The part from before may have been bad. Download the whole file once more.
                drop(file);
                return Box::pin(self.download(repo, repository, commit, remote, blob, progress)).await;
            }
            let (repository, path) = (repository.to_owned(), &remote.path);
            let reason = format!(
                "the contents of `{path}` do not match the Hub's {}; the download was discarded: try again, and if it \
                 happens again, look for a proxy that changes downloads",
                remote.hash.describe()
            );
            return Err(Error::Hub { repository, reason });
        }
        fs::rename(&partial, blob).map_err(Error::io("rename", &partial))
    }

    /// Appends the missing bytes to a partial file. Returns the cause of an interruption, if there was one.
    async fn stream<T: RepoType>(
        &self,
        repo: &HFRepository<T>,
        commit: &str,
        remote: &Remote,
        have: u64,
        file: &mut File,
        partial: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<Option<HFError>> {
        let request = repo.download_file_stream().filename(&remote.path).revision(commit);
        let (length, mut stream) = match request.range(have..remote.size).send().await {
            Ok(found) => found,
            Err(error) => return Ok(Some(error)),
        };
        let mut there = have;
        if length == Some(remote.size) && have > 0 {
            // The server does not support ranges, and sends the whole file again.
            file.set_len(0).map_err(Error::io("write", partial))?;
            there = 0;
        }
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return Ok(Some(error)),
            };
            file.write_all(&chunk).map_err(Error::io("write", partial))?;
            there += chunk.len() as u64;
            progress(there);
            if there > remote.size {
                return Ok(None);
            }
        }
        let short = || HFError::Other(format!("the server sent {there} of {} bytes", remote.size));
        Ok((there < remote.size).then(short))
    }

    /// Returns the cached files of a repository.
    fn cached(
        &self,
        folder: &Path,
        repository: &str,
        revision: &str,
        wanted: Wanted<'_>,
    ) -> Result<Snapshot> {
        let missing = |what: &str| Error::Hub {
            repository: repository.to_owned(),
            reason: format!(
                "HF_HUB_OFFLINE is set, and {what} is not in {}; fetch it once with HF_HUB_OFFLINE unset",
                folder.display()
            ),
        };
        let refs = folder.join("refs").join(revision);
        let commit =
            fs::read_to_string(refs).map_or_else(|_| revision.to_owned(), |text| text.trim().to_owned());
        if !is_below(&commit) {
            return Err(missing(&format!("a revision `{commit}`")));
        }
        let root = folder.join("snapshots").join(&commit);
        let mut files = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                // Files are links into the cache's blobs. The cache itself never creates a link to a folder.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if wanted.includes(&name) && path.is_file() {
                    files.insert(name, path);
                }
            }
        }
        match wanted {
            _ if !files.is_empty() => Ok(Snapshot { commit, files }),
            Wanted::One(path) => Err(missing(&format!("`{path}`"))),
            Wanted::All(_) => Err(missing("it")),
        }
    }

    fn folder(&self, kind: Kind, repository: &str) -> PathBuf {
        let plural = match kind {
            Kind::Model => RepoTypeModel.plural(),
            Kind::Dataset => RepoTypeDataset.plural(),
        };
        self.client.cache_dir().join(format!("{plural}--{}", repository.replace('/', "--")))
    }

    fn page(&self, repository: &str) -> String {
        format!("{}/{repository}", self.client.endpoint())
    }

    /// Returns what went wrong with a repository, and what to do about it.
    fn error(&self, repository: &str, error: &HFError) -> Error {
        Error::Hub { repository: repository.to_owned(), reason: self.reason(error) }
    }

    fn reason(&self, error: &HFError) -> String {
        let endpoint = self.client.endpoint();
        match error {
            HFError::EntryNotFound { path, .. } => format!("there is no file `{path}` in it (404)"),
            HFError::RevisionNotFound { revision, context: Some(context), .. }
                if context.error_code.as_deref() == Some("RevisionNotFound") =>
            {
                format!("it has no revision `{revision}` (404)")
            }
            HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. } => self.refusal(404, "", ""),
            HFError::RateLimited { retry_after, .. } => {
                let wait = retry_after
                    .map_or_else(|| "a few minutes".into(), |time| format!("{} s", time.as_secs()));
                format!(
                    "the server limits requests (429); try again in {wait}, and set HF_TOKEN for a higher limit"
                )
            }
            HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context }
            | HFError::Http { context } => {
                let message = context.server_message.as_deref().unwrap_or_default();
                self.refusal(context.status.as_u16(), message, &context.url)
            }
            HFError::Request { source, .. } if source.is_timeout() => format!(
                "{endpoint} did not answer in time; try again, or set HF_HUB_DOWNLOAD_TIMEOUT to a larger number of seconds"
            ),
            HFError::Request { source, .. } if source.is_connect() => format!(
                "{endpoint} cannot be reached; check the network and HF_ENDPOINT, or set HF_HUB_OFFLINE=1 to use the cache"
            ),
            HFError::Request { .. } => format!("the connection to {endpoint} was interrupted; try again"),
            other => other.to_string(),
        }
    }

    /// Returns what an HTTP status means, and what to do about it.
    fn refusal(&self, status: u16, message: &str, url: &str) -> String {
        let endpoint = self.client.endpoint();
        let said = if message.is_empty() { String::new() } else { format!("; the server says: {message}") };
        match status {
            401 => format!(
                "it is private or does not exist, and the server accepted no token (401); set HF_TOKEN to a token with access, \
                 or log in with `hf auth login` (tokens: {endpoint}/settings/tokens)"
            ),
            403 => format!(
                "your token does not allow this (403); create one with read access, or write access for a push, at \
                 {endpoint}/settings/tokens; for a gated repository, accept its terms on its page{said}"
            ),
            404 => format!(
                "there is no such repository (404); check its name at {endpoint}, and set HF_TOKEN if it is private{said}"
            ),
            429 => {
                format!("the server limits requests (429); try again in a few minutes{said}")
            }
            _ => format!("the server answers {status} to {url}; try again later{said}"),
        }
    }
}

impl Wanted<'_> {
    pub(super) fn includes(&self, path: &str) -> bool {
        match self {
            Self::All(picks) => picks(path),
            Self::One(wanted) => *wanted == path,
        }
    }
}

/// Splits an address into `owner` and `name`.
fn address(repository: &str) -> Result<(&str, &str)> {
    let plain = |part: &str| {
        let letters = part.chars().all(|c| c.is_alphanumeric() || ['-', '_', '.'].contains(&c));
        letters && !part.is_empty() && !part.starts_with('.')
    };
    match repository.split_once('/') {
        Some((owner, name)) if plain(owner) && plain(name) => Ok((owner, name)),
        _ => Err(Error::Hub {
            repository: repository.to_owned(),
            reason: "a repository name has the form OWNER/NAME".into(),
        }),
    }
}

/// Whether a failed download may succeed on a retry.
fn is_break(error: &HFError) -> bool {
    matches!(error, HFError::Request { .. } | HFError::Other(_) | HFError::Io(_))
}

/// Makes the file `pointer` of a snapshot a link to the contents `blob`.
fn point(pointer: &Path, blob: &Path) -> Result<()> {
    create_parent(pointer)?;
    if pointer.is_file() {
        return Ok(());
    }
    // A link whose target was deleted would be in the way.
    let _ = fs::remove_file(pointer);
    #[cfg(unix)]
    {
        let depth = pointer
            .strip_prefix(blob.ancestors().nth(2).unwrap_or(blob))
            .map_or(0, |rest| rest.iter().count());
        let mut relative: PathBuf = std::iter::repeat_n("..", depth.saturating_sub(1)).collect();
        relative.extend(blob.iter().skip(blob.iter().count() - 2));
        std::os::unix::fs::symlink(relative, pointer).map_err(Error::io("link", pointer))
    }
    #[cfg(not(unix))]
    fs::copy(blob, pointer).map(|_| ()).map_err(Error::io("write", pointer))
}

fn create_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Error::io("create", parent))
}

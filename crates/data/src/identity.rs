//! The identity of a data set as a SHA-256: the same for raw and gzipped files, a packed file and the Hub.

use sha2::{Digest, Sha256};
use waxwork_core::Kind;
use waxwork_core::hash::{hex, sha256};

use crate::{Result, Source};

/// Hashes the class names, then the samples of each part in order, into the identity of the data set.
pub(crate) struct Identity {
    hash: Sha256,
    in_part: u64,
}

impl Identity {
    /// Starts an identity. Images hash as they did when they were the only kind.
    pub(crate) fn of_kind(kind: &Kind, classes: &[String]) -> Self {
        let mut hash = match kind.image() {
            Some(shape) => {
                let mut hash = Sha256::new_with_prefix(b"waxwork-data content 1\n");
                for value in [shape.channels, shape.height, shape.width] {
                    hash.update((value as u64).to_le_bytes());
                }
                hash
            }
            None => Sha256::new_with_prefix(format!("waxwork-data content 1 of {kind}\n")),
        };
        hash.update((classes.len() as u64).to_le_bytes());
        for class in classes {
            hash.update((class.len() as u64).to_le_bytes());
            hash.update(class.as_bytes());
        }
        Self { hash, in_part: 0 }
    }

    pub(crate) fn sample(&mut self, bytes: &[u8], label: Option<u32>) {
        self.hash.update(bytes);
        self.hash.update(label.unwrap_or(u32::MAX).to_le_bytes());
        self.in_part += 1;
    }

    /// Ends the training or the test part.
    pub(crate) fn end_part(&mut self) {
        self.hash.update(self.in_part.to_le_bytes());
        self.in_part = 0;
    }

    pub(crate) fn finish(self) -> String {
        hex(&self.hash.finalize())
    }
}

/// Returns the identity of two sources in memory or on disk.
pub(crate) fn of_content(classes: &[String], train: &dyn Source, test: &dyn Source) -> Result<String> {
    let mut identity = Identity::of_kind(&train.kind(), classes);
    for source in [train, test] {
        let mut sample = vec![0; source.kind().bytes()];
        for index in 0..source.len() {
            source.write_sample(index, &mut sample)?;
            identity.sample(&sample, source.label(index));
        }
        identity.end_part();
    }
    Ok(identity.finish())
}

/// Returns the identity of an embedded generator.
pub(crate) fn of_generator(name: &str, version: u32, seed: u64) -> String {
    sha256(format!("waxwork-data generator {name} version {version} seed {seed}").as_bytes())
}
